"""The scripted server: honest when it is told to be, exact when it is told not to be, and not easily fooled itself.

That it is a TLS 1.3 server is for others to say: here it talks to the client of the `ssl` module, and to our own.
"""

import itertools
import ssl
from collections.abc import Awaitable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aiotls import ClientConfig, ClientConnection, Roots
from aiotls.crypto.groups import GROUPS
from aiotls.crypto.suites import SUITES
from aiotls.errors import (
    AlertDescription,
    BadRecordMAC,
    CertificateError,
    DecodeError,
    DecryptError,
    LocalError,
    UnexpectedMessage,
)
from aiotls.events import ApplicationData, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.record.framing import frame_plaintext
from aiotls.record.protection import SealingKey
from aiotls.testing.ca import KeyType, LocalCA
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.testing.server_peer import Alert, ScriptedServer, encode_message, join_message, split_message
from aiotls.trust.credentials import Credential, PrivateKeySigner
from aiotls.wire.messages import (
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    EncryptedExtensions,
    Finished,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    CipherSuite,
    ContentType,
    NamedGroup,
)

AUTHORITY = LocalCA()
OF_SSL = {NamedGroup.x25519: "X25519", NamedGroup.secp256r1: "prime256v1", NamedGroup.secp384r1: "secp384r1"}
"""The groups that the `ssl` module can be told to use, by OpenSSL's names."""


@cache
def credential(key_type: KeyType = "ecdsa-p256") -> Credential:
    return AUTHORITY.issue("localhost", key_type=key_type).credential()


@cache
def roots() -> Roots:
    return Roots.from_bytes(AUTHORITY.certificate_pem)


class SSLClient:
    """The `ssl` module's client as an engine; what it reads is in `data`."""

    def __init__(self, group: str | None = "X25519", *, identity: tuple[Path, Path] | None = None) -> None:
        context = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if group is not None:
            context.set_ecdh_curve(group)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if identity is not None:
            context.load_cert_chain(*identity)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.connected = False
        self.data = b""

    def receive_data(self, data: bytes) -> None:
        self._incoming.write(data)

    def next_event(self) -> None:
        try:
            if not self.connected:
                self.tls.do_handshake()
                self.connected = True
            while piece := self.tls.read(65536):
                self.data += piece
        except ssl.SSLWantReadError:
            pass

    def data_to_send(self) -> bytes:
        return self._outgoing.read()


def joined(client: ClientConnection | ScriptedClient | SSLClient, server: ScriptedServer) -> Pipe:
    """The ClientHello sent, and heard by the server."""
    pipe = Pipe(client, server)
    pipe.pump()
    return pipe


def connected() -> tuple[ScriptedServer, ClientConnection, Pipe]:
    """A handshake with our own client, complete."""
    server = ScriptedServer(credential())
    client = ClientConnection(ClientConfig(roots=roots()), "localhost")
    pipe = joined(client, server)
    server.send_flight()
    pipe.pump()
    assert server.client_finished
    return server, client, pipe


# --- With the `ssl` module -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("group", OF_SSL)
def test_server_completes_handshake_with_ssl(group: NamedGroup, suite: CipherSuite) -> None:
    client = SSLClient(OF_SSL[group])
    server = ScriptedServer(credential(), cipher_suite=suite, group=group)
    pipe = joined(client, server)
    server.send_flight(application_layer_protocol_negotiation=b"http/1.1")
    pipe.pump()
    assert client.connected
    assert server.client_finished
    chosen = client.tls.cipher()
    assert chosen is not None
    assert (chosen[0], client.tls.selected_alpn_protocol()) == (CipherSuite(suite).name, "http/1.1")
    server.send(server.new_session_ticket())
    server.send_data(b"a" * 20_000)
    client.tls.write(b"ping")
    pipe.pump()
    assert client.data == b"a" * 20_000
    assert server.data == b"ping"
    assert server.alerts == []


@pytest.mark.parametrize("group", [NamedGroup.secp384r1, None], ids=["other_share", "cookie_alone"])
@pytest.mark.parametrize("suite", SUITES)
def test_server_has_ssl_ask_again(suite: CipherSuite, group: NamedGroup | None) -> None:
    client = SSLClient(None if group else "X25519")
    server = ScriptedServer(credential(), cipher_suite=suite)
    pipe = joined(client, server)
    server.send_hello_retry_request(group, cookie=b"cookie")
    pipe.pump()
    assert server.client_hello.cookie == b"cookie"
    assert list(server.client_hello.key_share or {}) == [server.group]
    server.send_flight()
    pipe.pump()
    assert client.connected
    assert server.client_finished


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"])
def test_ssl_verifies_signature_of_every_key(key_type: KeyType) -> None:
    client = SSLClient()
    server = ScriptedServer(credential(key_type))
    pipe = joined(client, server)
    server.send_flight()
    pipe.pump()
    assert server.client_finished


