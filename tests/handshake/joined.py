"""Both of our ends joined in memory, or one of them and OpenSSL; what programs are asked is answered in place."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from aiotls import ClientConfig, ClientConnection, Credential, Negotiated, Roots, ServerConfig, ServerConnection
from aiotls.connection import Connection
from aiotls.errors import AlertDescription, AlertReceived, TLSError, alert_for
from aiotls.testing.ca import IssuedCertificate, KeyType, LocalCA
from aiotls.testing.pipe import Pipe
from aiotls.wire.registries import NamedGroup

T = TypeVar("T")

NAME = "localhost"
CLIENT_NAME = "alice.example"
CHEAPEST = (NamedGroup.x25519, NamedGroup.secp256r1)
CHUNK = 1 << 16


@cache
def authority() -> LocalCA:
    """What everybody trusts."""
    return LocalCA()


@cache
def roots() -> Roots:
    return Roots.from_bytes(authority().certificate_pem)


def issued(name: str = NAME, key_type: KeyType = "ecdsa-p256", *, intermediate: bool = False) -> IssuedCertificate:
    """One certificate of each kind for all tests, for a key costs time."""
    return _issued(name, key_type, intermediate)[0]


def credential(name: str = NAME, key_type: KeyType = "ecdsa-p256", *, intermediate: bool = False) -> Credential:
    """The same, as a config wants it; always the same object."""
    return _issued(name, key_type, intermediate)[1]


@cache
def _issued(name: str, key_type: KeyType, intermediate: bool) -> tuple[IssuedCertificate, Credential]:  # noqa: FBT001
    certificate = authority().issue(name, key_type=key_type, intermediate=intermediate)
    return certificate, certificate.credential()


def client_config(**options: Any) -> ClientConfig:
    """A client that trusts the authority, unless it is told otherwise."""
    if not {"verifier", "trusted_public_keys"} & options.keys():
        options.setdefault("roots", roots())
    return ClientConfig(**{"groups": CHEAPEST, **options})


def server_config(**options: Any) -> ServerConfig:
    """A server for localhost."""
    return ServerConfig(**{"credentials": credential(), "groups": CHEAPEST, **options})


def outcome(awaitable: Awaitable[T]) -> T:
    """What an awaitable comes to that waits for nothing outside."""
    steps = awaitable.__await__()
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def later(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a coroutine function that is not done at once."""

    async def answer(*arguments: Any) -> Any:
        await Pause()
        return function(*arguments)

    return answer


class Pause:
    """An awaitable that gives way once, with or without an event loop."""

    def __await__(self) -> Any:
        yield


class Joined:
    """A client and a server of ours, as far as they come; the client comes first wherever there are two values."""

    def __init__(self, client: ClientConfig, server: ServerConfig, name: str | None = NAME) -> None:
        self.client = ClientConnection(client, name)
        self.server = ServerConnection(server)
        self.pipe = Pipe(self.client, self.server)
        self.answered = 0
        """How many awaitables came out as pending."""
        self.run()

    def run(self) -> None:
        """Let both say what they have to say, and answer what they wait for."""
        self.pipe.pump()
        while self._answer(self.client) or self._answer(self.server):
            self.pipe.pump()

    def _answer(self, engine: Connection) -> bool:
        pending = engine.pending
        if pending is None:
            return False
        self.answered += 1
        try:
            result = outcome(pending)
        except Exception as error:  # noqa: BLE001 - the engine is to hear of it
            engine.fail(error)
        else:
            engine.resume(result)
        return True

    @property
    def errors(self) -> tuple[TLSError | None, TLSError | None]:
        return self.pipe.first.error, self.pipe.second.error

    def completed(self) -> tuple[Negotiated, Negotiated]:
        """What both negotiated, when the handshake is complete at both ends and data goes both ways."""
        assert self.errors == (None, None)
        ours, theirs = self.client.negotiated, self.server.negotiated
        assert ours is not None
        assert theirs is not None
        self.client.send_data(b"ping")
        self.server.send_data(b"pong")
        self.run()
        assert self.errors == (None, None)
        assert self.pipe.first.events[-1].data == b"pong"  # type: ignore[union-attr]
        assert self.pipe.second.events[-1].data == b"ping"  # type: ignore[union-attr]
        return ours, theirs

    def refused_by_client(self, kind: type[TLSError], alert: AlertDescription) -> TLSError:
        """The client has raised exactly *kind*, and the server was told by *alert*; the client's error."""
        return _refused(*self.errors, kind, alert)

    def refused_by_server(self, kind: type[TLSError], alert: AlertDescription) -> TLSError:
        """The server has raised exactly *kind*, and the client was told by *alert*; the server's error."""
        assert self.server.negotiated is None
        told, error = self.errors
        return _refused(error, told, kind, alert)


def _refused(error: TLSError | None, told: TLSError | None, kind: type[TLSError], alert: AlertDescription) -> TLSError:
    assert type(error) is kind, repr(error)
    assert alert_for(error) is alert
    assert type(told) is AlertReceived, repr(told)
    assert told.description is alert
    return error


def join(client: ClientConfig, server: ServerConfig, name: str | None = NAME) -> Joined:
    """Both ends, whose handshake is complete."""
    joined = Joined(client, server, name)
    joined.completed()
    return joined


# OpenSSL, as `cryptography` brings it


def openssl_client(context: SSL.Context | None = None, name: str = NAME) -> SSL.Connection:
    """A client in memory; it trusts everybody, unless *context* says otherwise."""
    connection = SSL.Connection(context or SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(name.encode())
    return connection


def openssl_server(shown: IssuedCertificate, context: SSL.Context | None = None) -> SSL.Connection:
    """A server in memory."""
    context = context or SSL.Context(SSL.TLS_SERVER_METHOD)
    leaf, *others = x509.load_pem_x509_certificates(shown.chain_pem)
    context.use_certificate(leaf)
    for other in others:
        context.add_extra_chain_cert(other)
    context.use_privatekey(load_pem_private_key(shown.key_pem, None))  # type: ignore[arg-type]
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    return connection


def shake_hands(theirs: SSL.Connection, ours: Connection) -> None:
    """Carry bytes between the two until neither has more to say; what OpenSSL raises for a failure comes out."""
    failure: SSL.Error | None = None
    for _ in range(6):
        try:
            theirs.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:  # its alert is still to be carried
            failure = error
        with suppress(SSL.WantReadError):
            ours.receive_data(theirs.bio_read(CHUNK))
        if data := ours.data_to_send():
            theirs.bio_write(bytes(data))
        if failure is not None:
            raise failure
