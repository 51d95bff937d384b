"""Key exchange groups: both sides agree, and a share that is made wrongly is refused."""

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from aiotls import ServerConfig, ServerConnection
from aiotls.crypto.groups import GROUPS, Group
from aiotls.errors import IllegalParameter
from aiotls.events import ApplicationData, Event, HandshakeComplete
from aiotls.testing.ca import LocalCA
from aiotls.wire.registries import NamedGroup

# Each hybrid, and the group that is in it beside ML-KEM-768.
HYBRIDS = {
    NamedGroup.X25519MLKEM768: NamedGroup.x25519,
    NamedGroup.SecP256r1MLKEM768: NamedGroup.secp256r1,
}
MLKEM_FIRST = {NamedGroup.X25519MLKEM768}

every_group = pytest.mark.parametrize("group", GROUPS.values(), ids=lambda group: group.code.name)
every_hybrid = pytest.mark.parametrize("hybrid", HYBRIDS, ids=lambda code: code.name)
CURVES = {NamedGroup.secp256r1: ec.SECP256R1(), NamedGroup.secp384r1: ec.SECP384R1()}


@pytest.mark.rfc("8446", "4.2.8")
@every_group
def test_both_sides_come_to_the_same_secret(group: Group) -> None:
    share = group.generate()
    answer, secret = group.respond(share.public)
    assert share.finish(answer) == secret
    assert len(answer) == group.server_share_length


@every_group
def test_row_says_whether_it_is_a_hybrid(group: Group) -> None:
    assert group.hybrid is (group.code in HYBRIDS)


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


def mlkem_part(hybrid: NamedGroup, share: bytes, length: int) -> bytes:
    return share[:length] if hybrid in MLKEM_FIRST else share[-length:]


def joined(hybrid: NamedGroup, mlkem: bytes, classical: bytes) -> bytes:
    return mlkem + classical if hybrid in MLKEM_FIRST else classical + mlkem


@every_hybrid
def test_hybrid_refuses_encapsulation_key_that_is_not_reduced(hybrid: NamedGroup) -> None:
    classical = GROUPS[HYBRIDS[hybrid]].generate().public
    with pytest.raises(IllegalParameter, match=rf"{hybrid.name} .* encapsulation key"):
        GROUPS[hybrid].respond(joined(hybrid, b"\xff" * 1184, classical))


@every_hybrid
def test_hybrid_is_mlkem_and_its_group_in_the_order_of_the_draft(hybrid: NamedGroup) -> None:
    """Both halves of shares and secret are those of ML-KEM-768 and of the group, computed apart."""
    classical = GROUPS[HYBRIDS[hybrid]]
    size = classical.server_share_length
    private, share = mlkem.MLKEM768PrivateKey.generate(), classical.generate()
    ours = joined(hybrid, private.public_key().public_bytes_raw(), share.public)
    assert len(GROUPS[hybrid].generate().public) == len(ours) == 1184 + size

    answer, secret = GROUPS[hybrid].respond(ours)
    assert len(answer) == GROUPS[hybrid].server_share_length == 1088 + size
    ciphertext = mlkem_part(hybrid, answer, 1088)
    point = answer[1088:] if hybrid in MLKEM_FIRST else answer[:size]
    assert secret == joined(hybrid, private.decapsulate(ciphertext), share.finish(point))
    assert len(secret) == 64


@pytest.mark.rfc("8446", "4.2.8.2")
@every_hybrid
def test_hybrid_refuses_a_bad_share_of_its_group(hybrid: NamedGroup) -> None:
    size = GROUPS[HYBRIDS[hybrid]].server_share_length
    share = GROUPS[hybrid].generate()
    answer, _ = GROUPS[hybrid].respond(share.public)
    for receive, given, length in ((GROUPS[hybrid].respond, share.public, 1184), (share.finish, answer, 1088)):
        with pytest.raises(IllegalParameter, match=HYBRIDS[hybrid].name):
            receive(joined(hybrid, mlkem_part(hybrid, given, length), bytes(size)))


@every_hybrid
def test_hybrid_gives_another_secret_for_a_wrong_ciphertext(hybrid: NamedGroup) -> None:
    """ML-KEM rejects implicitly (FIPS 203 §6.3); the handshake ends at Finished."""
    share = GROUPS[hybrid].generate()
    answer, secret = GROUPS[hybrid].respond(share.public)
    wrong = bytearray(answer)
    wrong[0 if hybrid in MLKEM_FIRST else -1] ^= 1
    other = share.finish(bytes(wrong))
    assert len(other) == len(secret)
    assert other != secret


def shake_hands(client: SSL.Connection, server: ServerConnection) -> list[Event]:
    """Let both speak until the client has nothing more to say; the server's events."""
    events: list[Event] = []
    while True:
        with suppress(SSL.WantReadError):
            client.do_handshake()
        try:
            server.receive_data(client.bio_read(1 << 16))
        except SSL.WantReadError:
            return events
        while (event := server.next_event()) is not None:
            events.append(event)
        if answer := bytes(server.data_to_send()):
            client.bio_write(answer)


@every_hybrid
def test_hybrid_of_openssl_comes_to_the_same_secret(hybrid: NamedGroup) -> None:
    """The OpenSSL that `cryptography` brings speaks both; on two secrets no handshake would complete."""
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    client.set_connect_state()
    server = ServerConnection(
        ServerConfig(credentials=LocalCA().issue("localhost").credential(), groups=(hybrid,), tickets=0)
    )
    events = shake_hands(client, server)
    assert [type(event) for event in events] == [HandshakeComplete]
    assert client.get_group_name() == hybrid.name

    server.send_data(b"pong")
    client.bio_write(bytes(server.data_to_send()))
    assert client.recv(4) == b"pong"
    client.send(b"ping")
    server.receive_data(client.bio_read(1 << 16))
    assert server.next_event() == ApplicationData(b"ping")


@pytest.mark.rfc("7748", "6.1")
def test_x25519_is_that_of_the_rfc() -> None:
    alice = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    )
    bob = X25519PublicKey.from_public_bytes(
        bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    )
    assert alice.exchange(bob).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
