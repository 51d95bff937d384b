"""Why a chain was refused: what its owner has to mend, and the alert that fits (RFC 8446 §6.2).

`cryptography` decides, and of its reason gives a text alone, which is that of the last path that it tried.  So the
reason is found out here, afterwards: first what is wrong with the peer's own certificate, then what is wrong on the way
to a root.  Nothing here accepts anything.  Where no reason is found, the text of `cryptography` is passed on.

The peer has caused this work, so it is bounded: one way up is followed, and at most 16 signatures are checked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from aiotls.errors import (
    CertificateError,
    CertificateExpired,
    CertificateNameMismatch,
    UnsupportedCertificate,
    UntrustedCertificate,
)
from aiotls.trust.fields import printable, whom
from aiotls.trust.identity import check_fields, names_of, usable_key
from aiotls.trust.names import ServerName
from aiotls.trust.profile import allows_purpose, has_name_constraints, is_for
from aiotls.trust.statements import MALFORMED, details, is_strong

__all__ = ["MAXIMUM_INTERMEDIATES", "Refused", "diagnose"]

MAXIMUM_INTERMEDIATES = 8
"""How many authorities there may be between the peer's certificate and the root."""

_E = TypeVar("_E", bound=x509.ExtensionType)

_MAXIMUM_SIGNATURE_CHECKS = 16
_MAXIMUM_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Refused:
    """A chain that was refused."""

    certificates: Sequence[x509.Certificate]
    """What the peer sent, its own first."""
    anchors: Sequence[x509.Certificate]
    """What we trust."""
    server_name: ServerName | None
    """Whom the certificate was to be for; None where the peer is a client."""
    now: datetime
    failure: str
    """What `cryptography` said."""

    @property
    def purpose(self) -> x509.ObjectIdentifier:
        """What the certificate was to be for (RFC 5280 §4.2.1.12)."""
        return ExtendedKeyUsageOID.CLIENT_AUTH if self.server_name is None else ExtendedKeyUsageOID.SERVER_AUTH


def diagnose(refused: Refused) -> CertificateError:
    """The error that tells why."""
    leaf = refused.certificates[0]
    try:
        for at, certificate in enumerate(refused.certificates, 1):
            check_fields(certificate, at, len(refused.certificates))
    except CertificateError as error:
        return error
    try:
        for reason in _reasons(refused):
            return reason
    except MALFORMED as error:
        text = f"an extension in the chain is malformed (RFC 5280 §4.2): {printable(str(error))}"
        return _error(CertificateError, leaf, text)
    return _error(CertificateError, leaf, f"the chain does not verify: {printable(refused.failure)}")


def _error(kind: type[CertificateError], certificate: x509.Certificate, reason: str) -> CertificateError:
    known = details(certificate)
    validity = f"valid from {known['not_before']:%Y-%m-%d %H:%M} to {known['not_after']:%Y-%m-%d %H:%M} UTC"
    return kind(f"{reason} (certificate of {whom(certificate)}, {validity})", **known)


def _reasons(refused: Refused) -> Iterator[CertificateError]:
    """The reasons there are, weightiest first."""
    leaf = refused.certificates[0]
    yield from _date_fault(leaf, refused.now)
    yield from _name_fault(leaf, refused.server_name)
    yield from _key_fault(leaf)
    yield from _use_fault(leaf, refused.purpose)
    path, fault = _climb(refused)
    if fault is None:
        yield from _path_faults(path, refused)
    else:
        yield fault


def _path_faults(path: Sequence[x509.Certificate], refused: Refused) -> Iterator[CertificateError]:
    """What is wrong on a way that leads to an anchor."""
    for at, authority in enumerate(path[1:]):
        yield from _date_fault(authority, refused.now)
        yield from _authority_fault(authority, at, refused.purpose)
    if len(path) - 2 > MAXIMUM_INTERMEDIATES:
        text = f"there are {len(path) - 2} authorities between it and the root; at most {MAXIMUM_INTERMEDIATES} may be"
        yield _error(UntrustedCertificate, path[0], text)
    for certificate in path:
        yield from _form_fault(certificate)
    for authority in path[1:]:
        if has_name_constraints(authority):
            text = (
                f"the authority may not certify the names below it (RFC 5280 §4.2.1.10): {printable(refused.failure)}"
            )
            yield _error(UntrustedCertificate, authority, text)


# The peer's own certificate


def _date_fault(certificate: x509.Certificate, now: datetime) -> Iterator[CertificateError]:
    if now > certificate.not_valid_after_utc:
        yield _error(CertificateExpired, certificate, f"it is expired at {now:%Y-%m-%d %H:%M} UTC")
    if now < certificate.not_valid_before_utc:
        yield _error(CertificateExpired, certificate, f"it is not yet valid at {now:%Y-%m-%d %H:%M} UTC")


def _name_fault(leaf: x509.Certificate, name: ServerName | None) -> Iterator[CertificateError]:
    if name is None:
        return
    dns_names, ip_addresses, _, _ = names_of(leaf)
    if is_for(dns_names, ip_addresses, name):
        return
    offered = [*dns_names, *ip_addresses]
    shown = ", ".join(printable(name) for name in offered[:_MAXIMUM_NAMES_SHOWN])
    if len(offered) > _MAXIMUM_NAMES_SHOWN:
        shown += f" and {len(offered) - _MAXIMUM_NAMES_SHOWN} more"
    text = f"it is not for {name.text}, but for {shown or 'no name in subjectAltName'} (RFC 9525 §6)"
    yield _error(CertificateNameMismatch, leaf, text)


