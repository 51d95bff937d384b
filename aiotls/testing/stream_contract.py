"""What a TLS stream must do, on whichever event loop: the contract that every front end is tested by.

    @pytest.mark.parametrize("check", STREAM_CONTRACT)
    async def test_stream_keeps_the_contract(check, role): await check(Bench(my_opener, role))

A front end comes with an *opener*, which makes a stream on a connected socket, and an `End`, the stream in the words of
this contract.  Opposite it stands a `Peer`: an engine that reads and writes when it is told to, and at no other time.
The checks need anyio, and run on asyncio and on trio.  A check raises AssertionError when the contract is broken; it
has no time limit of its own, but for one within which a call that must not wait for the peer has to return.
"""

import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Literal, Protocol, TypeAlias

import anyio
from anyio.abc import UNIXSocketStream

from aiotls.config import ClientConfig, ServerConfig
from aiotls.connection import ClientConnection, Connection, ServerConnection
from aiotls.errors import AlertDescription, AlertReceived, BadRecordMAC, TLSError, TruncationError
from aiotls.events import ApplicationData, PeerClosed
from aiotls.testing.ca import LocalCA
from aiotls.trust.roots import Roots

__all__ = ["STREAM_CONTRACT", "Bench", "Check", "End", "Opener", "Peer", "Role"]

Role: TypeAlias = Literal["client", "server"]

_PATIENCE: Final = 20.0  # seconds; a sound stream needs none of them
_CLOG: Final = 4 * 1024 * 1024  # bytes, more than any socket's buffers hold


class End(Protocol):
    """A stream of the front end's."""

    async def send(self, data: bytes, /) -> None:
        """Send all of *data*."""

    async def receive(self, max_bytes: int, /) -> bytes:
        """Some bytes, at most so many; empty after the peer's close_notify."""

    async def send_eof(self) -> None:
        """End this side."""

    async def aclose(self) -> None:
        """Close both sides."""


Opener: TypeAlias = Callable[[socket.socket, ClientConfig | ServerConfig, str | None], Awaitable[End]]
"""Makes a stream on a socket, which becomes its own: with a client's config and the server's name, or a server's
config and None.  The handshake may be complete when it returns, or left for the first call."""


class Peer:
    """The other end: an engine on a socket, which does what it is told."""

    def __init__(self, engine: Connection, transport: UNIXSocketStream) -> None:
        self.engine = engine
        """The peer's engine."""
        self.transport = transport
        """What is below it."""

    async def flush(self) -> None:
        """Send what the engine has."""
        if data := self.engine.data_to_send():
            await self.transport.send(bytes(data))

    async def read(self) -> None:
        """Feed the engine once."""
        try:
            self.engine.receive_data(await self.transport.receive())
        except anyio.EndOfStream:
            self.engine.receive_eof()

    async def handshake(self) -> None:
        """Complete the handshake."""
        await self.flush()
        while self.engine.negotiated is None:
            await self.read()
            await self.flush()

    async def send(self, data: bytes) -> None:
        """Send *data*."""
        self.engine.send_data(data)
        await self.flush()

    async def receive(self) -> bytes:
        """The next application data, or nothing after close_notify; raises the TLSError that ended the connection."""
        while True:
            event = self.engine.next_event()
            if event is None:
                await self.read()
            elif isinstance(event, ApplicationData):
                return event.data
            elif isinstance(event, PeerClosed):
                return b""

    async def receive_exactly(self, size: int) -> bytes:
        """Exactly *size* bytes."""
        data = bytearray()
        while len(data) < size:
            more = await self.receive()
            assert more, "the stream ended early"
            data += more
        return bytes(data)

    async def close(self) -> None:
        """Send close_notify, and nothing of TCP's."""
        self.engine.close()
        await self.flush()


