"""What the tests of chain verification are made with: authorities and certificates of every kind, good and bad."""

import datetime as dt
import functools
import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aiotls.errors import CertificateError
from aiotls.trust.names import ServerName
from aiotls.trust.revocation import CRLs
from aiotls.trust.roots import Roots
from aiotls.trust.verify import PeerIdentity, Verifier
from tests.trust.statements import Extensions, Key, Party, new_key, ocsp_response, split, tlv, usage

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

SHA1 = hashes.SHA1()  # noqa: S303 - what is to be refused
WWW = ServerName.of(NAME)
SENT = der(PEER, INTERMEDIATE)
CRITICAL_UNKNOWN = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00"), True)]
MUST_STAPLE = [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


def trusting(*parties: Party) -> Roots:
    return Roots.from_bytes(*der(*parties))


def verifier(*trusted: Party, **options: Any) -> Verifier:
    options.setdefault("clock", Clock())
    return Verifier(trusting(*(trusted or (ROOT,))), **options)


def named_rsa_pss(spki_der: bytes) -> bytes:
    """The same RSA key as id-RSASSA-PSS without parameters (RFC 4055 §3.1)."""
    return tlv(0x30, tlv(0x30, bytes.fromhex("06092a864886f70d01010a")), split(spki_der)[1])


def resigned(party: Party, change: Callable[[list[bytes]], bytes], at: int, issuer: Party = ROOT) -> list[bytes]:
    """The certificate with one field of its TBSCertificate changed, and signed anew."""
    outer = split(der(party)[0])
    fields = split(outer[0])
    fields[at] = change(fields)
    tbs = tlv(0x30, *fields)
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return [tlv(0x30, tbs, outer[1], tlv(0x03, b"\0" + signature))]


def of_version_1(party: Party, issuer: Party | None = None) -> Party:
    """A certificate as it was before there were extensions, signed anew (RFC 5280 §4.1.2.1)."""
    outer = split(der(party)[0])
    tbs = tlv(0x30, *split(outer[0])[1:7])
    signature = key_of(issuer or party).sign(tbs, ec.ECDSA(SHA256))
    return Party(x509.load_der_x509_certificate(tlv(0x30, tbs, outer[1], tlv(0x03, b"\0" + signature))), party.key)


PAST: dict[str, Any] = {"since": NOW - 9 * DAY, "until": NOW - DAY}
FUTURE: dict[str, Any] = {"since": NOW + DAY, "until": NOW + 9 * DAY}


def key_of(party: Party) -> ec.EllipticCurvePrivateKey:
    assert isinstance(party.key, ec.EllipticCurvePrivateKey)
    return party.key


def pin(party: Party) -> bytes:
    spki = party.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def crls(*revoked: Party, issuer: Party = INTERMEDIATE, until: dt.datetime = NOW + DAY) -> CRLs:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(NOW - DAY).next_update(until)
    for party in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(party.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
    crl = builder.sign(key_of(issuer), hashes.SHA256())
    return CRLs.from_bytes(crl.public_bytes(Encoding.DER))


def staple(**fields: Any) -> bytes:
    since, until = NOW - dt.timedelta(hours=1), NOW + DAY
    return ocsp_response(
        **{"signer": INTERMEDIATE, "leaf": PEER, "issuer": INTERMEDIATE, "since": since, "until": until, **fields}
    )


REVOKED = x509.ocsp.OCSPCertStatus.REVOKED


def spki(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def outcome(judge: Callable[[], PeerIdentity]) -> PeerIdentity | CertificateError:
    try:
        return judge()
    except CertificateError as error:
        return error


def check_error(result: PeerIdentity | CertificateError) -> None:
    if isinstance(result, CertificateError):
        assert str(result).isprintable()
        assert len(str(result)) < 1000


def with_fields(at: int, der_field: bytes) -> list[bytes]:
    return resigned(PEER, lambda _: der_field, at, INTERMEDIATE) + der(INTERMEDIATE)


def with_extensions(*extensions: bytes) -> list[bytes]:
    return with_fields(7, tlv(0xA3, tlv(0x30, *extensions)))


BROKEN_SAN = tlv(0x30, bytes.fromhex("0603551d11"), tlv(0x04, b"\x30\x05\x82"))
