"""The sending half of the record layer on its own: fragments, limits, padding, and keys that have served their time."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.suites import SUITES, TAG_LENGTH
from aiotls.errors import CallbackError, LocalError
from aiotls.record.framing import MAX_PLAINTEXT
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.record.sending import Padding, RecordSender
from aiotls.wire.messages import KeyUpdate
from aiotls.wire.registries import CipherSuite, ContentType

SUITE = SUITES[CipherSuite.TLS_AES_128_GCM_SHA256]
SECRET = TrafficSecret(SUITE.hash, bytes(range(32)))
UPDATE = KeyUpdate(0).encode()
REQUEST = KeyUpdate(1).encode()
DATA, HANDSHAKE, ALERT = ContentType.application_data, ContentType.handshake, ContentType.alert
CHANGE_CIPHER_SPEC = bytes.fromhex("140303000101")


class Received(NamedTuple):
    """One record, as the peer has it."""

    content_type: int
    content: bytes
    inner: int
    """Bytes of its inner plaintext: content, type and padding (RFC 8446 §5.2)."""


class Peer:
    """Opens what a sender protects, and follows its KeyUpdates."""

    def __init__(self, secret: TrafficSecret = SECRET) -> None:
        self.key = OpeningKey(SUITE, secret)
        self.served: list[int] = []
        """How many records each key has protected, the KeyUpdate that ended it among them."""

    def read(self, data: bytes | bytearray) -> list[Received]:
        found = []
        for header, payload in records(bytes(data)):
            content_type, content = self.key.open(header, payload)
            found.append(Received(content_type, content, len(payload) - TAG_LENGTH))
            if (content_type, content) in ((HANDSHAKE, UPDATE), (HANDSHAKE, REQUEST)):
                self.served.append(self.key.sequence)
                self.key = self.key.updated()
        return found


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Header and payload of each record."""
    found = []
    while data:
        end = 5 + int.from_bytes(data[3:5], "big")
        found.append((data[:5], data[5:end]))
        data = data[end:]
    return found


def plain_sender(
    max_fragment: int = MAX_PLAINTEXT, padding: Padding = 0, records_per_key: int | None = None
) -> RecordSender:
    """A sender whose records are in plain text yet."""
    return RecordSender(max_fragment=max_fragment, padding=padding, records_per_key=records_per_key, key_update=UPDATE)


def sender(max_fragment: int = MAX_PLAINTEXT, padding: Padding = 0, records_per_key: int | None = None) -> RecordSender:
    made = plain_sender(max_fragment, padding, records_per_key)
    made.install(SealingKey(SUITE, SECRET))
    return made


def sent(made: RecordSender, data: bytes) -> list[Received]:
    """The records that carry *data*, after a look at what they carry."""
    made.application_data(data)
    found = Peer().read(made.take())
    assert b"".join(record.content for record in found if record.content_type == DATA) == data
    return found


# --- What waits, and what is taken -------------------------------------------------------------------------------


def test_sender_gives_each_byte_once() -> None:
    made = sender()
    assert (made.waiting, made.take()) == (False, b"")
    made.application_data(b"one")
    made.application_data(b"two")
    assert made.waiting
    assert [record.content for record in Peer().read(made.take())] == [b"one", b"two"]
    assert (made.waiting, made.take()) == (False, b"")


def test_sender_makes_no_record_of_no_data() -> None:
    made = sender()
    made.application_data(b"")
    assert not made.waiting
    assert made.key is not None
    assert made.key.sequence == 0


def test_sender_has_no_plain_text_for_application_data() -> None:
    made = plain_sender()
    for data in (b"a", bytes(MAX_PLAINTEXT + 1)):
        with pytest.raises(LocalError, match="the handshake is not complete"):
            made.application_data(data)
    with pytest.raises(LocalError, match="the handshake is not complete"):
        made.update_key(UPDATE)
    assert not made.waiting


