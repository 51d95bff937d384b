"""Credentials that are alive: chosen by server name, and read again when their files change.

RFC 8446 §4.4.2.2 has the server choose its certificate by the server name that the client sends (RFC 6066 §3) and by
the signatures that it accepts.  All that is here is called with a ClientHelloInfo and does that, from

- a `CredentialStore`, which the program fills;
- `CredentialFiles`, one certificate and its key, which other programs renew;
- a `CredentialDirectory`, all that lie in a directory.

A handshake reads one attribute, which leads to an immutable index; whoever has news makes another index and puts it
there, so there is no lock on the handshake's path, and a connection that is open has all that it needs of the old one.

There is neither an event loop nor a thread here, so it is handshakes that carry the reloading, one at a time: at most
once in an interval one of them looks at the files, and if they have changed, gets a `Blocking` that loads them in a
thread, and is itself answered from the new ones; all the others go on with the old.  The turn is a time and not a flag:
if the one's connection is lost before it did the work, the next takes it over.

What is new replaces the old only if it loads and the key fits the certificate.  Otherwise that is logged, once for each
change, the old stays in use, and the files are tried again: when they change, and after ever longer pauses.  A
certificate and its key are two files, written one after the other; while they do not fit they are no credential.
"""

import logging
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, final

from aiotls.blocking import Blocking
from aiotls.crypto.signatures import SCHEMES
from aiotls.errors import CertificateError, LocalError
from aiotls.trust.credentials import (
    CertificateRequestInfo,
    ClientHelloInfo,
    Credential,
    name_candidates,
    suited,
)
from aiotls.trust.layouts import Files, find_pairs
from aiotls.trust.names import ServerName
from aiotls.trust.reloading import ExpiryWarnings, FilePair, LoadOptions, log_kept
from aiotls.trust.stapling import OCSPStaple

__all__ = ["CredentialDirectory", "CredentialFiles", "CredentialStore"]

_Info: TypeAlias = ClientHelloInfo | CertificateRequestInfo
_SHARE = 20
"""Looking at the files takes at most one part in so many of the time, even if there are thousands of them."""

_log = logging.getLogger("aiotls.trust")


# --- By name ---------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    """Credentials by the name that they are for; immutable."""

    by_name: dict[str, tuple[Credential, ...]] = field(default_factory=dict)
    default: tuple[Credential, ...] = ()

    def choose(self, info: _Info) -> Credential | None:
        """The credential for a ClientHello (RFC 8446 §4.4.2.2), by two look-ups."""
        candidates = self.default
        if info.server_name is not None:
            exact, wildcard = name_candidates(info.server_name)
            candidates = self.by_name.get(exact, ()) + self.by_name.get(wildcard, ()) or candidates
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        # Without a common scheme the handshake has to fail for that reason, and not because of the name.
        return suited(candidates, info) or candidates[0]


