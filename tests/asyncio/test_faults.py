"""What can go wrong at any moment: cancellation, resets at every byte, silence, a closed loop, and many at once.

That nothing is left behind, neither task nor socket nor an unread report, is checked after every test (conftest).
"""

import asyncio
import contextlib
import functools
import gc
import os
import socket
import struct
import warnings
from dataclasses import replace

import pytest

import aiotls
from aiotls import ClientConfig, ClientConnection, Roots, ServerConfig, ServerConnection
from aiotls.asyncio import TLSServer, create_connection
from aiotls.errors import TLSError, TruncationError
from aiotls.testing.ca import LocalCA
from aiotls.trust.credentials import ClientHelloInfo, Credential
from tests.asyncio.support import Connected, Peer, Recorder, Recorders, Reports, port_of

HOST = "127.0.0.1"


@pytest.fixture(scope="session")
def client_config(ca: LocalCA) -> ClientConfig:
    return ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))


def reset(sock: socket.socket) -> None:
    """End a TCP connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def flights(config: ServerConfig, client_config: ClientConfig) -> tuple[bytes, bytes]:
    """What a client and a server send in a handshake."""
    client, server = ClientConnection(client_config, "localhost"), ServerConnection(config)
    sent: tuple[bytearray, bytearray] = (bytearray(), bytearray())
    for _ in range(3):
        for number, (ours, theirs) in enumerate(((client, server), (server, client))):
            data = bytes(ours.data_to_send())
            sent[number].extend(data)
            theirs.receive_data(data)
            while theirs.next_event() is not None:
                pass
    return bytes(sent[0]), bytes(sent[1])


# --- Resets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_server_survives_the_end_of_tcp_at_every_byte_of_the_handshake(
    how: str, config: ServerConfig, client_config: ClientConfig, recorders: Recorders, reports: Reports
) -> None:
    said, _ = flights(config, client_config)
    server = await aiotls.create_server(recorders, HOST, 0, ssl=config, backlog=1000)
    # The last bytes are a Finished of another handshake: an alert, and no end.
    lengths = range(said.index(b"\x14\x03\x03"))
    for length in lengths:
        sock = socket.create_connection((HOST, port_of(server)))
        sock.sendall(said[:length])
        if how == "reset":
            reset(sock)
        else:
            sock.close()
        await asyncio.sleep(0)
    await server.shutdown(20)
    assert recorders.made == []
    begun = server.counters.handshakes_begun
    assert sum(server.counters.handshakes_failed.values()) == begun <= len(lengths)
    assert set(server.counters.handshakes_failed) <= {"TruncationError", "ConnectionResetError", "BrokenPipeError"}
    assert len(reports.unread) == begun  # one line each
    reports.unread.clear()


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_client_raises_at_the_end_of_tcp_at_every_byte_of_the_handshake(
    how: str, config: ServerConfig, client_config: ClientConfig
) -> None:
    cut_at = 0
    complete = asyncio.Event()

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine = ServerConnection(config)
        engine.receive_data(await reader.read(1 << 16))
        flight = bytes(engine.data_to_send())
        writer.write(flight[:cut_at])
        if cut_at >= len(flight):
            complete.set()
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(cut, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    while True:
        application = Recorder()
        connecting = create_connection(
            functools.partial(lambda it: it, application), HOST, port, ssl=client_config, server_hostname="localhost"
        )
        try:
            await connecting
        except (TruncationError, ConnectionError):
            assert application.calls == []
        else:
            break
        if complete.is_set():
            break
        cut_at += 1
    assert cut_at > 500
    server.close()
    await server.wait_closed()


# --- Cancellation ------------------------------------------------------------------------------------------------


async def test_client_can_be_cancelled_at_every_await(
    config: ServerConfig, client_config: ClientConfig, recorders: Recorders, reports: Reports
) -> None:
    server = await aiotls.create_server(recorders, HOST, 0, ssl=config)
    turns = 0
    while True:
        connecting = asyncio.create_task(
            create_connection(Recorder, HOST, port_of(server), ssl=client_config, server_hostname="localhost")
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        if connecting.done():
            break
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        turns += 1
    transport, application = await connecting
    assert turns > 5
    transport.close()
    await application.lost.wait()
    await server.shutdown(20)
    assert {type(report["exception"]) for report in reports.unread} <= {TruncationError, ConnectionResetError}
    reports.unread.clear()


async def test_client_can_be_cancelled_while_a_server_says_nothing(client_config: ClientConfig) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await create_connection(Recorder, HOST, port, ssl=client_config, server_hostname="localhost")
    await ended.wait()
    server.close()
    await server.wait_closed()


# --- Silence, closing, writing -----------------------------------------------------------------------------------


async def test_writer_is_held_by_a_peer_that_never_reads_until_it_resets(connected: Connected) -> None:
    application, peer = connected.application, connected.peer
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while "pause_writing" not in application.calls:
        connected.transport.write(bytes(1 << 18))
    assert connected.transport.get_write_buffer_size() > 1 << 16
    peer.reset()
    await application.lost.wait()
    assert application.calls.count("resume_writing") <= 1
    assert application.calls[-1] == "connection_lost"


async def test_reader_of_a_stream_gets_the_truncation(config: ServerConfig, client_config: ClientConfig) -> None:
    seen: list[BaseException] = []
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for wait in (reader.read, writer.wait_closed, writer.drain):
            try:
                await wait()
            except Exception as error:  # noqa: BLE001 - the test looks at it
                seen.append(error)
        done.set()

    server = await aiotls.start_server(handler, HOST, 0, ssl=config)
    _, writer = await aiotls.open_connection(HOST, port_of(server), ssl=client_config, server_hostname="localhost")
    writer.write(b"half")
    await writer.drain()
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as tcp:
        tcp.shutdown(socket.SHUT_WR)
    await done.wait()
    assert [type(error) for error in seen] == [TruncationError] * 3
    writer.close()
    with contextlib.suppress(OSError, TLSError):
        await writer.wait_closed()
    await server.shutdown(20)


async def test_client_that_closes_during_the_handshake_leaves_one_report(
    config: ServerConfig, credential_after: "Later", recorders: Recorders, reports: Reports
) -> None:
    server = await aiotls.create_server(recorders, HOST, 0, ssl=replace(config, credentials=credential_after))
    peer = await Peer.connect(server)
    peer.script.send_hello()
    await peer.flush()
    await credential_after.asked.wait()
    peer.reset()
    credential_after.may_go_on.set()
    context = await reports.next()
    assert isinstance(context["exception"], TruncationError | ConnectionError)
    await server.shutdown(20)
    assert recorders.made == []


class Later:
    """A resolver that waits to be let go."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self.asked = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def __call__(self, info: ClientHelloInfo) -> Credential:
        self.asked.set()
        await self.may_go_on.wait()
        return self.credential


