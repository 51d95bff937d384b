"""Records that a client must refuse: their types, sizes, order and protection (RFC 8446 §5), and alerts (§6).

What is legal in ones and harmful in thousands is refused too, at a bound; there the error is PeerFlooding, and the
same test goes up to the bound first.
"""

from collections.abc import Callable

import pytest

from aiotls import ClientConfig
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
from aiotls.testing.server_peer import ScriptedServer
from aiotls.wire.messages import KeyUpdate
from aiotls.wire.registries import ContentType, NamedGroup
from tests.handshake.client13_support import HANDSHAKE as BEFORE_FINISHED
from tests.handshake.client13_support import PLAINTEXT, PROTECTED, ClientDuel, Stage, roots, stages

UNEXPECTED = AlertDescription.unexpected_message
BAD_MAC = AlertDescription.bad_record_mac
OVERFLOW = AlertDescription.record_overflow
FULL = 1 << 14
HANDSHAKE = ContentType.handshake
ALERT = ContentType.alert
DATA = ContentType.application_data
CHANGE_CIPHER_SPEC = ContentType.change_cipher_spec

PROTECTED_HANDSHAKE = tuple(stage for stage in PROTECTED if stage is not Stage.CONNECTED)


LEGAL: dict[Stage, Callable[[ScriptedServer], bytes]] = {
    Stage.HELLO_SENT: lambda server: server.server_hello().encode(),
    Stage.RETRIED: lambda server: server.server_hello().encode(),
    Stage.SERVER_HELLO: lambda server: server.encrypted_extensions().encode(),
    Stage.EXTENSIONS: lambda server: server.certificate().encode(),
    Stage.REQUESTED: lambda server: server.certificate().encode(),
    Stage.CERTIFICATE: lambda server: server.certificate_verify().encode(),
    Stage.VERIFIED: lambda server: server.finished(),
    Stage.CONNECTED: lambda _: KeyUpdate(0).encode(),
}
"""A handshake message that may come at the stage."""


def legal_message(duel: ClientDuel) -> bytes:
    return LEGAL[duel.stage](duel.server)


