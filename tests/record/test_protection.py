"""Record protection and framing, on their own: nonces, padding, limits, any split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.suites import SUITES, Suite
from aiotls.errors import BadRecordMAC, IllegalParameter, RecordOverflow, UnexpectedMessage
from aiotls.record.framing import MAX_CIPHERTEXT, MAX_PLAINTEXT, Deframer, Reassembler, frame_plaintext, split
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.wire.registries import ContentType

DATA = ContentType.application_data
every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.code.name)


def keys(suite: Suite) -> tuple[SealingKey, OpeningKey]:
    secret = TrafficSecret(suite.hash, bytes(range(suite.hash.digest_size)))
    return SealingKey(suite, secret), OpeningKey(suite, secret)


def opened(key: OpeningKey, record: bytes | bytearray) -> tuple[int, bytes]:
    return key.open(bytes(record[:5]), bytes(record[5:]))


@pytest.mark.rfc("8446", "5.3")
@every_suite
def test_nonce_is_the_sequence_number_in_the_iv(suite: Suite) -> None:
    sealing, _ = keys(suite)
    key, iv = sealing.secret.key_and_iv(suite)
    for sequence in range(3):
        record = sealing.seal(DATA, b"content")
        nonce = bytes(a ^ b for a, b in zip(iv, sequence.to_bytes(12, "big"), strict=True))
        assert suite.aead(key).decrypt(nonce, record[5:], record[:5]) == b"content\x17"


@pytest.mark.rfc("8446", "5.2")
@every_suite
def test_each_changed_byte_is_noticed(suite: Suite) -> None:
    sealing, opening = keys(suite)
    record = sealing.seal(ContentType.handshake, b"some content")
    for place in range(len(record)):
        broken = bytearray(record)
        broken[place] ^= 0x10
        with pytest.raises(BadRecordMAC):
            opened(opening, broken)
    assert opened(opening, record) == (ContentType.handshake, b"some content")
    with pytest.raises(BadRecordMAC):
        opened(opening, record)  # a second time: the sequence number has gone on


@every_suite
def test_full_records_are_those_that_are_sealed_one_by_one(suite: Suite) -> None:
    data = bytes(range(256)) * (3 * MAX_PLAINTEXT // 256)
    together, _ = keys(suite)
    single, opening = keys(suite)
    sealed = together.seal_full_records(memoryview(data))
    assert sealed == b"".join(single.seal(DATA, piece) for piece in split(data, MAX_PLAINTEXT))
    assert together.sequence == single.sequence == 3
    size = len(sealed) // 3
    assert b"".join(opened(opening, sealed[start : start + size])[1] for start in range(0, len(sealed), size)) == data


@pytest.mark.rfc("8446", "7.2")
@every_suite
def test_updated_keys_belong_together_and_begin_at_zero(suite: Suite) -> None:
    sealing, opening = keys(suite)
    sealing.seal(DATA, b"old")
    sealing, successor = sealing.updated(), opening.updated()
    record = sealing.seal(DATA, b"new")
    assert (sealing.sequence, opened(successor, record)) == (1, (DATA, b"new"))
    with pytest.raises(BadRecordMAC):
        opened(opening, record)


@pytest.mark.rfc("8446", "5.4")
@pytest.mark.parametrize("padding", [0, 1, 200])
def test_padding_is_taken_off_and_nothing_but_padding_refused(padding: int) -> None:
    suite = SUITES[0x1301]
    sealing, opening = keys(suite)
    assert opened(opening, sealing.seal(0, b"\x15content\x15" + bytes(padding))) == (0x15, b"\x15content")
    with pytest.raises(UnexpectedMessage):
        opened(opening, sealing.seal(0, bytes(padding)))


@pytest.mark.rfc("8446", "5.2")
def test_inner_plaintext_that_is_too_long_is_refused() -> None:
    sealing, opening = keys(SUITES[0x1301])
    assert len(opened(opening, sealing.seal(DATA, bytes(MAX_PLAINTEXT)))[1]) == MAX_PLAINTEXT
    with pytest.raises(RecordOverflow):
        opened(opening, sealing.seal(DATA, bytes(MAX_PLAINTEXT + 1)))


@pytest.mark.rfc("8446", "5.1")
@given(
    contents=st.lists(st.binary(min_size=1, max_size=50), max_size=5), sizes=st.lists(st.integers(1, 30), min_size=1)
)
def test_records_are_found_in_any_split(contents: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(frame_plaintext(ContentType.handshake, content) for content in contents)
    deframer, found, start, turn = Deframer(), [], 0, 0
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        deframer.feed(memoryview(stream)[start : start + size])
        while (record := deframer.next_record()) is not None:
            found.append(bytes(record[2]))
        deframer.keep()
        start, turn = start + size, turn + 1
    assert (found, deframer.buffered) == (contents, 0)


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("limit", [MAX_PLAINTEXT, MAX_CIPHERTEXT])
def test_record_that_is_too_long_is_refused_by_its_header(limit: int) -> None:
    deframer = Deframer()
    deframer.limit = limit
    deframer.feed(b"\x17\x03\x03" + (limit + 1).to_bytes(2, "big"))
    with pytest.raises(RecordOverflow, match=str(limit)):
        deframer.next_record()


def test_plain_http_is_told_apart() -> None:
    deframer = Deframer()
    deframer.feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(UnexpectedMessage, match="https"):
        deframer.next_record()


def test_long_flight_is_framed_in_several_records() -> None:
    content = bytes(range(256)) * 129
    deframer, found = Deframer(), []
    deframer.feed(frame_plaintext(ContentType.handshake, content))
    while (record := deframer.next_record()) is not None:
        found.append(bytes(record[2]))
    assert [len(piece) for piece in found] == [MAX_PLAINTEXT, MAX_PLAINTEXT, len(content) - 2 * MAX_PLAINTEXT]
    assert b"".join(found) == content


def test_reassembler_bounds_a_message_before_it_is_there() -> None:
    reassembler = Reassembler(100)
    reassembler.feed(b"\x01\0\0\x60" + bytes(0x60))
    assert len(reassembler.next_message() or b"") == 100
    reassembler.feed(b"\x01\0\0\x61")
    with pytest.raises(IllegalParameter, match="101 bytes, where 100 are allowed"):
        reassembler.next_message()
    with pytest.raises(UnexpectedMessage):
        reassembler.feed(b"")
