"""What an endpoint proves its name with: a certificate chain and the private key of its first certificate.

RFC 8446 §4.4.2 and §4.4.3 want of the sender a chain whose first certificate bears the key that signs
CertificateVerify.  Whatever could go wrong there because of a wrong file goes wrong here, when the program starts,
with a text that names the file; a handshake finds a `Credential` that works, and its Certificate message ready.

A key that must not be in this process (HSM, KMS) is a `SigningKey`: two methods, of which `sign` may be async.

Expiry is not looked at: a server must be able to start with an expired certificate, for it may be renewed by what
it serves.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol, TypeAlias, final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aiotls.crypto import signatures
from aiotls.crypto.signatures import PrivateKey, PublicKey
from aiotls.errors import CertificateError, LocalError
from aiotls.trust.loading import (
    Source,
    check_kind,
    fits,
    is_rsa_pss,
    kind_of,
    load_certificates,
    load_private_key,
    public_key_of,
    subject_of,
)
from aiotls.trust.stapling import OCSPStaple
from aiotls.wire.messages import Certificate, CertificateEntry
from aiotls.wire.registries import CertificateType, SignatureScheme, name_of

__all__ = [
    "CertificateRequestInfo",
    "ClientHelloInfo",
    "Credential",
    "CredentialResolver",
    "PrivateKeySigner",
    "SigningKey",
    "select",
    "select_for_request",
]


class SigningKey(Protocol):
    """A private key that may live elsewhere, in an HSM or a KMS.

    It is asked for one signature in every full handshake (RFC 8446 §4.4.3).  What `sign` raises ends that handshake
    as a CallbackError.
    """

    def schemes(self) -> Sequence[int]:
        """The SignatureScheme code points that it can sign with, preferred first (RFC 8446 §4.2.3)."""
        ...

    def sign(self, scheme: int, message: bytes) -> bytes | Awaitable[bytes]:
        """The signature of *message*, which is not yet hashed, with *scheme*; at once, or as an awaitable."""
        ...


@final
class PrivateKeySigner:
    """A SigningKey whose key is in this process.

    `rsa_pss` says that the certificate names the key as id-RSASSA-PSS (RFC 8446 §4.2.3).
    """

    __slots__ = ("_key", "_signers")

    def __init__(self, key: PrivateKey, *, rsa_pss: bool = False) -> None:
        self._key = key
        schemes = signatures.schemes_for(key.public_key(), rsa_pss=rsa_pss)
        self._signers = {scheme: signatures.signer(key, scheme) for scheme in schemes}

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._key.public_key()

    def __repr__(self) -> str:
        return f"<PrivateKeySigner {kind_of(self._key.public_key())}>"

    def schemes(self) -> tuple[int, ...]:
        """What this kind of key can sign a TLS 1.3 handshake with, preferred first (RFC 8446 §4.2.3)."""
        return tuple(self._signers)

    def sign(self, scheme: int, message: bytes) -> bytes:
        """Sign *message*; a scheme that is not for this kind of key raises LocalError (RFC 8446 §4.4.3)."""
        signer = self._signers.get(scheme)
        if signer is None:
            msg = f"a {kind_of(self._key.public_key())} key does not sign with {name_of(SignatureScheme, scheme)}"
            raise LocalError(msg)
        return signer(message)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Credential:
    """A certificate chain and the key of its first certificate (RFC 8446 §4.4.2); immutable.

    Made by `from_files`, `from_bytes` or `from_signing_key`, which check that the parts fit; never by a call of
    the class.  They read files and check keys (an RSA key takes 41 ms): call them before the event loop runs, or in
    a thread.
    """

    chain: tuple[bytes, ...]
    """The certificates in DER, our own first, each followed by its issuer as far as they were given."""
    schemes: tuple[int, ...]
    """The SignatureScheme code points that it can sign a handshake with, preferred first (RFC 8446 §4.2.3)."""
    signing_key: SigningKey
    """What signs CertificateVerify (RFC 8446 §4.4.3)."""
    names: tuple[str, ...]
    """The DNS names that our own certificate is for, in lower case; a wildcard as it stands (RFC 5280 §4.2.1.6)."""
    not_before: datetime
    """When our own certificate begins to be valid, in UTC (RFC 5280 §4.1.2.5)."""
    not_after: datetime
    """When our own certificate ceases to be valid, in UTC (RFC 5280 §4.1.2.5)."""
    subject: str
    """Whom our own certificate is for, as in RFC 4514; for logs."""
    key_type: str
    """What kind of key it is, as in ``secp256r1`` or ``RSA-2048``; for logs."""
    issuers: frozenset[bytes]
    """The issuers that the chain names, each a Name in DER (RFC 5280 §4.1.2.4)."""
    certificate_type: int = CertificateType.x509
    """What it shows: certificates, or a raw public key (RFC 7250 §3)."""
    staple: OCSPStaple | None = None
    """Where the OCSP response comes from that is sent with the chain (RFC 6066 §8); see `with_staple`."""
    encodings: dict[tuple[int | None, bytes | None], bytes] = field(init=False, default_factory=dict)
    """Certificate messages by compression algorithm and OCSP response, as far as they were needed (RFC 8879)."""
    certificate_message: bytes = field(init=False)
    """The encoded TLS 1.3 Certificate message with an empty certificate_request_context (RFC 8446 §4.4.2)."""

    def __post_init__(self) -> None:
        entries = tuple(CertificateEntry(cert_data=der) for der in self.chain)
        message = Certificate(certificate_request_context=b"", certificate_list=entries).encode()
        object.__setattr__(self, "certificate_message", message)

    def __repr__(self) -> str:
        whom = ", ".join(self.names) or self.subject
        return f"<Credential {whom} ({self.key_type}), valid until {self.not_after:%Y-%m-%d %H:%M} UTC>"

    @classmethod
    def from_files(
        cls,
        certfile: str | os.PathLike[str],
        keyfile: str | os.PathLike[str] | None = None,
        *,
        password: str | bytes | None = None,
    ) -> "Credential":
        """Read a chain and its private key from files, each PEM or DER.

        Without *keyfile* the key is in *certfile*.  *password* decrypts the key.  CertificateError, naming the file,
        says that a file cannot be read, holds something else, is encrypted otherwise than *password* tells, that
        the key is too weak or of a kind that TLS cannot use, or that it is not the key of the first certificate
        (RFC 8446 §4.4.2).
        """
        certificate = Source.read(certfile)
        key = certificate if keyfile is None else Source.read(keyfile)
        return _with_private_key([certificate], key, password)

    @classmethod
    def from_bytes(
        cls,
        certificate: bytes | Sequence[bytes],
        key: bytes,
        *,
        password: str | bytes | None = None,
    ) -> "Credential":
        """Make one of a chain and its private key, each PEM or DER; the chain can be a sequence of DER.

        *password* decrypts the key.  CertificateError says what is wrong, as for `from_files` (RFC 8446 §4.4.2).
        """
        return _with_private_key(Source.of_chain(certificate), Source("the key bytes", bytes(key)), password)

    @classmethod
    def from_signing_key(cls, certificate: bytes | Sequence[bytes], signing_key: SigningKey) -> "Credential":
        """Make one of a chain, PEM or DER or a sequence of DER, and a key that lives elsewhere.

        Of the schemes that *signing_key* lists, those are used that suit the first certificate (RFC 8446 §4.4.2.2).
        CertificateError says that there is none, or that the certificates cannot be used.  That the two belong
        together only a handshake will show.
        """
        sources = Source.of_chain(certificate)
        return _credential(load_certificates(sources), signing_key, _label(sources))


    @classmethod
    def from_raw_public_key(
        cls, keyfile: str | os.PathLike[str], *, password: str | bytes | None = None
    ) -> "Credential":
        """Make one of a private key alone: what it shows is the public key, without a certificate (RFC 7250).

        Only peers that trust this very key can verify it.  CertificateError says, as for `from_files`, why the file
        cannot be used.
        """
        source = Source.read(keyfile)
        return _raw_public_key(PrivateKeySigner(load_private_key(source, password)))

    def with_staple(self, staple: OCSPStaple) -> "Credential":
        """The same with an OCSP response for its own certificate, for the clients that ask for one (RFC 6066 §8)."""
        return replace(self, staple=staple)


@dataclass(frozen=True, slots=True)
class ClientHelloInfo:
    """What a CredentialResolver is shown of the ClientHello (RFC 8446 §4.1.2)."""

    server_name: str | None
    """The DNS name that the client wants to reach, if it says so (RFC 6066 §3)."""
    alpn: tuple[bytes, ...]
    """The application protocols that it speaks, preferred first (RFC 7301 §3.1)."""
    signature_schemes: tuple[int, ...]
    """The SignatureScheme code points that it accepts, preferred first (RFC 8446 §4.2.3)."""
    cipher_suites: tuple[int, ...]
    """The cipher suites that it offers, preferred first (RFC 8446 §4.1.2)."""
    groups: tuple[int, ...]
    """The key exchange groups that it supports, preferred first (RFC 8446 §4.2.7)."""
    signature_schemes_cert: tuple[int, ...] = ()
    """The same as *signature_schemes* for the signatures in our certificates (RFC 8446 §4.2.3); empty says nothing."""
    supported_versions: tuple[int, ...] = ()
    """The protocol versions that it speaks, preferred first (RFC 8446 §4.2.1)."""
    raw: bytes = field(default=b"", repr=False)
    """The whole message as it came, for what operators read out of it."""


CredentialResolver: TypeAlias = Callable[[ClientHelloInfo], Credential | Awaitable[Credential | None] | None]
"""A function that chooses the credential for a ClientHello, at once or as an awaitable; None refuses the client."""


@dataclass(frozen=True, slots=True)
class CertificateRequestInfo:
    """What a client's resolver is shown of a CertificateRequest (RFC 8446 §4.3.2)."""

    server_name: str | None
    """The name that the connection is for."""
    signature_schemes: tuple[int, ...]
    """The SignatureScheme code points that the server accepts, preferred first (RFC 8446 §4.2.3)."""
    signature_schemes_cert: tuple[int, ...]
    """The same for the signatures in the certificates (RFC 8446 §4.2.3)."""
    authorities: tuple[bytes, ...]
    """The names of the certification authorities that it trusts, each a Name in DER; empty when it names none."""
    oid_filters: tuple[tuple[bytes, bytes], ...]
    """What the certificate's extensions must hold: the OID and the values, each in DER (RFC 8446 §4.2.5)."""


