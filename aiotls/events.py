"""What the engine tells its owner, in the order in which it happened."""

from dataclasses import dataclass

from aiotls.negotiated import Negotiated

__all__ = ["ApplicationData", "Event", "HandshakeComplete", "KeyUpdated", "Negotiated", "PeerClosed"]


@dataclass(frozen=True, slots=True)
class HandshakeComplete:
    """The handshake is done: the peer has proved what it had to, and data may be sent."""

    negotiated: Negotiated


@dataclass(frozen=True, slots=True)
class ApplicationData:
    """Bytes from the peer's application, authenticated: the content of one record, and never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class KeyUpdated:
    """The peer changed its sending key (RFC 8446 §4.6.3)."""


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer's close_notify: it sends no more, and what came is all that it sent (RFC 8446 §6.1)."""


Event = HandshakeComplete | ApplicationData | KeyUpdated | PeerClosed
