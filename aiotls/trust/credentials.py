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
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import SignatureAlgorithmOID

from aiotls.blocking import Blocking
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
from aiotls.wire.ja4 import ja4
from aiotls.wire.messages import Certificate, CertificateEntry, ClientHello
from aiotls.wire.registries import CertificateType, SignatureScheme, name_of

__all__ = [
    "UNKNOWN_SCHEME",
    "CertificateRequestInfo",
    "ClientHelloInfo",
    "Credential",
    "CredentialResolver",
    "PrivateKeySigner",
    "SigningKey",
    "ThreadedSigner",
    "load_credential",
    "name_candidates",
    "select",
    "select_for_request",
    "suited",
]

UNKNOWN_SCHEME = -1
"""Stands in `Credential.chain_schemes` for a signature that no SignatureScheme names: no peer's list has it."""

_SIGNED_WITH: dict[x509.ObjectIdentifier, SignatureScheme] = {
    SignatureAlgorithmOID.RSA_WITH_SHA1: SignatureScheme.rsa_pkcs1_sha1,
    SignatureAlgorithmOID.RSA_WITH_SHA256: SignatureScheme.rsa_pkcs1_sha256,
    SignatureAlgorithmOID.RSA_WITH_SHA384: SignatureScheme.rsa_pkcs1_sha384,
    SignatureAlgorithmOID.RSA_WITH_SHA512: SignatureScheme.rsa_pkcs1_sha512,
    # The schemes name a curve, too, but that of the issuer's key is not known where the chain ends below its root;
    # and clients that also speak TLS 1.2 mean the hash alone (RFC 5246 §7.4.1.4.1).
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: SignatureScheme.ecdsa_sha1,
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: SignatureScheme.ecdsa_secp256r1_sha256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: SignatureScheme.ecdsa_secp384r1_sha384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: SignatureScheme.ecdsa_secp521r1_sha512,
    SignatureAlgorithmOID.ED25519: SignatureScheme.ed25519,
    SignatureAlgorithmOID.ED448: SignatureScheme.ed448,
}
_PSS_SIGNED_WITH: dict[tuple[str, bool], SignatureScheme] = {
    ("sha256", False): SignatureScheme.rsa_pss_rsae_sha256,
    ("sha384", False): SignatureScheme.rsa_pss_rsae_sha384,
    ("sha512", False): SignatureScheme.rsa_pss_rsae_sha512,
    ("sha256", True): SignatureScheme.rsa_pss_pss_sha256,
    ("sha384", True): SignatureScheme.rsa_pss_pss_sha384,
    ("sha512", True): SignatureScheme.rsa_pss_pss_sha512,
}
"""RSASSA-PSS by its hash, and by whether the issuer's key is named as id-RSASSA-PSS, too (RFC 8446 §4.2.3)."""


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
class ThreadedSigner:
    """A SigningKey whose signatures are made in another thread, so that meanwhile the event loop goes on.

    It is for a *key* whose `sign` returns the signature itself, and takes its time: an RSA signature takes 0.7 to
    4.5 ms, and a call to a PKCS #11 library may block for longer.  An ECDSA P-256 signature (27 us) is faster than
    the way to a thread.
    """

    __slots__ = ("_key",)

    def __init__(self, key: "_PlainSigningKey") -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"<ThreadedSigner of {self._key!r}>"

    def schemes(self) -> Sequence[int]:
        """The schemes of *key*."""
        return self._key.schemes()

    def sign(self, scheme: int, message: bytes) -> Blocking[bytes]:
        """The signature, for a front end to make in a thread; what *key* raises comes out of it."""
        return Blocking(lambda: self._key.sign(scheme, message))


class _PlainSigningKey(Protocol):
    """A SigningKey whose `sign` is a plain function."""

    def schemes(self) -> Sequence[int]: ...

    def sign(self, scheme: int, message: bytes) -> bytes: ...


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
    chain_schemes: frozenset[int] = frozenset()
    """The SignatureScheme code points of the signatures in the chain that a peer has to check, so of all but those of
    self-signed certificates (RFC 8446 §4.2.3); `UNKNOWN_SCHEME` for one that has no code point."""
    certificate_type: int = CertificateType.x509
    """What it shows: certificates, or a raw public key (RFC 7250 §3)."""
    staple: OCSPStaple | None = None
    """Where the OCSP response comes from that is sent with the chain (RFC 6066 §8); see `with_staple`."""
    staple_issuer: bytes = b""
    """The certificate, in DER, that the OCSP response is checked by."""
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
        sign_in_thread: bool = False,
    ) -> "Credential":
        """Read a chain and its private key from files, each PEM or DER.

        Without *keyfile* the key is in *certfile*.  *password* decrypts the key.  *sign_in_thread* lets an RSA key
        (0.7 to 4.5 ms a signature) sign in a thread; other keys are faster than the way to one.  CertificateError,
        naming the file, says that a file cannot be read, holds something else, is encrypted otherwise than *password*
        tells, that the key is too weak or of a kind that TLS cannot use, or that it is not the key of the first
        certificate (RFC 8446 §4.4.2).
        """
        certificate = Source.read(certfile)
        key = certificate if keyfile is None else Source.read(keyfile)
        return load_credential([certificate], key, password, sign_in_thread=sign_in_thread)

    @classmethod
    def from_bytes(
        cls,
        certificate: bytes | Sequence[bytes],
        key: bytes,
        *,
        password: str | bytes | None = None,
        sign_in_thread: bool = False,
    ) -> "Credential":
        """Make one of a chain and its private key, each PEM or DER; the chain can be a sequence of DER.

        *password* and *sign_in_thread* are as for `from_files`, and so is CertificateError (RFC 8446 §4.4.2).
        """
        source = Source("the key bytes", bytes(key))
        return load_credential(Source.of_chain(certificate), source, password, sign_in_thread=sign_in_thread)

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

    def with_staple(self, staple: OCSPStaple, *, issuer: bytes | None = None) -> "Credential":
        """The same with an OCSP response for its own certificate, for the clients that ask for one (RFC 6066 §8).

        *issuer* is its issuer's certificate, PEM or DER; None takes the next one of the chain.  LocalError says that
        there is none, CertificateError that it is no certificate.
        """
        if issuer is not None:
            (certificate,) = load_certificates([Source("the issuer", issuer)])[:1]
            return replace(self, staple=staple, staple_issuer=certificate.public_bytes(Encoding.DER))
        if len(self.chain) == 1:
            msg = "the chain is of one certificate: give the issuer's as `issuer`, which the response is checked by"
            raise LocalError(msg)
        return replace(self, staple=staple, staple_issuer=self.chain[1])


