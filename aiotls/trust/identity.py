"""Who the peer is: what its certificate says, in values that outlive the certificate (RFC 5280 §4.1, §4.2.1.6).

A `PeerIdentity` is made of whatever was verified, and by whomever: by a `Verifier` along a chain, by the program's own
function, or of a raw public key (RFC 7250), which says nothing but the key.  Each of these makers also refuses the
keys that a handshake must not be signed with, because nobody after it asks again.

The peer's bytes are bounded before any is parsed, and whatever `cryptography` raises about them becomes a
CertificateError here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from aiotls.crypto.signatures import PublicKey
from aiotls.errors import CertificateError, CertificateRequired, LocalError, UnsupportedCertificate
from aiotls.trust.fields import is_rsa_pss_key, printable, spki_of, whom
from aiotls.trust.loading import check_kind, public_key_of, subject_of
from aiotls.trust.statements import MALFORMED, details

__all__ = [
    "MAXIMUM_CERTIFICATES",
    "MAXIMUM_CHAIN_BYTES",
    "PeerIdentity",
    "check_bounds",
    "check_fields",
    "end_point_digest",
    "identify",
    "identify_raw_public_key",
    "identity_of",
    "names_of",
    "parse",
    "usable_key",
]

MAXIMUM_CERTIFICATES = 16
"""How many certificates a peer may send.  A chain has two to four; the rest is for cross-signed ones beside it."""

MAXIMUM_CHAIN_BYTES = 102400
"""How many bytes they may have together; the limit is that of OpenSSL.  A chain has 2 to 6 KB."""

_LARGEST_RSA_BITS = 8192
"""Larger RSA keys are refused: their price is the verifier's, and nobody gains by it."""

_Names = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """Who the peer is, as its certificate or raw public key says."""

    certificates: tuple[bytes, ...] = field(repr=False)
    """The certificates as they were sent, in DER, the peer's own first; or its SubjectPublicKeyInfo (RFC 7250)."""
    verified_chain: tuple[bytes, ...] = field(default=(), repr=False)
    """The chain that was verified, from the peer's own to the root; empty where no chain was verified."""
    subject: str = ""
    """Whom the certificate is for, as in RFC 4514; it may have characters that are not printable."""
    dns_names: tuple[str, ...] = ()
    """The DNS names that the certificate is for, as they stand (RFC 5280 §4.2.1.6)."""
    ip_addresses: tuple[str, ...] = ()
    """The IP addresses that it is for."""
    email_addresses: tuple[str, ...] = ()
    """The mailboxes that it is for."""
    uris: tuple[str, ...] = ()
    """The URIs that it is for, as a SPIFFE ID."""
    spki_sha256: bytes
    """The SHA-256 hash of the SubjectPublicKeyInfo: the pin of the key (RFC 7469 §2.4)."""
    not_before: datetime | None = None
    """When the certificate begins to be valid, in UTC; None for a raw public key."""
    not_after: datetime | None = None
    """When it ceases to be valid, in UTC; None for a raw public key."""
    raw_public_key: bool = False
    """Whether the peer has shown a raw public key (RFC 7250), and no certificate."""
    public_key: PublicKey = field(repr=False, compare=False)
    """The peer's key, which its CertificateVerify is to be checked with."""
    rsa_pss: bool = False
    """Whether the key is named as id-RSASSA-PSS, and not as rsaEncryption (RFC 8446 §4.2.3)."""


def identify(certificates: Sequence[bytes]) -> PeerIdentity:
    """Read what the first of *certificates*, in DER, says; for a program that verifies it in its own way.

    Nothing is verified but that the key can sign a handshake and is strong enough.  CertificateRequired says that there
    is no certificate, UnsupportedCertificate that the key cannot be used, CertificateError that they are too many, too
    large or malformed.
    """
    certificates = tuple(certificates)
    return identity_of(certificates, parse(certificates))


def identify_raw_public_key(spki_der: bytes) -> PeerIdentity:
    """The identity that a raw public key gives: the key (RFC 7250 §3).

    CertificateError says that *spki_der* is no SubjectPublicKeyInfo, UnsupportedCertificate that the key is too weak or
    of a kind that we do not take.
    """
    if len(spki_der) > MAXIMUM_CHAIN_BYTES:
        raise CertificateError(f"the raw public key has {len(spki_der)} bytes; at most {MAXIMUM_CHAIN_BYTES} are read")
    try:
        key = load_der_public_key(spki_der)
    except UnsupportedAlgorithm as error:
        raise UnsupportedCertificate(f"the raw public key is of a kind that TLS cannot sign with: {error}") from error
    except (ValueError, OverflowError) as error:
        raise CertificateError(f"the raw public key is malformed (RFC 7250 §3): {error}") from error
    if not isinstance(key, PublicKey):
        raise UnsupportedCertificate("the raw public key is of a kind that TLS cannot sign with")
    try:
        _check_strength(key, "the raw public key")
    except CertificateError as error:
        raise UnsupportedCertificate(str(error)) from error
    return PeerIdentity(
        certificates=(spki_der,),
        spki_sha256=hashlib.sha256(spki_der).digest(),
        raw_public_key=True,
        public_key=key,
        rsa_pss=is_rsa_pss_key(spki_der),
    )


