"""What clients and servers have in common: their time limits, and streams that can close one way."""

import asyncio
from typing import Final

from aiotls.errors import LocalError

__all__ = ["HANDSHAKE_TIMEOUT", "SHUTDOWN_TIMEOUT", "HalfClosingStreams", "positive"]

HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds for a handshake; asyncio's default too."""
SHUTDOWN_TIMEOUT: Final = 30.0
"""Seconds for the peer's close_notify in asyncio, which we do not wait for."""


def positive(name: str, seconds: float | None, default: float) -> float:
    """The time limit; LocalError for one that is not positive."""
    if seconds is None:
        return default
    if seconds <= 0:
        msg = f"{name} must be positive, and is {seconds}"
        raise LocalError(msg)
    return seconds


class HalfClosingStreams(asyncio.StreamReaderProtocol):
    """asyncio's streams, which close a TLS connection when the peer ends its side; TLS 1.3 need not."""

    def eof_received(self) -> bool:
        """Tell the reader, and keep our own side open (RFC 8446 §6.1)."""
        super().eof_received()
        return True