@pytest.mark.rfc("8446", "5.1")
def test_messages_of_one_flight_share_a_record() -> None:
    made = plain_sender()
    made.collect(b"one")
    made.collect(b"two")
    assert not made.waiting
    made.flush()
    assert made.take() == b"\x16\3\3\0\6onetwo"
    made.flush()
    assert not made.waiting


def test_flight_that_is_discarded_is_never_sent() -> None:
    made = plain_sender()
    made.collect(b"one")
    made.discard()
    made.flush()
    assert not made.waiting


@pytest.mark.rfc("8446", "D.4")
def test_flight_goes_before_change_cipher_spec_and_before_a_new_key() -> None:
    made = plain_sender()
    made.collect(b"hello")
    made.change_cipher_spec()
    made.collect(b"in plain text")
    made.install(SealingKey(SUITE, SECRET))
    made.collect(b"protected")
    made.flush()
    data = bytes(made.take())
    front = b"\x16\3\3\0\5hello" + CHANGE_CIPHER_SPEC + b"\x16\3\3\0\x0din plain text"
    assert data.startswith(front)
    (record,) = Peer().read(data[len(front) :])
    assert (record.content_type, record.content) == (HANDSHAKE, b"protected")


def test_change_cipher_spec_is_in_plain_text_always() -> None:
    made = sender(padding=100)
    made.change_cipher_spec()
    assert made.take() == CHANGE_CIPHER_SPEC


@pytest.mark.rfc("8446", "6")
def test_alert_is_protected_once_there_is_a_key() -> None:
    made = plain_sender(padding=100)
    made.alert(2, 40)
    assert made.take() == b"\x15\3\3\0\2\2\x28"
    made.install(SealingKey(SUITE, SECRET))
    made.alert(1, 0)
    (record,) = Peer().read(made.take())
    assert record == (ALERT, b"\1\0", 1 + 100)


