"""What must hold of the client for any input: how bytes are cut does not matter, and nothing but a TLSError comes out.

The second property is the one that a false server tests first.  It is tried with noise, with every single byte of an
honest server's messages changed, and, further in, with contents sealed under the right keys.
"""

from collections.abc import Callable, Iterable

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotls.errors import AlertDescription, LocalError, TLSError, alert_for
from aiotls.events import ApplicationData, Event, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.testing.server_peer import ScriptedServer, encode_message, join_message, split_message
from aiotls.wire.messages import CertificateRequest, EncryptedExtensions, ServerHello
from aiotls.wire.registries import ContentType, ExtensionType, HandshakeType, NamedGroup
from tests.handshake.client13_support import PLAINTEXT, PROTECTED, PROTOCOL, ClientDuel, Stage, credential, stages

CHUNK_SIZES = st.lists(st.integers(1, 700) | st.integers(1, 5), min_size=1, max_size=12)
CONTENT_TYPES = st.sampled_from(list(ContentType)) | st.integers(0, 255)
CODES = st.sampled_from(list(ExtensionType)) | st.integers(0, 0xFFFF)
FEWER = settings(max_examples=30)
MASKS = (0x01, 0x80, 0xFF)

Extended = ServerHello | EncryptedExtensions | CertificateRequest

REST = [
    ApplicationData(b"first"),
    KeyUpdated(),
    ApplicationData(bytes(16_384)),
    ApplicationData(bytes(3_616)),
    ApplicationData(b"padded"),
    KeyUpdated(),
    ApplicationData(b"last"),
    PeerClosed(),
]
"""What is told of `conversation` behind the handshake."""


def conversation(*, retried: bool, chunk_sizes: Iterable[int] = ()) -> tuple[list[Event], bytes]:
    """An honest connection, its server's bytes cut into chunks: what the client told, and what the server heard."""
    duel = ClientDuel(chunk_sizes=chunk_sizes)
    server = duel.server
    if retried:
        server.send_hello_retry_request(NamedGroup.secp256r1, cookie=b"cookie")
        server.send_change_cipher_spec()
        duel.pump()
    server.send_server_hello()
    server.send_change_cipher_spec()
    server.send(server.encrypted_extensions(application_layer_protocol_negotiation=PROTOCOL))
    server.send(server.certificate_request())
    server.send_message(server.certificate().encode(), fragment_size=100)
    server.send_message(server.certificate_verify().encode(), fragment_size=11)
    server.finish()
    server.send(server.new_session_ticket())
    server.send_data(b"first")
    server.send_data(b"")
    server.send_key_update(request_peer=True)
    server.send_data(bytes(20_000))
    server.send_record(ContentType.application_data, b"padded", padding=100)
    server.send_key_update()
    server.send_alert(AlertDescription.user_canceled, level=1)
    server.send_data(b"last")
    server.send_alert(AlertDescription.close_notify, level=1)
    server.send_data(b"too late")
    duel.pump()
    assert duel.error is None
    duel.client.send_data(b"answer")
    duel.client.close()
    duel.pump()
    assert server.client_finished
    return duel.events, bytes(server.data)


WHOLE = {retried: conversation(retried=retried) for retried in (False, True)}


def test_client_tells_all_of_honest_connection() -> None:
    for retried, (events, heard) in WHOLE.items():
        assert isinstance(events[0], HandshakeComplete)
        assert events[0].negotiated.retried is retried
        assert events[1:] == REST
        assert heard == b"answer"


@FEWER
@given(chunk_sizes=CHUNK_SIZES, retried=st.booleans())
def test_client_tells_the_same_however_bytes_are_cut(chunk_sizes: list[int], *, retried: bool) -> None:
    assert conversation(retried=retried, chunk_sizes=chunk_sizes) == WHOLE[retried]


@pytest.mark.parametrize("retried", [False, True], ids=["at_once", "retried"])
def test_client_tells_the_same_byte_by_byte(*, retried: bool) -> None:
    assert conversation(retried=retried, chunk_sizes=(1,)) == WHOLE[retried]


# --- Any bytes -----------------------------------------------------------------------------------------------------


def drain(duel: ClientDuel) -> list[Event]:
    """The events that are there; the error goes where the pipe keeps it."""
    end = duel.pipe.second
    known = len(end.events)
    end.collect()
    return end.events[known:]


