"""Whom we are and whom we believe: certificates with their private keys, and the verification of the peer's."""
