"""A certificate authority for development and tests, whose certificates the strict verifiers accept.

    ca = LocalCA()
    config = ServerConfig(credentials=ca.issue("localhost", "127.0.0.1").credential())
    Path("ca.pem").write_bytes(ca.certificate_pem)      # what the client is to trust
    Path("crl.pem").write_bytes(ca.crl(stolen))         # what it is not to trust any more (RFC 5280 §5)
    Path("ocsp.der").write_bytes(ca.ocsp_response(good))        # what the server staples (RFC 6960)

The profile is that of RFC 5280 §4.2 with what verifiers want beyond it: an authority has critical BasicConstraints
and KeyUsage and a SubjectKeyIdentifier; a server has a subjectAltName that is not critical, an
AuthorityKeyIdentifier, both purposes in ExtendedKeyUsage, and is valid for at most 397 days (CA/Browser Forum Baseline
Requirements §6.3.2), from an hour ago, for clocks differ.
"""

import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aiotls.trust.credentials import Credential

__all__ = ["AuthorityKeyType", "CertificateStatus", "IssuedCertificate", "KeyType", "LocalCA"]

AuthorityKeyType: TypeAlias = Literal["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072", "rsa-4096"]
"""The keys that an authority can have; Ed25519 is not among them, for browsers refuse certificates signed with it."""

KeyType: TypeAlias = AuthorityKeyType | Literal["ed25519"]
"""The keys that a certificate can be issued for.  (`cryptography` cannot make one for an id-RSASSA-PSS key.)"""

CertificateStatus: TypeAlias = Literal["good", "revoked", "unknown"]
"""What an OCSP response can say of a certificate (RFC 6960 §2.2)."""

_AuthorityKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_Key: TypeAlias = _AuthorityKey | ed25519.Ed25519PrivateKey

_CURVES: dict[str, ec.EllipticCurve] = {
    "ecdsa-p256": ec.SECP256R1(),
    "ecdsa-p384": ec.SECP384R1(),
    "ecdsa-p521": ec.SECP521R1(),
}
_RSA_BITS = {"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}
_SIGNATURE_HASHES: dict[int, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    384: hashes.SHA384(),
    521: hashes.SHA512(),
}

_STATUSES: dict[str, ocsp.OCSPCertStatus] = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}

_BACKDATED = dt.timedelta(hours=1)
_AUTHORITY_LIFETIME = dt.timedelta(days=3650)
_LONGEST = 397  # days
_COMMON_NAME_LIMIT = 64  # characters: RFC 5280, ub-common-name


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, both in PEM."""

    chain_pem: bytes
    """The certificate, and the intermediate authority's after it if there is one (RFC 8446 §4.4.2)."""
    key_pem: bytes = field(repr=False)
    """The private key in PKCS #8, not encrypted."""

    def credential(self) -> Credential:
        """The same, as a config wants it."""
        return Credential.from_bytes(self.chain_pem, self.key_pem)

    def write(self, directory: str | PathLike[str]) -> tuple[Path, Path]:
        """Write ``cert.pem`` and ``key.pem`` into *directory*, which is made if need be, and return their paths.

        Files of these names are replaced.  Only their owner may read the key.  OSError says that it cannot be done.
        """
        where = Path(directory)
        where.mkdir(parents=True, exist_ok=True)
        certfile, keyfile = where / "cert.pem", where / "key.pem"
        certfile.write_bytes(self.chain_pem)
        # An old file would keep its mode, and a link would lead the key elsewhere.
        keyfile.unlink(missing_ok=True)
        keyfile.touch(mode=0o600, exist_ok=False)
        keyfile.write_bytes(self.key_pem)
        return certfile, keyfile


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: _AuthorityKey


