"""A certificate file and its key file, read again when they change; and warnings of certificates that expire.

A credential is what the two files hold when both are read, provided that the key fits the certificate (RFC 8446
§4.4.2): they are written one after the other, and what is read in between is none.  So a pair that does not load is
tried again, when a file changes, and after ever longer pauses.

Files are known to have changed by their times (see `watching`), and these can be too coarse to show the last of
several changes.  So for a while after a change the content is compared as well.  What is remembered of it is a digest:
a private key does not stay in memory twice.

Nothing here is safe to call in two threads at a time; `resolvers` sees to that.
"""

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

from aiotls.errors import CertificateError
from aiotls.trust.credentials import Credential, load_credential
from aiotls.trust.loading import Source
from aiotls.trust.stapling import OCSPStaple
from aiotls.trust.watching import FileWatch

__all__ = ["ExpiryWarnings", "FilePair", "LoadOptions", "log_kept"]

_log = logging.getLogger("aiotls.trust")

_SETTLED = 2.0
"""Seconds after a change in which the files are compared by content, for their times may be too coarse to show the next
change: two seconds are the coarsest that there are (FAT)."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 60.0
"""Seconds until files that are broken, or may not be settled, are read again: twice as many each time."""


@final
@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What is the same for all files."""

    password: str | bytes | None = field(repr=False)
    sign_in_thread: bool
    staple: OCSPStaple | None

    def load(self, certificate: Source, key: Source) -> Credential:
        """The credential that was read; CertificateError says why there is none."""
        made = load_credential([certificate], key, self.password, sign_in_thread=self.sign_in_thread)
        if self.staple is None:
            return made
        if len(made.chain) == 1:
            raise CertificateError(
                f"{certificate.label}: there is no certificate of the issuer in it, which the stapled response is"
                " checked by; append it"
            )
        return made.with_staple(self.staple)


@final
class FilePair:
    """A certificate file and its key file (None: the same), and the credential that was last made of them.

    *name* is what the pair is called in its directory, and empty where it was named by its paths.  Nothing is read
    yet.
    """

    __slots__ = (
        "_broken",
        "_digest",
        "_due",
        "_logged",
        "_options",
        "_paths",
        "_pause",
        "_since",
        "_watch",
        "certfile",
        "credential",
        "keyfile",
        "name",
    )

    def __init__(self, certfile: str, keyfile: str | None, options: LoadOptions, now: float, name: str = "") -> None:
        self.certfile = certfile
        self.keyfile = keyfile
        self.name = name
        self.credential: Credential | None = None
        self._options = options
        self._paths = (certfile,) if keyfile is None else (certfile, keyfile)
        self._watch = FileWatch(self._paths, interval=0)
        self._digest = b""
        self._broken = False
        self._expect_change(now)

    def _expect_change(self, now: float) -> None:
        self._since = self._due = now
        self._pause = _FIRST_PAUSE
        self._logged = ""

    def exists(self) -> bool:
        """Whether any of the files is there."""
        return any(os.path.lexists(path) for path in self._paths)

    def look(self, now: float) -> bool:
        """Whether the files are to be read: they have changed, or are to be tried again."""
        if self._watch.look():
            self._expect_change(now)
        return now >= self._due

    def refresh(self, now: float) -> None:
        """Read the files; if they are broken, log that once, and keep the credential."""
        try:
            self._read(now)
        except CertificateError as error:
            if str(error) != self._logged:
                self._logged = str(error)
                log_kept(error)

    def reload(self, now: float) -> None:
        """Read the files, whether or not they have changed; CertificateError says that they are broken."""
        self._watch.look()
        self._expect_change(now)
        self._digest = b""
        self._read(now)

    def _read(self, now: float) -> None:
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._due = now + self._pause
        certificate = Source.read(self.certfile)
        key = certificate if self.keyfile is None else Source.read(self.keyfile)
        digest = _digest(certificate.data, key.data)
        if digest != self._digest:
            self._digest, self._broken = b"", True
            try:
                self._load(certificate, key)
            except CertificateError:
                self._digest = digest  # the same content fails for the same reason; other errors may pass
                raise
            self._digest, self._broken = digest, False
        if not self._broken and now - self._since >= _SETTLED:
            self._due = math.inf

    def _load(self, certificate: Source, key: Source) -> None:
        # A directory holds PEM files of other kinds, too: issuers, parameters.
        if self.name and self.keyfile is None and self.credential is None and not _holds_key(key):
            return
        before, self.credential = self.credential, self._options.load(certificate, key)
        if before is not None:
            _log.info("%s: reloaded: %r", self.certfile, self.credential)


def log_kept(error: CertificateError) -> None:
    """Log why what there was before stays in use."""
    _log.error("not reloaded, and what there was before stays in use: %s", error)


def _digest(certificate: bytes, key: bytes) -> bytes:
    return hashlib.sha256(len(certificate).to_bytes(8, "big") + certificate + key).digest()


def _holds_key(source: Source) -> bool:
    return any("PRIVATE KEY" in kind for kind in source.kinds())


@final
class ExpiryWarnings:
    """Says in the log that a certificate is about to expire, or has: once a day for each."""

    HORIZON = 14 * 86400.0
    AGAIN = 86400.0

    __slots__ = ("_clock", "_due", "_told")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due = -math.inf
        self._told: dict[tuple[bytes, bool], float] = {}

    def check(self, credentials: Iterable[tuple[str, Credential]], *, anew: bool = False) -> None:
        """Warn of those that it is time for, with their files; *anew* says that there are others than before."""
        now = self._clock()
        if now < self._due and not anew:
            return
        told, self._told = self._told, {}
        self._due = math.inf
        for certfile, credential in credentials:
            self._check(certfile, credential, now, told)

    def _check(
        self, certfile: str, credential: Credential, now: float, told: Mapping[tuple[bytes, bool], float]
    ) -> None:
        end = credential.not_after.timestamp()
        if now < end - self.HORIZON:
            self._due = min(self._due, end - self.HORIZON)
            return
        expired = now > end  # RFC 5280 §4.1.2.5: valid through notAfter, inclusive
        known = (credential.chain[0], expired)
        last = told.get(known)
        if last is None or now - last >= self.AGAIN:
            last = now
            what = "has expired" if expired else "expires soon"
            _log.warning("%s: the certificate %s: %r; renew it", certfile, what, credential)
        self._told[known] = last
        self._due = min(self._due, last + self.AGAIN, math.inf if expired else math.nextafter(end, math.inf))
