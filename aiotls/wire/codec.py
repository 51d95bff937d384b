"""The presentation language of RFC 8446 §3: numbers, opaque strings and vectors, with every bound checked.

The Reader is for reading: a parser written with it looks like the struct in the RFC.  The one message that every
stranger makes us parse, the ClientHello, is parsed by offsets instead (see `messages.py`), because that is four
times as fast.
"""

from typing import Self

from aiotls.errors import DecodeError, LocalError

__all__ = ["Reader", "Writer"]


class Reader:
    """A cursor over bytes that a peer sent; whatever does not fit raises DecodeError naming *what*."""

    __slots__ = ("_data", "_end", "_position", "_what")

    def __init__(self, data: bytes, what: str, position: int = 0) -> None:
        self._data = data
        self._position = position
        self._end = len(data)
        self._what = what

    def __bool__(self) -> bool:
        """Whether bytes are left."""
        return self._position < self._end

    def _advance(self, count: int) -> int:
        start = self._position
        if count > self._end - start:
            msg = f"{self._what}: {count} bytes wanted, {self._end - start} left"
            raise DecodeError(msg)
        self._position = start + count
        return start

    def uint8(self) -> int:
        """One byte."""
        return self._data[self._advance(1)]

    def uint16(self) -> int:
        """Two bytes, big endian."""
        start = self._advance(2)
        return self._data[start] << 8 | self._data[start + 1]

    def uint24(self) -> int:
        """Three bytes, big endian."""
        return int.from_bytes(self.opaque(3), "big")

    def uint32(self) -> int:
        """Four bytes, big endian."""
        return int.from_bytes(self.opaque(4), "big")

    def opaque(self, count: int) -> bytes:
        """Exactly *count* bytes."""
        start = self._advance(count)
        return self._data[start : start + count]

    def opaque8(self, floor: int = 0, ceiling: int = 0xFF) -> bytes:
        """``opaque x<floor..ceiling>`` behind a one-byte length."""
        return self.opaque(self._bounded(self.uint8(), floor, ceiling))

    def opaque16(self, floor: int = 0, ceiling: int = 0xFFFF) -> bytes:
        """``opaque x<floor..ceiling>`` behind a two-byte length."""
        return self.opaque(self._bounded(self.uint16(), floor, ceiling))

    def opaque24(self, floor: int = 0, ceiling: int = 0xFFFFFF) -> bytes:
        """``opaque x<floor..ceiling>`` behind a three-byte length."""
        return self.opaque(self._bounded(self.uint24(), floor, ceiling))

    def vector8(self, floor: int = 0) -> Self:
        """A Reader over the vector behind a one-byte length."""
        return type(self)(self.opaque8(floor), self._what)

    def vector16(self, floor: int = 0) -> Self:
        """A Reader over the vector behind a two-byte length."""
        return type(self)(self.opaque16(floor), self._what)

    def vector24(self, floor: int = 0) -> Self:
        """A Reader over the vector behind a three-byte length."""
        return type(self)(self.opaque24(floor), self._what)

    def rest(self) -> bytes:
        """All that is left."""
        return self.opaque(self._end - self._position)

    def finish(self) -> None:
        """Refuse bytes that are left over."""
        if self._position != self._end:
            msg = f"{self._what}: {self._end - self._position} bytes left over"
            raise DecodeError(msg)

    def _bounded(self, length: int, floor: int, ceiling: int) -> int:
        if not floor <= length <= ceiling:
            msg = f"{self._what}: length {length} is not within {floor}..{ceiling}"
            raise DecodeError(msg)
        return length


class Writer:
    """Builds a struct field by field; a value that its field cannot hold raises LocalError."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def getvalue(self) -> bytes:
        """What was written so far."""
        return bytes(self._data)

    def _number(self, value: int, size: int) -> Self:
        try:
            self._data += value.to_bytes(size, "big")
        except OverflowError:
            msg = f"{value} does not fit a field of {size} bytes"
            raise LocalError(msg) from None
        return self

    def uint8(self, value: int) -> Self:
        """One byte."""
        return self._number(value, 1)

    def uint16(self, value: int) -> Self:
        """Two bytes, big endian."""
        return self._number(value, 2)

    def uint24(self, value: int) -> Self:
        """Three bytes, big endian."""
        return self._number(value, 3)

    def uint32(self, value: int) -> Self:
        """Four bytes, big endian."""
        return self._number(value, 4)

    def opaque(self, data: bytes) -> Self:
        """The bytes themselves, without a length."""
        self._data += data
        return self

    def opaque8(self, data: bytes) -> Self:
        """The bytes behind a one-byte length."""
        return self._number(len(data), 1).opaque(data)

    def opaque16(self, data: bytes) -> Self:
        """The bytes behind a two-byte length."""
        return self._number(len(data), 2).opaque(data)

    def opaque24(self, data: bytes) -> Self:
        """The bytes behind a three-byte length."""
        return self._number(len(data), 3).opaque(data)
