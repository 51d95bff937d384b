"""TLS for asyncio: the standard library's signatures, where ``ssl=`` takes our config."""

from aiotls.asyncio.server import create_server, start_server

__all__ = ["create_server", "start_server"]