# --- Fragments ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("fragment", [1, 64, 100, MAX_PLAINTEXT - 1, MAX_PLAINTEXT])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_is_cut_into_fragments(fragment: int, kind: Callable[[bytes], Any]) -> None:
    for size in (1, fragment - 1, fragment, fragment + 1, 3 * fragment, 3 * fragment + 1):
        data = bytes(number % 251 for number in range(size))
        made = sender(fragment)
        made.application_data(kind(data))
        found = Peer().read(made.take())
        full, rest = divmod(size, fragment)
        assert [len(record.content) for record in found] == [fragment] * full + [rest] * bool(rest)
        assert b"".join(record.content for record in found) == data
        assert all(record.inner == len(record.content) + 1 for record in found)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_flight_under_a_key_and_later_messages_are_cut_into_fragments_too(size: int) -> None:
    for send in (lambda made, data: (made.collect(data), made.flush()), RecordSender.handshake):
        made = sender(64)
        send(made, bytes(size))
        found = Peer().read(made.take())
        assert [len(record.content) for record in found] == [64] * (size // 64) + [size % 64] * bool(size % 64)
        assert {record.content_type for record in found} == {HANDSHAKE}


@pytest.mark.rfc("8446", "5.1")
def test_flight_in_plain_text_keeps_to_the_rfcs_limit_alone() -> None:
    """RFC 8449 §4 limits protected records only, and the first hellos are best in one."""
    made = plain_sender(64)
    made.collect(bytes(MAX_PLAINTEXT + 1))
    made.flush()
    assert [len(payload) for _, payload in records(bytes(made.take()))] == [MAX_PLAINTEXT, 1]


def test_sender_goes_on_under_other_rules() -> None:
    made = sender()
    made.configure(100, 10, 3)
    found = sent(made, bytes(250))
    assert [len(record.content) for record in found] == [100, 100, len(UPDATE), 50]
    assert [record.inner for record in found] == [101, 101, len(UPDATE) + 1, 51]


# --- The peer's limit --------------------------------------------------------------------------------------------


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("padding", [0, 7, 1000, MAX_PLAINTEXT, lambda length: 5, lambda length: 1 << 20])
@pytest.mark.parametrize("limit", [64, 65, 1000, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, MAX_PLAINTEXT + 2, 0xFFFF])
def test_no_record_is_above_the_peers_limit(limit: int, padding: Padding) -> None:
    made = sender(padding=padding)
    made.limit(limit)
    most = min(limit, MAX_PLAINTEXT + 1)
    data = bytes(number % 251 for number in range(2 * MAX_PLAINTEXT + 3))
    found = sent(made, data)
    assert max(record.inner for record in found) == most
    assert all(len(record.content) == most - 1 for record in found[:-1])


@pytest.mark.rfc("8449", "4")
def test_limit_holds_for_every_kind_of_record() -> None:
    made = sender(padding=MAX_PLAINTEXT)
    made.limit(64)
    made.collect(bytes(100))
    made.flush()
    made.handshake(bytes(100))
    made.alert(1, 90)
    made.update_key(UPDATE)
    made.application_data(bytes(100))
    found = Peer().read(made.take())
    assert [record.content_type for record in found] == [HANDSHAKE] * 4 + [ALERT, HANDSHAKE, DATA, DATA]
    assert {record.inner for record in found if record.content != UPDATE} == {64}


@pytest.mark.rfc("8449", "4")
def test_limit_above_our_own_fragments_changes_nothing() -> None:
    made = sender(100)
    made.limit(1000)
    assert [len(record.content) for record in sent(made, bytes(250))] == [100, 100, 50]


@pytest.mark.rfc("8449", "4")
def test_later_limit_does_not_undo_a_smaller_fragment() -> None:
    made = sender()
    made.limit(64)
    made.limit(1000)
    assert [len(record.content) for record in sent(made, bytes(100))] == [63, 37]


# --- Padding -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.4")
@pytest.mark.parametrize(
    ("padding", "length", "padded"),
    [
        (0, 5, 5),
        (1, 5, 5),
        (2, 5, 6),
        (16, 1, 16),
        (16, 15, 16),
        (16, 16, 16),
        (16, 17, 32),
        (MAX_PLAINTEXT, 1, MAX_PLAINTEXT),
        (MAX_PLAINTEXT, MAX_PLAINTEXT, MAX_PLAINTEXT),
        (1000, MAX_PLAINTEXT, MAX_PLAINTEXT),  # 17000 would be more than a record holds
        (1000, 16001, MAX_PLAINTEXT),
    ],
)
def test_record_is_padded_to_a_multiple_as_far_as_it_goes(padding: int, length: int, padded: int) -> None:
    (record,) = sent(sender(padding=padding), b"x" * length)
    assert record.inner == padded + 1


@given(padding=st.integers(0, MAX_PLAINTEXT), length=st.integers(1, 1000), limit=st.integers(64, MAX_PLAINTEXT + 1))
def test_padding_never_goes_beyond_the_limit_nor_short_of_the_multiple(padding: int, length: int, limit: int) -> None:
    made = sender(padding=padding)
    made.limit(limit)
    for record in sent(made, bytes(length)):
        content = len(record.content)
        wanted = content + (-content % padding if padding else 0)
        assert record.inner == min(wanted, limit - 1) + 1


@pytest.mark.rfc("8446", "5.4")
def test_function_tells_the_zeros_of_each_record_by_its_length() -> None:
    asked: list[int] = []

    def zeros(length: int) -> int:
        asked.append(length)
        return length // 2

    made = sender(100, padding=zeros)
    found = sent(made, bytes(250))
    made.alert(1, 0)
    made.handshake(bytes(30))
    assert asked == [100, 100, 50, 2, 30]
    assert [record.inner for record in found] == [151, 151, 76]


@pytest.mark.parametrize("padding", [100, lambda length: 100], ids=["multiple", "function"])
def test_padding_is_no_part_of_what_is_read(padding: Padding) -> None:
    for content in (b"a", b"zeros at the end\0\0\0", b"\0", bytes(100)):
        (record,) = sent(sender(padding=padding), content)
        assert record.content == content


def raises(length: int) -> NoReturn:
    raise ArithmeticError("no idea")


@pytest.mark.parametrize("answer", [-1, None, "3", 2.5, b"", [1]], ids=repr)
def test_padding_that_is_no_number_of_zeros_is_refused(answer: Any) -> None:
    made = sender(padding=lambda length: answer)
    with pytest.raises(CallbackError, match="record_padding must give a number of zeros, and gave"):
        made.application_data(b"data")
    assert not made.waiting


def test_padding_that_raises_is_named_in_the_error() -> None:
    made = sender(padding=raises)
    with pytest.raises(CallbackError, match=r"record_padding failed: ArithmeticError\('no idea'\)") as caught:
        made.application_data(b"data")
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert not made.waiting


# --- Keys --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("message", [UPDATE, REQUEST])
def test_key_update_is_the_last_record_of_its_key(message: bytes) -> None:
    made = sender(padding=100)
    made.application_data(b"before")
    key = made.update_key(message)
    assert made.key is key
    assert key.sequence == 0
    made.application_data(b"after")
    peer = Peer()
    assert [record.content for record in peer.read(made.take())] == [b"before", message, b"after"]
    assert peer.served == [2]


@pytest.mark.rfc("8446", "5.5")
@pytest.mark.parametrize("limit", [2, 3, 4, 10])
@pytest.mark.parametrize("fragment", [64, 100, MAX_PLAINTEXT - 1, MAX_PLAINTEXT])
@pytest.mark.parametrize("padding", [0, 32])
def test_key_is_replaced_in_time_however_small_the_fragments(limit: int, fragment: int, padding: int) -> None:
    made, peer = sender(fragment, padding, limit), Peer()
    data = bytes(number % 251 for number in range(11 * fragment + 1))
    for piece in (data, b"a", data):
        made.application_data(piece)
    found = peer.read(made.take())
    assert b"".join(record.content for record in found if record.content_type == DATA) == data + b"a" + data
    count = 12 + 1 + 12
    assert [record.content for record in found].count(UPDATE) == len(peer.served) == (count - 1) // (limit - 1)
    assert set(peer.served) == {limit}


@pytest.mark.rfc("8446", "5.5")
def test_suites_limit_holds_where_the_config_allows_more() -> None:
    made, peer = sender(records_per_key=1 << 62), Peer()
    assert made.key is not None
    limit = SUITE.confidentiality_limit
    made.key.sequence = peer.key.sequence = limit - 2
    made.application_data(b"the last")
    made.application_data(b"the first")
    assert [record.content for record in peer.read(made.take())] == [b"the last", UPDATE, b"the first"]
    assert peer.served == [limit]


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("limit", [2, 3, 5])
def test_key_update_does_not_stand_within_another_message(limit: int) -> None:
    """RFC 8446 §5.1: a message in parts is not to be interleaved with others, nor to span a change of keys."""
    made, peer = sender(64, records_per_key=limit), Peer()
    first, second = bytes([4, 0, 0, 196]) + bytes(196), bytes([4, 0, 0, 96]) + bytes(96)
    made.application_data(b"a")
    made.handshake(first)
    made.handshake(second)
    made.application_data(b"b")
    found = peer.read(made.take())
    stream = b"".join(record.content for record in found if record.content_type == HANDSHAKE)
    assert stream.replace(UPDATE, b"") == first + second
    kept = [record.content for record in found]
    place = kept.index(first[:64])
    assert b"".join(kept[place : place + 4]) == first
    place = kept.index(second[:64])
    assert b"".join(kept[place : place + 2]) == second
