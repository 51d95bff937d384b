"""asyncio's contract of a transport: the same behaviours on ours and on asyncio's with `ssl`, on both event loops.

Each behaviour drives a server's end, and returns what was to be seen.  `EXPECTED` says what that is; where ours and
asyncio's differ it is a `Difference`, and says why that is wanted.  The peer is asyncio's with `ssl`, so that nothing
is measured by itself.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import tempfile
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

import aiotls
from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.asyncio import start_tls, start_tls_on_streams
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import Recorder

HOST = "127.0.0.1"


class Difference(NamedTuple):
    """What is seen of ours and of asyncio's, and why it is not the same."""

    ours: object
    theirs: object
    why: str


@dataclass
class Stand:
    """A server of one make, and what its loop was told."""

    make: str
    config: ServerConfig
    server_context: ssl.SSLContext
    client_context: ssl.SSLContext
    client_config: ClientConfig
    reports: list[dict[str, Any]] = field(default_factory=list)
    cleanup: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def serve(self, factory: Callable[[], asyncio.BaseProtocol], **options: Any) -> int:
        """Serve by *factory*; the port."""
        server: Any
        if self.make == "aiotls":
            server = await aiotls.create_server(factory, HOST, 0, ssl=self.config, **options)
        else:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(factory, HOST, 0, ssl=self.server_context, **options)
        self.cleanup.push_async_callback(server.wait_closed)
        self.cleanup.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A peer of `ssl`'s."""
        reader, writer = await asyncio.open_connection(
            HOST, port, ssl=self.client_context, server_hostname="localhost", ssl_shutdown_timeout=0.2
        )
        self.cleanup.push_async_callback(closed, writer)
        return reader, writer

    async def pair(self, application: Any, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of *application*'s, and the peer."""
        streams = await self.connect(await self.serve(lambda: application, **options))
        await application.connected.wait()
        return streams


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def raw(transport: Any) -> socket.socket:
    """The TCP socket, of our own."""
    return socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))


