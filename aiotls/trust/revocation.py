"""Whether a certificate is revoked: by a CRL that we hold (RFC 5280 §5, §6.3), or by a stapled answer (RFC 6960).

Both are statements of the certificate's issuer that hold for a time, and both are looked at only after the chain has
been verified, because it is the chain that gives the issuer's key.  Whatever is not a current and complete statement
by that key is no statement: a CRL that is missing, out of date, for some of the reasons, or signed by somebody else
denies the certificate with RevocationUnknown, and such an OCSP response with BadCertificateStatus.

Nothing is fetched here.  CRLs come from files, which others keep up to date and which are read again when they change;
OCSP responses come with the handshake (RFC 6066 §8).

The hashes in an OCSP CertID may be SHA-1: they identify, within what the issuer has signed, and protect nothing.
"""

import binascii
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from aiotls.crypto import signatures
from aiotls.crypto.signatures import PublicKey
from aiotls.errors import (
    BadCertificateStatus,
    CertificateError,
    DecryptError,
    LocalError,
    RevocationUnknown,
)
from aiotls.trust.loading import Source, check_kind, public_key_of
from aiotls.trust.statements import CLOCK_TOLERANCE, MALFORMED, details, is_strong, revoked, scheme_of, subject
from aiotls.trust.watching import FileWatch
from aiotls.wire.registries import SignatureScheme

__all__ = ["MAXIMUM_STAPLE", "UNDATED_LIFETIME", "CRLs", "check_staple", "must_staple"]

UNDATED_LIFETIME = timedelta(days=1)
"""How long an OCSP response holds that has no nextUpdate.

RFC 6960 §4.2.2.1 takes that to mean that newer information is available all the time, so the server is free to fetch it
as often as it likes.  A day leaves it the time to get over an outage, and it is far below the ten days that the
CA/Browser Forum Baseline Requirements (§4.9.10) allow a response with a date.
"""

MAXIMUM_STAPLE = 65536
"""The longest OCSP response, in bytes, that is read.  One takes 300 bytes to 3 KB with its responder's certificate."""

_FOREVER = datetime.max.replace(tzinfo=UTC)
_log = logging.getLogger("aiotls.trust")


# CRLs

_PEM_CRL = re.compile(rb"-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----", re.DOTALL)
_DER_TRUE = b"\x01\x01\xff"
_SIGNERS = 64
"""How many issuer certificates with one name are remembered: cross-signing makes a handful."""

# What may be critical and is understood below (RFC 5280 §5.2).  A delta CRL has a text of its own.
_UNDERSTOOD = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CRL_NUMBER,
    ExtensionOID.DELTA_CRL_INDICATOR,
    ExtensionOID.ISSUING_DISTRIBUTION_POINT,
}


