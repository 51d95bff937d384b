"""Ticket keys: a session sealed and given to the client to keep, so that the server keeps nothing (RFC 8446 §4.6.1).

    struct {
        opaque key_name[16];
        opaque nonce[12];
        opaque sealed_session[...];     AES-256-GCM; the key's name is the additional data
    } ticket;

It is the recommendation of RFC 5077 §4 with a modern AEAD.  The nonce is random: one key may seal 2^32 tickets (NIST SP
800-38D §8.3), which in six hours is 198,000 a second, and no process comes near that.

Keys change with time, so that what is recorded today cannot be opened by whoever gets hold of the process tomorrow.
Time is cut into periods; each period has a key of its own, the key of the period before still opens, and one that is
older is gone.

There is no lock.  The keys of a moment are one `_Ring`, which never changes; a thread gets it by a single load of an
attribute and uses it to the end of its call.  Whoever finds the ring out of date replaces it whole.  Two threads may
do so at once: both make a successor, but what counts is the one that `dict.setdefault`, an atomic step, put into the
old ring first, and both go on with that; it does not matter which of them stores it in the attribute last.  A thread
that was stopped for long before it stores a ring that has become old does no harm either: the next call finds it out
of date, and the same successors in it.  Only where two threads read the clock on either side of a period's end, after
a whole period without a call, may one go on with a key that nobody else has; its ticket then opens for nobody, and
costs a full handshake.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiotls.crypto.suites import AEAD, TAG_LENGTH, TICKET_AEAD, TICKET_KEY_LENGTH, InvalidTag
from aiotls.errors import LocalError

__all__ = ["OVERHEAD", "TicketKeys"]

_NAME_LENGTH: Final = 16
_NONCE_LENGTH: Final = 12
_FRONT: Final = _NAME_LENGTH + _NONCE_LENGTH

OVERHEAD: Final = _FRONT + TAG_LENGTH
"""Bytes by which a ticket is longer than what is sealed in it."""

_DEFAULT_PERIOD: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """One key, and the name under which tickets refer to it."""

    name: bytes
    aead: AEAD = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Ring:
    """The keys of one period: the first seals, and all open."""

    keys: tuple[_Key, ...]
    since: float
    """When the period began."""
    successors: dict[float, "_Ring"] = field(default_factory=dict, repr=False)
    """The ring that follows, by its beginning, once somebody made it."""


class TicketKeys:
    """Seals and opens tickets; made by `rotating`.  Safe to share between configs, connections and threads."""

    __slots__ = ("_clock", "_period", "_random", "_ring")

    def __init__(self, period: float, clock: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._period = period
        self._clock = clock
        self._random = random
        self._ring = _Ring((self._new_key(),), clock())

    @classmethod
    def rotating(
        cls,
        period: float = _DEFAULT_PERIOD,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> "TicketKeys":
        """Keys of this process's own, a new one every *period* seconds; a ticket opens for one to two periods.

        Processes that are forked from this one share its present keys, and part ways with the next.

        Raises LocalError for a period that is not positive.
        """
        if not period > 0:
            msg = f"the period of ticket keys must be more than 0 seconds, and not {period}"
            raise LocalError(msg)
        return cls(period, clock, random)

    def seal(self, plaintext: bytes) -> bytes:
        """A ticket that holds *plaintext*."""
        key = self._current().keys[0]
        nonce = self._random(_NONCE_LENGTH)
        return key.name + nonce + key.aead.encrypt(nonce, plaintext, key.name)

    def open(self, ticket: bytes) -> bytes | None:
        """What a ticket holds, or None if it is not one of ours, or too old."""
        if len(ticket) < OVERHEAD:
            return None
        name = ticket[:_NAME_LENGTH]
        for key in self._current().keys:
            if key.name == name:
                try:
                    return key.aead.decrypt(ticket[_NAME_LENGTH:_FRONT], ticket[_FRONT:], name)
                except InvalidTag:
                    return None
        return None

    def _new_key(self) -> _Key:
        return _Key(self._random(_NAME_LENGTH), TICKET_AEAD(self._random(TICKET_KEY_LENGTH)))

    def _current(self) -> _Ring:
        """The ring of this moment."""
        ring = self._ring
        elapsed = self._clock() - ring.since
        # A clock may be set back a little, or have been read before another thread's rotation.
        if -self._period < elapsed < self._period:
            return ring
        since = ring.since + elapsed // self._period * self._period
        successor = ring.successors.get(since)
        if successor is None:
            kept = ring.keys[:1] if elapsed < 2 * self._period else ()
            successor = ring.successors.setdefault(since, _Ring((self._new_key(), *kept), since))
        self._ring = successor
        return successor
