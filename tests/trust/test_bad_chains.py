"""Every bad chain has its error and its alert, and whatever a stranger sends has no other."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotls.errors import (
    AlertDescription,
    BadCertificateStatus,
    CertificateError,
    CertificateExpired,
    CertificateNameMismatch,
    CertificateRequired,
    UnsupportedCertificate,
    UntrustedCertificate,
    alert_for,
)
from aiotls.trust.names import ServerName
from aiotls.trust.verify import identify
from tests.trust.chains import (
    ANY,
    BROKEN_SAN,
    CERTIFY,
    CLIENT,
    CRITICAL_UNKNOWN,
    ECDSA_SHA1,
    FUTURE,
    INTERMEDIATE,
    MUST_STAPLE,
    NAME,
    OTHER_ROOT,
    PAST,
    PEER,
    ROOT,
    SENT,
    SERVER,
    SHA1,
    WWW,
    authority,
    check_error,
    der,
    directory,
    issue,
    key_of,
    leaf,
    network,
    of_version_1,
    outcome,
    resigned,
    rsa_key,
    signed_anew,
    verifier,
    with_extensions,
    with_fields,
)
from tests.trust.statements import Party, mutated, new_key, split, tlv, usage

AT = AlertDescription


NOT_CA = x509.BasicConstraints(ca=False, path_length=None)
SELF_SIGNED = leaf(None)
WEAK_ANCHOR = leaf(None, key=rsa_key(1024))


def with_intermediate(intermediate: Party, **fields: Any) -> list[bytes]:
    return der(leaf(intermediate, **fields), intermediate)


def constrained(permitted: x509.GeneralName, **fields: Any) -> list[bytes]:
    extension = (x509.NameConstraints([permitted], None), True)
    return with_intermediate(authority("narrow", ROOT, extra=[extension]), **fields)


def too_deep(rungs: int) -> list[bytes]:
    parties = [ROOT]
    for at in range(rungs):
        parties.append(authority(f"rung {at}", parties[-1]))
    return der(leaf(parties[-1]), *reversed(parties[1:]))


def path_too_long() -> list[bytes]:
    first = authority("first", ROOT, path_length=0)
    return der(leaf(second := authority("second", first)), second, first)


def other_type(party: Party) -> list[bytes]:
    """A certificate whose outermost SEQUENCE is something else."""
    return [b"\x31" + der(party)[0][1:]]


SAN = tlv(0x30, bytes.fromhex("0603551d11"), tlv(0x04, tlv(0x30, tlv(0x82, NAME.encode()))))
X400_SAN = tlv(0x30, bytes.fromhex("0603551d11"), tlv(0x04, tlv(0x30, tlv(0xA3, b""), tlv(0x82, NAME.encode()))))
BROKEN_NAME = tlv(0x30, tlv(0x31, tlv(0x30, bytes.fromhex("0603550403"), b"\x0c\x01\xff")))
BROKEN_USAGE = tlv(0x30, bytes.fromhex("0603551d0f"), tlv(0x04, b"\x02\x01\x01"))

BAD: dict[str, tuple[type[CertificateError], AlertDescription, str, Callable[[], Sequence[bytes]]]] = {
    "nothing": (CertificateRequired, AT.certificate_required, "shows no certificate", list),
    "issuer first": (
        CertificateNameMismatch,
        AT.bad_certificate,
        "not for www.example.test",
        lambda: der(INTERMEDIATE, PEER),
    ),
    "intermediate missing": (
        UntrustedCertificate,
        AT.unknown_ca,
        "its issuer, CN=test intermediate, is neither",
        lambda: SENT[:1],
    ),
    "root not trusted": (
        UntrustedCertificate,
        AT.unknown_ca,
        "its issuer, CN=another root, is neither",
        lambda: der(leaf(OTHER_ROOT)),
    ),
    "root not trusted but sent": (
        UntrustedCertificate,
        AT.unknown_ca,
        "signed by itself, and is not among the roots that we trust .certificate of CN=another root,",
        lambda: der(leaf(OTHER_ROOT), OTHER_ROOT),
    ),
    "root of same name and another key": (
        UntrustedCertificate,
        AT.unknown_ca,
        "its issuer, CN=test root, is neither",
        lambda: der(leaf(authority("test root"))),
    ),
    "self-signed": (UntrustedCertificate, AT.unknown_ca, "signed by itself", lambda: der(SELF_SIGNED)),
    "expired": (CertificateExpired, AT.certificate_expired, "it is expired at", lambda: der(leaf(ROOT, **PAST))),
    "not yet valid": (
        CertificateExpired,
        AT.certificate_expired,
        "it is not yet valid at",
        lambda: der(leaf(ROOT, **FUTURE)),
    ),
    "expired and untrusted": (
        CertificateExpired,
        AT.certificate_expired,
        "it is expired",
        lambda: der(leaf(OTHER_ROOT, **PAST)),
    ),
    "intermediate expired": (
        CertificateExpired,
        AT.certificate_expired,
        "expired at .*certificate of CN=old,",
        lambda: with_intermediate(authority("old", ROOT, **PAST)),
    ),
    "intermediate not yet valid": (
        CertificateExpired,
        AT.certificate_expired,
        "not yet valid at .*certificate of CN=new,",
        lambda: with_intermediate(authority("new", ROOT, **FUTURE)),
    ),
    "other name": (
        CertificateNameMismatch,
        AT.bad_certificate,
        "not for www.example.test, but for a.test, 192.0.2.1 ",
        lambda: der(leaf(ROOT, ["a.test", "192.0.2.1"])),
    ),
    "many other names": (
        CertificateNameMismatch,
        AT.bad_certificate,
        "7.test and 12 more",
        lambda: der(leaf(ROOT, [f"{at}.test" for at in range(20)])),
    ),
    "name only in subject": (
        CertificateNameMismatch,
        AT.bad_certificate,
        "no name in subjectAltName",
        lambda: der(leaf(ROOT, [], subject=NAME)),
    ),
    "for clients": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "not for TLS servers",
        lambda: der(leaf(ROOT, purposes=[CLIENT])),
    ),
    "authority for clients": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "not for TLS servers",
        lambda: with_intermediate(authority("i", ROOT, extra=[(x509.ExtendedKeyUsage([CLIENT]), False)])),
    ),
    "not for signing": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "not for signing handshakes",
        lambda: der(leaf(ROOT, key_usage=usage(key_encipherment=True), key=rsa_key(2048))),
    ),
    "RSA key too small": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "RSA key of 1024 bits is too weak",
        lambda: der(leaf(ROOT, key=rsa_key(1024))),
    ),
    "RSA key too small and trusted": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "RSA key of 1024 bits is too weak",
        lambda: der(WEAK_ANCHOR),
    ),
    "RSA key too large": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "RSA key of 8200 bits is too large",
        lambda: with_rsa_modulus(8200),
    ),
    "other curve": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "cannot sign with a key of the kind secp256k1",
        lambda: der(leaf(ROOT, key=ec.generate_private_key(ec.SECP256K1()))),
    ),
    "Ed448": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "cannot sign with a key of the kind Ed448",
        lambda: der(leaf(ROOT, key=ed448.Ed448PrivateKey.generate())),
    ),
    "authority's RSA key too small": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "RSA key of 1024 bits",
        lambda: with_intermediate(authority("i", ROOT, key=rsa_key(1024))),
    ),
    "authority on another curve": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "secp256k1",
        lambda: with_intermediate(authority("i", ROOT, key=ec.generate_private_key(ec.SECP256K1()))),
    ),
    "authority with Ed25519": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "signed with Ed25519",
        lambda: with_intermediate(authority("i", ROOT, key=ed25519.Ed25519PrivateKey.generate())),
    ),
    "signed with SHA-1": (
        CertificateError,
        AT.bad_certificate,
        "algorithm that is too weak",
        lambda: der(signed_anew(leaf(ROOT), key_of(ROOT), ECDSA_SHA1, SHA1)),
    ),
    "intermediate signed with SHA-1": (
        CertificateError,
        AT.bad_certificate,
        "algorithm that is too weak",
        lambda: der(PEER, signed_anew(INTERMEDIATE, key_of(ROOT), ECDSA_SHA1, SHA1)),
    ),
    "signed by the wrong key": (
        CertificateError,
        AT.bad_certificate,
        "signature is not by its issuer's key .*CN=peer,",
        lambda: der(signed_anew(leaf(ROOT), new_key())),
    ),
    "signed by the wrong key and without key identifiers": (
        CertificateError,
        AT.bad_certificate,
        "signature is not by its issuer's key",
        lambda: der(signed_anew(leaf(ROOT, aki=None), new_key())),
    ),
    "intermediate signed by the wrong key": (
        CertificateError,
        AT.bad_certificate,
        "signature is not by its issuer's key .*CN=test intermediate,",
        lambda: der(PEER, signed_anew(INTERMEDIATE, new_key())),
    ),
    "permitted DNS names": (
        UntrustedCertificate,
        AT.unknown_ca,
        "may not certify .* no permitted name constraints .*CN=narrow,",
        lambda: constrained(x509.DNSName("other.test")),
    ),
    "permitted addresses": (
        UntrustedCertificate,
        AT.unknown_ca,
        "may not certify",
        lambda: constrained(network("192.0.2.0/24"), names=[NAME, "198.51.100.1"]),
    ),
    "permitted subjects": (
        UntrustedCertificate,
        AT.unknown_ca,
        "authority CN=narrow may not certify the subject CN=peer",
        lambda: with_intermediate(
            authority(
                "narrow",
                ROOT,
                extra=[(x509.NameConstraints([x509.DirectoryName(directory("company"))], None), False)],
            )
        ),
    ),
    "path length": (UntrustedCertificate, AT.unknown_ca, "1 authorities below one that allows 0", path_too_long),
    "intermediate is no authority": (
        UntrustedCertificate,
        AT.unknown_ca,
        "no certification authority",
        lambda: with_intermediate(authority("i", ROOT, constraints=NOT_CA)),
    ),
    "intermediate without constraints": (
        UntrustedCertificate,
        AT.unknown_ca,
        "no certification authority",
        lambda: with_intermediate(issue("i", ROOT)),
    ),
    "intermediate does not certify": (
        UntrustedCertificate,
        AT.unknown_ca,
        "key is not for signing certificates",
        lambda: with_intermediate(authority("i", ROOT, key_usage=usage(crl_sign=True))),
    ),
    "nine intermediates": (
        UntrustedCertificate,
        AT.unknown_ca,
        "9 authorities between it and the root; at most 8",
        lambda: too_deep(9),
    ),
    "unknown critical extension": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "critical extension 1.3.6.1.4.1.55555.1 is unknown",
        lambda: der(leaf(ROOT, extra=CRITICAL_UNKNOWN)),
    ),
    "unknown critical extension above": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "critical extension .*CN=i,",
        lambda: with_intermediate(authority("i", ROOT, extra=CRITICAL_UNKNOWN)),
    ),
    "critical policy constraints": (
        CertificateError,
        AT.bad_certificate,
        "the chain does not verify: .*2.5.29.36",
        lambda: with_intermediate(authority("i", ROOT, extra=[(x509.PolicyConstraints(0, None), True)])),
    ),
    "must-staple": (
        BadCertificateStatus,
        AT.bad_certificate_status_response,
        "the certificate promises",
        lambda: der(leaf(ROOT, extra=MUST_STAPLE)),
    ),
    "wildcard below top level": (
        CertificateNameMismatch,
        AT.bad_certificate,
        "not for www.example.test, but for .*.test",
        lambda: der(leaf(ROOT, ["*.test"])),
    ),
    "seventeen certificates": (
        CertificateError,
        AT.bad_certificate,
        "17 certificates; at most 16",
        lambda: SENT + der(OTHER_ROOT) * 15,
    ),
    "a hundred certificates": (
        CertificateError,
        AT.bad_certificate,
        "100 certificates; at most 16",
        lambda: SENT * 50,
    ),
    "a megabyte of certificate": (
        CertificateError,
        AT.bad_certificate,
        r"\d{7} bytes of certificates; at most 102400",
        lambda: der(leaf(ROOT, [f"{'a' * 60}.{at}.test" for at in range(17_000)])),
    ),
    "a megabyte of anything": (CertificateError, AT.bad_certificate, "1000000 bytes", lambda: [bytes(1_000_000)]),
    "empty certificate": (CertificateError, AT.bad_certificate, "certificate 1 of 1 is malformed", lambda: [b""]),
    "no certificate": (CertificateError, AT.bad_certificate, "certificate 1 of 1 is malformed", lambda: [b"hello"]),
    "PEM": (
        CertificateError,
        AT.bad_certificate,
        "certificate 1 of 1 is malformed",
        lambda: [PEER.certificate.public_bytes(Encoding.PEM)],
    ),
    "cut off": (CertificateError, AT.bad_certificate, "certificate 1 of 2", lambda: [SENT[0][:-1], SENT[1]]),
    "a byte too many": (CertificateError, AT.bad_certificate, "certificate 1 of 2", lambda: [SENT[0] + b"\0", SENT[1]]),
    "another type": (CertificateError, AT.bad_certificate, "certificate 1 of 1", lambda: other_type(PEER)),
    "malformed intermediate": (CertificateError, AT.bad_certificate, "certificate 2 of 2", lambda: [SENT[0], b"\x30"]),
    "malformed serial number": (
        CertificateError,
        AT.bad_certificate,
        "certificate 1 of 2",
        lambda: with_fields(1, b"\x02\x00"),
    ),
    "malformed date": (
        CertificateError,
        AT.bad_certificate,
        "certificate 1 of 2",
        lambda: with_fields(4, tlv(0x30, tlv(0x17, b"991332000000Z"), tlv(0x17, b"490101000000Z"))),
    ),
    "year nought": (
        CertificateError,
        AT.bad_certificate,
        "year 0 is out of range",
        lambda: with_fields(4, tlv(0x30, tlv(0x18, b"00000101000000Z"), tlv(0x17, b"490101000000Z"))),
    ),
    "malformed subject": (
        CertificateError,
        AT.bad_certificate,
        "certificate 1 of 2 is malformed",
        lambda: with_fields(5, BROKEN_NAME),
    ),
    "malformed subject of intermediate": (
        CertificateError,
        AT.bad_certificate,
        "certificate 2 of 2 is malformed",
        lambda: der(PEER) + resigned(INTERMEDIATE, lambda _: BROKEN_NAME, 5),
    ),
    "malformed key": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "cannot sign with a key of the kind",
        lambda: with_fields(6, split(split(SENT[0])[0])[6].replace(b"\x00\x04", b"\x00\x05", 1)),
    ),
    "unknown kind of key": (
        UnsupportedCertificate,
        AT.unsupported_certificate,
        "cannot sign with a key of the kind 1.2.3",
        lambda: with_fields(6, tlv(0x30, tlv(0x30, bytes.fromhex("06022a03")), tlv(0x03, b"\0key"))),
    ),
    "malformed subjectAltName": (
        CertificateError,
        AT.bad_certificate,
        "extensions of the peer's certificate .CN=peer. are malformed",
        lambda: with_extensions(BROKEN_SAN),
    ),
    "unknown form of name": (
        CertificateError,
        AT.bad_certificate,
        "extensions of the peer's certificate",
        lambda: with_extensions(X400_SAN),
    ),
    "malformed KeyUsage": (
        CertificateError,
        AT.bad_certificate,
        "extensions of the peer's certificate",
        lambda: with_extensions(SAN, BROKEN_USAGE),
    ),
    "extension twice": (
        CertificateError,
        AT.bad_certificate,
        "extensions of the peer's certificate .*Duplicate",
        lambda: with_extensions(SAN, SAN),
    ),
    "malformed extension of intermediate": (
        CertificateError,
        AT.bad_certificate,
        "an extension in the chain is malformed",
        lambda: der(PEER) + resigned(INTERMEDIATE, lambda _: tlv(0xA3, tlv(0x30, BROKEN_USAGE)), 7),
    ),
    "extension of intermediate twice": (
        CertificateError,
        AT.bad_certificate,
        "an extension in the chain is malformed .*Duplicate",
        lambda: der(PEER) + resigned(INTERMEDIATE, lambda _: tlv(0xA3, tlv(0x30, SAN, SAN)), 7),
    ),
}


def with_rsa_modulus(bits: int) -> list[bytes]:
    modulus = tlv(0x02, b"\0" + ((1 << bits) - 1).to_bytes(bits // 8, "big"))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    key = tlv(0x30, modulus, tlv(0x02, b"\x01\0\x01"))
    return with_fields(6, tlv(0x30, algorithm, tlv(0x03, b"\0" + key)))


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize("name", BAD)
def test_verifier_refuses_bad_chain_with_its_error_and_alert(name: str) -> None:
    kind, alert, text, make = BAD[name]
    with pytest.raises(CertificateError, match=text) as caught:
        verifier(ROOT, WEAK_ANCHOR).verify_server(make(), WWW)
    assert type(caught.value) is kind
    assert alert_for(caught.value) is alert
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: leaf(ROOT, purposes=[SERVER]), UnsupportedCertificate),
        (lambda: leaf(ROOT, [], **PAST), CertificateExpired),
        (lambda: leaf(OTHER_ROOT), UntrustedCertificate),
        (lambda: leaf(ROOT, key_usage=CERTIFY), UnsupportedCertificate),
        (lambda: of_version_1(leaf(ROOT), ROOT), UnsupportedCertificate),
    ],
)
def test_verifier_refuses_bad_client(make: Callable[[], Party], kind: type[CertificateError]) -> None:
    with pytest.raises(kind):
        verifier().verify_client(der(make()))


def test_verifier_accepts_any_purpose_for_both_sides() -> None:
    sent = der(leaf(ROOT, purposes=[ANY]))
    assert verifier().verify_client(sent).certificates == verifier().verify_server(sent, WWW).certificates


def test_error_about_a_certificate_tells_its_subject_and_validity() -> None:
    with pytest.raises(CertificateExpired) as caught:
        verifier().verify_server(der(leaf(ROOT, **PAST)), WWW)
    error = caught.value
    assert (error.subject, error.not_before, error.not_after) == ("CN=peer", PAST["since"], PAST["until"])
    assert f"valid from {PAST['since']:%Y-%m-%d %H:%M} to {PAST['until']:%Y-%m-%d %H:%M} UTC" in str(error)


def test_error_shows_a_strangers_text_on_one_line_and_not_at_length() -> None:
    hostile = directory("a\nERROR forged \x1b[31m\u202e" + "b" * 30)
    long = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "c" * 64)] * 100)
    for subject in (hostile, long):
        with pytest.raises(CertificateNameMismatch) as caught:
            verifier().verify_server(der(leaf(ROOT, ["d\ne" + "f" * 5000], subject=subject)), WWW)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000


@pytest.mark.rfc("9525", "6.3")
def test_verifier_refuses_wildcard_below_top_level_that_cryptography_accepts() -> None:
    sent = der(leaf(ROOT, ["*.test"]))
    with pytest.raises(CertificateNameMismatch, match="by a wildcard that is too wide"):
        verifier().verify_server(sent, ServerName.of("example.test"))
    both = der(leaf(ROOT, ["*.test", "example.test"]))
    verifier().verify_server(both, ServerName.of("example.test"))


# Whatever a stranger sends


@settings(max_examples=400)
@given(st.data())
def test_verifier_raises_nothing_but_certificate_errors_for_any_bytes(data: st.DataObject) -> None:
    sent = [mutated(data, one) if data.draw(st.booleans()) else one for one in der(PEER, INTERMEDIATE, ROOT)]
    it = verifier()
    for judge in (lambda: it.verify_server(sent, WWW), lambda: it.verify_client(sent), lambda: identify(sent)):
        check_error(outcome(judge))


@settings(max_examples=400)
@given(st.data())
def test_verifier_raises_nothing_but_certificate_errors_for_any_signed_extensions(data: st.DataObject) -> None:
    # The signature is right, so that whatever stands in the extensions is looked at.
    peer = resigned(PEER, lambda fields: mutated(data, fields[7]), 7, INTERMEDIATE)
    above = resigned(INTERMEDIATE, lambda fields: mutated(data, fields[7]), 7) if data.draw(st.booleans()) else SENT[1:]
    it = verifier()
    for judge in (lambda: it.verify_server([*peer, *above], WWW), lambda: it.verify_client([*peer, *above])):
        check_error(outcome(judge))