class LocalCA:
    """A certificate authority of one's own; its key stays in this object and is forgotten with it.

    Every instance is another authority, even under the same *common_name*.  *clock* tells the time in UTC: one that is
    behind issues certificates that have expired.  ValueError says that *key_type* is none that an authority can have.
    """

    def __init__(
        self,
        *,
        common_name: str = "aiotls local CA",
        key_type: AuthorityKeyType = "ecdsa-p256",
        clock: Callable[[], dt.datetime] = _now,
    ) -> None:
        self._common_name = common_name
        self._key_type = key_type
        self._clock = clock
        self._root = self._authority(common_name, None)
        self._intermediate: _Authority | None = None

    def __repr__(self) -> str:
        return f"<LocalCA {self._common_name!r} ({self._key_type})>"

    @property
    def certificate_pem(self) -> bytes:
        """The certificate of the authority in PEM: what those who are to trust it need."""
        return _pem(self._root.certificate)

    def issue(
        self,
        *names_or_ips: str,
        key_type: KeyType = "ecdsa-p256",
        days: int = 90,
        intermediate: bool = False,
        must_staple: bool = False,
    ) -> IssuedCertificate:
        """A certificate with a new key for DNS names (``*.example.test`` too) and IP addresses (RFC 5280 §4.2.1.6).

        It serves servers and clients.  With *intermediate* it comes from an authority below this one, whose
        certificate is part of the chain; with *must_staple* it is good only with a stapled OCSP response (RFC 7633).
        ValueError says that there is no name, that one is neither a DNS name in
        ASCII nor an address, that *days* is not within 1 and 397, or that *key_type* is unknown.
        """
        if not names_or_ips:
            raise ValueError("a certificate needs at least one DNS name or IP address")
        _check_days(days)
        names = [_general_name(name) for name in names_or_ips]
        key = _new_key(key_type)
        issuer = self._intermediate_authority() if intermediate else self._root
        leaf = self._leaf(names, key, days, issuer, must_staple=must_staple)
        chain = _pem(leaf) + (_pem(issuer.certificate) if intermediate else b"")
        return IssuedCertificate(chain, _key_pem(key))

    def crl(self, *revoked: IssuedCertificate, days: int = 7, intermediate: bool = False) -> bytes:
        """A certificate revocation list in PEM (RFC 5280 §5) with these certificates, or an empty one.

        It holds for *days*.  With *intermediate* it is the list of the authority below this one, and a
        certificate of that authority belongs there: ValueError says that one of *revoked* was issued by another, or
        that *days* is not within 1 and 397.
        """
        _check_days(days)
        authority = self._intermediate_authority() if intermediate else self._root
        now = self._clock()
        builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
        builder = builder.last_update(now - _BACKDATED).next_update(now + dt.timedelta(days=days))
        builder = builder.add_extension(_authority_key_identifier(authority), critical=False)
        # RFC 5280 §5.2.3: the number grows from list to list.
        builder = builder.add_extension(x509.CRLNumber(int(now.timestamp() * 1_000_000)), critical=False)
        for issued in revoked:
            builder = builder.add_revoked_certificate(_entry(_issued_by(issued, authority), now))
        return builder.sign(authority.key, _hash_for(authority.key)).public_bytes(serialization.Encoding.PEM)

    def ocsp_response(self, issued: IssuedCertificate, *, status: CertificateStatus = "good", days: int = 7) -> bytes:
        """An OCSP response in DER (RFC 6960 §4.2.1) on a certificate of this authority or of the one below it.

        It holds for *days*, and is signed by the certificate's issuer.  ValueError says that *issued* comes from
        another authority, that *status* is unknown, or that *days* is not within 1 and 397.
        """
        _check_days(days)
        if status not in _STATUSES:
            raise ValueError(f"status is {status!r}; it can be {', '.join(_STATUSES)}")
        authority = self._root if self._intermediate is None or _depth(issued) == 1 else self._intermediate
        now = self._clock()
        is_revoked = status == "revoked"
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=_issued_by(issued, authority),
            issuer=authority.certificate,
            algorithm=hashes.SHA1(),  # noqa: S303 - what every client knows; it identifies and protects nothing
            cert_status=_STATUSES[status],
            this_update=now - _BACKDATED,
            next_update=now + dt.timedelta(days=days),
            revocation_time=now - _BACKDATED if is_revoked else None,
            revocation_reason=x509.ReasonFlags.key_compromise if is_revoked else None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, authority.certificate)
        response = builder.sign(authority.key, _hash_for(authority.key))
        return response.public_bytes(serialization.Encoding.DER)

    def _intermediate_authority(self) -> _Authority:
        if self._intermediate is None:
            self._intermediate = self._authority(f"{self._common_name} intermediate", self._root)
        return self._intermediate

    def _authority(self, common_name: str, issuer: _Authority | None) -> _Authority:
        """A root, which signs itself, or an authority below *issuer* that can have none below it."""
        key = _new_authority_key(self._key_type)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        start = self._clock() - _BACKDATED
        end = start + _AUTHORITY_LIFETIME
        if issuer is None:
            builder = _builder(subject, subject, key, start, end)
        else:
            end = min(end, issuer.certificate.not_valid_after_utc)
            builder = _builder(subject, issuer.certificate.subject, key, start, end)
            builder = builder.add_extension(_authority_key_identifier(issuer), critical=False)
        constraints = x509.BasicConstraints(ca=True, path_length=None if issuer is None else 0)
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        return _Authority(_signed(builder, key if issuer is None else issuer.key), key)

    def _leaf(
        self, names: list[x509.GeneralName], key: _Key, days: int, issuer: _Authority, *, must_staple: bool
    ) -> x509.Certificate:
        start = self._clock() - _BACKDATED
        end = min(start + _BACKDATED + dt.timedelta(days=days), start + dt.timedelta(days=_LONGEST))
        builder = _builder(_leaf_subject(names), issuer.certificate.subject, key, start, end)
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage(authority=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.SubjectAlternativeName(names), False),
            (_authority_key_identifier(issuer), False),
        ]
        if must_staple:
            extensions.append((x509.TLSFeature([x509.TLSFeatureType.status_request]), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return _signed(builder, issuer.key)


def _check_days(days: int) -> None:
    if not 1 <= days <= _LONGEST:
        raise ValueError(
            f"days is {days}; it can be 1 to {_LONGEST}: browsers refuse a certificate that is valid for longer"
        )


def _depth(issued: IssuedCertificate) -> int:
    """How many certificates there are below the root."""
    return len(x509.load_pem_x509_certificates(issued.chain_pem))


def _issued_by(issued: IssuedCertificate, authority: _Authority) -> x509.Certificate:
    """The certificate itself, which *authority* must have signed."""
    certificate = x509.load_pem_x509_certificate(issued.chain_pem)
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ValueError(
            "the certificate was issued by another authority; ask that one (or mind `intermediate`)"
        ) from error
    return certificate


def _entry(certificate: x509.Certificate, now: dt.datetime) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
    builder = builder.revocation_date(now - _BACKDATED)
    return builder.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False).build()


def _new_authority_key(key_type: str) -> _AuthorityKey:
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type])
    if key_type in _RSA_BITS:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[key_type])
    raise ValueError(f"key_type is {key_type!r}; an authority's can be {', '.join([*_CURVES, *_RSA_BITS])}")