# --- Types -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5")
@stages(*Stage)
@pytest.mark.parametrize("content_type", [0, 1, 19, 24, 25, 71, 128, 255])
def test_client_refuses_record_of_unknown_type(stage: Stage, content_type: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(content_type, b"content", protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@stages(*PROTECTED)
@pytest.mark.parametrize("content_type", [1, 19, CHANGE_CIPHER_SPEC, 24, 128, 255])
def test_client_refuses_protected_record_of_unknown_type(stage: Stage, content_type: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(content_type, b"\x01")
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@stages(*PROTECTED)
def test_client_refuses_plaintext_message_after_keys(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(HANDSHAKE, legal_message(duel), protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@stages(*PROTECTED)
@pytest.mark.parametrize("description", [AlertDescription.close_notify, AlertDescription.handshake_failure])
def test_client_refuses_plaintext_alert_after_keys(stage: Stage, description: AlertDescription) -> None:
    """The server has the keys since its ServerHello; an alert without them is of somebody else (§6)."""
    duel = ClientDuel.at(stage)
    duel.server.send_record(ALERT, bytes((2, description)), protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@stages(*PLAINTEXT)
def test_client_refuses_protected_record_before_keys(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(DATA, bytes(100), protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@stages(*Stage)
@pytest.mark.parametrize("content_type", [HANDSHAKE, ALERT])
def test_client_refuses_record_without_content(stage: Stage, content_type: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(content_type, b"")
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.4")
@stages(*PROTECTED)
@pytest.mark.parametrize("padding", [1, 2, 255, FULL])
def test_client_refuses_record_of_nothing_but_padding(stage: Stage, padding: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(0, bytes(padding))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@stages(*Stage)
@pytest.mark.parametrize("content_type", [ALERT, DATA, CHANGE_CIPHER_SPEC])
def test_client_refuses_record_between_the_parts_of_a_message(stage: Stage, content_type: int) -> None:
    duel = ClientDuel.at(stage)
    message = legal_message(duel)
    duel.server.send_record(HANDSHAKE, message[:3])
    content = {ALERT: b"\x01\x5a", DATA: b"data", CHANGE_CIPHER_SPEC: b"\x01"}[ContentType(content_type)]
    duel.server.send_record(content_type, content)
    duel.server.send_record(HANDSHAKE, message[3:])
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@stages(*Stage)
def test_client_refuses_unprotected_change_cipher_spec_between_the_parts_of_a_message(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(HANDSHAKE, legal_message(duel)[:3])
    duel.server.send_change_cipher_spec()
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


SPANNING = (Stage.HELLO_SENT, Stage.RETRIED, Stage.VERIFIED, Stage.CONNECTED)


@pytest.mark.rfc("8446", "5.1")
@stages(*SPANNING)
@pytest.mark.parametrize("more", [b"\x08", b"\x08\0\0", b"\x08\0\0\x02\0", b"\x08\0\0\x02\0\0"], ids=len)
def test_client_refuses_message_that_spans_a_change_of_keys(stage: Stage, more: bytes) -> None:
    """Behind the message that changes the keys there is the front of another, or a whole one, in the same record."""
    duel = ClientDuel.at(stage)
    message = legal_message(duel)
    duel.server.note(message)
    duel.server.send_record(HANDSHAKE, message + more)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.1")
@stages(*Stage)
@pytest.mark.parametrize("size", [1, 5])
def test_client_accepts_message_in_small_records(stage: Stage, size: int) -> None:
    """The control for the above: fragments are legal when nothing comes between."""
    duel = ClientDuel.at(stage)
    duel.server.send_message(legal_message(duel), fragment_size=size)
    if stage is Stage.VERIFIED:
        duel.server.use_application_key()
    duel.pump()
    assert duel.error is None


# --- change_cipher_spec ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "D.4")
@stages(*BEFORE_FINISHED)
def test_client_drops_change_cipher_spec_during_the_handshake(stage: Stage) -> None:
    """§5: "at any time after the first ClientHello message has been sent ... and before the peer's Finished"."""
    duel = ClientDuel.at(stage)
    duel.server.send_change_cipher_spec()
    duel.assert_in_order()


@pytest.mark.rfc("8446", "5")
def test_client_refuses_change_cipher_spec_after_finished() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_change_cipher_spec()
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@stages(*Stage)
@pytest.mark.parametrize("content", [b"", b"\0", b"\2", b"\1\1", b"\1\0", bytes(FULL)], ids=lambda c: c[:2].hex())
def test_client_refuses_change_cipher_spec_of_other_content(stage: Stage, content: bytes) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_change_cipher_spec(content)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5")
@stages(*BEFORE_FINISHED)
def test_client_bounds_change_cipher_spec(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    for _ in range(32):
        duel.server.send_change_cipher_spec()
    duel.pump()
    assert duel.error is None
    duel.server.send_change_cipher_spec()
    duel.assert_refused(PeerFlooding, UNEXPECTED)


@pytest.mark.rfc("8446", "D.4")
@pytest.mark.parametrize("stage", [Stage.HELLO_SENT, Stage.RETRIED], ids=["at_once", "retried"])
def test_client_sends_its_change_cipher_spec_once(stage: Stage) -> None:
    """§D.4: right before its second flight, be that the second ClientHello or not."""
    duel = ClientDuel.at(stage)
    assert duel.server.change_cipher_specs == (stage is Stage.RETRIED)
    duel.assert_in_order()
    assert duel.server.change_cipher_specs == 1


# --- Sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@stages(*PLAINTEXT)
@pytest.mark.parametrize("content_type", [HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC])
@pytest.mark.parametrize("length", [FULL + 1, 0xFFFF])
def test_client_refuses_oversized_plaintext_record_by_its_header(stage: Stage, content_type: int, length: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_raw(bytes((content_type, 3, 3)) + length.to_bytes(2, "big"))
    duel.assert_refused(RecordOverflow, OVERFLOW)


@pytest.mark.rfc("8446", "5.2")
@stages(*PROTECTED)
@pytest.mark.parametrize("length", [FULL + 257, 0xFFFF])
def test_client_refuses_oversized_protected_record_by_its_header(stage: Stage, length: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_raw(b"\x17\x03\x03" + length.to_bytes(2, "big"))
    duel.assert_refused(RecordOverflow, OVERFLOW)


@pytest.mark.rfc("8446", "5.1")
@stages(*PROTECTED)
@pytest.mark.parametrize("content_type", [CHANGE_CIPHER_SPEC, ALERT])
def test_client_refuses_oversized_unprotected_record_after_keys(stage: Stage, content_type: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(content_type, bytes(FULL + 1), protected=False)
    duel.pump()
    assert isinstance(duel.error, RecordOverflow | UnexpectedMessage | DecodeError)
    duel.assert_dead(duel.error)


@pytest.mark.rfc("8446", "5.4")
@stages(*PROTECTED)
@pytest.mark.parametrize(("size", "padding"), [(FULL + 1, 0), (FULL, 1), (1, FULL), (0, FULL + 1), (FULL + 200, 0)])
def test_client_refuses_oversized_inner_plaintext(stage: Stage, size: int, padding: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(DATA if stage is Stage.CONNECTED else HANDSHAKE, bytes(size), padding=padding)
    duel.assert_refused(RecordOverflow, OVERFLOW)


@pytest.mark.rfc("8446", "5.4")
@pytest.mark.parametrize(("size", "padding"), [(FULL, 0), (FULL - 1, 1), (1, FULL - 1), (0, FULL)])
def test_client_accepts_inner_plaintext_of_the_greatest_size(size: int, padding: int) -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_record(DATA, b"\x17" * size, padding=padding)
    duel.assert_in_order()
    assert duel.events[1:-1] == ([ApplicationData(b"\x17" * size)] if size else [])


@pytest.mark.rfc("8449", "4")
def test_client_refuses_record_beyond_the_limit_that_it_set() -> None:
    """§4: the limit is on the inner plaintext, its content type included; it holds once it was answered."""
    config = ClientConfig(roots=roots(), record_size_limit=100, key_shares=(NamedGroup.x25519,))

    def connected() -> ClientDuel:
        duel = ClientDuel.at(Stage.SERVER_HELLO, config=config)
        duel.server.send(duel.server.encrypted_extensions(record_size_limit=FULL))
        duel.server.send_message(duel.server.certificate().encode(), fragment_size=99)
        duel.server.send_message(duel.server.certificate_verify().encode(), fragment_size=99)
        duel.server.finish()
        duel.stage = Stage.CONNECTED
        duel.pump()
        assert duel.completed, repr(duel.error)
        return duel

    for size, padding in ((99, 0), (50, 49), (0, 99)):
        duel = connected()
        duel.server.send_record(DATA, bytes(size), padding=padding)
        duel.assert_in_order()
    for size, padding in ((100, 0), (50, 50), (0, 100)):
        duel = connected()
        duel.server.send_record(DATA, bytes(size), padding=padding)
        duel.assert_refused(RecordOverflow, OVERFLOW)


# --- Authentication --------------------------------------------------------------------------------------------------

SEALED: dict[str, tuple[Stage, Callable[[ScriptedServer], bytes]]] = {
    "encrypted_extensions": (
        Stage.SERVER_HELLO,
        lambda server: server.record(HANDSHAKE, server.encrypted_extensions().encode()),
    ),
    "finished": (Stage.VERIFIED, lambda server: server.record(HANDSHAKE, server.finished())),
    "alert_in_handshake": (Stage.SERVER_HELLO, lambda server: server.record(ALERT, b"\x02\x28")),
    "data": (Stage.CONNECTED, lambda server: server.record(DATA, b"data")),
    "empty_data": (Stage.CONNECTED, lambda server: server.record(DATA, b"")),
    "padded_data": (Stage.CONNECTED, lambda server: server.record(DATA, b"data", padding=20)),
    "key_update": (Stage.CONNECTED, lambda server: server.record(HANDSHAKE, KeyUpdate(1).encode())),
    "close_notify": (Stage.CONNECTED, lambda server: server.record(ALERT, b"\x01\0")),
}
SEALED_RECORDS = pytest.mark.parametrize(("stage", "make"), SEALED.values(), ids=SEALED)


@pytest.mark.rfc("8446", "5.2")
@SEALED_RECORDS
def test_client_refuses_record_with_any_byte_changed(stage: Stage, make: Callable[[ScriptedServer], bytes]) -> None:
    """In the payload and in the version, which is part of the additional data."""
    length = len(make(ClientDuel.at(stage).server))
    for place in (1, 2, *range(5, length)):
        duel = ClientDuel.at(stage)
        told = len(duel.events)
        record = bytearray(make(duel.server))
        record[place] ^= 1 << place % 8
        duel.server.send_raw(bytes(record))
        duel.assert_refused(BadRecordMAC, BAD_MAC)
        assert len(duel.events) == told


@pytest.mark.rfc("8446", "5.2")
@SEALED_RECORDS
def test_client_refuses_record_that_is_cut_short(stage: Stage, make: Callable[[ScriptedServer], bytes]) -> None:
    length = len(make(ClientDuel.at(stage).server)) - 5
    for kept in range(length):
        duel = ClientDuel.at(stage)
        record = make(duel.server)
        duel.server.send_raw(record[:3] + kept.to_bytes(2, "big") + record[5 : 5 + kept])
        duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "5.3")
@SEALED_RECORDS
def test_client_refuses_record_after_one_that_got_lost(stage: Stage, make: Callable[[ScriptedServer], bytes]) -> None:
    duel = ClientDuel.at(stage)
    duel.server.record(DATA, b"lost")
    duel.server.send_raw(make(duel.server))
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "5.3")
@pytest.mark.parametrize("name", ["encrypted_extensions", "data", "empty_data", "padded_data", "key_update"])
def test_client_refuses_record_that_comes_twice(name: str) -> None:
    stage, make = SEALED[name]
    duel = ClientDuel.at(stage)
    duel.server.send_raw(make(duel.server) * 2)
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "4.6.3")
def test_client_refuses_the_old_key_after_key_update() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_message(KeyUpdate(0).encode())
    duel.server.send_data(b"under the old key")
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "4.6.3")
def test_client_refuses_the_new_key_before_key_update() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    key = duel.server.write_key
    assert key is not None
    duel.server.write_key = key.updated()
    duel.server.send_data(b"under the new key")
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "7.3")
def test_client_refuses_its_own_records() -> None:
    """Each direction has its own key: what the client said cannot be thrown back at it."""
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.client.send_data(b"data")
    record = bytes(duel.client.data_to_send())
    duel.server.receive_data(record)
    duel.server.send_raw(record)
    duel.assert_refused(BadRecordMAC, BAD_MAC)


# --- Alerts ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@stages(*Stage)
@pytest.mark.parametrize("content", [b"\x02", b"\x01\0\0", b"\x01\x5a\x01\x5a", bytes(200)], ids=len)
def test_client_refuses_alert_of_wrong_length(stage: Stage, content: bytes) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(ALERT, content)
    duel.assert_refused(DecodeError, AlertDescription.decode_error)


@pytest.mark.rfc("8446", "6.2")
@stages(*Stage)
@pytest.mark.parametrize("level", [0, 1, 2, 255])
@pytest.mark.parametrize("description", [10, 20, 40, 70, 80, 100, 112, 116, 255])
def test_client_ends_in_silence_after_alert(stage: Stage, level: int, description: int) -> None:
    """§6: whatever the level says, and known or not."""
    duel = ClientDuel.at(stage)
    duel.server.send_alert(description, level=level)
    text = duel.assert_ended_in_silence(AlertReceived)
    assert AlertDescription(description).name in text
    assert isinstance(duel.error, AlertReceived)
    assert duel.error.description == description


@pytest.mark.rfc("8446", "6.1")
@stages(*Stage)
def test_client_bounds_user_canceled(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    for _ in range(4):
        duel.server.send_alert(AlertDescription.user_canceled, level=1)
    duel.pump()
    assert duel.error is None
    duel.server.send_alert(AlertDescription.user_canceled, level=1)
    duel.assert_refused(PeerFlooding, UNEXPECTED)


@pytest.mark.rfc("8446", "6.1")
def test_client_ignores_everything_after_close_notify() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_alert(AlertDescription.close_notify, level=1)
    duel.server.send_data(b"late")
    duel.server.send_raw(b"\xff" * 100)
    duel.pump()
    duel.client.receive_eof()
    assert duel.error is None
    assert duel.events[1:] == [PeerClosed()]
    assert duel.client.next_event() is None
    duel.client.send_data(b"our side is open")
    duel.pump()
    assert duel.server.data == b"our side is open"


@pytest.mark.rfc("8446", "6.1")
def test_client_says_no_more_after_its_own_close_notify() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.client.close()
    duel.server.send_key_update(request_peer=True)
    duel.server.send_data(b"the other side is open")
    duel.pump()
    assert duel.events[-1] == ApplicationData(b"the other side is open")
    duel.server.send_record(HANDSHAKE, b"")
    duel.pump()
    assert isinstance(duel.error, UnexpectedMessage)
    assert [alert.description for alert in duel.server.alerts] == [AlertDescription.close_notify]
    duel.assert_dead(duel.error)


@pytest.mark.rfc("8446", "6.1")
@stages(*BEFORE_FINISHED)
def test_client_says_that_it_gives_the_handshake_up(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.client.close()
    duel.pump()
    said = [(alert.level, alert.description) for alert in duel.server.alerts]
    assert said == [(1, AlertDescription.user_canceled), (1, AlertDescription.close_notify)]
    assert {alert.protected for alert in duel.server.alerts} == {stage in PROTECTED}


# --- Floods ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("padding", [0, 50])
def test_client_bounds_empty_records(padding: int) -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    for _ in range(32):
        duel.server.send_record(DATA, b"", padding=padding)
    duel.pump()
    assert duel.error is None
    duel.server.send_record(DATA, b"", padding=padding)
    duel.assert_refused(PeerFlooding, UNEXPECTED)


def test_client_bounds_empty_records_and_tickets_that_take_turns() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    for _ in range(40):
        duel.server.send_record(DATA, b"")
        duel.server.send(duel.server.new_session_ticket())
    duel.assert_refused(PeerFlooding, UNEXPECTED)


# --- Other protocols, and the end of the transport -------------------------------------------------------------------


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"220 mail.test ESMTP\r\n",
        b"* OK IMAP4rev1\r\n",
        bytes(9),
    ],
    ids=["http", "ssh", "smtp", "imap", "zeros"],
)
def test_client_refuses_other_protocol(greeting: bytes) -> None:
    duel = ClientDuel()
    duel.server.send_raw(greeting)
    assert "TLS" in duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "6.1")
@stages(*Stage)
def test_client_reports_truncation_at_any_byte(stage: Stage) -> None:
    sample = ClientDuel.at(stage)
    length = len(sample.server.record(HANDSHAKE, legal_message(sample)))
    for kept in (*range(8), *range(8, length, 13), length - 1):
        duel = ClientDuel.at(stage)
        duel.server.send_raw(duel.server.record(HANDSHAKE, legal_message(duel))[:kept])
        duel.pump()
        assert duel.error is None
        duel.client.receive_eof()
        duel.assert_ended_in_silence(TruncationError)


@pytest.mark.rfc("8446", "6.1")
def test_client_reports_truncation_after_data() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_data(b"half of it")
    duel.pump()
    duel.client.receive_eof()
    duel.assert_ended_in_silence(TruncationError)
    assert [type(event) for event in duel.events] == [HandshakeComplete, ApplicationData]
