"""TLS over UNIX sockets, and over sockets that the program has opened itself."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

import aiotls
from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.asyncio import (
    create_unix_connection,
    create_unix_server,
    open_unix_connection,
    start_unix_server,
)
from aiotls.errors import LocalError
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import Recorder


@pytest.fixture(scope="session")
def client_config(ca: LocalCA) -> ClientConfig:
    return ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()
    await writer.wait_closed()


async def test_streams_over_a_unix_socket_carry_data_and_half_close(
    config: ServerConfig, client_config: ClientConfig, tmp_path: Path
) -> None:
    server = await start_unix_server(echo, tmp_path / "socket", ssl=config)
    reader, writer = await open_unix_connection(
        tmp_path / "socket", ssl=client_config, server_hostname="localhost", limit=1000
    )
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()
    await server.shutdown(20)
    assert server.counters.handshakes_completed == 1


async def test_unix_server_is_understood_by_ssl(
    config: ServerConfig, client_context: ssl.SSLContext, tmp_path: Path
) -> None:
    application = Recorder()
    server = await create_unix_server(lambda: application, str(tmp_path / "socket"), ssl=config, backlog=5)
    _, writer = await asyncio.open_unix_connection(tmp_path / "socket", ssl=client_context, server_hostname="localhost")
    writer.write(b"hello")
    await application.received.wait()
    writer.close()
    await writer.wait_closed()
    await server.shutdown(20)


async def test_connections_over_sockets_of_the_program(config: ServerConfig, client_config: ClientConfig) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = await aiotls.start_server(echo, sock=listening, ssl=config)
    ours = socket.create_connection(listening.getsockname())
    ours.setblocking(False)  # noqa: FBT003 - socket's signature
    transport, application = await aiotls.create_connection(
        Recorder, sock=ours, ssl=client_config, server_hostname="localhost"
    )
    transport.write(b"hello")
    transport.write_eof()
    await application.lost.wait()
    assert application.data == b"hello"
    await server.shutdown(20)


async def test_unix_connection_over_a_socket_of_the_program(
    config: ServerConfig, client_config: ClientConfig, tmp_path: Path
) -> None:
    server = await start_unix_server(echo, tmp_path / "socket", ssl=config)
    ours = socket.socket(socket.AF_UNIX)
    ours.connect(str(tmp_path / "socket"))
    ours.setblocking(False)  # noqa: FBT003 - socket's signature
    transport, application = await create_unix_connection(
        Recorder, sock=ours, ssl=client_config, server_hostname="localhost"
    )
    transport.write_eof()
    await application.lost.wait()
    await server.shutdown(20)


async def test_unix_connection_needs_a_name_to_verify(client_config: ClientConfig, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="server_hostname must be given"):
        await create_unix_connection(Recorder, tmp_path / "socket", ssl=client_config)


async def test_servers_share_a_port_where_it_is_reused(config: ServerConfig, client_config: ClientConfig) -> None:
    first = await aiotls.start_server(echo, "127.0.0.1", 0, ssl=config, reuse_port=True, family=socket.AF_INET)
    port = first.sockets[0].getsockname()[1]
    second = await aiotls.start_server(echo, "127.0.0.1", port, ssl=config, reuse_port=True, start_serving=False)
    await second.start_serving()
    for server in (first, second):
        await server.shutdown(20)
