"""Peers and protocols for the tests of the asyncio front end."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from aiotls import ServerConfig, ServerConnection
from aiotls.asyncio import TLSServer, TLSTransport
from aiotls.asyncio.options import Options
from aiotls.asyncio.stream import TLSProtocol
from aiotls.testing.peer import ScriptedClient

__all__ = [
    "Connected",
    "Peer",
    "Recorder",
    "Recorders",
    "Reports",
    "Wire",
    "open_wire",
    "port_of",
    "protocol_of",
    "turn",
]


class Reports:
    """The contexts that the loop's exception handler was given, for a test to wait for and to read."""

    def __init__(self) -> None:
        self.unread: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    def add(self, context: dict[str, Any]) -> None:
        self.unread.append(context)
        self._more.set()

    def take(self) -> dict[str, Any]:
        """The one report that there is."""
        assert len(self.unread) == 1, self.unread
        return self.unread.pop()

    async def next(self) -> dict[str, Any]:
        """Wait for a report; there must be one, and no second."""
        while not self.unread:
            self._more.clear()
            await self._more.wait()
        return self.take()


def port_of(server: TLSServer) -> int:
    return int(server.sockets[0].getsockname()[1])


class Recorder(asyncio.Protocol):
    """An application's protocol that writes down, in their order, the callbacks that it gets."""

    def __init__(self, *, half_open: bool = False) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.transport: TLSTransport
        self.error: Exception | None = None
        self.connected = asyncio.Event()
        self.received = asyncio.Event()
        self.ended = asyncio.Event()
        self.lost = asyncio.Event()
        self.resumed = asyncio.Event()
        self._half_open = half_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = cast("TLSTransport", transport)
        self.connected.set()

    def data_received(self, data: bytes) -> None:
        if self.calls[-1] != "data_received":
            self.calls.append("data_received")
        self.data += data
        self.received.set()

    def eof_received(self) -> bool:
        self.calls.append("eof_received")
        self.ended.set()
        return self._half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.error = exc
        self.lost.set()

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        self.resumed.set()


class Recorders:
    """A protocol factory, and what it made."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self._queue: asyncio.Queue[Recorder] = asyncio.Queue()

    def __call__(self) -> Recorder:
        recorder = Recorder()
        self.made.append(recorder)
        self._queue.put_nowait(recorder)
        return recorder

    async def next(self) -> Recorder:
        """Wait for the next one to be made."""
        return await self._queue.get()


class Peer:
    """A ScriptedClient on a TCP connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.script = ScriptedClient(application_layer_protocol_negotiation=(b"h2",))
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server: TLSServer) -> "Peer":
        return cls(*await asyncio.open_connection("127.0.0.1", port_of(server)))

    @property
    def address(self) -> str:
        """This end's address, as the server's report has to name it."""
        return str(self.writer.get_extra_info("sockname"))

    async def handshake(self) -> None:
        self.script.send_hello()
        await self.flush()
        while not self.script.server_finished:
            assert await self.receive(), "the server ended the connection during the handshake"
        self.script.finish()
        await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.script.data_to_send())
        await self.writer.drain()

    async def receive(self) -> bool:
        """Take what comes next; False at the end of the TCP stream."""
        data = await self.reader.read(1 << 16)
        self.script.receive_data(data)
        return bool(data)

    async def receive_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert await self.receive(), "the server ended the TCP stream early"

    async def receive_all(self) -> None:
        """Take everything up to the end of the TCP stream, reset or not."""
        with suppress(ConnectionError):
            while await self.receive():
                pass

    def reset(self) -> None:
        """End the TCP connection by RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()

    async def wait_closed(self) -> None:
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Connected:
    """Both ends of a connection whose handshake is complete."""

    application: Recorder
    peer: Peer

    @property
    def transport(self) -> TLSTransport:
        return self.application.transport


class Wire(asyncio.Transport):
    """A TCP transport in memory under a TLSProtocol: it keeps what is written and tells what is called."""

    def __init__(self, protocol: TLSProtocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 4433)})
        self.protocol = protocol
        self.script = ScriptedClient(application_layer_protocol_negotiation=(b"h2",))
        self.written = bytearray()
        self.writes = 0
        self.paused = False
        self.eof = False
        self.aborted = False
        self._closing = False
        protocol.connection_made(self)

    # --- The TCP transport's side --------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing
        assert not self.eof
        self.written += data
        self.writes += 1

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def get_write_buffer_size(self) -> int:
        return 0

    # --- The peer's side -----------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes come from the peer, in reads as large as the protocol's buffer."""
        while data:
            buffer = self.protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]

    def exchange(self) -> None:
        """Carry what the script has to say, and the answers to it."""
        self.feed(self.script.data_to_send())
        self.script.receive_data(bytes(self.written))
        self.written.clear()

    def handshake(self) -> None:
        self.script.send_hello()
        self.exchange()
        self.script.finish()
        self.exchange()


def protocol_of(config: ServerConfig, factory: Callable[[], asyncio.BaseProtocol]) -> TLSProtocol:
    return TLSProtocol(asyncio.get_running_loop(), ServerConnection(config), factory, Options())


def open_wire(config: ServerConfig, application: asyncio.BaseProtocol) -> Wire:
    """A connection of *application*'s whose handshake is complete."""
    wire = Wire(protocol_of(config, lambda: application))
    wire.handshake()
    return wire


async def turn() -> None:
    """Let the loop run what is ready, and what follows from it."""
    for _ in range(5):
        await asyncio.sleep(0)
