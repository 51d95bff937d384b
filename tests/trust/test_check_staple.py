"""check_staple and must_staple: which stapled OCSP responses are believed, and what becomes of every other one."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotls.errors import (
    AlertDescription,
    BadCertificateStatus,
    CertificateError,
    CertificateRevoked,
    alert_for,
)
from aiotls.trust.revocation import MAXIMUM_STAPLE, UNDATED_LIFETIME, check_staple, must_staple
from tests.trust.statements import (
    CA,
    DAY,
    ECDSA_SHA256,
    HOUR,
    LEAF,
    NOW,
    OTHER,
    ROOT,
    SECOND,
    SHA1,
    SHA256,
    TOLERANCE,
    Extensions,
    Party,
    authority,
    basic_response,
    issue,
    mutated,
    new_key,
    ocsp_response,
    signed_by_hand,
    signed_with,
    split,
    tlv,
    usage,
)

BY_NAME, BY_KEY = ocsp.OCSPResponderEncoding.NAME, ocsp.OCSPResponderEncoding.HASH
SIGNS_RESPONSES: Extensions = [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)]
RESPONDER = issue("responder", CA, SIGNS_RESPONSES)


@pytest.fixture(scope="module")
def rsa_ca() -> Party:
    return authority("RSA", ROOT, rsa.generate_private_key(public_exponent=65537, key_size=2048))


def check(response: bytes, leaf: Party = LEAF, issuer: Party = CA, now: dt.datetime = NOW) -> dt.datetime:
    return check_staple(response, leaf.certificate, issuer.certificate, now)


def refused(response: bytes, leaf: Party = LEAF, issuer: Party = CA, now: dt.datetime = NOW) -> str:
    """The text of the BadCertificateStatus that the response leads to."""
    with pytest.raises(BadCertificateStatus) as raised:
        check(response, leaf, issuer, now)
    assert alert_for(raised.value) is AlertDescription.bad_certificate_status_response
    assert raised.value.subject == "CN=leaf"
    return str(raised.value)


@pytest.mark.rfc("6960", "3.2")
@pytest.mark.parametrize("by", [BY_NAME, BY_KEY])
def test_staple_of_issuer_is_accepted_until_its_next_update(by: ocsp.OCSPResponderEncoding) -> None:
    assert check(ocsp_response(by=by)) == NOW + DAY


@pytest.mark.rfc("6960", "4.1.1")
@pytest.mark.parametrize("certid", [SHA1, SHA256, hashes.SHA384(), hashes.SHA512()], ids=lambda h: h.name)
def test_staple_is_accepted_with_any_hash_in_its_certid(certid: hashes.HashAlgorithm) -> None:
    assert check(ocsp_response(certid=certid)) > NOW


@pytest.mark.rfc("6960", "2.2")
def test_staple_of_revoked_certificate_is_refused_with_date_and_reason() -> None:
    with pytest.raises(CertificateRevoked, match=r"CN=leaf.*2026-05-17 10:30 UTC.*keyCompromise") as raised:
        check(ocsp_response(status=ocsp.OCSPCertStatus.REVOKED))
    assert alert_for(raised.value) is AlertDescription.certificate_revoked
    with pytest.raises(CertificateRevoked, match="unspecified"):
        check(ocsp_response(status=ocsp.OCSPCertStatus.REVOKED, reason=None))


@pytest.mark.rfc("6960", "2.2")
def test_staple_of_unknown_certificate_is_refused() -> None:
    assert "does not know the certificate" in refused(ocsp_response(status=ocsp.OCSPCertStatus.UNKNOWN))


@pytest.mark.rfc("6960", "2.3")
@pytest.mark.parametrize("status", [s for s in ocsp.OCSPResponseStatus if s.value])
def test_staple_that_is_an_error_is_refused(status: ocsp.OCSPResponseStatus) -> None:
    response = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
    assert status.name in refused(response)


@pytest.mark.rfc("6960", "3.2")
def test_staple_for_another_certificate_is_refused() -> None:
    assert "for another certificate" in refused(ocsp_response(leaf=OTHER))


@pytest.mark.rfc("6960", "4.1.1")
def test_staple_for_same_serial_number_of_another_issuer_is_refused() -> None:
    other_key, other_name = authority("intermediate", ROOT), authority("another", ROOT, CA.key)
    for twin in (other_key, other_name):
        leaf = issue("leaf", twin, serial=LEAF.certificate.serial_number)
        assert "for another certificate" in refused(ocsp_response(leaf=leaf, issuer=twin))


def response_data(*responses: bytes) -> bytes:
    """One response with the statements of all, signed by CA (RFC 6960 §4.2.1)."""
    datas = [split(ocsp.load_der_ocsp_response(der).tbs_response_bytes) for der in responses]
    responder_id, produced_at, _ = datas[0]
    singles = b"".join(single for data in datas for single in split(data[2]))
    tbs = tlv(0x30, responder_id, produced_at, tlv(0x30, singles))
    assert isinstance(CA.key, ec.EllipticCurvePrivateKey)
    return basic_response(tbs, ECDSA_SHA256, CA.key.sign(tbs, ec.ECDSA(SHA256)))


@pytest.mark.rfc("6960", "4.2.1")
def test_staple_for_several_certificates_is_searched() -> None:
    good, other = ocsp_response(), ocsp_response(leaf=OTHER, status=ocsp.OCSPCertStatus.REVOKED)
    assert check(response_data(other, good)) == NOW + DAY
    assert "for another certificate" in refused(response_data(other, other))


@pytest.mark.rfc("6960", "4.2.2.1")
def test_staple_out_of_date_is_refused() -> None:
    assert check(ocsp_response(until=NOW + SECOND)) == NOW + SECOND
    assert "out of date since 2026-05-17 12:30 UTC" in refused(ocsp_response(until=NOW))


@pytest.mark.rfc("6960", "4.2.2.1")
def test_staple_for_a_time_to_come_is_refused() -> None:
    assert check(ocsp_response(since=NOW + TOLERANCE)) > NOW
    assert "for a time to come" in refused(ocsp_response(since=NOW + TOLERANCE + SECOND))


@pytest.mark.rfc("6960", "4.2.2.1")
def test_staple_without_next_update_is_refused_when_a_day_old() -> None:
    fresh, old = NOW - UNDATED_LIFETIME + SECOND, NOW - UNDATED_LIFETIME
    assert check(ocsp_response(since=fresh, until=None)) == NOW + SECOND
    assert "out of date" in refused(ocsp_response(since=old, until=None))


# Who has signed it


@pytest.mark.rfc("6960", "4.2.2.2")
@pytest.mark.parametrize("by", [BY_NAME, BY_KEY])
def test_staple_of_appointed_responder_is_accepted(by: ocsp.OCSPResponderEncoding) -> None:
    assert check(ocsp_response(RESPONDER, by=by, certificates=(OTHER, RESPONDER))) == NOW + DAY


@pytest.mark.rfc("6960", "4.2.2.2")
def test_staple_of_appointed_responder_holds_no_longer_than_its_certificate() -> None:
    responder = issue("responder", CA, SIGNS_RESPONSES, until=NOW + HOUR)
    response = ocsp_response(responder, certificates=(responder,))
    assert check(response) == NOW + HOUR
    assert "not valid now" in refused(response, now=NOW + HOUR)


@pytest.mark.rfc("6960", "4.2.2.2")
def test_staple_of_responder_whose_certificate_is_not_yet_valid_is_refused() -> None:
    for since, is_good in ((NOW + TOLERANCE, True), (NOW + TOLERANCE + SECOND, False)):
        responder = issue("responder", CA, SIGNS_RESPONSES, since=since)
        response = ocsp_response(responder, certificates=(responder,))
        if is_good:
            assert check(response) > NOW
        else:
            assert "not valid now" in refused(response)


def responder(*extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    """A response by a responder whose certificate has these extensions."""
    party = issue("responder", CA, extensions)
    return ocsp_response(party, certificates=(party,))


PURPOSES: list[tuple[Extensions, bool]] = [
    ([], False),
    ([(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)], False),
    ([(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)], False),
    ([(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING]), True)], True),
    ([*SIGNS_RESPONSES, (x509.OCSPNoCheck(), False), (usage(digital_signature=True), True)], True),
    ([*SIGNS_RESPONSES, (usage(key_cert_sign=True), True)], False),
    (
        [*SIGNS_RESPONSES, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)],
        False,
    ),
    (
        [*SIGNS_RESPONSES, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False)],
        True,
    ),
]


@pytest.mark.rfc("6960", "4.2.2.2")
@pytest.mark.parametrize(("extensions", "may"), PURPOSES)
def test_staple_is_accepted_only_of_responder_certified_for_it(extensions: Extensions, may: bool) -> None:  # noqa: FBT001 - as the RFC has it
    response = responder(*extensions)
    if may:
        assert check(response) > NOW
    else:
        assert "for another use" in refused(response)


@pytest.mark.rfc("6960", "4.2.2.2")
def test_staple_that_the_certificate_signs_for_itself_is_refused() -> None:
    assert "for another use" in refused(ocsp_response(LEAF, certificates=(LEAF,)))


@pytest.mark.rfc("6960", "4.2.2.2")
def test_staple_of_responder_that_another_authority_appoints_is_refused() -> None:
    impostor = authority("intermediate", ROOT)
    for appointed in (issue("responder", ROOT, SIGNS_RESPONSES), issue("responder", impostor, SIGNS_RESPONSES)):
        response = ocsp_response(appointed, certificates=(appointed,))
        assert "whom the certificate's issuer has not certified" in refused(response)


@pytest.mark.rfc("6960", "4.2.2.2")
def test_staple_of_responder_that_a_responder_appoints_is_refused() -> None:
    second = issue("second", RESPONDER, SIGNS_RESPONSES)
    assert "has not certified" in refused(ocsp_response(second, certificates=(second, RESPONDER)))


@pytest.mark.rfc("6960", "4.2.2.2")
@pytest.mark.parametrize("certificates", [(), (OTHER,)], ids=["none", "another's"])
def test_staple_without_certificate_of_its_responder_is_refused(certificates: tuple[Party, ...]) -> None:
    assert "neither the issuer nor certified" in refused(ocsp_response(RESPONDER, certificates=certificates))


@pytest.mark.rfc("6960", "4.2.1")
def test_staple_whose_responder_comes_after_too_many_certificates_is_refused() -> None:
    assert check(ocsp_response(RESPONDER, certificates=(OTHER, OTHER, OTHER, RESPONDER))) > NOW
    many = (OTHER, OTHER, OTHER, OTHER, RESPONDER)
    assert "neither the issuer nor certified" in refused(ocsp_response(RESPONDER, certificates=many))


@pytest.mark.rfc("6960", "3.2")
@pytest.mark.parametrize("status", [ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED])
def test_staple_signed_with_another_key_is_refused(status: ocsp.OCSPCertStatus) -> None:
    assert "not signed by the key" in refused(signed_with(ocsp_response(status=status), new_key()))


@pytest.mark.rfc("6960", "3.2")
def test_staple_in_the_name_of_responder_by_another_key_is_refused() -> None:
    forger = Party(RESPONDER.certificate, OTHER.key)
    good = ocsp_response(RESPONDER, certificates=(RESPONDER,))
    signature = ocsp.load_der_ocsp_response(good).signature
    tbs = ocsp.load_der_ocsp_response(good).tbs_response_bytes
    assert isinstance(forger.key, ec.EllipticCurvePrivateKey)
    other = forger.key.sign(tbs, ec.ECDSA(SHA256))
    while len(other) != len(signature):
        other = forger.key.sign(tbs, ec.ECDSA(SHA256))
    assert "not signed by the key" in refused(good.replace(signature, other))


@pytest.mark.rfc("6960", "3.2")
def test_staple_that_was_altered_is_refused() -> None:
    good = ocsp_response()
    later = (NOW + DAY).strftime("%Y%m%d%H%M%SZ").encode()
    assert good.count(later) == 1
    assert "not signed" in refused(good.replace(later, (NOW + 9 * DAY).strftime("%Y%m%d%H%M%SZ").encode()))


# Kinds of signature


@pytest.mark.rfc("6960", "4.3")
@pytest.mark.parametrize("digest", [SHA256, hashes.SHA384(), hashes.SHA512()], ids=lambda h: h.name)
def test_staple_is_accepted_with_every_hash_of_sha2(digest: hashes.HashAlgorithm, rsa_ca: Party) -> None:
    assert check(ocsp_response(digest=digest)) > NOW
    leaf = issue("leaf", rsa_ca)
    assert check(ocsp_response(rsa_ca, leaf=leaf, issuer=rsa_ca, digest=digest), leaf, rsa_ca) > NOW


@pytest.mark.rfc("8410", "3")
def test_staple_is_accepted_with_ed25519() -> None:
    issuer = authority("Ed25519", ROOT, ed25519.Ed25519PrivateKey.generate())
    leaf = issue("leaf", issuer)
    assert check(ocsp_response(issuer, leaf=leaf, issuer=issuer), leaf, issuer) > NOW


def pss_response(  # noqa: PLR0917 - what differs between the kinds of PSS
    issuer: Party, leaf: Party, arc: int, digest: Any, salt: int, parameters: bytes
) -> bytes:
    """A response signed with RSASSA-PSS, as its AlgorithmIdentifier says (RFC 4055 §3.1)."""
    oid = tlv(0x06, bytes.fromhex("608648016503040200")[:-1] + bytes((arc,)))
    of_hash = tlv(0x30, oid, parameters)
    mgf1 = tlv(0x30, bytes.fromhex("06092a864886f70d010108"), of_hash)
    fields = tlv(0x30, tlv(0xA0, of_hash), tlv(0xA1, mgf1), tlv(0xA2, tlv(0x02, bytes((salt,)))))
    algorithm = tlv(0x30, bytes.fromhex("06092a864886f70d01010a"), fields)
    unsigned = ocsp_response(issuer, leaf=leaf, issuer=issuer)
    tbs = ocsp.load_der_ocsp_response(unsigned).tbs_response_bytes
    assert isinstance(issuer.key, rsa.RSAPrivateKey)
    return signed_by_hand(unsigned, algorithm, issuer.key.sign(tbs, padding.PSS(padding.MGF1(digest), salt), digest))


@pytest.mark.rfc("4055", "3.1")
@pytest.mark.parametrize("parameters", [b"\x05\x00", b""], ids=["null", "absent"])
@pytest.mark.parametrize(("arc", "digest"), [(1, SHA256), (2, hashes.SHA384()), (3, hashes.SHA512())])
def test_staple_is_accepted_with_pss(arc: int, digest: hashes.HashAlgorithm, parameters: bytes, rsa_ca: Party) -> None:
    leaf = issue("leaf", rsa_ca)
    assert check(pss_response(rsa_ca, leaf, arc, digest, digest.digest_size, parameters), leaf, rsa_ca) > NOW


@pytest.mark.rfc("4055", "3.1")
def test_staple_with_pss_of_unusual_salt_is_refused(rsa_ca: Party) -> None:
    leaf = issue("leaf", rsa_ca)
    assert "too weak or unknown" in refused(pss_response(rsa_ca, leaf, 1, SHA256, 21, b"\x05\x00"), leaf, rsa_ca)


@pytest.mark.rfc("6194", "3")
def test_staple_signed_with_sha1_is_refused() -> None:
    unsigned = ocsp_response()
    tbs = ocsp.load_der_ocsp_response(unsigned).tbs_response_bytes
    assert isinstance(CA.key, ec.EllipticCurvePrivateKey)
    algorithm = tlv(0x30, bytes.fromhex("06072a8648ce3d0401"))
    response = signed_by_hand(unsigned, algorithm, CA.key.sign(tbs, ec.ECDSA(SHA1)))
    assert "too weak or unknown" in refused(response)


@pytest.mark.rfc("6960", "4.3")
def test_staple_signed_for_a_key_of_another_kind_is_refused(rsa_ca: Party) -> None:
    """The algorithm says ECDSA, and the issuer's key is RSA."""
    leaf = issue("leaf", rsa_ca)
    response = signed_by_hand(ocsp_response(rsa_ca, leaf=leaf, issuer=rsa_ca), ECDSA_SHA256, b"\x30\x00")
    assert "not signed by the key" in refused(response, leaf, rsa_ca)


