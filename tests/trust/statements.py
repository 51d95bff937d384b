"""What the tests of CRLs and OCSP responses are made with: a small authority, and DER by hand."""

import datetime as dt
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from hypothesis import strategies as st

NOW = dt.datetime(2026, 5, 17, 12, 30, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
SECOND = dt.timedelta(seconds=1)
TOLERANCE = dt.timedelta(minutes=5)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
SHA256 = hashes.SHA256()
SHA1 = hashes.SHA1()  # noqa: S303 - in a CertID it identifies, and protects nothing


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Party:
    """A certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.certificate = certificate
        self.key = key


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def usage(**true: bool) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        " key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: true.get(name, False) for name in every.split()})


def issue(  # noqa: PLR0917 - the fields of a certificate
    name: str,
    issuer: Party | None,
    extensions: Extensions = (),
    key: Key | None = None,
    since: dt.datetime = NOW - DAY,
    until: dt.datetime = NOW + 30 * DAY,
    digest: hashes.HashAlgorithm | None = SHA256,
    serial: int | None = None,
) -> Party:
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = issuer.key if issuer else key
    return Party(builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else digest), key)  # type: ignore[arg-type]


def authority(name: str, issuer: Party | None = None, key: Key | None = None) -> Party:
    extensions: Extensions = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (usage(key_cert_sign=True, crl_sign=True), True),
    ]
    return issue(name, issuer, extensions, key)


ROOT = authority("root")
CA = authority("intermediate", ROOT)
LEAF = issue("leaf", CA)
OTHER = issue("other leaf", CA)
CHAIN = [LEAF.certificate, CA.certificate, ROOT.certificate]


def mutated(data: st.DataObject, original: bytes) -> bytes:
    """*original* with a few bytes changed, some cut out, or cut off."""
    der = bytearray(original)
    for _ in range(data.draw(st.integers(0, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(der)))
    del der[start : start + data.draw(st.sampled_from([0, 0, 0, 1, 2, len(der)]))]
    return bytes(der)


# DER by hand, for what the builders refuse to make


def tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def split(der: bytes) -> list[bytes]:
    """The elements of a SEQUENCE."""

    def end(at: int) -> tuple[int, int]:
        size = der[at + 1]
        if size < 128:
            return at + 2, at + 2 + size
        content = at + 2 + (size & 0x7F)
        return content, content + int.from_bytes(der[at + 2 : content], "big")

    at, stop = end(0)
    elements: list[bytes] = []
    while at < stop:
        _, after = end(at)
        elements.append(der[at:after])
        at = after
    return elements


ECDSA_SHA256 = tlv(0x30, bytes.fromhex("06082a8648ce3d040302"))


# OCSP


def ocsp_response(
    signer: Party = CA,
    *,
    leaf: Party = LEAF,
    issuer: Party = CA,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    since: dt.datetime = NOW - HOUR,
    until: dt.datetime | None = NOW + DAY,
    certid: hashes.HashAlgorithm = SHA1,
    by: ocsp.OCSPResponderEncoding = ocsp.OCSPResponderEncoding.HASH,
    certificates: tuple[Party, ...] = (),
    digest: hashes.HashAlgorithm | None = SHA256,
    reason: x509.ReasonFlags | None = x509.ReasonFlags.key_compromise,
    extensions: Extensions = (),
) -> bytes:
    """An OCSP response in DER about *leaf*, signed by *signer*."""
    is_revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.certificate,
        issuer=issuer.certificate,
        algorithm=certid,
        cert_status=status,
        this_update=since,
        next_update=until,
        revocation_time=NOW - 2 * HOUR if is_revoked else None,
        revocation_reason=reason if is_revoked else None,
    )
    builder = builder.responder_id(by, signer.certificate)
    if certificates:
        builder = builder.certificates([party.certificate for party in certificates])
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signer.key, ed25519.Ed25519PrivateKey) else digest
    return builder.sign(signer.key, algorithm).public_bytes(Encoding.DER)


def signed_by_hand(response: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """The same statement with another signature, and without certificates (RFC 6960 §4.2.1)."""
    return basic_response(ocsp.load_der_ocsp_response(response).tbs_response_bytes, algorithm, signature)


def basic_response(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """A successful response of the type id-pkix-ocsp-basic."""
    basic = tlv(0x30, tbs, algorithm, tlv(0x03, b"\0" + signature))
    oid = bytes.fromhex("06092b0601050507300101")
    return tlv(0x30, b"\x0a\x01\x00", tlv(0xA0, tlv(0x30, oid, tlv(0x04, basic))))


def signed_with(response: bytes, key: Key) -> bytes:
    """The same statement, signed with ECDSA and SHA-256 by *key*, whoever its responder is."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    tbs = ocsp.load_der_ocsp_response(response).tbs_response_bytes
    return signed_by_hand(response, ECDSA_SHA256, key.sign(tbs, ec.ECDSA(SHA256)))
