"""Servers: asyncio's `start_server` and `loop.create_server`, and those for UNIX sockets, with our config as ``ssl=``.

All other arguments are asyncio's own and go to it as they are.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from typing import Any

from aiotls.asyncio.connections import Connections
from aiotls.asyncio.options import HalfClosingStreams, Options
from aiotls.asyncio.stream import TLSProtocol
from aiotls.asyncio.tls_server import TLSServer
from aiotls.config import ServerConfig
from aiotls.connection import ServerConnection

__all__ = ["create_server", "create_unix_server", "start_server", "start_unix_server", "wrap_protocol_factory"]

ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Path = str | bytes | PathLike[str]


def wrap_protocol_factory(
    protocol_factory: ProtocolFactory,
    config: ServerConfig,
    *,
    connections: Connections | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
) -> Callable[[], TLSProtocol]:
    """A protocol factory that puts TLS under the protocols of *protocol_factory*.

    Any server that is made from a protocol factory becomes a TLS server by it::

        await loop.create_server(aiotls.asyncio.wrap_protocol_factory(factory, config), "127.0.0.1", 8443)

    For aiohttp *protocol_factory* is the ``server`` of an `AppRunner` that is set up, or a `web.Server`.  The one of
    `websockets` is not to be had, but its ``serve`` takes the maker of its protocols::

        def over_tls(*args, **kwargs):
            return wrap_protocol_factory(functools.partial(ServerConnection, *args, **kwargs), config)()

        async with websockets.asyncio.server.serve(handler, "127.0.0.1", 8443, create_connection=over_tls):
            ...

    The options are those of `create_server`; *connections* limits and counts, and can shut down, the connections of all
    servers that share it.  Raises TypeError and LocalError as `create_server` does.
    """
    _check_config(config)
    options = Options.of(ssl_handshake_timeout, ssl_shutdown_timeout, allow_truncation=allow_truncation)

    def tls_protocol() -> TLSProtocol:
        loop = asyncio.get_running_loop()
        return TLSProtocol(loop, ServerConnection(config), protocol_factory, options, connections=connections)

    return tls_protocol


async def create_server(
    protocol_factory: ProtocolFactory,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    ssl: ServerConfig,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
    max_connections: int | None = None,
    max_handshakes: int | None = None,
    start_serving: bool = True,
    **options: Any,  # noqa: ANN401 - those that loop.create_server has in later versions of Python
) -> TLSServer:
    """`loop.create_server` with TLS: a server whose protocols get a TLS transport.

    ``ssl`` is a ServerConfig.  ``ssl_handshake_timeout`` is in seconds (60 by default) and for the whole handshake,
    however slowly a client sends.  `close` of a transport sends close_notify and never waits for the peer's;
    ``ssl_shutdown_timeout`` is how many seconds (30 by default) the peer has to take what was written before it.

    Where the TCP stream ends without close_notify, somebody may have cut it off: the protocol's `connection_lost` and
    whoever reads get a TruncationError.  With ``allow_truncation`` that counts as the peer's end, and
    `eof_received` is called.  It is for protocols whose messages tell their own length, as HTTP's do, and for peers
    that never send close_notify.

    ``max_connections`` limits how many connections are open, and ``max_handshakes`` how many of them have a handshake
    in progress; None, the default, is no limit.  What comes beyond them is aborted and counted.

    A handshake that fails is reported once to the loop's exception handler, and the protocol of that connection is
    never made.  Raises TypeError for another kind of ``ssl``, LocalError for a timeout that is not positive or a limit
    below 1, and what asyncio raises for the rest.
    """
    connections = Connections(max_connections=max_connections, max_handshakes=max_handshakes)
    factory = wrap_protocol_factory(
        protocol_factory,
        ssl,
        connections=connections,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        allow_truncation=allow_truncation,
    )
    options |= {"host": host, "port": port, "family": family, "sock": sock}  # asyncio checks them
    server = await asyncio.get_running_loop().create_server(
        factory,
        flags=flags,
        backlog=backlog,
        reuse_address=reuse_address,
        reuse_port=reuse_port,
        start_serving=start_serving,
        **options,
    )
    return TLSServer(server, connections)


async def create_unix_server(
    protocol_factory: ProtocolFactory,
    path: Path | None = None,
    *,
    ssl: ServerConfig,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
    max_connections: int | None = None,
    max_handshakes: int | None = None,
    **options: Any,  # noqa: ANN401 - those of loop.create_unix_server
) -> TLSServer:
    """`loop.create_unix_server` with TLS; all that both have is as for `create_server`."""
    connections = Connections(max_connections=max_connections, max_handshakes=max_handshakes)
    factory = wrap_protocol_factory(
        protocol_factory,
        ssl,
        connections=connections,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        allow_truncation=allow_truncation,
    )
    arguments: dict[str, Any] = {"path": path, **options}
    server = await asyncio.get_running_loop().create_unix_server(factory, **arguments)
    return TLSServer(server, connections)


async def start_server(
    client_connected_cb: ClientConnected,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    ssl: ServerConfig,
    limit: int = 1 << 16,
    **options: Any,  # noqa: ANN401 - those of create_server
) -> TLSServer:
    """`asyncio.start_server` with TLS: *client_connected_cb* gets a StreamReader and a StreamWriter.

    ``writer.get_extra_info("tls")`` is the `Negotiated` of the connection.  ``limit`` is in bytes, as asyncio's; the
    other options are those of `create_server`.
    """
    return await create_server(_streams(client_connected_cb, limit), host, port, ssl=ssl, **options)


async def start_unix_server(
    client_connected_cb: ClientConnected,
    path: Path | None = None,
    *,
    ssl: ServerConfig,
    limit: int = 1 << 16,
    **options: Any,  # noqa: ANN401 - those of create_unix_server
) -> TLSServer:
    """`asyncio.start_unix_server` with TLS; the options are those of `create_unix_server`."""
    return await create_unix_server(_streams(client_connected_cb, limit), path, ssl=ssl, **options)


def _streams(client_connected_cb: ClientConnected, limit: int) -> ProtocolFactory:
    loop = asyncio.get_running_loop()

    def stream_protocol() -> HalfClosingStreams:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        return HalfClosingStreams(reader, client_connected_cb, loop=loop)

    return stream_protocol


def _check_config(ssl: object) -> None:
    if isinstance(ssl, ServerConfig):
        return
    kind = f"{type(ssl).__module__}.{type(ssl).__qualname__}"
    msg = (
        f"ssl= takes an aiotls.ServerConfig here, and not a {kind}; "
        "make one by aiotls.ServerConfig(credentials=aiotls.Credential.from_files('cert.pem', 'key.pem'))"
    )
    raise TypeError(msg)
