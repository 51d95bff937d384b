"""The choices of RFC 8446 §4.1.1, one by one: each is a pure function of the ClientHello and the config."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Unpack

import pytest

from aiotls import Credential, Preference, ServerConfig
from aiotls.crypto.groups import GROUPS
from aiotls.crypto.signatures import SCHEMES
from aiotls.errors import (
    IllegalParameter,
    MissingExtension,
    NoApplicationProtocol,
    NoCommonCipherSuite,
    NoCommonGroup,
    NoCommonSignatureScheme,
    NoCommonVersion,
)
from aiotls.handshake import negotiate
from aiotls.negotiated import Negotiated
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import HelloFields, ScriptedClient
from aiotls.wire.extensions import OfferedPsks, PskIdentity
from aiotls.wire.messages import ClientHello
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, PskKeyExchangeMode, SignatureScheme

AES_128 = CipherSuite.TLS_AES_128_GCM_SHA256
AES_256 = CipherSuite.TLS_AES_256_GCM_SHA384
CHACHA20 = CipherSuite.TLS_CHACHA20_POLY1305_SHA256
HYBRID, X25519 = NamedGroup.X25519MLKEM768, NamedGroup.x25519
P256, P384 = NamedGroup.secp256r1, NamedGroup.secp384r1
GREASE = 0x1A1A

PSKS = OfferedPsks((PskIdentity(b"ticket", 0),), (bytes(32),))


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential())


def hello_of(client: ScriptedClient | None = None, **fields: Unpack[HelloFields]) -> ClientHello:
    """A ClientHello as the server sees it."""
    return ClientHello.parse((client or ScriptedClient()).hello(**fields).encode())


# --- Version -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.2.1")
@pytest.mark.parametrize("versions", [(0x0304,), (0x0303, 0x0304), (GREASE, 0x0304, 0x0303), (0x0305, 0x0304)])
def test_server_takes_tls13_wherever_it_stands(versions: tuple[int, ...]) -> None:
    assert negotiate.protocol_version(hello_of(supported_versions=versions)) == ProtocolVersion.TLSv1_3


@pytest.mark.rfc("8446", "4.2.1")
@pytest.mark.parametrize("legacy_version", [0x0301, 0x0303, 0x0304, 0x7F1C])
def test_server_decides_by_supported_versions_alone(legacy_version: int) -> None:
    assert negotiate.protocol_version(hello_of(legacy_version=legacy_version)) == ProtocolVersion.TLSv1_3
    with pytest.raises(NoCommonVersion, match="at most"):
        negotiate.protocol_version(hello_of(legacy_version=legacy_version, supported_versions=None))


@pytest.mark.rfc("8446", "4.2.1")
@pytest.mark.parametrize("versions", [(0x0303,), (0x0303, 0x0302, 0x0301), (GREASE,), (0x7F1C,), (0x0305,)])
def test_server_refuses_versions_without_tls13(versions: tuple[int, ...]) -> None:
    with pytest.raises(NoCommonVersion, match=r"the client offers .*, and TLS 1\.3 is wanted"):
        negotiate.protocol_version(hello_of(supported_versions=versions))


@pytest.mark.rfc("8446", "D.5")
@pytest.mark.parametrize("legacy_version", [0x0300, 0x0200])
def test_server_refuses_hello_of_ssl3(legacy_version: int) -> None:
    with pytest.raises(NoCommonVersion, match=r"SSL 3\.0 or older"):
        negotiate.protocol_version(hello_of(legacy_version=legacy_version))


def test_server_names_the_versions_that_it_was_offered() -> None:
    with pytest.raises(NoCommonVersion, match="offers TLSv1_2, TLSv1_1, and"):
        negotiate.protocol_version(hello_of(supported_versions=(0x0303, 0x0302)))


# --- Mandatory extensions ----------------------------------------------------------------------------------------


def test_hello_of_an_honest_client_lacks_nothing() -> None:
    negotiate.check_mandatory_extensions(hello_of())


@pytest.mark.rfc("8446", "9.2")
@pytest.mark.parametrize(
    ("missing", "fields"),
    [
        ("signature_algorithms", HelloFields(signature_algorithms=None)),
        ("supported_groups", HelloFields(supported_groups=None)),
        ("key_share", HelloFields(key_share=None)),
        ("supported_groups", HelloFields(supported_groups=None, key_share=None)),
    ],
)
def test_server_refuses_hello_without_mandatory_extension(missing: str, fields: HelloFields) -> None:
    with pytest.raises(MissingExtension, match=f"lacks {missing} "):
        negotiate.check_mandatory_extensions(hello_of(**fields))


@pytest.mark.rfc("8446", "9.2")
def test_hello_with_psk_may_lack_groups_and_share_but_not_one_of_them() -> None:
    client = ScriptedClient(pre_shared_key=PSKS, psk_key_exchange_modes=(PskKeyExchangeMode.psk_dhe_ke,))
    negotiate.check_mandatory_extensions(hello_of(client))
    negotiate.check_mandatory_extensions(hello_of(client, supported_groups=None, key_share=None))
    for half in (HelloFields(supported_groups=None), HelloFields(key_share=None)):
        with pytest.raises(MissingExtension):
            negotiate.check_mandatory_extensions(hello_of(client, **half))


@pytest.mark.rfc("8446", "4.2.9")
def test_server_refuses_psk_without_its_modes() -> None:
    with pytest.raises(MissingExtension, match="lacks psk_key_exchange_modes"):
        negotiate.check_mandatory_extensions(hello_of(pre_shared_key=PSKS))


@pytest.mark.rfc("8446", "4.1.2")
@pytest.mark.parametrize("methods", [b"\1", b"\0\1", b"\1\0", b"\0\0"])
def test_server_refuses_compression(methods: bytes) -> None:
    with pytest.raises(IllegalParameter, match="compression"):
        negotiate.check_mandatory_extensions(hello_of(legacy_compression_methods=methods))


# --- Cipher suite ------------------------------------------------------------------------------------------------

SUITES = (AES_128, AES_256, CHACHA20)


@pytest.mark.rfc("8446", "4.1.1")
@pytest.mark.parametrize("preference", Preference)
def test_first_common_suite_in_the_preferred_order_is_taken(config: ServerConfig, preference: Preference) -> None:
    lists = [*permutations(SUITES), *permutations(SUITES, 2)]
    for ours in lists:
        mine = replace(config, cipher_suites=ours, cipher_suite_preference=preference)
        for theirs in lists:
            hello = hello_of(cipher_suites=(GREASE, *theirs, CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV))
            first, second = (ours, theirs) if preference is Preference.SERVER else (theirs, ours)
            expected = next(suite for suite in first if suite in second)
            assert negotiate.cipher_suite(hello, mine).code is expected


@pytest.mark.rfc("8446", "4.1.1")
@pytest.mark.parametrize("preference", Preference)
@pytest.mark.parametrize("theirs", [(AES_256,), (GREASE,), (0xC02F, 0x1304, 0x1305)])
def test_server_refuses_hello_without_common_suite(
    config: ServerConfig, theirs: tuple[int, ...], preference: Preference
) -> None:
    config = replace(config, cipher_suites=(AES_128, CHACHA20), cipher_suite_preference=preference)
    with pytest.raises(NoCommonCipherSuite):
        negotiate.cipher_suite(hello_of(cipher_suites=theirs), config)


# --- Key exchange ------------------------------------------------------------------------------------------------


def exchange(
    config: ServerConfig, ours: Sequence[NamedGroup], theirs: Sequence[int], shares: Sequence[NamedGroup]
) -> tuple[NamedGroup, bool]:
    """The group that comes of it, and whether the client's share for it is there."""
    hello = hello_of(ScriptedClient(shares=shares), supported_groups=tuple(theirs))
    group, share = negotiate.key_exchange(hello, replace(config, groups=tuple(ours)))
    assert share == (hello.key_share or {}).get(group.code)
    assert group is GROUPS[group.code]
    return group.code, share is not None


