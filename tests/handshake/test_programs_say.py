"""What a program may say in a handshake: its verifier, its authorisation, its choice of config and of credential."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from aiotls import (
    ClientAuth,
    ClientConfig,
    ClientConnection,
    Credential,
    Negotiated,
    Roots,
    ServerConfig,
    ServerConnection,
)
from aiotls.blocking import Blocking
from aiotls.errors import (
    AccessDenied,
    AlertDescription,
    AlertReceived,
    CallbackError,
    CertificateError,
    CertificateExpired,
    DecryptError,
    TLSError,
    UntrustedCertificate,
)
from aiotls.testing.ca import LocalCA
from aiotls.testing.pipe import Pipe
from aiotls.trust.credentials import CertificateRequestInfo, ClientHelloInfo, PrivateKeySigner
from aiotls.trust.identity import PeerIdentity
from aiotls.trust.loading import Source, load_private_key
from aiotls.wire.registries import SignatureScheme


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def roots(ca: LocalCA) -> Roots:
    return Roots.from_bytes(ca.certificate_pem)


@pytest.fixture(scope="module")
def credential(ca: LocalCA) -> Credential:
    return ca.issue("localhost").credential()


@pytest.fixture(scope="module")
def server(credential: Credential) -> ServerConfig:
    return ServerConfig(credentials=credential)


@pytest.fixture(scope="module")
def client(roots: Roots) -> ClientConfig:
    return ClientConfig(roots=roots)


@pytest.fixture(scope="module")
def mutual(server: ServerConfig, roots: Roots) -> ServerConfig:
    return replace(server, client_auth=ClientAuth.REQUIRED, client_roots=roots)


class Ends:
    """A client and a server, joined, with what each waits for done in place."""

    def __init__(self, client: ClientConfig, server: ServerConfig, name: str | None = "localhost") -> None:
        self.client = ClientConnection(client, name)
        self.server = ServerConnection(server)
        self.pipe = Pipe(self.client, self.server)
        self.pipe.pump()
        while self._answer(self.client) or self._answer(self.server):
            self.pipe.pump()

    @staticmethod
    def _answer(engine: ClientConnection | ServerConnection) -> bool:
        pending = engine.pending
        if pending is None:
            return False

        async def wait() -> object:
            return await pending

        try:
            result = asyncio.run(wait())
        except Exception as error:  # noqa: BLE001 - the engine is to hear of it
            engine.fail(error)
        else:
            engine.resume(result)
        return True

    @property
    def errors(self) -> tuple[TLSError | None, TLSError | None]:
        return self.pipe.first.error, self.pipe.second.error

    @property
    def complete(self) -> bool:
        return self.errors == (None, None) and None not in (self.client.negotiated, self.server.negotiated)


TRUE: object = True


def alert(error: TLSError | None) -> AlertDescription:
    assert isinstance(error, AlertReceived)
    return error.description


def later(value: object) -> Callable[..., Coroutine[Any, Any, object]]:
    async def answer(*_: object) -> object:
        await asyncio.sleep(0)
        return value

    return answer


# --- The program's own verifier ---------------------------------------------------------------------------------------


def test_verifier_is_shown_the_peer_and_the_name(credential: Credential, server: ServerConfig) -> None:
    shown: list[tuple[PeerIdentity, str | None]] = []

    def verifier(peer: PeerIdentity, name: str | None) -> bool:
        shown.append((peer, name))
        return True

    ends = Ends(ClientConfig(verifier=verifier), server)
    assert ends.complete
    ((peer, name),) = shown
    assert (peer.certificates, peer.verified_chain, name) == (credential.chain, (), "localhost")
    assert ends.client.negotiated is not None
    assert ends.client.negotiated.peer == peer


@pytest.mark.parametrize("answer", [False, None, 1, "yes"], ids=repr)
@pytest.mark.parametrize("awaited", [False, True])
def test_verifier_accepts_by_true_alone(server: ServerConfig, answer: object, awaited: bool) -> None:  # noqa: FBT001
    verifier: Any = later(answer) if awaited else lambda _peer, _name: answer
    ends = Ends(ClientConfig(verifier=verifier), server)
    error, told = ends.errors
    assert type(error) is CertificateError
    assert error.subject is not None
    assert alert(told) is AlertDescription.bad_certificate


def test_verifier_says_why_not_by_its_error(server: ServerConfig) -> None:
    def verifier(_peer: PeerIdentity, _name: str | None) -> bool:
        raise CertificateExpired("not today")

    ends = Ends(ClientConfig(verifier=verifier), server)
    assert isinstance(ends.errors[0], CertificateExpired)
    assert alert(ends.errors[1]) is AlertDescription.certificate_expired


def test_verifier_that_fails_ends_the_handshake(server: ServerConfig) -> None:
    def verifier(_peer: PeerIdentity, _name: str | None) -> bool:
        raise KeyError("x")

    ends = Ends(ClientConfig(verifier=verifier), server)
    assert isinstance(ends.errors[0], CallbackError)
    assert alert(ends.errors[1]) is AlertDescription.internal_error


def test_verifier_may_await(server: ServerConfig) -> None:
    verifier: Any = later(TRUE)
    assert Ends(ClientConfig(verifier=verifier), server).complete


def test_verifier_may_do_without_a_name(server: ServerConfig) -> None:
    assert Ends(ClientConfig(verifier=lambda _peer, name: name is None), server, name=None).complete


def test_verifier_of_a_server_is_shown_no_name(server: ServerConfig, client: ClientConfig, ca: LocalCA) -> None:
    shown: list[str | None] = []

    def verifier(_peer: PeerIdentity, name: str | None) -> bool:
        shown.append(name)
        return True

    config = replace(server, client_auth=ClientAuth.REQUIRED, verifier=verifier)
    assert Ends(replace(client, credentials=ca.issue("alice.example").credential()), config).complete
    assert shown == [None]


@pytest.mark.rfc("8446", "4.4.3")
def test_verifier_does_not_replace_the_proof_of_the_key(ca: LocalCA) -> None:
    ours, other = ca.issue("localhost"), ca.issue("localhost")
    signer = PrivateKeySigner(load_private_key(Source("another's", other.key_pem), None))
    impostor = Credential.from_signing_key(ours.chain_pem, signer)
    ends = Ends(ClientConfig(verifier=lambda _peer, _name: True), ServerConfig(credentials=impostor))
    assert isinstance(ends.errors[0], DecryptError)
    assert alert(ends.errors[1]) is AlertDescription.decrypt_error


# --- Verification in a thread -----------------------------------------------------------------------------------------


def test_chain_is_verified_in_a_thread_where_that_is_asked_for(client: ClientConfig, server: ServerConfig) -> None:
    config = replace(client, verify_in_thread=True)
    first, second = ClientConnection(config, "localhost"), ServerConnection(server)
    pipe = Pipe(first, second)
    pipe.pump()
    assert isinstance(first.pending, Blocking)
    first.resume(first.pending.run())
    pipe.pump()
    assert first.negotiated is not None
    assert second.negotiated is not None


def test_chain_that_is_refused_in_a_thread_is_refused(server: ServerConfig) -> None:
    config = ClientConfig(roots=Roots.from_bytes(LocalCA().certificate_pem), verify_in_thread=True)
    ends = Ends(config, server)
    assert isinstance(ends.errors[0], UntrustedCertificate)
    assert alert(ends.errors[1]) is AlertDescription.unknown_ca


# --- Authorisation ----------------------------------------------------------------------------------------------------


def is_alice(tls: Negotiated) -> bool:
    return tls.peer is not None and "alice.example" in tls.peer.dns_names


def test_authorisation_knows_the_client_and_admits_it(mutual: ServerConfig, client: ClientConfig, ca: LocalCA) -> None:
    config = replace(mutual, authorise=is_alice)
    assert Ends(replace(client, credentials=ca.issue("alice.example").credential()), config).complete
    ends = Ends(replace(client, credentials=ca.issue("mallory.example").credential()), config)
    assert isinstance(ends.errors[1], AccessDenied)
    assert alert(ends.errors[0]) is AlertDescription.access_denied
    assert ends.server.negotiated is None


@pytest.mark.parametrize("answer", [False, None, 1], ids=repr)
@pytest.mark.parametrize("awaited", [False, True])
def test_authorisation_admits_by_true_alone(
    server: ServerConfig,
    client: ClientConfig,
    answer: object,
    awaited: bool,  # noqa: FBT001
) -> None:
    asked: Any = later(answer) if awaited else lambda _tls: answer
    for ends, mine, theirs in (
        (Ends(client, replace(server, authorise=asked)), 1, 0),
        (Ends(replace(client, authorise=asked), server), 0, 1),
    ):
        assert isinstance(ends.errors[mine], AccessDenied)
        assert alert(ends.errors[theirs]) is AlertDescription.access_denied


def test_authorisation_may_await(server: ServerConfig, client: ClientConfig) -> None:
    asked: Any = later(TRUE)
    assert Ends(replace(client, authorise=asked), replace(server, authorise=asked)).complete


# --- The config by the ClientHello ------------------------------------------------------------------------------------


def test_config_is_chosen_by_the_server_name(server: ServerConfig, roots: Roots, ca: LocalCA) -> None:
    other = ServerConfig(credentials=ca.issue("other.example").credential(), alpn=("h2",), max_fragment=100)

    def choose(info: ClientHelloInfo) -> ServerConfig | None:
        return other if info.server_name == "other.example" else None

    config = replace(server, select_config=choose)
    client = ClientConfig(roots=roots, alpn=("h2", "http/1.1"))
    ends = Ends(client, config, "other.example")
    assert ends.complete
    assert ends.client.negotiated is not None
    assert ends.client.negotiated.alpn == "h2"
    assert ends.server.config is other
    ends.server.send_data(b"x" * 250)
    ends.pipe.pump()
    assert [len(getattr(event, "data", b"")) for event in ends.pipe.first.events] == [0, 100, 100, 50]
    ends = Ends(client, config, "localhost")
    assert ends.complete
    assert ends.server.config is config


def test_config_may_be_awaited_and_may_ask_for_a_certificate(
    server: ServerConfig, mutual: ServerConfig, client: ClientConfig
) -> None:
    choose: Any = later(mutual)
    ends = Ends(client, replace(server, select_config=choose))
    assert alert(ends.errors[0]) is AlertDescription.certificate_required


def test_config_of_another_kind_ends_the_handshake(server: ServerConfig, client: ClientConfig) -> None:
    choose: Any = lambda _info: client  # noqa: E731 - a wrong one
    ends = Ends(client, replace(server, select_config=choose))
    assert isinstance(ends.errors[1], CallbackError)
    assert alert(ends.errors[0]) is AlertDescription.internal_error


def test_fingerprint_is_the_same_for_the_resolver_and_the_record(server: ServerConfig, client: ClientConfig) -> None:
    seen: list[str] = []
    config = replace(server, fingerprint=True, select_config=lambda info: seen.append(info.ja4))
    ends = Ends(replace(client, alpn=("h2",)), replace(config, alpn=("h2",)))
    assert ends.server.negotiated is not None
    assert [ends.server.negotiated.ja4] == seen
    assert seen[0].startswith("t13d")
    assert ends.server.negotiated.offered_alpn == (b"h2",)


# --- The client's credential ------------------------------------------------------------------------------------------


def test_client_shows_what_its_resolver_chooses_by_the_request(
    mutual: ServerConfig, client: ClientConfig, ca: LocalCA, roots: Roots
) -> None:
    alice, shown = ca.issue("alice.example").credential(), list[CertificateRequestInfo]()

    def choose(info: CertificateRequestInfo) -> Credential:
        shown.append(info)
        return alice

    ends = Ends(replace(client, credentials=choose), mutual)
    assert ends.complete
    assert ends.server.negotiated is not None
    assert ends.server.negotiated.peer is not None
    assert ends.server.negotiated.peer.dns_names == ("alice.example",)
    (info,) = shown
    assert (info.server_name, info.authorities) == ("localhost", roots.subjects)
    assert SignatureScheme.ecdsa_secp256r1_sha256 in info.signature_schemes
    assert SignatureScheme.rsa_pkcs1_sha256 in info.signature_schemes_cert


@pytest.mark.parametrize("answer", [None, "not one"], ids=repr)
def test_client_shows_nothing_or_fails_by_what_its_resolver_returns(
    mutual: ServerConfig, client: ClientConfig, answer: object
) -> None:
    choose: Any = later(answer)
    ends = Ends(replace(client, credentials=choose), mutual)
    if answer is None:
        assert alert(ends.errors[0]) is AlertDescription.certificate_required
    else:
        assert isinstance(ends.errors[0], CallbackError)
        assert alert(ends.errors[1]) is AlertDescription.internal_error


@pytest.mark.rfc("8446", "4.4.2.3")
def test_client_prefers_the_certificate_of_an_authority_that_is_named(
    mutual: ServerConfig, client: ClientConfig, ca: LocalCA
) -> None:
    stranger, ours = (
        LocalCA(common_name="another CA").issue("alice.example").credential(),
        ca.issue("alice.example").credential(),
    )
    ends = Ends(replace(client, credentials=[stranger, ours]), mutual)
    assert ends.complete
    assert ends.client.negotiated is not None
    assert ends.client.negotiated.credential is ours
    unnamed = Ends(replace(client, credentials=[stranger, ours]), replace(mutual, client_authorities=False))
    assert isinstance(unnamed.errors[1], UntrustedCertificate)


@pytest.mark.rfc("8446", "4.4.2.3")
def test_client_whose_key_the_server_does_not_take_shows_no_certificate(
    mutual: ServerConfig, client: ClientConfig, ca: LocalCA
) -> None:
    ed25519 = ca.issue("alice.example", key_type="ed25519").credential()
    only_ecdsa = replace(mutual, signature_schemes=[SignatureScheme.ecdsa_secp256r1_sha256])
    ends = Ends(replace(client, credentials=ed25519), only_ecdsa)
    assert alert(ends.errors[0]) is AlertDescription.certificate_required
    choose: Any = lambda _info: ed25519  # noqa: E731
    assert (
        alert(Ends(replace(client, credentials=choose), only_ecdsa).errors[0]) is AlertDescription.certificate_required
    )


# --- All at once ------------------------------------------------------------------------------------------------------


async def test_hundred_handshakes_wait_for_their_certificate_and_signature_at_the_same_time(
    ca: LocalCA, roots: Roots, credential: Credential
) -> None:
    """No handshake waits for another's: each time all of them have asked before the first is answered."""
    import aiotls

    count = 100
    resolving, signing = asyncio.Barrier(count), asyncio.Barrier(count)

    class Signer:
        def schemes(self) -> tuple[int, ...]:
            return credential.schemes

        async def sign(self, scheme: int, message: bytes) -> bytes:
            await signing.wait()
            signature = credential.signing_key.sign(scheme, message)
            assert isinstance(signature, bytes)
            return signature

    remote = Credential.from_signing_key(list(credential.chain), Signer())

    async def resolve(_info: ClientHelloInfo) -> Credential:
        await resolving.wait()
        return remote

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def connect(port: int) -> str | None:
        reader, writer = await aiotls.open_connection(
            "127.0.0.1", port, ssl=ClientConfig(roots=roots), server_hostname="localhost"
        )
        assert await reader.read() == b""
        writer.close()
        tls: Negotiated = writer.get_extra_info("tls")
        return tls.server_name

    config = ServerConfig(credentials=resolve, tickets=0)
    async with (
        asyncio.timeout(30),
        await aiotls.start_server(close, "127.0.0.1", 0, ssl=config, backlog=count) as server,
    ):
        port = server.sockets[0].getsockname()[1]
        names = await asyncio.gather(*(connect(port) for _ in range(count)))
    assert names == ["localhost"] * count
