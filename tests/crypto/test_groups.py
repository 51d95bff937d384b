"""Key exchange groups: both sides agree, and a share that is made wrongly is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aiotls.crypto.groups import GROUPS, Group
from aiotls.errors import IllegalParameter
from aiotls.wire.registries import NamedGroup

every_group = pytest.mark.parametrize("group", GROUPS.values(), ids=lambda group: group.code.name)
CURVES = {NamedGroup.secp256r1: ec.SECP256R1(), NamedGroup.secp384r1: ec.SECP384R1()}


@pytest.mark.rfc("8446", "4.2.8")
@every_group
def test_both_sides_come_to_the_same_secret(group: Group) -> None:
    share = group.generate()
    answer, secret = group.respond(share.public)
    assert share.finish(answer) == secret
    assert len(answer) == group.server_share_length


@every_group
def test_shares_are_fresh(group: Group) -> None:
    assert group.generate().public != group.generate().public


@pytest.mark.rfc("8446", "4.2.8")
@every_group
def test_share_of_another_length_is_refused(group: Group) -> None:
    share = group.generate()
    answer, _ = group.respond(share.public)
    for wrong in (b"", share.public[:-1], share.public + b"\0"):
        with pytest.raises(IllegalParameter, match=group.code.name.removesuffix("MLKEM768")):
            group.respond(wrong)
    for wrong in (b"", answer[:-1], answer + b"\0"):
        with pytest.raises(IllegalParameter):
            share.finish(wrong)


@pytest.mark.rfc("8446", "7.4.2")
@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_x25519_of_small_order_is_refused(point: bytes) -> None:
    with pytest.raises(IllegalParameter):
        GROUPS[NamedGroup.x25519].respond(point)
    hybrid = GROUPS[NamedGroup.X25519MLKEM768]
    with pytest.raises(IllegalParameter):
        hybrid.respond(hybrid.generate().public[:-32] + point)


@pytest.mark.rfc("8446", "4.2.8.2")
@pytest.mark.parametrize("code", CURVES)
def test_point_that_is_compressed_or_off_the_curve_is_refused(code: NamedGroup) -> None:
    public = ec.generate_private_key(CURVES[code]).public_key()
    compressed = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    off = bytearray(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    off[-1] ^= 1
    for wrong in (compressed, bytes(off), b"\0" * len(off)):
        with pytest.raises(IllegalParameter, match=code.name):
            GROUPS[code].respond(wrong)


def test_hybrid_refuses_encapsulation_key_that_is_not_reduced() -> None:
    hybrid = GROUPS[NamedGroup.X25519MLKEM768]
    with pytest.raises(IllegalParameter, match="encapsulation key"):
        hybrid.respond(b"\xff" * 1184 + hybrid.generate().public[-32:])


def test_hybrid_puts_mlkem_first() -> None:
    """The X25519 half of the secret is the last 32 bytes, as that of the share is."""
    share = GROUPS[NamedGroup.X25519MLKEM768].generate()
    answer, secret = GROUPS[NamedGroup.X25519MLKEM768].respond(share.public)
    assert (len(share.public), len(answer), len(secret)) == (1184 + 32, 1088 + 32, 32 + 32)
    other = GROUPS[NamedGroup.X25519MLKEM768].generate()
    mixed, mixed_secret = GROUPS[NamedGroup.X25519MLKEM768].respond(share.public[:-32] + other.public[-32:])
    assert share.finish(mixed)[:32] == mixed_secret[:32]
    assert share.finish(mixed)[32:] != mixed_secret[32:]


@pytest.mark.rfc("7748", "6.1")
def test_x25519_is_that_of_the_rfc() -> None:
    alice = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    )
    bob = X25519PublicKey.from_public_bytes(
        bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    )
    assert alice.exchange(bob).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
