"""The record protocol (RFC 8446 §5): framing, and protection under the current keys."""
