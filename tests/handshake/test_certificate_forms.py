"""The forms in which an endpoint shows what it is: raw public keys, compressed certificates, stapled responses."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest

from aiotls import ClientAuth, ClientConfig, ClientConnection, Credential, Roots, ServerConfig, ServerConnection
from aiotls.errors import (
    AlertDescription,
    AlertReceived,
    BadCertificateStatus,
    CertificateError,
    CertificateRevoked,
    IllegalParameter,
    LocalError,
    TLSError,
    UnsupportedCertificate,
    UntrustedCertificate,
)
from aiotls.handshake import authentication
from aiotls.testing.ca import IssuedCertificate, LocalCA
from aiotls.testing.pipe import Pipe
from aiotls.testing.server_peer import ScriptedServer
from aiotls.trust.compression import ALGORITHMS, compress, decompress
from aiotls.trust.stapling import OCSPStaple
from aiotls.wire.messages import HEADER_LENGTH, CompressedCertificate
from aiotls.wire.registries import CertificateCompressionAlgorithm, CertificateType, NamedGroup


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def roots(ca: LocalCA) -> Roots:
    return Roots.from_bytes(ca.certificate_pem)


@pytest.fixture(scope="module")
def issued(ca: LocalCA) -> IssuedCertificate:
    return ca.issue("localhost", intermediate=True)


@pytest.fixture(scope="module")
def server(issued: IssuedCertificate) -> ServerConfig:
    return ServerConfig(credentials=issued.credential())


@pytest.fixture(scope="module")
def client(roots: Roots) -> ClientConfig:
    return ClientConfig(roots=roots)


@pytest.fixture(scope="module")
def raw_keys(ca: LocalCA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Credential, Credential]:
    """Two credentials without a certificate."""
    folder = tmp_path_factory.mktemp("keys")
    paths: list[Path] = []
    for name in ("server", "client"):
        (folder / name).mkdir()
        paths.append(ca.issue(name).write(folder / name)[1])
    return Credential.from_raw_public_key(paths[0]), Credential.from_raw_public_key(paths[1])


def shake(client: ClientConfig, server: ServerConfig, name: str | None = "localhost") -> Pipe:
    pipe = Pipe(ClientConnection(client, name), ServerConnection(server))
    pipe.pump()
    return pipe


def complete(client: ClientConfig, server: ServerConfig, name: str | None = "localhost") -> Pipe:
    pipe = shake(client, server, name)
    assert (pipe.first.error, pipe.second.error) == (None, None)
    assert engine_of(pipe.first.engine).negotiated is not None
    assert engine_of(pipe.second.engine).negotiated is not None
    return pipe


def engine_of(engine: object) -> ClientConnection | ServerConnection:
    assert isinstance(engine, ClientConnection | ServerConnection)
    return engine


def shown(pipe: Pipe) -> Credential:
    """What the server showed of itself."""
    negotiated = engine_of(pipe.second.engine).negotiated
    assert negotiated is not None
    assert negotiated.credential is not None
    return negotiated.credential


def alert(error: TLSError | None) -> AlertDescription:
    assert isinstance(error, AlertReceived)
    return error.description


# --- Raw public keys --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7250", "4")
def test_raw_public_keys_prove_both_ends(raw_keys: tuple[Credential, Credential]) -> None:
    ours, theirs = raw_keys
    server = ServerConfig(credentials=ours, client_auth=ClientAuth.REQUIRED, trusted_public_keys=theirs.chain)
    pipe = complete(ClientConfig(trusted_public_keys=ours.chain, credentials=theirs), server, None)
    for end, key in ((pipe.first, ours), (pipe.second, theirs)):
        negotiated = engine_of(end.engine).negotiated
        assert negotiated is not None
        assert negotiated.peer is not None
        assert negotiated.peer.raw_public_key
        assert negotiated.peer.certificates == key.chain
        assert negotiated.peer.spki_sha256 == hashlib.sha256(key.chain[0]).digest()
    with pytest.raises(LocalError, match="tls-server-end-point"):
        engine_of(pipe.first.engine).channel_binding("tls-server-end-point")


@pytest.mark.rfc("7250", "6")
def test_raw_public_key_that_is_not_known_is_refused(raw_keys: tuple[Credential, Credential]) -> None:
    ours, theirs = raw_keys
    pipe = shake(ClientConfig(trusted_public_keys=theirs.chain), ServerConfig(credentials=ours), None)
    assert isinstance(pipe.first.error, UntrustedCertificate)
    assert alert(pipe.second.error) is AlertDescription.unknown_ca


@pytest.mark.rfc("7250", "4.2")
def test_server_with_a_raw_key_alone_has_nothing_for_who_wants_certificates(
    raw_keys: tuple[Credential, Credential], client: ClientConfig
) -> None:
    pipe = shake(client, ServerConfig(credentials=raw_keys[0]))
    assert isinstance(pipe.second.error, UnsupportedCertificate)
    assert alert(pipe.first.error) is AlertDescription.unsupported_certificate


@pytest.mark.rfc("7250", "4.2")
def test_server_with_both_shows_each_client_what_it_takes(
    raw_keys: tuple[Credential, Credential], issued: IssuedCertificate, client: ClientConfig
) -> None:
    raw = raw_keys[0]
    both = ServerConfig(credentials=[issued.credential(), raw])
    pipe = complete(client, both)
    assert shown(pipe).certificate_type == CertificateType.x509
    pipe = complete(ClientConfig(trusted_public_keys=raw.chain), both, None)
    assert shown(pipe) is raw


@pytest.mark.rfc("7250", "4.1")
def test_client_that_takes_both_verifies_a_certificate_as_ever(
    raw_keys: tuple[Credential, Credential], roots: Roots, server: ServerConfig
) -> None:
    both = ClientConfig(roots=roots, trusted_public_keys=raw_keys[0].chain)
    complete(both, server)
    pipe = shake(both, server, "other.example")
    assert isinstance(pipe.first.error, CertificateError)


@pytest.mark.rfc("7250", "4.2")
def test_server_that_can_verify_no_type_of_the_client_says_so(
    raw_keys: tuple[Credential, Credential], roots: Roots, server: ServerConfig
) -> None:
    config = replace(server, client_auth=ClientAuth.REQUIRED, client_roots=roots)
    pipe = shake(ClientConfig(roots=roots, credentials=raw_keys[1]), config)
    assert isinstance(pipe.second.error, UnsupportedCertificate)
    assert alert(pipe.first.error) is AlertDescription.unsupported_certificate


def test_certificate_is_refused_where_raw_keys_alone_are_trusted(
    raw_keys: tuple[Credential, Credential], client: ClientConfig, server: ServerConfig, issued: IssuedCertificate
) -> None:
    config = replace(server, client_auth=ClientAuth.REQUIRED, trusted_public_keys=raw_keys[1].chain)
    pipe = shake(replace(client, credentials=issued.credential()), config)
    assert isinstance(pipe.second.error, UntrustedCertificate)


# --- Compression ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8879", "4")
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_certificate_goes_compressed_both_ways(
    client: ClientConfig, server: ServerConfig, roots: Roots, issued: IssuedCertificate, algorithm: int
) -> None:
    one = {algorithm: ALGORITHMS[algorithm]}
    with patch("aiotls.config.ALGORITHMS", one):
        asking = replace(server, client_auth=ClientAuth.REQUIRED, client_roots=roots)
        showing = replace(client, credentials=issued.credential())
    with patch.object(authentication, "decompress", wraps=decompress) as decompressing:
        complete(showing, asking)
    assert [call.args[0] for call in decompressing.call_args_list] == [algorithm, algorithm]


@pytest.mark.rfc("8879", "4")
def test_certificate_is_compressed_once_for_all_handshakes(client: ClientConfig, issued: IssuedCertificate) -> None:
    config = ServerConfig(credentials=issued.credential())
    with patch.object(authentication, "compress", wraps=compress) as compressing:
        for _ in range(3):
            complete(client, config)
    assert compressing.call_count == 1


def test_certificate_is_not_compressed_where_one_side_does_not_want_it(
    client: ClientConfig, server: ServerConfig
) -> None:
    for plain in (
        (replace(client, certificate_compression=False), server),
        (client, replace(server, certificate_compression=False)),
    ):
        with patch.object(authentication, "decompress", side_effect=AssertionError):
            complete(*plain)


def answered(client: ClientConfig, credential: Credential, compressed: CompressedCertificate) -> TLSError:
    """What becomes of a client whose server sends this in place of its Certificate."""
    connection, peer = ClientConnection(client, "localhost"), ScriptedServer(credential)
    peer.receive_data(bytes(connection.data_to_send()))
    peer.send_server_hello()
    peer.use_handshake_key()
    peer.send_message(peer.encrypted_extensions().encode())
    peer.send_message(compressed.encode())
    connection.receive_data(peer.data_to_send())
    with pytest.raises((CertificateError, IllegalParameter)) as caught:
        connection.next_event()
    return caught.value


@pytest.mark.rfc("8879", "4")
def test_client_refuses_compressed_certificate_that_is_not_what_it_says(
    client: ClientConfig, issued: IssuedCertificate
) -> None:
    credential = issued.credential()
    body = credential.certificate_message[HEADER_LENGTH:]
    zlib = CertificateCompressionAlgorithm.zlib
    good = compress(zlib, body)
    cases: list[tuple[CompressedCertificate, type[TLSError]]] = [
        (CompressedCertificate(zlib, len(body) - 1, good), CertificateError),
        (CompressedCertificate(zlib, len(body) + 1, good), CertificateError),
        (CompressedCertificate(zlib, len(body), good[:-1]), CertificateError),
        (CompressedCertificate(zlib, len(body), good + b"\0"), CertificateError),
        (CompressedCertificate(zlib, 1000, compress(zlib, bytes(1 << 24))), CertificateError),
        (CompressedCertificate(zlib, 1 << 20, compress(zlib, bytes(1 << 20))), CertificateError),
        (CompressedCertificate(0x4000, len(body), good), IllegalParameter),
    ]
    for compressed, kind in cases:
        assert type(answered(client, credential, compressed)) is kind


# --- Stapled responses ------------------------------------------------------------------------------------------------


def stapled(issued: IssuedCertificate, response: bytes) -> ServerConfig:
    """A server that staples this, whatever it is."""
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: response)
    with patch("aiotls.trust.stapling.check_staple") as check:
        check.side_effect = lambda _response, _leaf, _issuer, now: now.replace(year=now.year + 1)
        credential = issued.credential().with_staple(staple)
        leaf, issuer = credential.chain[:2]
        assert staple.current(datetime.now(UTC), leaf, issuer) == response
    return ServerConfig(credentials=credential)


@pytest.mark.rfc("8446", "4.4.2.1")
def test_client_takes_a_good_staple(ca: LocalCA, issued: IssuedCertificate, roots: Roots) -> None:
    insisting = ClientConfig(roots=roots, require_staple=True)
    complete(insisting, stapled(issued, ca.ocsp_response(issued)))


@pytest.mark.rfc("6960", "3.2")
def test_client_refuses_a_staple_that_says_no(ca: LocalCA, issued: IssuedCertificate, client: ClientConfig) -> None:
    other = ca.issue("other.example", intermediate=True)
    for response, kind, expected in (
        (ca.ocsp_response(issued, status="revoked"), CertificateRevoked, AlertDescription.certificate_revoked),
        (
            ca.ocsp_response(issued, status="unknown"),
            BadCertificateStatus,
            AlertDescription.bad_certificate_status_response,
        ),
        (ca.ocsp_response(other), BadCertificateStatus, AlertDescription.bad_certificate_status_response),
        (b"no response", BadCertificateStatus, AlertDescription.bad_certificate_status_response),
    ):
        pipe = shake(client, stapled(issued, response))
        assert type(pipe.first.error) is kind
        assert alert(pipe.second.error) is expected


@pytest.mark.rfc("7633", "4")
def test_client_misses_a_staple_that_was_promised_or_is_required(
    ca: LocalCA, client: ClientConfig, server: ServerConfig
) -> None:
    promising = ca.issue("localhost", intermediate=True, must_staple=True)
    for ours, theirs in (
        (client, ServerConfig(credentials=promising.credential())),
        (replace(client, require_staple=True), server),
    ):
        pipe = shake(ours, theirs)
        assert isinstance(pipe.first.error, BadCertificateStatus)


def test_staple_of_a_chain_of_one_needs_the_issuer(ca: LocalCA, roots: Roots) -> None:
    single = ca.issue("localhost")
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: ca.ocsp_response(single))
    with pytest.raises(LocalError, match="issuer"):
        single.credential().with_staple(staple)
    credential = single.credential().with_staple(staple, issuer=ca.certificate_pem)
    complete(ClientConfig(roots=roots, require_staple=True), ServerConfig(credentials=credential))


# --- Policies ---------------------------------------------------------------------------------------------------------


def test_policies_agree_with_each_other_as_far_as_they_can(ca: LocalCA, roots: Roots) -> None:
    ecdsa = ca.issue("localhost").credential()
    for ours in ("default", "modern", "fips"):
        for theirs in ("default", "modern", "fips"):
            complete(ClientConfig(roots=roots, policy=ours), ServerConfig(credentials=ecdsa, policy=theirs))


def test_policy_fips_is_shortened_and_not_extended(issued: IssuedCertificate) -> None:
    ServerConfig(credentials=issued.credential(), policy="fips", groups=[NamedGroup.secp256r1])
    with pytest.raises(LocalError, match=r"ServerConfig\.groups: .*x25519.* is not supported"):
        ServerConfig(credentials=issued.credential(), policy="fips", groups=[NamedGroup.x25519])
