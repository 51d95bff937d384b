"""Functions of the program's own: resolvers and signers that take their time, and callbacks that raise."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar, cast

import pytest

import aiotls
from aiotls import Credential, ServerConfig
from aiotls.asyncio import TLSServer
from aiotls.errors import (
    AlertDescription,
    CallbackError,
    CertificateError,
    HandshakeTimeout,
    TLSError,
    TruncationError,
    UnrecognizedName,
)
from aiotls.trust.credentials import ClientHelloInfo, PrivateKeySigner
from tests.asyncio.support import Peer, Recorder, Recorders, Reports, Wire, port_of, protocol_of, turn

OnClose = Callable[[Any], None]
Resolver = Callable[[ClientHelloInfo], Any]

T = TypeVar("T")

HOST = "127.0.0.1"


class Custody:
    """A SigningKey whose signatures come from `answer`, which gets the signature that is right."""

    def __init__(self, key: PrivateKeySigner, answer: Callable[[bytes], Any]) -> None:
        self._key = key
        self._answer = answer

    def schemes(self) -> tuple[int, ...]:
        return self._key.schemes()

    def sign(self, scheme: int, message: bytes) -> bytes | Awaitable[bytes]:
        return cast("bytes", self._answer(self._key.sign(scheme, message)))


@pytest.fixture
def credential(config: ServerConfig) -> Credential:
    return config.credential_list[0]


def signing(credential: Credential, answer: Callable[[bytes], Any]) -> ServerConfig:
    key = credential.signing_key
    assert isinstance(key, PrivateKeySigner)
    return ServerConfig(credentials=Credential.from_signing_key(credential.chain, Custody(key, answer)))


def resolving(resolver: Resolver) -> ServerConfig:
    return ServerConfig(credentials=resolver)


async def start(config: ServerConfig, factory: Callable[[], asyncio.Protocol], on_close: OnClose) -> TLSServer:
    server = await aiotls.create_server(factory, HOST, 0, ssl=config)
    on_close(server)
    return server


async def open_peer(server: TLSServer, on_close: OnClose) -> Peer:
    peer = await Peer.connect(server)
    on_close(peer)
    return peer


# --- Waiting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits_in", ["resolver", "signer"])
async def test_connection_completes_while_another_waits(
    waits_in: str, credential: Credential, recorders: Recorders, on_close: OnClose
) -> None:
    asked, may_go_on = asyncio.Event(), asyncio.Event()
    first = True

    async def wait(answer: T) -> T:
        nonlocal first
        if first:
            first = False
            asked.set()
            await may_go_on.wait()
        return answer

    config = resolving(lambda _: wait(credential)) if waits_in == "resolver" else signing(credential, wait)
    server = await start(config, recorders, on_close)
    slow = asyncio.create_task((await open_peer(server, on_close)).handshake())
    await asked.wait()
    await (await open_peer(server, on_close)).handshake()
    await recorders.next()
    assert not slow.done()
    assert len(recorders.made) == 1
    may_go_on.set()
    await slow
    await recorders.next()


async def test_openssl_completes_with_resolver_and_signer_that_await(
    credential: Credential, client_context: ssl.SSLContext, recorders: Recorders, on_close: OnClose
) -> None:
    names: list[str | None] = []

    async def sign(signature: bytes) -> bytes:
        await asyncio.sleep(0)
        return signature

    async def resolve(info: ClientHelloInfo) -> Credential:
        await asyncio.sleep(0)
        names.append(info.server_name)
        return signing(credential, sign).credential_list[0]

    server = await start(resolving(resolve), recorders, on_close)
    _, writer = await asyncio.open_connection(HOST, port_of(server), ssl=client_context, server_hostname="localhost")
    await recorders.next()
    assert names == ["localhost"]
    writer.close()
    await writer.wait_closed()


@pytest.fixture
async def eager_tasks() -> AsyncIterator[None]:
    """A loop whose tasks run their first step at once, where Python has that (from 3.12 on)."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))
    yield
    loop.set_task_factory(None)