def send_flight_with_request(server: ScriptedServer) -> None:
    server.send_server_hello()
    server.send(server.encrypted_extensions())
    server.send(server.certificate_request())
    server.send(server.certificate())
    server.send(server.certificate_verify())
    server.finish()


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ed25519", "rsa-2048"])
def test_server_verifies_what_ssl_shows_of_itself(key_type: KeyType, tmp_path: Path) -> None:
    issued = AUTHORITY.issue("client.test", key_type=key_type)
    client = SSLClient(identity=issued.write(tmp_path))
    server = ScriptedServer(credential())
    pipe = joined(client, server)
    send_flight_with_request(server)
    pipe.pump()
    assert server.client_finished
    assert server.client_certificates[:1] == issued.credential().chain  # OpenSSL adds the root
    assert any(isinstance(message, CertificateVerify) for message in server.client_messages)


def test_server_takes_ssl_that_shows_nothing() -> None:
    client = SSLClient()
    server = ScriptedServer(credential())
    pipe = joined(client, server)
    send_flight_with_request(server)
    pipe.pump()
    assert server.client_finished
    assert server.client_certificates == ()
    assert Certificate() in server.client_messages


def test_ssl_follows_key_update_of_the_server() -> None:
    client = SSLClient()
    server = ScriptedServer(credential())
    pipe = joined(client, server)
    server.send_flight()
    pipe.pump()
    server.send_key_update()
    server.send_data(b"under the new key")
    pipe.pump()
    assert client.data == b"under the new key"


def test_server_hears_ssl_close() -> None:
    client = SSLClient()
    server = ScriptedServer(credential())
    pipe = joined(client, server)
    server.send_flight()
    pipe.pump()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    server.receive_data(client.data_to_send())
    assert server.alert == Alert(1, AlertDescription.close_notify, protected=True)


# --- With our own clients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retried", [False, True], ids=["at_once", "retried"])
@pytest.mark.parametrize(("group", "suite"), list(itertools.product(GROUPS, SUITES)))
def test_server_completes_every_handshake(group: NamedGroup, suite: CipherSuite, *, retried: bool) -> None:
    config = ClientConfig(roots=roots(), groups=(group,), key_shares=() if retried else (group,))
    client = ClientConnection(config, "localhost")
    server = ScriptedServer(credential(), cipher_suite=suite, group=group)
    pipe = joined(client, server)
    if retried:
        server.send_hello_retry_request(group)
        pipe.pump()
    server.send_flight()
    pipe.pump()
    (event,) = pipe.first.events
    assert isinstance(event, HandshakeComplete)
    negotiated = event.negotiated
    assert (negotiated.group, negotiated.cipher_suite, negotiated.retried) == (group, suite, retried)
    assert server.client_finished
    assert server.change_cipher_specs == 1
    names = [type(message).__name__ for message in server.client_messages]
    assert names == ["ClientHello", *["ClientHello"] * retried, "Finished"]


def test_server_completes_handshake_with_scripted_client() -> None:
    client, server = ScriptedClient(), ScriptedServer(credential())
    client.send_hello()
    pipe = joined(client, server)
    server.send_flight()
    pipe.pump()
    assert client.server_finished
    client.finish()
    client.send_data(b"ping")
    server.send_data(b"pong")
    pipe.pump()
    assert server.data == b"ping"
    assert client.data == b"pong"
    exported = server.export_keying_material("EXPORTER-test", b"context", 40)
    assert client.export_keying_material("EXPORTER-test", b"context", 40) == exported


def test_server_talks_and_listens() -> None:
    server, client, pipe = connected()
    server.send(server.new_session_ticket())
    server.send_data(b"a" * 20_000)
    server.send_key_update(request_peer=True)
    server.send_data(b"b")
    server.send_alert(AlertDescription.close_notify, level=1)
    pipe.pump()
    assert pipe.first.events[1:] == [
        ApplicationData(b"a" * 16_384),
        ApplicationData(b"a" * 3_616),
        KeyUpdated(),
        ApplicationData(b"b"),
        PeerClosed(),
    ]
    client.send_data(b"under the new key")
    client.close()
    pipe.pump()
    assert isinstance(server.client_messages[-1], KeyUpdate)
    assert server.data == b"under the new key"
    assert server.alert == Alert(1, AlertDescription.close_notify, protected=True)
    assert server.export_keying_material("EXPORTER-test", b"", 40) == client.export_keying_material(
        "EXPORTER-test", b"", 40
    )