@pytest.fixture
async def credential_after(config: ServerConfig) -> Later:
    return Later(config.credential_list[0])


# --- The loop ----------------------------------------------------------------------------------------------------


def test_loop_that_is_closed_underneath_leaves_asyncios_warning_only(
    config: ServerConfig, client_config: ClientConfig
) -> None:
    async def abandon() -> tuple[TLSServer, Recorder, Recorder]:
        application = Recorder()
        server = await aiotls.create_server(lambda: application, HOST, 0, ssl=config)
        _, ours = await create_connection(
            Recorder, HOST, port_of(server), ssl=client_config, server_hostname="localhost"
        )
        await application.connected.wait()
        return server, application, ours

    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(abandon())
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for application in left[1:]:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                application.transport.close()
            assert application.transport.is_closing()
        del left, application
        gc.collect()
    assert {warning.category for warning in caught} <= {ResourceWarning}
    assert not [warning for warning in caught if "aiotls" in str(warning.message)]


# --- Many --------------------------------------------------------------------------------------------------------


MANY = 10_000


def descriptors() -> int:
    """How many files are open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a number is all that is wanted


async def test_many_connections_leave_nothing_behind(
    config: ServerConfig,
    client_config: ClientConfig,
    recorders: Recorders,
    reports: Reports,
) -> None:
    server = await aiotls.create_server(recorders, HOST, 0, ssl=config, backlog=1000)
    before = descriptors()
    for number in range(MANY):
        end = ("close", "abort", "garbage")[number % 3]
        if end == "garbage":
            sock = socket.create_connection((HOST, port_of(server)))
            sock.sendall(b"\x16\x03\x01")
            sock.close()
            continue
        transport, application = await create_connection(
            Recorder, HOST, port_of(server), ssl=client_config, server_hostname="localhost"
        )
        transport.write(b"data")
        getattr(transport, end)()
        await application.lost.wait()
    await server.shutdown(20)
    assert len(server.connections) == 0
    assert server.counters.handshakes_begun == MANY
    assert descriptors() <= before
    for recorder in recorders.made:
        assert recorder.calls[-1] == "connection_lost"
    assert len(reports.unread) == sum(server.counters.handshakes_failed.values())
    reports.unread.clear()
