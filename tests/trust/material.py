"""What the tests of credentials are made with: keys in every encoding, certificates for them, a key elsewhere."""

import asyncio
import datetime as dt
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from aiotls.crypto import signatures
from aiotls.trust.credentials import ClientHelloInfo, Credential, PrivateKeySigner

WEAK_BITS = 1024
EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
"""The OID that names the kind of key in a SubjectPublicKeyInfo, in DER."""
NOW = dt.datetime(2026, 5, 17, 12, 30, tzinfo=dt.UTC)
SUBJECT_KEY = ec.generate_private_key(ec.SECP256R1())
PEM_OR_DER = pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])

AnyKey = (
    ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
    | x25519.X25519PrivateKey
)


def hello(name: str | None, *schemes: int, cert: tuple[int, ...] = ()) -> ClientHelloInfo:
    """What a ClientHello says that asks for *name*, and accepts these signatures, in certificates those of *cert*."""
    return ClientHelloInfo(
        server_name=name,
        alpn=(),
        signature_schemes=schemes,
        signature_schemes_cert=cert,
        cipher_suites=(0x1301,),
        groups=(0x001D,),
    )


def ders(pem: bytes) -> list[bytes]:
    return [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)]


def key_bytes(
    key: AnyKey,
    encoding: Encoding = Encoding.PEM,
    private_format: PrivateFormat = PrivateFormat.PKCS8,
    password: bytes | None = None,
) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(encoding, private_format, encryption)


def recoded(pem: bytes, encoding: Encoding, password: bytes | None = None) -> bytes:
    """The private key in *pem* in another encoding."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)
    return key_bytes(key, encoding, password=password)


def self_signed(key: AnyKey, *, san: Sequence[str] | None = ("localhost",), subject: str = "Test") -> bytes:
    """A certificate for any kind of key, in PEM; signed by another key where this one is unable to."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + dt.timedelta(days=1))
    )
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in san]), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


class RemoteKey:
    """A SigningKey that answers later, as one in a KMS does."""

    def __init__(self, key_pem: bytes, schemes: Sequence[int]) -> None:
        self._signer = PrivateKeySigner(private_key(key_pem))
        self._schemes = schemes

    def schemes(self) -> Sequence[int]:
        return self._schemes

    async def sign(self, scheme: int, message: bytes) -> bytes:
        await asyncio.sleep(0)
        return self._signer.sign(scheme, message)


def private_key(pem: bytes) -> signatures.PrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, signatures.PrivateKey)
    return key


IssuerKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
Hash = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512


def signed_by(
    issuer_key: IssuerKey,
    algorithm: Hash | None,
    *,
    pss: bool = False,
    names: Sequence[str] = ("localhost", "Test CA"),
) -> x509.Certificate:
    """A certificate for the P-256 key `SUBJECT_KEY`, with *names* for subject and issuer, and such a signature."""
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in names)
    builder = x509.CertificateBuilder(issuer, subject, SUBJECT_KEY.public_key(), 1, NOW, NOW + dt.timedelta(days=1))
    salted = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if pss and algorithm else None
    return builder.sign(issuer_key, algorithm, rsa_padding=salted)


def credential_of(*chain: x509.Certificate) -> Credential:
    """A credential with `SUBJECT_KEY`."""
    return Credential.from_bytes([one.public_bytes(Encoding.DER) for one in chain], key_bytes(SUBJECT_KEY))