def _new_key(key_type: str) -> _Key:
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if key_type not in _CURVES and key_type not in _RSA_BITS:
        raise ValueError(f"key_type is {key_type!r}; it can be {', '.join([*_CURVES, *_RSA_BITS, 'ed25519'])}")
    return _new_authority_key(key_type)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not name or not name.isascii() or any(c.isspace() or c in "/:@" for c in name):
        raise ValueError(f"{name!r} is neither a DNS name in ASCII (as 'xn--...') nor an IP address")
    return x509.DNSName(name)


def _leaf_subject(names: list[x509.GeneralName]) -> x509.Name:
    # Never empty: RFC 5280 §4.2.1.6 would then want the subjectAltName to be critical.
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "aiotls development certificate")]
    common_name = str(names[0].value)
    if len(common_name) <= _COMMON_NAME_LIMIT:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, start: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    """What every certificate has."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    """An authority signs certificates and CRLs, everyone else signs handshakes (RFC 5280 §4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(issuer: _Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _signed(builder: x509.CertificateBuilder, key: _AuthorityKey) -> x509.Certificate:
    return builder.sign(key, _hash_for(key))


def _hash_for(key: _AuthorityKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    # The hash is as strong as the curve; for RSA, SHA-256 is what all verifiers know.
    return _SIGNATURE_HASHES.get(key.key_size, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
