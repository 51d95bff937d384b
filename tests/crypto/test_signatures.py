"""Signature schemes: each row signs and verifies with the keys that it is for, and with no others."""

from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from aiotls.crypto.signatures import SCHEMES, PrivateKey, Scheme, schemes_for, signer, verify
from aiotls.errors import DecryptError, LocalError
from aiotls.wire.registries import SignatureScheme

CURVES = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1(), "secp521r1": ec.SECP521R1()}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.code.name)


@cache
def key_for(key_type: str) -> PrivateKey:
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if key_type.startswith("ec:"):
        return ec.generate_private_key(CURVES[key_type.removeprefix("ec:")])
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.rfc("8446", "4.2.3")
@every_scheme
def test_signature_verifies_and_a_changed_one_does_not(scheme: Scheme) -> None:
    key = key_for(scheme.key_type)
    signature = signer(key, scheme.code)(b"message")
    verify(key.public_key(), scheme.code, signature, b"message")
    for wrong, message in ((signature, b"another"), (signature[:-1], b"message"), (b"", b"message")):
        with pytest.raises(DecryptError, match=scheme.code.name):
            verify(key.public_key(), scheme.code, wrong, message)


@every_scheme
def test_scheme_refuses_keys_of_another_kind(scheme: Scheme) -> None:
    for key_type in ("ec:secp256r1", "ed25519", "rsa"):
        if key_type.partition(":")[0] == scheme.key_type.partition(":")[0].removesuffix("-pss"):
            continue
        key = key_for(key_type)
        with pytest.raises(LocalError, match=scheme.code.name):
            signer(key, scheme.code)
        with pytest.raises(LocalError, match=scheme.code.name):
            verify(key.public_key(), scheme.code, b"", b"")


@pytest.mark.rfc("8446", "4.4.3")
def test_pkcs1_is_for_certificates_only() -> None:
    assert {scheme.code.name for scheme in SCHEMES.values() if not scheme.handshake13} == {
        "rsa_pkcs1_sha256",
        "rsa_pkcs1_sha384",
        "rsa_pkcs1_sha512",
    }


@pytest.mark.rfc("8446", "4.2.3")
@pytest.mark.parametrize(
    ("key_type", "names"),
    [
        ("ec:secp256r1", ["ecdsa_secp256r1_sha256"]),
        ("ec:secp384r1", ["ecdsa_secp384r1_sha384"]),
        ("ec:secp521r1", ["ecdsa_secp521r1_sha512"]),
        ("ed25519", ["ed25519"]),
        ("rsa", ["rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512"]),
        ("rsa-pss", ["rsa_pss_pss_sha256", "rsa_pss_pss_sha384", "rsa_pss_pss_sha512"]),
    ],
)
def test_key_signs_with_the_schemes_of_its_kind(key_type: str, names: list[str]) -> None:
    codes = schemes_for(key_for(key_type).public_key(), rsa_pss=key_type == "rsa-pss")
    assert [SignatureScheme(code).name for code in codes] == names


@pytest.mark.rfc("8017", "9.1.1")
def test_small_rsa_key_has_no_room_for_long_digests() -> None:
    codes = schemes_for(rsa.generate_private_key(65537, 1024).public_key())  # noqa: S505 - the point of it
    assert [SignatureScheme(code).name for code in codes] == ["rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384"]
