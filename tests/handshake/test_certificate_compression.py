"""Certificate compression (RFC 8879): what goes over the wire, what is computed once, and what servers must refuse.

What clients must refuse is in test_client13_bad_authentication.py.  No program that these tests know speaks it: GnuTLS
and OpenSSL are mostly built without.  The other side is therefore the codecs themselves.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock, patch

import pytest

from aiotls import ClientAuth, ClientConfig, ClientConnection, Credential, ServerConfig, ServerConnection
from aiotls.errors import (
    AlertDescription,
    CertificateError,
    CertificateRequired,
    DecodeError,
    IllegalParameter,
    TLSError,
    UnsupportedExtension,
)
from aiotls.handshake import authentication
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.testing.scripted import CLIENT_CONTEXT
from aiotls.testing.server_peer import Alert, ScriptedServer
from aiotls.trust.compression import ALGORITHMS, compress
from aiotls.trust.stapling import OCSPStaple
from aiotls.wire.messages import (
    HEADER_LENGTH,
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    CompressedCertificate,
    HandshakeMessage,
)
from aiotls.wire.registries import CertificateCompressionAlgorithm, HandshakeType
from tests.handshake.joined import (
    CLIENT_NAME,
    Joined,
    authority,
    client_config,
    credential,
    issued,
    join,
    roots,
    server_config,
)

ZLIB = CertificateCompressionAlgorithm.zlib
BROTLI = CertificateCompressionAlgorithm.brotli
ZSTD = CertificateCompressionAlgorithm.zstd
BAD = AlertDescription.bad_certificate
ILLEGAL = AlertDescription.illegal_parameter
DECODE = AlertDescription.decode_error

ANYTHING = range(1 << 16)

each_algorithm = pytest.mark.parametrize("algorithm", list(CertificateCompressionAlgorithm), ids=lambda code: code.name)


def test_every_algorithm_is_there() -> None:
    """The other tests would pass without brotli and zstd, too: those are extras."""
    assert list(ALGORITHMS) == [BROTLI, ZSTD, ZLIB]


class Listener(ScriptedClient):
    """A client that decompresses."""

    def _receive_message(self, message: HandshakeMessage) -> None:
        if isinstance(message, CompressedCertificate):
            body = ALGORITHMS[message.algorithm].decompress(
                message.compressed_certificate_message, message.uncompressed_length
            )
            header = bytes((HandshakeType.certificate,)) + len(body).to_bytes(3, "big")
            self._receive_certificate(Certificate.parse(header + body, ANYTHING))
        super()._receive_message(message)


def flight(config: ServerConfig, *offered: int, **extensions: Any) -> list[HandshakeMessage]:
    """What a server says to a client that *offered* these algorithms; the client has verified its signature."""
    client, server = Listener(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), compress_certificate=offered or None, **extensions).encode())
    pipe.pump()
    assert pipe.second.error is None
    assert client.server_finished
    return client.server_messages


def form(messages: Sequence[HandshakeMessage]) -> int | None:
    """The algorithm of the one Certificate; None if it came as it is."""
    (message,) = [message for message in messages if isinstance(message, Certificate | CompressedCertificate)]
    return message.algorithm if isinstance(message, CompressedCertificate) else None


# --- What goes over the wire ------------------------------------------------------------------------------------------


@pytest.mark.rfc("8879", "3")
def test_server_compresses_with_what_it_likes_best_of_what_the_client_offers() -> None:
    config = server_config(credentials=credential(intermediate=True))
    assert form(flight(config)) is None
    assert form(flight(config, ZLIB, ZSTD, BROTLI)) == BROTLI
    assert form(flight(config, ZLIB, ZSTD)) == ZSTD
    assert form(flight(config, ZLIB)) == ZLIB
    assert form(flight(config, 4, 0x4000, 0xFFFF, ZLIB)) == ZLIB
    assert form(flight(config, 4, 0x4000)) is None
    assert form(flight(replace(config, certificate_compression=False), ZLIB, ZSTD, BROTLI)) is None


@pytest.mark.rfc("8879", "4")
@each_algorithm
def test_compressed_certificate_holds_the_certificate_without_its_header(
    algorithm: CertificateCompressionAlgorithm,
) -> None:
    shown = credential(intermediate=True)
    messages = flight(server_config(credentials=shown), algorithm)
    (message,) = [message for message in messages if isinstance(message, CompressedCertificate)]
    body = shown.certificate_message[HEADER_LENGTH:]
    assert message.uncompressed_length == len(body)
    assert len(message.encode()) < len(shown.certificate_message)
    if algorithm is ZLIB:
        assert zlib.decompress(message.compressed_certificate_message) == body


@pytest.mark.rfc("8879", "3")
def test_both_ends_offer_what_they_can_and_nothing_if_that_is_switched_off() -> None:
    for on, expected in ((True, (BROTLI, ZSTD, ZLIB)), (False, None)):
        server = ScriptedServer(credential())
        Pipe(server, ClientConnection(client_config(certificate_compression=on), "localhost")).pump()
        assert server.client_hello.compress_certificate == expected
        asking = server_config(client_auth=ClientAuth.OPTIONAL, client_roots=roots(), certificate_compression=on)
        (request,) = [message for message in flight(asking) if isinstance(message, CertificateRequest)]
        assert request.compress_certificate == expected


def test_certificate_that_compression_makes_longer_goes_as_it_is() -> None:
    with patch.object(authentication, "compress", side_effect=lambda _, body: body + b"longer") as compressing:
        assert form(flight(server_config(credentials=issued().credential()), ZLIB)) is None
    assert compressing.call_count == 1


def spying(name: str) -> Any:
    """Counts the calls of `compress` or `decompress` in the handshake."""
    return patch.object(authentication, name, wraps=getattr(authentication, name))


# --- Once, and not again ----------------------------------------------------------------------------------------------


@pytest.fixture
def compressing() -> Iterator[Mock]:
    with spying("compress") as calls:
        yield calls


def test_credential_is_compressed_once_for_each_algorithm_whatever_the_config(compressing: Mock) -> None:
    shown = issued().credential()
    for config in (server_config(credentials=shown), server_config(credentials=[shown], alpn=("h2",))):
        for _ in range(3):
            assert form(flight(config, BROTLI)) == BROTLI
            assert form(flight(config, ZLIB)) == ZLIB
    assert [call.args[0] for call in compressing.call_args_list] == [BROTLI, ZLIB]


def test_credential_of_a_client_is_compressed_once(compressing: Mock) -> None:
    shown = credential(CLIENT_NAME)
    server = server_config(client_auth=ClientAuth.REQUIRED, client_roots=roots(), credentials=issued().credential())
    shown.encodings.clear()
    for _ in range(3):
        join(client_config(credentials=shown), server)
    assert compressing.call_count == 2  # the server's, and the client's


def test_staple_is_compressed_with_the_certificate_and_once(compressing: Mock) -> None:
    leaf = issued(intermediate=True)
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: authority().ocsp_response(leaf))
    config = server_config(credentials=leaf.credential().with_staple(staple))
    for _ in range(3):
        join(client_config(require_staple=True), config)
    assert compressing.call_count == 1
    assert form(flight(config, BROTLI)) == BROTLI  # for a client that wants no staple
    assert form(flight(config, BROTLI, status_request=True)) == BROTLI
    assert compressing.call_count == 2


async def test_encodings_are_bounded_however_often_the_staple_changes(compressing: Mock) -> None:
    """Nobody but the server chooses the staple; but it may run for years."""
    leaf = issued(intermediate=True)
    staples: list[bytes] = []

    class Changing:
        def current(self, *_: object) -> bytes:
            staples.append(b"staple %d" % len(staples))
            return staples[-1]

    shown = replace(leaf.credential(), staple=Changing())  # type: ignore[arg-type]
    accepts = authentication.PeerAccepts(staple=True, algorithms=(ZLIB,))
    config = server_config()
    most = 0
    for _ in range(50):
        await authentication.certificate_message(shown, accepts, config)
        most = max(most, len(shown.encodings))
    assert most == 8
    assert compressing.call_count == 50


# --- What servers must refuse -----------------------------------------------------------------------------------------

LONGEST = 4096 - HEADER_LENGTH
"""Bytes of a decompressed certificate, where the limit for messages is the least that it can be."""


def asking(**options: Any) -> ServerConfig:
    return server_config(
        client_auth=ClientAuth.REQUIRED, client_roots=roots(), max_handshake_message_size=4096, **options
    )


def answering(config: ServerConfig, message: HandshakeMessage) -> tuple[ScriptedClient, Pipe]:
    """A client that answers the request with *message*."""
    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    client.send(message)
    pipe.pump()
    return client, pipe


def whole(shown: Credential | None = None) -> bytes:
    """The body of an honest Certificate."""
    return (shown or credential(CLIENT_NAME)).certificate_message[HEADER_LENGTH:]


def packed(algorithm: int, body: bytes) -> CompressedCertificate:
    return CompressedCertificate(algorithm, len(body), compress(algorithm, body))


@pytest.mark.rfc("8879", "4")
@each_algorithm
def test_server_takes_compressed_certificate(algorithm: CertificateCompressionAlgorithm) -> None:
    """The control."""
    client, pipe = answering(asking(), packed(algorithm, whole()))
    shown = credential(CLIENT_NAME)
    signature = shown.signing_key.sign(shown.schemes[0], client.to_be_signed(CLIENT_CONTEXT))
    assert isinstance(signature, bytes)
    client.send(CertificateVerify(shown.schemes[0], signature))
    client.finish()
    pipe.pump()
    assert pipe.second.error is None
    assert isinstance(pipe.second.engine, ServerConnection)
    assert pipe.second.engine.negotiated is not None
    assert pipe.second.engine.negotiated.peer is not None
    assert pipe.second.engine.negotiated.peer.certificates == shown.chain


WRONG: dict[str, tuple[Callable[[int], CompressedCertificate], type[TLSError], AlertDescription]] = {
    "longer_than_declared": (
        lambda code: CompressedCertificate(code, len(whole()) - 1, compress(code, whole())),
        CertificateError,
        BAD,
    ),
    "shorter_than_declared": (
        lambda code: CompressedCertificate(code, len(whole()) + 1, compress(code, whole())),
        CertificateError,
        BAD,
    ),
    "nothing_declared": (lambda code: CompressedCertificate(code, 0, compress(code, whole())), CertificateError, BAD),
    "cut_off": (
        lambda code: CompressedCertificate(code, len(whole()), compress(code, whole())[:-1]),
        CertificateError,
        BAD,
    ),
    "trailing": (
        lambda code: CompressedCertificate(code, len(whole()), compress(code, whole()) + b"\0"),
        CertificateError,
        BAD,
    ),
    "not_compressed": (lambda code: CompressedCertificate(code, len(whole()), whole()), CertificateError, BAD),
    "bomb": (
        lambda code: CompressedCertificate(code, LONGEST, compress(code, bytes(1 << 24))[:4000]),
        CertificateError,
        BAD,
    ),
    "declared_beyond_the_limit": (
        lambda code: packed(code, bytes(LONGEST + 1)),
        CertificateError,
        BAD,
    ),
    "zeros_within_the_limit": (lambda code: packed(code, bytes(LONGEST)), DecodeError, DECODE),
    "with_its_header": (lambda code: packed(code, credential(CLIENT_NAME).certificate_message), DecodeError, DECODE),
    "with_a_context": (
        lambda code: packed(code, Certificate(b"c", (CertificateEntry(b"x"),)).encode()[HEADER_LENGTH:]),
        IllegalParameter,
        ILLEGAL,
    ),
    "with_a_staple_that_nobody_asked_for": (
        lambda code: packed(code, Certificate(b"", (CertificateEntry(b"x", b"staple"),)).encode()[HEADER_LENGTH:]),
        UnsupportedExtension,
        AlertDescription.unsupported_extension,
    ),
    "without_a_certificate": (
        lambda code: packed(code, Certificate().encode()[HEADER_LENGTH:]),
        CertificateRequired,
        AlertDescription.certificate_required,
    ),
    "malformed": (
        lambda code: packed(code, Certificate(b"", (CertificateEntry(b"x"),)).encode()[HEADER_LENGTH:]),
        CertificateError,
        BAD,
    ),
}


@pytest.mark.rfc("8879", "4")
@each_algorithm
@pytest.mark.parametrize(("make", "kind", "alert"), WRONG.values(), ids=WRONG)
def test_server_refuses_wrong_compressed_certificate(
    make: Callable[[int], CompressedCertificate],
    kind: type[TLSError],
    alert: AlertDescription,
    algorithm: CertificateCompressionAlgorithm,
) -> None:
    client, pipe = answering(asking(), make(algorithm))
    assert type(pipe.second.error) is kind, repr(pipe.second.error)
    assert client.alerts == [Alert(2, alert, protected=True)]


@pytest.mark.rfc("8879", "4")
@pytest.mark.parametrize("algorithm", [0, 4, 0x4000, 0xFFFF])
def test_server_refuses_algorithm_that_it_did_not_offer(algorithm: int) -> None:
    client, pipe = answering(asking(), CompressedCertificate(algorithm, len(whole()), zlib.compress(whole())))
    assert type(pipe.second.error) is IllegalParameter
    assert client.alerts == [Alert(2, ILLEGAL, protected=True)]


@pytest.mark.rfc("8879", "4")
def test_server_that_offered_no_compression_refuses_it() -> None:
    client, pipe = answering(asking(certificate_compression=False), packed(ZLIB, whole()))
    assert type(pipe.second.error) is IllegalParameter
    assert client.alerts == [Alert(2, ILLEGAL, protected=True)]


@pytest.mark.rfc("8879", "4")
def test_chain_is_bounded_by_the_limit_for_messages_compressed_or_not() -> None:
    """A chain that compresses well could else be 16 MiB."""
    limit = 4096
    leaf = credential(CLIENT_NAME).chain[0]
    room = limit - len(Certificate(b"", (CertificateEntry(leaf), CertificateEntry(b"x"))).encode()) + 1
    for excess in (0, 1):
        shown = replace(credential(CLIENT_NAME), chain=(leaf, bytes(room + excess)))
        assert len(shown.certificate_message) == limit + excess
        config: ClientConfig = client_config(credentials=shown)
        joined = Joined(config, asking())
        error = joined.refused_by_server(CertificateError, BAD)
        expected = "are allowed" if excess else "certificate 2 of 2 is malformed"
        assert expected in str(error)