class Bench:
    """Where a check runs: connections between a stream of the front end's in one role, and a peer in the other."""

    _configs: tuple[ClientConfig, ServerConfig] | None = None

    def __init__(self, opener: Opener, role: Role) -> None:
        self._opener = opener
        self._role = role

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[End, Peer]]:
        """Both ends, their handshake complete; a byte each way has shown that."""
        client_config, server_config = self._made_configs()
        ours, theirs = socket.socketpair()
        async with AsyncExitStack() as stack:
            peer = await self._peer(theirs, client_config, server_config)
            stack.push_async_callback(anyio.aclose_forcefully, peer.transport)
            ends: list[End] = []

            async def open_end() -> None:
                client = self._role == "client"
                ends.append(
                    await self._opener(
                        ours, client_config if client else server_config, "localhost" if client else None
                    )
                )
                await ends[0].send(b"x")

            with anyio.fail_after(_PATIENCE):
                async with anyio.create_task_group() as group:
                    group.start_soon(open_end)
                    await peer.handshake()
                stack.push_async_callback(_close, ends[0])
                assert await peer.receive() == b"x"
                await peer.send(b"y")
                assert await ends[0].receive(10) == b"y"
            with anyio.fail_after(2 * _PATIENCE):
                yield ends[0], peer

    async def _peer(self, sock: socket.socket, client: ClientConfig, server: ServerConfig) -> Peer:
        engine = ServerConnection(server) if self._role == "client" else ClientConnection(client, "localhost")
        return Peer(engine, await UNIXSocketStream.from_socket(sock))

    @classmethod
    def _made_configs(cls) -> tuple[ClientConfig, ServerConfig]:
        if Bench._configs is None:
            ca = LocalCA()
            Bench._configs = (
                ClientConfig(roots=Roots.from_bytes(ca.certificate_pem)),
                ServerConfig(credentials=ca.issue("localhost").credential()),
            )
        return Bench._configs


Check: TypeAlias = Callable[[Bench], Awaitable[None]]


async def _close(end: End) -> None:
    with anyio.move_on_after(0):
        await end.aclose()


