"""Key exchange groups, one row each, hybrids included (RFC 8446 §4.2.7-4.2.8).

All of them are used through one pair of steps, which a KEM needs and a Diffie-Hellman group can do as well: the
client makes a `KeyShare` and sends its public part; the server *responds* to that with a share of its own and has the
secret; the client *finishes* with the server's share.  A share that the peer made wrongly raises IllegalParameter.

A hybrid is ML-KEM-768 (FIPS 203) beside a Diffie-Hellman group, and safe while either of them is.  Its shares and its
secret are those of the two, joined (draft-ietf-tls-ecdhe-mlkem §4): X25519MLKEM768 puts ML-KEM first, SecP256r1MLKEM768
the curve, so that in either the first secret is of an approved algorithm (NIST SP 800-56C §2).
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


@dataclass(frozen=True, slots=True)
class _Hybrid:
    """How ML-KEM-768 and a Diffie-Hellman group are joined."""

    code: NamedGroup
    generate_classical: Callable[[], KeyShare]
    classical_length: int
    """Bytes of either side's Diffie-Hellman share."""
    mlkem_first: bool

    def join(self, mlkem_part: bytes, classical_part: bytes) -> bytes:
        return mlkem_part + classical_part if self.mlkem_first else classical_part + mlkem_part

    def split(self, share: bytes, mlkem_length: int) -> tuple[bytes, bytes]:
        """The parts of the peer's share, that of ML-KEM first."""
        if len(share) != mlkem_length + self.classical_length:
            raise _wrong_share(self.code, f"has {len(share)} bytes")
        if self.mlkem_first:
            return share[:mlkem_length], share[mlkem_length:]
        return share[self.classical_length :], share[: self.classical_length]

    def generate(self) -> KeyShare:
        return _HybridShare(self)

    def respond(self, client_share: bytes) -> tuple[bytes, bytes]:
        encapsulation_key, classical_share = self.split(client_share, _MLKEM768_PUBLIC)
        try:
            public = mlkem.MLKEM768PublicKey.from_public_bytes(encapsulation_key)
        except ValueError:  # FIPS 203 §7.2: the encapsulation key check
            raise _wrong_share(self.code, "holds no valid encapsulation key") from None
        classical = self.generate_classical()
        classical_secret = classical.finish(classical_share)
        mlkem_secret, ciphertext = public.encapsulate()
        return self.join(ciphertext, classical.public), self.join(mlkem_secret, classical_secret)


class _HybridShare:
    """The client's half of a hybrid."""

    __slots__ = ("_classical", "_hybrid", "_mlkem", "public")

    def __init__(self, hybrid: _Hybrid) -> None:
        self._hybrid = hybrid
        self._mlkem = mlkem.MLKEM768PrivateKey.generate()
        self._classical = hybrid.generate_classical()
        self.public = hybrid.join(self._mlkem.public_key().public_bytes_raw(), self._classical.public)

    def finish(self, server_share: bytes) -> bytes:
        ciphertext, classical_share = self._hybrid.split(server_share, _MLKEM768_CIPHERTEXT)
        # FIPS 203 §6.3: a wrong ciphertext gives a secret that nobody else has; Finished tells (RFC 8446 §4.4.4).
        return self._hybrid.join(self._mlkem.decapsulate(ciphertext), self._classical.finish(classical_share))


def _respond_by(generate: Callable[[], KeyShare]) -> Callable[[bytes], tuple[bytes, bytes]]:
    """Diffie-Hellman is symmetric: the server makes a share like the client's, and finishes at once."""

    def respond(client_share: bytes) -> tuple[bytes, bytes]:
        share = generate()
        return share.public, share.finish(client_share)

    return respond


def _diffie_hellman(code: NamedGroup, generate: Callable[[], KeyShare], share_length: int) -> Group:
    return Group(code, generate, _respond_by(generate), share_length)


def _hybrid(code: NamedGroup, classical: Group, *, mlkem_first: bool) -> Group:
    row = _Hybrid(code, classical.generate, classical.server_share_length, mlkem_first)
    length = _MLKEM768_CIPHERTEXT + classical.server_share_length
    return Group(code, row.generate, row.respond, length, hybrid=True)


_X25519 = _diffie_hellman(NamedGroup.x25519, _X25519Share, 32)
_SECP256R1 = _diffie_hellman(NamedGroup.secp256r1, lambda: _CurveShare(NamedGroup.secp256r1, ec.SECP256R1()), 65)
_SECP384R1 = _diffie_hellman(NamedGroup.secp384r1, lambda: _CurveShare(NamedGroup.secp384r1, ec.SECP384R1()), 97)

# Post-quantum first, and X25519 before the curves that cost more: this order is our preference.
GROUPS: dict[int, Group] = {
    group.code: group
    for group in (
        _hybrid(NamedGroup.X25519MLKEM768, _X25519, mlkem_first=True),
        _hybrid(NamedGroup.SecP256r1MLKEM768, _SECP256R1, mlkem_first=False),
        _X25519,
        _SECP256R1,
        _SECP384R1,
    )
}
