"""After the handshake: KeyUpdate (RFC 8446 §4.6.3).

A server gets no other message once it has the client's Finished: tickets run the other way, and it asks for no
certificate afterwards.
"""

from typing import Final

from aiotls.errors import PeerFlooding
from aiotls.handshake.effects import expect
from aiotls.wire.messages import KeyUpdate
from aiotls.wire.registries import KeyUpdateRequest

__all__ = ["KeyUpdates", "key_update"]

_LIMIT: Final = 32
"""KeyUpdates in a row, without application data between them, that we take: each costs us a key.  As in BoringSSL."""


def key_update(*, request_peer: bool) -> bytes:
    """The message that precedes our new sending key."""
    request = KeyUpdateRequest.update_requested if request_peer else KeyUpdateRequest.update_not_requested
    return KeyUpdate(request).encode()


class KeyUpdates:
    """Reads the peer's KeyUpdates, and bounds them."""

    __slots__ = ("_in_a_row",)

    def __init__(self) -> None:
        self._in_a_row = 0

    def receive(self, raw: bytes) -> bool:
        """Whether the peer wants one in return; raises UnexpectedMessage for any other message."""
        message = expect(KeyUpdate).parse(raw)
        self._in_a_row += 1
        if self._in_a_row > _LIMIT:
            msg = f"more than {_LIMIT} KeyUpdates in a row"
            raise PeerFlooding(msg)
        return message.request_update == KeyUpdateRequest.update_requested

    def reset(self) -> None:
        """Application data came: the peer does not only change keys."""
        self._in_a_row = 0
