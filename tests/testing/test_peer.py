"""The scripted client: honest when it is told to be, exact when it is told not to be, and not easily fooled itself."""

import itertools

import pytest

from aiotls import ServerConfig, ServerConnection
from aiotls.crypto.groups import GROUPS
from aiotls.crypto.suites import SUITES
from aiotls.errors import (
    AlertDescription,
    BadRecordMAC,
    CertificateError,
    DecodeError,
    DecryptError,
    IllegalParameter,
    LocalError,
    TLSError,
    UnexpectedMessage,
)
from aiotls.events import ApplicationData, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.record.framing import frame_plaintext
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.testing.ca import KeyType, LocalCA
from aiotls.testing.peer import Alert, ScriptedClient, encode_message, join_hello, split_hello
from aiotls.testing.pipe import Pipe
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.messages import Certificate, CertificateEntry, CertificateVerify, Finished, KeyUpdate, ServerHello
from aiotls.wire.registries import ContentType, ExtensionType, HandshakeType, NamedGroup

AUTHORITY = LocalCA()
CONFIG = ServerConfig(credentials=AUTHORITY.issue("localhost").credential())
FLIGHT = ["ServerHello", "EncryptedExtensions", "Certificate", "CertificateVerify", "Finished"]


def joined(client: ScriptedClient, config: ServerConfig = CONFIG) -> Pipe:
    """The client's hello sent, and all that the server says to it heard."""
    pipe = Pipe(client, ServerConnection(config))
    client.send_hello()
    pipe.pump()
    return pipe


@pytest.mark.parametrize("retried", [False, True], ids=["at_once", "retried"])
@pytest.mark.parametrize(("group", "suite"), list(itertools.product(GROUPS, SUITES)))
def test_client_completes_honest_handshake(group: NamedGroup, suite: int, *, retried: bool) -> None:
    client = ScriptedClient(shares=() if retried else (group,), supported_groups=(group,), cipher_suites=(suite,))
    pipe = joined(client)
    if retried:
        assert client.retry_request is not None
        client.send_hello()
        pipe.pump()
    assert client.server_finished
    assert [type(message).__name__ for message in client.server_messages] == ["ServerHello"] * retried + FLIGHT
    assert client.change_cipher_specs == 1
    client.finish()
    pipe.pump()
    assert pipe.second.error is None
    (event,) = pipe.second.events
    assert isinstance(event, HandshakeComplete)
    assert (event.negotiated.group, event.negotiated.cipher_suite) == (group, suite)
    assert event.negotiated.retried is retried


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"])
def test_client_verifies_signature_of_every_key(key_type: KeyType) -> None:
    client = ScriptedClient()
    joined(client, ServerConfig(credentials=AUTHORITY.issue("localhost", key_type=key_type).credential()))
    assert client.server_finished


def test_client_talks_and_listens() -> None:
    client = ScriptedClient(legacy_session_id=b"")
    pipe = joined(client)
    server = pipe.second.engine
    assert isinstance(server, ServerConnection)
    client.finish()
    client.send_data(b"a" * 20_000)
    client.send_key_update(request_peer=True)
    client.send_data(b"b")
    client.send_alert(AlertDescription.close_notify, level=1)
    pipe.pump()
    told = pipe.second.events[1:]
    assert told == [
        ApplicationData(b"a" * 16_384),
        ApplicationData(b"a" * 3_616),
        KeyUpdated(),
        ApplicationData(b"b"),
        PeerClosed(),
    ]
    server.send_data(b"under the new key")
    server.close()
    pipe.pump()
    assert client.data == b"under the new key"
    assert client.alert == Alert(1, AlertDescription.close_notify, protected=True)
    assert client.change_cipher_specs == 0
    keying_material = server.export_keying_material("EXPORTER-test", b"context", 40)
    assert client.export_keying_material("EXPORTER-test", b"context", 40) == keying_material


def test_client_hears_plaintext_alert() -> None:
    client = ScriptedClient(supported_versions=(0x0303,))
    joined(client)
    assert client.alert == Alert(2, AlertDescription.protocol_version, protected=False)


# --- It says what it is told ---------------------------------------------------------------------------------------


def test_hello_takes_overrides_over_the_clients_fields_over_defaults() -> None:
    client = ScriptedClient(server_name="one.test", cipher_suites=(0x1303,))
    hello = client.hello(server_name="two.test")
    assert (hello.server_name, hello.cipher_suites) == ("two.test", (0x1303,))
    assert (client.hello().server_name, client.hello().random) == ("one.test", hello.random)
    assert client.hello(key_share=None).key_share is None


def test_client_sends_exactly_what_the_script_says() -> None:
    client = ScriptedClient()
    client.send_raw(b"raw")
    client.send_record(99, b"content")
    client.send_message(encode_message(99, b"abc"), fragment_size=4)
    client.send_change_cipher_spec(b"")
    assert client.data_to_send() == (
        b"raw" + b"\x63\3\3\0\7content" + b"\x16\3\3\0\4\x63\0\0\3" + b"\x16\3\3\0\3abc" + b"\x14\3\3\0\0"
    )
    assert client.data_to_send() == b""


@pytest.mark.parametrize("padding", [0, 1, 100])
def test_client_seals_with_padding(padding: int) -> None:
    client = ScriptedClient()
    joined(client)
    key = client.write_key
    assert key is not None
    opening = OpeningKey(key.suite, key.secret)
    record = client.record(ContentType.alert, b"\1\0", padding=padding)
    assert len(record) == 5 + 2 + 1 + padding + 16
    assert opening.open(record[:5], record[5:]) == (ContentType.alert, b"\1\0")


