"""A server's life: limits, counters, graceful shutdown, and the end of a connection that a peer would keep open."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import aiotls
from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.asyncio import Connections, TLSServer
from aiotls.errors import AlertDescription, LocalError, TLSError
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import Connected, Peer, Recorder, Recorders, Reports, port_of

HOST = "127.0.0.1"


@pytest.fixture(scope="session")
def client_config(ca: LocalCA) -> ClientConfig:
    return ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))


async def serve(config: ServerConfig, recorders: Recorders, **options: Any) -> TLSServer:
    return await aiotls.create_server(recorders, HOST, 0, ssl=config, **options)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TLSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def peer_of(server: TLSServer) -> AsyncIterator[Peer]:
    peer = await Peer.connect(server)
    yield peer
    peer.close()
    await peer.wait_closed()


async def test_server_has_the_interface_of_asyncios(config: ServerConfig, recorders: Recorders) -> None:
    server = await aiotls.create_server(recorders, HOST, 0, ssl=config, start_serving=False)
    assert isinstance(server, asyncio.AbstractServer)
    assert server.get_loop() is asyncio.get_running_loop()
    assert not server.is_serving()
    await server.start_serving()
    assert server.is_serving()
    async with server:
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert not server.is_serving()
    assert server.sockets == ()


async def test_counters_tell_what_happened(
    config: ServerConfig, client_config: ClientConfig, recorders: Recorders, reports: Reports
) -> None:
    server = await serve(config, recorders)
    _, writer = await aiotls.open_connection(HOST, port_of(server), ssl=client_config, server_hostname="localhost")
    application = await recorders.next()
    writer.write(b"x" * 1000)
    await application.received.wait()
    await hang_up(writer)
    async with peer_of(server) as peer:
        peer.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await peer.receive_all()
    await server.shutdown(20)
    counters = server.counters
    assert (counters.handshakes_begun, counters.handshakes_completed, counters.handshakes_resumed) == (2, 1, 0)
    assert dict(counters.handshakes_failed) == {type(reports.take()["exception"]).__name__: 1}
    assert counters.bytes_received > 1000
    assert counters.bytes_sent > 500
    assert (len(server.connections), server.connections.handshakes_in_progress, counters.refused) == (0, 0, 0)


async def test_connection_beyond_the_limit_is_refused_and_counted(config: ServerConfig, recorders: Recorders) -> None:
    server = await serve(config, recorders, max_connections=1)
    async with peer_of(server) as first:
        await first.handshake()
        async with peer_of(server) as second:
            await second.receive_all()
        assert server.counters.refused == 1
        assert len(server.connections) == 1
    (application,) = recorders.made
    await application.lost.wait()
    async with peer_of(server) as third:
        await third.handshake()
    await server.shutdown(20)
    assert server.counters.handshakes_completed == 2


async def test_handshake_beyond_the_limit_is_refused_and_connections_are_not(
    config: ServerConfig, recorders: Recorders
) -> None:
    server = await serve(config, recorders, max_handshakes=1)
    async with peer_of(server) as first:
        await first.handshake()
        await recorders.next()
        async with peer_of(server) as second:
            second.script.send_hello()
            await second.flush()
            await second.receive()  # its handshake is in progress now
            async with peer_of(server) as third:
                await third.receive_all()
            assert server.counters.refused == 1
            second.script.finish()
            await second.flush()
            await recorders.next()
            assert len(server.connections) == 2
    await server.shutdown(20)


@pytest.mark.parametrize("name", ["max_connections", "max_handshakes"])
def test_limits_below_one_are_refused(name: str) -> None:
    with pytest.raises(LocalError, match=f"{name} must be at least 1"):
        Connections(**{name: 0})
    Connections(**{name: 1})


async def test_shutdown_lets_a_request_finish(config: ServerConfig, client_config: ClientConfig) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await may_answer.wait()
        writer.write(b"the answer")
        writer.close()

    server = await aiotls.start_server(handler, HOST, 0, ssl=config)
    port = port_of(server)
    reader, writer = await aiotls.open_connection(HOST, port, ssl=client_config, server_hostname="localhost")
    writer.write(b"request\n")
    await asked.wait()
    shutdown = asyncio.create_task(server.shutdown(20))
    await asyncio.sleep(0)
    assert not server.is_serving()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(HOST, port)
    may_answer.set()
    assert await reader.read() == b"the answer"
    await hang_up(writer)
    await shutdown
    assert len(server.connections) == 0


async def test_shutdown_ends_what_is_left_with_close_notify(config: ServerConfig, recorders: Recorders) -> None:
    server = await serve(config, recorders)
    async with peer_of(server) as peer:
        await peer.handshake()
        application = await recorders.next()
        await server.shutdown(0)
        assert application.calls == ["connection_made", "connection_lost"]
        assert application.error is None
        await peer.receive_all()
        assert [alert.description for alert in peer.script.alerts] == [AlertDescription.close_notify]


async def test_shutdown_ends_a_handshake_in_progress_without_a_report(
    config: ServerConfig, recorders: Recorders
) -> None:
    server = await serve(config, recorders)
    async with peer_of(server) as peer:
        peer.script.send_hello()
        await peer.flush()
        await peer.receive()
        await server.shutdown(0)
        await peer.receive_all()
    assert dict(server.counters.handshakes_failed) == {"LocalError": 1}
    assert recorders.made == []


async def test_shutdown_aborts_a_connection_whose_peer_never_reads(config: ServerConfig, recorders: Recorders) -> None:
    server = await serve(config, recorders)
    async with peer_of(server) as peer:
        await peer.handshake()
        application = await recorders.next()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while "pause_writing" not in application.calls:
            application.transport.write(bytes(1 << 20))
        await server.shutdown(0, ssl_shutdown_timeout=0.05)
        assert application.calls[-1] == "connection_lost"
        peer.writer.transport.abort()


async def test_closed_connection_is_aborted_when_its_peer_never_reads(
    config: ServerConfig, recorders: Recorders
) -> None:
    server = await aiotls.create_server(recorders, HOST, 0, ssl=config, ssl_shutdown_timeout=0.05)
    async with peer_of(server) as peer:
        await peer.handshake()
        application = await recorders.next()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while "pause_writing" not in application.calls:
            application.transport.write(bytes(1 << 20))
        application.transport.close()
        await application.lost.wait()
        peer.writer.transport.abort()
    await server.shutdown(20)


async def test_clients_can_be_closed_and_aborted_together(config: ServerConfig, recorders: Recorders) -> None:
    server = await serve(config, recorders)
    for end in (server.close_clients, server.abort_clients):
        async with peer_of(server) as peer:
            await peer.handshake()
            application = await recorders.next()
            end()
            await application.lost.wait()
            await peer.receive_all()
    await server.shutdown(20)


# --- The end without close_notify --------------------------------------------------------------------------------


class Answering(Recorder):
    """Answers when the peer has ended its side."""

    def eof_received(self) -> bool:
        super().eof_received()
        self.transport.write(b"all of " + bytes(self.data))
        self.transport.close()
        return True


async def test_truncation_counts_as_the_end_where_it_is_allowed(config: ServerConfig, connected: Connected) -> None:
    application = Answering()
    server = await aiotls.create_server(lambda: application, HOST, 0, ssl=config, allow_truncation=True)
    async with peer_of(server) as peer:
        await peer.handshake()
        peer.script.send_data(b"it")
        await peer.flush()
        peer.writer.write_eof()
        await peer.receive_all()
        assert peer.script.data == b"all of it"
        assert [alert.description for alert in peer.script.alerts] == [AlertDescription.close_notify]
    await application.lost.wait()
    assert application.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert application.error is None
    await server.shutdown(20)


async def test_end_is_told_once_where_truncation_is_allowed(config: ServerConfig) -> None:
    application = Recorder(half_open=True)
    server = await aiotls.create_server(lambda: application, HOST, 0, ssl=config, allow_truncation=True)
    async with peer_of(server) as peer:
        await peer.handshake()
        peer.script.send_alert(AlertDescription.close_notify, level=1)
        await peer.flush()
        await application.ended.wait()
        peer.writer.write_eof()
        for _ in range(20):
            await asyncio.sleep(0)
        application.transport.write(b"our side is open")
        application.transport.close()
        await peer.receive_all()
        assert peer.script.data == b"our side is open"
    await application.lost.wait()
    assert application.calls == ["connection_made", "eof_received", "connection_lost"]
    await server.shutdown(20)


async def test_truncation_waits_for_reading_that_is_paused(config: ServerConfig) -> None:
    class Slow(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    application = Slow()
    server = await aiotls.create_server(lambda: application, HOST, 0, ssl=config, allow_truncation=True)
    async with peer_of(server) as peer:
        await peer.handshake()
        for piece in (b"one", b"two", b"three"):
            peer.script.send_data(piece)
        await peer.flush()
        peer.writer.write_eof()
        await application.lost.wait()
    assert application.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert application.data == b"onetwothree"
    await server.shutdown(20)


async def test_truncation_of_a_handshake_is_never_allowed(
    config: ServerConfig, recorders: Recorders, reports: Reports
) -> None:
    server = await aiotls.create_server(recorders, HOST, 0, ssl=config, allow_truncation=True)
    async with peer_of(server) as peer:
        peer.script.send_hello()
        await peer.flush()
        peer.writer.write_eof()
        await peer.receive_all()
    assert type((await reports.next())["exception"]).__name__ == "TruncationError"
    await server.shutdown(20)
