"""Servers: `asyncio.start_server` and `loop.create_server`, with our config as ``ssl=``.

All other arguments are asyncio's own and go to it as they are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiotls.asyncio.stream import TLSProtocol
from aiotls.config import ServerConfig
from aiotls.errors import LocalError

__all__ = ["create_server", "start_server"]

_HANDSHAKE_TIMEOUT = 60.0  # seconds; asyncio's default too

ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: Any = None,  # noqa: ANN401 - asyncio takes a name, None, or a sequence of names
    port: int | None = None,
    *,
    ssl: ServerConfig,
    ssl_handshake_timeout: float | None = None,
    **options: Any,  # noqa: ANN401 - asyncio's own
) -> asyncio.Server:
    """`loop.create_server` with TLS: a server whose protocols get a TLS transport.

    ``ssl`` is a ServerConfig; ``ssl_handshake_timeout`` is in seconds (60 by default).  A handshake that fails is
    reported once to the loop's exception handler, and the protocol of that connection is never made.  Raises
    TypeError for another kind of ``ssl``, LocalError for a timeout that is not positive, and what asyncio raises for
    the rest.
    """
    _check_config(ssl)
    timeout = _HANDSHAKE_TIMEOUT if ssl_handshake_timeout is None else ssl_handshake_timeout
    if timeout <= 0:
        msg = f"ssl_handshake_timeout must be positive, and is {timeout}"
        raise LocalError(msg)
    loop = asyncio.get_running_loop()

    def tls_protocol() -> TLSProtocol:
        return TLSProtocol(loop, ssl, protocol_factory, handshake_timeout=timeout)

    return await loop.create_server(tls_protocol, host, port, **options)


async def start_server(
    client_connected_cb: ClientConnected,
    host: Any = None,  # noqa: ANN401 - asyncio takes a name, None, or a sequence of names
    port: int | None = None,
    *,
    ssl: ServerConfig,
    limit: int = 1 << 16,
    ssl_handshake_timeout: float | None = None,
    **options: Any,  # noqa: ANN401 - asyncio's own
) -> asyncio.Server:
    """`asyncio.start_server` with TLS: *client_connected_cb* gets a StreamReader and a StreamWriter.

    ``writer.get_extra_info("tls")`` is the `Negotiated` of the connection.  ``limit`` is in bytes, as asyncio's; see
    `create_server` for the rest.
    """
    _check_config(ssl)
    loop = asyncio.get_running_loop()

    def stream_protocol() -> asyncio.BaseProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        return _HalfClosingStreams(reader, client_connected_cb, loop=loop)

    return await create_server(
        stream_protocol, host, port, ssl=ssl, ssl_handshake_timeout=ssl_handshake_timeout, **options
    )


class _HalfClosingStreams(asyncio.StreamReaderProtocol):
    """asyncio's streams, which close a TLS connection when the peer ends its side; TLS 1.3 need not."""

    def eof_received(self) -> bool:
        """Tell the reader, and keep our own side open (RFC 8446 §6.1)."""
        super().eof_received()
        return True


def _check_config(ssl: object) -> None:
    if isinstance(ssl, ServerConfig):
        return
    kind = f"{type(ssl).__module__}.{type(ssl).__qualname__}"
    msg = (
        f"ssl= takes an aiotls.ServerConfig here, and not a {kind}; "
        "make one by aiotls.ServerConfig(credentials=aiotls.Credential.from_files('cert.pem', 'key.pem'))"
    )
    raise TypeError(msg)