@final
class CredentialStore:
    """Credentials by server name, for a `ServerConfig`; to be changed while it is in use.

        store = CredentialStore([example_ecdsa, example_rsa, other], default=other)
        config = ServerConfig(credentials=store)
        store.add(renewed)

    A credential is for the names in its certificate, exact or with a wildcard for one label (RFC 9525 §6.3), or for
    those that it is given under in a mapping: ``{"www.example.test": credential}``.  Of several for a name, it is the
    first that can sign with a scheme that the client accepts, and whose chain the client can check (RFC 8446 §4.4.2.2);
    wildcards come last.  *default* answers the clients that name no server or an unknown one; without it they are
    refused (unrecognized_name).  LocalError says that a credential is for no name, or that a name is none.

    All methods may be called in any thread.  Each makes a new index, which takes the longer the more names there are:
    give many credentials in one call.
    """

    __slots__ = ("_changing", "_index")

    def __init__(
        self,
        credentials: Iterable[Credential] | Mapping[str, Credential | Sequence[Credential]] = (),
        *,
        default: Credential | Sequence[Credential] | None = None,
    ) -> None:
        self._changing = threading.Lock()
        self.replace(credentials, default=default)

    def __repr__(self) -> str:
        return f"<CredentialStore of {len(self._index.by_name)} names>"

    def __call__(self, info: ClientHelloInfo) -> Credential | None:
        """The credential for a ClientHello; None when there is none for the name, and no default."""
        return self._index.choose(info)

    @property
    def names(self) -> frozenset[str]:
        """The names that there are credentials for."""
        return frozenset(self._index.by_name)

    def replace(
        self,
        credentials: Iterable[Credential] | Mapping[str, Credential | Sequence[Credential]],
        *,
        default: Credential | Sequence[Credential] | None = None,
    ) -> None:
        """Put these in the place of all that there are; no handshake sees a mixture of the two."""
        if isinstance(credentials, Mapping):
            entries = [(name, one) for name, given in credentials.items() for one in _as_tuple(given)]
            index = _Index(_grouped((_checked_name(name), one) for name, one in entries), _as_tuple(default))
        else:
            index = _Index(_grouped(_named(credentials)), _as_tuple(default))
        with self._changing:
            self._index = index

    def add(self, *credentials: Credential, names: Sequence[str] | None = None) -> None:
        """Add these, for the *names*, or for those in their certificates.

        Under their names they take the place of the credentials that sign with the same schemes: a renewed RSA
        certificate replaces the old RSA certificate, and leaves an ECDSA one where it is.
        """
        if names is None:
            news = _grouped(_named(credentials))
        else:
            checked = [_checked_name(name) for name in names]
            news = _grouped((name, credential) for credential in credentials for name in checked)
        with self._changing:
            by_name = dict(self._index.by_name)
            for name, added in news.items():
                renewed = {credential.schemes for credential in added}
                kept = tuple(one for one in by_name.get(name, ()) if one.schemes not in renewed)
                by_name[name] = kept + added
            self._index = _Index(by_name, self._index.default)


def _as_tuple(given: Credential | Sequence[Credential] | None) -> tuple[Credential, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, Credential) else tuple(given)


def _checked_name(name: str) -> str:
    """A name as it is looked up: in ASCII and lower case, with its wildcard."""
    host = name.removeprefix("*.")
    return name[: len(name) - len(host)] + ServerName.of(host).text


def _named(credentials: Iterable[Credential]) -> Iterable[tuple[str, Credential]]:
    for credential in credentials:
        if not credential.names:
            raise LocalError(f"{credential!r} is for no DNS name; give the names that it is to be used for")
        for name in dict.fromkeys(credential.names):
            yield name, credential


def _grouped(entries: Iterable[tuple[str, Credential]]) -> dict[str, tuple[Credential, ...]]:
    groups: dict[str, list[Credential]] = {}
    for name, credential in entries:
        groups.setdefault(name, []).append(credential)
    return {name: tuple(group) for name, group in groups.items()}


# --- From files ------------------------------------------------------------------------------------------------------


