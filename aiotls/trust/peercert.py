"""A certificate as the dictionary that `ssl.SSLSocket.getpeercert` gives, for programs that read one (RFC 5280 §4.1).

Its form is that of CPython's and OpenSSL's: long names of attributes, times in English, IPv6 addresses with all their
zeros.  Programs that need none of this read the `PeerIdentity`.
"""

from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID as Access

from aiotls.errors import CertificateError
from aiotls.trust.statements import MALFORMED

__all__ = ["peercert"]

_Name = tuple[tuple[tuple[str, str], ...], ...]

_ATTRIBUTES: Final = {
    "2.5.4.3": "commonName",
    "2.5.4.4": "surname",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "countryName",
    "2.5.4.7": "localityName",
    "2.5.4.8": "stateOrProvinceName",
    "2.5.4.9": "streetAddress",
    "2.5.4.10": "organizationName",
    "2.5.4.11": "organizationalUnitName",
    "2.5.4.12": "title",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "givenName",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "userId",
    "0.9.2342.19200300.100.1.25": "domainComponent",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionLocalityName",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionStateOrProvinceName",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionCountryName",
}
_KINDS: Final[dict[type[x509.GeneralName], str]] = {
    x509.DNSName: "DNS",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "URI",
}
# strftime's would follow the locale.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def peercert(der: bytes) -> dict[str, Any]:
    """The dictionary for a certificate in DER; CertificateError for one that cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return _fields(certificate) | _extensions(certificate.extensions)
    except MALFORMED as error:
        msg = f"the certificate cannot be read: {error}"
        raise CertificateError(msg) from error


def _fields(certificate: x509.Certificate) -> dict[str, Any]:
    serial = f"{certificate.serial_number:X}"
    return {
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "version": certificate.version.value + 1,
        "serialNumber": serial.zfill(len(serial) + len(serial) % 2),
        "notBefore": _time(certificate.not_valid_before_utc),
        "notAfter": _time(certificate.not_valid_after_utc),
    }


def _extensions(extensions: x509.Extensions) -> dict[str, Any]:
    values: dict[str, tuple[Any, ...]] = {}
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            values["subjectAltName"] = tuple(_general_name(name) for name in value)
        elif isinstance(value, x509.AuthorityInformationAccess):
            for key, method in (("OCSP", Access.OCSP), ("caIssuers", Access.CA_ISSUERS)):
                values[key] = _uris(one.access_location for one in value if one.access_method == method)
        elif isinstance(value, x509.CRLDistributionPoints):
            values["crlDistributionPoints"] = _uris(name for point in value for name in point.full_name or ())
    return {key: value for key, value in values.items() if value}


def _name(name: x509.Name) -> _Name:
    return tuple(tuple((_attribute(one.oid), str(one.value)) for one in rdn) for rdn in name.rdns)


def _attribute(oid: x509.ObjectIdentifier) -> str:
    return _ATTRIBUTES.get(oid.dotted_string, oid.dotted_string)


def _general_name(name: x509.GeneralName) -> tuple[str, Any]:
    kind = _KINDS.get(type(name))
    if kind is not None:
        return kind, name.value
    if isinstance(name, x509.IPAddress):
        return "IP Address", _address(name.value)
    if isinstance(name, x509.DirectoryName):
        return "DirName", _name(name.value)
    if isinstance(name, x509.RegisteredID):
        return "Registered ID", name.value.dotted_string
    return "othername", "<unsupported>"


def _address(address: object) -> str:
    if isinstance(address, IPv6Address):
        packed = address.packed
        return ":".join(f"{int.from_bytes(packed[i : i + 2], 'big'):X}" for i in range(0, 16, 2))
    return str(address) if isinstance(address, IPv4Address) else "<invalid>"


def _uris(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))


def _time(time: datetime) -> str:
    return f"{_MONTHS[time.month - 1]} {time.day:2} {time:%H:%M:%S} {time.year} GMT"
