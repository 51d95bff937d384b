"""Which of the sessions that a client offers is resumed (RFC 8446 §2.2, §4.2.11).

Two questions, and two kinds of answer.  Whether a session *may* be resumed is ours to decide: a ticket that is not
ours, too old, or of another policy, name or protocol, leads to a full handshake and never to an error.  Whether the
client *holds* the session's key is proved by the binder; one that is wrong ends the handshake.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aiotls.config import ServerConfig
from aiotls.crypto.schedule13 import EarlySecret
from aiotls.crypto.suites import SUITES, Suite
from aiotls.errors import DecryptError
from aiotls.handshake.transcript import Transcript
from aiotls.sessions.session import Session
from aiotls.wire.messages import ClientHello
from aiotls.wire.registries import ProtocolVersion, PskKeyExchangeMode

__all__ = ["OfferedSession", "Resumption", "accept_session", "accepts_tickets", "offered_sessions"]

_MOST_IDENTITIES: Final = 4
"""Tickets that we try of one ClientHello: each costs a decryption, and an honest client offers one or two."""


@dataclass(frozen=True, slots=True)
class OfferedSession:
    """A session that the client offers and that may be resumed."""

    identity: int
    """Its place in the client's list."""
    session: Session
    binder: bytes = field(repr=False)
    """The client's proof that it holds the session's key."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A session that is resumed: the client has proved that it holds the key."""

    identity: int
    """Its place in the client's list."""
    session: Session
    early_secret: EarlySecret = field(repr=False)


def accepts_tickets(hello: ClientHello) -> bool:
    """Whether the client could use a ticket: only with a key exchange beside it (RFC 8446 §4.2.9, psk_dhe_ke)."""
    return PskKeyExchangeMode.psk_dhe_ke in (hello.psk_key_exchange_modes or ())


def offered_sessions(hello: ClientHello, protocol: bytes | None, config: ServerConfig) -> list[OfferedSession]:
    """The sessions of this ClientHello that may be resumed, where *protocol* is the one agreed on."""
    offered, keys = hello.pre_shared_key, config.sealing_keys
    if offered is None or keys is None or not accepts_tickets(hello):
        return []
    offers = []
    for number, (ticket, _) in enumerate(offered.identities[:_MOST_IDENTITIES]):
        opened = keys.open(ticket)
        session = None if opened is None else Session.decode(opened)
        if session is not None and _may_be_resumed(session, hello, protocol, config):
            offers.append(OfferedSession(number, session, offered.binders[number]))
    return offers


def _may_be_resumed(session: Session, hello: ClientHello, protocol: bytes | None, config: ServerConfig) -> bool:
    now = config.clock()
    return (
        session.version == ProtocolVersion.TLSv1_3
        and session.cipher_suite in SUITES
        and session.is_alive(now)
        and now - session.created <= config.session_lifetime
        and session.server_name == hello.server_name
        and session.alpn == protocol
        and hmac.compare_digest(session.scope, config.scope)
    )


def accept_session(
    offers: Iterable[OfferedSession], hello: ClientHello, suite: Suite, transcript: Transcript
) -> Resumption | None:
    """The first session whose hash is the cipher suite's, its binder checked; None asks for a full handshake.

    The *transcript* ends before this ClientHello.
    """
    for offer in offers:
        if SUITES[offer.session.cipher_suite].hash is suite.hash:  # RFC 8446 §4.2.11
            early_secret = EarlySecret(suite.hash, offer.session.psk)
            check_binder(offer, early_secret, transcript.digest_with(hello.without_binders()))
            return Resumption(offer.identity, offer.session, early_secret)
    return None


def check_binder(offer: OfferedSession, secret: EarlySecret, transcript_hash: bytes) -> None:
    """The client holds the key, and said what we heard (RFC 8446 §4.2.11.2)."""
    expected = secret.binder_key(b"res binder").finished(transcript_hash)
    if not hmac.compare_digest(offer.binder, expected):
        msg = f"the binder of pre-shared key {offer.identity} does not verify (RFC 8446 §4.2.11.2)"
        raise DecryptError(msg)
