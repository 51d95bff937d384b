"""After the handshake: tickets (RFC 8446 §4.6.1) and KeyUpdate (§4.6.3).

A server gets no other message than KeyUpdate once it has the client's Finished: tickets run the other way, and it asks
for no certificate afterwards.  A client gets both, and does not offer to be asked for a certificate (§4.6.2).

What a ticket lets the client do goes back to the full handshake and ends with the session's lifetime, counted from
there.  A resumed connection gives a new ticket, but no more time; so now and then a certificate has to be shown again
(RFC 8446 §4.6.1 recommends such a limit).
"""

from collections.abc import Sequence
from typing import Final

from aiotls.config import ServerConfig
from aiotls.crypto.schedule13 import ResumptionSecret
from aiotls.errors import PeerFlooding
from aiotls.handshake.effects import expect
from aiotls.handshake.outcome import Outcome
from aiotls.sessions.session import Session
from aiotls.wire.messages import KeyUpdate, NewSessionTicket
from aiotls.wire.registries import KeyUpdateRequest

__all__ = ["FROM_CLIENT", "FROM_SERVER", "PostHandshake", "key_update", "new_session_tickets"]

_LIMIT: Final = 32
"""Messages in a row, without application data between them, that we take: a KeyUpdate costs us a key, a ticket memory.
As in BoringSSL."""


def key_update(*, request_peer: bool) -> bytes:
    """The message that precedes our new sending key."""
    request = KeyUpdateRequest.update_requested if request_peer else KeyUpdateRequest.update_not_requested
    return KeyUpdate(request).encode()


def new_session_tickets(outcome: Outcome, config: ServerConfig) -> bytes:
    """The NewSessionTicket messages that the client is to get, one after the other; empty when there are none."""
    keys, now = config.sealing_keys, config.clock()
    created = int(now) if outcome.session_created is None else outcome.session_created
    lifetime = int(config.session_lifetime)
    left = int(created + lifetime - now)
    if keys is None or not outcome.resumption_secret or not 0 < left <= lifetime:
        return b""
    secret = ResumptionSecret(outcome.suite.hash, outcome.resumption_secret)
    negotiated = outcome.negotiated
    alpn = None if negotiated.alpn is None else negotiated.alpn.encode()
    messages = b""
    for number in range(1 if negotiated.resumed else config.tickets):
        nonce = bytes((number,))
        age_add = int.from_bytes(config.random(4), "big")
        session = Session(
            version=negotiated.version,
            cipher_suite=outcome.suite.code,
            psk=secret.psk(nonce),
            created=created,
            lifetime=lifetime,
            ticket_age_add=age_add,
            server_name=negotiated.server_name,
            alpn=alpn,
            scope=config.scope,
        )
        ticket = keys.seal(session.encode(config.session_size))
        messages += NewSessionTicket(left, age_add, nonce, ticket).encode()
    return messages


FROM_CLIENT: Final = (KeyUpdate,)
"""What a client may send after the handshake."""
FROM_SERVER: Final = (KeyUpdate, NewSessionTicket)
"""What a server may send after the handshake."""


class PostHandshake:
    """Reads what the peer sends after the handshake, and bounds it."""

    __slots__ = ("_in_a_row", "_kinds")

    def __init__(self, kinds: Sequence[type[KeyUpdate] | type[NewSessionTicket]]) -> None:
        """*kinds* are the messages that the peer's role may send: FROM_CLIENT or FROM_SERVER."""
        self._kinds = kinds
        self._in_a_row = 0

    def receive(self, raw: bytes) -> int | None:
        """What a KeyUpdate requests, or None for another message; raises UnexpectedMessage if it has no place here."""
        message: KeyUpdate | NewSessionTicket = expect(*self._kinds).parse(raw)
        self._in_a_row += 1
        if self._in_a_row > _LIMIT:
            msg = f"more than {_LIMIT} messages in a row after the handshake, without data between them"
            raise PeerFlooding(msg)
        return message.request_update if isinstance(message, KeyUpdate) else None

    def reset(self) -> None:
        """Application data came: the peer does more than keep us busy."""
        self._in_a_row = 0
