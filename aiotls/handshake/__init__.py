"""The handshake protocol (RFC 8446 §4): one coroutine for each role and version."""