def _key_fault(certificate: x509.Certificate) -> Iterator[CertificateError]:
    try:
        usable_key(certificate)
    except CertificateError as error:
        yield error


def _use_fault(leaf: x509.Certificate, purpose: x509.ObjectIdentifier) -> Iterator[CertificateError]:
    yield from _purpose_fault(leaf, purpose)
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        yield _error(UnsupportedCertificate, leaf, "its key is not for signing handshakes (RFC 8446 §4.4.2.2)")


def _purpose_fault(certificate: x509.Certificate, purpose: x509.ObjectIdentifier) -> Iterator[CertificateError]:
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if not allows_purpose(usage, purpose):
        side = "clients" if purpose == ExtendedKeyUsageOID.CLIENT_AUTH else "servers"
        yield _error(UnsupportedCertificate, certificate, f"it is not for TLS {side} (RFC 5280 §4.2.1.12)")


# The way to a root


def _climb(refused: Refused) -> tuple[list[x509.Certificate], CertificateError | None]:
    """One way from the peer's certificate up, and why it does not lead to an anchor, if so."""
    path = [refused.certificates[0]]
    anchors = set(refused.anchors)
    checks = _MAXIMUM_SIGNATURE_CHECKS
    while path[-1] not in anchors:
        if not is_strong(path[-1]):
            text = "it is signed with an algorithm that is too weak or unknown (RFC 8446 §4.4.2.4)"
            return path, _error(CertificateError, path[-1], text)
        candidates = [candidate for candidate in _issuers(path[-1], refused) if candidate not in path][:checks]
        checks -= len(candidates)
        issuer = next((candidate for candidate in candidates if _is_signed_by(path[-1], candidate)), None)
        if issuer is None:
            return path, _dead_end(path[-1], candidates)
        path.append(issuer)
    return path, None


def _issuers(certificate: x509.Certificate, refused: Refused) -> Iterable[x509.Certificate]:
    """Those that bear the issuer's name: our own first, then those that are valid now."""

    def order(candidate: x509.Certificate) -> bool:
        return not candidate.not_valid_before_utc <= refused.now <= candidate.not_valid_after_utc

    issuer = certificate.issuer
    ours = [candidate for candidate in refused.anchors if candidate.subject == issuer]
    sent = [candidate for candidate in refused.certificates if candidate.subject == issuer]
    return [*ours, *sorted(sent, key=order)]


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def _dead_end(top: x509.Certificate, candidates: Sequence[x509.Certificate]) -> CertificateError:
    """Why *top* has no issuer among *candidates*, which bear the issuer's name."""
    if _is_signed_by(top, top):
        return _error(UntrustedCertificate, top, "it is signed by itself, and is not among the roots that we trust")
    wanted = _extension(top, x509.AuthorityKeyIdentifier)
    for candidate in candidates:
        key = _extension(candidate, x509.SubjectKeyIdentifier)
        # An authority of the same name and another key is another one, which has not signed this.
        if wanted is None or key is None or wanted.key_identifier in {None, key.digest}:
            return _error(CertificateError, top, "its signature is not by its issuer's key (RFC 5280 §6.1.3)")
    issuer = printable(top.issuer.rfc4514_string())
    text = f"its issuer, {issuer}, is neither among the roots that we trust nor among the certificates sent"
    return _error(UntrustedCertificate, top, text)


def _authority_fault(
    authority: x509.Certificate, below: int, purpose: x509.ObjectIdentifier
) -> Iterator[CertificateError]:
    """Why it may not issue what it issued; there are *below* authorities between it and the peer's certificate."""
    constraints = _extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield _error(UntrustedCertificate, authority, "an issuer is no certification authority (RFC 5280 §4.2.1.9)")
    elif constraints.path_length is not None and constraints.path_length < below:
        text = f"there are {below} authorities below one that allows {constraints.path_length} (RFC 5280 §4.2.1.9)"
        yield _error(UntrustedCertificate, authority, text)
    usage = _extension(authority, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        text = "an issuer's key is not for signing certificates (RFC 5280 §4.2.1.3)"
        yield _error(UntrustedCertificate, authority, text)
    yield from _purpose_fault(authority, purpose)
    yield from _key_fault(authority)


def _form_fault(certificate: x509.Certificate) -> Iterator[CertificateError]:
    if certificate.version is not x509.Version.v3:
        yield _error(UnsupportedCertificate, certificate, "it is not of version 3 (RFC 5280 §4.1.2.1)")
    if certificate.signature_algorithm_oid == SignatureAlgorithmOID.ED25519:
        yield _error(UnsupportedCertificate, certificate, "it is signed with Ed25519, which is not taken in chains")
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            text = f"its critical extension {extension.oid.dotted_string} is unknown (RFC 5280 §4.2)"
            yield _error(UnsupportedCertificate, certificate, text)


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
