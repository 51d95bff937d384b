"""The oracle of RFC 8446 §2 and §4: which message a client may be sent when, and that it takes no other.

`LEGAL` is the whole truth about order.  For every stage and every message type that it does not list there, the message
is put in where it does not belong, well-formed and sealed under the right key.  Then the server's encrypted flight
is sent in every order there is, with messages left out and said twice: whoever can leave out one of them (the
Certificate, say) and is believed has broken TLS.  §4: "Protocol messages MUST be sent in the order defined ...  A peer
which receives a handshake message in an unexpected order MUST abort the handshake with an "unexpected_message" alert."
"""

import itertools
from collections.abc import Callable

import pytest

from aiotls.errors import AlertDescription, BadRecordMAC, IllegalParameter, TruncationError, UnexpectedMessage
from aiotls.testing.server_peer import ScriptedServer, encode_message
from aiotls.wire.messages import (
    CertificateVerify,
    EndOfEarlyData,
    Finished,
    HandshakeMessage,
    KeyUpdate,
    NewSessionTicket,
)
from aiotls.wire.registries import ContentType, HandshakeType, NamedGroup
from tests.handshake.client13_support import HANDSHAKE, PLAINTEXT, PROTECTED, ClientDuel, Stage, compressed, stages

LEGAL: dict[Stage, set[int]] = {
    Stage.HELLO_SENT: {HandshakeType.server_hello},
    Stage.RETRIED: {HandshakeType.server_hello},
    Stage.SERVER_HELLO: {HandshakeType.encrypted_extensions},
    Stage.EXTENSIONS: {
        HandshakeType.certificate_request,
        HandshakeType.certificate,
        HandshakeType.compressed_certificate,  # RFC 8879 §4
    },
    Stage.REQUESTED: {HandshakeType.certificate, HandshakeType.compressed_certificate},
    Stage.CERTIFICATE: {HandshakeType.certificate_verify},
    Stage.VERIFIED: {HandshakeType.finished},
    Stage.CONNECTED: {HandshakeType.new_session_ticket, HandshakeType.key_update},
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
LEGAL_CASES = [
    pytest.param(stage, handshake_type, id=f"{stage.name.lower()}-{TYPES[handshake_type]}")
    for stage in Stage
    for handshake_type in sorted(LEGAL[stage])
]

UNEXPECTED = AlertDescription.unexpected_message


HONEST: dict[int, Callable[[ScriptedServer], HandshakeMessage]] = {
    HandshakeType.server_hello: ScriptedServer.server_hello,
    HandshakeType.new_session_ticket: ScriptedServer.new_session_ticket,
    HandshakeType.end_of_early_data: lambda _: EndOfEarlyData(),
    HandshakeType.encrypted_extensions: ScriptedServer.encrypted_extensions,
    HandshakeType.certificate: ScriptedServer.certificate,
    HandshakeType.compressed_certificate: lambda server: compressed(server.certificate()),
    HandshakeType.certificate_request: ScriptedServer.certificate_request,
    HandshakeType.certificate_verify: lambda server: (
        server.certificate_verify() if server.write_key else CertificateVerify(0x0403, bytes(70))
    ),
    HandshakeType.key_update: lambda _: KeyUpdate(0),
}


def message_of(handshake_type: int, duel: ClientDuel) -> bytes:
    """A message of this type with which nothing is wrong but its place, if that is wrong."""
    server = duel.server
    if handshake_type in HONEST:
        return HONEST[handshake_type](server).encode()
    if handshake_type == HandshakeType.client_hello:
        return server.client_hello.raw
    if handshake_type == HandshakeType.finished:
        return server.finished() if server.write_key else Finished(bytes(32)).encode()
    return encode_message(handshake_type, b"")


def send(duel: ClientDuel, *handshake_types: int) -> None:
    """Each message is what an honest server would send who believes that this is the right order."""
    for handshake_type in handshake_types:
        duel.server.send_message(message_of(handshake_type, duel))
        if handshake_type == HandshakeType.finished:
            duel.server.use_application_key()


def test_table_knows_every_stage_and_only_known_types() -> None:
    assert LEGAL.keys() == set(Stage)
    assert set().union(*LEGAL.values()) <= TYPES.keys()


@pytest.mark.parametrize(("stage", "handshake_type"), LEGAL_CASES)
def test_client_accepts_message_that_is_legal_there(stage: Stage, handshake_type: int) -> None:
    duel = ClientDuel.at(stage)
    send(duel, handshake_type)
    duel.pump()
    assert duel.error is None
    assert duel.server.alerts == []


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize(("stage", "handshake_type"), ILLEGAL)
def test_client_refuses_message_that_is_not_legal_there(stage: Stage, handshake_type: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_message(message_of(handshake_type, duel))
    text = duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    assert "where" in text


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize(("stage", "handshake_type"), ILLEGAL)
def test_client_refuses_message_by_its_type_when_its_body_is_malformed(stage: Stage, handshake_type: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_message(encode_message(handshake_type, b"\xff" * 3))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize(("stage", "handshake_type"), ILLEGAL)
def test_client_refuses_message_in_front_of_the_legal_one(stage: Stage, handshake_type: int) -> None:
    duel = ClientDuel.at(stage)
    legal = message_of(min(LEGAL[stage]), duel)
    duel.server.send_record(ContentType.handshake, message_of(handshake_type, duel) + legal)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


# --- The encrypted flight in every order ---------------------------------------------------------------------------

FLIGHT = (
    HandshakeType.encrypted_extensions,
    HandshakeType.certificate_request,
    HandshakeType.certificate,
    HandshakeType.certificate_verify,
    HandshakeType.finished,
)
WHOLE = {FLIGHT, (FLIGHT[0], *FLIGHT[2:])}
"""With a CertificateRequest, and without."""
BEGUN = {flight[:length] for flight in WHOLE for length in range(len(flight))}

Flight = tuple[HandshakeType, ...]


def flights() -> list[Flight]:
    """All of up to four messages, with repetitions; all orders of the five, and the whole ones with any one more."""
    short = [flight for length in range(5) for flight in itertools.product(FLIGHT, repeat=length)]
    longer = [
        (*flight[:place], extra, *flight[place:])
        for flight in WHOLE
        for extra in FLIGHT
        for place in range(len(flight) + 1)
    ]
    return sorted({*short, *longer, *itertools.permutations(FLIGHT)})


@pytest.mark.rfc("8446", "4")
def test_client_takes_the_flight_in_no_other_order() -> None:
    taken = 0
    for flight in flights():
        duel = ClientDuel.at(Stage.SERVER_HELLO)
        send(duel, *flight)
        duel.pump()
        finished_in_order = any(flight[: len(whole)] == whole for whole in WHOLE)
        assert duel.completed is finished_in_order, flight
        if flight in WHOLE or flight in BEGUN:
            assert duel.error is None, flight
            assert duel.server.client_finished is (flight in WHOLE)
            taken += 1
        else:
            assert type(duel.error) is UnexpectedMessage, (flight, duel.error)
            assert [alert.description for alert in duel.server.alerts] == [UNEXPECTED], flight
    assert taken == len(WHOLE) + len(BEGUN) == 9


@pytest.mark.rfc("8446", "4")
def test_client_takes_the_flight_in_one_record() -> None:
    for flight in WHOLE:
        duel = ClientDuel.at(Stage.SERVER_HELLO)
        messages = b""
        for handshake_type in flight:
            message = message_of(handshake_type, duel)
            duel.server.note(message)
            messages += message
        duel.server.send_record(ContentType.handshake, messages)
        duel.server.use_application_key()
        duel.assert_in_order()


# --- Skip ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5")
@stages(*PLAINTEXT)
def test_client_refuses_application_data_in_place_of_server_hello(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(ContentType.application_data, b"HTTP/1.1 200 OK", protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.4.4")
@stages(*(stage for stage in PROTECTED if stage is not Stage.CONNECTED))
def test_client_refuses_application_data_before_finished(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_data(b"HTTP/1.1 200 OK")
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)
    assert duel.events == []


@pytest.mark.rfc("8446", "4.4.4")
@stages(*(stage for stage in PROTECTED if stage is not Stage.CONNECTED))
def test_client_refuses_application_key_without_finished(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.use_application_key()
    duel.server.send_data(b"HTTP/1.1 200 OK")
    duel.assert_refused(BadRecordMAC, AlertDescription.bad_record_mac)
    assert duel.events == []


@pytest.mark.rfc("8446", "6.1")
@stages(*HANDSHAKE)
def test_client_ends_in_silence_when_close_notify_comes_in_place_of_message(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_alert(AlertDescription.close_notify, level=1)
    duel.assert_ended_in_silence(TruncationError)


# --- Repeat --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.1.3")
@stages(*PLAINTEXT)
def test_client_refuses_server_hello_twice_in_plaintext(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_server_hello()
    duel.server.send_record(ContentType.handshake, duel.server.server_hello().encode(), protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED, protected=True)


@pytest.mark.rfc("8446", "5.1")
@stages(*PLAINTEXT)
def test_client_refuses_server_hello_twice_in_one_record(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(ContentType.handshake, duel.server.server_hello().encode() * 2)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("group", [NamedGroup.x25519, NamedGroup.secp256r1, None], ids=["x25519", "p256", "cookie"])
def test_client_refuses_second_retry_request(group: NamedGroup | None) -> None:
    duel = ClientDuel.at(Stage.RETRIED)
    duel.server.send(duel.server.hello_retry_request(group, cookie=b"again"))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.1.4")
def test_client_refuses_retry_request_after_server_hello() -> None:
    duel = ClientDuel.at(Stage.SERVER_HELLO)
    duel.server.send(duel.server.hello_retry_request(NamedGroup.secp256r1))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.1.4")
def test_client_refuses_server_hello_in_the_record_of_the_retry_request() -> None:
    """It answers a ClientHello that the client has not sent."""
    duel = ClientDuel.at(Stage.HELLO_SENT)
    request = duel.server.hello_retry_request(NamedGroup.secp256r1).encode()
    duel.server.send_record(ContentType.handshake, request + duel.server.server_hello().encode())
    duel.assert_refused(IllegalParameter, AlertDescription.illegal_parameter)


@pytest.mark.rfc("8446", "4.4.4")
def test_client_refuses_finished_twice_in_one_record() -> None:
    duel = ClientDuel.at(Stage.VERIFIED)
    duel.server.send_record(ContentType.handshake, duel.server.finished() * 2)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.4.4")
def test_client_refuses_finished_again_under_the_old_key() -> None:
    duel = ClientDuel.at(Stage.VERIFIED)
    finished = duel.server.finished()
    key = duel.server.write_key
    duel.server.finish()
    duel.server.write_key = key
    duel.server.send_record(ContentType.handshake, finished)
    duel.stage = Stage.CONNECTED
    duel.assert_refused(BadRecordMAC, AlertDescription.bad_record_mac)


# --- After the handshake -------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.6.2")
@pytest.mark.parametrize("context", [b"", b"\1"], ids=["empty", "context"])
def test_client_refuses_request_after_the_handshake_which_it_never_offered(context: bytes) -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    assert duel.server.client_hello.post_handshake_auth is None
    duel.server.send(duel.server.certificate_request(certificate_request_context=context))
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.6.1")
def test_client_takes_ticket_that_comes_with_the_flight() -> None:
    duel = ClientDuel.at(Stage.VERIFIED)
    duel.server.finish()
    duel.server.send(NewSessionTicket(7200, 0, b"\0", b"ticket"))
    duel.assert_in_order()
