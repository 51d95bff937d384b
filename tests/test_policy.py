"""The named preference lists: what they hold, and in which order."""

from dataclasses import FrozenInstanceError

import pytest

from aiotls import ServerConfig
from aiotls.crypto.groups import GROUPS
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import SUITES
from aiotls.policy import DEFAULT, FIPS, MODERN, POLICIES, Policy, fips_mode
from aiotls.testing.ca import LocalCA
from aiotls.trust.loading import MINIMUM_RSA_BITS
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
        NamedGroup.SecP256r1MLKEM768,
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


@EVERY
def test_policy_puts_post_quantum_first(policy: Policy) -> None:
    hybrid = [GROUPS[group].hybrid for group in policy.groups]
    assert hybrid[0]
    assert hybrid == sorted(hybrid, reverse=True)


def test_modern_policy_is_tls_13_with_the_long_keys_first() -> None:
    assert MODERN.versions == (ProtocolVersion.TLSv1_3,)
    assert MODERN.cipher_suites == (
        CipherSuite.TLS_AES_256_GCM_SHA384,
        CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
        CipherSuite.TLS_AES_128_GCM_SHA256,
    )
    assert MODERN.groups == DEFAULT.groups
    assert MODERN.signature_schemes == DEFAULT.signature_schemes


def test_fips_policy_holds_approved_algorithms_only() -> None:
    assert FIPS.versions == (ProtocolVersion.TLSv1_3,)
    assert FIPS.cipher_suites == (CipherSuite.TLS_AES_256_GCM_SHA384, CipherSuite.TLS_AES_128_GCM_SHA256)
    assert FIPS.groups == (NamedGroup.SecP256r1MLKEM768, NamedGroup.secp256r1, NamedGroup.secp384r1)
    assert {scheme.name for scheme in FIPS.signature_schemes} == {
        *("ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512", "ed25519"),
        *("rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512"),
        *("rsa_pss_pss_sha256", "rsa_pss_pss_sha384", "rsa_pss_pss_sha512"),
    }
    assert MINIMUM_RSA_BITS >= 2048  # FIPS 186-5 §5.1


@pytest.mark.parametrize(("on", "word"), [(True, "on"), (False, "off")])
def test_fips_policy_says_whether_the_module_is_in_fips_mode(
    monkeypatch: pytest.MonkeyPatch, *, on: bool, word: str
) -> None:
    monkeypatch.setattr("aiotls.policy.fips_mode", lambda: on)
    assert FIPS.describe().splitlines()[-1].startswith(f"FIPS mode: {word} (OpenSSL ")
    assert str(FIPS) == FIPS.describe()


def test_fips_policy_asks_the_module_itself() -> None:
    assert f"FIPS mode: {'on' if fips_mode() else 'off'}" in str(FIPS)


@pytest.mark.parametrize("policy", [DEFAULT, MODERN], ids=lambda policy: policy.name)
def test_policy_of_no_module_says_nothing_of_fips(policy: Policy) -> None:
    assert "FIPS" not in str(policy)


def test_policy_describes_its_lists_in_order() -> None:
    assert str(MODERN).splitlines() == [
        "policy modern",
        "versions: TLSv1_3",
        "cipher suites: TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256",
        "groups: X25519MLKEM768, SecP256r1MLKEM768, x25519, secp256r1, secp384r1",
        "signature schemes: " + ", ".join(scheme.name for scheme in MODERN.signature_schemes),
    ]


@EVERY
def test_config_takes_policy_by_name(policy: Policy) -> None:
    config = ServerConfig(credentials=LocalCA().issue("localhost").credential(), policy=policy.name)
    assert tuple(config.suites) == policy.cipher_suites
    assert tuple(config.group_rows) == policy.groups
    assert config.schemes == policy.signature_schemes


def test_policy_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.groups = ()  # type: ignore[misc]
