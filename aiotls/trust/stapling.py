"""The server's side of OCSP stapling (RFC 6066 §8, RFC 8446 §4.4.2.1): a fresh answer at hand for every handshake.

An `OCSPStaple` holds the last good response for each certificate, and is asked for it in each handshake:

    staple = await ask("the OCSP staple", credential.staple.current, now, leaf, issuer)

There is neither an event loop nor a thread here, so it is handshakes that carry the renewal, one at a time:

- as long as the response is valid and not due, the answer is there at once;
- when it is due, *one* handshake gets something to await and so brings the new one; all the others go on with the
  old one, which is still valid, for the response is due long before it expires;
- when there is none that is valid, again one handshake brings it, and the others go on without.  A server whose
  certificate is must-staple (RFC 7633) had better await `current` once before it listens.

The turn of the one is a time and not a flag: who takes it puts off the next attempt.  If its connection is closed in
the middle, or it never awaits what it got, the next attempt comes as after a failure, and nothing is locked for ever.

A response counts only after `check_staple` has accepted it for our own certificate, as a client will.  When it cannot
be had, that is logged with the reason, and tried again after ever longer pauses; what is out of date is not stapled,
and the handshake goes on without (a client that insists tells the user; others have nothing to complain of).
"""

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias, final

from cryptography import x509
from cryptography.x509 import ocsp

from aiotls.blocking import Blocking
from aiotls.errors import CertificateError, CertificateRevoked, LocalError, TLSError
from aiotls.trust.loading import Source, subject_of
from aiotls.trust.revocation import check_staple
from aiotls.trust.watching import FileWatch

__all__ = ["FetchStaple", "OCSPStaple"]

FetchStaple: TypeAlias = Callable[[bytes, bytes], bytes | Awaitable[bytes]]
"""A function that is given our certificate and its issuer's, both in DER, and gets the OCSP response for it, in DER.

It may return the response, an awaitable of it, or a `Blocking` that a front end runs in a thread.
"""

_Answer: TypeAlias = bytes | Awaitable[bytes | None] | None

_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)
"""Between two attempts: a responder that is down is not asked in every handshake, and missed for an hour at most."""

