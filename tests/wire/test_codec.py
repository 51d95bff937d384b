"""Reader and Writer: each field at its bounds and beyond them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import DecodeError, LocalError
from aiotls.wire.codec import Reader, Writer

NUMBERS = [(Writer.uint8, Reader.uint8, 1), (Writer.uint16, Reader.uint16, 2), (Writer.uint24, Reader.uint24, 3)]
NUMBERS += [(Writer.uint32, Reader.uint32, 4)]
STRINGS = [(Writer.opaque8, Reader.opaque8, 1), (Writer.opaque16, Reader.opaque16, 2)]
STRINGS += [(Writer.opaque24, Reader.opaque24, 3)]


@pytest.mark.rfc("8446", "3.3")
@pytest.mark.parametrize(("write", "read", "size"), NUMBERS)
def test_number_is_read_as_it_was_written(
    write: Callable[[Writer, int], Writer], read: Callable[[Reader], int], size: int
) -> None:
    largest = (1 << 8 * size) - 1
    for number in (0, 1, largest // 3, largest):
        data = write(Writer(), number).getvalue()
        assert data == number.to_bytes(size, "big")
        assert read(Reader(data, "number")) == number
    for wrong in (-1, largest + 1):
        with pytest.raises(LocalError):
            write(Writer(), wrong)
    with pytest.raises(DecodeError, match=f"number: {size} bytes wanted, {size - 1} left"):
        read(Reader(bytes(size - 1), "number"))


@pytest.mark.rfc("8446", "3.4")
@pytest.mark.parametrize(("write", "read", "size"), STRINGS)
def test_string_is_read_as_it_was_written(
    write: Callable[[Writer, bytes], Writer], read: Callable[..., bytes], size: int
) -> None:
    for string in (b"", b"a", b"abc" * 80):
        data = write(Writer(), string).getvalue()
        assert data == len(string).to_bytes(size, "big") + string
        assert read(Reader(data, "string")) == string
        if string:
            with pytest.raises(DecodeError):
                read(Reader(data[:-1], "string"))
    data = write(Writer(), b"four").getvalue()
    assert read(Reader(data, "string"), 4, 4) == b"four"
    for floor, ceiling in ((5, 9), (0, 3)):
        with pytest.raises(DecodeError, match=f"string: length 4 is not within {floor}..{ceiling}"):
            read(Reader(data, "string"), floor, ceiling)
    if size == 1:
        with pytest.raises(LocalError):
            write(Writer(), bytes(256))


@pytest.mark.parametrize("read", [Reader.vector8, Reader.vector16, Reader.vector24])
def test_vector_keeps_to_its_bounds(read: Callable[..., Reader]) -> None:
    size = {"vector8": 1, "vector16": 2, "vector24": 3}[read.__name__]
    reader = Reader((2).to_bytes(size, "big") + b"abc", "vector")
    inner = read(reader)
    assert (inner.uint8(), bool(inner), inner.uint8(), bool(inner)) == (97, True, 98, False)
    with pytest.raises(DecodeError):
        inner.uint8()
    assert reader.rest() == b"c"
    with pytest.raises(DecodeError):
        read(Reader((2).to_bytes(size, "big") + b"abc", "vector"), 3)


def test_bytes_left_over_are_refused() -> None:
    reader = Reader(b"ab", "message", 1)
    with pytest.raises(DecodeError, match="message: 1 bytes left over"):
        reader.finish()
    assert reader.opaque(1) == b"b"
    reader.finish()


@given(
    data=st.binary(max_size=40), script=st.lists(st.sampled_from(["uint8", "uint24", "opaque8", "vector16", "rest"]))
)
def test_reader_raises_nothing_but_decode_errors(data: bytes, script: list[str]) -> None:
    reader = Reader(data, "anything")
    for name in script:
        try:
            getattr(reader, name)()
        except DecodeError:
            return
