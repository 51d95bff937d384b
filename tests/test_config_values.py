"""The configs check every field when they are made, and name the one whose value cannot be."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from aiotls import ClientAuth, ClientConfig, Credential, Roots, ServerConfig
from aiotls.errors import LocalError
from aiotls.testing.ca import LocalCA
from aiotls.trust.revocation import CRLs
from aiotls.wire.registries import CipherSuite, NamedGroup, SignatureScheme

AES_128 = CipherSuite.TLS_AES_128_GCM_SHA256
CHACHA20 = CipherSuite.TLS_CHACHA20_POLY1305_SHA256
ECDSA = SignatureScheme.ecdsa_secp256r1_sha256
X25519 = NamedGroup.x25519
SUBJECT_PUBLIC_KEY_INFO = b"0 as a SubjectPublicKeyInfo begins"
PIN = bytes(32)

FLAG: list[object] = [None, 0, 1, "no"]
FUNCTION: list[object] = ["a name", 5, b"", True]
CODES: list[object] = [(), "x25519", b"\0\x1d", 5, (0x9999,), (None,), ("AES",), ([],)]

COMMON: dict[str, list[object]] = {
    "policy": ["ancient", "", None, 3, []],
    "cipher_suites": [*CODES, (AES_128, AES_128), (CipherSuite.TLS_FALLBACK_SCSV,)],
    "groups": [*CODES, (X25519, X25519), (NamedGroup.ffdhe2048,)],
    "signature_schemes": [*CODES, (ECDSA, ECDSA), (SignatureScheme.rsa_pkcs1_sha256,)],
    "certificate_signature_schemes": [*CODES, (ECDSA, ECDSA), (SignatureScheme.rsa_pkcs1_sha1,)],
    "alpn": ["h2", b"h2", ("",), ("x" * 256,), (b"h2",), (5,), ("\ud800",), 5, None, {"h2"}],
    "verifier": FUNCTION,
    "crls": ["ca.crl", b"", 5, []],
    "trusted_public_keys": [None, 5, "key", SUBJECT_PUBLIC_KEY_INFO, ["key"], [5], [b""], [b"-----BEGIN PUBLIC KEY"]],
    "authorise": FUNCTION,
    "verify_in_thread": FLAG,
    "verification_cache_size": [-1, (1 << 24) + 1, None, "1", 1.5, True],
    "verification_cache_lifetime": [-1, 0, 24 * 3600 + 1, None, "1", True, float("nan"), float("inf")],
    "certificate_compression": FLAG,
    "record_size_limit": [0, 63, (1 << 14) + 2, -1, "64", 64.5, True],
    "max_fragment": [0, 63, (1 << 14) + 1, -1, None, "64", 64.5, True],
    "record_padding": [-1, (1 << 14) + 1, None, "16", 0.5, True],
    "traffic_key_export": FLAG,
    "max_handshake_message_size": [4095, 1 << 24, 0, -1, "65536", None, True],
    "max_records_per_key": [0, -1, 1, (1 << 63) + 1, "1000", 2.5, True],
    "key_log": ["keys.log", 5],
    "clock": [0, None],
    "random": [b"4", None],
}
SERVER: dict[str, list[object]] = {
    **COMMON,
    "credentials": [None, "cert.pem", 5, (), [], [None], [5], {}],
    "client_auth": [None, True, "required", 2],
    "client_roots": ["ca.pem", b"", [], 5],
    "client_authorities": FLAG,
    "select_config": FUNCTION,
    "fingerprint": FLAG,
    "cipher_suite_preference": ["server", None, True],
    "group_preference": ["client", None, 1],
    "insist_on_preferred_group": FLAG,
    "require_server_name": FLAG,
    "max_early_data_skipped": [-1, (1 << 31) + 1, "0", None, True],
    "tickets": [-1, 9, "2", None, True],
    "ticket_keys": ["secret", 5],
    "session_lifetime": [0, 7 * 24 * 3600 + 1, "6 h", None],
}
CLIENT: dict[str, list[object]] = {
    **COMMON,
    "roots": ["ca.pem", b"", [], 5],
    "pins": [None, "pin", PIN, 5, [PIN[1:]], [PIN + b"\0"], ["0" * 32], [None]],
    "require_staple": FLAG,
    "credentials": ["cert.pem", 5, (), [], [None], [5], {}],
    "key_shares": ["x25519", "", 5, 0, {}, (0x9999,), (None,), ([],), (X25519, X25519), (NamedGroup.ffdhe2048,)],
    "send_server_name": FLAG,
    "grease": FLAG,
}
AT_THE_BORDER: list[tuple[str, object]] = [
    ("policy", "modern"),
    ("cipher_suites", (int(CHACHA20),)),
    ("groups", [int(X25519)]),
    ("certificate_signature_schemes", (SignatureScheme.rsa_pkcs1_sha256,)),
    ("alpn", ("x" * 255,)),
    ("alpn", ["é"]),
    ("verification_cache_size", 0),
    ("verification_cache_size", 1 << 24),
    ("verification_cache_lifetime", 1),
    ("verification_cache_lifetime", 24 * 3600),
    ("record_size_limit", None),
    ("record_size_limit", 64),
    ("record_size_limit", (1 << 14) + 1),
    ("max_fragment", 64),
    ("max_fragment", 1 << 14),
    ("record_padding", 0),
    ("record_padding", 1 << 14),
    ("record_padding", len),
    ("max_handshake_message_size", 4096),
    ("max_handshake_message_size", (1 << 24) - 1),
    ("max_records_per_key", 2),
    ("max_records_per_key", 1 << 63),
    ("max_records_per_key", None),
]
SERVERS_BORDER: list[tuple[str, object]] = [
    *AT_THE_BORDER,
    ("max_early_data_skipped", 0),
    ("max_early_data_skipped", 1 << 31),
    ("tickets", 0),
    ("tickets", 8),
    ("session_lifetime", 1),
    ("session_lifetime", 7 * 24 * 3600),
]
CLIENTS_BORDER: list[tuple[str, object]] = [
    *AT_THE_BORDER,
    ("key_shares", ()),
    ("key_shares", (NamedGroup.secp384r1,)),
    ("trusted_public_keys", [SUBJECT_PUBLIC_KEY_INFO]),
]


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def credential(ca: LocalCA) -> Credential:
    return ca.issue("localhost").credential()


@pytest.fixture(scope="module")
def roots(ca: LocalCA) -> Roots:
    return Roots.from_bytes(ca.certificate_pem)


def trusting(peer: object, name: object) -> bool:
    return True


def make_server(credential: Credential, **values: Any) -> ServerConfig:
    return ServerConfig(**{"credentials": credential, **values})


def make_client(**values: Any) -> ClientConfig:
    """Of a config that needs no roots."""
    return ClientConfig(**{"verifier": trusting, **values})


def cases(table: dict[str, list[object]]) -> list[Any]:
    return [pytest.param(name, value, id=f"{name}={value!a}") for name, values in table.items() for value in values]


# --- Every field -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), cases(SERVER))
def test_server_refuses_value_that_cannot_be_and_names_the_field(
    credential: Credential, name: str, value: object
) -> None:
    with pytest.raises(LocalError, match=rf"^ServerConfig\.{name}\b"):
        make_server(credential, **{name: value})


@pytest.mark.parametrize(("name", "value"), cases(CLIENT))
def test_client_refuses_value_that_cannot_be_and_names_the_field(name: str, value: object) -> None:
    with pytest.raises(LocalError, match=rf"^ClientConfig\.{name}\b"):
        make_client(**{name: value})


@pytest.mark.parametrize(("config", "table"), [(ServerConfig, SERVER), (ClientConfig, CLIENT)])
def test_every_field_has_a_value_that_cannot_be(config: type, table: dict[str, list[object]]) -> None:
    assert set(table) == {field.name for field in fields(config) if field.init}


@pytest.mark.parametrize(("name", "value"), SERVERS_BORDER, ids=[f"{name}={value!a}" for name, value in SERVERS_BORDER])
def test_server_takes_value_at_the_border(credential: Credential, name: str, value: object) -> None:
    assert getattr(make_server(credential, **{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), CLIENTS_BORDER, ids=[f"{name}={value!a}" for name, value in CLIENTS_BORDER])
def test_client_takes_value_at_the_border(name: str, value: object) -> None:
    assert getattr(make_client(**{name: value}), name) == value


# --- Fields that belong together ---------------------------------------------------------------------------------


def test_server_that_asks_for_certificates_knows_what_to_verify_them_by(credential: Credential, roots: Roots) -> None:
    for asking in (ClientAuth.OPTIONAL, ClientAuth.REQUIRED):
        with pytest.raises(LocalError, match=r"ServerConfig\.client_roots must be given with client_auth"):
            make_server(credential, client_auth=asking)
        for known in ({"client_roots": roots}, {"verifier": trusting}, {"trusted_public_keys": [b"0..."]}):
            config = make_server(credential, client_auth=asking, **known)
            assert config.certificate_request is not None
            assert config.sealing_keys is None  # a ticket does not hold who the client is


@pytest.mark.parametrize("field", ["client_roots", "verifier", "trusted_public_keys"])
def test_server_that_asks_for_no_certificate_has_nothing_to_verify(
    credential: Credential, roots: Roots, field: str
) -> None:
    """It looks protected, and would admit everybody."""
    value = {"client_roots": roots, "verifier": trusting, "trusted_public_keys": [b"0..."]}[field]
    with pytest.raises(LocalError, match=r"ServerConfig\.client_auth must be OPTIONAL or REQUIRED"):
        make_server(credential, **{field: value})


@pytest.mark.parametrize("asking", ClientAuth)
def test_server_has_no_revocation_lists_that_nobody_reads(
    ca: LocalCA, credential: Credential, asking: ClientAuth
) -> None:
    """With a verifier of the program's own, or without client certificates, they would promise what is not kept."""
    values: dict[str, Any] = {} if asking is ClientAuth.OFF else {"client_auth": asking, "verifier": trusting}
    with pytest.raises(LocalError, match=r"ServerConfig\.\w+ must be"):
        make_server(credential, crls=CRLs.from_bytes(ca.crl()), **values)