@pytest.mark.rfc("8446", "4.1.1")
@pytest.mark.parametrize(
    ("preference", "insist", "expected"),
    [
        (Preference.SERVER, False, (P256, True)),  # the best of those that a share is there for, by our order
        (Preference.CLIENT, False, (P384, True)),  # the same by the client's
        (Preference.SERVER, True, (X25519, False)),  # our best, at the price of a round trip
        (Preference.CLIENT, True, (HYBRID, False)),  # the client's best
    ],
)
def test_group_follows_the_preferences(
    config: ServerConfig,
    preference: Preference,
    insist: bool,  # noqa: FBT001
    expected: tuple[NamedGroup, bool],
) -> None:
    config = replace(config, group_preference=preference, insist_on_preferred_group=insist)
    ours, theirs = (X25519, P256, P384, HYBRID), (GREASE, HYBRID, P384, P256, X25519)
    assert exchange(config, ours, theirs, (P384, P256)) == expected


@pytest.mark.rfc("8446", "4.1.1")
@pytest.mark.parametrize("insist", [False, True])
@pytest.mark.parametrize("preference", Preference)
def test_share_for_the_preferred_group_costs_no_round_trip(
    config: ServerConfig,
    preference: Preference,
    insist: bool,  # noqa: FBT001
) -> None:
    config = replace(config, group_preference=preference, insist_on_preferred_group=insist)
    assert exchange(config, (X25519, P256), (X25519, P256), (P256, X25519)) == (X25519, True)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("insist", [False, True])
