"""Our trio streams opposite those of `ssl`: trio's own SSLStream, in both roles."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from trio.testing import memory_stream_pair, trio_test

from aiotls import ClientConfig, ServerConfig, TruncationError
from aiotls.errors import CertificateNameMismatch, UntrustedCertificate
from aiotls.testing.ca import LocalCA
from aiotls.trio import TLSListener, TLSStream, open_tls_stream, serve_tls
from tests.log import Log

SSLStream = trio.SSLStream[Any]


@asynccontextmanager
async def both(first: TLSStream | SSLStream, second: TLSStream | SSLStream) -> AsyncIterator[None]:
    """Both handshakes done, and both closed in the end, without a word."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.do_handshake)
        nursery.start_soon(second.do_handshake)
    yield
    await trio.aclose_forcefully(first)
    await trio.aclose_forcefully(second)


@pytest.fixture
def ssl_server(ca: LocalCA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("localhost").write(tmp_path_factory.mktemp("server")))
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture
def ssl_client(ca: LocalCA) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    context.set_alpn_protocols(["h2"])
    return context


async def exchange(first: TLSStream | SSLStream, second: TLSStream | SSLStream) -> None:
    data = bytes(range(256)) * 2000

    async def receive(stream: TLSStream | SSLStream) -> None:
        received = bytearray()
        while len(received) < len(data):
            received += await stream.receive_some(10_000)
        assert received == data

    async with trio.open_nursery() as nursery:
        for stream in (first, second):
            nursery.start_soon(stream.send_all, data)
            nursery.start_soon(receive, stream)


@trio_test
async def test_client_talks_to_ssl(client_config: ClientConfig, ssl_server: ssl.SSLContext) -> None:
    ours, theirs = memory_stream_pair()
    client = TLSStream(ours, client_config, server_hostname="localhost")
    server = trio.SSLStream(theirs, ssl_server, server_side=True)
    async with both(client, server):
        assert client.negotiated.alpn == "h2"
        assert client.channel_binding("tls-server-end-point")
        await exchange(client, server)
        await client.send_eof()
        assert await server.receive_some(10) == b""
        await server.aclose()
        assert await client.receive_some(10) == b""


@trio_test
async def test_server_talks_to_ssl(server_config: ServerConfig, ssl_client: ssl.SSLContext) -> None:
    ours, theirs = memory_stream_pair()
    server = TLSStream(ours, server_config)
    client = trio.SSLStream(theirs, ssl_client, server_hostname="localhost")
    async with both(client, server):
        assert server.negotiated.server_name == "localhost"
        await exchange(client, server)
        await server.aclose()
        assert await client.receive_some(10) == b""


@trio_test
async def test_transport_cut_off_by_ssl_is_a_truncation(
    server_config: ServerConfig, ssl_client: ssl.SSLContext
) -> None:
    ours, theirs = memory_stream_pair()
    server = TLSStream(ours, server_config)
    client = trio.SSLStream(theirs, ssl_client, server_hostname="localhost")
    async with both(client, server):
        await client.send_all(b"half")
        await client.transport_stream.aclose()
        assert await server.receive_some() == b"half"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await server.receive_some()
            assert isinstance(caught.value.__cause__, TruncationError)


@trio_test
async def test_client_refuses_a_server_of_ssls_that_it_does_not_trust(ssl_server: ssl.SSLContext) -> None:
    ours, theirs = memory_stream_pair()
    client = TLSStream(ours, ClientConfig(), server_hostname="localhost")
    server = trio.SSLStream(theirs, ssl_server, server_side=True)

    async def serve() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await server.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        for call in (client.do_handshake, client.receive_some, lambda: client.send_all(b"x")):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await call()
            assert isinstance(caught.value.__cause__, UntrustedCertificate)
    await client.aclose()
    await server.transport_stream.aclose()


@trio_test
async def test_handshake_that_ssl_gives_up_is_a_truncation(server_config: ServerConfig) -> None:
    """Trio's SSLStream sends no alert for what it refuses."""
    ours, theirs = memory_stream_pair()
    server = TLSStream(ours, server_config)
    client = trio.SSLStream(theirs, ssl.create_default_context(), server_hostname="localhost")

    async def connect() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await client.do_handshake()
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.do_handshake()
    assert isinstance(caught.value.__cause__, TruncationError)
    await server.aclose()


# --- Over TCP --------------------------------------------------------------------------------------------------------


async def echo(stream: TLSStream) -> None:
    assert stream.negotiated.server_name in ("localhost", None)
    with trio.fail_after(20):
        async for data in stream:
            await stream.send_all(data)
        await stream.send_all(b"bye")
    await stream.aclose()


def port_of(listeners: list[TLSListener]) -> int:
    return int(cast("trio.SocketListener", listeners[0].transport_listener).socket.getsockname()[1])


@asynccontextmanager
async def echo_server(config: ServerConfig, handshake_timeout: float = 20) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[list[TLSListener]]) -> None:
            timeout = handshake_timeout
            await serve_tls(echo, 0, config, host="127.0.0.1", handshake_timeout=timeout, task_status=task_status)

        yield port_of(await nursery.start(serve))
        nursery.cancel_scope.cancel()


@trio_test
async def test_client_and_server_talk_over_tcp_and_half_close(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    async with echo_server(server_config) as port:
        stream = await open_tls_stream("127.0.0.1", port, config=client_config, server_hostname="localhost")
        await stream.wait_send_all_might_not_block()
        await stream.send_all(b"hello")
        await stream.send_eof()
        assert b"".join([data async for data in stream]) == b"hellobye"
        await stream.aclose()


@trio_test
async def test_server_serves_ssl_over_tcp(server_config: ServerConfig, ssl_client: ssl.SSLContext) -> None:
    async with echo_server(server_config) as port:
        tcp = await trio.open_tcp_stream("127.0.0.1", port)
        stream = trio.SSLStream(tcp, ssl_client, server_hostname="localhost")
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        await stream.aclose()


@trio_test
async def test_open_tls_stream_raises_why_the_handshake_failed(
    client_config: ClientConfig, server_config: ServerConfig, log: Log
) -> None:
    async with echo_server(server_config) as port:
        with pytest.raises(CertificateNameMismatch):
            await open_tls_stream("127.0.0.1", port, config=client_config, server_hostname="elsewhere.example")
        async with await open_tls_stream("127.0.0.1", port, config=client_config) as stream:
            await stream.send_all(b"still there")
            assert await stream.receive_some() == b"still there"
        assert (await log.next()).startswith("TLS handshake with ('127.0.0.1', ")


@trio_test
async def test_server_ends_a_handshake_that_takes_too_long(server_config: ServerConfig, log: Log) -> None:
    async with echo_server(server_config, handshake_timeout=0.05) as port:
        tcp = await trio.open_tcp_stream("127.0.0.1", port)
        assert (await tcp.receive_some())[:1] == b"\x15"  # an alert record
        assert await tcp.receive_some() == b""
        await tcp.aclose()
        assert (await log.next()).endswith("failed: no handshake within 0.05 seconds")


@trio_test
async def test_server_lets_a_client_read_the_alert_whatever_it_goes_on_sending(
    server_config: ServerConfig, log: Log
) -> None:
    async with echo_server(server_config) as port:
        tcp = await trio.open_tcp_stream("127.0.0.1", port)
        await tcp.send_all(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00" + bytes(200_000))
        alert = b""
        while more := await tcp.receive_some():
            alert += more
        await tcp.aclose()
        assert alert[:5] == b"\x15\x03\x03\x00\x02"
        assert await log.next()
