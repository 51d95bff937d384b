"""Servers: `asyncio.start_server` and `loop.create_server`, with our config as ``ssl=``.

All other arguments are asyncio's own and go to it as they are.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiotls.asyncio.options import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, HalfClosingStreams, positive
from aiotls.asyncio.stream import TLSProtocol
from aiotls.config import ServerConfig
from aiotls.connection import ServerConnection

__all__ = ["create_server", "start_server"]

ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
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
    start_serving: bool = True,
) -> asyncio.Server:
    """`loop.create_server` with TLS: a server whose protocols get a TLS transport.

    ``ssl`` is a ServerConfig; ``ssl_handshake_timeout`` is in seconds (60 by default).  ``ssl_shutdown_timeout`` is
    taken for the signature's sake: `close` sends close_notify and never waits for the peer's.  A handshake that fails
    is reported once to the loop's exception handler, and the protocol of that connection is never made.  Raises
    TypeError for another kind of ``ssl``, LocalError for a timeout that is not positive, and what asyncio raises for
    the rest.
    """
    _check_config(ssl)
    timeout = positive("ssl_handshake_timeout", ssl_handshake_timeout, HANDSHAKE_TIMEOUT)
    positive("ssl_shutdown_timeout", ssl_shutdown_timeout, SHUTDOWN_TIMEOUT)
    loop = asyncio.get_running_loop()

    def tls_protocol() -> TLSProtocol:
        return TLSProtocol(loop, ServerConnection(ssl), protocol_factory, handshake_timeout=timeout)

    options: dict[str, Any] = {"host": host, "port": port, "family": family, "sock": sock}  # asyncio checks them
    return await loop.create_server(
        tls_protocol,
        flags=flags,
        backlog=backlog,
        reuse_address=reuse_address,
        reuse_port=reuse_port,
        start_serving=start_serving,
        **options,
    )


async def start_server(
    client_connected_cb: ClientConnected,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    ssl: ServerConfig,
    limit: int = 1 << 16,
    **options: Any,  # noqa: ANN401 - those of create_server
) -> asyncio.Server:
    """`asyncio.start_server` with TLS: *client_connected_cb* gets a StreamReader and a StreamWriter.

    ``writer.get_extra_info("tls")`` is the `Negotiated` of the connection.  ``limit`` is in bytes, as asyncio's; the
    other options are those of `create_server`.
    """
    _check_config(ssl)
    loop = asyncio.get_running_loop()

    def stream_protocol() -> asyncio.BaseProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        return HalfClosingStreams(reader, client_connected_cb, loop=loop)

    return await create_server(stream_protocol, host, port, ssl=ssl, **options)


def _check_config(ssl: object) -> None:
    if isinstance(ssl, ServerConfig):
        return
    kind = f"{type(ssl).__module__}.{type(ssl).__qualname__}"
    msg = (
        f"ssl= takes an aiotls.ServerConfig here, and not a {kind}; "
        "make one by aiotls.ServerConfig(credentials=aiotls.Credential.from_files('cert.pem', 'key.pem'))"
    )
    raise TypeError(msg)
