"""Certificate, CertificateVerify and Finished messages that a client must refuse (RFC 8446 §4.4, RFC 8879).

What is wrong with a chain of certificates itself is the matter of tests/trust; here it is the messages, and that
nobody is believed who does not hold the key of the certificate that he shows.
"""

import zlib
from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from aiotls import ClientConfig
from aiotls.crypto.signatures import PrivateKey, signer
from aiotls.errors import (
    AlertDescription,
    BadCertificateStatus,
    BadRecordMAC,
    CertificateError,
    CertificateNameMismatch,
    DecodeError,
    DecryptError,
    IllegalParameter,
    TLSError,
    UnsupportedExtension,
    UntrustedCertificate,
)
from aiotls.testing.ca import KeyType, LocalCA
from aiotls.testing.scripted import CLIENT_CONTEXT, SERVER_CONTEXT
from aiotls.testing.server_peer import ScriptedServer, encode_message
from aiotls.trust.credentials import Credential
from aiotls.wire.codec import Writer
from aiotls.wire.messages import (
    HEADER_LENGTH,
    Certificate,
    CertificateEntry,
    CertificateVerify,
    CompressedCertificate,
    Finished,
)
from aiotls.wire.registries import CipherSuite, ContentType, ExtensionType, HandshakeType, NamedGroup, SignatureScheme
from tests.handshake.client13_support import ClientDuel, Stage, authority, compressed, credential, roots, stages

BAD = AlertDescription.bad_certificate
DECODE = AlertDescription.decode_error
DECRYPT = AlertDescription.decrypt_error
ILLEGAL = AlertDescription.illegal_parameter
UNSUPPORTED = AlertDescription.unsupported_extension

LONGEST = (64 << 10) - HEADER_LENGTH
"""Bytes that a Certificate may have, its header left out."""


def refuse(
    message: Certificate | CompressedCertificate | bytes,
    kind: type[TLSError],
    alert: AlertDescription,
    config: ClientConfig | None = None,
) -> str:
    """One Certificate against a fresh client."""
    duel = ClientDuel.at(Stage.EXTENSIONS, config=config)
    duel.server.send_message(message if isinstance(message, bytes) else message.encode())
    return duel.assert_refused(kind, alert)


def leaf() -> bytes:
    return credential().chain[0]


