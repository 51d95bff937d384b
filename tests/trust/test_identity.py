"""Who the peer is where no chain is verified: certificates for the program to judge, raw keys, the channel binding."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import (
    CertificateError,
    CertificateRequired,
    LocalError,
    UnsupportedCertificate,
)
from aiotls.trust.verify import end_point_digest, identify, identify_raw_public_key
from tests.trust.chains import (
    BROKEN_SAN,
    ECDSA_SHA1,
    NAME,
    OTHER_ROOT,
    PAST,
    PEER,
    ROOT,
    SENT,
    SHA1,
    authority,
    check_error,
    der,
    key_of,
    leaf,
    named_rsa_pss,
    outcome,
    resigned,
    rsa_key,
    signed_anew,
    spki,
    with_extensions,
)
from tests.trust.statements import Party, mutated, new_key, split, tlv


def test_identity_of_certificate_that_names_its_key_as_rsa_pss_says_so() -> None:
    plain = leaf(ROOT, key=rsa_key(2048))
    swapped = resigned(plain, lambda fields: named_rsa_pss(fields[6]), at=6)
    assert identify(swapped).rsa_pss
    assert not identify(der(plain)).rsa_pss
    assert identify(swapped).spki_sha256 != identify(der(plain)).spki_sha256


def test_identify_reads_a_certificate_and_verifies_no_trust() -> None:
    identity = identify(der(leaf(OTHER_ROOT, **PAST)))
    assert (identity.dns_names, identity.verified_chain) == ((NAME,), ())
    assert identity.not_after == PAST["until"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (list, CertificateRequired),
        (lambda: [b"x"], CertificateError),
        (lambda: [SENT[0], b"x"], CertificateError),
        (lambda: der(leaf(ROOT, key=rsa_key(1024))), UnsupportedCertificate),
        (lambda: SENT * 50, CertificateError),
        (lambda: with_extensions(BROKEN_SAN), CertificateError),
    ],
)
def test_identify_refuses_what_cannot_be_used(make: Callable[[], list[bytes]], kind: type[CertificateError]) -> None:
    with pytest.raises(CertificateError) as caught:
        identify(make())
    assert type(caught.value) is kind


@pytest.mark.rfc("7250", "3")
@pytest.mark.parametrize("key", [new_key(), ed25519.Ed25519PrivateKey.generate(), rsa_key(2048)])
def test_identify_raw_public_key_gives_the_key_and_its_hash(key: Any) -> None:
    identity = identify_raw_public_key(spki(key))
    assert identity.raw_public_key
    assert identity.public_key == key.public_key()
    assert identity.spki_sha256 == hashlib.sha256(spki(key)).digest()
    assert (identity.certificates, identity.not_after, identity.rsa_pss) == ((spki(key),), None, False)


def test_identify_raw_public_key_sees_how_an_rsa_key_is_named() -> None:
    assert identify_raw_public_key(named_rsa_pss(spki(rsa_key(2048)))).rsa_pss


@pytest.mark.parametrize(
    ("encoded", "kind"),
    [
        (b"", CertificateError),
        (b"x", CertificateError),
        (spki(new_key()) + b"\0", CertificateError),
        (spki(new_key())[:-1], CertificateError),
        (bytes(102_401), CertificateError),
        (SENT[0], CertificateError),
        (spki(rsa_key(1024)), UnsupportedCertificate),
        (spki(ec.generate_private_key(ec.SECP256K1())), UnsupportedCertificate),
        (spki(ed448.Ed448PrivateKey.generate()), UnsupportedCertificate),
        (tlv(0x30, tlv(0x30, bytes.fromhex("06022a03")), tlv(0x03, b"\0key")), CertificateError),
    ],
)
def test_identify_raw_public_key_refuses_what_cannot_be_used(encoded: bytes, kind: type[CertificateError]) -> None:
    with pytest.raises(CertificateError) as caught:
        identify_raw_public_key(encoded)
    assert isinstance(caught.value, kind)


@pytest.mark.rfc("5929", "4.1")
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: leaf(ROOT), "sha256"),
        (lambda: leaf(ROOT, digest=hashes.SHA384()), "sha384"),
        (lambda: leaf(ROOT, digest=hashes.SHA512()), "sha512"),
        (lambda: signed_anew(leaf(ROOT), key_of(ROOT), ECDSA_SHA1, SHA1), "sha256"),
        (lambda: leaf(authority("rsa", key=rsa_key(2048)), pss=True), "sha256"),
    ],
)
def test_end_point_digest_is_by_the_signatures_hash(make: Callable[[], Party], name: str) -> None:
    encoded = der(make())[0]
    assert end_point_digest(encoded) == hashlib.new(name, encoded).digest()


def test_end_point_digest_is_not_defined_without_a_hash() -> None:
    with pytest.raises(LocalError, match="take tls-exporter"):
        end_point_digest(der(leaf(None, key=ed25519.Ed25519PrivateKey.generate()))[0])
    unknown = split(SENT[0])
    fields = split(unknown[0])
    fields[2] = unknown[1] = tlv(0x30, bytes.fromhex("06022a03"))
    with pytest.raises(LocalError, match="not defined for this signature algorithm"):
        end_point_digest(tlv(0x30, tlv(0x30, *fields), *unknown[1:]))
    with pytest.raises(CertificateError):
        end_point_digest(b"x")


@given(st.data())
def test_identify_raw_public_key_raises_nothing_but_certificate_errors(data: st.DataObject) -> None:
    encoded = mutated(data, spki(data.draw(st.sampled_from([PEER.key, rsa_key(2048)]))))
    check_error(outcome(lambda: identify_raw_public_key(encoded)))
