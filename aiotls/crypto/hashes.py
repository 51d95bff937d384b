"""Hashes and HMAC, made cheap: the key schedules of TLS 1.3 and 1.2 are little else than HMACs.

HMAC (RFC 2104) is two hash calls over padded keys.  One secret serves several HMACs, so its two pads are made once
and kept: then an HMAC costs two calls into `hashlib`, half of what `hmac.digest` takes.  The pads are made by XOR
of whole integers, for a table look-up by the secret's bytes would leave its trace in the cache.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash as HashObject

__all__ = ["SHA256", "SHA384", "HMACKey", "Hash"]


@dataclass(frozen=True, slots=True, eq=False)  # there is one of each, and it is a key of caches
class Hash:
    """A hash function: how to make one, and the two sizes (in bytes) that HMAC and HKDF need."""

    name: str
    new: "Callable[[bytes], HashObject]"
    digest_size: int
    block_size: int
    inner_pad: int
    """The block of bytes 0x36 of RFC 2104 §2, as one integer."""
    outer_pad: int
    """The block of bytes 0x5c of RFC 2104 §2, as one integer."""


def _hash(new: "Callable[[bytes], HashObject]") -> Hash:
    sample = new(b"")
    inner = int.from_bytes(b"\x36" * sample.block_size, "big")
    outer = int.from_bytes(b"\x5c" * sample.block_size, "big")
    return Hash(sample.name, new, sample.digest_size, sample.block_size, inner, outer)


SHA256: Final = _hash(hashlib.sha256)
SHA384: Final = _hash(hashlib.sha384)


class HMACKey:
    """A key with its two pads made: `digest(message)` is then two hash calls."""

    __slots__ = ("_inner", "_new", "_outer", "hash", "value")

    def __init__(self, function: Hash, key: bytes) -> None:
        """A key for HMAC with *function*; it stays as `value`."""
        self.hash = function
        self.value = key
        block = function.block_size
        if len(key) > block:  # RFC 2104 §2
            key = function.new(key).digest()
        value = int.from_bytes(key.ljust(block, b"\0"), "big")
        self._inner = (value ^ function.inner_pad).to_bytes(block, "big")
        self._outer = (value ^ function.outer_pad).to_bytes(block, "big")
        self._new = function.new

    def __repr__(self) -> str:
        """What it is for, and never the key."""
        return f"<{type(self).__name__}, {self.hash.name}>"

    def digest(self, message: bytes) -> bytes:
        """HMAC(key, message)."""
        new = self._new
        return new(self._outer + new(self._inner + message).digest()).digest()
