"""The IANA registries that TLS draws its code points from.

RFC 8446 §4.1.2 and §4.2 demand that unknown values are ignored, and RFC 8701 (GREASE) sends some to see whether
they are.  So a value that is not listed here is not an error: it survives as a member named ``unknown_0x....``.

Hot paths carry plain ints.  These enums give names to code, errors and logs.
"""

import enum
from typing import Self

__all__ = [
    "HELLO_RETRY_REQUEST_RANDOM",
    "CertificateCompressionAlgorithm",
    "CertificateStatusType",
    "CertificateType",
    "CipherSuite",
    "ContentType",
    "ExtensionType",
    "HandshakeType",
    "KeyUpdateRequest",
    "NameType",
    "NamedGroup",
    "ProtocolVersion",
    "PskKeyExchangeMode",
    "SignatureScheme",
    "name_of",
]


class _CodePoint(enum.IntEnum):
    """An open enumeration: values that are not listed survive, up to the registry's width."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        bits = 16 if issubclass(cls, _SixteenBits) else 8
        if not isinstance(value, int) or not 0 <= value < 1 << bits:
            return None
        # Not entered into the enum's own tables, so a peer that sends every value there is costs us nothing.
        member = int.__new__(cls, value)
        member._name_ = f"unknown_0x{value:0{bits // 4}x}"
        member._value_ = value
        return member


class _SixteenBits(_CodePoint):
    """A registry whose values take two bytes on the wire."""


class ContentType(_CodePoint):
    """What a record carries (RFC 8446 §5.1)."""

    change_cipher_spec = 20
    alert = 21
    handshake = 22
    application_data = 23


class HandshakeType(_CodePoint):
    """The kinds of handshake message (RFC 8446 §4, RFC 8879 §4)."""

    client_hello = 1
    server_hello = 2
    new_session_ticket = 4
    end_of_early_data = 5
    encrypted_extensions = 8
    certificate = 11
    certificate_request = 13
    certificate_verify = 15
    finished = 20
    key_update = 24
    compressed_certificate = 25
    message_hash = 254


class ProtocolVersion(_SixteenBits):
    """Protocol versions (RFC 8446 §4.2.1, Appendix D)."""

    SSLv3 = 0x0300
    TLSv1 = 0x0301
    TLSv1_1 = 0x0302
    TLSv1_2 = 0x0303
    TLSv1_3 = 0x0304


class CipherSuite(_SixteenBits):
    """Cipher suites, and the signalling values that travel in the same list (RFC 8446 §B.4, RFC 5746, RFC 7507)."""

    TLS_AES_128_GCM_SHA256 = 0x1301
    TLS_AES_256_GCM_SHA384 = 0x1302
    TLS_CHACHA20_POLY1305_SHA256 = 0x1303
    TLS_EMPTY_RENEGOTIATION_INFO_SCSV = 0x00FF
    TLS_FALLBACK_SCSV = 0x5600


class NamedGroup(_SixteenBits):
    """Key exchange groups (RFC 8446 §4.2.7; the hybrids by draft-ietf-tls-ecdhe-mlkem)."""

    secp256r1 = 0x0017
    secp384r1 = 0x0018
    secp521r1 = 0x0019
    x25519 = 0x001D
    x448 = 0x001E
    ffdhe2048 = 0x0100
    SecP256r1MLKEM768 = 0x11EB
    X25519MLKEM768 = 0x11EC


class SignatureScheme(_SixteenBits):
    """Signature schemes (RFC 8446 §4.2.3)."""

    rsa_pkcs1_sha1 = 0x0201
    ecdsa_sha1 = 0x0203
    rsa_pkcs1_sha256 = 0x0401
    ecdsa_secp256r1_sha256 = 0x0403
    rsa_pkcs1_sha384 = 0x0501
    ecdsa_secp384r1_sha384 = 0x0503
    rsa_pkcs1_sha512 = 0x0601
    ecdsa_secp521r1_sha512 = 0x0603
    rsa_pss_rsae_sha256 = 0x0804
    rsa_pss_rsae_sha384 = 0x0805
    rsa_pss_rsae_sha512 = 0x0806
    ed25519 = 0x0807
    ed448 = 0x0808
    rsa_pss_pss_sha256 = 0x0809
    rsa_pss_pss_sha384 = 0x080A
    rsa_pss_pss_sha512 = 0x080B


class ExtensionType(_SixteenBits):
    """Extension types (RFC 8446 §4.2 and the registry that it refers to)."""

    server_name = 0
    max_fragment_length = 1
    status_request = 5
    supported_groups = 10
    signature_algorithms = 13
    use_srtp = 14
    heartbeat = 15
    application_layer_protocol_negotiation = 16
    signed_certificate_timestamp = 18
    client_certificate_type = 19
    server_certificate_type = 20
    padding = 21
    extended_master_secret = 23
    compress_certificate = 27
    record_size_limit = 28
    session_ticket = 35
    pre_shared_key = 41
    early_data = 42
    supported_versions = 43
    cookie = 44
    psk_key_exchange_modes = 45
    certificate_authorities = 47
    oid_filters = 48
    post_handshake_auth = 49
    signature_algorithms_cert = 50
    key_share = 51
    renegotiation_info = 0xFF01


class NameType(_CodePoint):
    """What kind of name a server_name extension holds (RFC 6066 §3)."""

    host_name = 0


class PskKeyExchangeMode(_CodePoint):
    """How a pre-shared key is used (RFC 8446 §4.2.9)."""

    psk_ke = 0
    psk_dhe_ke = 1


class KeyUpdateRequest(_CodePoint):
    """Whether a KeyUpdate asks for one in return (RFC 8446 §4.6.3)."""

    update_not_requested = 0
    update_requested = 1


class CertificateStatusType(_CodePoint):
    """How a certificate's status is told (RFC 6066 §8)."""

    ocsp = 1


class CertificateCompressionAlgorithm(_SixteenBits):
    """How a Certificate message is compressed (RFC 8879 §7.3)."""

    zlib = 1
    brotli = 2
    zstd = 3


class CertificateType(_CodePoint):
    """What a Certificate message holds (RFC 7250 §3)."""

    x509 = 0
    raw_public_key = 2


# RFC 8446 §4.1.3: a ServerHello with this random is a HelloRetryRequest (SHA-256 of "HelloRetryRequest").
HELLO_RETRY_REQUEST_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def name_of(registry: type[_CodePoint], value: int) -> str:
    """The registry's name for *value*, for errors and logs."""
    return registry(value).name
