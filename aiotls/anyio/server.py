"""Servers: any listener of anyio's, with our config."""

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import AnyByteStream, Listener, SocketAttribute, TaskGroup
from anyio.streams.tls import TLSAttribute

from aiotls.anyio.stream import TLSStream
from aiotls.config import ServerConfig
from aiotls.errors import TLSError
from aiotls.pump import HANDSHAKE_TIMEOUT

__all__ = ["TLSListener"]

_log = logging.getLogger("aiotls.anyio")


class TLSListener(Listener[TLSStream]):
    """Serves each connection of *listener*'s as a TLSStream.

    The handshake runs in the task that serves the connection, so that a slow client holds up nobody else; it may take
    *handshake_timeout* seconds, or for ever if that is None.  What becomes of one that fails is up to
    `handle_handshake_error`.
    """

    def __init__(
        self, listener: Listener[Any], config: ServerConfig, *, handshake_timeout: float | None = HANDSHAKE_TIMEOUT
    ) -> None:
        if not isinstance(config, ServerConfig):
            raise TypeError(f"config must be an aiotls.ServerConfig, and not a {type(config).__qualname__}")
        self.listener = listener
        """The listener below."""
        self._config = config
        self._handshake_timeout = handshake_timeout

    @staticmethod
    async def handle_handshake_error(error: BaseException, stream: AnyByteStream, peer: object = "a peer") -> None:
        """Log the error, in one line to the logger ``aiotls.anyio``, and close *stream*; a subclass may do otherwise.

        *peer* is its address, which a stream that is gone can't tell any more.
        What is not the failure of one connection, such as a cancellation, is raised again.
        """
        about_the_connection = isinstance(error, TLSError | anyio.BrokenResourceError | anyio.ClosedResourceError)
        if about_the_connection:
            _log.warning("TLS handshake with %s failed: %s", peer, error)
        await anyio.aclose_forcefully(stream)
        if not about_the_connection:
            raise error

    async def serve(
        self, handler: Callable[[TLSStream], Awaitable[object]], task_group: TaskGroup | None = None
    ) -> None:
        """Accept connections, and call *handler* with each whose handshake succeeds."""

        @functools.wraps(handler)
        async def handle(transport: AnyByteStream) -> None:
            peer = _peer_name(transport)
            try:
                stream = await TLSStream.wrap(transport, self._config, handshake_timeout=self._handshake_timeout)
            except BaseException as error:  # noqa: BLE001 - it is raised again there, unless it is about one connection
                await self.handle_handshake_error(error, transport, peer)
            else:
                await handler(stream)

        await self.listener.serve(handle, task_group)

    async def aclose(self) -> None:
        """Close the listener below."""
        await self.listener.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the listener below, and `TLSAttribute.standard_compatible`."""
        return {**self.listener.extra_attributes, TLSAttribute.standard_compatible: lambda: True}


def _peer_name(stream: AnyByteStream) -> object:
    try:
        return stream.extra(SocketAttribute.remote_address, "a peer")
    except OSError:
        return "a peer that is gone"