@pytest.mark.parametrize("field", ["roots", "pins", "crls", "require_staple"])
@pytest.mark.parametrize("replacement", ["verifier", "trusted_public_keys"])
def test_client_has_nothing_that_is_not_asked_where_something_else_verifies(
    ca: LocalCA, roots: Roots, field: str, replacement: str
) -> None:
    value = {"roots": roots, "pins": [PIN], "crls": CRLs.from_bytes(ca.crl()), "require_staple": True}[field]
    other: dict[str, Any] = {"verifier": trusting} if replacement == "verifier" else {"trusted_public_keys": [b"0..."]}
    make: Callable[..., ClientConfig] = ClientConfig
    if (field, replacement) == ("roots", "trusted_public_keys"):  # for servers that show a certificate
        assert make(roots=roots, **other).verification is not None
        return
    with pytest.raises(LocalError, match=r"ClientConfig\.roots must be None"):
        make(**{field: value}, **other)


def test_client_predicts_the_groups_that_it_wants_most(credential: Credential) -> None:
    assert make_client(groups=(NamedGroup.secp256r1, X25519)).predicted_groups == (NamedGroup.secp256r1,)
    hybrid = make_client(groups=(NamedGroup.X25519MLKEM768, NamedGroup.SecP256r1MLKEM768, X25519))
    assert hybrid.predicted_groups == (NamedGroup.X25519MLKEM768, X25519)
    assert make_client(groups=(NamedGroup.X25519MLKEM768,)).predicted_groups == (NamedGroup.X25519MLKEM768,)
    assert make_client(key_shares=()).predicted_groups == ()
    with pytest.raises(LocalError, match=r"ClientConfig\.key_shares: .*x25519.* is not supported"):
        make_client(groups=(NamedGroup.secp256r1,), key_shares=(X25519,))