def outcome(function: Callable[[], object]) -> str:
    """The class of what *function* raises, or nothing."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was to be seen
        return type(error).__name__
    return "nothing"


# --- Behaviours --------------------------------------------------------------------------------------------------

Behaviour = Callable[[Stand], Coroutine[Any, Any, object]]


async def order_of_callbacks(stand: Stand) -> object:
    application = Recorder()
    _, writer = await stand.pair(application)
    writer.write(b"data")
    await application.received.wait()
    writer.close()
    await application.lost.wait()
    return application.calls, bytes(application.data), application.error


async def connection_made_comes_after_the_handshake(stand: Stand) -> object:
    seen: list[bool] = []

    class Curious(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            names = ("sslcontext", "ssl_object", "cipher", "peername", "sockname", "socket")
            seen.extend(transport.get_extra_info(name) is not None for name in names)

    await stand.pair(Curious())
    return seen


async def extra_info(stand: Stand) -> object:
    application = Recorder()
    _, writer = await stand.pair(application)
    info = application.transport.get_extra_info
    view = info("ssl_object")
    return (
        info("peername") == writer.get_extra_info("sockname"),
        (view.version(), view.selected_alpn_protocol(), view.getpeercert()),
        (info("peercert"), info("compression"), info("nothing"), info("nothing", 2)),
    )


async def broken_handshake(stand: Stand) -> object:
    application = Recorder()
    port = await stand.serve(lambda: application)
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await reader.read()
    await closed(writer)
    return application.calls, len(stand.reports)


async def silent_client(stand: Stand) -> object:
    application = Recorder()
    reader, writer = await asyncio.open_connection(
        HOST, await stand.serve(lambda: application, ssl_handshake_timeout=0.05)
    )
    with contextlib.suppress(ConnectionError):
        await reader.read()
    await closed(writer)
    stand.reports.clear()
    return application.calls


async def writing(stand: Stand) -> object:
    application = Recorder()
    reader, _ = await stand.pair(application)
    transport = application.transport
    for data in (b"bytes ", bytearray(b"bytearray "), memoryview(b"memoryview "), b""):
        transport.write(data)
    transport.writelines([b"one ", memoryview(b"two")])
    return await reader.readexactly(34), outcome(lambda: transport.write("text"))  # type: ignore[arg-type]


async def writing_after_close(stand: Stand) -> object:
    application = Recorder()
    reader, _ = await stand.pair(application)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        application.transport.write(b"before")
        application.transport.close()
        application.transport.write(b"after")
    return await reader.read(), len(caught)


async def write_eof(stand: Stand) -> object:
    application = Recorder()
    await stand.pair(application)
    transport = application.transport
    return transport.can_write_eof(), outcome(transport.write_eof), outcome(lambda: transport.write(b"more"))


async def answer_after_the_peers_end(stand: Stand) -> object:
    class Late(Recorder):
        def eof_received(self) -> bool:
            asyncio.get_running_loop().call_soon(self.answer)
            return True

        def answer(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(b"the answer")
            self.transport.close()

    port = await stand.serve(Late)
    reader, writer = await aiotls.open_connection(HOST, port, ssl=stand.client_config, server_hostname="localhost")
    writer.write_eof()
    answer = await reader.read()
    await closed(writer)
    return answer


async def end_without_close_notify(stand: Stand) -> object:
    application = Recorder()
    _, writer = await stand.pair(application)
    writer.write(b"half of it")
    await application.received.wait()
    with raw(writer) as tcp:
        tcp.shutdown(socket.SHUT_WR)
    await application.lost.wait()
    return application.calls[:2], type(application.error).__name__


async def pausing_reading(stand: Stand) -> object:
    application = Recorder()
    _, writer = await stand.pair(application)
    transport = application.transport
    transport.pause_reading()
    transport.pause_reading()
    reading = [transport.is_reading()]
    writer.write(b"data")
    await writer.drain()
    for _ in range(50):
        await asyncio.sleep(0)
    before = bytes(application.data)
    transport.resume_reading()
    transport.resume_reading()
    reading.append(transport.is_reading())
    await application.received.wait()
    return before, reading, bytes(application.data)


async def back_pressure(stand: Stand) -> object:
    application = Recorder()
    reader, _ = await stand.pair(application)
    transport = application.transport
    transport.set_write_buffer_limits(high=64 * 1024)
    total = 0
    for _ in range(3):
        application.resumed.clear()
        while application.calls[-1] != "pause_writing":
            transport.write(bytes(1 << 20))
            total += 1 << 20
        received = 0
        while not application.resumed.is_set():
            received += len(await reader.read(1 << 20))
        total -= received
    await reader.readexactly(total)
    told = application.calls[1:]
    return told == ["pause_writing", "resume_writing"] * 3


async def write_buffer_limits(stand: Stand) -> object:
    application = Recorder()
    await stand.pair(application)
    transport = application.transport
    limits = []
    for arguments in ({"high": 1000}, {"low": 100}, {"high": 0}, {"high": 4000, "low": 4000}):
        transport.set_write_buffer_limits(**arguments)
        limits.append(transport.get_write_buffer_limits())
    return limits, outcome(lambda: transport.set_write_buffer_limits(high=1, low=2))


async def default_write_buffer_limits(stand: Stand) -> object:
    application = Recorder()
    await stand.pair(application)
    return application.transport.get_write_buffer_limits()[1]


async def set_protocol_in_connection_made(stand: Stand) -> object:
    successor = Recorder()

    class Predecessor(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            successor.connection_made(transport)
            self.transport.set_protocol(successor)

    predecessor = Predecessor()
    _, writer = await stand.pair(predecessor)
    writer.write(b"for the successor")
    await successor.received.wait()
    same = successor.transport.get_protocol() is successor
    writer.close()
    await successor.lost.wait()
    return same, predecessor.calls, successor.calls, bytes(successor.data)


class Buffered(asyncio.BufferedProtocol):
    """A protocol that gives out its own buffer."""

    def __init__(self) -> None:
        self.room = bytearray(5)
        self.data = bytearray()
        self.connected = asyncio.Event()
        self.more = asyncio.Event()
        self.lost = asyncio.Event()
        self.eof = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connected.set()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.room[:nbytes]
        self.more.set()

    async def receive(self, size: int) -> None:
        """Wait until that many bytes have come."""
        while len(self.data) < size:
            self.more.clear()
            await self.more.wait()

    def eof_received(self) -> None:
        self.eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def buffered_protocol(stand: Stand) -> object:
    application = Buffered()
    _, writer = await stand.pair(application)
    writer.write(b"more than five bytes")
    await application.receive(20)
    writer.close()
    await application.lost.wait()
    return bytes(application.data), application.eof


async def change_to_a_buffered_protocol(stand: Stand) -> object:
    successor = Buffered()

    class Predecessor(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(successor)

    predecessor = Predecessor()
    _, writer = await stand.pair(predecessor)
    writer.write(b"first")
    await predecessor.received.wait()
    writer.write(b"second")
    await successor.receive(6)
    return bytes(predecessor.data), bytes(successor.data)


async def closing(stand: Stand) -> object:
    application = Recorder()
    reader, _ = await stand.pair(application)
    before = application.transport.is_closing()
    application.transport.close()
    application.transport.close()
    seen = before, application.transport.is_closing(), list(application.calls)
    await reader.read()
    await application.lost.wait()
    return seen, application.calls, application.error


async def aborting(stand: Stand) -> object:
    application = Recorder()
    reader, _ = await stand.pair(application)
    application.transport.abort()
    seen = application.transport.is_closing(), list(application.calls)
    await application.lost.wait()
    with contextlib.suppress(OSError):
        await reader.read()
    return seen, application.calls, application.error


async def callback_that_raises(stand: Stand) -> object:
    class Raiser(Recorder):
        def data_received(self, data: bytes) -> None:
            raise KeyError(data)

    application = Raiser()
    _, writer = await stand.pair(application)
    writer.write(b"data")
    await application.lost.wait()
    told = [type(report["exception"]).__name__ for report in stand.reports]
    stand.reports.clear()
    return told, application.calls, type(application.error).__name__


async def upgrade_of_streams(stand: Stand) -> object:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"go ahead\n")
        if stand.make == "aiotls":
            await start_tls_on_streams(writer, stand.config)
        else:
            await writer.start_tls(stand.server_context)
        writer.write(b"over TLS: " + await reader.readline())
        await closed(writer)

    server = await asyncio.start_server(handler, HOST, 0)
    stand.cleanup.push_async_callback(server.wait_closed)
    stand.cleanup.callback(server.close)
    reader, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
    writer.write(b"STARTTLS\n")
    plain = await reader.readline()
    await writer.start_tls(stand.client_context, server_hostname="localhost")
    writer.write(b"hello\n")
    protected = await reader.readline()
    await closed(writer)
    return plain, protected


async def connection_made_is_not_repeated_by_an_upgrade(stand: Stand) -> object:
    application, upgraded = Recorder(), asyncio.Event()

    async def upgrade(tcp: Any) -> None:
        loop = asyncio.get_running_loop()
        if stand.make == "aiotls":
            application.transport = await start_tls(tcp, application, stand.config, server_side=True)
        else:
            new: Any = await loop.start_tls(tcp, application, stand.server_context, server_side=True)
            application.transport = new
        upgraded.set()

    server = await asyncio.get_running_loop().create_server(lambda: application, HOST, 0)
    stand.cleanup.push_async_callback(server.wait_closed)
    stand.cleanup.callback(server.close)
    _, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
    await application.connected.wait()
    upgrading = asyncio.create_task(upgrade(application.transport))
    await writer.start_tls(stand.client_context, server_hostname="localhost")
    await upgrading
    writer.write(b"data")
    await application.received.wait()
    application.transport.close()
    await application.lost.wait()
    await closed(writer)
    return [call for call in application.calls if call != "eof_received"], bytes(application.data)


async def sendfile(stand: Stand) -> object:
    application = Recorder()
    reader, _ = await stand.pair(application)
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 100_000)
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sendfile(application.transport, file, 5, 600_000))
        data = await reader.readexactly(600_000)
        sent = await sending
    application.transport.write(b"afterwards")
    return sent, data == (b"5678901234" * 60_000), await reader.readexactly(10), application.transport.is_reading()


async def sendfile_without_fallback(stand: Stand) -> object:
    application = Recorder()
    await stand.pair(application)
    with tempfile.TemporaryFile() as file, pytest.raises(RuntimeError) as raised:
        await asyncio.get_running_loop().sendfile(application.transport, file, fallback=False)
    return raised.type.__name__


ORDER = ["connection_made", "data_received", "eof_received", "connection_lost"]
REFUSED = "TypeError"

EXPECTED: dict[Behaviour, object] = {
    order_of_callbacks: (ORDER, b"data", None),
    connection_made_comes_after_the_handshake: [True] * 6,
    extra_info: (True, ("TLSv1.3", None, None), (None, None, None, 2)),
    broken_handshake: Difference(
        ([], 1), ([], 0), "an operator should learn of a failed handshake; asyncio drops what is an OSError"
    ),
    silent_client: [],
    writing: (b"bytes bytearray memoryview one two", REFUSED),
    writing_after_close: Difference((b"before", 1), (b"before", 0), "data that is dropped is worth a warning"),
    write_eof: Difference(
        (True, "nothing", "RuntimeError"),
        (False, "NotImplementedError", "nothing"),
        "TLS 1.3 closes each side on its own (RFC 8446 §6.1)",
    ),
    answer_after_the_peers_end: Difference(b"the answer", b"", "as above: the peer has ended its side only"),
    end_without_close_notify: Difference(
        (["connection_made", "data_received"], "TruncationError"),
        (["connection_made", "data_received"], "NoneType"),
        "what may have been cut off is no clean end (RFC 8446 §6.1)",
    ),
    pausing_reading: (b"", [False, True], b"data"),
    back_pressure: True,
    write_buffer_limits: ([(250, 1000), (100, 400), (0, 0), (4000, 4000)], "ValueError"),
    default_write_buffer_limits: Difference(
        64 * 1024, 512 * 1024, "what is written is in TCP's buffer only, with TCP's limits"
    ),
    set_protocol_in_connection_made: (
        True,
        ["connection_made"],
        ORDER,
        b"for the successor",
    ),
    buffered_protocol: (b"more than five bytes", True),
    change_to_a_buffered_protocol: (b"first", b"second"),
    closing: Difference(
        ((False, True, ["connection_made"]), ["connection_made", "connection_lost"], None),
        ((False, True, ["connection_made"]), ["connection_made", "eof_received", "connection_lost"], None),
        "who has closed is told nothing but the end, as on TCP",
    ),
    aborting: ((True, ["connection_made"]), ["connection_made", "connection_lost"], None),
    upgrade_of_streams: (b"go ahead\n", b"over TLS: hello\n"),
    connection_made_is_not_repeated_by_an_upgrade: (
        ["connection_made", "data_received", "connection_lost"],
        b"data",
    ),
    callback_that_raises: (["KeyError"], ["connection_made", "connection_lost"], "KeyError"),
}
# uvloop has no sendfile.
ASYNCIO_ONLY: dict[Behaviour, object] = {
    sendfile: (600_000, True, b"afterwards", True),
    sendfile_without_fallback: "RuntimeError",
}


def uvloop_factory() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


LOOPS = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32" and sys.implementation.name == "cpython":
    LOOPS["uvloop"] = uvloop_factory

CASES = [
    pytest.param(loop, make, behaviour, expected, id=f"{behaviour.__name__}-{make}-{loop}")
    for loop in LOOPS
    for make in ("aiotls", "ssl")
    for behaviour, expected in (EXPECTED | (ASYNCIO_ONLY if loop == "asyncio" else {})).items()
]


@pytest.fixture(scope="session")
def certificate(ca: LocalCA, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("contract")
    chain, key = ca.issue("localhost").write(folder)
    return str(chain), str(key)


@pytest.fixture(scope="session")
def stand_of(ca: LocalCA, certificate: tuple[str, str]) -> Callable[[str], Stand]:
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(*certificate)
    config = ServerConfig(credentials=aiotls.Credential.from_files(*certificate))
    client_context = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    client_config = ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))
    return lambda make: Stand(make, config, server_context, client_context, client_config)


async def observe(stand: Stand, behaviour: Behaviour) -> object:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: stand.reports.append(context))
    async with stand.cleanup:
        return await behaviour(stand)


@pytest.mark.parametrize(("loop", "make", "behaviour", "expected"), CASES)
def test_transport_behaves_as_asyncio_promises(
    loop: str, make: str, behaviour: Behaviour, expected: object, stand_of: Callable[[str], Stand]
) -> None:
    if isinstance(expected, Difference):
        expected = expected.ours if make == "aiotls" else expected.theirs
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(observe(stand_of(make), behaviour)) == expected