def test_server_hears_plaintext_alert() -> None:
    server = ScriptedServer(credential())
    pipe = joined(ClientConnection(ClientConfig(roots=roots()), "localhost"), server)
    server.send(server.server_hello(cipher_suite=0x1304))
    pipe.pump()
    assert server.alert == Alert(2, AlertDescription.illegal_parameter, protected=False)


# --- It says what it is told ---------------------------------------------------------------------------------------


def answering() -> ScriptedServer:
    """A server that has a ClientHello to answer."""
    server = ScriptedServer(credential())
    joined(ClientConnection(ClientConfig(roots=roots()), "localhost"), server)
    return server


def test_messages_take_changes_over_what_is_honest() -> None:
    server = answering()
    honest = server.server_hello()
    assert honest.legacy_session_id_echo == server.client_hello.legacy_session_id
    assert server.server_hello() == honest
    assert server.server_hello(key_share=None, legacy_version=0x0301) == ServerHello(
        honest.random, honest.legacy_session_id_echo, 0x1301, 0x0301, supported_versions=0x0304
    )
    request = server.hello_retry_request(NamedGroup.secp256r1, cookie=b"c", legacy_session_id_echo=b"")
    assert request == ServerHello(
        HELLO_RETRY_REQUEST_RANDOM, b"", 0x1301, supported_versions=0x0304, key_share=NamedGroup.secp256r1, cookie=b"c"
    )
    assert server.encrypted_extensions() == EncryptedExtensions()
    assert server.encrypted_extensions(early_data=True) == EncryptedExtensions(early_data=True)
    assert server.certificate_request(signature_algorithms=None) == CertificateRequest()
    assert server.certificate((b"a", CertificateEntry(b"b", b"staple")), context=b"c") == Certificate(
        b"c", (CertificateEntry(b"a"), CertificateEntry(b"b", b"staple"))
    )
    assert server.certificate(()) == Certificate()
    assert server.new_session_ticket(ticket=b"other").ticket == b"other"


def test_certificate_verify_signs_what_it_is_told() -> None:
    server = answering()
    server.send_server_hello()
    other = credential("ed25519")
    assert server.certificate_verify().algorithm == 0x0403
    message = server.certificate_verify(credential=other, content=b"content")
    assert isinstance(other.signing_key, PrivateKeySigner)
    assert message == CertificateVerify(
        0x0807, other.signing_key.sign(0x0807, b"content")
    )  # Ed25519 always signs alike
    assert server.certificate_verify(scheme=0x0403).algorithm == 0x0403


def test_server_sends_exactly_what_the_script_says() -> None:
    server = ScriptedServer(credential())
    server.send_raw(b"raw")
    server.send_record(99, b"content")
    server.send_message(encode_message(99, b"abc"), fragment_size=4)
    server.send_change_cipher_spec(b"")
    assert server.data_to_send() == (
        b"raw" + b"\x63\3\3\0\7content" + b"\x16\3\3\0\4\x63\0\0\3" + b"\x16\3\3\0\3abc" + b"\x14\3\3\0\0"
    )
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    "message",
    [
        ServerHello(bytes(32), b"session", 0x1301, supported_versions=0x0304),
        ServerHello(HELLO_RETRY_REQUEST_RANDOM, b"", 0x1301, supported_versions=0x0304, cookie=b"cookie"),
        EncryptedExtensions(),
        EncryptedExtensions(early_data=True),
        CertificateRequest(b"context", signature_algorithms=(0x0403,)),
        NewSessionTicket(1, 2, b"nonce", b"ticket", early_data=5),
    ],
    ids=lambda message: type(message).__name__,
)
def test_message_is_taken_apart_and_joined_again(
    message: ServerHello | EncryptedExtensions | CertificateRequest | NewSessionTicket,
) -> None:
    raw = message.encode()
    front, extensions = split_message(message)
    assert join_message(raw[0], front, extensions) == raw
    extended = join_message(raw[0], front, [*extensions, (0x0A0A, b"unknown"), (0x1A1A, b"")])
    assert extended.endswith(b"\x0a\x0a\0\x07unknown\x1a\x1a\0\0")
    assert type(message).parse(extended, range(1 << 16)) == message
    assert len(extended) == len(raw) + 15


# --- It is not fooled ----------------------------------------------------------------------------------------------


def fooled() -> tuple[ScriptedClient, ScriptedServer]:
    """A client that has the server's flight, and can now say what it wants."""
    client, server = ScriptedClient(), ScriptedServer(credential())
    client.send_hello()
    pipe = joined(client, server)
    server.send_flight()
    pipe.pump()
    return client, server


@pytest.mark.parametrize("length", [31, 32, 33])
def test_server_refuses_wrong_finished(length: int) -> None:
    client, server = fooled()
    client.send(Finished(bytes(length)))
    with pytest.raises(DecryptError):
        server.receive_data(client.data_to_send())
    assert not server.client_finished