@pytest.mark.parametrize(("preference", "expected"), [(Preference.SERVER, X25519), (Preference.CLIENT, P256)])
def test_server_asks_for_a_share_when_it_can_use_none(
    config: ServerConfig,
    preference: Preference,
    insist: bool,  # noqa: FBT001
    expected: NamedGroup,
) -> None:
    config = replace(config, group_preference=preference, insist_on_preferred_group=insist)
    assert exchange(config, (X25519, P256), (P384, P256, X25519), (P384,)) == (expected, False)


@pytest.mark.rfc("8446", "4.2.8")
def test_server_asks_for_a_share_when_the_client_sends_none(config: ServerConfig) -> None:
    assert exchange(config, (X25519, P256), (P256, X25519), ()) == (X25519, False)


@pytest.mark.rfc("8446", "4.1.1")
def test_server_refuses_hello_without_common_group(config: ServerConfig) -> None:
    with pytest.raises(NoCommonGroup):
        exchange(config, (X25519, HYBRID), (GREASE, P384, P256), (P384,))


@pytest.mark.rfc("8446", "4.2.8")
def test_server_refuses_share_for_a_group_that_is_not_offered(config: ServerConfig) -> None:
    with pytest.raises(IllegalParameter, match="supported_groups does not"):
        exchange(config, (X25519, P256), (X25519,), (X25519, P256))


# --- Application protocol ----------------------------------------------------------------------------------------


@pytest.mark.rfc("7301", "3.2")
@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (("h2", "http/1.1"), (b"http/1.1", b"h2"), b"h2"),  # the server's order decides
        (("http/1.1", "h2"), (b"h2", b"http/1.1"), b"http/1.1"),
        (("h2", "http/1.1"), (b"spdy/3", b"http/1.1"), b"http/1.1"),
        (("h2",), None, None),
        ((), (b"h2",), None),
        ((), None, None),
        (("é",), ("é".encode(),), "é".encode()),
    ],
)
def test_server_chooses_application_protocol(
    config: ServerConfig, ours: tuple[str, ...], theirs: tuple[bytes, ...] | None, expected: bytes | None
) -> None:
    hello = hello_of(application_layer_protocol_negotiation=theirs)
    assert negotiate.application_protocol(hello, replace(config, alpn=ours)) == expected


@pytest.mark.rfc("7301", "3.2")
@pytest.mark.parametrize("theirs", [(b"http/1.1",), (b"H2",), (b"h2c", b"\xff\n")])
def test_server_refuses_client_of_other_protocols(config: ServerConfig, theirs: tuple[bytes, ...]) -> None:
    hello = hello_of(application_layer_protocol_negotiation=theirs)
    with pytest.raises(NoApplicationProtocol, match="we speak 'h2'") as caught:
        negotiate.application_protocol(hello, replace(config, alpn=("h2",)))
    assert str(caught.value).isprintable()


# --- Signature scheme --------------------------------------------------------------------------------------------

PSS_256, PSS_384, PSS_512 = (
    SignatureScheme.rsa_pss_rsae_sha256,
    SignatureScheme.rsa_pss_rsae_sha384,
    SignatureScheme.rsa_pss_rsae_sha512,
)


@pytest.fixture(scope="module")
def rsa() -> Credential:
    return LocalCA().issue("localhost", key_type="rsa-2048").credential()


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize(
    ("allowed", "offered", "expected"),
    [
        (None, (PSS_512, PSS_384, PSS_256), PSS_256),  # the credential's order decides
        (None, (PSS_512, GREASE, PSS_384), PSS_384),
        ((PSS_512, PSS_384), (PSS_256, PSS_512, PSS_384), PSS_384),
        ((PSS_512,), (PSS_256, PSS_512), PSS_512),
    ],
)
def test_server_chooses_signature_scheme(
    config: ServerConfig,
    rsa: Credential,
    allowed: tuple[SignatureScheme, ...] | None,
    offered: tuple[int, ...],
    expected: SignatureScheme,
) -> None:
    hello = hello_of(signature_algorithms=offered)
    assert negotiate.signature_scheme(hello, rsa, replace(config, signature_schemes=allowed)) == expected


@pytest.mark.rfc("8446", "4.4.2.2")
@pytest.mark.parametrize(
    ("allowed", "offered"),
    [
        (None, (SignatureScheme.ecdsa_secp256r1_sha256, SignatureScheme.ed25519)),
        (None, (SignatureScheme.rsa_pkcs1_sha256, SignatureScheme.rsa_pss_pss_sha256)),
        (None, (GREASE,)),
        ((PSS_512,), (PSS_256, PSS_384)),
    ],
)
def test_server_refuses_client_that_takes_no_signature_of_ours(
    config: ServerConfig,
    rsa: Credential,
    allowed: tuple[SignatureScheme, ...] | None,
    offered: tuple[int, ...],
) -> None:
    hello = hello_of(signature_algorithms=offered)
    with pytest.raises(NoCommonSignatureScheme, match="our key signs with rsa_pss_rsae_sha256, "):
        negotiate.signature_scheme(hello, rsa, replace(config, signature_schemes=allowed))


