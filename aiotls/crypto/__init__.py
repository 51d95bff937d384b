"""The primitives, each a row of a table: what is negotiated by code point and computed by `cryptography`."""