def select_for_request(credentials: Sequence[Credential], info: CertificateRequestInfo) -> Credential | None:
    """The credential to answer a CertificateRequest with (RFC 8446 §4.4.2.3).

    It is the first that can sign with a scheme that the server accepts and is issued under one of its authorities;
    failing that the first that can sign so, for servers' lists are often not complete; else None.
    """
    usable = [
        credential
        for credential in credentials
        if any(scheme in info.signature_schemes for scheme in credential.schemes)
    ]
    for credential in usable:
        if not credential.issuers.isdisjoint(info.authorities):
            return credential
    return usable[0] if usable else None


def select(credentials: Sequence[Credential], info: ClientHelloInfo) -> Credential | None:
    """The credential to answer *info* with (RFC 8446 §4.4.2.2).

    It is the first that is for the server name and can sign with a scheme that the client accepts; failing that the
    first that can sign so, for the client may know us by another name; else None.
    """
    usable = [
        credential
        for credential in credentials
        if any(scheme in info.signature_schemes for scheme in credential.schemes)
    ]
    if info.server_name is not None:
        exact, wildcard = _candidates(info.server_name)
        for credential in usable:
            if exact in credential.names or wildcard in credential.names:
                return credential
    return usable[0] if usable else None


def _candidates(server_name: str) -> tuple[str, str]:
    """The two names that a certificate for *server_name* can bear: itself, and a wildcard (RFC 9525 §6.3)."""
    exact = server_name.lower()
    label, _, rest = exact.partition(".")
    return exact, f"*.{rest}" if label and rest else exact


