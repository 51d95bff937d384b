"""A duel: a scripted server against the client's engine, at any stage of a handshake, and what a refusal must be."""

import enum
import zlib
from collections.abc import Iterable
from functools import cache

import pytest

from aiotls import ClientConfig, ClientConnection, Roots
from aiotls.errors import AlertDescription, LocalError, TLSError, alert_for
from aiotls.events import Event, HandshakeComplete
from aiotls.testing.ca import KeyType, LocalCA
from aiotls.testing.pipe import Pipe
from aiotls.testing.server_peer import Alert, ScriptedServer
from aiotls.trust.credentials import Credential
from aiotls.wire.messages import HEADER_LENGTH, Certificate, CompressedCertificate
from aiotls.wire.registries import CertificateCompressionAlgorithm, CipherSuite, ContentType, NamedGroup

FATAL = 2
NAME = "localhost"
PROTOCOL = b"http/1.1"


class Stage(enum.Enum):
    """How far a handshake has come, named by what came last; the value is what the client waits for."""

    HELLO_SENT = "ServerHello"
    RETRIED = "ServerHello, after a HelloRetryRequest"
    SERVER_HELLO = "EncryptedExtensions"
    EXTENSIONS = "CertificateRequest or Certificate"
    REQUESTED = "Certificate"
    CERTIFICATE = "CertificateVerify"
    VERIFIED = "Finished"
    CONNECTED = "whatever the application brings"


PLAINTEXT = (Stage.HELLO_SENT, Stage.RETRIED)
PROTECTED = tuple(stage for stage in Stage if stage not in PLAINTEXT)
HANDSHAKE = tuple(stage for stage in Stage if stage is not Stage.CONNECTED)


def stages(*which: Stage) -> pytest.MarkDecorator:
    """Run the test at each of these stages."""
    return pytest.mark.parametrize("stage", which, ids=lambda stage: stage.name.lower())


@cache
def authority() -> LocalCA:
    """What the client trusts."""
    return LocalCA()


@cache
def credential(key_type: KeyType = "ecdsa-p256") -> Credential:
    """One certificate of each kind for all tests."""
    return authority().issue(NAME, key_type=key_type).credential()


@cache
def roots() -> Roots:
    """The authority, as a config wants it."""
    return Roots.from_bytes(authority().certificate_pem)


@cache
def default_config() -> ClientConfig:
    """A client that speaks http/1.1, and sends a share for X25519 only, which is the cheapest."""
    return ClientConfig(
        roots=roots(),
        alpn=(PROTOCOL.decode(),),
        groups=(NamedGroup.x25519, NamedGroup.secp256r1),
        key_shares=(NamedGroup.x25519,),
    )


@cache
def config_for(group: NamedGroup, *, share: bool = True) -> ClientConfig:
    """A client for one group, with a share for it or none."""
    return ClientConfig(roots=roots(), groups=(group,), key_shares=(group,) if share else ())


def compressed(certificate: Certificate) -> CompressedCertificate:
    """The same by zlib (RFC 8879 §4)."""
    body = certificate.encode()[HEADER_LENGTH:]
    return CompressedCertificate(CertificateCompressionAlgorithm.zlib, len(body), zlib.compress(body))


class ClientDuel:
    """A server and a client, joined by a pipe; the ClientHello is with the server."""

    def __init__(
        self,
        *,
        config: ClientConfig | None = None,
        chunk_sizes: Iterable[int] = (),
        credential: Credential | None = None,
        cipher_suite: int = CipherSuite.TLS_AES_128_GCM_SHA256,
        group: int = NamedGroup.x25519,
    ) -> None:
        shown = _default_credential() if credential is None else credential
        self.server = ScriptedServer(shown, cipher_suite=cipher_suite, group=group)
        self.client = ClientConnection(config or default_config(), NAME)
        self.pipe = Pipe(self.server, self.client, chunk_sizes=chunk_sizes)
        self.stage = Stage.HELLO_SENT
        self.pump()

    @classmethod
    def at(
        cls,
        stage: Stage,
        *,
        config: ClientConfig | None = None,
        chunk_sizes: Iterable[int] = (),
        credential: Credential | None = None,
        cipher_suite: int = CipherSuite.TLS_AES_128_GCM_SHA256,
        group: int = NamedGroup.x25519,
    ) -> "ClientDuel":
        """A duel that has come to *stage* in peace."""
        duel = cls(
            config=config, chunk_sizes=chunk_sizes, credential=credential, cipher_suite=cipher_suite, group=group
        )
        duel.advance(stage)
        return duel

    def advance(self, stage: Stage) -> None:
        """Go on in peace; a CertificateRequest comes only on the way to the stage after it."""
        for step in Stage:
            if step in self._way_to(stage):
                self._take(step)
                self.pump()
                self.stage = step
                assert self.error is None, repr(self.error)
        assert self.stage is stage

    def _way_to(self, stage: Stage) -> list[Stage]:
        order = list(Stage)
        way = order[order.index(self.stage) + 1 : order.index(stage) + 1]
        return [step for step in way if step is stage or step not in (Stage.RETRIED, Stage.REQUESTED)]

    def _take(self, step: Stage) -> None:
        server = self.server
        match step:
            case Stage.RETRIED:
                server.send_hello_retry_request(NamedGroup.secp256r1)
            case Stage.SERVER_HELLO:
                server.send_server_hello()
            case Stage.EXTENSIONS:
                server.send(server.encrypted_extensions())
            case Stage.REQUESTED:
                server.send(server.certificate_request())
            case Stage.CERTIFICATE:
                server.send(server.certificate())
            case Stage.VERIFIED:
                server.send(server.certificate_verify())
            case Stage.CONNECTED:
                server.finish()
            case Stage.HELLO_SENT:
                pass

    def pump(self) -> None:
        """Let both say what they have to say."""
        self.pipe.pump()

    @property
    def events(self) -> list[Event]:
        """What the client told its owner."""
        return self.pipe.second.events

    @property
    def error(self) -> TLSError | None:
        """What ended the connection at the client."""
        return self.pipe.second.error

    @property
    def completed(self) -> bool:
        """Whether the client told that the handshake is complete."""
        return any(isinstance(event, HandshakeComplete) for event in self.events)

    def assert_refused(self, kind: type[TLSError], alert: AlertDescription, *, protected: bool | None = None) -> str:
        """The client raised exactly *kind*, told the server by *alert*, and is dead; returns the error's text.

        The alert is encrypted if the ServerHello was taken before this began, or as *protected* says.
        """
        self.pump()
        error = self.error
        assert type(error) is kind, repr(error)
        assert alert_for(error) is alert
        expected = self.stage not in PLAINTEXT if protected is None else protected
        assert self.server.alerts == [Alert(FATAL, alert, protected=expected)]
        assert self.completed is (self.stage is Stage.CONNECTED)
        self.assert_dead(error)
        return str(error)

    def assert_ended_in_silence(self, kind: type[TLSError]) -> str:
        """The client raised exactly *kind*, sent no alert, and is dead; returns the error's text."""
        self.pump()
        error = self.error
        assert type(error) is kind, repr(error)
        assert self.server.alerts == []
        self.assert_dead(error)
        return str(error)

    def assert_dead(self, error: TLSError) -> None:
        """The client takes and gives no more, and raises the same error again (RFC 8446 §6.2)."""
        client = self.client
        client.receive_data(self.server.record(ContentType.handshake, b"\x02\0\0\0", protected=False))
        client.receive_eof()
        client.close()
        for _ in range(2):
            with pytest.raises(type(error)) as again:
                client.next_event()
            assert again.value is error
        assert not client.can_send
        with pytest.raises(LocalError):
            client.send_data(b"data")
        with pytest.raises(LocalError):
            client.key_update()
        assert client.pending is None
        assert client.data_to_send() == b""

    def assert_in_order(self) -> None:
        """The connection works: it completes if it has not, and carries data both ways."""
        self.pump()
        assert self.error is None, repr(self.error)
        if not self.completed:
            self.advance(Stage.CONNECTED)
        assert self.server.client_finished
        self.server.send_data(b"ping")
        self.client.send_data(b"pong")
        self.pump()
        assert self.error is None, repr(self.error)
        assert self.server.data.endswith(b"pong")
        assert self.server.alerts == []


def _default_credential() -> Credential:
    return credential()
