"""TLS on open connections: STARTTLS by transports and by streams, TLS in TLS, and what was read too early."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

import aiotls
from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.asyncio import TLSTransport, start_tls, start_tls_on_streams
from aiotls.errors import PeerMisbehaved, TLSError, UntrustedCertificate
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import Recorder

HOST = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="session")
def client_config(ca: LocalCA) -> ClientConfig:
    return ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))


class Plain:
    """A server without TLS, whose handler's errors are kept."""

    def __init__(self) -> None:
        self.port = 0
        self.errors: list[Exception] = []
        self.done = asyncio.Event()
        self.server: asyncio.Server

    async def start(self, handler: Handler) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.errors.append(error)
            finally:
                writer.close()
                self.done.set()

        self.server = await asyncio.start_server(handle, HOST, 0)
        self.port = self.server.sockets[0].getsockname()[1]


@pytest.fixture
async def plain() -> AsyncIterator[Plain]:
    plain = Plain()
    yield plain
    plain.server.close()
    await plain.server.wait_closed()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TLSError):
        await writer.wait_closed()


def starttls(config: ServerConfig) -> Handler:
    """A server that goes over to TLS when it is asked to, and answers a line there."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await start_tls_on_streams(writer, config)
        line = await reader.readline()
        writer.write(b"you said " + line)
        writer.write_eof()
        await reader.read()

    return handler


async def test_streams_go_on_over_tls_at_both_ends(
    plain: Plain, config: ServerConfig, client_config: ClientConfig
) -> None:
    await plain.start(starttls(config))
    reader, writer = await asyncio.open_connection(HOST, plain.port)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    await start_tls_on_streams(writer, client_config, server_hostname="localhost")
    assert writer.get_extra_info("tls").server_name == "localhost"
    writer.write(b"hello\n")
    assert await reader.read() == b"you said hello\n"
    await hang_up(writer)
    await plain.done.wait()
    assert plain.errors == []


async def test_streams_of_ours_are_understood_by_ssl(
    plain: Plain, config: ServerConfig, client_context: ssl.SSLContext
) -> None:
    await plain.start(starttls(config))
    reader, writer = await asyncio.open_connection(HOST, plain.port)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    await writer.start_tls(client_context, server_hostname="localhost")
    writer.write(b"hello\n")
    assert await reader.readline() == b"you said hello\n"
    await hang_up(writer)
    await plain.done.wait()
    assert plain.errors == []


async def test_hello_that_came_with_the_command_is_kept_for_tls(
    plain: Plain, config: ServerConfig, client_config: ClientConfig
) -> None:
    await plain.start(starttls(config))
    reader, writer = await asyncio.open_connection(HOST, plain.port)
    engine = aiotls.ClientConnection(client_config, "localhost")
    writer.write(b"STARTTLS\n" + engine.data_to_send())  # one packet, and so one read
    assert await reader.readline() == b"go ahead\n"
    while engine.negotiated is None:
        engine.receive_data(await reader.read(1 << 16))
        while engine.next_event() is not None:
            pass
        writer.write(engine.data_to_send())
    engine.send_data(b"early bird\n")
    engine.close()
    writer.write(engine.data_to_send())
    await plain.done.wait()
    assert plain.errors == []
    await hang_up(writer)


@pytest.mark.rfc("3207", "4.2")
async def test_command_injected_before_tls_fails_the_handshake(plain: Plain, config: ServerConfig) -> None:
    await plain.start(starttls(config))
    reader, writer = await asyncio.open_connection(HOST, plain.port)
    writer.write(b"STARTTLS\nDELETE everything\n")
    assert await reader.readline() == b"go ahead\n"
    await plain.done.wait()
    assert isinstance(plain.errors[0], PeerMisbehaved)
    with contextlib.suppress(ConnectionError):
        await reader.read()
    await hang_up(writer)


async def test_start_tls_raises_and_tells_the_protocol_when_the_handshake_fails(
    plain: Plain, config: ServerConfig
) -> None:
    await plain.start(starttls(config))
    reader, writer = await asyncio.open_connection(HOST, plain.port)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    stranger = ClientConfig(roots=Roots.from_bytes(LocalCA().certificate_pem))
    with pytest.raises(UntrustedCertificate):
        await start_tls_on_streams(writer, stranger, server_hostname="localhost")
    with pytest.raises(UntrustedCertificate):
        await reader.read()
    await hang_up(writer)
    await plain.done.wait()


async def test_cancelled_start_tls_ends_the_connection(plain: Plain, client_config: ClientConfig) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()

    await plain.start(silent)
    _, writer = await asyncio.open_connection(HOST, plain.port)
    upgrade = asyncio.create_task(start_tls_on_streams(writer, client_config, server_hostname="localhost"))
    for _ in range(3):
        await asyncio.sleep(0)
    upgrade.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upgrade
    assert writer.is_closing()
    await plain.done.wait()


async def test_data_comes_after_start_tls_has_returned_and_connection_made_is_not_repeated(
    plain: Plain, config: ServerConfig, client_config: ClientConfig
) -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await start_tls_on_streams(writer, config)
        writer.write(b"greeting")
        await reader.read()

    await plain.start(greets)
    application = Recorder()
    loop = asyncio.get_running_loop()
    tcp, _ = await loop.create_connection(lambda: application, HOST, plain.port)
    transport = await start_tls(tcp, application, client_config, server_side=False, server_hostname="localhost")
    assert application.calls == ["connection_made"]
    assert transport.get_protocol() is application
    await application.received.wait()
    transport.close()
    await application.lost.wait()
    assert application.calls == ["connection_made", "data_received", "connection_lost"]
    assert (bytes(application.data), application.error) == (b"greeting", None)
    await plain.done.wait()


async def test_start_tls_refuses_a_side_that_contradicts_the_config(client_config: ClientConfig) -> None:
    with pytest.raises(TypeError, match="server_side=True contradicts the config, which is a ClientConfig"):
        await start_tls(cast("Any", None), Recorder(), client_config, server_side=True)


async def test_start_tls_refuses_a_config_of_ssl(client_context: ssl.SSLContext) -> None:
    with pytest.raises(TypeError, match=r"not a ssl\.SSLContext"):
        await start_tls(cast("Any", None), Recorder(), cast("Any", client_context), server_hostname="localhost")


async def test_start_tls_refuses_a_connection_that_is_closed(plain: Plain, client_config: ClientConfig) -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    await plain.start(nothing)
    application = Recorder()
    tcp, _ = await asyncio.get_running_loop().create_connection(lambda: application, HOST, plain.port)
    tcp.close()
    with pytest.raises(ConnectionResetError, match="cannot be upgraded"):
        await start_tls(tcp, application, client_config, server_hostname="localhost")
    await plain.done.wait()


# --- TLS in TLS --------------------------------------------------------------------------------------------------


async def test_tls_in_tls_carries_every_byte(config: ServerConfig, client_config: ClientConfig) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await start_tls_on_streams(writer, config)
        writer.write(await reader.read())
        writer.close()

    server = await aiotls.start_server(echo, HOST, 0, ssl=config)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await aiotls.open_connection(HOST, port, ssl=client_config, server_hostname="localhost")
    outer = writer.transport
    await start_tls_on_streams(writer, client_config, server_hostname="localhost")
    assert isinstance(writer.transport, TLSTransport)
    assert writer.transport is not outer
    sent = bytes(range(256)) * 2000
    writer.write(sent)
    writer.write_eof()
    assert await reader.read() == sent
    await hang_up(writer)
    server.close()
    await server.wait_closed()


async def test_ssl_runs_inside_our_tls(
    config: ServerConfig, client_config: ClientConfig, client_context: ssl.SSLContext
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await start_tls_on_streams(writer, config)
        writer.write(await reader.readexactly(5))
        await reader.read()
        writer.close()

    server = await aiotls.start_server(echo, HOST, 0, ssl=config)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await aiotls.open_connection(HOST, port, ssl=client_config, server_hostname="localhost")
    await writer.start_tls(client_context, server_hostname="localhost")
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    await hang_up(writer)
    server.close()
    await server.wait_closed()