class _RevocationList:
    """One CRL: its scope and signers, and its entries by serial number, each found out when it is first needed.

    Two threads may find out the same at once, and come to the same answer.
    """

    def __init__(self, label: str, der: bytes) -> None:
        crl = x509.load_der_x509_crl(der)
        self.label = label
        self.fingerprint = hashlib.sha256(der).digest()
        self.issuer = crl.issuer
        self.this_update = crl.last_update_utc
        self.next_update = crl.next_update_utc
        self._crl = crl
        self._point: x509.IssuingDistributionPoint | None = None
        self._signers: dict[x509.Certificate, str] = {}
        self._fault = self._find_fault(der)

    def _find_fault(self, der: bytes) -> str:
        """Why the list can be used for no certificate (RFC 5280 §5.2), or nothing."""
        for extension in self._crl.extensions:
            value = extension.value
            if extension.oid == ExtensionOID.DELTA_CRL_INDICATOR:
                return "it is a delta CRL, and only complete ones are used"
            if isinstance(value, x509.IssuingDistributionPoint):
                self._point = value
            if extension.critical and extension.oid not in _UNDERSTOOD:
                return f"its critical extension {extension.oid.dotted_string} is unknown"
        point = self._point
        if point is not None and point.indirect_crl:
            return "it is an indirect CRL, with the certificates of other issuers"
        if point is not None and point.only_some_reasons:
            return "it is for some of the reasons to revoke only"
        if point is not None and (point.only_contains_attribute_certs or point.relative_name is not None):
            return "it is for attribute certificates, or its distribution point has a relative name"
        return "one of its entries has a critical extension" if self._has_critical_entry(der) else ""

    def _has_critical_entry(self, der: bytes) -> bool:
        """RFC 5280 §5.3: a list with a critical entry extension that we do not know must not be used at all."""
        # To read the extensions of all entries takes long.  Where the DER of TRUE is found only as often as the list's
        # own extensions are critical, none of the entries' is.
        critical = sum(extension.critical for extension in self._crl.extensions)
        if der.count(_DER_TRUE) <= critical:
            return False
        return any(extension.critical for entry in self._crl for extension in entry.extensions)

    @cached_property
    def _entries(self) -> dict[int, x509.RevokedCertificate]:
        entries: dict[int, x509.RevokedCertificate] = {}
        for entry in self._crl:
            known = entries.setdefault(entry.serial_number, entry)
            if known is not entry and _reason(known) is x509.ReasonFlags.remove_from_crl:
                entries[entry.serial_number] = entry
        return entries

    def fault_for(self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> str:
        """Why the list does not tell the status of *certificate* at *now* (RFC 5280 §6.3.3), or nothing."""
        if self._fault:
            return self._fault
        if self.this_update > now + CLOCK_TOLERANCE:
            return f"it is for a time to come, from {self.this_update:%Y-%m-%d %H:%M} UTC"
        if self.next_update is None:
            return "it does not say until when it holds"
        if self.next_update <= now:
            return f"it was to be replaced by {self.next_update:%Y-%m-%d %H:%M} UTC"
        if self._point is not None and not _is_in_scope(certificate, self._point):
            return "it is for other certificates of the same issuer"
        return self._signature_fault(issuer)

    def _signature_fault(self, issuer: x509.Certificate) -> str:
        # By certificate rather than key: its KeyUsage counts as well, and to compare costs less than to load the key.
        fault = self._signers.get(issuer)
        if fault is None:
            if len(self._signers) >= _SIGNERS:
                self._signers.clear()
            fault = self._signers[issuer] = self._check_signature(issuer)
        return fault

    def _check_signature(self, issuer: x509.Certificate) -> str:
        """RFC 5280 §6.3.3 (f) and (g)."""
        if not _may_sign_crls(issuer):
            return "the issuer's certificate does not allow it to sign CRLs"
        if not is_strong(self._crl):
            return "its signature is of a kind that is too weak or unknown"
        try:
            valid = self._crl.is_signature_valid(public_key_of(issuer, "the issuer"))
        except CertificateError:
            return "the issuer's key is of a kind that is unknown"
        return "" if valid else "it is not signed by the issuer's key"

    def refuse_revoked(self, certificate: x509.Certificate) -> None:
        """CertificateRevoked when the list has *certificate* (RFC 5280 §5.3.1)."""
        entry = self._entries.get(certificate.serial_number)
        if entry is None:
            return
        reason = _reason(entry)
        if reason is not x509.ReasonFlags.remove_from_crl:
            raise revoked(certificate, entry.revocation_date_utc, reason)


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (x509.ExtensionNotFound, *MALFORMED):
        return x509.ReasonFlags.unspecified  # it is revoked, whatever the reason is


def _may_sign_crls(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _is_in_scope(certificate: x509.Certificate, point: x509.IssuingDistributionPoint) -> bool:
    """RFC 5280 §6.3.3 (b)(2): a list may be for one kind of certificate, or for those that name where it is found.

    A CA that splits its list is the reason for the latter: not to be in another certificate's part tells nothing.
    """
    authority = _is_authority(certificate)
    if (point.only_contains_user_certs and authority) or (point.only_contains_ca_certs and not authority):
        return False
    return point.full_name is None or not _distribution_points(certificate).isdisjoint(point.full_name)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _distribution_points(certificate: x509.Certificate) -> set[x509.GeneralName]:
    """Where the complete lists of the certificate's own issuer are found (RFC 5280 §4.2.1.13)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return set()
    return {name for p in points if not p.crl_issuer and not p.reasons for name in p.full_name or ()}


@final
class _Snapshot:
    """The lists as they were at one time."""

    __slots__ = ("_by_issuer", "digest")

    def __init__(self, lists: Iterable[_RevocationList]) -> None:
        self._by_issuer: dict[x509.Name, list[_RevocationList]] = {}
        fingerprints: set[bytes] = set()
        for crl in lists:
            self._by_issuer.setdefault(crl.issuer, []).append(crl)
            fingerprints.add(crl.fingerprint)
        self.digest = hashlib.sha256(b"".join(sorted(fingerprints))).digest()

    def check(self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> datetime:
        """Until when *certificate* counts as not revoked; the errors are those of `CRLs.check`."""
        until: datetime | None = None
        faults: list[str] = []
        try:
            for crl in self._by_issuer.get(certificate.issuer, ()):
                fault = crl.fault_for(certificate, issuer, now)
                if fault:
                    faults.append(f"{crl.label}: {fault}")
                    continue
                # Of several that hold, it is enough that one has the certificate.
                crl.refuse_revoked(certificate)
                until = min(until or _FOREVER, crl.next_update or now)
        except MALFORMED as error:
            faults.append(f"a certificate cannot be read: {error}")
        if until is None:
            raise _unknown(certificate, faults)
        return until


def _unknown(certificate: x509.Certificate, faults: list[str]) -> RevocationUnknown:
    why = "; ".join(faults[:3]) or "there is no CRL of its issuer"
    text = f"whether the certificate ({subject(certificate)}) is revoked is unknown: {why}"
    return RevocationUnknown(text, **details(certificate))


def _read(sources: Sequence[Source]) -> _Snapshot:
    """The lists in *sources*; CertificateError says which of them cannot be read."""
    return _Snapshot(crl for source in sources for crl in _lists(source))


def _lists(source: Source) -> list[_RevocationList]:
    try:
        if not source.is_pem:
            return [_RevocationList(source.label, source.data)]
        ders = [binascii.a2b_base64(b"".join(pem.split()), strict_mode=True) for pem in _PEM_CRL.findall(source.data)]
        lists = [_RevocationList(source.label, der) for der in ders]
    except MALFORMED as error:
        raise CertificateError(f"{source.label}: there is no CRL in it, or it is damaged; fetch it again") from error
    # One whose end is cut off would be missed without a word.
    if not lists or len(lists) != source.kinds().count("X509 CRL"):
        raise CertificateError(f"{source.label}: there is no CRL in it, or the last one is cut off; fetch it again")
    return lists


@final
class CRLs:
    """The certificate revocation lists that decide whether a peer's certificate is still good (RFC 5280 §5).

    Made by `from_files` or `from_bytes`.  With *whole_chain* every certificate of a chain is looked up but the root,
    which can be distrusted only by not trusting it; else the peer's own alone.  A status that cannot be told denies.

    Lists made from files are read again when the files change.  What cannot be read then is logged with the file's
    name, and the lists before it stay, until they are out of date themselves.
    """

    __slots__ = ("_snapshot", "_watch", "_whole_chain")

    def __init__(self, snapshot: _Snapshot, *, whole_chain: bool, watch: FileWatch | None = None) -> None:
        self._snapshot = snapshot
        self._whole_chain = whole_chain
        self._watch = watch

    def __repr__(self) -> str:
        where = "bytes" if self._watch is None else ", ".join(self._watch.paths)
        return f"<CRLs from {where}{' for the whole chain' if self._whole_chain else ''}>"

    @classmethod
    def from_files(
        cls,
        *paths: str | os.PathLike[str],
        whole_chain: bool = False,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> "CRLs":
        """The lists in these files, each of which holds one in DER, or any number in PEM.

        Whether they have changed is looked at every *interval* seconds of *clock*, when a certificate is checked.
        LocalError says that no path is given, CertificateError which file cannot be read.
        """
        watch = FileWatch(paths, interval, clock)
        return cls(_read([Source.read(path) for path in watch.paths]), whole_chain=whole_chain, watch=watch)

    @classmethod
    def from_bytes(cls, *blobs: bytes, whole_chain: bool = False) -> "CRLs":
        """The lists in these bytes, as in a file; they stay as they are.  The errors are those of `from_files`."""
        if not blobs:
            raise LocalError("blobs is empty; give at least one CRL")
        sources = [Source(f"CRL bytes {at}", bytes(blob)) for at, blob in enumerate(blobs, 1)]
        return cls(_read(sources), whole_chain=whole_chain)

    @property
    def digest(self) -> bytes:
        """A hash over the lists: as long as it is the same, so is the answer for any certificate and time."""
        return self._current().digest

    def reload(self) -> None:
        """Read the files now.  CertificateError says which cannot be read, and the lists stay as they were."""
        if self._watch is None:
            raise LocalError("these CRLs were made from bytes, which do not change; make new ones")
        self._watch.look()
        self._snapshot = _read([Source.read(path) for path in self._watch.paths])

    def check(self, chain: Sequence[x509.Certificate], now: datetime) -> datetime:
        """Refuse a verified chain, from the peer's certificate to the root, when one of it may be revoked at *now*.

        Returns until when the answer holds: the time at which a list that gave it is out of date.  CertificateRevoked
        says since when and why; RevocationUnknown says what is the matter with the lists of the certificate's issuer.
        """
        if not chain:
            raise LocalError("chain is empty; give the verified chain from the peer's certificate to the root")
        snapshot = self._current()
        issued = len(chain) - 1
        until = _FOREVER
        # From the root down: what a revoked authority says of those below it is worth nothing.
        for at in reversed(range(issued if self._whole_chain else min(issued, 1))):
            until = min(until, snapshot.check(chain[at], chain[at + 1], now))
        return until

    def _current(self) -> _Snapshot:
        if self._watch is not None and self._watch.changed():
            try:
                self.reload()
            except CertificateError as error:
                _log.error("the CRLs stay as they were, for the new ones cannot be used: %s", error)
            else:
                _log.info("the CRLs in %s were read again", ", ".join(self._watch.paths))
        return self._snapshot


# OCSP

_CERTIFICATES = 4
"""How many certificates of a response are tried; RFC 6960 §4.2.1 has them for the responder's own."""

# What a responder's certificate may have that is critical (RFC 5280 §4.2).
_RESPONDER_EXTENSIONS = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.OCSP_NO_CHECK,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_Issued = tuple[x509.Certificate, x509.Certificate]


_TLS_FEATURE = bytes.fromhex("06082b06010505070118")
"""The OID of the TLS feature extension (RFC 7633 §6), in DER."""


def must_staple(leaf: x509.Certificate) -> bool:
    """Whether *leaf* is good only with a stapled OCSP response (RFC 7633 §4).

    CertificateError says that its extensions cannot be read.
    """
    if _TLS_FEATURE not in leaf.tbs_certificate_bytes:  # as is usual, and cheaper to see
        return False
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    except MALFORMED as error:
        raise CertificateError(f"the certificate's extensions cannot be read: {error}") from error
    return x509.TLSFeatureType.status_request in features


def check_staple(response: bytes, leaf: x509.Certificate, issuer: x509.Certificate, now: datetime) -> datetime:
    """Refuse the OCSP *response*, in DER, that does not say at *now* that *issuer* stands by *leaf* (RFC 6960 §3.2).

    *issuer* is the certificate above *leaf* in a verified chain.  Returns until when the answer holds.
    CertificateRevoked says that the certificate is revoked, since when and why; BadCertificateStatus that the response
    is malformed, not successful, for another certificate, out of date, or not signed by the issuer or by a responder
    that the issuer has a certificate for.
    """
    if len(response) > MAXIMUM_STAPLE:
        raise _bad(f"has {len(response)} bytes; at most {MAXIMUM_STAPLE} are read", leaf)
    try:
        parsed = ocsp.load_der_ocsp_response(bytes(response))
        if parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _bad(f"is an error: {parsed.response_status.name}", leaf)
        single = _single_response(parsed, leaf, issuer)
        until = _check_dates(single, leaf, now)
        until = min(until, _check_signature(parsed, bytes(response), (leaf, issuer), now))
        if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            raise revoked(leaf, single.revocation_time_utc, single.revocation_reason)
    except MALFORMED as error:
        raise _bad(f"is malformed: {error}", leaf) from error
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise _bad("says that the responder does not know the certificate", leaf)
    return until


def _bad(text: str, leaf: x509.Certificate) -> BadCertificateStatus:
    return BadCertificateStatus(f"the OCSP response for {subject(leaf)} {text}", **details(leaf))


def _single_response(
    parsed: ocsp.OCSPResponse, leaf: x509.Certificate, issuer: x509.Certificate
) -> ocsp.OCSPSingleResponse:
    """The one for *leaf* (RFC 6960 §4.1.1): the serial number, and the hashes of its issuer's name and key."""
    if any(extension.critical for extension in parsed.extensions):
        raise _bad("has a critical extension that is unknown", leaf)
    for single in parsed.responses:
        if single.serial_number != leaf.serial_number:
            continue
        request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, single.hash_algorithm).build()
        if single.issuer_name_hash == request.issuer_name_hash and single.issuer_key_hash == request.issuer_key_hash:
            return single
    raise _bad("is for another certificate", leaf)


def _check_dates(single: ocsp.OCSPSingleResponse, leaf: x509.Certificate, now: datetime) -> datetime:
    """RFC 6960 §4.2.2.1."""
    since, until = single.this_update_utc, single.next_update_utc
    if since > now + CLOCK_TOLERANCE:
        raise _bad(f"is for a time to come, from {since:%Y-%m-%d %H:%M} UTC", leaf)
    if until is None:
        until = since + UNDATED_LIFETIME
    if until <= now:
        raise _bad(f"is out of date since {until:%Y-%m-%d %H:%M} UTC", leaf)
    return until


def _check_signature(parsed: ocsp.OCSPResponse, response: bytes, issued: _Issued, now: datetime) -> datetime:
    """Until when the signer may sign: it is the issuer, or one that the issuer has appointed (RFC 6960 §4.2.2.2)."""
    leaf, issuer = issued
    scheme = scheme_of(parsed, response)
    if scheme is None:
        raise _bad("has a signature of a kind that is too weak or unknown", leaf)
    fault = "is signed by somebody who is neither the issuer nor certified in it"
    if _is_responder(parsed, issuer):
        fault = _signature_fault(parsed, scheme, issuer)
        if not fault:
            return _FOREVER
    for responder in parsed.certificates[:_CERTIFICATES]:
        if _is_responder(parsed, responder):
            fault = _appointment_fault(responder, issuer, now) or _signature_fault(parsed, scheme, responder)
            if not fault:
                return responder.not_valid_after_utc
    raise _bad(fault, leaf)


def _is_responder(parsed: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Whether the response names *certificate* as its signer's (RFC 6960 §4.2.1, ResponderID)."""
    if parsed.responder_name is not None:
        return parsed.responder_name == certificate.subject
    key = _key_of(certificate)
    return key is not None and parsed.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(key).digest


def _signature_fault(parsed: ocsp.OCSPResponse, scheme: SignatureScheme, signer: x509.Certificate) -> str:
    key = _key_of(signer)
    if key is None:
        return "is signed by a key that is too weak or of a kind that is unknown"
    try:
        signatures.verify(key, scheme, parsed.signature, parsed.tbs_response_bytes)
    except (DecryptError, LocalError):  # LocalError: the scheme is for another kind of key
        return "is not signed by the key of the one whom it names as its responder"
    return ""


def _key_of(certificate: x509.Certificate) -> PublicKey | None:
    try:
        key = public_key_of(certificate, "the responder")
        check_kind(key, "the responder")
    except CertificateError:
        return None
    return key


def _appointment_fault(responder: x509.Certificate, issuer: x509.Certificate, now: datetime) -> str:
    """RFC 6960 §4.2.2.2: the issuer itself must have certified the responder, and for this use.

    Whether the responder's certificate is revoked is not asked: its issuer makes it short-lived, or says with
    id-pkix-ocsp-nocheck that it wants no such question (§4.2.2.2.1).
    """
    if not is_strong(responder):
        return "comes from a responder whose certificate has a signature too weak or unknown"
    try:
        responder.verify_directly_issued_by(issuer)
    except (InvalidSignature, *MALFORMED):
        return "comes from a responder whom the certificate's issuer has not certified"
    if responder.not_valid_before_utc > now + CLOCK_TOLERANCE or responder.not_valid_after_utc <= now:
        return "comes from a responder whose certificate is not valid now"
    return "" if _may_sign_responses(responder) else "comes from a responder whose certificate is for another use"


def _may_sign_responses(responder: x509.Certificate) -> bool:
    purposes = usage = None
    for extension in responder.extensions:
        if extension.critical and extension.oid not in _RESPONDER_EXTENSIONS:
            return False
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            purposes = extension.value
        elif isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
    # RFC 6960 §4.2.2.2: anyExtendedKeyUsage is not enough.
    return (
        purposes is not None
        and ExtendedKeyUsageOID.OCSP_SIGNING in purposes
        and (usage is None or usage.digital_signature)
    )