@pytest.mark.usefixtures("eager_tasks")
async def test_handshake_completes_when_tasks_are_eager(credential: Credential, recorders: Recorders) -> None:
    async def sign(signature: bytes) -> bytes:
        return signature

    async def resolve(info: ClientHelloInfo) -> Credential:
        return signing(credential, sign).credential_list[0]

    wire = Wire(protocol_of(resolving(resolve), recorders))
    wire.script.send_hello()
    wire.exchange()
    await turn()
    wire.exchange()
    wire.script.finish()
    wire.exchange()
    assert recorders.made[0].calls == ["connection_made"]
    assert not wire.paused
    recorders.made[0].transport.abort()
    await recorders.made[0].lost.wait()


@pytest.mark.usefixtures("eager_tasks")
async def test_signer_that_follows_an_eager_resolver_is_cancelled_with_the_connection(
    credential: Credential, recorders: Recorders, reports: Reports
) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def sign(signature: bytes) -> bytes:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return signature

    async def resolve(info: ClientHelloInfo) -> Credential:
        return signing(credential, sign).credential_list[0]

    wire = Wire(protocol_of(resolving(resolve), recorders))
    wire.script.send_hello()
    wire.exchange()
    await asked.wait()
    wire.protocol.connection_lost(None)
    await cancelled.wait()
    assert isinstance((await reports.next())["exception"], TruncationError)


async def test_what_the_client_says_meanwhile_is_kept_until_the_answer(
    credential: Credential, recorders: Recorders
) -> None:
    answer: asyncio.Future[Credential] = asyncio.get_running_loop().create_future()
    wire = Wire(protocol_of(resolving(lambda _: answer), recorders))
    wire.script.send_hello()
    wire.script.send_change_cipher_spec()
    wire.exchange()
    await turn()
    assert wire.paused
    assert not wire.written
    answer.set_result(credential)
    await turn()
    assert not wire.paused
    wire.exchange()
    wire.script.finish()
    wire.exchange()
    assert recorders.made[0].calls == ["connection_made"]
    wire.close()
    await recorders.made[0].lost.wait()


# --- Failing -----------------------------------------------------------------------------------------------------


class Database(Exception):
    """What a program's own function might raise."""


def raises(_: object) -> NoReturn:
    raise Database("no connection")


def cancels(_: object) -> NoReturn:
    raise asyncio.CancelledError


def refuses(_: object) -> NoReturn:
    raise CertificateError("the certificate is being renewed")


