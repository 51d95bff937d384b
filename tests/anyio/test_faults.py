"""What goes wrong under a stream: cancelled and failing calls at every step, an end at every byte, slow functions."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from anyio.streams.stapled import StapledObjectStream

from aiotls import ClientConfig, Credential, ServerConfig, TLSError, TruncationError
from aiotls.anyio import TLSStream
from aiotls.blocking import Blocking
from aiotls.errors import AlertReceived, CallbackError, HandshakeTimeout
from tests.anyio.backends import on_both_backends

Config = ClientConfig | ServerConfig
Action = Callable[[], None]

FAILURES = (TLSError, anyio.BrokenResourceError, anyio.ClosedResourceError)
ROLES = pytest.mark.parametrize("role", ["client", "server"])


class Transport(ByteStream):
    """A transport in memory that does something at one of its steps: before or after each send and receive."""

    def __init__(self, stream: StapledObjectStream[bytes], *, at: int = -1, action: Action = lambda: None) -> None:
        self._stream = stream
        self._at = at
        self._action = action
        self.steps = 0
        self.received = 0
        self.room = -1  # bytes that it still delivers; -1: all
        self.closed = False

    def step(self) -> None:
        self.steps += 1
        if self.steps - 1 == self._at:
            self._action()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        self.step()
        if self.received == self.room:
            raise anyio.EndOfStream
        data = await self._stream.receive()
        if self.room >= 0:
            data = data[: self.room - self.received]
        self.received += len(data)
        self.step()
        return data

    async def send(self, item: bytes) -> None:
        self.step()
        await self._stream.send(item)
        self.step()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        self.closed = True
        await self._stream.aclose()


def transports(*, at: int = -1, action: Action = lambda: None) -> tuple[Transport, Transport]:
    there = anyio.create_memory_object_stream[bytes](100)
    back = anyio.create_memory_object_stream[bytes](100)
    ours = Transport(StapledObjectStream(there[0], back[1]), at=at, action=action)
    return ours, Transport(StapledObjectStream(back[0], there[1]))


async def converse(transport: Transport, config: Config) -> bool:
    """Use all that a stream can do; whether it went well."""
    name = "localhost" if isinstance(config, ClientConfig) else None
    try:
        stream = await TLSStream.wrap(transport, config, server_hostname=name)
        await stream.send(b"x" * 40_000)
        await stream.send_eof()
        received = b"".join([data async for data in stream])
        await stream.aclose()
    except FAILURES:
        return False
    finally:
        await anyio.aclose_forcefully(transport)
    return received == b"x" * 40_000


@ROLES
@on_both_backends
async def test_stream_that_is_cancelled_at_any_step_ends_and_so_does_its_peer(
    role: str, client_config: ClientConfig, server_config: ServerConfig
) -> None:
    config, other = (client_config, server_config) if role == "client" else (server_config, client_config)
    at = 0
    while True:
        scope = anyio.CancelScope()
        ours, theirs = transports(at=at, action=scope.cancel)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(converse, theirs, other)
                with scope:
                    done = await converse(ours, config)
        assert ours.closed
        assert theirs.closed
        if ours.steps <= at:
            break
        assert scope.cancel_called
        at += 1
    assert done
    assert at > 8


@ROLES
@on_both_backends
async def test_stream_whose_transport_fails_at_any_step_fails_and_so_does_its_peer(
    role: str, client_config: ClientConfig, server_config: ServerConfig
) -> None:
    def reset() -> None:
        raise anyio.BrokenResourceError

    config, other = (client_config, server_config) if role == "client" else (server_config, client_config)
    at = 0
    while True:
        ours, theirs = transports(at=at, action=reset)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(converse, theirs, other)
                done = await converse(ours, config)
        if ours.steps <= at:
            break
        at += 1
    assert done
    assert at > 8


@ROLES
@on_both_backends
async def test_transport_that_ends_at_any_byte_of_the_handshake_is_a_truncation(
    role: str, client_config: ClientConfig, server_config: ServerConfig
) -> None:
    config, other = (client_config, server_config) if role == "client" else (server_config, client_config)
    name = "localhost" if role == "client" else None
    for room in range(0, 400, 13):
        ours, theirs = transports()
        ours.room = room
        async with anyio.create_task_group() as group:
            group.start_soon(converse, theirs, other)
            with pytest.raises(TruncationError):
                await TLSStream.wrap(ours, config, server_hostname=name)
            await ours.aclose()


# --- Functions of the program's --------------------------------------------------------------------------------------


async def wrap_both(server_config: ServerConfig, client_config: ClientConfig) -> list[BaseException | None]:
    """What each handshake failed with, the server's first."""
    ours, theirs = transports()
    failures: dict[str, BaseException | None] = {}

    async def wrap(role: str, transport: Transport, config: Config, name: str | None) -> None:
        failures[role] = None
        try:
            stream = await TLSStream.wrap(transport, config, server_hostname=name, handshake_timeout=0.2)
            await stream.send(b"x")
            assert await stream.receive() == b"x"
            await stream.aclose()
        except FAILURES as error:
            failures[role] = error
        await transport.aclose()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(wrap, "server", ours, server_config, None)
            group.start_soon(wrap, "client", theirs, client_config, "localhost")
    return [failures["server"], failures["client"]]


