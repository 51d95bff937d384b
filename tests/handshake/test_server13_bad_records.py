"""Records that a server must refuse: their types, sizes, order and protection (RFC 8446 §5), and alerts (§6).

What is legal in ones and harmful in thousands is refused too, at a bound; there the error is PeerFlooding, and the
same test goes up to the bound first.
"""

from collections.abc import Callable

import pytest

from aiotls.errors import (
    AlertDescription,
    AlertReceived,
    BadRecordMAC,
    DecodeError,
    PeerFlooding,
    RecordOverflow,
    TruncationError,
    UnexpectedMessage,
)
from aiotls.events import ApplicationData, HandshakeComplete, PeerClosed
from aiotls.testing.peer import ScriptedClient
from aiotls.wire.messages import KeyUpdate
from aiotls.wire.registries import ContentType
from tests.handshake.conftest import STAGES, Duel, Stage

UNEXPECTED = AlertDescription.unexpected_message
BAD_MAC = AlertDescription.bad_record_mac
OVERFLOW = AlertDescription.record_overflow
FULL = 1 << 14
HANDSHAKE = ContentType.handshake
ALERT = ContentType.alert
DATA = ContentType.application_data
CHANGE_CIPHER_SPEC = ContentType.change_cipher_spec

PLAINTEXT_STAGES = pytest.mark.parametrize("stage", [Stage.START, Stage.RETRIED], ids=lambda stage: stage.name.lower())
PROTECTED_STAGES = pytest.mark.parametrize(
    "stage", [Stage.FLIGHT, Stage.CONNECTED], ids=lambda stage: stage.name.lower()
)


def send_legal_message(duel: Duel) -> None:
    """What may come now, in one record."""
    if duel.client.write_key is None:
        duel.client.send_hello()
    elif any(isinstance(event, HandshakeComplete) for event in duel.events):
        duel.client.send_data(b"data")
    else:
        duel.client.finish()


def legal_message(duel: Duel) -> bytes:
    """A handshake message that may come now."""
    if duel.client.write_key is None:
        return duel.client.hello().encode()
    connected = any(isinstance(event, HandshakeComplete) for event in duel.events)
    return KeyUpdate(0).encode() if connected else duel.client.finished()