def feed(duel: ClientDuel, *pieces: bytes) -> list[Event]:
    """Give the client bytes, and return what it told.

    Only a TLSError may come of them, and then silence.  The server does not hear the answer, for what it would make of
    it is of no interest here.
    """
    client = duel.client
    told: list[Event] = []
    for piece in pieces:
        client.receive_data(piece)
        told += drain(duel)
    client.receive_eof()
    told += drain(duel)
    error = duel.error
    answer = bytes(client.data_to_send())
    assert client.data_to_send() == b""
    if told and told[-1] == PeerClosed():
        assert error is None
        return told
    assert error is not None
    assert not isinstance(error, LocalError), repr(error)
    if alert_for(error) is not None:
        assert answer
    client.receive_data(b"more")
    client.receive_eof()
    assert client.data_to_send() == b""
    with pytest.raises(TLSError) as again:
        client.next_event()
    assert again.value is error
    return told


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of which some are changed, left out, said twice or made up."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 3))
        data[start:end] = draw(st.binary(max_size=3) | st.just(bytes(data[start:end]) * 2))
    return bytes(data)


@stages(*Stage)
@FEWER
@given(pieces=st.lists(st.binary(max_size=60), max_size=4))
def test_client_raises_only_tls_errors_for_any_bytes(stage: Stage, pieces: list[bytes]) -> None:
    assert feed(ClientDuel.at(stage), *pieces) == []


@stages(*Stage)
@FEWER
@given(records=st.lists(st.tuples(CONTENT_TYPES, st.binary(max_size=60)), min_size=1, max_size=4))
def test_client_raises_only_tls_errors_for_any_plaintext_records(
    stage: Stage, records: list[tuple[int, bytes]]
) -> None:
    duel = ClientDuel.at(stage)
    pieces = [duel.server.record(content_type, content, protected=False) for content_type, content in records]
    assert feed(duel, *pieces) == []


@stages(*PLAINTEXT)
@pytest.mark.parametrize("again", [False, True], ids=["hello", "retry_request"])
@settings(max_examples=100)
@given(data=st.data())
def test_client_raises_only_tls_errors_for_damaged_hello(stage: Stage, data: st.DataObject, *, again: bool) -> None:
    duel = ClientDuel.at(stage)
    server = duel.server
    hello = server.hello_retry_request(NamedGroup.secp256r1, cookie=b"cookie") if again else server.server_hello()
    body = data.draw(damaged(hello.encode()[4:]))
    record = server.record(ContentType.handshake, encode_message(HandshakeType.server_hello, body))
    assert feed(duel, record) == []


EXTENDED: dict[str, tuple[Stage, Callable[[ScriptedServer], Extended]]] = {
    "server_hello": (Stage.HELLO_SENT, ScriptedServer.server_hello),
    "retry_request": (Stage.HELLO_SENT, lambda server: server.hello_retry_request(NamedGroup.secp256r1)),
    "encrypted_extensions": (Stage.SERVER_HELLO, ScriptedServer.encrypted_extensions),
    "certificate_request": (Stage.EXTENSIONS, ScriptedServer.certificate_request),
}


@pytest.mark.parametrize(("stage", "make"), EXTENDED.values(), ids=EXTENDED)
@FEWER
@given(extensions=st.lists(st.tuples(CODES, st.binary(max_size=40)), max_size=6))
def test_client_raises_only_tls_errors_for_any_extensions(
    stage: Stage, make: Callable[[ScriptedServer], Extended], extensions: list[tuple[int, bytes]]
) -> None:
    duel = ClientDuel.at(stage)
    message = make(duel.server)
    front, honest = split_message(message)
    given_codes = {code for code, _ in extensions}
    rest = [(code, content) for code, content in honest if code not in given_codes]
    raw = join_message(message.handshake_type, front, rest + extensions)
    assert feed(duel, duel.server.record(ContentType.handshake, raw)) == []


SEALED_CONTENTS = st.lists(
    st.tuples(CONTENT_TYPES, st.binary(max_size=20), st.integers(0, 20))
    | st.tuples(
        st.just(int(ContentType.handshake)),
        st.builds(encode_message, st.sampled_from(list(HandshakeType)) | st.integers(0, 255), st.binary(max_size=40)),
        st.just(0),
    ),
    min_size=1,
    max_size=6,
)


