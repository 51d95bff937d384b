"""Signature schemes, one row each (RFC 8446 §4.2.3).

A row says which keys it serves, and how a message is signed and verified with it.  RSA PKCS#1 has rows as well, but
they bear no place in a TLS 1.3 CertificateVerify (`handshake13` is false): they tell a peer which certificates we
can check.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from aiotls.errors import DecryptError, LocalError
from aiotls.wire.registries import SignatureScheme

__all__ = ["SCHEMES", "PrivateKey", "PublicKey", "Scheme", "schemes_for", "signer", "verify"]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())
_ECDSA_SHA384 = ec.ECDSA(hashes.SHA384())
_ECDSA_SHA512 = ec.ECDSA(hashes.SHA512())


@dataclass(frozen=True, slots=True)
class Scheme:
    """One signature scheme: its code point, the keys it serves, and how it signs and verifies."""

    code: SignatureScheme
    key_type: str
    """``ec:<curve>``, ``ed25519``, ``rsa`` (rsaEncryption) or ``rsa-pss`` (id-RSASSA-PSS)."""
    handshake13: bool
    """Whether a TLS 1.3 CertificateVerify may bear it (RFC 8446 §4.4.3)."""
    signer: Callable[[PrivateKey], Callable[[bytes], bytes]]
    """Binds a key once, so that a signature costs no more than itself."""
    verify: Callable[[PublicKey, bytes, bytes], None]
    minimum_key_bits: int = 0
    """The smallest RSA modulus that the padding has room in."""


def _ecdsa(code: SignatureScheme, curve: str, algorithm: ec.ECDSA) -> Scheme:
    def signer(key: PrivateKey) -> Callable[[bytes], bytes]:
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _wrong_key(code, key)
        return lambda message: key.sign(message, algorithm)

    def verify(key: PublicKey, signature: bytes, message: bytes) -> None:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise _wrong_key(code, key)
        key.verify(signature, message, algorithm)

    return Scheme(code, f"ec:{curve}", handshake13=True, signer=signer, verify=verify)


def _eddsa(code: SignatureScheme) -> Scheme:
    def signer(key: PrivateKey) -> Callable[[bytes], bytes]:
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise _wrong_key(code, key)
        return key.sign

    def verify(key: PublicKey, signature: bytes, message: bytes) -> None:
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise _wrong_key(code, key)
        key.verify(signature, message)

    return Scheme(code, "ed25519", handshake13=True, signer=signer, verify=verify)


def _rsa(
    code: SignatureScheme,
    key_type: str,
    algorithm: hashes.HashAlgorithm,
    encoding: padding.AsymmetricPadding,
    minimum_key_bits: int,
) -> Scheme:
    def signer(key: PrivateKey) -> Callable[[bytes], bytes]:
        if not isinstance(key, rsa.RSAPrivateKey):
            raise _wrong_key(code, key)
        return lambda message: key.sign(message, encoding, algorithm)

    def verify(key: PublicKey, signature: bytes, message: bytes) -> None:
        if not isinstance(key, rsa.RSAPublicKey):
            raise _wrong_key(code, key)
        key.verify(signature, message, encoding, algorithm)

    handshake13 = isinstance(encoding, padding.PSS)
    return Scheme(code, key_type, handshake13, signer, verify, minimum_key_bits)


def _pss(code: SignatureScheme, key_type: str, algorithm: hashes.HashAlgorithm) -> Scheme:
    # RFC 8446 §4.2.3: the salt is as long as the digest, and MGF1 uses the same hash.  RFC 8017 §9.1.1: the
    # encoded message needs two digests and two bytes.
    encoding = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    return _rsa(code, key_type, algorithm, encoding, 8 * (2 * algorithm.digest_size + 2))


def _pkcs1(code: SignatureScheme, algorithm: hashes.HashAlgorithm) -> Scheme:
    return _rsa(code, "rsa", algorithm, padding.PKCS1v15(), 0)


def _wrong_key(code: SignatureScheme, key: object) -> LocalError:
    return LocalError(f"{code.name} cannot be used with a {type(key).__name__}")


# Strongest-for-its-price first: this order is our preference when a credential allows several.
SCHEMES: dict[int, Scheme] = {
    scheme.code: scheme
    for scheme in (
        _ecdsa(SignatureScheme.ecdsa_secp256r1_sha256, "secp256r1", _ECDSA_SHA256),
        _ecdsa(SignatureScheme.ecdsa_secp384r1_sha384, "secp384r1", _ECDSA_SHA384),
        _ecdsa(SignatureScheme.ecdsa_secp521r1_sha512, "secp521r1", _ECDSA_SHA512),
        _eddsa(SignatureScheme.ed25519),
        _pss(SignatureScheme.rsa_pss_rsae_sha256, "rsa", hashes.SHA256()),
        _pss(SignatureScheme.rsa_pss_rsae_sha384, "rsa", hashes.SHA384()),
        _pss(SignatureScheme.rsa_pss_rsae_sha512, "rsa", hashes.SHA512()),
        _pss(SignatureScheme.rsa_pss_pss_sha256, "rsa-pss", hashes.SHA256()),
        _pss(SignatureScheme.rsa_pss_pss_sha384, "rsa-pss", hashes.SHA384()),
        _pss(SignatureScheme.rsa_pss_pss_sha512, "rsa-pss", hashes.SHA512()),
        _pkcs1(SignatureScheme.rsa_pkcs1_sha256, hashes.SHA256()),
        _pkcs1(SignatureScheme.rsa_pkcs1_sha384, hashes.SHA384()),
        _pkcs1(SignatureScheme.rsa_pkcs1_sha512, hashes.SHA512()),
    )
}


def schemes_for(key: PublicKey, *, rsa_pss: bool = False) -> tuple[int, ...]:
    """The schemes that *key* can sign a TLS 1.3 handshake with, in our order of preference.

    ``rsa_pss`` says that the certificate names the key as id-RSASSA-PSS and not as rsaEncryption, which is the
    difference between the ``rsa_pss_pss`` and the ``rsa_pss_rsae`` schemes (RFC 8446 §4.2.3).
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        key_type = f"ec:{key.curve.name}"
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key_type = "ed25519"
    else:
        key_type = "rsa-pss" if rsa_pss else "rsa"
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey) else 0
    return tuple(
        int(scheme.code)
        for scheme in SCHEMES.values()
        if scheme.handshake13 and scheme.key_type == key_type and bits >= scheme.minimum_key_bits
    )


def signer(key: PrivateKey, code: int) -> Callable[[bytes], bytes]:
    """What signs a message by *key* with the scheme *code*; a key of the wrong kind raises LocalError."""
    return SCHEMES[code].signer(key)


def verify(key: PublicKey, code: int, signature: bytes, message: bytes) -> None:
    """Check a signature; one that does not verify raises DecryptError (RFC 8446 §4.4.3)."""
    try:
        SCHEMES[code].verify(key, signature, message)
    except InvalidSignature:
        msg = f"the {SCHEMES[code].code.name} signature does not verify"
        raise DecryptError(msg) from None
