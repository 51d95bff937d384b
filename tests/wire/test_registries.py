"""Registries: unknown values survive without a trace, and values beyond the wire's width are refused."""

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import AlertDescription
from aiotls.wire import registries
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    CertificateCompressionAlgorithm,
    CertificateStatusType,
    CertificateType,
    CipherSuite,
    ContentType,
    ExtensionType,
    HandshakeType,
    KeyUpdateRequest,
    NamedGroup,
    NameType,
    ProtocolVersion,
    PskKeyExchangeMode,
    SignatureScheme,
    name_of,
)

Registry = (
    type[CertificateCompressionAlgorithm]
    | type[CertificateStatusType]
    | type[CertificateType]
    | type[CipherSuite]
    | type[ContentType]
    | type[ExtensionType]
    | type[HandshakeType]
    | type[KeyUpdateRequest]
    | type[NamedGroup]
    | type[NameType]
    | type[ProtocolVersion]
    | type[PskKeyExchangeMode]
    | type[SignatureScheme]
)
WIDTHS: dict[Registry, int] = {
    CertificateCompressionAlgorithm: 16,
    CertificateStatusType: 8,
    CertificateType: 8,
    CipherSuite: 16,
    ContentType: 8,
    ExtensionType: 16,
    HandshakeType: 8,
    KeyUpdateRequest: 8,
    NamedGroup: 16,
    NameType: 8,
    ProtocolVersion: 16,
    PskKeyExchangeMode: 8,
    SignatureScheme: 16,
}
every_registry = pytest.mark.parametrize(("registry", "bits"), WIDTHS.items(), ids=[each.__name__ for each in WIDTHS])

GREASE = [high << 8 | high for high in range(0x0A, 0x100, 0x10)]


def test_every_registry_is_tested() -> None:
    named = {name for name in registries.__all__ if isinstance(getattr(registries, name), type)}
    assert named == {registry.__name__ for registry in WIDTHS}


@every_registry
def test_registry_keeps_every_value_of_its_width_and_does_not_grow(registry: Registry, bits: int) -> None:
    before = len(registry)
    known = {int(member): member.name for member in registry}
    for value in {*range(256), *(1 << bit for bit in range(bits)), (1 << bits) - 1}:
        member = registry(value)
        assert member == value
        assert member.value == value
        assert hash(member) == hash(value)
        assert name_of(registry, value) == member.name == known.get(value, f"unknown_0x{value:0{bits // 4}x}")
    assert len(registry) == len(registry.__members__) == before
    assert {int(member) for member in registry} == set(known)


@every_registry
def test_registry_refuses_what_its_field_cannot_hold(registry: Registry, bits: int) -> None:
    for wrong in (-1, 1 << bits, "handshake", 1.5, None):
        with pytest.raises(ValueError, match=f"is not a valid {registry.__name__}"):
            registry(wrong)  # type: ignore[arg-type]


@pytest.mark.rfc("8701", "2")
@pytest.mark.parametrize("registry", [CipherSuite, NamedGroup, ExtensionType, SignatureScheme, ProtocolVersion])
def test_registry_has_no_name_for_grease(registry: Registry) -> None:
    assert {name_of(registry, value) for value in GREASE} == {f"unknown_0x{value:04x}" for value in GREASE}


@given(value=st.integers(0, 0xFFFF))
def test_unknown_value_is_an_equal_one_each_time(value: int) -> None:
    first, second = CipherSuite(value), CipherSuite(value)
    assert first == second == value
    assert {first: "seen"}[second] == "seen"
    assert pickle.loads(pickle.dumps(first)) == value  # noqa: S301 - what we pickled ourselves
    assert first.to_bytes(2, "big") == value.to_bytes(2, "big")


@pytest.mark.rfc("8446", "6")
def test_alerts_are_an_open_registry_too() -> None:
    before = len(AlertDescription)
    for value in range(256):
        assert AlertDescription(value) == value
    assert AlertDescription(255).name == "unknown_255"
    assert len(AlertDescription) == before
    for wrong in (-1, 256, "close_notify"):
        with pytest.raises(ValueError, match="is not a valid AlertDescription"):
            AlertDescription(wrong)  # type: ignore[arg-type]


@pytest.mark.rfc("8446", "4.1.3")
def test_random_of_a_retry_request_is_the_hash_of_its_name() -> None:
    assert hashlib.sha256(b"HelloRetryRequest").digest() == HELLO_RETRY_REQUEST_RANDOM


@pytest.mark.rfc("8446", "B.4")
def test_code_points_are_those_of_the_rfc() -> None:
    """A sample of each registry, so that a slip of the pen in one of them does not pass for a peer's fault."""
    assert [CipherSuite(code).name for code in (0x1301, 0x1302, 0x1303)] == [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ]
    assert [NamedGroup(code).name for code in (23, 24, 25, 29, 4587, 4588)] == [
        "secp256r1",
        "secp384r1",
        "secp521r1",
        "x25519",
        "SecP256r1MLKEM768",
        "X25519MLKEM768",
    ]
    assert [CertificateCompressionAlgorithm(code).name for code in (1, 2, 3)] == ["zlib", "brotli", "zstd"]
    assert [HandshakeType(code).name for code in (1, 2, 4, 5, 8, 11, 13, 15, 20, 24, 25, 254)] == [
        member.name for member in HandshakeType
    ]
    assert [CertificateType(code).name for code in (0, 1, 2)] == ["x509", "unknown_0x01", "raw_public_key"]
    assert CertificateStatusType(1).name == "ocsp"
    assert [ContentType(code).name for code in (20, 21, 22, 23)] == [member.name for member in ContentType]
