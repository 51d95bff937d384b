"""Server's key shares that are none, and groups that no share was sent for (RFC 8446 §4.2.8, §4.1.4).

A share that the sender made wrongly is an illegal_parameter (RFC 8446 §4.2.8.2, RFC 7748 §6.1,
draft-ietf-tls-ecdhe-mlkem §4.2), whatever it is that is wrong with it.  An ML-KEM ciphertext has no wrong values, but
for its length: one that is not ours gives a secret that nobody has, and the next record does not open (FIPS 203 §6.3).
"""

import pytest

from aiotls import ClientConfig
from aiotls.crypto.groups import GROUPS
from aiotls.errors import AlertDescription, BadRecordMAC, DecodeError, IllegalParameter
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.registries import NamedGroup
from tests.handshake.client13_support import ClientDuel, Stage, config_for, roots

ILLEGAL = AlertDescription.illegal_parameter
X25519 = NamedGroup.x25519
P256 = NamedGroup.secp256r1
P384 = NamedGroup.secp384r1
HYBRID = NamedGroup.X25519MLKEM768
P256_HYBRID = NamedGroup.SecP256r1MLKEM768
CIPHERTEXT_LENGTH = 1088  # FIPS 203 §8: ML-KEM-768

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
    """A share that a server could send: the answer to some client."""
    return GROUPS[group].respond(GROUPS[group].generate().public)[0]


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
    """draft-ietf-tls-ecdhe-mlkem §4.2: here the server sends a ciphertext."""
    share = genuine(HYBRID)
    ciphertext, x25519 = share[:CIPHERTEXT_LENGTH], share[CIPHERTEXT_LENGTH:]
    return {
        "too_short": share[:-1],
        "too_long": share + b"\0",
        "without_x25519": ciphertext,
        "without_mlkem": x25519,
        "small_order": ciphertext + SMALL_ORDER[1],
        "of_the_client": GROUPS[HYBRID].generate().public,
        "longest": bytes(0xFFFF - 200),
    }


def wrong_p256_hybrids() -> dict[str, bytes]:
    """Here the point comes first (draft-ietf-tls-ecdhe-mlkem §4.2)."""
    share = genuine(P256_HYBRID)
    point, ciphertext = share[:-CIPHERTEXT_LENGTH], share[-CIPHERTEXT_LENGTH:]
    return {
        "too_short": share[:-1],
        "too_long": share + b"\0",
        "without_point": ciphertext,
        "without_mlkem": point,
        "off_curve": point[:-1] + bytes((point[-1] ^ 1,)) + ciphertext,
        "hybrid_form": bytes((6 + (point[-1] & 1),)) + share[1:],
        "infinity": bytes(len(point)) + ciphertext,
        "mlkem_first": b"\0" + ciphertext + point[1:],
        "of_the_client": GROUPS[P256_HYBRID].generate().public,
    }


WRONG_SHARES: dict[NamedGroup, dict[str, bytes]] = {
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
    pytest.param(group, share, id=f"{group.name}-{name}")
    for group, shares in WRONG_SHARES.items()
    for name, share in shares.items()
]


def test_every_group_has_wrong_shares() -> None:
    assert WRONG_SHARES.keys() == GROUPS.keys()


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(("group", "share"), CASES)
def test_client_refuses_wrong_share(group: NamedGroup, share: bytes) -> None:
    duel = ClientDuel(config=config_for(group), group=group)
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(group, share)))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(("group", "share"), CASES)
def test_client_refuses_wrong_share_after_retry(group: NamedGroup, share: bytes) -> None:
    duel = ClientDuel(config=config_for(group, share=False), group=group)
    duel.server.send_hello_retry_request(group)
    duel.pump()
    assert duel.error is None
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(group, share)))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize("group", GROUPS)
def test_client_refuses_empty_share(group: int) -> None:
    duel = ClientDuel()
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(group, b"")))
    duel.assert_refused(DecodeError, AlertDescription.decode_error)


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize("group", GROUPS)
def test_client_shares_no_secret_with_share_that_answers_somebody_else(group: NamedGroup) -> None:
    """It is a good share, but whoever sends it knows nothing: the record behind it does not open."""
    duel = ClientDuel(config=config_for(group), group=group)
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(group, genuine(group))))
    duel.server.use_handshake_key()
    duel.server.send(duel.server.encrypted_extensions())
    duel.server.read_key = None  # nor could it open the alert
    duel.pump()
    assert type(duel.error) is BadRecordMAC
    assert duel.events == []


# --- Groups --------------------------------------------------------------------------------------------------------

FOREIGN = [
    pytest.param(P256, genuine(P256), id="offered_without_share"),
    pytest.param(P384, genuine(P384), id="known_and_not_offered"),
    pytest.param(HYBRID, genuine(HYBRID), id="hybrid_not_offered"),
    pytest.param(NamedGroup.x448, bytes(56), id="unknown"),
    pytest.param(NamedGroup.ffdhe2048, bytes(256), id="finite_field"),
    pytest.param(0x0A0A, b"\0", id="grease"),
    pytest.param(0, bytes(32), id="zero"),
]


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(("group", "share"), FOREIGN)
def test_client_refuses_share_of_group_that_it_sent_none_for(group: int, share: bytes) -> None:
    duel = ClientDuel()
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(group, share)))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize(
    ("group", "share"),
    [
        pytest.param(X25519, genuine(X25519), id="of_the_first_hello"),
        pytest.param(P384, genuine(P384), id="known_and_not_offered"),
        pytest.param(NamedGroup.x448, bytes(56), id="unknown"),
        pytest.param(0x0A0A, b"\0", id="grease"),
    ],
)
def test_client_refuses_share_of_group_that_the_retry_did_not_ask_for(group: int, share: bytes) -> None:
    duel = ClientDuel.at(Stage.RETRIED)
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(group, share)))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.4")
def test_client_keeps_to_its_first_shares_after_a_cookie_alone() -> None:
    """A share of any group that it sent one for is right, and of another it is not."""
    config = ClientConfig(roots=roots(), groups=(X25519, P256, P384), key_shares=(X25519, P256))
    for group in (X25519, P256):
        duel = ClientDuel(config=config, group=group)
        duel.server.send_hello_retry_request(None, cookie=b"cookie")
        duel.pump()
        duel.stage = Stage.RETRIED
        duel.assert_in_order()
    duel = ClientDuel(config=config)
    duel.server.send_hello_retry_request(None, cookie=b"cookie")
    duel.pump()
    duel.server.send(duel.server.server_hello(key_share=KeyShareEntry(P384, genuine(P384))))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("group", [HYBRID, X25519])
def test_client_refuses_retry_for_any_group_that_it_sent_a_share_for(group: NamedGroup) -> None:
    """By default these are two."""
    duel = ClientDuel(config=ClientConfig(roots=roots()))
    assert group in (duel.server.client_hello.key_share or {})
    duel.server.send(duel.server.hello_retry_request(group))
    duel.assert_refused(IllegalParameter, ILLEGAL)
