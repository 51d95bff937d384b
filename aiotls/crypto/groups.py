"""Key exchange groups, one row each, hybrids included (RFC 8446 §4.2.7-4.2.8).

All of them are used through one pair of steps, which a KEM needs and a Diffie-Hellman group can do as well: the
client makes a `KeyShare` and sends its public part; the server *responds* to that with a share of its own and has the
secret; the client *finishes* with the server's share.  A share that the peer made wrongly raises IllegalParameter.

The hybrid X25519MLKEM768 puts ML-KEM first, in shares and in the secret (draft-ietf-tls-ecdhe-mlkem §3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aiotls.errors import IllegalParameter
from aiotls.wire.registries import NamedGroup

__all__ = ["GROUPS", "Group", "KeyShare"]


class KeyShare(Protocol):
    """The client's half of a key exchange; it holds the private part."""

    public: bytes
    """What goes into the key_share extension."""

    def finish(self, server_share: bytes) -> bytes:
        """The shared secret, or IllegalParameter."""


@dataclass(frozen=True, slots=True)
class Group:
    """One key exchange group."""

    code: NamedGroup
    generate: Callable[[], KeyShare]
    """Makes the client's share."""
    respond: Callable[[bytes], tuple[bytes, bytes]]
    """The server's answer to the client's share: its own share, and the shared secret."""
    server_share_length: int
    """Bytes of the server's share."""
    hybrid: bool = False
    """Whether a key exchange that withstands quantum computers is part of it."""


def _wrong_share(group: NamedGroup, why: str) -> IllegalParameter:
    return IllegalParameter(f"the {group.name} key share {why} (RFC 8446 §4.2.8)")


class _X25519Share:
    """X25519 (RFC 7748 §6.1); an all-zero result is refused (RFC 8446 §7.4.2)."""

    __slots__ = ("_private", "public")

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def finish(self, server_share: bytes) -> bytes:
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(server_share))
        except ValueError:  # a wrong length, or a point of small order: the result would be all zeros
            raise _wrong_share(NamedGroup.x25519, "is no valid public key") from None


class _CurveShare:
    """ECDHE over a NIST curve; points are uncompressed (RFC 8446 §4.2.8.2)."""

    __slots__ = ("_curve", "_group", "_private", "public")

    def __init__(self, group: NamedGroup, curve: ec.EllipticCurve) -> None:
        self._group = group
        self._curve = curve
        self._private = ec.generate_private_key(curve)
        self.public = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def finish(self, server_share: bytes) -> bytes:
        length = 1 + 2 * ((self._curve.key_size + 7) // 8)
        # `from_encoded_point` would take compressed points too, which TLS 1.3 forbids.
        if len(server_share) != length or server_share[0] != 0x04:
            raise _wrong_share(self._group, f"is no uncompressed point of {length} bytes")
        try:
            public = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, server_share)
        except ValueError:
            raise _wrong_share(self._group, "is not on the curve") from None
        return self._private.exchange(ec.ECDH(), public)


_MLKEM768_PUBLIC = 1184
_MLKEM768_CIPHERTEXT = 1088
_X25519_PUBLIC = 32


class _X25519MLKEM768Share:
    """ML-KEM-768 (FIPS 203) beside X25519: safe while either of them is."""

    __slots__ = ("_mlkem", "_x25519", "public")

    def __init__(self) -> None:
        self._mlkem = mlkem.MLKEM768PrivateKey.generate()
        self._x25519 = _X25519Share()
        self.public = self._mlkem.public_key().public_bytes_raw() + self._x25519.public

    def finish(self, server_share: bytes) -> bytes:
        if len(server_share) != _MLKEM768_CIPHERTEXT + _X25519_PUBLIC:
            raise _wrong_share(NamedGroup.X25519MLKEM768, f"has {len(server_share)} bytes")
        secret = self._mlkem.decapsulate(server_share[:_MLKEM768_CIPHERTEXT])
        return secret + self._x25519.finish(server_share[_MLKEM768_CIPHERTEXT:])


def _respond_by(generate: Callable[[], KeyShare]) -> Callable[[bytes], tuple[bytes, bytes]]:
    """Diffie-Hellman is symmetric: the server makes a share like the client's, and finishes at once."""

    def respond(client_share: bytes) -> tuple[bytes, bytes]:
        share = generate()
        return share.public, share.finish(client_share)

    return respond


def _respond_x25519mlkem768(client_share: bytes) -> tuple[bytes, bytes]:
    if len(client_share) != _MLKEM768_PUBLIC + _X25519_PUBLIC:
        raise _wrong_share(NamedGroup.X25519MLKEM768, f"has {len(client_share)} bytes")
    try:
        public = mlkem.MLKEM768PublicKey.from_public_bytes(client_share[:_MLKEM768_PUBLIC])
    except ValueError:  # FIPS 203 §7.2: the encapsulation key check
        raise _wrong_share(NamedGroup.X25519MLKEM768, "holds no valid encapsulation key") from None
    x25519 = _X25519Share()
    x25519_secret = x25519.finish(client_share[_MLKEM768_PUBLIC:])
    mlkem_secret, ciphertext = public.encapsulate()
    return ciphertext + x25519.public, mlkem_secret + x25519_secret


def _diffie_hellman(code: NamedGroup, generate: Callable[[], KeyShare], share_length: int) -> Group:
    return Group(code, generate, _respond_by(generate), share_length)


GROUPS: dict[int, Group] = {
    group.code: group
    for group in (
        Group(
            NamedGroup.X25519MLKEM768,
            _X25519MLKEM768Share,
            _respond_x25519mlkem768,
            _MLKEM768_CIPHERTEXT + _X25519_PUBLIC,
            hybrid=True,
        ),
        _diffie_hellman(NamedGroup.x25519, _X25519Share, _X25519_PUBLIC),
        _diffie_hellman(NamedGroup.secp256r1, lambda: _CurveShare(NamedGroup.secp256r1, ec.SECP256R1()), 65),
        _diffie_hellman(NamedGroup.secp384r1, lambda: _CurveShare(NamedGroup.secp384r1, ec.SECP384R1()), 97),
    )
}