_CERTIFICATES = 4096
"""For how many certificates responses are held.  One object may serve a whole directory of credentials."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_log = logging.getLogger("aiotls.trust")


class _Held:
    """The response for one certificate, and when the next one is due."""

    __slots__ = ("_claiming", "_failures", "_issuer", "_leaf", "_response", "due", "offered", "until")

    def __init__(self, leaf: bytes, issuer: bytes) -> None:
        try:
            self._leaf = x509.load_der_x509_certificate(leaf)
            self._issuer = x509.load_der_x509_certificate(issuer)
        except ValueError as error:
            raise LocalError("leaf and issuer must be certificates in DER, as in the chain of a Credential") from error
        self._claiming = threading.Lock()
        self._response: bytes | None = None
        self._failures = 0
        self.until = self.due = _LONG_AGO
        self.offered: bytes | None = None
        """What a file held when it was last tried."""

    def valid(self, now: datetime) -> bytes | None:
        """The response, if it has not expired; that it has is logged once."""
        if now < self.until:
            return self._response
        if self._response is not None:
            self._response = None
            _log.error("the OCSP response for %s expired on %s, and none is stapled", *self._state())
        return None

    def claim(self, now: datetime) -> bool:
        """Whether the caller is to bring the next response: one of all who ask, until the pause is over."""
        if now < self.due or not self._claiming.acquire(blocking=False):
            return False
        try:
            if now < self.due:
                return False
            self._put_off(now)
            return True
        finally:
            self._claiming.release()

    def accept(self, response: object, now: datetime) -> timedelta | None:
        """Hold *response* if it is good, and tell how long it has to live; else log why not."""
        try:
            if not isinstance(response, bytes):
                raise LocalError(f"the function returned {type(response).__name__}, where bytes were wanted")
            until = check_staple(response, self._leaf, self._issuer, now)
        except TLSError as error:
            self.fail(error)
            return None
        self._failures = 0
        # A responder behind a cache may answer with an older response than it did before.
        if until > self.until:
            self._response, self.until = response, until
        return self.until - now

    def fail(self, error: Exception) -> None:
        """Say in the log why there is no new response; the old one serves until it expires."""
        self._failures += 1
        if isinstance(error, CertificateRevoked):
            # It would be deceit to go on showing the older answer.
            self._response, self.until = None, _LONG_AGO
        _log.error("no new OCSP response for %s, expiry of the old %s: %r", *self._state(), error)

    def _state(self) -> tuple[str, str]:
        expiry = "(there is none)" if self.until == _LONG_AGO else f"{self.until:%Y-%m-%d %H:%M} UTC"
        return subject_of(self._leaf), expiry

    def _put_off(self, now: datetime) -> None:
        # An exponent of 6 is above the longest pause; without a bound it would overflow one day.
        self.due = now + min(_FIRST_PAUSE * 2 ** min(self._failures, 6), _LONGEST_PAUSE)


class _Origin(Protocol):
    """Where responses come from."""

    def current(self, held: _Held, now: datetime, leaf: bytes, issuer: bytes) -> _Answer:
        """The response to staple now."""
        ...


@final
class _File:
    """A file that another program keeps up to date."""

    def __init__(self, path: str | os.PathLike[str], interval: float, clock: Callable[[], float]) -> None:
        self._watch = FileWatch([path], interval, clock)
        self._content = self._read()

    def __repr__(self) -> str:
        return self._watch.paths[0]

    def _read(self) -> bytes:
        source = Source.read(self._watch.paths[0])
        try:
            ocsp.load_der_ocsp_response(source.data)
        except ValueError as error:
            raise source.missing("OCSP response in DER") from error
        return source.data

    def current(self, held: _Held, now: datetime, leaf: bytes, issuer: bytes) -> bytes | None:  # noqa: ARG002 - as fetched
        if self._watch.changed():
            try:
                self._content = self._read()
            except CertificateError as error:
                held.fail(error)
        content = self._content
        if held.offered is not content:
            held.offered = content
            held.accept(content, now)
        return held.valid(now)


@final
class _Fetched:
    """A function of the program's."""

    def __init__(self, fetch: FetchStaple, refresh: timedelta | None) -> None:
        self._fetch = fetch
        self._refresh = refresh

    def __repr__(self) -> str:
        return repr(self._fetch)

    def current(self, held: _Held, now: datetime, leaf: bytes, issuer: bytes) -> _Answer:
        if not held.claim(now):
            return held.valid(now)
        try:
            answer = self._fetch(leaf, issuer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the handshake goes on
            return self._settle(held, now, error)
        if isinstance(answer, Blocking):
            return Blocking(lambda: self._run(held, now, answer))
        if isinstance(answer, Awaitable):
            return self._carry(held, now, answer)
        return self._settle(held, now, answer)

    def _run(self, held: _Held, now: datetime, answer: Blocking[bytes]) -> bytes | None:
        try:
            response = answer.run()
        except Exception as error:  # noqa: BLE001 - as above
            return self._settle(held, now, error)
        return self._settle(held, now, response)

    async def _carry(self, held: _Held, now: datetime, answer: Awaitable[bytes]) -> bytes | None:
        try:
            response = await answer
        except Exception as error:  # noqa: BLE001 - as above; a cancellation is no Exception, and ends the handshake
            return self._settle(held, now, error)
        return self._settle(held, now, response)

    def _settle(self, held: _Held, now: datetime, outcome: object) -> bytes | None:
        if isinstance(outcome, Exception):
            held.fail(outcome)
        else:
            lifetime = held.accept(outcome, now)
            if lifetime is not None:
                # At least a pause, for a response may live shorter than it is to be refreshed before its end.
                early = lifetime / 2 if self._refresh is None else self._refresh
                held.due = now + max(lifetime - early, _FIRST_PAUSE)
        return held.valid(now)


@final
class OCSPStaple:
    """The OCSP response that goes with a server's certificate, made by `from_file` or `from_callable`.

    Attach it to a Credential.  One object may serve several.
    """

    __slots__ = ("_held", "_origin")

    def __init__(self, origin: _Origin) -> None:
        self._origin = origin
        self._held: dict[tuple[bytes, bytes], _Held] = {}

    def __repr__(self) -> str:
        return f"<OCSPStaple from {self._origin!r}>"

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> "OCSPStaple":
        """The response in a file, in DER, as `openssl ocsp -respout` writes it; another program renews it.

        The file is read again when it has changed, which is looked at every *interval* seconds of *clock*.
        CertificateError says that the file cannot be read or holds no OCSP response.  Whether the response is for our
        certificate, and still valid, is found out in the first handshake, and logged.
        """
        return cls(_File(path, interval, clock))

    @classmethod
    def from_callable(cls, fetch: FetchStaple, *, refresh: timedelta | None = None) -> "OCSPStaple":
        """What ``fetch(leaf_der, issuer_der)`` returns, awaits or does in a thread; it is asked in a handshake.

        *refresh* is how long before its end a response is renewed; None is half of the time that it lives.  A failure
        is logged, and *fetch* is asked again after 1 minute, 2, 4, and so on up to an hour.  The function should have
        a time limit of its own.  LocalError says that *refresh* is not positive.
        """
        if refresh is not None and refresh <= timedelta(0):
            raise LocalError(f"refresh is {refresh}; give the time before the end of a response, more than 0, or None")
        return cls(_Fetched(fetch, refresh))

    def current(self, now: datetime, leaf: bytes, issuer: bytes) -> _Answer:
        """The response to staple at *now*, in DER, or None for none; or an awaitable of either.

        *leaf* and *issuer* are the first two certificates of our chain, in DER.  Only when the response is due for
        renewal is there something to await; it raises nothing but cancellation.  LocalError says that *leaf* or
        *issuer* is no certificate.
        """
        held = self._held.get((leaf, issuer))
        if held is None:
            held = self._hold(leaf, issuer)
        return self._origin.current(held, now, leaf, issuer)

    def _hold(self, leaf: bytes, issuer: bytes) -> _Held:
        if len(self._held) >= _CERTIFICATES:
            self._held.clear()  # the simplest bound: they are all fetched anew, one handshake each
        # Of two threads that come at the same time, both get the one that is held.
        return self._held.setdefault((leaf, issuer), _Held(leaf, issuer))
