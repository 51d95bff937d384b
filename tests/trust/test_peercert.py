"""The dictionary form of a certificate, beside the one that `ssl` makes of it."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID, ObjectIdentifier

from aiotls.errors import CertificateError
from aiotls.trust.peercert import peercert

NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
        x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Zürich"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Unit"),
        x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example"),
        x509.NameAttribute(NameOID.USER_ID, "someone"),
        x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.org"),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, "17"),
        x509.NameAttribute(NameOID.JURISDICTION_COUNTRY_NAME, "CH"),
        x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, "VAT"),
        x509.NameAttribute(ObjectIdentifier("1.2.3.4.5"), "of our own"),
        x509.NameAttribute(NameOID.COMMON_NAME, "example.org"),
    ]
)
SEVERAL = x509.Name(
    [
        x509.RelativeDistinguishedName(
            [x509.NameAttribute(NameOID.COMMON_NAME, "one"), x509.NameAttribute(NameOID.SURNAME, "two")]
        )
    ]
)
ALTERNATIVES = x509.SubjectAlternativeName(
    [
        x509.DNSName("example.org"),
        x509.DNSName("*.example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::a1")),
        x509.RFC822Name("a@example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/a"),
        x509.DirectoryName(SEVERAL),
        x509.RegisteredID(ObjectIdentifier("1.2.3.4")),
    ]
)
ACCESS = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.example.org")
        ),
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://example.org/ca")
        ),
    ]
)
POINTS = x509.CRLDistributionPoints(
    [
        x509.DistributionPoint([x509.UniformResourceIdentifier("http://example.org/crl")], None, None, None),
    ]
)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    subject: x509.Name, *extensions: x509.ExtensionType, serial: int = 0xABC, day: int = 3
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(dt.datetime(2026, 2, day, 4, 5, 6, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2051, 12, 31, 23, 59, 59, tzinfo=dt.UTC))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(certificate(NAME), id="names"),
        pytest.param(certificate(SEVERAL), id="several_in_one"),
        pytest.param(certificate(x509.Name([]), ALTERNATIVES), id="alternatives"),
        pytest.param(certificate(NAME, ALTERNATIVES, ACCESS, POINTS), id="all"),
        pytest.param(certificate(NAME, POINTS, serial=0x1ABCD, day=28), id="odd_serial"),
        pytest.param(certificate(NAME, serial=1), id="small_serial"),
    ],
)
def test_dictionary_is_the_one_of_ssl(one: x509.Certificate, tmp_path: Path) -> None:
    pem = tmp_path / "one.pem"
    pem.write_bytes(one.public_bytes(serialization.Encoding.PEM))
    theirs = cast("Any", ssl)._ssl._test_decode_cert(str(pem))
    assert peercert(one.public_bytes(serialization.Encoding.DER)) == theirs


def test_dictionary_of_what_is_no_certificate_is_an_error() -> None:
    with pytest.raises(CertificateError, match="cannot be read"):
        peercert(b"0\x03\x02\x01\x01")