@stages(*PROTECTED)
@settings(max_examples=60)
@given(records=SEALED_CONTENTS)
def test_client_raises_only_tls_errors_for_any_sealed_contents(
    stage: Stage, records: list[tuple[int, bytes, int]]
) -> None:
    duel = ClientDuel.at(stage)
    pieces = [duel.server.record(kind, content, protected=True, padding=padding) for kind, content, padding in records]
    told = feed(duel, *pieces)
    if stage is not Stage.CONNECTED:
        assert told == []
    sent = [ApplicationData(content) for kind, content, _ in records if kind == ContentType.application_data]
    data = [event for event in told if isinstance(event, ApplicationData)]
    assert data == [event for event in sent if event.data][: len(data)]


@stages(Stage.SERVER_HELLO, Stage.VERIFIED, Stage.CONNECTED)
@settings(max_examples=100)
@given(data=st.data())
def test_client_takes_nothing_behind_damage(stage: Stage, data: st.DataObject) -> None:
    """The honest rest of a connection, damaged: what is told is a front part of what would have been told."""
    duel = ClientDuel.at(stage, credential=credential("ed25519"))  # whose signatures have all one length
    server = duel.server
    if stage is Stage.SERVER_HELLO:
        server.send(server.encrypted_extensions())
        server.send(server.certificate())
        server.send(server.certificate_verify())
    if stage is not Stage.CONNECTED:
        server.finish()
    server.send_data(b"first")
    server.send(server.new_session_ticket())
    server.send_key_update(request_peer=True)
    server.send_data(b"last")
    server.send_alert(AlertDescription.close_notify, level=1)
    told = feed(duel, data.draw(damaged(server.data_to_send())))
    if stage is not Stage.CONNECTED and told:
        assert isinstance(told.pop(0), HandshakeComplete)
    whole = [ApplicationData(b"first"), KeyUpdated(), ApplicationData(b"last"), PeerClosed()]
    assert told == whole[: len(told)]


# --- Every byte changed --------------------------------------------------------------------------------------------

VERSION_OF_THE_RECORD = (1, 2)
"""The only bytes of a plaintext record that mean nothing (RFC 8446 §5.1)."""


def changed(whole: bytes, place: int, mask: int) -> bytes:
    return whole[:place] + bytes((whole[place] ^ mask,)) + whole[place + 1 :]


def finish_after_hello(duel: ClientDuel) -> bool:
    """The rest of an honest flight, for whoever can open it; whether the client believes it."""
    server = duel.server
    server.use_handshake_key()
    server.send(server.encrypted_extensions())
    server.send(server.certificate())
    server.send(server.certificate_verify())
    server.finish()
    server.send_alert(AlertDescription.close_notify, level=1)
    return HandshakeComplete in map(type, feed(duel, server.data_to_send()))


@pytest.mark.rfc("8446", "4.4.4")
@pytest.mark.parametrize("mask", MASKS, ids=hex)
def test_client_completes_with_no_byte_of_server_hello_changed(mask: int) -> None:
    length = len(ClientDuel().server.server_hello().encode()) + 5
    for place in range(length):
        duel = ClientDuel()
        raw = duel.server.server_hello().encode()
        duel.server.note(raw)
        duel.server.send_raw(changed(duel.server.record(ContentType.handshake, raw), place, mask))
        assert finish_after_hello(duel) is (place in VERSION_OF_THE_RECORD), place


@pytest.mark.rfc("8446", "4.4.4")
@pytest.mark.parametrize("mask", MASKS, ids=hex)
def test_client_completes_with_no_byte_of_retry_request_changed(mask: int) -> None:
    """It is in the transcript, and so must be as the server said it, even where the client can do what it says."""
    length = len(ClientDuel().server.hello_retry_request(NamedGroup.secp256r1, cookie=b"cookie").encode()) + 5
    for place in range(length):
        duel = ClientDuel()
        server = duel.server
        server.begin_retry()
        raw = server.hello_retry_request(NamedGroup.secp256r1, cookie=b"cookie").encode()
        server.note(raw)
        duel.client.receive_data(changed(server.record(ContentType.handshake, raw), place, mask))
        assert drain(duel) == []
        if duel.error is not None:
            assert feed(duel) == []
            continue
        server.receive_data(bytes(duel.client.data_to_send()))
        server.group = NamedGroup.secp256r1
        if server.group not in (server.client_hello.key_share or {}):  # it waits for the rest of the message
            assert feed(duel) == []
            continue
        server.send(server.server_hello())
        assert finish_after_hello(duel) is (place in VERSION_OF_THE_RECORD), place


