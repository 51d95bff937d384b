"""TLS for asyncio: the standard library's signatures, where ``ssl=`` takes our config."""

from aiotls.asyncio.client import (
    create_connection,
    create_unix_connection,
    open_connection,
    open_unix_connection,
)
from aiotls.asyncio.connections import ConnectionCounters, Connections
from aiotls.asyncio.server import (
    create_server,
    create_unix_server,
    start_server,
    start_unix_server,
    wrap_protocol_factory,
)
from aiotls.asyncio.tls_server import TLSServer
from aiotls.asyncio.transport import TLSTransport
from aiotls.asyncio.upgrade import start_tls, start_tls_on_streams

__all__ = [
    "ConnectionCounters",
    "Connections",
    "TLSServer",
    "TLSTransport",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_tls",
    "start_tls_on_streams",
    "start_unix_server",
    "wrap_protocol_factory",
]