@pytest.mark.parametrize("kind", ["plain", "awaitable", "blocking"])
@on_both_backends
async def test_resolver_may_answer_at_once_or_later_or_from_a_thread(
    kind: str, client_config: ClientConfig, server_config: ServerConfig
) -> None:
    credential = server_config.credential_list[0]

    async def later() -> Credential:
        await anyio.lowlevel.checkpoint()
        return credential

    answers: dict[str, Callable[[], Any]] = {
        "plain": lambda: credential,
        "awaitable": later,
        "blocking": lambda: Blocking(lambda: credential),
    }
    config = ServerConfig(credentials=lambda _: answers[kind](), alpn=("h2",))
    assert await wrap_both(config, client_config) == [None, None]


@pytest.mark.parametrize("kind", ["awaitable", "blocking"])
@on_both_backends
async def test_resolver_that_fails_ends_the_handshake_and_the_peer_is_told(
    kind: str, client_config: ClientConfig
) -> None:
    def fail() -> Credential:
        raise KeyError("no such certificate")

    async def later() -> Credential:
        return fail()

    answers: dict[str, Callable[[], Any]] = {"awaitable": later, "blocking": lambda: Blocking(fail)}
    config = ServerConfig(credentials=lambda _: answers[kind]())
    server, client = await wrap_both(config, client_config)
    assert isinstance(server, CallbackError)
    assert isinstance(client, AlertReceived)


@on_both_backends
async def test_handshake_timeout_covers_a_resolver_that_never_returns(client_config: ClientConfig) -> None:
    ended: list[bool] = []

    async def never() -> Credential:
        try:
            await anyio.sleep_forever()
            raise AssertionError
        finally:
            ended.append(True)

    server, client = await wrap_both(ServerConfig(credentials=lambda _: never()), client_config)
    assert isinstance(server, HandshakeTimeout)
    assert isinstance(client, AlertReceived | HandshakeTimeout)
    assert ended == [True]


# --- Memory ----------------------------------------------------------------------------------------------------------


@on_both_backends
async def test_large_send_to_a_slow_reader_keeps_memory_flat(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    """One send of 256 MiB each way, read piecemeal: what is sealed and not read is bounded."""
    size = 256 * 1024 * 1024
    data = memoryview(bytes(size))
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    received: list[int] = []

    async def receive(stream: TLSStream) -> None:
        count = 0
        async for piece in stream:
            count += len(piece)
            await anyio.lowlevel.checkpoint()
        received.append(count)

    async def send(stream: TLSStream) -> None:
        await stream.send(data)  # type: ignore[arg-type]  # any bytes-like object will do
        await stream.send_eof()

    async def serve(tcp: ByteStream) -> None:
        async with await TLSStream.wrap(tcp, server_config) as stream, anyio.create_task_group() as group:
            group.start_soon(send, stream)
            group.start_soon(receive, stream)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tcp = await anyio.connect_tcp("127.0.0.1", port)
        async with await TLSStream.wrap(tcp, client_config, server_hostname="localhost") as stream:
            gc.collect()
            tracemalloc.start()
            try:
                async with anyio.create_task_group() as both:
                    both.start_soon(send, stream)
                    both.start_soon(receive, stream)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        group.cancel_scope.cancel()
    assert received == [size, size]
    assert peak < 8 * 1024 * 1024