def end_point_digest(der: bytes) -> bytes:
    """The channel binding tls-server-end-point: the hash of the server's certificate (RFC 5929 §4.1).

    It is the hash of the certificate's signature, but SHA-256 in place of MD5 and SHA-1.  LocalError says that the
    signature has no single hash, as Ed25519, for which the RFC defines no binding; CertificateError that *der* is no
    certificate.
    """
    certificate = _load(der)
    try:
        algorithm = certificate.signature_hash_algorithm
    except MALFORMED as error:
        raise LocalError(f"tls-server-end-point is not defined for this signature algorithm: {error}") from error
    if algorithm is None:
        raise LocalError(
            "tls-server-end-point is not defined for a certificate whose signature has no hash of its own, as Ed25519"
            " (RFC 5929 §4.1); take tls-exporter"
        )
    name = "sha256" if algorithm.name in {"md5", "sha1"} else algorithm.name
    return hashlib.new(name.replace("sha3-", "sha3_"), der).digest()


# What the makers share


def check_bounds(certificates: Sequence[bytes]) -> None:
    """Refuse what is too much to look at; CertificateRequired says that there is nothing."""
    if not certificates:
        raise CertificateRequired("the peer shows no certificate, and must (RFC 8446 §4.4.2.4)")
    if len(certificates) > MAXIMUM_CERTIFICATES:
        raise CertificateError(
            f"the peer sends {len(certificates)} certificates; at most {MAXIMUM_CERTIFICATES} are read"
        )
    size = sum(map(len, certificates))
    if size > MAXIMUM_CHAIN_BYTES:
        raise CertificateError(f"the peer sends {size} bytes of certificates; at most {MAXIMUM_CHAIN_BYTES} are read")


def parse(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    """The certificates, of which the first has extensions that can be read, and a key that can sign a handshake."""
    check_bounds(certificates)
    loaded = [_load(der, at, len(certificates)) for at, der in enumerate(certificates, 1)]
    leaf = loaded[0]
    check_fields(leaf, 1, len(loaded))
    try:
        _ = leaf.extensions
    except MALFORMED as error:
        why = printable(str(error))
        text = f"the extensions of the peer's certificate ({whom(leaf)}) are malformed (RFC 5280 §4.2): {why}"
        raise CertificateError(text, **details(leaf)) from error
    return loaded


def _load(der: bytes, at: int = 1, count: int = 1) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (*MALFORMED, OverflowError) as error:
        raise CertificateError(
            f"certificate {at} of {count} is malformed (RFC 5280 §4.1): {printable(str(error))}"
        ) from error


def check_fields(certificate: x509.Certificate, at: int, count: int) -> None:
    """Read what `cryptography` parses only when it is read; CertificateError says that it is malformed."""
    try:
        _ = certificate.subject, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (*MALFORMED, OverflowError) as error:
        raise CertificateError(
            f"certificate {at} of {count} is malformed (RFC 5280 §4.1): {printable(str(error))}"
        ) from error


def _check_strength(key: PublicKey, label: str) -> None:
    check_kind(key, label)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size > _LARGEST_RSA_BITS:
        raise CertificateError(f"{label}: an RSA key of {key.key_size} bits is too large; use at most 8192")


def usable_key(certificate: x509.Certificate) -> PublicKey:
    """The key of *certificate*; UnsupportedCertificate when it is too weak, or of a kind that we do not take."""
    try:
        key = public_key_of(certificate, "the certificate")
        _check_strength(key, "the certificate")
    except CertificateError as error:
        text = f"{error} (certificate of {whom(certificate)})"
        raise UnsupportedCertificate(text, **details(certificate)) from error
    return key


def identity_of(
    certificates: tuple[bytes, ...], loaded: Sequence[x509.Certificate], verified_chain: tuple[bytes, ...] = ()
) -> PeerIdentity:
    """The identity that the first of *loaded*, which `parse` gave, stands for."""
    leaf = loaded[0]
    key = usable_key(leaf)
    spki = spki_of(leaf)
    dns_names, ip_addresses, email_addresses, uris = names_of(leaf)
    return PeerIdentity(
        certificates=certificates,
        verified_chain=verified_chain,
        subject=subject_of(leaf),
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        email_addresses=email_addresses,
        uris=uris,
        spki_sha256=hashlib.sha256(spki).digest(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        public_key=key,
        rsa_pss=is_rsa_pss_key(spki),
    )


def names_of(certificate: x509.Certificate) -> _Names:
    """DNS names, IP addresses, mailboxes and URIs of subjectAltName (RFC 5280 §4.2.1.6)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), (), (), ()
    return (
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )
