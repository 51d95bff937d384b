"""TLS for asyncio: the standard library's signatures, where ``ssl=`` takes our config."""

from aiotls.asyncio.client import create_connection, open_connection
from aiotls.asyncio.server import create_server, start_server

__all__ = ["create_connection", "create_server", "open_connection", "start_server"]
