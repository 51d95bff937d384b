"""Certificates and private keys out of files and bytes, PEM or DER, with an error that says what is wrong with which.

What a file holds is seen from its content, never from its name.  Every error is a CertificateError whose text begins
with the file, or with what else the bytes are called, and ends with what to do.  Only the keys pass that TLS 1.3
can sign with here (RFC 8446 §4.2.3).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from aiotls.crypto import signatures
from aiotls.crypto.signatures import PrivateKey, PublicKey
from aiotls.errors import CertificateError

__all__ = [
    "MINIMUM_RSA_BITS",
    "Source",
    "check_kind",
    "fits",
    "is_rsa_pss",
    "kind_of",
    "load_certificates",
    "load_private_key",
    "public_key_of",
    "subject_of",
]

MINIMUM_RSA_BITS = 2048
"""Smaller RSA keys are refused: browsers do so, and NIST SP 800-131A disallows them."""

_USABLE = "use a key of EC P-256, P-384 or P-521, of Ed25519, or of RSA with at least 2048 bits"
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATE_LABELS = {"CERTIFICATE", "X509 CERTIFICATE"}


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes, and what to call them in an error's text."""

    label: str
    data: bytes = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Source":
        """The content of a file; CertificateError says why there is none."""
        label = os.fspath(path)
        try:
            data = Path(label).read_bytes()
        except FileNotFoundError as error:
            raise CertificateError(f"{label}: there is no such file; name one that exists") from error
        except IsADirectoryError as error:
            raise CertificateError(f"{label}: this is a directory; name the file in it") from error
        except PermissionError as error:
            raise CertificateError(f"{label}: permission denied; let this process's user read the file") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise CertificateError(f"{label!r}: the file cannot be read: {error}") from error
        return cls(label, data)

    @classmethod
    def of_chain(cls, certificate: bytes | Sequence[bytes]) -> "list[Source]":
        """A chain that is in memory, whole or one by one; CertificateError says that it is empty."""
        if isinstance(certificate, bytes | bytearray | memoryview):
            return [cls("the certificate bytes", bytes(certificate))]
        if not certificate:
            raise CertificateError("the certificate chain is empty; give at least our own certificate")
        return [cls(f"certificate {at} of the chain", bytes(der)) for at, der in enumerate(certificate, 1)]

    @property
    def is_pem(self) -> bool:
        """Whether it is PEM (RFC 7468), and not DER."""
        return _PEM_LABEL.search(self.data) is not None

    def kinds(self) -> tuple[str, ...]:
        """What it holds: its PEM labels, or what DER it is in the same words."""
        if self.is_pem:
            return tuple(label.decode() for label in _PEM_LABEL.findall(self.data))
        return _der_kinds(self.data)

    def missing(self, wanted: str) -> CertificateError:
        """The error for a source without what is *wanted* of it, which says what it holds instead."""
        text = f"{self.label}: there is no {wanted} in it"
        if not self.data:
            return CertificateError(f"{text}: it is empty")
        kinds = self.kinds()
        if not kinds:
            return CertificateError(f"{text}: it is neither PEM nor DER, or it is damaged; issue it again")
        return CertificateError(f"{text}, but {', '.join(dict.fromkeys(kinds))}; {_advice(wanted, kinds)}")


def _der_kinds(data: bytes) -> tuple[str, ...]:
    try:
        x509.load_der_x509_certificate(data)
    except ValueError:
        pass
    else:
        return ("CERTIFICATE",)
    try:
        serialization.load_der_private_key(data, None)
    except TypeError:
        return ("ENCRYPTED PRIVATE KEY",)
    except (ValueError, UnsupportedAlgorithm):
        # RFC 7292 §4: a PFX begins with its version, which is 3.
        return ("PKCS#12",) if data[:1] == b"\x30" and b"\x02\x01\x03" in data[:9] else ()
    return ("PRIVATE KEY",)


def _advice(wanted: str, kinds: tuple[str, ...]) -> str:
    if "PKCS#12" in kinds:
        return "convert it to PEM with `openssl pkcs12 -nodes`"
    if wanted == "private key":
        return "give the private key that belongs to the certificate"
    if any("PRIVATE KEY" in kind for kind in kinds):
        return "are the certificate and the private key swapped?"
    return "give the certificate that the CA issued, in PEM or DER"


