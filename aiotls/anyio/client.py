"""Clients: `anyio.connect_tcp` with TLS."""

import functools
from typing import Any

import anyio

from aiotls.anyio.stream import TLSStream
from aiotls.config import ClientConfig
from aiotls.pump import HANDSHAKE_TIMEOUT

__all__ = ["connect_tls"]


async def connect_tls(
    host: str,
    port: int,
    config: ClientConfig | None = None,
    *,
    server_hostname: str | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    **options: Any,  # noqa: ANN401 - those of anyio.connect_tcp
) -> TLSStream:
    """Connect, and complete the handshake.

    Without a config the system's roots are trusted.  *server_hostname* is what the server's certificate must be for,
    *host* by default.  *handshake_timeout* is in seconds, or None for ever.  Raises the TLSError that a handshake
    failed with, TypeError for another kind of config, and what `anyio.connect_tcp` raises.
    """
    config = _default_config() if config is None else config
    if not isinstance(config, ClientConfig):
        raise TypeError(f"config must be an aiotls.ClientConfig, and not a {type(config).__qualname__}")
    tcp = await anyio.connect_tcp(host, port, **options)
    try:
        name = host if server_hostname is None else server_hostname
        return await TLSStream.wrap(tcp, config, server_hostname=name, handshake_timeout=handshake_timeout)
    except BaseException:
        await anyio.aclose_forcefully(tcp)
        raise


@functools.cache
def _default_config() -> ClientConfig:
    return ClientConfig()
