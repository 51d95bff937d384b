"""Servers that are made from protocol factories, with TLS by `wrap_protocol_factory`; their clients use `ssl`."""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from aiohttp import web

from aiotls import ServerConfig
from aiotls.asyncio import Connections, wrap_protocol_factory
from aiotls.testing.ca import LocalCA

HOST = "127.0.0.1"


@pytest.fixture
def http1(config: ServerConfig, ca: LocalCA) -> ServerConfig:
    return ServerConfig(credentials=config.credential_list, alpn=("http/1.1",))


async def hello(request: web.Request) -> web.StreamResponse:
    """What came, what it came over, and of what kind."""
    transport = request.transport
    assert transport is not None
    version = transport.get_extra_info("ssl_object").version()
    body = await request.read()
    return web.Response(text=f"{request.scheme} {version} {len(body)}")


@pytest.fixture
async def session(client_context: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=client_context)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def test_aiohttps_app_runner_serves_https(http1: ServerConfig, session: aiohttp.ClientSession) -> None:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    connections = Connections()
    factory = wrap_protocol_factory(runner.server, http1, connections=connections)
    server = await asyncio.get_running_loop().create_server(factory, HOST, 0)
    url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}/"
    for body in (b"", b"x" * 1_000_000):
        async with session.post(url, data=body) as response:
            assert await response.text() == f"https TLSv1.3 {len(body)}"
    assert connections.counters.handshakes_completed == 1  # and kept alive
    server.close()
    await runner.cleanup()
    await connections.shutdown(20)
    await server.wait_closed()


async def test_aiohttps_low_level_server_streams_a_response(
    http1: ServerConfig, session: aiohttp.ClientSession
) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(bytes(20_000))
        await response.write_eof()
        return response

    aiohttp_server = web.Server(handler)
    server = await asyncio.get_running_loop().create_server(wrap_protocol_factory(aiohttp_server, http1), HOST, 0)
    async with session.get(f"https://{HOST}:{server.sockets[0].getsockname()[1]}/") as response:
        assert len(await response.read()) == 2_000_000
    server.close()
    await aiohttp_server.shutdown(1)
    await server.wait_closed()


async def test_websockets_server_speaks_over_our_tls(config: ServerConfig, client_context: ssl.SSLContext) -> None:
    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    def over_tls(*args: Any, **kwargs: Any) -> Any:
        factory = functools.partial(websockets.asyncio.server.ServerConnection, *args, **kwargs)
        return wrap_protocol_factory(cast("Any", factory), config)()

    async with websockets.asyncio.server.serve(echo, HOST, 0, create_connection=cast("Any", over_tls)) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with websockets.asyncio.client.connect(
            f"wss://localhost:{port}/", ssl=client_context, host=HOST
        ) as client:
            for message in ("text", b"bytes", "x" * 500_000):
                await client.send(message)
                assert await client.recv() == message