def load_certificates(sources: Sequence[Source]) -> list[x509.Certificate]:
    """All certificates, in their order; CertificateError says which source has none, or a damaged one."""
    return [certificate for source in sources for certificate in _load(source)]


def _load(source: Source) -> list[x509.Certificate]:
    if not _CERTIFICATE_LABELS.intersection(source.kinds()):
        raise source.missing("certificate")
    if not source.is_pem:
        return [x509.load_der_x509_certificate(source.data)]
    try:
        certificates = x509.load_pem_x509_certificates(source.data)
    except ValueError as error:
        raise _damaged(source) from error
    # A certificate whose end is cut off is skipped without a word, and the chain would lack an issuer.
    if len(certificates) != sum(kind in _CERTIFICATE_LABELS for kind in source.kinds()):
        raise _damaged(source)
    return certificates


def _damaged(source: Source) -> CertificateError:
    return CertificateError(f"{source.label}: a certificate in it is damaged or cut off; fetch it again from its CA")


def load_private_key(source: Source, password: str | bytes | None) -> PrivateKey:
    """The private key; CertificateError says that there is none, or why it cannot be read or used."""
    if not source.data or (source.is_pem and not any("PRIVATE KEY" in kind for kind in source.kinds())):
        raise source.missing("private key")
    load = serialization.load_pem_private_key if source.is_pem else serialization.load_der_private_key
    secret = password.encode() if isinstance(password, str) else password
    try:
        # An RSA key costs 41 ms here, for it is checked that its numbers fit together.  The check stays: a key that
        # is damaged, or made so on purpose, gives away its factors with the first signature.
        key = load(source.data, secret)
    except TypeError as error:
        raise _password_problem(source, secret) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unreadable_key(source, secret) from error
    if not isinstance(key, PrivateKey):
        raise _unusable(source.label, kind_of(key))
    check_kind(key.public_key(), source.label)
    return key


def _password_problem(source: Source, secret: bytes | None) -> CertificateError:
    if secret:
        return CertificateError(f"{source.label}: the private key is not encrypted; leave the password out")
    return CertificateError(f"{source.label}: the private key is encrypted; give its password")


def _unreadable_key(source: Source, secret: bytes | None) -> CertificateError:
    if not source.is_pem and not any("PRIVATE KEY" in kind for kind in source.kinds()):
        return source.missing("private key")
    if secret:
        return CertificateError(f"{source.label}: the password is wrong for this private key, or it is damaged")
    return CertificateError(f"{source.label}: the private key is damaged, or of a kind unknown here; {_USABLE}")


def kind_of(key: object) -> str:
    """What kind of key it is, in a few words."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    return type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey")


def _unusable(label: str, kind: str) -> CertificateError:
    return CertificateError(f"{label}: TLS cannot sign with a key of the kind {kind}; {_USABLE}")


def check_kind(key: PublicKey, label: str) -> None:
    """CertificateError for a key that is too weak, or that no signature scheme is for (RFC 8446 §4.2.3)."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MINIMUM_RSA_BITS:
        raise CertificateError(f"{label}: an RSA key of {key.key_size} bits is too weak; {_USABLE}")
    if not signatures.schemes_for(key):
        raise _unusable(label, kind_of(key))


def public_key_of(certificate: x509.Certificate, label: str) -> PublicKey:
    """The key that a certificate is for; CertificateError when TLS cannot sign with its kind (RFC 8446 §4.4.2.2)."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(label, certificate.public_key_algorithm_oid.dotted_string) from error
    if not isinstance(key, PublicKey):
        raise _unusable(label, kind_of(key))
    return key


def is_rsa_pss(certificate: x509.Certificate) -> bool:
    """Whether a certificate names its key as id-RSASSA-PSS (RFC 8446 §4.2.3)."""
    # A key with RSASSA-PSS-params is for one hash alone (RFC 4055 §3.1).  `cryptography` does not show them, so such
    # a key offers SHA-256 first, which is what it is nearly always for.
    return certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS


def fits(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """Whether *certificate* is for *key*: they have the same SubjectPublicKeyInfo."""
    try:
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(public_key, PublicKey) and _spki(public_key) == _spki(key.public_key())


def _spki(key: PublicKey) -> bytes:
    # `cryptography` writes rsaEncryption for a key that is named as id-RSASSA-PSS too: both sides compare equal.
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def subject_of(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, as in RFC 4514; for logs and errors."""
    return certificate.subject.rfc4514_string() or "no subject"