@dataclass(frozen=True, slots=True)
class ClientHelloInfo:
    """What a CredentialResolver is shown of the ClientHello (RFC 8446 §4.1.2)."""

    server_name: str | None
    """The DNS name that the client wants to reach, if it says so (RFC 6066 §3)."""
    alpn: tuple[bytes, ...]
    """The application protocols that it speaks, preferred first (RFC 7301 §3.1)."""
    signature_schemes: tuple[int, ...]
    """The SignatureScheme code points that it accepts, preferred first, and to a resolver only those that our policy
    allows (RFC 8446 §4.2.3)."""
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

    @property
    def ja4(self) -> str:
        """The JA4 fingerprint, which is much the same for all clients of one make; computed anew each time."""
        return ja4(ClientHello.parse(self.raw))


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

    It is the one `suited` best of those that are issued under one of its authorities; failing that of all, for
    servers' lists are often not complete; None when none can sign with a scheme that the server accepts.
    """
    asked_for = [credential for credential in credentials if not credential.issuers.isdisjoint(info.authorities)]
    return suited(asked_for, info) or suited(credentials, info)


def select(credentials: Sequence[Credential], info: ClientHelloInfo) -> Credential | None:
    """The credential to answer *info* with (RFC 8446 §4.4.2.2).

    It is the one `suited` best of those that are for the server name; failing that of all, for the client may know us
    by another name; None when none can sign with a scheme that the client accepts.
    """
    if info.server_name is not None:
        names = name_candidates(info.server_name)
        named = suited([credential for credential in credentials if not set(names).isdisjoint(credential.names)], info)
        if named is not None:
            return named
    return suited(credentials, info)


def suited(credentials: Sequence[Credential], info: ClientHelloInfo | CertificateRequestInfo) -> Credential | None:
    """The first that can sign with a scheme that the peer accepts, and whose chain it accepts the signatures of.

    Where there is no such chain, it is the first that can sign so: RFC 8446 §4.4.2.2 has us go on with a chain that
    the peer may not be able to check, for it may not have to.  None when none can sign.
    """
    usable = [
        credential
        for credential in credentials
        if any(scheme in info.signature_schemes for scheme in credential.schemes)
    ]
    accepted = info.signature_schemes_cert
    for credential in usable:
        if not accepted or credential.chain_schemes.issubset(accepted):
            return credential
    return usable[0] if usable else None


def name_candidates(server_name: str) -> tuple[str, str]:
    """The two names that a certificate for *server_name* can bear: itself, and a wildcard (RFC 9525 §6.3)."""
    exact = server_name.lower()
    label, _, rest = exact.partition(".")
    return exact, f"*.{rest}" if label and rest else exact


def load_credential(
    sources: Sequence[Source], key_source: Source, password: str | bytes | None, *, sign_in_thread: bool
) -> Credential:
    """A credential of what was read; CertificateError as for `Credential.from_files`."""
    label = _label(sources)
    certificates = load_certificates(sources)
    key = load_private_key(key_source, password)
    _check_match(key, certificates, label, key_source.label)
    signer = PrivateKeySigner(key, rsa_pss=is_rsa_pss(certificates[0]))
    slow = sign_in_thread and isinstance(key, rsa.RSAPrivateKey)
    return _credential(certificates, ThreadedSigner(signer) if slow else signer, label)


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


def _chain_schemes(certificates: Sequence[x509.Certificate]) -> frozenset[int]:
    """How those of them are signed that are not self-signed (RFC 8446 §4.2.3)."""
    issuers = (*certificates[1:], None)
    return frozenset(
        _scheme_of(certificate, issuer)
        for certificate, issuer in zip(certificates, issuers, strict=True)
        if certificate.issuer != certificate.subject
    )


def _scheme_of(certificate: x509.Certificate, issuer: x509.Certificate | None) -> int:
    algorithm = certificate.signature_algorithm_oid
    if algorithm != SignatureAlgorithmOID.RSASSA_PSS:
        return int(_SIGNED_WITH.get(algorithm, UNKNOWN_SCHEME))
    try:
        digest = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return UNKNOWN_SCHEME
    # The issuer above the chain is a root, and roots have their keys named as rsaEncryption.
    named_pss = issuer is not None and is_rsa_pss(issuer)
    return int(_PSS_SIGNED_WITH.get((digest.name if digest else "", named_pss), UNKNOWN_SCHEME))


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
        chain_schemes=_chain_schemes(certificates),
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
