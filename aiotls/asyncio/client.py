"""Clients: `asyncio.open_connection` and `loop.create_connection`, with our config as ``ssl=``.

All other arguments are asyncio's own and go to it as they are.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from aiotls.asyncio.options import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, HalfClosingStreams, positive
from aiotls.asyncio.stream import TLSProtocol, TLSTransport
from aiotls.config import ClientConfig
from aiotls.connection import ClientConnection
from aiotls.errors import LocalError

__all__ = ["create_connection", "open_connection"]

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def create_connection(
    protocol_factory: Callable[[], P],
    host: str | None = None,
    port: int | None = None,
    *,
    ssl: ClientConfig | bool = True,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **options: Any,  # noqa: ANN401 - those of loop.create_connection
) -> tuple[TLSTransport, P]:
    """`loop.create_connection` with TLS: the transport, and the protocol that it was given after the handshake.

    ``ssl`` is a ClientConfig, or True for one that trusts the system's roots.  ``server_hostname`` is what the server's
    certificate must be for, *host* by default; with ``sock=`` it has to be given.  ``ssl_handshake_timeout`` is in
    seconds (60 by default); ``ssl_shutdown_timeout`` is taken for the signature's sake: `close` sends close_notify and
    never waits for the peer's.  Raises TLSError when the handshake fails, TypeError for another kind of ``ssl``, and
    what asyncio raises for the rest.  In TLS 1.3 a client is through before the server has looked at its certificate:
    that it was refused comes as an AlertReceived when it reads.
    """
    config = _config(ssl)
    timeout = positive("ssl_handshake_timeout", ssl_handshake_timeout, HANDSHAKE_TIMEOUT)
    positive("ssl_shutdown_timeout", ssl_shutdown_timeout, SHUTDOWN_TIMEOUT)
    name = host if server_hostname is None else server_hostname
    if not name and config.verification is not None:
        msg = "server_hostname must be given where there is no host: the server's certificate must be for some name"
        raise LocalError(msg)
    loop = asyncio.get_running_loop()
    established: asyncio.Future[TLSTransport] = loop.create_future()

    engine = ClientConnection(config, name or None)  # a name that cannot be ends here, before there is a socket

    def tls_protocol() -> TLSProtocol:
        return TLSProtocol(loop, engine, protocol_factory, handshake_timeout=timeout, established=established)

    address: dict[str, Any] = {"host": host, "port": port}  # asyncio checks them
    tcp, _ = await loop.create_connection(tls_protocol, **address, **options)
    try:
        transport = await established
    except BaseException:
        if not established.done() or established.cancelled():
            tcp.abort()
        raise
    return transport, cast("P", transport.get_protocol())


async def open_connection(
    host: str | None = None,
    port: int | None = None,
    *,
    ssl: ClientConfig | bool = True,
    limit: int = 1 << 16,
    **options: Any,  # noqa: ANN401 - those of create_connection
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`asyncio.open_connection` with TLS: a StreamReader and a StreamWriter, once the handshake is complete.

    ``writer.get_extra_info("tls")`` is the `Negotiated` of the connection.  ``limit`` is in bytes, as asyncio's; the
    other options are those of `create_connection`.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)

    def stream_protocol() -> HalfClosingStreams:
        return HalfClosingStreams(reader, loop=loop)

    transport, protocol = await create_connection(stream_protocol, host, port, ssl=ssl, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@functools.cache
def _default_config() -> ClientConfig:
    return ClientConfig()


def _config(ssl: object) -> ClientConfig:
    if ssl is True:
        return _default_config()
    if isinstance(ssl, ClientConfig):
        return ssl
    kind = f"{type(ssl).__module__}.{type(ssl).__qualname__}"
    msg = f"ssl= takes an aiotls.ClientConfig here, or True for one with the system's roots, and not a {kind}"
    raise TypeError(msg)
