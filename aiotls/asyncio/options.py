"""What clients, servers and upgrades have in common: their options, and streams that can close one way."""

import asyncio
from dataclasses import dataclass
from typing import Final

from aiotls.errors import LocalError

__all__ = ["HANDSHAKE_TIMEOUT", "SHUTDOWN_TIMEOUT", "HalfClosingStreams", "Options", "positive"]

HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds for a handshake; asyncio's default too."""
SHUTDOWN_TIMEOUT: Final = 30.0
"""Seconds in which a closed connection must be rid of what was written; asyncio's default too."""


def positive(name: str, seconds: float | None, default: float) -> float:
    """The time limit; LocalError for one that is not positive."""
    if seconds is None:
        return default
    if seconds <= 0:
        msg = f"{name} must be positive, and is {seconds}"
        raise LocalError(msg)
    return seconds


@dataclass(frozen=True, slots=True)
class Options:
    """How a connection behaves, beyond what its config says of TLS."""

    handshake_timeout: float = HANDSHAKE_TIMEOUT
    """Seconds for the whole handshake: nothing that the peer sends makes them more."""
    shutdown_timeout: float = SHUTDOWN_TIMEOUT
    """Seconds in which a peer must take what was written before `close`; then the connection is aborted."""
    allow_truncation: bool = False
    """Whether the end of the TCP stream without close_notify counts as the peer's end, and not as an error."""

    @classmethod
    def of(
        cls,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        *,
        allow_truncation: bool,
    ) -> "Options":
        """Those that a caller gives under asyncio's names; LocalError for a time limit that is not positive."""
        handshake = positive("ssl_handshake_timeout", ssl_handshake_timeout, HANDSHAKE_TIMEOUT)
        shutdown = positive("ssl_shutdown_timeout", ssl_shutdown_timeout, SHUTDOWN_TIMEOUT)
        return cls(handshake, shutdown, allow_truncation)


class HalfClosingStreams(asyncio.StreamReaderProtocol):
    """asyncio's streams, which close a TLS connection when the peer ends its side; TLS 1.3 need not."""

    def eof_received(self) -> bool:
        """Tell the reader, and keep our own side open (RFC 8446 §6.1)."""
        super().eof_received()
        return True
