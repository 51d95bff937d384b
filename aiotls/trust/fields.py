"""Fields of a certificate in the very bytes in which it was sent (RFC 5280 §4.1).

`cryptography` gives keys and names as objects, and writes them anew when asked for their DER: an id-RSASSA-PSS key
becomes rsaEncryption then, and a pin (RFC 7469 §2.4) or a name in a list of authorities (RFC 8446 §4.2.4) would be
another one.  Only what `cryptography` has parsed comes here, so the lengths are known to be right.

What a certificate says of its owner ends up in errors and logs, so it is shown there without control characters and not
at any length.
"""

from cryptography import x509

from aiotls.trust.statements import subject

__all__ = ["is_rsa_pss_key", "printable", "spki_of", "subject_name_of", "whom"]

# Where the fields stand in a TBSCertificate, its version not counted.
_SUBJECT, _SPKI = 4, 5

_VERSION_TAG = 0xA0
_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")
_LONGEST = 200


def spki_of(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo in DER: what a pin is the hash of."""
    return _field(certificate, _SPKI)


def subject_name_of(certificate: x509.Certificate) -> bytes:
    """The subject, a Name in DER."""
    return _field(certificate, _SUBJECT)


def _field(certificate: x509.Certificate, wanted: int) -> bytes:
    tbs = certificate.tbs_certificate_bytes
    _, at, _ = _element(tbs, 0)
    if tbs[at] == _VERSION_TAG:
        _, _, at = _element(tbs, at)
    for _ in range(wanted):
        _, _, at = _element(tbs, at)
    start, _, end = _element(tbs, at)
    return tbs[start:end]


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Where the element begins, where its content does, and where it ends."""
    length = der[at + 1]
    content = at + 2
    if length >= 0x80:
        content += length & 0x7F
        length = int.from_bytes(der[at + 2 : content], "big")
    return at, content, content + length


def is_rsa_pss_key(spki: bytes) -> bool:
    """Whether a SubjectPublicKeyInfo names its key as id-RSASSA-PSS (RFC 8446 §4.2.3)."""
    _, algorithm, _ = _element(spki, 0)
    _, oid, _ = _element(spki, algorithm)
    return spki.startswith(_RSASSA_PSS, oid)


def printable(text: str) -> str:
    """*text*, which a stranger chose, as it can stand in a log: on one line, and not long."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def whom(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, in an error's text."""
    return printable(subject(certificate))
