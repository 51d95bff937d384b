"""Bytes to values and back: the presentation language of RFC 8446 §3, and every message written in it."""
