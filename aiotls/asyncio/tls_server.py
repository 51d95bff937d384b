"""What `create_server` returns: asyncio's own server, and with it the connections that it has accepted."""

import asyncio
import socket
from typing import final

from aiotls.asyncio.connections import ConnectionCounters, Connections

__all__ = ["TLSServer"]


@final
class TLSServer(asyncio.AbstractServer):
    """A server with the interface of asyncio.Server, which can also be shut down gracefully, and tells what it did.

    `wait_closed` is the one of the running Python: up to 3.11 it returns at once when the server is closed, and since
    3.12 only when all connections have ended.  `shutdown` waits for them on each.
    """

    def __init__(self, server: asyncio.Server, connections: Connections) -> None:
        """*server* accepts, *connections* are what it has accepted."""
        self._server = server
        self._connections = connections

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets on which it listens; none after `close`."""
        return tuple(self._server.sockets)

    @property
    def connections(self) -> Connections:
        """The connections that are open."""
        return self._connections

    @property
    def counters(self) -> ConnectionCounters:
        """What has happened on its connections so far."""
        return self._connections.counters

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it serves on."""
        return self._server.get_loop()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._server.is_serving()

    async def start_serving(self) -> None:
        """Accept connections; it does nothing when they are accepted already."""
        await self._server.start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until cancelled; then the server is closed."""
        await self._server.serve_forever()

    def close(self) -> None:
        """Accept no more connections; those that are open stay."""
        self._server.close()

    def close_clients(self) -> None:
        """Close all connections, each with close_notify."""
        self._connections.end_all()

    def abort_clients(self) -> None:
        """Abort all connections."""
        self._connections.abort_all()

    async def wait_closed(self) -> None:
        """Wait until the server is closed, as asyncio's does on the running Python."""
        await self._server.wait_closed()

    async def shutdown(self, grace: float, *, ssl_shutdown_timeout: float | None = None) -> None:
        """Stop accepting, let what is under way end for *grace* seconds, and close what is left.

        See `Connections.shutdown`, which does the latter.
        """
        self.close()
        await self._connections.shutdown(grace, ssl_shutdown_timeout=ssl_shutdown_timeout)
