"""Records out of a byte stream, handshake messages out of records, and back (RFC 8446 §5.1).

A peer may split its bytes anywhere.  The Deframer hands out each record where it lies in the caller's buffer, and
copies only a record that is not complete yet; the Reassembler does the same one layer above, for messages that
several records carry.  Both refuse what is too long as soon as its length field says so, before it is buffered.
"""

from collections.abc import Sequence
from typing import Final

from aiotls.errors import IllegalParameter, RecordOverflow, UnexpectedMessage
from aiotls.wire.registries import ContentType

__all__ = [
    "MAX_CIPHERTEXT",
    "MAX_PLAINTEXT",
    "RECORD_HEADER",
    "Deframer",
    "Reassembler",
    "frame_plaintext",
    "split",
]

RECORD_HEADER: Final = 5
"""Bytes of type, version and length before a record's payload."""
MAX_PLAINTEXT: Final = 1 << 14
"""Bytes of content that one record may carry (RFC 8446 §5.1)."""
MAX_CIPHERTEXT: Final = MAX_PLAINTEXT + 256
"""Bytes that a protected record may have (RFC 8446 §5.2)."""

_MESSAGE_HEADER: Final = 4
_FIRST_TYPE: Final = int(ContentType.change_cipher_spec)
_LAST_TYPE: Final = int(ContentType.application_data)
_HTTP_METHODS: Final = (b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ")

Buffer = bytes | bytearray | memoryview
Record = tuple[int, Buffer, Buffer]
"""Content type, header, payload."""


class Deframer:
    """Splits the peer's bytes into records.

    `feed` takes bytes, `next_record` hands out what is complete, and `keep` copies what is left, after which the
    caller may use its buffer again.
    """

    __slots__ = ("_data", "_end", "_partial", "_position", "limit")

    def __init__(self) -> None:
        self._data: Buffer = b""
        self._position = 0
        self._end = 0
        self._partial = bytearray()
        self.limit = MAX_PLAINTEXT
        """Bytes that a payload may have now: more once records are protected."""

    @property
    def buffered(self) -> int:
        """Bytes kept of records that were not handed out."""
        return len(self._partial)

    def feed(self, data: Buffer) -> None:
        """Take bytes, which must stay as they are until `keep`."""
        self._data = data
        self._position = 0
        self._end = len(data)

    def next_record(self) -> Record | None:
        """The next complete record, or None; a header that cannot be right raises PeerMisbehaved."""
        if self._partial:
            return self._next_straddling()
        data, start = self._data, self._position
        payload = start + RECORD_HEADER
        if payload > self._end:
            return None
        end = payload + self._payload_length(data, start)
        if end > self._end:
            return None
        self._position = end
        return data[start], data[start:payload], data[payload:end]

    def keep(self) -> None:
        """Copy what was not handed out; the caller's buffer is free after this."""
        if self._position < self._end:
            self._partial += self._data[self._position : self._end]
        self._data = b""
        self._position = self._end = 0

    def _next_straddling(self) -> Record | None:
        """A record whose front came with an earlier `feed`: complete it, and no more than it."""
        if not self._complete_to(RECORD_HEADER):
            return None
        size = RECORD_HEADER + self._payload_length(self._partial, 0)
        if not self._complete_to(size):
            return None
        record = bytes(self._partial[:size])
        del self._partial[:size]
        return record[0], record[:RECORD_HEADER], record[RECORD_HEADER:]

    def _complete_to(self, size: int) -> bool:
        missing = size - len(self._partial)
        if missing > 0:
            taken = self._data[self._position : self._position + missing]
            self._partial += taken
            self._position += len(taken)
        return len(self._partial) >= size

    def _payload_length(self, data: Buffer, start: int) -> int:
        if not _FIRST_TYPE <= data[start] <= _LAST_TYPE:
            raise _unknown_type(bytes(data[start : start + RECORD_HEADER]))
        # RFC 8446 §5.1: legacy_record_version is ignored for all purposes.
        length = data[start + 3] << 8 | data[start + 4]
        if length > self.limit:
            msg = f"a record of {length} bytes, where {self.limit} are allowed (RFC 8446 §5.1)"
            raise RecordOverflow(msg)
        return length


def _unknown_type(header: bytes) -> UnexpectedMessage:
    if header[:4] in _HTTP_METHODS:
        return UnexpectedMessage("the peer speaks plain HTTP to a TLS port; use https:// instead")
    return UnexpectedMessage(f"a record of unknown type {header[0]}; the peer does not speak TLS (RFC 8446 §5)")


class Reassembler:
    """Puts handshake messages together that records carry in parts, and takes apart records that carry several."""

    __slots__ = ("buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The most that a message may have, in bytes, header included."""
        self.buffer = bytearray()
        """Bytes of messages that were not handed out."""

    def feed(self, fragment: Buffer) -> None:
        """Take the content of a handshake record."""
        if not fragment:  # RFC 8446 §5.1
            msg = "a handshake record without content (RFC 8446 §5.1)"
            raise UnexpectedMessage(msg)
        self.buffer += fragment

    def next_message(self) -> bytes | None:
        """The next whole message, header included, or None."""
        buffer = self.buffer
        if len(buffer) < _MESSAGE_HEADER:
            return None
        size = _MESSAGE_HEADER + int.from_bytes(buffer[1:_MESSAGE_HEADER], "big")
        if size > self.limit:
            msg = f"a handshake message of {size} bytes, where {self.limit} are allowed"
            raise IllegalParameter(msg)
        if len(buffer) < size:
            return None
        message = bytes(buffer[:size])
        del buffer[:size]
        return message


def split(data: Buffer, size: int) -> Sequence[Buffer]:
    """The pieces of at most *size* bytes that *data* is sent in."""
    if len(data) <= size:
        return (data,)
    view = memoryview(data)
    return [view[start : start + size] for start in range(0, len(view), size)]


def frame_plaintext(content_type: int, content: Buffer) -> bytes:
    """Records without protection, as the first flight needs them (RFC 8446 §5.1)."""
    if len(content) > MAX_PLAINTEXT:
        return b"".join(frame_plaintext(content_type, piece) for piece in split(content, MAX_PLAINTEXT))
    header = (content_type << 32 | 0x0303 << 16 | len(content)).to_bytes(RECORD_HEADER, "big")
    return b"".join((header, content))
