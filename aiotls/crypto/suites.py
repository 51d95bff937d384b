"""Cipher suites, one row each (RFC 8446 §B.4).

The confidentiality limit is the number of records that one key may protect (RFC 8446 §5.5): 2^24.5 full-size
records for AES-GCM, rounded down to 2^24; for ChaCha20-Poly1305 the sequence number would run out first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from aiotls.crypto.hashes import SHA256, SHA384, Hash
from aiotls.wire.registries import CipherSuite

__all__ = ["AEAD", "SUITES", "TAG_LENGTH", "TICKET_AEAD", "TICKET_KEY_LENGTH", "Buffer", "InvalidTag", "Suite"]

TAG_LENGTH = 16
"""Bytes that each of these AEADs adds to the plaintext."""

Buffer = bytes | bytearray | memoryview


class AEAD(Protocol):
    """Authenticated encryption with associated data, as `cryptography` provides it (RFC 5116)."""

    def encrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer, /) -> bytes:
        """Seal *data*; the tag is at the end."""

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer, /) -> bytes:
        """Open *data*; raises InvalidTag."""

    def encrypt_into(self, nonce: bytes, data: Buffer, associated_data: Buffer, buf: memoryview, /) -> int:
        """Seal *data* into *buf*, which may start where *data* starts."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One cipher suite: its AEAD, its hash, and how long a key may serve."""

    code: CipherSuite
    aead: Callable[[bytes], AEAD]
    key_length: int
    """Bytes of key material."""
    hash: Hash
    confidentiality_limit: int
    """Records that one key may protect (RFC 8446 §5.5)."""


SUITES: dict[int, Suite] = {
    suite.code: suite
    for suite in (
        Suite(CipherSuite.TLS_AES_128_GCM_SHA256, AESGCM, 16, SHA256, 1 << 24),
        Suite(CipherSuite.TLS_AES_256_GCM_SHA384, AESGCM, 32, SHA384, 1 << 24),
        Suite(CipherSuite.TLS_CHACHA20_POLY1305_SHA256, ChaCha20Poly1305, 32, SHA256, (1 << 64) - 1),
    )
}

TICKET_AEAD: Callable[[bytes], AEAD] = AESGCM
"""What session tickets are sealed with (RFC 5077 §4 leaves it to the server): AES-256-GCM, by the key's length."""
TICKET_KEY_LENGTH = 32
"""Bytes of a ticket key."""