FLIGHT: dict[str, tuple[Stage, Callable[[ScriptedServer], bytes]]] = {
    "encrypted_extensions": (
        Stage.SERVER_HELLO,
        lambda server: server.encrypted_extensions(
            server_name=True, application_layer_protocol_negotiation=PROTOCOL
        ).encode(),
    ),
    "certificate": (Stage.EXTENSIONS, lambda server: server.certificate().encode()),
    "certificate_verify": (Stage.CERTIFICATE, lambda server: server.certificate_verify().encode()),
    "finished": (Stage.VERIFIED, lambda server: server.finished()),
}
AFTER = {
    Stage.SERVER_HELLO: Stage.EXTENSIONS,
    Stage.EXTENSIONS: Stage.CERTIFICATE,
    Stage.CERTIFICATE: Stage.VERIFIED,
    Stage.VERIFIED: Stage.CONNECTED,
}


def send_rest(server: ScriptedServer, stage: Stage) -> None:
    """The honest rest of the flight from *stage* on, whatever the client thinks of what came before."""
    if stage is Stage.EXTENSIONS:
        server.send(server.certificate())
    if stage in {Stage.EXTENSIONS, Stage.CERTIFICATE}:
        server.send(server.certificate_verify())
    if stage is not Stage.CONNECTED:
        server.send_message(server.finished())
    server.use_application_key()
    server.send_alert(AlertDescription.close_notify, level=1)


@pytest.mark.rfc("8446", "4.4")
@pytest.mark.parametrize("mask", MASKS, ids=hex)
@pytest.mark.parametrize(("stage", "make"), FLIGHT.values(), ids=FLIGHT)
def test_client_completes_with_no_byte_of_the_flight_changed(
    stage: Stage, make: Callable[[ScriptedServer], bytes], mask: int
) -> None:
    """The server says it so itself: its signature and its Finished are over what it said."""
    shown = credential("ed25519")  # whose signatures have all one length
    sample = make(ClientDuel.at(stage, credential=shown).server)
    # How many bits at a signature's end are not used: 1 instead of 0 is the same signature, if it ends in a zero.
    unused_bits = sample.find(x509.load_der_x509_certificate(shown.chain[0]).signature) - 1
    for place in range(len(sample)):
        if place == unused_bits:
            continue
        duel = ClientDuel.at(stage, credential=shown)
        duel.server.send_message(changed(make(duel.server), place, mask))
        send_rest(duel.server, AFTER[stage])
        assert feed(duel, duel.server.data_to_send()) == [], place


@pytest.mark.rfc("8446", "4.3.2")
@pytest.mark.parametrize("mask", MASKS, ids=hex)
@pytest.mark.parametrize("message", ["certificate_request", "new_session_ticket"])
def test_client_raises_only_tls_errors_for_request_with_any_byte_changed(message: str, mask: int) -> None:
    """Much that it can say is right; whatever it says, the client takes it or raises a TLSError."""
    asked = message == "certificate_request"

    def make(server: ScriptedServer) -> bytes:
        if asked:
            return server.certificate_request(
                certificate_authorities=(b"\x30\x00",), oid_filters=((b"\x55", b"value"),), status_request=True
            ).encode()
        return server.new_session_ticket(early_data=7).encode()

    length = len(make(ClientDuel().server))
    for place in range(length):
        duel = ClientDuel.at(Stage.EXTENSIONS if asked else Stage.CONNECTED)
        duel.server.send_message(changed(make(duel.server), place, mask))
        if asked:
            send_rest(duel.server, Stage.EXTENSIONS)
        told = feed(duel, duel.server.data_to_send())
        assert [type(event) for event in told] in ([], [HandshakeComplete, PeerClosed], [KeyUpdated]), place