class _Live(ABC):
    """What the two kinds of live credentials have in common."""

    def __init__(self, path: str, interval: float, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        if not 0 <= interval < math.inf:
            raise LocalError(f"interval is {interval}; give the seconds between two looks at the files, 0 or more")
        self._path = path
        self._interval = interval
        self._clock = clock
        self._expiry = ExpiryWarnings(wall_clock)
        # Re-entrant, for `reload` may be called by a signal's handler, which interrupts anything.
        self._lock = threading.RLock()
        self._next = clock() + interval
        self._reported = ""
        self._pairs: dict[Files, FilePair] = {}
        self._gone: frozenset[Files] = frozenset()
        self._credentials: tuple[Credential, ...] = ()
        self._index = _Index()

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """What is served at present."""
        return self._credentials

    @property
    def not_after(self) -> datetime:
        """When the first of them ceases to be valid, in UTC."""
        return min(credential.not_after for credential in self._credentials)

    def reload(self) -> None:
        """Read all files now, as on SIGHUP, whether or not they have changed.

        CertificateError names a file that is broken, and says what is wrong with it; what was made of it before stays
        in use, and what is good in other files is taken.  This blocks (checking an RSA key takes 41 ms): call it in
        a thread while an event loop runs.
        """
        errors: list[CertificateError] = []
        with self._lock:
            now = self._clock()
            self._look(now, patient=False)
            for pair in self._left().values():
                try:
                    pair.reload(now)
                except CertificateError as error:
                    errors.append(error)
            try:
                self._publish()
            except CertificateError as error:
                errors = errors or [error]
        for further in errors[1:]:
            log_kept(further)
        if errors:
            raise errors[0]

    def _answer(self, info: _Info) -> Credential | Blocking[Credential | None] | None:
        if self._take_turn():
            return Blocking(lambda: self._renew(info))
        return self._index.choose(info)

    def _take_turn(self) -> bool:
        """Whether this handshake is to carry a reload."""
        now = self._clock()
        if now < self._next or not self._lock.acquire(blocking=False):
            return False
        try:
            if now < self._next:  # another thread was faster
                return False
            self._next = now + self._interval
            return self._is_due(now)
        finally:
            self._lock.release()

    def _renew(self, info: _Info) -> Credential | None:
        with self._lock:
            try:
                self._refresh()
                self._reported = ""
            except CertificateError as error:
                if str(error) != self._reported:
                    self._reported = str(error)
                    log_kept(error)
            except Exception:  # noqa: BLE001 - whatever it is, the handshake goes on with what there is
                _log.exception("not reloaded, and what there was before stays in use")
        return self._index.choose(info)

    def _refresh(self) -> None:
        began = self._clock()
        due = self._look(began, patient=True)
        ended = self._clock()
        self._next = max(self._next, ended + _SHARE * (ended - began))
        for pair in due:
            pair.refresh(began)
        self._publish()

    def _left(self) -> dict[Files, FilePair]:
        """The pairs that are not gone."""
        return {files: pair for files, pair in self._pairs.items() if files not in self._gone}

    def _publish(self) -> None:
        """Serve what the files have become."""
        left = self._left()
        pairs = [pair for pair in left.values() if pair.credential]
        if not pairs:  # as when a volume is not mounted any more
            raise CertificateError(f"{self._path}: there is no certificate in it with its private key; put them there")
        for files in self._gone:
            _log.info("%s: removed", files[0])
        self._pairs, self._gone = left, frozenset()
        credentials = tuple(pair.credential for pair in pairs if pair.credential)
        changed = credentials != self._credentials
        if changed:
            self._index = self._build(pairs)
            self._credentials = credentials
        self._expiry.check([(pair.certfile, pair.credential) for pair in pairs if pair.credential], anew=changed)

    @abstractmethod
    def _is_due(self, now: float) -> bool:
        """Whether there is anything to do that takes time."""

    @abstractmethod
    def _look(self, now: float, *, patient: bool) -> list[FilePair]:
        """The pairs that are to be read; CertificateError says that they cannot be told."""

    @abstractmethod
    def _build(self, pairs: Sequence[FilePair]) -> _Index:
        """The index of their credentials."""


@final
class CredentialFiles(_Live):
    """The credential in two files, or in one, which another program renews; for a `ServerConfig` or a `ClientConfig`.

        credentials = CredentialFiles("fullchain.pem", "privkey.pem")
        config = ServerConfig(credentials=credentials)
        credentials.reload()        # at once, if you like: on SIGHUP, say; raises CertificateError, and keeps the old

    It is for all server names.  The files, *password* and *sign_in_thread* are as for `Credential.from_files`, and
    *staple* as for `Credential.with_staple`.  Handshakes look at the files every *interval* seconds of *clock*, which
    is monotonic.  14 days before a certificate expires, by *wall_clock* (seconds since 1970), the logger
    ``aiotls.trust`` begins to warn of it.

    CertificateError says why the files cannot be used; LocalError, that *interval* is negative.
    """

    def __init__(
        self,
        certfile: str | os.PathLike[str],
        keyfile: str | os.PathLike[str] | None = None,
        *,
        password: str | bytes | None = None,
        sign_in_thread: bool = False,
        staple: OCSPStaple | None = None,
        interval: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(os.fspath(certfile), interval, clock, wall_clock)
        files = (os.fspath(certfile), None if keyfile is None else os.fspath(keyfile))
        options = LoadOptions(password, sign_in_thread, staple)
        self._pair = self._pairs[files] = FilePair(*files, options, clock())
        self.reload()

    def __repr__(self) -> str:
        return f"<CredentialFiles {self._pair.certfile}: {self.credential!r}>"

    def __call__(self, info: _Info) -> Credential | Blocking[Credential | None] | None:
        """The credential; once after a change, a Blocking that loads it."""
        return self._answer(info)

    @property
    def credential(self) -> Credential:
        """What is served at present."""
        return self._credentials[0]

    def _is_due(self, now: float) -> bool:
        self._expiry.check([(self._pair.certfile, self.credential)])
        return self._pair.look(now)

    def _look(self, now: float, *, patient: bool) -> list[FilePair]:  # noqa: ARG002 - there is nothing to wait for
        return [self._pair] if self._pair.look(now) else []

    def _build(self, pairs: Sequence[FilePair]) -> _Index:
        return _Index(default=tuple(pair.credential for pair in pairs if pair.credential))


@final
class CredentialDirectory(_Live):
    """All credentials in a directory, by server name; other programs add, renew and remove them.

        credentials = CredentialDirectory("/etc/letsencrypt/live", default="www.example.test")
        config = ServerConfig(credentials=credentials)

    A private key and its certificate are found as

    - ``NAME.key`` and ``NAME.crt`` or ``NAME.pem``;  ``NAME-key.pem`` and ``NAME.pem``;  ``NAME.pem`` with both in it;
    - ``privkey.pem`` and ``fullchain.pem`` (certbot), ``key.pem`` and ``cert.pem``, or ``tls.key`` and ``tls.crt``
      (Kubernetes), in the directory itself or in one below it, whose name is theirs then.

    What begins with a dot is passed over, and so is a certificate without a key; a key without a certificate is an
    error.  A credential is for the DNS names in its certificate; one that has none, for the name of the files.  Of
    several for a name those come first whose keys are cheaper to sign with, and then those that are valid for longer;
    one is taken as in a `CredentialStore`.  *default* is the server name whose credentials answer the clients that name
    no server or an unknown one; without it they are refused (unrecognized_name).

    The other arguments are as for `CredentialFiles`.  A pair is removed by removing both of its files.
    CertificateError names the file that cannot be used, or says that there is none, or none for *default*.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        default: str | None = None,
        password: str | bytes | None = None,
        sign_in_thread: bool = False,
        staple: OCSPStaple | None = None,
        interval: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(os.fspath(path), interval, clock, wall_clock)
        self._default = default
        self._options = LoadOptions(password, sign_in_thread, staple)
        self._missing: frozenset[Files] = frozenset()
        self.reload()

    def __repr__(self) -> str:
        return f"<CredentialDirectory {self._path}: {len(self._credentials)} credentials>"

    def __call__(self, info: ClientHelloInfo) -> Credential | Blocking[Credential | None] | None:
        """The credential for a ClientHello, or None for none; once in an interval, a Blocking that looks for news."""
        return self._answer(info)

    @property
    def names(self) -> frozenset[str]:
        """The names that there are credentials for."""
        return frozenset(self._index.by_name)

    def _is_due(self, now: float) -> bool:  # noqa: ARG002 - to look at thousands of files takes time
        return True

    def _look(self, now: float, *, patient: bool) -> list[FilePair]:
        found = find_pairs(self._path)
        for files, name in found.items():
            if files not in self._pairs:
                self._pairs[files] = FilePair(*files, self._options, now, name)
        missing = frozenset(
            files
            for files, pair in self._pairs.items()
            if files not in found and not (pair.credential and pair.exists())
        )
        # What is replaced by renaming is missing for a moment; so it has to be missing twice.
        self._gone = missing & self._missing if patient else missing
        self._missing = missing
        return [pair for files, pair in self._pairs.items() if files not in missing and pair.look(now)]

    def _build(self, pairs: Sequence[FilePair]) -> _Index:
        entries = [(pair, pair.credential) for pair in pairs if pair.credential]
        entries.sort(key=lambda entry: (*_preference(entry[1]), entry[0].certfile))
        by_name = _grouped(
            (name, credential)
            for pair, credential in entries
            for name in dict.fromkeys(credential.names or (pair.name.lower(),))
        )
        return _Index(by_name, self._default_of(by_name))

    def _default_of(self, by_name: dict[str, tuple[Credential, ...]]) -> tuple[Credential, ...]:
        if self._default is None:
            return ()
        exact, wildcard = name_candidates(self._default)
        default = by_name.get(exact) or by_name.get(wildcard)
        if default:
            return default
        error = CertificateError(f"{self._path}: there is no certificate for {self._default!r}, which is the default")
        if not self._index.default:
            raise error
        log_kept(error)
        return self._index.default


def _preference(credential: Credential) -> tuple[int, float]:
    return list(SCHEMES).index(credential.schemes[0]), -credential.not_after.timestamp()