def test_hello_is_taken_apart_and_joined_again() -> None:
    raw = ScriptedClient().hello().encode()
    front, extensions = split_hello(raw)
    assert front.endswith(b"\1\0")
    assert (extensions[0][0], extensions[-1][0]) == (ExtensionType.server_name, ExtensionType.supported_versions)
    assert join_hello(front, extensions) == raw
    assert join_hello(front, []) == encode_message(HandshakeType.client_hello, front + b"\0\0")


# --- It is not fooled ----------------------------------------------------------------------------------------------


class FalseServer:
    """A server in one test's hand: the messages of an honest one's flight, sealed again after a change."""

    def __init__(self) -> None:
        self.client = ScriptedClient(legacy_session_id=b"")
        server = ServerConnection(CONFIG)
        self.client.send_hello()
        server.receive_data(self.client.data_to_send())
        flight = bytes(server.data_to_send())
        end = 5 + int.from_bytes(flight[3:5], "big")
        self.client.receive_data(flight[:end])
        key = self.client.read_key
        assert key is not None
        header, payload = flight[end : end + 5], flight[end + 5 :]
        _, content = OpeningKey(key.suite, key.secret).open(header, payload)
        self.seal = SealingKey(key.suite, key.secret).seal
        self.messages: dict[int, bytes] = {}
        while content:
            size = 4 + int.from_bytes(content[1:4], "big")
            self.messages[content[0]] = content[:size]
            content = content[size:]

    def say(self) -> None:
        for raw in self.messages.values():
            self.client.receive_data(self.seal(ContentType.handshake, raw))


def test_client_takes_the_flight_that_nobody_changed() -> None:
    server = FalseServer()
    server.say()
    assert server.client.server_finished


@pytest.mark.parametrize(
    ("kind", "error"),
    [(HandshakeType.certificate_verify, DecryptError), (HandshakeType.finished, DecryptError)],
    ids=["signature", "finished"],
)
def test_client_refuses_wrong_proof(kind: int, error: type[TLSError]) -> None:
    server = FalseServer()
    raw = server.messages[kind]
    server.messages[kind] = raw[:-1] + bytes((raw[-1] ^ 1,))
    with pytest.raises(error):
        server.say()
    assert not server.client.server_finished


def test_client_refuses_signature_of_another_key() -> None:
    server = FalseServer()
    server.messages[HandshakeType.certificate] = AUTHORITY.issue("localhost").credential().certificate_message
    with pytest.raises(DecryptError):
        server.say()


def test_client_refuses_signature_without_certificate() -> None:
    server = FalseServer()
    del server.messages[HandshakeType.certificate]
    with pytest.raises(UnexpectedMessage, match="before its Certificate"):
        server.say()


def test_client_refuses_message_of_unknown_type() -> None:
    server = FalseServer()
    server.messages = {99: encode_message(99, b"")}
    with pytest.raises(UnexpectedMessage, match="unknown_0x63"):
        server.say()


@pytest.mark.parametrize(
    "message",
    [CertificateVerify(0x0403, b""), Finished(bytes(32)), Certificate()],
    ids=lambda message: type(message).__name__,
)
def test_client_refuses_plaintext_flight(message: Certificate | CertificateVerify | Finished) -> None:
    client = ScriptedClient()
    client.send_hello()
    with pytest.raises(TLSError):
        client.receive_data(frame_plaintext(ContentType.handshake, message.encode()))


WRONG_HELLOS = {
    "no_share": ServerHello(bytes(32), b"", 0x1301, supported_versions=0x0304),
    "share_of_other_group": ServerHello(
        bytes(32), b"", 0x1301, supported_versions=0x0304, key_share=KeyShareEntry(NamedGroup.x448, bytes(56))
    ),
    "unknown_suite": ServerHello(bytes(32), b"", 0xC02F, supported_versions=0x0304),
}


@pytest.mark.parametrize("hello", WRONG_HELLOS.values(), ids=WRONG_HELLOS)
def test_client_refuses_wrong_server_hello(hello: ServerHello) -> None:
    client = ScriptedClient()
    client.send_hello()
    with pytest.raises(IllegalParameter):
        client.receive_data(frame_plaintext(ContentType.handshake, hello.encode()))


def test_client_refuses_certificate_that_does_not_parse() -> None:
    client = ScriptedClient()
    client.send_hello()
    wrong = Certificate(b"", (CertificateEntry(b"certificate"),))
    with pytest.raises(CertificateError):
        client.receive_data(frame_plaintext(ContentType.handshake, wrong.encode()))


def test_client_refuses_alert_of_wrong_length() -> None:
    with pytest.raises(DecodeError):
        ScriptedClient().receive_data(frame_plaintext(ContentType.alert, b"\2"))


def test_client_refuses_records_that_it_cannot_take() -> None:
    client = ScriptedClient()
    joined(client)
    with pytest.raises(BadRecordMAC):
        client.receive_data(frame_plaintext(ContentType.application_data, bytes(40)))
    key = client.read_key
    assert key is not None
    with pytest.raises(UnexpectedMessage, match="type 99"):
        client.receive_data(SealingKey(key.suite, key.secret).seal(99, b"content"))


def test_client_says_what_cannot_be_done_yet() -> None:
    client = ScriptedClient()
    for impossible in (client.finished, client.use_application_key, client.send_key_update):
        with pytest.raises(LocalError):
            impossible()
    with pytest.raises(LocalError):
        client.record(ContentType.application_data, b"", protected=True)
    with pytest.raises(LocalError, match="x448"):
        ScriptedClient(shares=(NamedGroup.x448,)).hello()
    with pytest.raises(LocalError):
        client.export_keying_material("label", b"", 1)
    with pytest.raises(LocalError):
        client.receive_data(frame_plaintext(ContentType.handshake, KeyUpdate(0).encode()))