# --- Certificate ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.4.2.4")
@stages(Stage.EXTENSIONS, Stage.REQUESTED)
def test_client_refuses_empty_certificate(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send(duel.server.certificate(()))
    duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.4.2")
@pytest.mark.parametrize("context", [b"\0", b"context", bytes(255)], ids=len)
@stages(Stage.EXTENSIONS, Stage.REQUESTED)
def test_client_refuses_certificate_with_request_context(stage: Stage, context: bytes) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send(duel.server.certificate(context=context))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "6.2")
def test_client_refuses_certificate_truncated_anywhere() -> None:
    body = Certificate(b"", (CertificateEntry(leaf()),)).encode()[HEADER_LENGTH:]
    for kept in (*range(12), *range(12, len(body), 31), len(body) - 2, len(body) - 1):
        refuse(encode_message(HandshakeType.certificate, body[:kept]), DecodeError, DECODE)
    refuse(encode_message(HandshakeType.certificate, body + b"\0"), DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.4.2")
@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
def test_client_refuses_entry_without_certificate(place: int) -> None:
    entries = [CertificateEntry(leaf())]
    entries.insert(place, CertificateEntry(b""))
    refuse(Certificate(b"", tuple(entries)), DecodeError, DECODE)


def malformed() -> dict[str, bytes]:
    """DER that is no certificate, at the first level and below."""
    der = leaf()
    return {
        "text": b"certificate",
        "one_byte": b"\x30",
        "empty_sequence": b"\x30\x00",
        "cut_off": der[:-1],
        "trailing": der + b"\0",
        "other_tag": b"\x31" + der[1:],
        "longer_than_it_is": der[:2] + (int.from_bytes(der[2:4], "big") + 1).to_bytes(2, "big") + der[4:],
        "endless": b"\x30\x80" + der[4:] + b"\0\0",
        "inner_tag": der[:4] + b"\x31" + der[5:],
        "nested": b"\x30\x82\x03\xe8" * 200,
        "nothing_but_zeros": bytes(500),
        "pem": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    }


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize("name", malformed())
def test_client_refuses_malformed_certificate(name: str) -> None:
    refuse(Certificate(b"", (CertificateEntry(malformed()[name]),)), CertificateError, BAD)


@pytest.mark.rfc("8446", "6.2")
def test_client_refuses_certificate_that_is_not_to_be_trusted() -> None:
    """It has chain and name verified, however well the server proves that it holds the key."""
    stranger = LocalCA().issue("localhost").credential()
    elsewhere = authority().issue("elsewhere.test").credential()
    refuse(Certificate(b"", (CertificateEntry(stranger.chain[0]),)), UntrustedCertificate, AlertDescription.unknown_ca)
    refuse(Certificate(b"", (CertificateEntry(elsewhere.chain[0]),)), CertificateNameMismatch, BAD)


def entry(extensions: list[tuple[int, bytes]], *, der: bytes | None = None) -> bytes:
    """A Certificate of one entry with these extensions, whatever they hold."""
    block = b"".join(code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in extensions)
    entries = Writer().opaque24(leaf() if der is None else der).opaque16(block).getvalue()
    return encode_message(HandshakeType.certificate, Writer().opaque8(b"").opaque24(entries).getvalue())


STATUS = b"\x01\0\0\x05staple"[:-1]

ENTRY_EXTENSIONS: dict[str, tuple[list[tuple[int, bytes]], type[TLSError], AlertDescription]] = {
    "not_offered": ([(ExtensionType.signed_certificate_timestamp, b"\0")], UnsupportedExtension, UNSUPPORTED),
    "unknown": ([(0xFFCE, b"")], UnsupportedExtension, UNSUPPORTED),
    "without_place": ([(ExtensionType.key_share, b"\0\x1d")], IllegalParameter, ILLEGAL),
    "of_the_hello": ([(ExtensionType.server_name, b"")], IllegalParameter, ILLEGAL),
    "status_twice": ([(5, STATUS), (5, STATUS)], IllegalParameter, ILLEGAL),
    "status_of_other_kind": ([(5, b"\x02" + STATUS[1:])], IllegalParameter, ILLEGAL),
    "status_without_content": ([(5, b"")], DecodeError, DECODE),
    "status_without_response": ([(5, b"\x01\0\0\0")], DecodeError, DECODE),
    "status_cut_off": ([(5, STATUS[:-1])], DecodeError, DECODE),
    "status_trailing": ([(5, STATUS + b"\0")], DecodeError, DECODE),
    "status_of_nothing": ([(5, STATUS)], BadCertificateStatus, AlertDescription.bad_certificate_status_response),
}


@pytest.mark.rfc("8446", "4.4.2")
@pytest.mark.parametrize(("extensions", "kind", "alert"), ENTRY_EXTENSIONS.values(), ids=ENTRY_EXTENSIONS)
def test_client_refuses_wrong_extension_of_entry(
    extensions: list[tuple[int, bytes]], kind: type[TLSError], alert: AlertDescription
) -> None:
    refuse(entry(extensions), kind, alert)


@pytest.mark.rfc("8446", "4.4.2.1")
def test_client_refuses_status_that_it_did_not_ask_for() -> None:
    config = ClientConfig(verifier=lambda _peer, _name: True, key_shares=(NamedGroup.x25519,))
    refuse(entry([(ExtensionType.status_request, STATUS)]), UnsupportedExtension, UNSUPPORTED, config)


def test_client_refuses_certificate_of_more_than_the_greatest_size() -> None:
    body = bytes(3)  # the context, and the front of the list's length
    duel = ClientDuel.at(Stage.EXTENSIONS)
    duel.server.send_message(encode_message(HandshakeType.certificate, body.ljust(LONGEST + 1, b"\0")))
    duel.assert_refused(IllegalParameter, ILLEGAL)


# --- CompressedCertificate -----------------------------------------------------------------------------------------


def whole() -> bytes:
    """The body of an honest Certificate."""
    return Certificate(b"", tuple(map(CertificateEntry, credential().chain))).encode()[HEADER_LENGTH:]


WRONG_COMPRESSIONS: dict[str, tuple[Callable[[bytes], CompressedCertificate], type[TLSError], AlertDescription]] = {
    "algorithm_unknown": (
        lambda body: CompressedCertificate(4, len(body), zlib.compress(body)),
        IllegalParameter,
        ILLEGAL,
    ),
    "algorithm_0": (lambda body: CompressedCertificate(0, len(body), zlib.compress(body)), IllegalParameter, ILLEGAL),
    "length_greater": (
        lambda body: CompressedCertificate(1, len(body) + 1, zlib.compress(body)),
        CertificateError,
        BAD,
    ),
    "length_smaller": (
        lambda body: CompressedCertificate(1, len(body) - 1, zlib.compress(body)),
        CertificateError,
        BAD,
    ),
    "length_0": (lambda body: CompressedCertificate(1, 0, zlib.compress(body)), CertificateError, BAD),
    "length_beyond_the_limit": (
        lambda body: CompressedCertificate(1, LONGEST + 1, zlib.compress(body.ljust(LONGEST + 1, b"\0"))),
        CertificateError,
        BAD,
    ),
    "length_of_16_mib": (
        lambda body: CompressedCertificate(1, (1 << 24) - 1, zlib.compress(body)),
        CertificateError,
        BAD,
    ),
    "bomb": (lambda body: CompressedCertificate(1, len(body), zlib.compress(bytes(8 << 20))), CertificateError, BAD),
    "not_compressed": (lambda body: CompressedCertificate(1, len(body), body), CertificateError, BAD),
    "cut_off": (lambda body: CompressedCertificate(1, len(body), zlib.compress(body)[:-1]), CertificateError, BAD),
    "trailing": (lambda body: CompressedCertificate(1, len(body), zlib.compress(body) + b"\0"), CertificateError, BAD),
    "checksum": (
        lambda body: CompressedCertificate(1, len(body), zlib.compress(body)[:-4] + b"\0\0\0\0"),
        CertificateError,
        BAD,
    ),
    "nothing_to_decompress": (lambda body: CompressedCertificate(1, len(body), b""), DecodeError, DECODE),
    "with_its_header": (
        lambda body: CompressedCertificate(
            1, len(body) + HEADER_LENGTH, zlib.compress(encode_message(HandshakeType.certificate, body))
        ),
        DecodeError,
        DECODE,
    ),
    "certificate_with_context": (lambda _: compressed(Certificate(b"context")), IllegalParameter, ILLEGAL),
    "certificate_empty": (lambda _: compressed(Certificate()), DecodeError, DECODE),
    "certificate_malformed": (
        lambda _: compressed(Certificate(b"", (CertificateEntry(b"certificate"),))),
        CertificateError,
        BAD,
    ),
}


@pytest.mark.rfc("8879", "4")
@pytest.mark.parametrize(("make", "kind", "alert"), WRONG_COMPRESSIONS.values(), ids=WRONG_COMPRESSIONS)
def test_client_refuses_wrong_compressed_certificate(
    make: Callable[[bytes], CompressedCertificate], kind: type[TLSError], alert: AlertDescription
) -> None:
    refuse(make(whole()), kind, alert)


@pytest.mark.rfc("8879", "4")
def test_client_takes_compressed_certificate() -> None:
    """The control: also one that grows to the greatest size."""
    duel = ClientDuel.at(Stage.EXTENSIONS)
    duel.server.send(compressed(duel.server.certificate()))
    duel.stage = Stage.CERTIFICATE
    duel.assert_in_order()


@pytest.mark.rfc("8879", "4")
def test_client_refuses_compressed_certificate_when_it_offered_no_compression() -> None:
    config = ClientConfig(roots=roots(), certificate_compression=False, key_shares=(NamedGroup.x25519,))
    message = compressed(Certificate(b"", (CertificateEntry(leaf()),)))
    refuse(message, IllegalParameter, ILLEGAL, config)


# --- CertificateVerify ---------------------------------------------------------------------------------------------

CHANGED_CONTENT: dict[str, Callable[[ScriptedServer], bytes]] = {
    "context_of_the_client": lambda server: server.to_be_signed(CLIENT_CONTEXT),
    "context_of_nobody": lambda server: server.to_be_signed(b""),
    "context_without_its_end": lambda server: server.to_be_signed(SERVER_CONTEXT).replace(b"\0", b"", 1),
    "without_padding": lambda server: server.to_be_signed(SERVER_CONTEXT)[64:],
    "transcript_alone": lambda server: server.to_be_signed(SERVER_CONTEXT)[-32:],
    "other_transcript": lambda server: server.to_be_signed(SERVER_CONTEXT)[:-1] + b"\0\0",
    "nothing": lambda _: b"",
}


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("content", CHANGED_CONTENT.values(), ids=CHANGED_CONTENT)
def test_client_refuses_signature_of_other_content(content: Callable[[ScriptedServer], bytes]) -> None:
    duel = ClientDuel.at(Stage.CERTIFICATE)
    duel.server.send(duel.server.certificate_verify(content=content(duel.server)))
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.3")
def test_client_refuses_signature_of_another_transcript() -> None:
    duel = ClientDuel.at(Stage.CERTIFICATE)
    duel.server.note(b"the server believes that this was said")
    duel.server.send(duel.server.certificate_verify())
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.3")
def test_client_refuses_signature_of_another_handshake() -> None:
    """One that an honest server gave somebody else."""
    honest = ClientDuel.at(Stage.CERTIFICATE).server.certificate_verify()
    duel = ClientDuel.at(Stage.CERTIFICATE)
    duel.server.send(honest)
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.3")
def test_client_refuses_signature_of_another_key() -> None:
    """The certificate is public: whoever shows it must hold its key."""
    duel = ClientDuel.at(Stage.CERTIFICATE)
    duel.server.send(duel.server.certificate_verify(credential=LocalCA().issue("localhost").credential()))
    duel.assert_refused(DecryptError, DECRYPT)


SIGNATURES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "zero": lambda _: b"\0",
    "text": lambda _: b"signature",
    "of_zeros": lambda _: b"\x30\x06\x02\x01\0\x02\x01\0",
    "of_ones": lambda _: b"\x30\x06\x02\x01\x01\x02\x01\x01",
    "negative": lambda _: b"\x30\x06\x02\x01\xff\x02\x01\xff",
    "cut_off": lambda signature: signature[:-1],
    "trailing": lambda signature: signature + b"\0",
    "trailing_inside": lambda signature: b"\x30" + bytes((signature[1] + 2,)) + signature[2:] + b"\x05\0",
    "long_form": lambda signature: b"\x30\x81" + signature[1:],
    "very_long": lambda _: bytes(60_000),
}


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("change", SIGNATURES.values(), ids=SIGNATURES)
def test_client_refuses_signature_that_is_none(change: Callable[[bytes], bytes]) -> None:
    duel = ClientDuel.at(Stage.CERTIFICATE)
    honest = duel.server.certificate_verify()
    duel.server.send(CertificateVerify(honest.algorithm, change(honest.signature)))
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ed25519", "rsa-2048"])
def test_client_refuses_signature_with_any_bit_flipped(key_type: KeyType) -> None:
    length = len(
        ClientDuel.at(Stage.CERTIFICATE, credential=credential(key_type)).server.certificate_verify().signature
    )
    for bit in range(0, 8 * length, max(7, length // 4)):
        duel = ClientDuel.at(Stage.CERTIFICATE, credential=credential(key_type))
        honest = duel.server.certificate_verify()
        signature = bytearray(honest.signature)
        signature[(bit // 8) % len(signature)] ^= 1 << bit % 8  # ECDSA's have not all the same length
        duel.server.send(CertificateVerify(honest.algorithm, bytes(signature)))
        duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("body", [b"", b"\x04", b"\x04\x03", b"\x04\x03\0", b"\x04\x03\0\x01", b"\x04\x03\0\0\0"])
def test_client_refuses_certificate_verify_that_does_not_parse(body: bytes) -> None:
    duel = ClientDuel.at(Stage.CERTIFICATE)
    duel.server.send_message(encode_message(HandshakeType.certificate_verify, body))
    duel.assert_refused(DecodeError, DECODE)


SCHEMES = {
    "sha1": 0x0203,
    "ed448": 0x0808,
    "unknown": 0xFFFF,
    "grease": 0x0A0A,
    "zero": 0,
    "p384": 0x0503,
    "p521": 0x0603,
    "ed25519": 0x0807,
    "rsa_pss": 0x0804,
    "rsa_pss_pss": 0x0809,
    "rsa_pkcs1": 0x0401,
    "rsa_pkcs1_sha1": 0x0201,
}


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_client_refuses_scheme_that_is_not_for_the_key(scheme: int) -> None:
    """A P-256 certificate, and an honest signature that names another scheme."""
    duel = ClientDuel.at(Stage.CERTIFICATE)
    duel.server.send(CertificateVerify(scheme, duel.server.certificate_verify().signature))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@cache
def with_key(key_type: KeyType) -> tuple[Credential, PrivateKey]:
    """A credential, and its key for signatures that no credential would give."""
    issued = authority().issue("localhost", key_type=key_type)
    key = serialization.load_pem_private_key(issued.key_pem, None)
    assert isinstance(key, PrivateKey)
    return issued.credential(), key


def shown(key_type: KeyType) -> tuple[ClientDuel, PrivateKey]:
    """A client that has seen a certificate for this key."""
    ours, key = with_key(key_type)
    return ClientDuel.at(Stage.CERTIFICATE, credential=ours), key


@pytest.mark.rfc("8446", "4.2.3")
@pytest.mark.parametrize(
    ("scheme", "algorithm"), [(0x0503, hashes.SHA384()), (0x0603, hashes.SHA512())], ids=["sha384", "sha512"]
)
def test_client_refuses_ecdsa_with_the_hash_of_another_curve(scheme: int, algorithm: hashes.HashAlgorithm) -> None:
    """In TLS 1.3 a scheme names the curve too; the signature itself is right."""
    duel, key = shown("ecdsa-p256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(duel.server.to_be_signed(SERVER_CONTEXT), ec.ECDSA(algorithm))
    duel.server.send(CertificateVerify(scheme, signature))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("scheme", [0x0401, 0x0501, 0x0601])
def test_client_refuses_pkcs1_although_it_takes_certificates_signed_so(scheme: int) -> None:
    duel, key = shown("rsa-2048")
    assert scheme in (duel.server.client_hello.signature_algorithms_cert or ())
    signature = signer(key, scheme)(duel.server.to_be_signed(SERVER_CONTEXT))
    duel.server.send(CertificateVerify(scheme, signature))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.3")
def test_client_refuses_scheme_of_rsassa_pss_keys_from_an_rsa_key() -> None:
    duel, key = shown("rsa-2048")
    signature = signer(key, 0x0809)(duel.server.to_be_signed(SERVER_CONTEXT))
    duel.server.send(CertificateVerify(0x0809, signature))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.3")
@pytest.mark.parametrize("salt", [0, 20, 31, 33, 222])
def test_client_refuses_pss_with_other_salt(salt: int) -> None:
    """§4.2.3: the salt is as long as the digest."""
    duel, key = shown("rsa-2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt)
    signature = key.sign(duel.server.to_be_signed(SERVER_CONTEXT), pss, hashes.SHA256())
    duel.server.send(CertificateVerify(0x0804, signature))
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.3")
def test_client_refuses_scheme_that_it_did_not_offer() -> None:
    others = (SignatureScheme.ed25519, SignatureScheme.rsa_pss_rsae_sha256)
    config = ClientConfig(roots=roots(), signature_schemes=others, key_shares=(NamedGroup.x25519,))
    duel = ClientDuel.at(Stage.CERTIFICATE, config=config)
    duel.server.send(duel.server.certificate_verify(scheme=0x0403))
    duel.assert_refused(IllegalParameter, ILLEGAL)


# --- Finished ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.4.4")
@pytest.mark.parametrize("suite", [CipherSuite.TLS_AES_128_GCM_SHA256, CipherSuite.TLS_AES_256_GCM_SHA384])
def test_client_refuses_finished_of_wrong_length(suite: CipherSuite) -> None:
    for length in (0, 1, 12, 16, 31, 32, 33, 47, 48, 49, 64):
        duel = ClientDuel.at(Stage.VERIFIED, cipher_suite=suite)
        verify_data = duel.server.finished()[HEADER_LENGTH:]
        if length != len(verify_data):
            duel.server.send(Finished(verify_data.ljust(length, b"\0")[:length]))
            duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.4.4")
def test_client_refuses_finished_with_any_bit_flipped() -> None:
    for bit in range(0, 256, 5):
        duel = ClientDuel.at(Stage.VERIFIED)
        raw = bytearray(duel.server.finished())
        raw[HEADER_LENGTH + bit // 8] ^= 1 << bit % 8
        duel.server.send_message(bytes(raw))
        duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.4")
def test_client_refuses_finished_of_the_clients_key() -> None:
    """What the client itself would send at this point, thrown back."""
    duel = ClientDuel.at(Stage.VERIFIED)
    key = duel.server.read_key
    assert key is not None
    digest = duel.server.to_be_signed(b"")[65:]
    duel.server.send(Finished(key.secret.finished(digest)))
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.4")
def test_client_refuses_finished_of_another_transcript() -> None:
    duel = ClientDuel.at(Stage.VERIFIED)
    duel.server.note(b"the server believes that this was said")
    duel.server.finish()
    duel.assert_refused(DecryptError, DECRYPT)


@pytest.mark.rfc("8446", "4.4.1")
def test_client_refuses_finished_of_a_transcript_without_the_retry() -> None:
    """§4.4.1: message_hash stands for the first ClientHello; a server that forgets the first flight is not believed."""
    duel = ClientDuel()
    duel.server.begin_retry()
    request = duel.server.hello_retry_request(NamedGroup.secp256r1).encode()
    duel.server.send_record(ContentType.handshake, request)  # said, and not noted
    duel.pump()
    duel.server.group = NamedGroup.secp256r1
    duel.server.send_server_hello()
    duel.server.send(duel.server.encrypted_extensions())
    duel.server.read_key = None  # it could not open the alert
    duel.pump()
    assert type(duel.error) is BadRecordMAC