async def _failure(call: Callable[[], Awaitable[object]]) -> BaseException:
    """What *call* raises: the TLSError, if there is one behind it."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - each event loop has exceptions of its own
        return error.__cause__ if isinstance(error.__cause__, TLSError) else error
    raise AssertionError("the call had to fail, and did not")


async def _receive_exactly(end: End, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = await end.receive(65536)
        assert more, "the stream ended early"
        data += more
    return bytes(data)


# --- The checks ------------------------------------------------------------------------------------------------------


async def data_passes_both_ways(bench: Bench) -> None:
    """Whatever its size, in whatever pieces it is sent and received, and both ways at once."""
    sizes = random.Random(0)  # noqa: S311 - to be the same each time
    data = sizes.randbytes(1_000_000)

    async def send_all(send: Callable[[bytes], Awaitable[None]]) -> None:
        rest = data
        while rest:
            size = sizes.randint(1, 100_000)
            await send(rest[:size])
            rest = rest[size:]

    async def receive_at_peer() -> None:
        assert await peer.receive_exactly(len(data)) == data

    async with bench.connect() as (end, peer), anyio.create_task_group() as group:
        group.start_soon(send_all, end.send)
        group.start_soon(send_all, peer.send)
        group.start_soon(receive_at_peer)
        received = bytearray()
        while len(received) < len(data):
            size = sizes.randint(1, 50_000)
            piece = await end.receive(size)
            assert 0 < len(piece) <= size
            received += piece
        assert received == data


async def empty_send_sends_nothing(bench: Bench) -> None:
    """And is no end."""
    async with bench.connect() as (end, peer):
        await end.send(b"")
        await end.send(b"a")
        assert await peer.receive() == b"a"


async def peers_close_notify_is_the_end_of_its_side_only(bench: Bench) -> None:
    """RFC 8446 §6.1: what we send after it arrives."""
    async with bench.connect() as (end, peer):
        await peer.send(b"last")
        await peer.close()
        assert await end.receive(10) == b"last"
        assert await end.receive(10) == b""
        assert await end.receive(10) == b""
        await end.send(b"answer")
        assert await peer.receive() == b"answer"


async def send_eof_ends_our_side_only(bench: Bench) -> None:
    """RFC 8446 §6.1: what the peer sends after our close_notify arrives."""
    async with bench.connect() as (end, peer):
        await end.send(b"question")
        await end.send_eof()
        await end.send_eof()
        assert await peer.receive() == b"question"
        assert await peer.receive() == b""
        await peer.send(b"answer")
        assert await end.receive(10) == b"answer"
        assert not isinstance(await _failure(lambda: end.send(b"more")), TLSError)


async def truncation_is_an_error(bench: Bench) -> None:
    """The end of the transport is not the end of the data; and it stays an error."""
    async with bench.connect() as (end, peer):
        await peer.send(b"half of the ans")
        await peer.transport.send_eof()
        assert await _receive_exactly(end, 15) == b"half of the ans"
        for _ in range(2):
            assert isinstance(await _failure(lambda: end.receive(10)), TruncationError)


async def record_that_does_not_authenticate_is_an_error_and_the_peer_is_told(bench: Bench) -> None:
    """The error stays, and the peer gets the alert for it."""
    async with bench.connect() as (end, peer):
        await peer.transport.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        for _ in range(2):
            assert isinstance(await _failure(lambda: end.receive(10)), BadRecordMAC)
        error = await _failure(peer.receive)
        assert isinstance(error, AlertReceived)
        assert error.description is AlertDescription.bad_record_mac
        await _failure(lambda: end.send(b"x"))


async def peers_alert_is_an_error(bench: Bench) -> None:
    """With its description."""
    async with bench.connect() as (end, peer):
        peer.engine.abandon(TLSError("enough"))
        await peer.flush()
        error = await _failure(lambda: end.receive(10))
        assert isinstance(error, AlertReceived)
        assert error.description is AlertDescription.internal_error


async def receiving_does_not_wait_for_a_peer_that_does_not_read(bench: Bench) -> None:
    """Not even when the peer asks for key updates: their answers come with later data (RFC 8446 §4.6.3)."""
    async with bench.connect() as (end, peer), anyio.create_task_group() as group:
        group.start_soon(end.send, bytes(_CLOG))
        await anyio.wait_all_tasks_blocked()
        for number in range(100):
            peer.engine.key_update(request_peer=True)
            await peer.send(bytes([number]))
            assert await end.receive(10) == bytes([number])
        assert await peer.receive_exactly(_CLOG) == bytes(_CLOG)
        await end.send(b"after")
        assert await peer.receive_exactly(5) == b"after"


async def cancelled_receive_loses_nothing(bench: Bench) -> None:
    """What comes later is for the next call."""
    async with bench.connect() as (end, peer):
        async with anyio.create_task_group() as group:
            group.start_soon(end.receive, 10)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await peer.send(b"whole")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await end.receive(10)
        assert await end.receive(10) == b"whole"


async def send_that_is_cancelled_from_the_start_sends_nothing(bench: Bench) -> None:
    """The stream is sound."""
    async with bench.connect() as (end, peer):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await end.send(b"never")
        await end.send(b"sent")
        assert await peer.receive() == b"sent"


async def send_that_is_cancelled_half_way_breaks_sending_and_not_receiving(bench: Bench) -> None:
    """And the peer sees a truncation, for the data was cut off."""
    async with bench.connect() as (end, peer):
        async with anyio.create_task_group() as group:
            group.start_soon(end.send, bytes(_CLOG))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        for call in (lambda: end.send(b"more"), end.send_eof):
            assert not isinstance(await _failure(call), TLSError)
        await peer.send(b"still heard")
        assert await end.receive(20) == b"still heard"
        await end.aclose()

        async def read_on() -> None:
            while await peer.receive():
                pass

        assert isinstance(await _failure(read_on), TruncationError)


async def aclose_says_so_and_does_not_wait_for_the_peer(bench: Bench) -> None:
    """The peer gets close_notify; a second call does nothing, and other calls fail."""
    async with bench.connect() as (end, peer):
        await end.aclose()
        await end.aclose()
        assert await peer.receive() == b""
        for call in (lambda: end.send(b"x"), lambda: end.send(b""), lambda: end.receive(10), end.send_eof):
            assert not isinstance(await _failure(call), TLSError)


async def cancelled_aclose_closes(bench: Bench) -> None:
    """Perhaps without close_notify."""
    async with bench.connect() as (end, peer):
        await _close(end)
        await _failure(lambda: end.receive(10))
        with suppress(TruncationError):
            assert await peer.receive() == b""


async def aclose_wakes_the_receiver(bench: Bench) -> None:
    """It fails, as one that begins later would."""
    async with bench.connect() as (end, _):
        failures: list[BaseException] = []

        async def receive() -> None:
            failures.append(await _failure(lambda: end.receive(10)))

        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await end.aclose()
        assert not isinstance(failures[0], TLSError)


async def one_task_at_a_time_receives(bench: Bench) -> None:
    """A second one is refused, and does not harm the first."""
    async with bench.connect() as (end, peer):
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await end.receive(10))

        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await _failure(lambda: end.receive(10))
            await peer.send(b"one")
        assert received == [b"one"]


STREAM_CONTRACT: Final[tuple[Check, ...]] = (
    data_passes_both_ways,
    empty_send_sends_nothing,
    peers_close_notify_is_the_end_of_its_side_only,
    send_eof_ends_our_side_only,
    truncation_is_an_error,
    record_that_does_not_authenticate_is_an_error_and_the_peer_is_told,
    peers_alert_is_an_error,
    receiving_does_not_wait_for_a_peer_that_does_not_read,
    cancelled_receive_loses_nothing,
    send_that_is_cancelled_from_the_start_sends_nothing,
    send_that_is_cancelled_half_way_breaks_sending_and_not_receiving,
    aclose_says_so_and_does_not_wait_for_the_peer,
    cancelled_aclose_closes,
    aclose_wakes_the_receiver,
    one_task_at_a_time_receives,
)