@pytest.mark.rfc("8446", "4.4.3")
def test_server_never_signs_a_handshake_with_pkcs1(config: ServerConfig, rsa: Credential) -> None:
    hello = hello_of(signature_algorithms=tuple(SCHEMES))
    assert negotiate.signature_scheme(hello, rsa, config) == PSS_256


# --- The second ClientHello --------------------------------------------------------------------------------------


class Retried:
    """A client that is asked for a P-256 share, and its two hellos."""

    def __init__(self, **fields: Unpack[HelloFields]) -> None:
        self.client = ScriptedClient(shares=(X25519,), **fields)
        self.first = ClientHello.parse(self.client.hello().encode())
        self.share = GROUPS[P256].generate().public

    def second(self, **fields: Unpack[HelloFields]) -> ClientHello:
        changed = HelloFields(key_share={P256: self.share})
        changed.update(fields)
        return ClientHello.parse(self.client.hello(**changed).encode())

    def check(self, second: ClientHello) -> bytes:
        return negotiate.check_second_hello(self.first, second, GROUPS[P256])


def test_second_hello_gives_the_share_that_was_asked_for() -> None:
    retried = Retried()
    assert retried.check(retried.second()) == retried.share


@pytest.mark.rfc("8446", "4.1.2")
def test_second_hello_may_drop_its_early_data_and_change_its_psks() -> None:
    modes = (PskKeyExchangeMode.psk_dhe_ke,)
    retried = Retried(early_data=True, pre_shared_key=PSKS, psk_key_exchange_modes=modes)
    fresh = OfferedPsks((PskIdentity(b"ticket", 7),), (bytes(range(32)),))
    assert retried.check(retried.second(early_data=None, pre_shared_key=fresh)) == retried.share
    assert retried.check(retried.second(early_data=None, pre_shared_key=None)) == retried.share


CHANGES: dict[str, HelloFields] = {
    "random": HelloFields(random=bytes(32)),
    "session_id": HelloFields(legacy_session_id=b""),
    "cipher_suites": HelloFields(cipher_suites=(AES_128,)),
    "order_of_suites": HelloFields(cipher_suites=(CHACHA20, AES_256, AES_128)),
    "legacy_version": HelloFields(legacy_version=0x0302),
    "compression": HelloFields(legacy_compression_methods=b"\0\0"),
    "server_name": HelloFields(server_name="other.example.test"),
    "no_server_name": HelloFields(server_name=None),
    "groups": HelloFields(supported_groups=(P256, X25519)),
    "signature_algorithms": HelloFields(signature_algorithms=(PSS_256,)),
    "versions": HelloFields(supported_versions=(0x0304, 0x0303)),
    "alpn": HelloFields(application_layer_protocol_negotiation=(b"h2",)),
    "cookie_unasked": HelloFields(cookie=b"cookie"),
    "psk_modes": HelloFields(psk_key_exchange_modes=(PskKeyExchangeMode.psk_dhe_ke,)),
}


@pytest.mark.rfc("8446", "4.1.2")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_second_hello_may_change_nothing_else(change: HelloFields) -> None:
    retried = Retried()
    with pytest.raises(IllegalParameter, match=r"must stay \(RFC 8446 §4\.1\.2\)"):
        retried.check(retried.second(**change))


@pytest.mark.rfc("8446", "4.2.10")
def test_second_hello_may_not_offer_early_data() -> None:
    retried = Retried(early_data=True)
    with pytest.raises(IllegalParameter, match="offers early data"):
        retried.check(retried.second())


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize("shares", [(), (X25519,), (P256, X25519), (P384,)], ids=str)
def test_second_hello_holds_exactly_the_share_that_was_asked_for(shares: tuple[NamedGroup, ...]) -> None:
    retried = Retried()
    second = retried.second(key_share={group: GROUPS[group].generate().public for group in shares})
    with pytest.raises(IllegalParameter, match="does not hold one share, for secp256r1"):
        retried.check(second)


# --- What was agreed on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suite", "bits"), [(AES_128, 128), (AES_256, 256), (CHACHA20, 256)])
def test_negotiated_tells_the_bits_of_its_cipher(suite: CipherSuite, bits: int) -> None:
    negotiated = Negotiated(ProtocolVersion.TLSv1_3, suite, X25519, PSS_256, None, None, False, False, None)  # noqa: FBT003
    assert negotiated.secret_bits == bits