# --- Types -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5")
@STAGES
@pytest.mark.parametrize("content_type", [0, 1, 19, 24, 25, 71, 128, 255])
def test_server_refuses_record_of_unknown_type(stage: Stage, content_type: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(content_type, b"content", protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@PROTECTED_STAGES
@pytest.mark.parametrize("content_type", [1, 19, 20, 24, 128, 255])
def test_server_refuses_protected_record_of_unknown_type(stage: Stage, content_type: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(content_type, b"\x01")
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@PROTECTED_STAGES
@pytest.mark.parametrize("content_type", [HANDSHAKE, ALERT])
def test_server_refuses_plaintext_record_after_something_came_protected(stage: Stage, content_type: int) -> None:
    duel = Duel.at(stage)
    if stage is Stage.FLIGHT:
        duel.client.send_message(duel.client.finished()[:7])
    content = b"\x02\x28" if content_type == ALERT else legal_message(duel)
    duel.client.send_record(content_type, content, protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "6.2")
def test_server_takes_plaintext_alert_from_client_that_has_no_keys_yet() -> None:
    duel = Duel.at(Stage.FLIGHT)
    duel.client.send_record(ALERT, b"\x02\x28", protected=False)
    duel.assert_ended_in_silence(AlertReceived)


@pytest.mark.rfc("8446", "5")
def test_server_refuses_plaintext_finished() -> None:
    duel = Duel.at(Stage.FLIGHT)
    duel.client.send_record(HANDSHAKE, duel.client.finished(), protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@STAGES
@pytest.mark.parametrize("content_type", [HANDSHAKE, ALERT])
def test_server_refuses_record_without_content(stage: Stage, content_type: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(content_type, b"")
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.4")
@PROTECTED_STAGES
@pytest.mark.parametrize("padding", [1, 2, 255, FULL])
def test_server_refuses_record_of_nothing_but_padding(stage: Stage, padding: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(0, bytes(padding))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@STAGES
@pytest.mark.parametrize("content_type", [ALERT, DATA, CHANGE_CIPHER_SPEC])
def test_server_refuses_record_between_the_parts_of_a_message(stage: Stage, content_type: int) -> None:
    duel = Duel.at(stage)
    message = legal_message(duel)
    duel.client.send_record(HANDSHAKE, message[:3])
    content = {ALERT: b"\x01\x5a", DATA: b"data", CHANGE_CIPHER_SPEC: b"\x01"}[ContentType(content_type)]
    duel.client.send_record(content_type, content)
    duel.client.send_record(HANDSHAKE, message[3:])
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@STAGES
def test_server_refuses_message_that_spans_a_change_of_keys(stage: Stage) -> None:
    duel = Duel.at(stage)
    message = legal_message(duel)
    duel.client.note(message)
    duel.client.send_record(HANDSHAKE, message + KeyUpdate(0).encode()[:2])
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@STAGES
def test_server_accepts_message_in_records_of_one_byte(stage: Stage) -> None:
    """The control for the two above: fragments are legal when nothing comes between (RFC 8446 §5.1)."""
    duel = Duel.at(stage)
    duel.client.send_message(legal_message(duel), fragment_size=1)
    duel.pump()
    assert duel.error is None


# --- change_cipher_spec ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5")
@pytest.mark.parametrize("stage", [Stage.START, Stage.CONNECTED], ids=lambda stage: stage.name.lower())
def test_server_refuses_change_cipher_spec_outside_the_handshake(stage: Stage) -> None:
    duel = Duel.at(stage)
    duel.client.send_change_cipher_spec()
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@STAGES
@pytest.mark.parametrize("content", [b"", b"\0", b"\2", b"\1\1", b"\1\0", bytes(FULL)], ids=lambda c: c[:2].hex())
def test_server_refuses_change_cipher_spec_of_other_content(stage: Stage, content: bytes) -> None:
    duel = Duel.at(stage)
    duel.client.send_change_cipher_spec(content)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@pytest.mark.parametrize("stage", [Stage.RETRIED, Stage.FLIGHT], ids=lambda stage: stage.name.lower())
def test_server_bounds_change_cipher_spec(stage: Stage) -> None:
    duel = Duel.at(stage)
    for _ in range(32):
        duel.client.send_change_cipher_spec()
    duel.pump()
    assert duel.error is None
    duel.client.send_change_cipher_spec()
    duel.assert_refused(PeerFlooding, UNEXPECTED)


# --- Sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@PLAINTEXT_STAGES
@pytest.mark.parametrize("content_type", [HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC])
@pytest.mark.parametrize("length", [FULL + 1, 0xFFFF])
def test_server_refuses_oversized_plaintext_record_by_its_header(stage: Stage, content_type: int, length: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_raw(bytes((content_type, 3, 3)) + length.to_bytes(2, "big"))
    duel.assert_refused(RecordOverflow, OVERFLOW)


@pytest.mark.rfc("8446", "5.2")
@PROTECTED_STAGES
@pytest.mark.parametrize("length", [FULL + 257, 0xFFFF])
def test_server_refuses_oversized_protected_record_by_its_header(stage: Stage, length: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_raw(b"\x17\x03\x03" + length.to_bytes(2, "big"))
    duel.assert_refused(RecordOverflow, OVERFLOW)


@pytest.mark.rfc("8446", "5.1")
@PROTECTED_STAGES
@pytest.mark.parametrize("content_type", [CHANGE_CIPHER_SPEC, ALERT])
def test_server_refuses_oversized_unprotected_record_after_keys(stage: Stage, content_type: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(content_type, bytes(FULL + 1), protected=False)
    duel.pump()
    assert isinstance(duel.error, RecordOverflow | UnexpectedMessage | DecodeError)
    duel.assert_dead(duel.error)


@pytest.mark.rfc("8446", "5.4")
@PROTECTED_STAGES
@pytest.mark.parametrize(("size", "padding"), [(FULL + 1, 0), (FULL, 1), (1, FULL), (0, FULL + 1), (FULL + 200, 0)])
def test_server_refuses_oversized_inner_plaintext(stage: Stage, size: int, padding: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(HANDSHAKE if stage is Stage.FLIGHT else DATA, bytes(size), padding=padding)
    duel.assert_refused(RecordOverflow, OVERFLOW)


@pytest.mark.rfc("8446", "5.4")
@pytest.mark.parametrize(("size", "padding"), [(FULL, 0), (FULL - 1, 1), (1, FULL - 1), (0, FULL)])
def test_server_accepts_inner_plaintext_of_the_greatest_size(size: int, padding: int) -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.client.send_record(DATA, b"\x17" * size, padding=padding)
    duel.assert_in_order()
    assert duel.events[1:-1] == ([ApplicationData(b"\x17" * size)] if size else [])


# --- Authentication --------------------------------------------------------------------------------------------------

SEALED: dict[str, tuple[Stage, Callable[[ScriptedClient], bytes]]] = {
    "finished": (Stage.FLIGHT, lambda client: client.record(HANDSHAKE, client.finished())),
    "alert_in_handshake": (Stage.FLIGHT, lambda client: client.record(ALERT, b"\x02\x28")),
    "data": (Stage.CONNECTED, lambda client: client.record(DATA, b"data")),
    "empty_data": (Stage.CONNECTED, lambda client: client.record(DATA, b"")),
    "padded_data": (Stage.CONNECTED, lambda client: client.record(DATA, b"data", padding=20)),
    "key_update": (Stage.CONNECTED, lambda client: client.record(HANDSHAKE, KeyUpdate(1).encode())),
    "close_notify": (Stage.CONNECTED, lambda client: client.record(ALERT, b"\x01\0")),
}
SEALED_RECORDS = pytest.mark.parametrize(("stage", "make"), SEALED.values(), ids=SEALED)


@pytest.mark.rfc("8446", "5.2")
@SEALED_RECORDS
def test_server_refuses_record_with_any_byte_changed(stage: Stage, make: Callable[[ScriptedClient], bytes]) -> None:
    """In the payload and in the version, which is part of the additional data."""
    length = len(make(Duel.at(stage).client))
    for place in (1, 2, *range(5, length)):
        duel = Duel.at(stage)
        told = len(duel.events)
        record = bytearray(make(duel.client))
        record[place] ^= 1 << place % 8
        duel.client.send_raw(bytes(record))
        duel.assert_refused(BadRecordMAC, BAD_MAC)
        assert len(duel.events) == told


@pytest.mark.rfc("8446", "5.2")
@SEALED_RECORDS
def test_server_refuses_record_that_is_cut_short(stage: Stage, make: Callable[[ScriptedClient], bytes]) -> None:
    length = len(make(Duel.at(stage).client)) - 5
    for kept in range(length):
        duel = Duel.at(stage)
        record = make(duel.client)
        duel.client.send_raw(record[:3] + kept.to_bytes(2, "big") + record[5 : 5 + kept])
        duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "5.3")
@SEALED_RECORDS
def test_server_refuses_record_after_one_that_got_lost(stage: Stage, make: Callable[[ScriptedClient], bytes]) -> None:
    duel = Duel.at(stage)
    duel.client.record(DATA, b"lost")
    duel.client.send_raw(make(duel.client))
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "5.3")
@pytest.mark.parametrize("name", ["data", "empty_data", "padded_data", "key_update"])
def test_server_refuses_record_that_comes_twice(name: str) -> None:
    stage, make = SEALED[name]
    duel = Duel.at(stage)
    duel.client.send_raw(make(duel.client) * 2)
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "4.6.3")
def test_server_refuses_the_old_key_after_key_update() -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.client.send_message(KeyUpdate(0).encode())
    duel.client.send_data(b"under the old key")
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "4.6.3")
def test_server_refuses_the_new_key_before_key_update() -> None:
    duel = Duel.at(Stage.CONNECTED)
    key = duel.client.write_key
    assert key is not None
    duel.client.write_key = key.updated()
    duel.client.send_data(b"under the new key")
    duel.assert_refused(BadRecordMAC, BAD_MAC)


# --- Alerts ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@STAGES
@pytest.mark.parametrize("content", [b"\x02", b"\x01\0\0", b"\x01\x5a\x01\x5a", bytes(200)], ids=len)
def test_server_refuses_alert_of_wrong_length(stage: Stage, content: bytes) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(ALERT, content)
    duel.assert_refused(DecodeError, AlertDescription.decode_error)


@pytest.mark.rfc("8446", "6.2")
@STAGES
@pytest.mark.parametrize("level", [0, 1, 2, 255])
@pytest.mark.parametrize("description", [10, 20, 40, 80, 100, 112, 255])
def test_server_ends_in_silence_after_alert(stage: Stage, level: int, description: int) -> None:
    """§6: whatever the level says, and known or not."""
    duel = Duel.at(stage)
    duel.client.send_alert(description, level=level)
    text = duel.assert_ended_in_silence(AlertReceived)
    assert AlertDescription(description).name in text
    assert isinstance(duel.error, AlertReceived)
    assert duel.error.description == description


@pytest.mark.rfc("8446", "6.1")
@STAGES
def test_server_bounds_user_canceled(stage: Stage) -> None:
    duel = Duel.at(stage)
    for _ in range(4):
        duel.client.send_alert(AlertDescription.user_canceled, level=1)
    duel.pump()
    assert duel.error is None
    duel.client.send_alert(AlertDescription.user_canceled, level=1)
    duel.assert_refused(PeerFlooding, UNEXPECTED)


@pytest.mark.rfc("8446", "6.1")
def test_server_ignores_everything_after_close_notify() -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.client.send_alert(AlertDescription.close_notify, level=1)
    duel.client.send_data(b"late")
    duel.client.send_raw(b"\xff" * 100)
    duel.pump()
    duel.server.receive_eof()
    assert duel.error is None
    assert duel.events[1:] == [PeerClosed()]
    assert duel.server.next_event() is None
    duel.server.send_data(b"our side is open")
    duel.pump()
    assert duel.client.data == b"our side is open"


@pytest.mark.rfc("8446", "6.1")
def test_server_says_no_more_after_its_own_close_notify() -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.server.close()
    duel.client.send_key_update(request_peer=True)
    duel.client.send_data(b"the other side is open")
    duel.pump()
    assert duel.events[-1] == ApplicationData(b"the other side is open")
    duel.client.send_record(HANDSHAKE, b"")
    duel.pump()
    assert isinstance(duel.error, UnexpectedMessage)
    assert [alert.description for alert in duel.client.alerts] == [AlertDescription.close_notify]
    duel.assert_dead(duel.error)


# --- Floods ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("request_peer", [False, True], ids=["quiet", "asking"])
def test_server_bounds_key_updates(*, request_peer: bool) -> None:
    duel = Duel.at(Stage.CONNECTED)
    for _ in range(32):
        duel.client.send_key_update(request_peer=request_peer)
    duel.pump()
    assert duel.error is None
    duel.client.send_key_update(request_peer=request_peer)
    duel.assert_refused(PeerFlooding, UNEXPECTED)


@pytest.mark.rfc("8446", "4.6.3")
def test_server_answers_many_requests_that_came_at_once_with_one_key_update() -> None:
    duel = Duel.at(Stage.CONNECTED)
    before = len(duel.client.server_messages)
    for _ in range(20):
        duel.client.send_key_update(request_peer=True)
    duel.pump()
    assert len(duel.client.server_messages) == before + 1
    duel.assert_in_order()


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("padding", [0, 50])
def test_server_bounds_empty_records(padding: int) -> None:
    duel = Duel.at(Stage.CONNECTED)
    for _ in range(32):
        duel.client.send_record(DATA, b"", padding=padding)
    duel.pump()
    assert duel.error is None
    duel.client.send_record(DATA, b"", padding=padding)
    duel.assert_refused(PeerFlooding, UNEXPECTED)


def test_server_bounds_empty_records_and_key_updates_that_take_turns() -> None:
    duel = Duel.at(Stage.CONNECTED)
    for _ in range(40):
        duel.client.send_record(DATA, b"")
        duel.client.send_key_update()
    duel.assert_refused(PeerFlooding, UNEXPECTED)


# --- Other protocols, and the end of the transport -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "PRI"])
def test_server_says_so_when_plain_http_comes(method: str) -> None:
    duel = Duel()
    duel.client.send_raw(f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert "HTTP" in duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.parametrize(
    "greeting", [b"\x80\x2e\x01\x03\x03\0\x15\0\0\0\x10", b"SSH-2.0-OpenSSH_9.9\r\n", b"EHLO localhost\r\n", bytes(9)]
)
def test_server_refuses_other_protocol(greeting: bytes) -> None:
    duel = Duel()
    duel.client.send_raw(greeting)
    assert "TLS" in duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "6.1")
@STAGES
def test_server_reports_truncation_at_every_byte(stage: Stage) -> None:
    sample = Duel.at(stage)
    send_legal_message(sample)
    length = len(sample.client.data_to_send())
    for kept in range(length):
        duel = Duel.at(stage)
        send_legal_message(duel)
        duel.client.send_raw(duel.client.data_to_send()[:kept])
        duel.pump()
        assert duel.error is None
        duel.server.receive_eof()
        duel.assert_ended_in_silence(TruncationError)


@pytest.mark.rfc("8446", "6.1")
def test_server_reports_truncation_after_data() -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.client.send_data(b"half of it")
    duel.pump()
    duel.server.receive_eof()
    duel.assert_ended_in_silence(TruncationError)
    assert duel.events[1:] == [ApplicationData(b"half of it")]
