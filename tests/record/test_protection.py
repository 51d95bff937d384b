"""Record protection on its own: nonces, padding, limits, and what a changed byte does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.suites import SUITES, TAG_LENGTH, Suite
from aiotls.errors import BadRecordMAC, RecordOverflow, UnexpectedMessage
from aiotls.record.framing import MAX_PLAINTEXT, split
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


@pytest.mark.rfc("8446", "5.2")
@pytest.mark.parametrize("length", [0, 7, MAX_PLAINTEXT - 1])
def test_padding_counts_for_the_length_of_the_inner_plaintext(length: int) -> None:
    """Content, its type and the padding have 2^14 + 1 bytes at most, whatever there is of each."""
    sealing, opening = keys(SUITES[0x1301])
    inner = b"a" * length + b"\x17" + bytes(MAX_PLAINTEXT - length)
    assert opened(opening, sealing.seal(0, inner[:-1]))[1] == b"a" * length
    with pytest.raises(RecordOverflow, match=f"{MAX_PLAINTEXT + 2} bytes of inner plaintext"):
        opened(opening, sealing.seal(0, inner))


@pytest.mark.rfc("8446", "5.2")
@every_suite
def test_payload_too_short_for_a_tag_does_not_authenticate(suite: Suite) -> None:
    for length in range(TAG_LENGTH + 1):
        with pytest.raises(BadRecordMAC, match="record 0 does not authenticate"):
            keys(suite)[1].open(b"\x17\x03\x03" + length.to_bytes(2, "big"), bytes(length))


@pytest.mark.rfc("8446", "5.2")
def test_record_without_even_a_type_is_refused() -> None:
    """A tag over nothing at all: it authenticates, and holds no content type."""
    suite = SUITES[0x1301]
    sealing, opening = keys(suite)
    key, iv = sealing.secret.key_and_iv(suite)
    header = b"\x17\x03\x03\x00\x10"
    with pytest.raises(UnexpectedMessage, match="nothing but padding"):
        opening.open(header, suite.aead(key).encrypt(iv, b"", header))


@every_suite
@given(
    content=st.binary(max_size=300),
    content_type=st.integers(1, 255),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
    padding=st.integers(0, 50),
)
def test_what_is_sealed_is_opened(
    suite: Suite, content: bytes, content_type: int, kind: type[bytes | bytearray | memoryview], padding: int
) -> None:
    sealing, opening = keys(suite)
    record = sealing.seal(content_type, kind(content))
    assert len(record) == 5 + len(content) + 1 + TAG_LENGTH
    assert record[:3] == b"\x17\x03\x03"
    assert opening.open(kind(record[:5]), kind(record[5:])) == (content_type, content)
    padded = sealing.seal(0, content + bytes((content_type,)) + bytes(padding))
    assert opened(opening, padded) == (content_type, content)
    assert (sealing.sequence, opening.sequence) == (2, 2)


@pytest.mark.rfc("8446", "5.3")
@every_suite
@pytest.mark.parametrize("sequence", [255, 256, 2**32 - 1, 2**63, 2**64 - 1])
def test_nonce_holds_the_whole_sequence_number(suite: Suite, sequence: int) -> None:
    sealing, opening = keys(suite)
    key, iv = sealing.secret.key_and_iv(suite)
    sealing.sequence = opening.sequence = sequence
    record = sealing.seal(DATA, b"content")
    nonce = bytes(a ^ b for a, b in zip(iv, sequence.to_bytes(12, "big"), strict=True))
    assert suite.aead(key).decrypt(nonce, record[5:], record[:5]) == b"content\x17"
    assert opened(opening, record) == (DATA, b"content")


@every_suite
def test_full_records_go_on_from_the_sequence_number(suite: Suite) -> None:
    sealing, opening = keys(suite)
    data = bytes(range(256)) * (MAX_PLAINTEXT // 256)
    stream: list[bytes | bytearray] = [
        sealing.seal(DATA, b"before"),
        sealing.seal_full_records(memoryview(data)),
        sealing.seal(DATA, b"after"),
    ]
    assert [opened(opening, record)[1] for record in stream] == [b"before", data, b"after"]
    assert sealing.seal_full_records(memoryview(b"")) == b""
    assert sealing.sequence == 3


@pytest.mark.rfc("8446", "5.2")
def test_record_is_not_opened_in_another_place() -> None:
    sealing, opening = keys(SUITES[0x1303])
    first, second = sealing.seal(DATA, b"first"), sealing.seal(DATA, b"second")
    with pytest.raises(BadRecordMAC, match="record 0"):
        opened(opening, second)
    assert opening.sequence == 0
    assert opened(opening, first) == (DATA, b"first")
    assert opened(opening, second) == (DATA, b"second")