def later(function: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    """The same as a coroutine function that waits first."""

    async def answer(argument: object) -> object:
        await asyncio.sleep(0)
        return function(argument)

    return answer


@dataclass(frozen=True)
class Broken:
    """What a resolver or signer does, what becomes of it, and what the peer is told."""

    name: str
    answer: Callable[[Any], Any]
    error: type[TLSError]
    alert: AlertDescription
    cause: type[BaseException] | None = None


INTERNAL = AlertDescription.internal_error
BROKEN = [
    Broken("raises", raises, CallbackError, INTERNAL, Database),
    Broken("raises_later", later(raises), CallbackError, INTERNAL, Database),
    Broken("cancelled", later(cancels), CallbackError, INTERNAL),
    Broken("tls_error", refuses, CertificateError, AlertDescription.bad_certificate),
    Broken("tls_error_later", later(refuses), CertificateError, AlertDescription.bad_certificate),
    Broken("wrong_type", lambda _: "cert.pem", CallbackError, INTERNAL),
    Broken("wrong_type_later", later(lambda _: 443), CallbackError, INTERNAL),
]
RESOLVERS = [
    *BROKEN,
    Broken("none", lambda _: None, UnrecognizedName, AlertDescription.unrecognized_name),
    Broken("none_later", later(lambda _: None), UnrecognizedName, AlertDescription.unrecognized_name),
]
SIGNERS = [
    *BROKEN,
    Broken("none", lambda _: None, CallbackError, INTERNAL),
    Broken("none_later", later(lambda _: None), CallbackError, INTERNAL),
]


async def fails_once(config: ServerConfig, broken: Broken, reports: Reports, on_close: OnClose) -> None:
    """One peer meets *broken*: one alert for it, one report for the program, and no protocol is made."""
    recorders = Recorders()
    peer = await open_peer(await start(config, recorders, on_close), on_close)
    peer.script.send_hello()
    await peer.flush()
    error = (await reports.next())["exception"]
    assert type(error) is broken.error
    assert (None if error.__cause__ is None else type(error.__cause__)) is broken.cause
    await peer.receive_all()
    assert [alert.description for alert in peer.script.alerts] == [broken.alert]
    assert recorders.made == []


@pytest.mark.parametrize("broken", RESOLVERS, ids=lambda broken: broken.name)
async def test_server_ends_connection_cleanly_when_resolver_fails(
    broken: Broken, reports: Reports, on_close: OnClose
) -> None:
    await fails_once(resolving(broken.answer), broken, reports, on_close)


@pytest.mark.parametrize("broken", SIGNERS, ids=lambda broken: broken.name)
async def test_server_ends_connection_cleanly_when_signer_fails(
    broken: Broken, credential: Credential, reports: Reports, on_close: OnClose
) -> None:
    await fails_once(signing(credential, broken.answer), broken, reports, on_close)


async def test_server_ends_connection_cleanly_when_key_log_fails(
    config: ServerConfig, reports: Reports, on_close: OnClose
) -> None:
    def full(label: str, client_random: bytes, secret: bytes) -> None:
        raise OSError("no space left on device")

    broken = Broken("key_log", raises, CallbackError, INTERNAL, OSError)
    await fails_once(replace(config, key_log=full), broken, reports, on_close)


async def test_handshake_timeout_covers_resolver_that_never_returns(
    recorders: Recorders, reports: Reports, on_close: OnClose
) -> None:
    cancelled = asyncio.Event()

    async def resolve(info: ClientHelloInfo) -> Credential | None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return None

    server = await aiotls.create_server(recorders, HOST, 0, ssl=resolving(resolve), ssl_handshake_timeout=0.05)
    on_close(server)
    peer = await open_peer(server, on_close)
    peer.script.send_hello()
    await peer.flush()
    assert type((await reports.next())["exception"]) is HandshakeTimeout
    await cancelled.wait()
    await peer.receive_all()
    assert recorders.made == []


async def test_resolver_is_cancelled_when_the_connection_is_lost(recorders: Recorders, reports: Reports) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def resolve(info: ClientHelloInfo) -> Credential | None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return None

    wire = Wire(protocol_of(resolving(resolve), recorders))
    wire.script.send_hello()
    wire.exchange()
    await asked.wait()
    wire.protocol.connection_lost(ConnectionResetError("gone"))
    await cancelled.wait()
    assert isinstance((await reports.next())["exception"], ConnectionResetError)


async def test_resolver_leaves_no_warning_when_the_connection_is_lost_before_it_runs(
    credential: Credential, recorders: Recorders, reports: Reports
) -> None:
    async def resolve(info: ClientHelloInfo) -> Credential:
        return credential

    wire = Wire(protocol_of(resolving(resolve), recorders))
    wire.script.send_hello()
    wire.exchange()
    wire.protocol.connection_lost(None)  # in the same turn of the loop: the resolver's task has not started
    assert isinstance((await reports.next())["exception"], TruncationError)


async def test_resolver_that_swallows_its_cancellation_changes_nothing(
    credential: Credential, recorders: Recorders, reports: Reports
) -> None:
    asked, done = asyncio.Event(), asyncio.Event()

    async def resolve(info: ClientHelloInfo) -> Credential:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.set()
        return credential

    wire = Wire(protocol_of(resolving(resolve), recorders))
    wire.script.send_hello()
    wire.exchange()
    await asked.wait()
    wire.protocol.connection_lost(None)
    await done.wait()
    await turn()
    assert isinstance((await reports.next())["exception"], TruncationError)
    assert recorders.made == []
    assert not wire.written


# --- Callbacks of the application's that raise -------------------------------------------------------------------


class Raiser(Recorder):
    """Raises in the callback of that name."""

    def __init__(self, callback: str, *, half_open: bool = False) -> None:
        super().__init__(half_open=half_open)
        self._callback = callback

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._raise_in("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._raise_in("data_received")

    def eof_received(self) -> bool:
        super().eof_received()
        self._raise_in("eof_received")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._raise_in("connection_lost")

    def _raise_in(self, callback: str) -> None:
        if callback == self._callback:
            raise Database(callback)


async def says_all(peer: Peer) -> None:
    """Data, close_notify and the end of the TCP stream."""
    peer.script.send_data(b"data")
    peer.script.send_alert(AlertDescription.close_notify, level=1)
    await peer.flush()


@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received"])
async def test_callback_that_raises_ends_its_connection_and_nothing_else(
    callback: str, config: ServerConfig, reports: Reports, on_close: OnClose
) -> None:
    raiser = Raiser(callback)
    applications = iter([raiser, Recorder()])
    server = await start(config, lambda: next(applications), on_close)
    peer, honest = await open_peer(server, on_close), await open_peer(server, on_close)
    await peer.handshake()
    await says_all(peer)
    context = await reports.next()
    assert (type(context["exception"]), str(context["exception"])) == (Database, callback)
    assert context["transport"] is raiser.transport
    await raiser.lost.wait()
    assert isinstance(raiser.error, Database)
    assert raiser.calls[-2:] == [callback, "connection_lost"]
    await peer.receive_all()  # the socket is closed
    await honest.handshake()


async def test_callback_that_raises_after_an_awaited_resolver_ends_its_connection(
    credential: Credential, reports: Reports
) -> None:
    raiser = Raiser("connection_made")

    async def sign(signature: bytes) -> bytes:
        return signature

    wire = Wire(protocol_of(signing(credential, sign), lambda: raiser))
    wire.script.send_hello()
    wire.exchange()
    await turn()
    wire.exchange()
    wire.script.finish()
    wire.exchange()
    assert isinstance(reports.take()["exception"], Database)
    assert wire.aborted
    await raiser.lost.wait()


async def test_callback_that_raises_for_what_was_held_back_ends_its_connection(
    config: ServerConfig, reports: Reports
) -> None:
    raiser = Raiser("data_received")
    wire = Wire(protocol_of(config, lambda: raiser))
    wire.handshake()
    raiser.transport.pause_reading()
    wire.script.send_data(b"data")
    wire.exchange()
    raiser.transport.resume_reading()
    await turn()
    assert isinstance(reports.take()["exception"], Database)
    assert wire.aborted
    await raiser.lost.wait()
    assert isinstance(raiser.error, Database)


async def test_factory_that_raises_ends_its_connection_and_nothing_else(
    config: ServerConfig, recorders: Recorders, reports: Reports, on_close: OnClose
) -> None:
    failing = True

    def factory() -> Recorder:
        if failing:
            raise Database("factory")
        return recorders()

    server = await start(config, factory, on_close)
    peer, honest = await open_peer(server, on_close), await open_peer(server, on_close)
    await peer.handshake()
    assert isinstance((await reports.next())["exception"], Database)
    await peer.receive_all()
    failing = False
    await honest.handshake()
    await recorders.next()


async def test_connection_lost_that_raises_leaves_no_socket_open(
    config: ServerConfig, reports: Reports, on_close: OnClose
) -> None:
    raiser = Raiser("connection_lost")
    server = await start(config, lambda: raiser, on_close)
    peer = await open_peer(server, on_close)
    await peer.handshake()
    await says_all(peer)
    assert isinstance((await reports.next())["exception"], Database)
    await peer.receive_all()


async def test_transport_can_be_closed_in_connection_made(config: ServerConfig, on_close: OnClose) -> None:
    class Shy(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.close()

    shy = Shy()
    server = await start(config, lambda: shy, on_close)
    peer = await open_peer(server, on_close)
    await peer.handshake()
    await shy.lost.wait()
    assert (shy.calls, shy.error) == (["connection_made", "connection_lost"], None)
    await peer.receive_all()
    assert [alert.description for alert in peer.script.alerts] == [AlertDescription.close_notify]