@pytest.mark.parametrize("by", [BY_NAME, BY_KEY])
def test_staple_of_responder_with_weak_key_is_refused(by: ocsp.OCSPResponderEncoding) -> None:
    weak = issue("responder", CA, SIGNS_RESPONSES, key=rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - what is to be refused
    response = ocsp_response(weak, by=by, certificates=(weak,))
    assert refused(response)


# Malformed and oversized


@pytest.mark.rfc("6960", "4.4")
def test_staple_with_critical_extension_is_refused() -> None:
    nonce = x509.OCSPNonce(b"x" * 16)
    assert check(ocsp_response(extensions=[(nonce, False)])) > NOW
    assert "critical extension" in refused(ocsp_response(extensions=[(nonce, True)]))


@pytest.mark.parametrize("response", [b"", b"0", b"0\x00", b"\xff" * 40, ocsp_response()[:-1], ocsp_response() + b"\0"])
def test_staple_that_is_malformed_is_refused(response: bytes) -> None:
    assert "malformed" in refused(response)


def test_staple_that_is_too_long_is_refused_unread() -> None:
    assert "malformed" in refused(b"\0" * MAXIMUM_STAPLE)
    assert f"{MAXIMUM_STAPLE + 1} bytes" in refused(b"\0" * (MAXIMUM_STAPLE + 1))


def test_staple_for_certificate_with_unreadable_name_is_refused() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER).replace(b"\x0c\x04leaf", b"\x01\x04leaf")
    with pytest.raises(BadCertificateStatus, match="an unreadable name"):
        check_staple(b"", x509.load_der_x509_certificate(der), CA.certificate, NOW)


