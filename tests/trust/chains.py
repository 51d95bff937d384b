"""What the tests of chain verification are made with: authorities and certificates of every kind, good and bad."""

import datetime as dt
import functools
import ipaddress
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.trust.statements import Extensions, Key, Party, new_key, split, tlv, usage

# The corpus is judged by `ssl` too, which has no other clock than the system's.
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
NAME = "www.example.test"
SHA256 = hashes.SHA256()
SERVER, CLIENT, ANY = (
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)

SIGN = usage(digital_signature=True)
CERTIFY = usage(key_cert_sign=True, crl_sign=True)


def directory(common_name: str, **more: str) -> x509.Name:
    """A Name with a common name, and perhaps an organisation and a mailbox."""
    oids = {"organisation": NameOID.ORGANIZATION_NAME, "email": NameOID.EMAIL_ADDRESS}
    attributes = [x509.NameAttribute(oids[key], value) for key, value in more.items()]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def general_name(text: str) -> x509.GeneralName:
    """``192.0.2.1``, ``uri:...``, ``mail:...`` or a DNS name, well-formed or not."""
    if text.startswith("uri:"):
        return x509.UniformResourceIdentifier(text.removeprefix("uri:"))
    if text.startswith("mail:"):
        return x509.RFC822Name(text.removeprefix("mail:"))
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName._init_without_validation(text)


def issue(  # noqa: PLR0917 - the fields of a certificate
    subject: str | x509.Name,
    issuer: Party | None,
    extensions: Extensions = (),
    key: Key | None = None,
    since: dt.datetime = NOW - DAY,
    until: dt.datetime = NOW + 30 * DAY,
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 = SHA256,
    *,
    aki: bytes | None = b"",
    ski: bool = True,
    pss: bool = False,
) -> Party:
    """A certificate; *aki* is a key identifier, or b"" for the right one, or None for no extension."""
    key = key or new_key()
    name = directory(subject) if isinstance(subject, str) else subject
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    if ski:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if aki is not None and issuer is not None:
        right = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        identifier = x509.AuthorityKeyIdentifier(aki, None, None) if aki else right
        builder = builder.add_extension(identifier, critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else digest
    salted = padding.PSS(padding.MGF1(digest), digest.digest_size) if pss else None
    return Party(builder.sign(signer, algorithm, rsa_padding=salted), key)


def authority(
    name: str | x509.Name,
    issuer: Party | None = None,
    *,
    path_length: int | None = None,
    constraints: x509.BasicConstraints | None = None,
    critical: bool = True,
    key_usage: x509.KeyUsage | None = CERTIFY,
    extra: Extensions = (),
    **fields: Any,
) -> Party:
    """An authority; *constraints* instead of those of an authority, *key_usage* None for none."""
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (constraints or x509.BasicConstraints(ca=True, path_length=path_length), critical),
        *extra,
    ]
    if key_usage is not None:
        extensions.append((key_usage, critical))
    return issue(name, issuer, extensions, **fields)


def leaf(
    issuer: Party | None,
    names: Sequence[str] = (NAME,),
    *,
    subject: str | x509.Name = "peer",
    critical_names: bool = False,
    purposes: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT),
    critical_purposes: bool = False,
    key_usage: x509.KeyUsage | None = SIGN,
    extra: Extensions = (),
    **fields: Any,
) -> Party:
    """The certificate of a server or a client."""
    extensions: list[tuple[x509.ExtensionType, bool]] = list(extra)
    if names:
        extensions.append((x509.SubjectAlternativeName([general_name(name) for name in names]), critical_names))
    if purposes is not None:
        extensions.append((x509.ExtendedKeyUsage(purposes), critical_purposes))
    if key_usage is not None:
        extensions.append((key_usage, True))
    return issue(subject, issuer, extensions, **fields)


def network(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text))


@functools.cache
def rsa_key(bits: int, which: int = 0) -> rsa.RSAPrivateKey:
    """An RSA key, made once."""
    return rsa.generate_private_key(65537, bits)


def der(*parties: Party) -> list[bytes]:
    return [party.certificate.public_bytes(Encoding.DER) for party in parties]


ECDSA_SHA1 = tlv(0x30, bytes.fromhex("06072a8648ce3d0401"))


def signed_anew(party: Party, key: Key, algorithm: bytes | None = None, digest: hashes.HashAlgorithm = SHA256) -> Party:
    """The same certificate with another signature: by *key*, and with *algorithm* named in it."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    outer = split(party.certificate.public_bytes(Encoding.DER))
    fields = split(outer[0])
    if algorithm is not None:
        fields[2] = outer[1] = algorithm
    tbs = tlv(0x30, *fields)
    signature = key.sign(tbs, ec.ECDSA(digest))
    certificate = x509.load_der_x509_certificate(tlv(0x30, tbs, outer[1], tlv(0x03, b"\0" + signature)))
    return Party(certificate, party.key)


ROOT = authority("test root")
INTERMEDIATE = authority("test intermediate", ROOT)
OTHER_ROOT = authority("another root")
PEER = leaf(INTERMEDIATE)