def _with_private_key(sources: Sequence[Source], key_source: Source, password: str | bytes | None) -> Credential:
    label = _label(sources)
    certificates = load_certificates(sources)
    key = load_private_key(key_source, password)
    _check_match(key, certificates, label, key_source.label)
    return _credential(certificates, PrivateKeySigner(key, rsa_pss=is_rsa_pss(certificates[0])), label)


def _label(sources: Sequence[Source]) -> str:
    return sources[0].label if len(sources) == 1 else "the certificate chain"


def _check_match(key: PrivateKey, certificates: Sequence[x509.Certificate], label: str, key_label: str) -> None:
    """RFC 8446 §4.4.2: the sender's certificate comes first in the list."""
    at = next((at for at, certificate in enumerate(certificates, 1) if fits(certificate, key)), None)
    if at is None:
        raise CertificateError(
            f"{key_label}: the private key does not belong to the first certificate in {label}"
            f" ({subject_of(certificates[0])}); take the key that the certificate was requested with"
        )
    if at != 1:
        raise CertificateError(
            f"{label}: the certificates are in the wrong order: the private key in {key_label} belongs to number"
            f" {at} ({subject_of(certificates[at - 1])}), which must be the first, followed by its issuers"
        )


def _dns_names(certificate: x509.Certificate, label: str) -> tuple[str, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CertificateError(
            f"{label}: the extensions of the first certificate are malformed; have it issued again"
        ) from error
    return tuple(name.lower() for name in san.get_values_for_type(x509.DNSName))


def _credential(certificates: Sequence[x509.Certificate], signing_key: SigningKey, label: str) -> Credential:
    leaf = certificates[0]
    public_key = public_key_of(leaf, label)
    check_kind(public_key, label)
    suitable = signatures.schemes_for(public_key, rsa_pss=is_rsa_pss(leaf))
    schemes = tuple(int(scheme) for scheme in signing_key.schemes() if scheme in suitable)
    if not schemes:
        raise CertificateError(
            f"{label}: the signing key lists no scheme that suits the {kind_of(public_key)} key of the certificate"
        )
    return Credential(
        chain=tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates),
        schemes=schemes,
        signing_key=signing_key,
        names=_dns_names(leaf, label),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        subject=subject_of(leaf),
        key_type=kind_of(public_key),
        issuers=frozenset(certificate.issuer.public_bytes() for certificate in certificates),
    )


def _raw_public_key(signer: PrivateKeySigner) -> Credential:
    public_key = signer.public_key
    return Credential(
        chain=(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),),
        schemes=signer.schemes(),
        signing_key=signer,
        names=(),
        not_before=datetime.min.replace(tzinfo=UTC),
        not_after=datetime.max.replace(tzinfo=UTC),
        subject="",
        key_type=kind_of(public_key),
        issuers=frozenset(),
        certificate_type=CertificateType.raw_public_key,
    )
