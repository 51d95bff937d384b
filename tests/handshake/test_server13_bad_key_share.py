"""Key shares that are none, in the first ClientHello and in the second (RFC 8446 §4.2.8, §4.1.2).

A share that the sender made wrongly is an illegal_parameter (RFC 8446 §4.2.8.2, RFC 7748 §6.1,
draft-ietf-tls-ecdhe-mlkem §4.2), whatever it is that is wrong with it.  The second ClientHello is the first one again,
but for what §4.1.2 lists.
"""

import pytest

from aiotls.crypto.groups import GROUPS
from aiotls.errors import AlertDescription, IllegalParameter, MissingExtension
from aiotls.testing.peer import HelloFields, join_hello, split_hello
from aiotls.wire.extensions import OfferedPsks, PskIdentity
from aiotls.wire.registries import ExtensionType, NamedGroup
from tests.handshake.conftest import Duel, Stage

ILLEGAL = AlertDescription.illegal_parameter
X25519 = NamedGroup.x25519
P256 = NamedGroup.secp256r1
P384 = NamedGroup.secp384r1
HYBRID = NamedGroup.X25519MLKEM768
P256_HYBRID = NamedGroup.SecP256r1MLKEM768
MLKEM_LENGTH = 1184  # FIPS 203 §8: the encapsulation key of ML-KEM-768

SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""Points on which X25519 gives zeros, whatever the private key (RFC 7748 §6.1); the last two are not reduced."""


def genuine(group: int) -> bytes:
    return GROUPS[group].generate().public


def wrong_points(group: int) -> dict[str, bytes]:
    """Encodings that are no point, or a form that TLS 1.3 forbids (RFC 8446 §4.2.8.2)."""
    point = genuine(group)
    half = len(point) // 2
    parity = point[-1] & 1
    return {
        "compressed": bytes((2 + parity,)) + point[1 : 1 + half],
        "hybrid_form": bytes((6 + parity,)) + point[1:],
        "off_curve": point[:-1] + bytes((point[-1] ^ 1,)),
        "infinity": b"\0",
        "origin": b"\x04" + bytes(2 * half),
        "not_reduced": b"\x04" + b"\xff" * (2 * half),
        "without_form": point[1:],
        "too_short": point[:-1],
        "too_long": point + b"\0",
        "of_another_group": genuine(X25519),
    }


def wrong_hybrids() -> dict[str, bytes]:
    """draft-ietf-tls-ecdhe-mlkem §4.2, FIPS 203 §7.2."""
    share = genuine(HYBRID)
    mlkem, x25519 = share[:MLKEM_LENGTH], share[MLKEM_LENGTH:]
    return {
        "too_short": share[:-1],
        "too_long": share + b"\0",
        "without_x25519": mlkem,
        "without_mlkem": x25519,
        "coefficients_not_reduced": b"\xff" * 1152 + share[1152:],
        "one_coefficient_is_the_modulus": (3329).to_bytes(2, "little") + share[2:],
        "small_order": mlkem + SMALL_ORDER[1],
        "x25519_first": x25519 + b"\xff" * 32 + mlkem[32:],
    }


def wrong_p256_hybrids() -> dict[str, bytes]:
    """Here the point comes first (draft-ietf-tls-ecdhe-mlkem §4.2)."""
    share = genuine(P256_HYBRID)
    point, mlkem = share[:-MLKEM_LENGTH], share[-MLKEM_LENGTH:]
    return {
        "too_short": share[:-1],
        "too_long": share + b"\0",
        "without_point": mlkem,
        "without_mlkem": point,
        "coefficients_not_reduced": point + b"\xff" * 1152 + mlkem[1152:],
        "one_coefficient_is_the_modulus": point + (3329).to_bytes(2, "little") + mlkem[2:],
        "off_curve": point[:-1] + bytes((point[-1] ^ 1,)) + mlkem,
        "hybrid_form": bytes((6 + (point[-1] & 1),)) + share[1:],
        "compressed_and_filled_up": bytes((2 + (point[-1] & 1),)) + point[1:33] + bytes(32) + mlkem,
        "infinity": bytes(len(point)) + mlkem,
        "mlkem_first": mlkem + point,
    }


WRONG_SHARES: dict[int, dict[str, bytes]] = {
    X25519: {
        "too_short": genuine(X25519)[:-1],
        "too_long": genuine(X25519) + b"\0",
        "of_another_group": genuine(P256),
        **{f"small_order_{number}": point for number, point in enumerate(SMALL_ORDER)},
    },
    P256: wrong_points(P256),
    P384: wrong_points(P384),
    HYBRID: wrong_hybrids(),
    P256_HYBRID: wrong_p256_hybrids(),
}
CASES = [
    pytest.param(group, share, id=f"{NamedGroup(group).name}-{name}")
    for group, shares in WRONG_SHARES.items()
    for name, share in shares.items()
]


def test_every_group_has_wrong_shares() -> None:
    assert WRONG_SHARES.keys() == GROUPS.keys()


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(("group", "share"), CASES)
def test_server_refuses_wrong_share(group: int, share: bytes) -> None:
    duel = Duel()
    duel.client.send_hello(supported_groups=(group,), key_share={group: share})
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(("group", "share"), CASES)
def test_server_refuses_wrong_share_in_second_hello(group: int, share: bytes) -> None:
    duel = Duel.at(Stage.RETRIED, supported_groups=(group,))
    duel.client.send_hello(key_share={group: share})
    duel.assert_refused(IllegalParameter, ILLEGAL)


# --- The second ClientHello ------------------------------------------------------------------------------------------

CHANGED: dict[str, HelloFields] = {
    "random": HelloFields(random=bytes(32)),
    "legacy_version": HelloFields(legacy_version=0x0302),
    "session_id": HelloFields(legacy_session_id=bytes(32)),
    "session_id_gone": HelloFields(legacy_session_id=b""),
    "fewer_cipher_suites": HelloFields(cipher_suites=(0x1301,)),
    "other_order_of_cipher_suites": HelloFields(cipher_suites=(0x1303, 0x1302, 0x1301)),
    "compression_methods": HelloFields(legacy_compression_methods=b"\0\1"),
    "server_name": HelloFields(server_name="localhost.test"),
    "server_name_gone": HelloFields(server_name=None),
    "supported_groups": HelloFields(supported_groups=(X25519,)),
    "signature_algorithms": HelloFields(signature_algorithms=(0x0403,)),
    "signature_algorithms_cert": HelloFields(signature_algorithms_cert=(0x0403,)),
    "alpn": HelloFields(application_layer_protocol_negotiation=(b"http/1.1",)),
    "supported_versions": HelloFields(supported_versions=(0x0304, 0x0303)),
    "cookie_that_was_not_sent": HelloFields(cookie=b"cookie"),
    "psk_key_exchange_modes": HelloFields(psk_key_exchange_modes=(1,)),
    "certificate_authorities": HelloFields(certificate_authorities=(b"\x30\x01\x00",)),
    "post_handshake_auth": HelloFields(post_handshake_auth=True),
    "early_data": HelloFields(early_data=True),
}


@pytest.mark.rfc("8446", "4.1.2")
@pytest.mark.parametrize("fields", CHANGED.values(), ids=CHANGED)
def test_server_refuses_second_hello_that_differs(fields: HelloFields) -> None:
    duel = Duel.at(Stage.RETRIED)
    duel.client.send_hello(**fields)
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.2")
def test_server_refuses_second_hello_with_new_unknown_extension() -> None:
    duel = Duel.at(Stage.RETRIED)
    front, extensions = split_hello(duel.client.hello().encode())
    duel.client.send_message(join_hello(front, [*extensions, (0x0A0A, b"")]))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.10")
def test_server_refuses_second_hello_that_offers_early_data_again() -> None:
    duel = Duel.at(Stage.RETRIED, early_data=True)
    duel.client.send_hello()
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(
    "groups",
    [(), (P256,), (X25519, P256), (P256, X25519), (P384,)],
    ids=["none", "other", "also_other", "other_first", "unsupported"],
)
def test_server_refuses_second_hello_without_exactly_the_share_it_asked_for(groups: tuple[NamedGroup, ...]) -> None:
    duel = Duel.at(Stage.RETRIED)
    retry_request = duel.client.retry_request
    assert retry_request is not None
    assert retry_request.key_share == X25519
    duel.client.send_hello(key_share={group: genuine(group) for group in groups})
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "9.2")
def test_server_refuses_second_hello_without_key_share() -> None:
    duel = Duel.at(Stage.RETRIED)
    duel.client.send_hello(key_share=None)
    duel.assert_refused(MissingExtension, AlertDescription.missing_extension)


@pytest.mark.rfc("8446", "4.1.2")
def test_server_accepts_second_hello_that_differs_where_it_may() -> None:
    """The control: early_data goes, binders and padding change, and the share is the one that was asked for."""
    psk = (PskIdentity(b"ticket", 7),)
    duel = Duel.at(
        Stage.RETRIED,
        early_data=True,
        psk_key_exchange_modes=(1,),
        pre_shared_key=OfferedPsks(psk, (bytes(32),)),
    )
    hello = duel.client.hello(early_data=None, pre_shared_key=OfferedPsks(psk, (b"\1" * 32,)))
    front, extensions = split_hello(hello.encode())
    duel.client.send_message(join_hello(front, [(ExtensionType.padding, bytes(10)), *extensions]))
    duel.pump()
    duel.assert_in_order()