MUTABLE = (ocsp_response(), ocsp_response(RESPONDER, by=BY_NAME, certificates=(RESPONDER,)))


@pytest.mark.rfc("6960", "3.2")
@given(st.data())
@settings(max_examples=400)
def test_mutated_staple_raises_nothing_but_our_errors(data: st.DataObject) -> None:
    """What is accepted says the same as before: what is not signed may differ (the certificates that go along)."""
    original = data.draw(st.sampled_from(MUTABLE))
    response = mutated(data, original)
    try:
        until = check(response)
    except BadCertificateStatus:
        return
    assert until == NOW + DAY
    tbs = [ocsp.load_der_ocsp_response(der).tbs_response_bytes for der in (original, response)]
    assert tbs[0] == tbs[1]


# must-staple


@pytest.mark.rfc("7633", "4")
def test_must_staple_is_what_the_certificate_says() -> None:
    status_request, version_2 = x509.TLSFeatureType.status_request, x509.TLSFeatureType.status_request_v2
    for features, wanted in (([status_request], True), ([version_2, status_request], True), ([version_2], False)):
        assert must_staple(issue("leaf", CA, [(x509.TLSFeature(features), False)]).certificate) is wanted
    assert must_staple(LEAF.certificate) is False


@pytest.mark.rfc("7633", "4")
@pytest.mark.parametrize("value", [b"\x30\x03\x02\x01\x63", b"\x30\x03\x04\x01\x05", b"", b"\x05\x00"])
def test_must_staple_refuses_features_that_cannot_be_read(value: bytes) -> None:
    feature = x509.UnrecognizedExtension(x509.TLSFeature.oid, value)
    with pytest.raises(CertificateError) as raised:
        must_staple(issue("leaf", CA, [(feature, False)]).certificate)
    assert alert_for(raised.value) is AlertDescription.bad_certificate
