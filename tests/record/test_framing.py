"""Framing on its own: records and messages in any split, and what is too long or no record at all."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import IllegalParameter, RecordOverflow, UnexpectedMessage
from aiotls.record.framing import (
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    RECORD_HEADER,
    Deframer,
    Reassembler,
    frame_plaintext,
    split,
)
from aiotls.wire.registries import ContentType

HANDSHAKE = ContentType.handshake
Found = list[tuple[int, bytes, bytes]]

sizes_of_splits = st.lists(st.integers(1, 30), min_size=1, max_size=20)


def pieces(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """*stream* in pieces of these sizes, over and over."""
    start = turn = 0
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        yield stream[start : start + size]
        start, turn = start + size, turn + 1


def deframe(deframer: Deframer, stream: bytes, sizes: list[int]) -> Found:
    """What the Deframer finds when each piece lies in the same buffer, which is overwritten between them."""
    found: Found = []
    buffer = bytearray(max(sizes))
    for piece in pieces(stream, sizes):
        buffer[: len(piece)] = piece
        deframer.feed(memoryview(buffer)[: len(piece)])
        while (record := deframer.next_record()) is not None:
            found.append((record[0], bytes(record[1]), bytes(record[2])))
        deframer.keep()
        buffer[:] = b"\xff" * len(buffer)
    return found


# --- Records -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@given(
    records=st.lists(
        st.tuples(st.integers(20, 23), st.binary(min_size=2, max_size=2), st.binary(max_size=50)), max_size=6
    ),
    sizes=sizes_of_splits,
)
def test_records_are_found_in_any_split(records: list[tuple[int, bytes, bytes]], sizes: list[int]) -> None:
    """Of all four types, with any legacy version, and empty ones too."""
    expected = [
        (content_type, bytes((content_type,)) + version + len(payload).to_bytes(2, "big"), payload)
        for content_type, version, payload in records
    ]
    stream = b"".join(header + payload for _, header, payload in expected)
    deframer = Deframer()
    assert deframe(deframer, stream, sizes) == expected
    assert deframer.buffered == 0


@pytest.mark.rfc("8446", "5.1")
@given(payload=st.binary(max_size=40), sizes=sizes_of_splits)
def test_only_bytes_of_an_incomplete_record_are_kept(payload: bytes, sizes: list[int]) -> None:
    stream = frame_plaintext(HANDSHAKE, payload)
    for end in range(len(stream)):
        deframer = Deframer()
        assert deframe(deframer, stream[:end], sizes) == []
        assert deframer.buffered == end
        assert [found[2] for found in deframe(deframer, stream[end:], sizes)] == [payload]
        assert deframer.buffered == 0


def test_record_is_handed_out_where_it_lies() -> None:
    """No copy is made of a record that is there as a whole."""
    buffer = bytearray(frame_plaintext(HANDSHAKE, b"content"))
    deframer = Deframer()
    deframer.feed(memoryview(buffer))
    record = deframer.next_record()
    assert record is not None
    assert isinstance(record[2], memoryview)
    assert record[2].obj is buffer


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("sizes", [[1 << 16], [1], [3, 7]], ids=str)
@pytest.mark.parametrize("limit", [MAX_PLAINTEXT, MAX_CIPHERTEXT])
def test_record_that_is_too_long_is_refused_by_its_header(limit: int, sizes: list[int]) -> None:
    for length in (limit + 1, 0xFFFF):
        deframer = Deframer()
        deframer.limit = limit
        with pytest.raises(RecordOverflow, match=f"a record of {length} bytes, where {limit} are allowed"):
            deframe(deframer, b"\x17\x03\x03" + length.to_bytes(2, "big"), sizes)


@pytest.mark.rfc("8446", "5.2")
@pytest.mark.parametrize("limit", [MAX_PLAINTEXT, MAX_CIPHERTEXT])
def test_longest_record_is_taken(limit: int) -> None:
    deframer = Deframer()
    assert deframer.limit == MAX_PLAINTEXT
    deframer.limit = limit
    stream = b"\x17\x03\x03" + limit.to_bytes(2, "big") + bytes(limit)
    assert [len(found[2]) for found in deframe(deframer, stream, [1000])] == [limit]


@pytest.mark.rfc("8446", "5")
@pytest.mark.parametrize("sizes", [[100], [1]], ids=["at_once", "byte_by_byte"])
@pytest.mark.parametrize("first", [0, 19, 24, 0x80, 255])
def test_unknown_type_is_refused(first: int, sizes: list[int]) -> None:
    with pytest.raises(UnexpectedMessage, match=f"unknown type {first}; the peer does not speak TLS"):
        deframe(Deframer(), bytes((first, 3, 3, 0, 1, 0)), sizes)


@pytest.mark.parametrize("sizes", [[100], [1]], ids=["at_once", "byte_by_byte"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "PRI"])
def test_plain_http_is_told_apart(method: str, sizes: list[int]) -> None:
    with pytest.raises(UnexpectedMessage, match="plain HTTP to a TLS port; use https:// instead"):
        deframe(Deframer(), f"{method} / HTTP/1.1\r\n".encode(), sizes)


def test_deframer_waits_for_the_whole_header_of_something_unknown() -> None:
    assert deframe(Deframer(), b"GET ", [4]) == []


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("length", [0, 1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, 2 * MAX_PLAINTEXT, 2 * MAX_PLAINTEXT + 300])
def test_content_is_framed_in_as_few_records_as_can_be(length: int) -> None:
    content = (bytes(range(251)) * (length // 251 + 1))[:length]
    found = deframe(Deframer(), frame_plaintext(HANDSHAKE, content), [1 << 16])
    assert [len(payload) for _, _, payload in found] == [
        min(MAX_PLAINTEXT, length - start) for start in range(0, max(length, 1), MAX_PLAINTEXT)
    ]
    assert b"".join(payload for _, _, payload in found) == content
    assert {(content_type, header[1:3]) for content_type, header, _ in found} == {(HANDSHAKE, b"\x03\x03")}


@given(data=st.binary(max_size=100), size=st.integers(1, 40), kind=st.sampled_from([bytes, bytearray, memoryview]))
def test_split_loses_nothing(data: bytes, size: int, kind: type[bytes | bytearray | memoryview]) -> None:
    parts = split(kind(data), size)
    assert b"".join(parts) == data
    assert all(len(part) == size for part in parts[:-1])
    assert len(parts[-1]) <= size
    assert len(parts) == max(1, -(-len(data) // size))


def test_header_is_five_bytes() -> None:
    assert frame_plaintext(ContentType.alert, b"\x02\x28") == b"\x15\x03\x03\x00\x02\x02\x28"
    assert RECORD_HEADER == 5


# --- Messages ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@given(messages=st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6), sizes=sizes_of_splits)
def test_messages_are_put_together_from_any_fragments(messages: list[tuple[int, bytes]], sizes: list[int]) -> None:
    expected = [bytes((code,)) + len(body).to_bytes(3, "big") + body for code, body in messages]
    reassembler, found = Reassembler(64), []
    for fragment in pieces(b"".join(expected), sizes):
        reassembler.feed(fragment)
        while (message := reassembler.next_message()) is not None:
            found.append(message)
    assert found == expected
    assert reassembler.buffer == b""


@pytest.mark.parametrize("limit", [4, 5, 100, 1 << 20])
def test_message_that_is_too_long_is_refused_before_it_is_there(limit: int) -> None:
    reassembler = Reassembler(limit)
    longest = b"\x01" + (limit - 4).to_bytes(3, "big") + bytes(limit - 4)
    reassembler.feed(longest)
    assert reassembler.next_message() == longest
    reassembler.feed(b"\x01" + (limit - 3).to_bytes(3, "big"))
    with pytest.raises(IllegalParameter, match=f"{limit + 1} bytes, where {limit} are allowed"):
        reassembler.next_message()


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")], ids=lambda empty: type(empty).__name__)
def test_empty_handshake_record_is_refused(empty: bytes | bytearray | memoryview) -> None:
    with pytest.raises(UnexpectedMessage, match="without content"):
        Reassembler(100).feed(empty)


def test_incomplete_message_stays_in_the_buffer() -> None:
    reassembler = Reassembler(100)
    for fragment in (b"\x14", b"\0\0", b"\2", b"a"):
        reassembler.feed(fragment)
        assert reassembler.next_message() is None
    assert reassembler.buffer == b"\x14\0\0\2a"
    reassembler.feed(b"b\x18")
    assert reassembler.next_message() == b"\x14\0\0\2ab"
    assert reassembler.buffer == b"\x18"
