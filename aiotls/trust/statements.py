"""What CRLs and OCSP responses have in common as statements about a certificate, signed by its issuer.

Signatures by MD5 and SHA-1 are refused, for one of a colliding pair of statements would make the other believed
(RFC 6194 §3).  So is every algorithm that is not in the table below: what cannot be checked is not signed.
"""

from datetime import datetime, timedelta
from typing import TypedDict

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import ocsp
from cryptography.x509.oid import SignatureAlgorithmOID

from aiotls.errors import CertificateRevoked
from aiotls.trust.loading import subject_of
from aiotls.wire.registries import SignatureScheme

__all__ = ["CLOCK_TOLERANCE", "MALFORMED", "details", "is_strong", "revoked", "scheme_of", "subject"]

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ahead of ours the clock may be that dated a CRL or an OCSP response."""

MALFORMED = (
    ValueError,
    TypeError,
    KeyError,  # a TLS feature that `cryptography` does not know
    UnsupportedAlgorithm,
    CryptographyDeprecationWarning,  # of a serial number below 1, where the program makes warnings errors
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for DER that it cannot read."""


class _Details(TypedDict):
    subject: str
    not_before: datetime
    not_after: datetime


def subject(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, in an error's text; it may be one whose name cannot be read."""
    try:
        return subject_of(certificate)
    except MALFORMED:
        return "an unreadable name"


def details(certificate: x509.Certificate) -> _Details:
    """The attributes of a CertificateError about *certificate*."""
    return {
        "subject": subject(certificate),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
    }


_SCHEMES: dict[x509.ObjectIdentifier, SignatureScheme] = {
    # The hash is the issuer's choice whatever its curve: `verify` of these rows looks at the hash alone.
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: SignatureScheme.ecdsa_secp256r1_sha256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: SignatureScheme.ecdsa_secp384r1_sha384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: SignatureScheme.ecdsa_secp521r1_sha512,
    SignatureAlgorithmOID.ED25519: SignatureScheme.ed25519,
    SignatureAlgorithmOID.RSA_WITH_SHA256: SignatureScheme.rsa_pkcs1_sha256,
    SignatureAlgorithmOID.RSA_WITH_SHA384: SignatureScheme.rsa_pkcs1_sha384,
    SignatureAlgorithmOID.RSA_WITH_SHA512: SignatureScheme.rsa_pkcs1_sha512,
}


def _tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return bytes((tag, len(body))) + body


def _pss_identifier(hash_arc: int, digest_size: int, parameters: bytes) -> bytes:
    """The AlgorithmIdentifier of RSASSA-PSS as RFC 8446 §4.2.3 and CAs have it: one hash, and a salt as long as it."""
    pss, mgf1 = bytes.fromhex("06092a864886f70d01010a"), bytes.fromhex("06092a864886f70d010108")
    digest = _tlv(0x30, bytes.fromhex("06096086480165030402"), bytes((hash_arc,)), parameters)
    fields = (_tlv(0xA0, digest), _tlv(0xA1, _tlv(0x30, mgf1, digest)), _tlv(0xA2, _tlv(0x02, bytes((digest_size,)))))
    return _tlv(0x30, pss, _tlv(0x30, *fields))


# `cryptography` does not show the parameters of an OCSP response's signature, so they are recognised by their bytes.
# RFC 4055 §2.1: the parameters of a hash may be NULL or absent.
_PSS: dict[bytes, SignatureScheme] = {
    _pss_identifier(arc, size, parameters): scheme
    for arc, size, scheme in (
        (1, 32, SignatureScheme.rsa_pss_rsae_sha256),
        (2, 48, SignatureScheme.rsa_pss_rsae_sha384),
        (3, 64, SignatureScheme.rsa_pss_rsae_sha512),
    )
    for parameters in (b"\x05\x00", b"")
}


def is_strong(signed: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """Whether the signature is of a kind that we take: one of SHA-2, or Ed25519."""
    oid = signed.signature_algorithm_oid
    if oid == SignatureAlgorithmOID.RSASSA_PSS:
        return isinstance(signed.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
    return oid in _SCHEMES


def scheme_of(parsed: ocsp.OCSPResponse, response: bytes) -> SignatureScheme | None:
    """How an OCSP response is signed, of which *response* is the DER; None for what we do not take."""
    if parsed.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS:
        return _SCHEMES.get(parsed.signature_algorithm_oid)
    # BasicOCSPResponse: the AlgorithmIdentifier stands right behind what is signed.
    signed = parsed.tbs_response_bytes
    at = response.index(signed) + len(signed)
    return next((scheme for identifier, scheme in _PSS.items() if response.startswith(identifier, at)), None)


def revoked(
    certificate: x509.Certificate, since: datetime | None, reason: x509.ReasonFlags | None
) -> CertificateRevoked:
    """The error for a certificate that its issuer has revoked (RFC 5280 §5.3.1)."""
    when = "" if since is None else f" on {since:%Y-%m-%d %H:%M} UTC"
    why = (reason or x509.ReasonFlags.unspecified).value
    text = f"the certificate ({subject(certificate)}) was revoked{when}, for the reason {why}"
    return CertificateRevoked(text, **details(certificate))
