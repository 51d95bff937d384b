"""The oracle of RFC 8446 §2 and §4: which message a server may be sent when, and that it takes no other.

`LEGAL` is the whole truth about order.  For every stage and every message type that it does not list there, the message
is put in where it does not belong, well-formed and sealed under the right key; then the legal message is
left out, said twice, or swapped with its neighbour.  §4: "Protocol messages MUST be sent in the order defined ...
A peer which receives a handshake message in an unexpected order MUST abort the handshake with an
"unexpected_message" alert."
"""

import pytest

from aiotls.errors import AlertDescription, BadRecordMAC, TruncationError, UnexpectedMessage
from aiotls.events import HandshakeComplete
from aiotls.testing.peer import encode_message
from aiotls.wire.messages import (
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    EncryptedExtensions,
    EndOfEarlyData,
    Finished,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from aiotls.wire.registries import ContentType, HandshakeType
from tests.handshake.conftest import STAGES, Duel, Stage

LEGAL: dict[Stage, set[int]] = {
    Stage.START: {HandshakeType.client_hello},
    Stage.RETRIED: {HandshakeType.client_hello},
    Stage.FLIGHT: {HandshakeType.finished},
    Stage.CONNECTED: {HandshakeType.key_update},
}

OF_OLDER_VERSIONS = {0: "hello_request", 3: "hello_verify_request", 12: "server_key_exchange"}
OF_OLDER_VERSIONS |= {14: "server_hello_done", 16: "client_key_exchange", 22: "certificate_status"}
TYPES: dict[int, str] = {int(kind): kind.name for kind in HandshakeType} | OF_OLDER_VERSIONS | {99: "unknown"}

ILLEGAL = [
    pytest.param(stage, handshake_type, id=f"{stage.name.lower()}-{name}")
    for stage in Stage
    for handshake_type, name in TYPES.items()
    if handshake_type not in LEGAL[stage]
]

UNEXPECTED = AlertDescription.unexpected_message


WELL_FORMED: dict[int, bytes] = {
    message.handshake_type: message.encode()
    for message in (
        ServerHello(bytes(32), b"", 0x1301, supported_versions=0x0304),
        NewSessionTicket(7200, 0, b"\0", b"ticket"),
        EndOfEarlyData(),
        EncryptedExtensions(),
        Certificate(b"", (CertificateEntry(b"certificate"),)),
        CertificateRequest(signature_algorithms=(0x0403,)),
        CertificateVerify(0x0403, bytes(70)),
        Finished(bytes(32)),
        KeyUpdate(0),
    )
}


def message_of(handshake_type: int, duel: Duel) -> bytes:
    """A message of this type with which nothing is wrong but its place."""
    client = duel.client
    if handshake_type == HandshakeType.client_hello:
        return client.hello().encode()
    if handshake_type == HandshakeType.finished and client.server_finished:
        return client.finished()
    return WELL_FORMED.get(handshake_type, encode_message(handshake_type, b""))


def test_table_knows_every_stage_and_only_known_types() -> None:
    assert LEGAL.keys() == set(Stage)
    assert set().union(*LEGAL.values()) <= TYPES.keys()


@STAGES
def test_server_accepts_message_that_is_legal_there(stage: Stage) -> None:
    duel = Duel.at(stage)
    for handshake_type in LEGAL[stage]:
        duel.client.send_message(message_of(handshake_type, duel))
    duel.pump()
    assert duel.error is None
    assert duel.client.alerts == []


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize(("stage", "handshake_type"), ILLEGAL)
def test_server_refuses_message_that_is_not_legal_there(stage: Stage, handshake_type: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_message(message_of(handshake_type, duel))
    text = duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    assert "where" in text


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize(("stage", "handshake_type"), ILLEGAL)
def test_server_refuses_message_by_its_type_when_its_body_is_malformed(stage: Stage, handshake_type: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_message(encode_message(handshake_type, b"\xff" * 3))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize(("stage", "handshake_type"), ILLEGAL)
def test_server_refuses_message_in_front_of_the_legal_one(stage: Stage, handshake_type: int) -> None:
    duel = Duel.at(stage)
    wrong = message_of(handshake_type, duel)
    legal = b"".join(message_of(kind, duel) for kind in LEGAL[stage])
    duel.client.send_record(ContentType.handshake, wrong + legal)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    complete = [event for event in duel.events if isinstance(event, HandshakeComplete)]
    assert len(complete) == (stage is Stage.CONNECTED)


# --- Skip --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5")
@pytest.mark.parametrize("stage", [Stage.START, Stage.RETRIED], ids=lambda stage: stage.name.lower())
def test_server_refuses_application_data_in_place_of_hello(stage: Stage) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(ContentType.application_data, b"GET /", protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_application_data_in_place_of_finished() -> None:
    duel = Duel.at(Stage.FLIGHT)
    duel.client.send_data(b"GET /")
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    assert duel.events == []


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_application_key_without_finished() -> None:
    duel = Duel.at(Stage.FLIGHT)
    duel.client.use_application_key()
    duel.client.send_data(b"GET /")
    duel.assert_refused(BadRecordMAC, AlertDescription.bad_record_mac)
    assert duel.events == []


@pytest.mark.rfc("8446", "6.1")
@pytest.mark.parametrize("stage", [Stage.START, Stage.RETRIED, Stage.FLIGHT], ids=lambda stage: stage.name.lower())
def test_server_ends_in_silence_when_close_notify_comes_in_place_of_message(stage: Stage) -> None:
    duel = Duel.at(stage)
    duel.client.send_alert(AlertDescription.close_notify, level=1)
    duel.assert_ended_in_silence(TruncationError)


# --- Repeat ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.1.2")
def test_server_refuses_hello_twice_in_plaintext() -> None:
    duel = Duel.at(Stage.START)
    hello = duel.client.hello().encode()
    duel.client.send_message(hello)
    duel.client.send_record(ContentType.handshake, hello, protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.1.2")
def test_server_refuses_hello_twice_in_one_record() -> None:
    duel = Duel.at(Stage.START)
    hello = duel.client.hello().encode()
    duel.client.note(hello)
    duel.client.send_record(ContentType.handshake, hello + hello)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("protected", [False, True], ids=["plaintext", "protected"])
def test_server_refuses_third_hello(*, protected: bool) -> None:
    duel = Duel.at(Stage.RETRIED)
    duel.client.send_hello()
    duel.pump()
    assert duel.client.server_finished
    duel.client.send_record(ContentType.handshake, duel.client.hello().encode(), protected=protected)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_finished_twice_in_one_record() -> None:
    duel = Duel.at(Stage.FLIGHT)
    finished = duel.client.finished()
    duel.client.send_record(ContentType.handshake, finished + finished)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    assert duel.events == []


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_finished_again_under_the_old_key() -> None:
    duel = Duel.at(Stage.FLIGHT)
    finished = duel.client.finished()
    duel.client.send_message(finished)
    duel.client.send_record(ContentType.handshake, finished)
    duel.assert_refused(BadRecordMAC, AlertDescription.bad_record_mac)
    assert [type(event) for event in duel.events] == [HandshakeComplete]


# --- Swap --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.6.3")
def test_server_refuses_key_update_before_finished_in_the_same_flight() -> None:
    duel = Duel.at(Stage.FLIGHT)
    finished = duel.client.finished()
    duel.client.send_record(ContentType.handshake, KeyUpdate(0).encode())
    duel.client.send_record(ContentType.handshake, finished)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    assert duel.events == []


@pytest.mark.rfc("8446", "4.2.10")
def test_server_refuses_end_of_early_data_when_it_accepted_none() -> None:
    duel = Duel.at(Stage.FLIGHT, early_data=True)
    duel.client.send_message(EndOfEarlyData().encode())
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)
