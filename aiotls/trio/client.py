"""Clients: `trio.open_tcp_stream` with TLS."""

import functools
from typing import Any

import trio

from aiotls.config import ClientConfig
from aiotls.errors import TLSError
from aiotls.pump import HANDSHAKE_TIMEOUT
from aiotls.trio.stream import TLSStream

__all__ = ["open_tls_stream"]


async def open_tls_stream(
    host: str,
    port: int,
    *,
    config: ClientConfig | None = None,
    server_hostname: str | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    **options: Any,  # noqa: ANN401 - those of trio.open_tcp_stream
) -> TLSStream:
    """Connect, and complete the handshake.

    Without a config the system's roots are trusted.  *server_hostname* is what the server's certificate must be for,
    *host* by default.  *handshake_timeout* is in seconds, or None for ever.  Raises the TLSError that a handshake
    failed with, TypeError for another kind of config, and what `trio.open_tcp_stream` raises.
    """
    config = _default_config() if config is None else config
    if not isinstance(config, ClientConfig):
        raise TypeError(f"config must be an aiotls.ClientConfig, and not a {type(config).__qualname__}")
    tcp = await trio.open_tcp_stream(host, port, **options)
    try:
        name = host if server_hostname is None else server_hostname
        stream = TLSStream(tcp, config, server_hostname=name, handshake_timeout=handshake_timeout)
        await stream.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(tcp)
        if isinstance(error, trio.BrokenResourceError) and isinstance(error.__cause__, TLSError):
            raise error.__cause__ from None
        raise
    return stream


@functools.cache
def _default_config() -> ClientConfig:
    return ClientConfig()