def test_server_refuses_wrong_signature() -> None:
    client, server = fooled()
    client.send(Certificate(b"", (CertificateEntry(credential().chain[0]),)))
    client.send(CertificateVerify(0x0403, b"signature"))
    with pytest.raises(DecryptError):
        server.receive_data(client.data_to_send())


def test_server_refuses_signature_without_certificate() -> None:
    client, server = fooled()
    client.send(Certificate())
    client.send(CertificateVerify(0x0403, b"signature"))
    with pytest.raises(UnexpectedMessage, match="before its Certificate"):
        server.receive_data(client.data_to_send())


def test_server_refuses_certificate_that_does_not_parse() -> None:
    client, server = fooled()
    client.send(Certificate(b"", (CertificateEntry(b"certificate"),)))
    with pytest.raises(CertificateError):
        server.receive_data(client.data_to_send())


def test_server_refuses_finished_before_its_own() -> None:
    server = ScriptedServer(credential())
    with pytest.raises(UnexpectedMessage, match="before the server's"):
        server.receive_data(frame_plaintext(ContentType.handshake, Finished(bytes(32)).encode()))


def test_server_refuses_message_of_unknown_type() -> None:
    with pytest.raises(UnexpectedMessage, match="unknown_0x63"):
        ScriptedServer(credential()).receive_data(frame_plaintext(ContentType.handshake, encode_message(99, b"")))


def test_server_refuses_alert_of_wrong_length() -> None:
    with pytest.raises(DecodeError, match="the client"):
        ScriptedServer(credential()).receive_data(frame_plaintext(ContentType.alert, b"\2"))


def test_server_refuses_records_that_it_cannot_take() -> None:
    _, server = fooled()
    with pytest.raises(BadRecordMAC):
        server.receive_data(frame_plaintext(ContentType.application_data, bytes(40)))
    key = server.read_key
    assert key is not None
    with pytest.raises(UnexpectedMessage, match="type 99"):
        server.receive_data(SealingKey(key.suite, key.secret).seal(99, b"content"))


# --- It says what cannot be done -----------------------------------------------------------------------------------


class Elsewhere:
    """A key that has to be awaited."""

    def schemes(self) -> tuple[int, ...]:
        return (0x0403,)

    def sign(self, scheme: int, message: bytes) -> Awaitable[bytes]:
        return self

    def __await__(self) -> Generator[Any, Any, bytes]:
        raise NotImplementedError


def test_server_says_that_its_key_must_be_here() -> None:
    server = answering()
    server.send_server_hello()
    away = Credential.from_signing_key(credential().chain, Elsewhere())
    with pytest.raises(LocalError, match="in this process"):
        server.certificate_verify(credential=away)


def test_server_says_what_cannot_be_done_yet() -> None:
    server = ScriptedServer(credential())
    with pytest.raises(LocalError, match="ClientHello"):
        server.server_hello()
    with pytest.raises(LocalError, match="ClientHello"):
        server.hello_retry_request(NamedGroup.x25519)
    with pytest.raises(LocalError, match="ServerHello"):
        server.finished()
    with pytest.raises(LocalError, match="ServerHello"):
        server.use_application_key()
    with pytest.raises(LocalError, match="ServerHello"):
        server.to_be_signed(b"")
    with pytest.raises(LocalError):
        server.send_key_update()
    with pytest.raises(LocalError):
        server.certificate_verify()
    with pytest.raises(LocalError):
        server.record(ContentType.application_data, b"", protected=True)
    with pytest.raises(LocalError):
        server.export_keying_material("label", b"", 1)
    with pytest.raises(LocalError):
        server.receive_data(frame_plaintext(ContentType.handshake, KeyUpdate(0).encode()))


def test_server_says_that_there_is_no_share_for_its_group() -> None:
    server = answering()
    server.group = NamedGroup.secp384r1
    with pytest.raises(LocalError, match="secp384r1"):
        server.server_hello()
    assert server.server_hello(key_share=None).key_share is None


def test_server_says_that_no_scheme_is_common() -> None:
    client, server = ScriptedClient(signature_algorithms=(0x0804,)), ScriptedServer(credential())
    client.send_hello()
    joined(client, server)
    server.send_server_hello()
    with pytest.raises(LocalError, match="scheme"):
        server.certificate_verify()


def test_begun_retry_stays_begun() -> None:
    server = answering()
    server.send_hello_retry_request(NamedGroup.secp256r1)
    assert server.group == NamedGroup.secp256r1
    digest = server.to_be_signed(b"")
    server.begin_retry()
    assert server.to_be_signed(b"") == digest
    server.send_hello_retry_request(0xFFFF)
    assert server.group == NamedGroup.secp256r1
