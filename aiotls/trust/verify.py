"""Verification of the peer's certificate chain (RFC 5280 §6.1), and of all that hangs on it.

What is accepted, `cryptography` has accepted: it builds the path from the peer's certificate to one of our roots,
checking signatures, dates, names and name constraints, by the policy that `profile` tells it.  We put further
conditions on top, and never take one away afterwards: the peer's key (`identity`), pins, CRLs, the stapled OCSP
response (`revocation`).  Why a chain is refused, `diagnosis` tells.

Every trusted certificate is an anchor, be it self-signed or not: who trusts an intermediate authority or the server's
own certificate means it.  That is OpenSSL's X509_V_FLAG_PARTIAL_CHAIN, which Python's
`ssl.create_default_context` sets since 3.13.

The work is bounded: 16 certificates and 100 KB by `identity`, eight authorities between the peer's certificate and the
root here, and 128 signatures by `cryptography`, which ends a search among many authorities of the same name.

A verdict is remembered for a while, because a client often comes back to the same server, and 3 us are less than
250.  The key is everything that the verdict depends on and that may differ from call to call; the verdict lasts no
longer than the chain, the CRL or the OCSP response.  There is no lock: single operations on a dict are atomic.  Two
generations of verdicts bound the memory: when the younger is full, it takes the place of the older.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias, final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from aiotls.errors import (
    BadCertificateStatus,
    CertificateError,
    CertificateNameMismatch,
    LocalError,
    UntrustedCertificate,
)
from aiotls.trust.diagnosis import MAXIMUM_INTERMEDIATES, Refused, diagnose
from aiotls.trust.fields import printable, spki_of, whom
from aiotls.trust.identity import (
    PeerIdentity,
    check_bounds,
    end_point_digest,
    identify,
    identify_raw_public_key,
    identity_of,
    parse,
)
from aiotls.trust.names import ServerName
from aiotls.trust.profile import authority_policy, check_subjects, client_policy, is_for, server_policy
from aiotls.trust.revocation import CRLs, check_staple, must_staple
from aiotls.trust.roots import Roots
from aiotls.trust.statements import MALFORMED, details

__all__ = ["PeerIdentity", "Verifier", "end_point_digest", "identify", "identify_raw_public_key"]

_DIGEST_LENGTH = 32
_CLOCK_JITTER: Final = 1.0
"""Seconds by which the clock may seem to go back, as two threads read it one after the other."""

_Key: TypeAlias = tuple[str | None, tuple[bytes, ...], bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class _Verdict:
    identity: PeerIdentity
    until: float


@final
class _Memory:
    """The verdicts that still hold."""

    __slots__ = ("_generation", "_latest", "_older", "_younger")

    def __init__(self, size: int) -> None:
        self._generation = size // 2
        self._younger: dict[_Key, _Verdict] = {}
        self._older: dict[_Key, _Verdict] = {}
        self._latest = 0.0

    def recall(self, key: _Key, now: float) -> PeerIdentity | None:
        # A verdict lasts by the latest time that was seen, so that to set the clock back prolongs none.
        if now < self._latest - _CLOCK_JITTER:
            self._younger, self._older = {}, {}
            self._latest = now
        elif now > self._latest:
            self._latest = now
        verdict = self._younger.get(key)
        if verdict is None:
            verdict = self._older.get(key)
            if verdict is None:
                return None
            self._put(key, verdict)
        return verdict.identity if self._latest < verdict.until else None

    def remember(self, key: _Key, identity: PeerIdentity, until: float) -> None:
        if self._generation:
            self._put(key, _Verdict(identity, until))

    def _put(self, key: _Key, verdict: _Verdict) -> None:
        if len(self._younger) >= self._generation:
            self._older, self._younger = self._younger, {}
        self._younger[key] = verdict


@final
class Verifier:
    """Verifies chains against a set of roots; safe to share between configs, connections and threads.

    - *clock* gives the time in seconds since the epoch; it is read for every verification.
    - *pins* are SHA-256 hashes of SubjectPublicKeyInfo (RFC 7469 §2.4), 32 bytes each; where there are any, a verified
      chain must have one of these keys, be it the peer's own or an authority's.
    - *crls* are asked about every verified chain.
    - *require_staple* refuses every server that does not staple an OCSP response.
    - A certificate that is among *roots* itself has no issuer whose CRL or OCSP response would count: none is asked.
    - *cache_size* is how many verdicts are remembered, 0 for none; *cache_lifetime* for how many seconds, at most.

    LocalError says which of these is wrong.
    """

    __slots__ = ("_client", "_clock", "_crls", "_lifetime", "_memory", "_pins", "_require_staple", "_server", "roots")

    def __init__(
        self,
        roots: Roots,
        *,
        clock: Callable[[], float] = time.time,
        pins: frozenset[bytes] = frozenset(),
        crls: CRLs | None = None,
        require_staple: bool = False,
        cache_size: int = 1024,
        cache_lifetime: float = 300.0,
    ) -> None:
        _check_arguments(roots, pins, cache_size, cache_lifetime)
        self.roots = roots
        """Whom it trusts."""
        self._clock = clock
        self._pins = frozenset(pins)
        self._crls = crls
        self._require_staple = require_staple
        self._lifetime = cache_lifetime
        self._memory = _Memory(cache_size)
        builder = PolicyBuilder().store(Store(list(roots.certificates))).max_chain_depth(MAXIMUM_INTERMEDIATES)
        authority = authority_policy()
        self._server = builder.extension_policies(ca_policy=authority, ee_policy=server_policy())
        self._client = builder.extension_policies(ca_policy=authority, ee_policy=client_policy())

    def __repr__(self) -> str:
        return f"<Verifier with {self.roots!r}>"

    def verify_server(
        self, certificates: Sequence[bytes], server_name: ServerName, staple: bytes | None = None
    ) -> PeerIdentity:
        """Verify what a server sent, its own certificate first, each in DER; *staple* is its OCSP response, in DER.

        The errors are CertificateError and those below it: UntrustedCertificate, CertificateExpired,
        CertificateNameMismatch, UnsupportedCertificate, CertificateRevoked, RevocationUnknown, BadCertificateStatus,
        CertificateRequired (there is none), and CertificateError itself for what is malformed or wrongly signed.
        """
        return self._verify(certificates, server_name, staple)

    def verify_client(self, certificates: Sequence[bytes], staple: bytes | None = None) -> PeerIdentity:
        """Verify what a client sent, in the same way; its certificate need not have a name beside its subject."""
        return self._verify(certificates, None, staple)

    def _verify(
        self, certificates: Sequence[bytes], server_name: ServerName | None, staple: bytes | None
    ) -> PeerIdentity:
        check_bounds(certificates)
        sent = tuple(certificates)
        crls = None if self._crls is None else self._crls.digest
        key = (None if server_name is None else server_name.text, sent, staple, crls)
        now = self._clock()
        identity = self._memory.recall(key, now)
        if identity is None:
            identity, until = self._judge(sent, server_name, staple, datetime.fromtimestamp(now, UTC))
            self._memory.remember(key, identity, min(until.timestamp(), now + self._lifetime))
        return identity

    def _judge(
        self, sent: tuple[bytes, ...], server_name: ServerName | None, staple: bytes | None, now: datetime
    ) -> tuple[PeerIdentity, datetime]:
        """The identity that was verified, and until when it stays so."""
        loaded = parse(sent)
        chain = self._build_path(loaded, server_name, now)
        known = {id(certificate): der for certificate, der in zip(loaded, sent, strict=True)}
        path = tuple(known.get(id(certificate)) or certificate.public_bytes(Encoding.DER) for certificate in chain)
        identity = identity_of(sent, loaded, path)
        _check_names(chain, identity, server_name)
        self._check_pins(chain)
        until = min(certificate.not_valid_after_utc for certificate in chain)
        if self._crls is not None:
            until = min(until, self._crls.check(chain, now))
        status_until = self._check_status(chain, staple, now, is_server=server_name is not None)
        return identity, until if status_until is None else min(until, status_until)

    def _build_path(
        self, loaded: Sequence[x509.Certificate], server_name: ServerName | None, now: datetime
    ) -> list[x509.Certificate]:
        """The path to a root, found and accepted by `cryptography` (RFC 5280 §6.1)."""
        leaf, others = loaded[0], list(loaded[1:])
        try:
            if server_name is None:
                return self._client.time(now).build_client_verifier().verify(leaf, others).chain
            return self._server.time(now).build_server_verifier(server_name.subject).verify(leaf, others)
        except (VerificationError, *MALFORMED, OverflowError) as error:
            refused = Refused(loaded, self.roots.certificates, server_name, now, str(error))
            raise diagnose(refused) from error

    def _check_pins(self, chain: Sequence[x509.Certificate]) -> None:
        if self._pins and not any(hashlib.sha256(spki_of(one)).digest() in self._pins for one in chain):
            seen = hashlib.sha256(spki_of(chain[0])).hexdigest()
            text = f"none of the keys in the chain of {whom(chain[0])} is pinned; its own has the SHA-256 hash {seen}"
            raise UntrustedCertificate(text, **details(chain[0]))

    def _check_status(
        self, chain: Sequence[x509.Certificate], staple: bytes | None, now: datetime, *, is_server: bool
    ) -> datetime | None:
        """Until when the stapled response holds; None where there is none, and none is needed (RFC 7633 §4)."""
        leaf = chain[0]
        if len(chain) == 1:
            return None  # it is trusted itself: there is no issuer whose word on it counts
        if staple is not None:
            return check_staple(staple, leaf, chain[1], now)
        if is_server and (self._require_staple or must_staple(leaf)):
            why = "we require" if self._require_staple else "the certificate promises (RFC 7633)"
            text = f"the server of {whom(leaf)} staples no OCSP response, which {why}"
            raise BadCertificateStatus(text, **details(leaf))
        return None


def _check_arguments(roots: object, pins: Iterable[object], cache_size: int, cache_lifetime: float) -> None:
    if not isinstance(roots, Roots):
        raise LocalError(f"roots is a {type(roots).__name__}; give aiotls.Roots, such as Roots.system()")
    for pin in pins:
        if not isinstance(pin, bytes) or len(pin) != _DIGEST_LENGTH:
            raise LocalError(f"pins has {pin!r}; give SHA-256 hashes of SubjectPublicKeyInfo, as 32 bytes each")
    if cache_size < 0 or cache_size == 1:
        raise LocalError(f"cache_size is {cache_size}; give the number of verdicts to remember, from 2, or 0 for none")
    if not cache_lifetime > 0:
        raise LocalError(f"cache_lifetime is {cache_lifetime}; give seconds, more than 0")


def _check_names(chain: Sequence[x509.Certificate], identity: PeerIdentity, server_name: ServerName | None) -> None:
    """What `cryptography` leaves to us about names: our rule for wildcards, and the constraints on subjects."""
    leaf = chain[0]
    if server_name is not None and not is_for(identity.dns_names, identity.ip_addresses, server_name):
        text = f"the certificate of {whom(leaf)} is for {server_name.text} by a wildcard that is too wide alone"
        raise CertificateNameMismatch(text, **details(leaf))
    try:
        check_subjects(chain)
    except MALFORMED as error:
        text = f"the name constraints above {whom(leaf)} are malformed (RFC 5280 §4.2.1.10): {printable(str(error))}"
        raise CertificateError(text, **details(leaf)) from error
