"""The named preference lists: what they hold, and in which order."""

from dataclasses import FrozenInstanceError

import pytest

from aiotls.crypto.groups import GROUPS
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import SUITES
from aiotls.policy import DEFAULT, POLICIES, Policy
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme

EVERY = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


def test_policies_are_found_by_their_names() -> None:
    assert POLICIES["default"] is DEFAULT
    for name, policy in POLICIES.items():
        assert policy.name == name


def test_default_policy_prefers_what_it_says() -> None:
    assert DEFAULT.versions == (ProtocolVersion.TLSv1_3,)
    assert DEFAULT.cipher_suites == (
        CipherSuite.TLS_AES_128_GCM_SHA256,
        CipherSuite.TLS_AES_256_GCM_SHA384,
        CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
    )
    assert DEFAULT.groups == (
        NamedGroup.X25519MLKEM768,
        NamedGroup.x25519,
        NamedGroup.secp256r1,
        NamedGroup.secp384r1,
    )


@pytest.mark.rfc("8446", "9.1")
def test_default_policy_holds_what_every_implementation_must_have() -> None:
    assert CipherSuite.TLS_AES_128_GCM_SHA256 in DEFAULT.cipher_suites
    assert NamedGroup.secp256r1 in DEFAULT.groups
    assert SignatureScheme.rsa_pss_rsae_sha256 in DEFAULT.signature_schemes
    assert SignatureScheme.ecdsa_secp256r1_sha256 in DEFAULT.signature_schemes


@EVERY
def test_policy_names_only_what_we_can_do_and_nothing_twice(policy: Policy) -> None:
    for codes, rows in (
        (policy.cipher_suites, SUITES),
        (policy.groups, GROUPS),
        (policy.signature_schemes, SCHEMES),
    ):
        assert codes
        assert len(set(codes)) == len(codes)
        assert set(codes) <= set(rows)


@EVERY
@pytest.mark.rfc("8446", "4.4.3")
def test_policy_signs_no_handshake_with_pkcs1_or_sha1(policy: Policy) -> None:
    for scheme in policy.signature_schemes:
        assert SCHEMES[scheme].handshake13
        assert "pkcs1" not in scheme.name
        assert "sha1" not in scheme.name


@EVERY
def test_policy_holds_the_registries_own_members(policy: Policy) -> None:
    assert all(type(code) is CipherSuite for code in policy.cipher_suites)
    assert all(type(code) is NamedGroup for code in policy.groups)
    assert all(type(code) is SignatureScheme for code in policy.signature_schemes)


def test_policy_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.groups = ()  # type: ignore[misc]
