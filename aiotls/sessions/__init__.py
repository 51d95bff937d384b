"""Sessions: what is remembered of a connection, so that the next one costs no signature (RFC 8446 §2.2)."""
