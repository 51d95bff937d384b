"""Servers: trio's listeners and `trio.serve_tcp`, with our config."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from aiotls.config import ServerConfig
from aiotls.pump import HANDSHAKE_TIMEOUT
from aiotls.trio.stream import TLSStream

__all__ = ["TLSListener", "serve_tls"]

_log = logging.getLogger("aiotls.trio")


class TLSListener(trio.abc.Listener[TLSStream]):
    """Makes each connection that *transport_listener* accepts a TLSStream.

    The handshake is left to the task that serves the connection, so that a slow client holds up nobody else; once begun
    it may take *handshake_timeout* seconds, or for ever if that is None.
    """

    def __init__(
        self,
        transport_listener: trio.abc.Listener[Any],
        config: ServerConfig,
        *,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    ) -> None:
        self.transport_listener = transport_listener
        """The listener below."""
        self._config = config
        self._handshake_timeout = handshake_timeout

    async def accept(self) -> TLSStream:
        """The next connection; its handshake has not begun."""
        stream = await self.transport_listener.accept()
        return TLSStream(stream, self._config, handshake_timeout=self._handshake_timeout)

    async def aclose(self) -> None:
        """Close the listener below."""
        await self.transport_listener.aclose()


async def serve_tls(
    handler: Callable[[TLSStream], Awaitable[object]],
    port: int,
    config: ServerConfig,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[TLSListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`trio.serve_tcp` with TLS: *handler* gets a TLSStream whose handshake is complete.

    A handshake that fails is logged, in one line to the logger ``aiotls.trio``, and its connection closed; it is
    strangers who bring that about, and so it does not end the server.  The other arguments are those of trio;
    ``task_status.started`` is given the listeners.
    """
    if not isinstance(config, ServerConfig):
        raise TypeError(f"config must be an aiotls.ServerConfig, and not a {type(config).__qualname__}")

    async def handle(stream: TLSStream) -> None:
        peer = _peer_name(stream)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            _log.warning("TLS handshake with %s failed: %s", peer, error.__cause__ or error)
            await stream.aclose()
        else:
            await handler(stream)

    listeners = [
        TLSListener(listener, config, handshake_timeout=handshake_timeout)
        for listener in await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    ]
    await trio.serve_listeners(handle, listeners, handler_nursery=handler_nursery, task_status=task_status)


def _peer_name(stream: TLSStream) -> object:
    transport = stream.transport_stream
    if isinstance(transport, trio.SocketStream):
        try:
            return transport.socket.getpeername()
        except OSError:
            pass
    return "a peer that is gone"
