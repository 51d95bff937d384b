"""The connections of a server: how many there may be, what became of them, and how they end together.

A handshake costs a server much and a stranger little, so their number can be limited apart from that of the
connections.  A connection beyond a limit is aborted before it costs a byte of memory for TLS, and counted; it is not
reported, for under attack a line in the log for each would be an attack of its own.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from aiotls.asyncio.options import SHUTDOWN_TIMEOUT, positive
from aiotls.errors import LocalError

__all__ = ["ConnectionCounters", "Connections"]


@dataclass(slots=True)
class ConnectionCounters:
    """What has happened on the connections of a server since it began; all of it only grows."""

    handshakes_begun: int = 0
    handshakes_completed: int = 0
    handshakes_resumed: int = 0
    """How many of the completed ones resumed an earlier session."""
    handshakes_failed: Counter[str] = field(default_factory=Counter)
    """By the name of the error's class, such as NoCommonVersion, HandshakeTimeout, ConnectionResetError."""
    refused: int = 0
    """Connections beyond a limit, or during a shutdown; no handshake has begun on them."""
    bytes_received: int = 0
    """As they came from TCP, TLS's own among them."""
    bytes_sent: int = 0
    """As they were handed to TCP, TLS's own among them."""


class Member(Protocol):
    """A connection, as it is seen from here."""

    def end(self) -> None:
        """End it: close_notify, or before the handshake is complete user_canceled."""

    def abort(self) -> None:
        """End it now."""


def _limit(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        msg = f"{name} must be at least 1, or None for no limit, and is {value}"
        raise LocalError(msg)
    return value


class Connections:
    """The connections of one server, or of several on the same event loop that share the limits and counters."""

    def __init__(self, *, max_connections: int | None = None, max_handshakes: int | None = None) -> None:
        """*max_connections* limits how many are open, *max_handshakes* how many of them are not through yet.

        None is no limit.  Raises LocalError for less than 1.
        """
        self._max_connections = _limit("max_connections", max_connections)
        self._max_handshakes = _limit("max_handshakes", max_handshakes)
        self._counters = ConnectionCounters()
        self._open: set[Member] = set()
        self._handshaking: set[Member] = set()
        self._shutting_down = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        """How many are open, those among them whose handshake is in progress."""
        return len(self._open)

    @property
    def handshakes_in_progress(self) -> int:
        """How many handshakes are neither complete nor failed."""
        return len(self._handshaking)

    @property
    def counters(self) -> ConnectionCounters:
        """What has happened so far; the object is the same one always, and goes on counting."""
        return self._counters

    # --- Their ends ----------------------------------------------------------------------------------------------

    async def shutdown(self, grace: float, *, ssl_shutdown_timeout: float | None = None) -> None:
        """Let the connections end by themselves for *grace* seconds; then close those that are left.

        These get close_notify after what was written to them.  What has not gone out within *ssl_shutdown_timeout*
        seconds more (30 by default) is lost: the connection is aborted.  No new connection is admitted from the call
        on.  It returns when none is left.
        """
        timeout = positive("ssl_shutdown_timeout", ssl_shutdown_timeout, SHUTDOWN_TIMEOUT)
        self._shutting_down = True
        if await self._ended_within(grace):
            return
        self.end_all()
        if not await self._ended_within(timeout):
            self.abort_all()
            await self._none_open.wait()

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._none_open.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def end_all(self) -> None:
        """Send close_notify on all that are open, and close them."""
        for member in tuple(self._open):
            member.end()

    def abort_all(self) -> None:
        """Abort all that are open."""
        for member in tuple(self._open):
            member.abort()

    # --- Told by the connections ---------------------------------------------------------------------------------

    def admit(self, member: Member) -> bool:
        """Whether a new connection may begin its handshake; if so, it is counted among the others."""
        if (
            self._shutting_down
            or (self._max_connections is not None and len(self._open) >= self._max_connections)
            or (self._max_handshakes is not None and len(self._handshaking) >= self._max_handshakes)
        ):
            self._counters.refused += 1
            return False
        self._counters.handshakes_begun += 1
        self._open.add(member)
        self._handshaking.add(member)
        self._none_open.clear()
        return True

    def completed(self, member: Member, *, resumed: bool) -> None:
        """The connection's handshake is complete."""
        self._handshaking.discard(member)
        self._counters.handshakes_completed += 1
        self._counters.handshakes_resumed += resumed

    def failed(self, member: Member, error: BaseException) -> None:
        """The connection has failed; what comes after its handshake is not counted here."""
        if member in self._handshaking:
            self._handshaking.discard(member)
            self._counters.handshakes_failed[type(error).__name__] += 1

    def ended(self, member: Member) -> None:
        """The connection is gone."""
        self._handshaking.discard(member)
        self._open.discard(member)
        if not self._open:
            self._none_open.set()
