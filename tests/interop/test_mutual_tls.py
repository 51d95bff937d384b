"""Both sides prove who they are: our client to real servers, real clients to our server (RFC 8446 §4.3.2, §4.4.2)."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import aiotls
from aiotls.errors import AccessDenied, AlertDescription, AlertReceived, CertificateRequired, UntrustedCertificate
from aiotls.testing.ca import KeyType
from aiotls.trust.identity import PeerIdentity
from tests.interop.caller import Call, call, trusting
from tests.interop.conftest import Serve
from tests.interop.endpoint import ANSWER_HEAD, Endpoint, Seen
from tests.interop.identities import CLIENT_NAME, Identities, Identity
from tests.interop.peers import Peer, Result, each_peer, openssl_arguments, run
from tests.interop.servers import ClientAuthMode, Options, PeerServer, each_server, openssl

LINES = b"hello\nwho am I?\n"


# Our client


@pytest.fixture
def admitting(identities: Identities, tmp_path: Path) -> Any:
    """The options of a server that asks for certificates of the authority that has issued its own."""
    identity = identities.server()

    def options(client_auth: ClientAuthMode, **more: Any) -> Options:
        return Options(
            identity=identity,
            directory=tmp_path,
            client_auth=client_auth,
            client_authority=identity.authority,
            **more,
        )

    return options


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("client_auth", ["required", "optional"])
@pytest.mark.parametrize("intermediate", [False, True], ids=["root", "intermediate"])
@each_server
async def test_client_proves_who_it_is(
    server: PeerServer, client_auth: ClientAuthMode, *, intermediate: bool, identities: Identities, admitting: Any
) -> None:
    client = identities.client(intermediate=intermediate)
    config = trusting(identities.server(), credentials=client.credential)
    async with server.start(admitting(client_auth)) as running:
        async with call(running, config) as ours:
            assert await server.echo(ours.reader, ours.writer, LINES) == LINES
            await ours.hang_up(first=not server.closes_first)
        await running.see(server.met.format(CLIENT_NAME.replace(".", r"\.")))


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.peer("openssl")
@pytest.mark.parametrize("key_type", ["rsa-2048", "ecdsa-p384", "ed25519"])
async def test_client_signs_with_key_type(key_type: KeyType, identities: Identities, admitting: Any) -> None:
    config = trusting(identities.server(), credentials=identities.client(key_type).credential)
    async with openssl(admitting("required")) as running, call(running, config) as ours:
        await running.see("^Peer certificate: .*CN ?= ?" + CLIENT_NAME)
        await ours.hang_up()


@pytest.mark.rfc("8446", "4.4.2")
@each_server
async def test_client_without_certificate_goes_on_where_it_is_optional(
    server: PeerServer, identities: Identities, admitting: Any
) -> None:
    async with server.start(admitting("optional")) as running:
        async with call(running, trusting(identities.server())) as ours:
            assert await server.echo(ours.reader, ours.writer, LINES) == LINES
            await ours.hang_up(first=not server.closes_first)
        await running.see(server.stranger)
        assert CLIENT_NAME.encode() not in running.output


@pytest.mark.rfc("8446", "4.4.2.4")
@each_server
async def test_client_without_certificate_is_refused_where_it_is_required(
    server: PeerServer, identities: Identities, admitting: Any
) -> None:
    async with (
        server.start(admitting("required")) as running,
        call(running, trusting(identities.server())) as ours,
    ):
        await refused(server, ours, AlertDescription.certificate_required)


@pytest.mark.rfc("8446", "4.4.2.4")
@each_server
async def test_client_with_certificate_of_unknown_authority_is_refused(
    server: PeerServer, identities: Identities, admitting: Any
) -> None:
    config = trusting(identities.server(), credentials=identities.stranger.credential)
    async with server.start(admitting("required")) as running, call(running, config) as ours:
        await refused(server, ours, server.distrust)


async def refused(server: PeerServer, ours: Call, alert: AlertDescription | None) -> None:
    """For the client the handshake is over before the server has seen its certificate; it learns by reading."""
    if server.refuses_by == "http":
        ours.writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await ours.reader.read()).startswith(b"HTTP/1.1 400 ")
    elif server.refuses_by == "alert" and alert is not None:
        with pytest.raises(AlertReceived) as caught:
            await ours.reader.read()
        assert caught.value.description is alert
    else:
        with pytest.raises((aiotls.TruncationError, ConnectionError)):
            await ours.reader.read()


@pytest.mark.rfc("8446", "4.2.4")
@pytest.mark.peer("openssl")
async def test_client_shows_the_certificate_of_an_authority_that_the_server_names(
    identities: Identities, admitting: Any
) -> None:
    credentials = [identities.foreigner.credential, identities.client().credential]
    config = trusting(identities.server(), credentials=credentials)
    async with openssl(admitting("required")) as running, call(running, config) as ours:
        await running.see("^Verification: OK$")
        await ours.hang_up()


@pytest.mark.peer("openssl")
async def test_client_shows_nothing_to_server_that_asks_for_nothing(identities: Identities, admitting: Any) -> None:
    config = trusting(identities.server(), credentials=identities.client().credential)
    async with openssl(admitting("off")) as running, call(running, config) as ours:
        await running.see("^No peer certificate")
        await ours.hang_up()


# Our server


@pytest.fixture
def admit(serve: Serve, identities: Identities) -> Any:
    """Starts our server, which asks for certificates, and tells the peers what to show."""
    roots = aiotls.Roots.from_file(identities.server().authority)

    async def start(client_auth: aiotls.ClientAuth, client: Identity | None, **options: Any) -> Endpoint:
        endpoint = await serve(client_auth=client_auth, client_roots=roots, **options)
        endpoint.client = client
        return endpoint

    return start


def assert_is(peer: PeerIdentity | None, client: Identity) -> None:
    """What the application reads of the client is what its certificate says."""
    assert peer is not None
    chain = x509.load_pem_x509_certificates(client.certfile.read_bytes())
    root = x509.load_pem_x509_certificate(client.authority.read_bytes())
    spki = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert peer.verified_chain == tuple(certificate.public_bytes(Encoding.DER) for certificate in (*chain, root))
    assert peer.certificates == tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)
    assert peer.dns_names == (CLIENT_NAME,)
    assert peer.subject == chain[0].subject.rfc4514_string()
    assert peer.spki_sha256 == hashlib.sha256(spki).digest()
    assert peer.not_after == chain[0].not_valid_after_utc


@pytest.mark.rfc("8446", "4.3.2")
@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize("client_auth", [aiotls.ClientAuth.REQUIRED, aiotls.ClientAuth.OPTIONAL])
@pytest.mark.parametrize("intermediate", [False, True], ids=["root", "intermediate"])
@each_peer
async def test_server_knows_the_client(
    peer: Peer, client_auth: aiotls.ClientAuth, *, intermediate: bool, identities: Identities, admit: Any
) -> None:
    client = identities.client(intermediate=intermediate)
    endpoint = await admit(client_auth, client)
    result = await peer.talk(endpoint, b"hello")
    assert result.succeeded, result.trace
    assert result.output == ANSWER_HEAD
    assert_is((await endpoint.connection()).negotiated.peer, client)


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.peer("openssl")
@pytest.mark.parametrize("key_type", ["rsa-2048", "ecdsa-p384", "ecdsa-p521", "ed25519"])
async def test_server_knows_the_client_by_key_type(key_type: KeyType, identities: Identities, admit: Any) -> None:
    client = identities.client(key_type)
    endpoint = await admit(aiotls.ClientAuth.REQUIRED, client)
    seen = await ask(endpoint)
    assert_is(seen.negotiated.peer, client)


async def ask(endpoint: Endpoint, *options: str) -> Seen:
    result = await run(*openssl_arguments(endpoint), "-quiet", *options, stdin=endpoint.request(b""))
    assert result.succeeded, result.trace
    return await endpoint.connection()


@pytest.mark.rfc("8446", "4.4.2.4")
@each_peer
async def test_server_goes_on_without_certificate_where_it_is_optional(peer: Peer, admit: Any) -> None:
    endpoint = await admit(aiotls.ClientAuth.OPTIONAL, None)
    result = await peer.talk(endpoint, b"hello")
    assert result.succeeded, result.trace
    assert result.output == ANSWER_HEAD
    assert (await endpoint.connection()).negotiated.peer is None


@pytest.mark.rfc("8446", "4.4.2.4")
@each_peer
async def test_server_refuses_client_without_certificate_where_it_is_required(peer: Peer, admit: Any) -> None:
    endpoint = await admit(aiotls.ClientAuth.REQUIRED, None)
    result = await peer.talk(endpoint, b"hello")
    assert not result.succeeded
    assert result.output == b""
    assert isinstance(await endpoint.end(), CertificateRequired)
    assert told(peer, result, AlertDescription.certificate_required)


@pytest.mark.rfc("8446", "4.4.2.4")
@pytest.mark.parametrize("client_auth", [aiotls.ClientAuth.REQUIRED, aiotls.ClientAuth.OPTIONAL])
@each_peer
async def test_server_refuses_client_of_unknown_authority(
    peer: Peer, client_auth: aiotls.ClientAuth, identities: Identities, admit: Any
) -> None:
    endpoint = await admit(client_auth, identities.stranger)
    result = await peer.talk(endpoint, b"hello")
    assert not result.succeeded
    assert isinstance(await endpoint.end(), UntrustedCertificate)
    assert told(peer, result, AlertDescription.unknown_ca)


def told(peer: Peer, result: Result, alert: AlertDescription) -> bool:
    """Whether the peer tells that it was sent this alert, in one of the spellings of OpenSSL's errors."""
    words = alert.name.replace("_", " ") if peer.names_alerts else "a tls fatal alert has been received"
    return words in result.trace.lower().replace("_", " ")


