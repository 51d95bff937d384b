"""TLS on a connection that is open already: STARTTLS, a proxy's CONNECT, or TLS in TLS.

What has been read from the connection but not used when the upgrade begins is TLS, and goes to the handshake.  Nothing
that came in the clear can so be taken for what came protected afterwards, which is how commands were once injected into
mail (RFC 3207 §4.2, RFC 9325 §3.2): a client that sends plaintext after its STARTTLS fails the handshake.
"""

import asyncio
from typing import Any, cast

from aiotls.asyncio.client import client_config, server_name, unclaimed
from aiotls.asyncio.options import Options
from aiotls.asyncio.stream import TLSProtocol
from aiotls.asyncio.transport import TLSTransport
from aiotls.config import ClientConfig, ServerConfig
from aiotls.connection import ClientConnection, Connection, ServerConnection

__all__ = ["start_tls", "start_tls_on_streams"]


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    config: ServerConfig | ClientConfig,
    *,
    server_side: bool | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
    received: bytes = b"",
) -> TLSTransport:
    """`loop.start_tls` with our config: the transport that *protocol* has to use from now on.

    The role follows from the kind of *config*; *server_side* may be given as for asyncio, and must agree.
    *server_hostname* is needed where a client verifies the server.  *received* are bytes that the protocol has read
    from *transport* and left for TLS; what a StreamReader holds need not be given.

    ``connection_made`` is not called again, and data comes only after this has returned.  *transport* may be TLS
    itself.  Raises TLSError when the handshake fails, ConnectionResetError when the connection is closed already; the
    connection is then lost, and *protocol* told so.  Raises TypeError for another kind of config.
    """
    if server_side is not None and server_side is not isinstance(config, ServerConfig):
        msg = f"server_side={server_side} contradicts the config, which is a {type(config).__name__}"
        raise TypeError(msg)
    options = Options.of(ssl_handshake_timeout, ssl_shutdown_timeout, allow_truncation=allow_truncation)
    engine = _engine(config, server_hostname)
    if transport.is_closing():
        msg = "the connection is closed, and cannot be upgraded to TLS"
        raise ConnectionResetError(msg)
    loop = asyncio.get_running_loop()
    established: asyncio.Future[TLSTransport] = loop.create_future()
    tls = TLSProtocol(loop, engine, None, options, established=established)
    tls.upgrade(transport, protocol, received + _unread(protocol))
    try:
        upgraded = await established
    except BaseException:
        if unclaimed(established):
            transport.abort()
        raise
    loop.call_soon(tls.release)
    return upgraded


async def start_tls_on_streams(
    writer: asyncio.StreamWriter,
    config: ServerConfig | ClientConfig,
    *,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
) -> None:
    """`StreamWriter.start_tls` with our config: *writer* and its reader go on over TLS.

    What is written already goes out first, and as it was.  The arguments are those of `start_tls`.
    """
    await writer.drain()
    streams = cast("Any", writer)  # a StreamWriter gives its parts to asyncio only
    protocol = streams._protocol  # noqa: SLF001
    transport = await start_tls(
        streams.transport,
        protocol,
        config,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        allow_truncation=allow_truncation,
    )
    # Not so the protocol's `_over_ssl`, which would end the connection when the peer ends its side.
    for part in (streams, protocol, streams._reader):  # noqa: SLF001
        part._transport = transport  # noqa: SLF001


def _engine(config: ServerConfig | ClientConfig, server_hostname: str | None) -> Connection:
    if isinstance(config, ServerConfig):
        return ServerConnection(config)
    config = client_config(config)
    return ClientConnection(config, server_name(config, server_hostname))


def _unread(protocol: asyncio.BaseProtocol) -> bytes:
    """Take what the protocol's StreamReader has, if it has one."""
    reader = getattr(protocol, "_stream_reader", None)
    if not isinstance(reader, asyncio.StreamReader):
        return b""
    buffer = cast("Any", reader)._buffer  # noqa: SLF001
    unread = bytes(buffer)
    buffer.clear()
    return unread
