"""A session: what the two ends must remember to resume (RFC 8446 §4.6.1), and its encoding.

    struct {
        uint8  format = 1;
        uint16 version;
        uint16 cipher_suite;
        opaque psk<1..255>;
        uint64 created;
        uint32 lifetime;
        uint32 ticket_age_add;
        opaque server_name<0..255>;
        opaque alpn<0..255>;
        opaque scope<16..32>;
        uint8  zeros[...];
    } Session;

The encoding is for us alone: it leaves the process only sealed.  It may still have been made by an older or a newer
release that shares our keys, so the first byte is the format's number, and whatever does not parse is no session:
the client then gets a full handshake, and nobody an error.

A ticket's length must not tell what is inside, so an encoding ends in zeros, up to a size that is the same for all
sessions of a config; see `usual_size`.
"""

from dataclasses import dataclass, field
from typing import Final

from aiotls.errors import DecodeError
from aiotls.wire.codec import Reader, Writer

__all__ = ["LONGEST_LIFETIME", "Session", "usual_size"]

LONGEST_LIFETIME: Final = 7 * 24 * 3600
"""Seconds; RFC 8446 §4.6.1 allows no more."""

_FORMAT: Final = 1
_STEP: Final = 64  # sizes are multiples of this
_USUAL_NAME: Final = 64  # bytes of server name that always fit
_LARGEST_PSK: Final = 48
_LARGEST_SCOPE: Final = 32
_SMALLEST_SCOPE: Final = 16
_FIXED: Final = 1 + 2 + 2 + (1 + _LARGEST_PSK) + 8 + 4 + 4 + 1 + 1 + (1 + _LARGEST_SCOPE)


@dataclass(frozen=True, slots=True)
class Session:
    """What a resumption needs of the connection that it resumes, and what it must agree with."""

    version: int
    """The protocol version."""
    cipher_suite: int
    """The cipher suite; its hash is the pre-shared key's (RFC 8446 §4.2.11)."""
    psk: bytes = field(repr=False)
    """The pre-shared key (RFC 8446 §4.6.1)."""
    created: int
    """When the key exchange and signature were made that this goes back to, in seconds since 1970."""
    lifetime: int
    """For how many seconds from then on it may be resumed."""
    ticket_age_add: int = field(repr=False)
    """What hides the ticket's age on the wire (RFC 8446 §4.6.1)."""
    server_name: str | None
    """The name that the client asked for."""
    alpn: bytes | None
    """The application protocol that was agreed on."""
    scope: bytes = field(repr=False)
    """A digest of the policy that the session was made under, of 16 to 32 bytes."""

    def is_alive(self, now: float) -> bool:
        """Whether it may be resumed at this time: it is neither too old nor from the future."""
        return 0 <= now - self.created <= self.lifetime

    def encode(self, size: int = 0) -> bytes:
        """The encoding, filled with zeros to *size* bytes, or if it is longer to the next multiple of 64."""
        name = b"" if self.server_name is None else self.server_name.encode("ascii")
        body = Writer().uint8(_FORMAT).uint16(self.version).uint16(self.cipher_suite).opaque8(self.psk)
        body.opaque(self.created.to_bytes(8, "big")).uint32(self.lifetime).uint32(self.ticket_age_add)
        encoded = body.opaque8(name).opaque8(self.alpn or b"").opaque8(self.scope).getvalue()
        return encoded.ljust(size if len(encoded) <= size else _rounded(len(encoded)), b"\0")

    @classmethod
    def decode(cls, data: bytes) -> "Session | None":
        """The session, or None for anything that is not exactly one."""
        try:
            return cls._parse(Reader(data, "session"))
        except (DecodeError, UnicodeDecodeError):
            return None

    @classmethod
    def _parse(cls, reader: Reader) -> "Session | None":
        if reader.uint8() != _FORMAT:
            return None
        session = cls(
            version=reader.uint16(),
            cipher_suite=reader.uint16(),
            psk=reader.opaque8(1),
            created=int.from_bytes(reader.opaque(8), "big"),
            lifetime=reader.uint32(),
            ticket_age_add=reader.uint32(),
            server_name=reader.opaque8().decode("ascii") or None,
            alpn=reader.opaque8() or None,
            scope=reader.opaque8(_SMALLEST_SCOPE, _LARGEST_SCOPE),
        )
        return None if reader.rest().strip(b"\0") else session


def usual_size(longest_alpn: int) -> int:
    """The size of all encodings where application protocols have up to so many bytes.

    Only server names of more than 64 bytes may take more.
    """
    return _rounded(_FIXED + longest_alpn + _USUAL_NAME)


def _rounded(length: int) -> int:
    return -(-length // _STEP) * _STEP