@pytest.mark.rfc("8446", "4.3.2")
@pytest.mark.peer("openssl")
async def test_server_names_the_authorities_that_it_trusts(identities: Identities, admit: Any) -> None:
    endpoint = await admit(aiotls.ClientAuth.OPTIONAL, identities.client())
    result = await run(*openssl_arguments(endpoint), "-ign_eof", stdin=endpoint.request(b""))
    assert result.succeeded, result.trace
    assert b"Acceptable client certificate CA names\nCN = aiotls local CA\n" in result.output
    await endpoint.connection()


@pytest.mark.rfc("8446", "4.3.2")
@pytest.mark.peer("openssl")
async def test_server_that_asks_for_nothing_gets_nothing(identities: Identities, serve: Serve) -> None:
    endpoint = await serve()
    endpoint.client = identities.client()
    assert (await ask(endpoint)).negotiated.peer is None


@pytest.mark.rfc("8446", "4.6.1")
@pytest.mark.peer("openssl")
async def test_server_that_asks_for_certificates_gives_no_tickets(
    identities: Identities, admit: Any, tmp_path: Path
) -> None:
    """A resumed client would show no certificate, and a ticket does not remember the one it has shown."""
    endpoint = await admit(aiotls.ClientAuth.OPTIONAL, identities.client())
    session = tmp_path / "session.pem"
    await ask(endpoint, "-sess_out", str(session))
    assert not session.exists()


# Authorisation


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.peer("openssl")
async def test_server_denies_access_to_client_that_the_application_refuses(identities: Identities, admit: Any) -> None:
    asked: list[PeerIdentity | None] = []

    def authorise(negotiated: aiotls.Negotiated) -> bool:
        asked.append(negotiated.peer)
        return False

    endpoint = await admit(aiotls.ClientAuth.REQUIRED, identities.client(), authorise=authorise)
    result = await run(*openssl_arguments(endpoint), "-quiet", stdin=endpoint.request(b""))
    assert not result.succeeded
    assert isinstance(await endpoint.end(), AccessDenied)
    assert "alert access denied" in result.trace
    (peer,) = asked
    assert_is(peer, identities.client())


@pytest.mark.peer("openssl")
async def test_server_admits_client_once_the_application_has_awaited_its_verdict(
    identities: Identities, admit: Any
) -> None:
    async def authorise(negotiated: aiotls.Negotiated) -> bool:
        await asyncio.sleep(0)
        return negotiated.peer is not None and CLIENT_NAME in negotiated.peer.dns_names

    endpoint = await admit(aiotls.ClientAuth.REQUIRED, identities.client(), authorise=authorise)
    assert_is((await ask(endpoint)).negotiated.peer, identities.client())
