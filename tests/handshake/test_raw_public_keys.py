"""Raw public keys (RFC 7250): each end by its own, which type is agreed on, and what is refused.

Against GnuTLS they are tested in tests/interop/test_gnutls.py.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from aiotls import ClientAuth, ClientConfig, ClientConnection, Credential, ServerConfig, ServerConnection
from aiotls.errors import (
    AlertDescription,
    CertificateError,
    DecodeError,
    DecryptError,
    IllegalParameter,
    LocalError,
    TLSError,
    UnsupportedCertificate,
    UnsupportedExtension,
    UntrustedCertificate,
)
from aiotls.testing.ca import KeyType
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.testing.server_peer import Alert, ScriptedServer
from aiotls.trust.identity import PeerIdentity
from aiotls.wire.messages import EncryptedExtensions
from aiotls.wire.registries import CertificateType, ExtensionType, NamedGroup
from tests.handshake.joined import (
    CLIENT_NAME,
    NAME,
    Joined,
    client_config,
    credential,
    issued,
    join,
    roots,
    server_config,
)

X509, RAW, OPENPGP = int(CertificateType.x509), int(CertificateType.raw_public_key), 1
BAD = AlertDescription.bad_certificate
ILLEGAL = AlertDescription.illegal_parameter


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw-public-keys")


class Raw:
    """Credentials without a certificate, of the keys that have certificates elsewhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, KeyType], Credential] = {}

    def __call__(self, name: str = NAME, key_type: KeyType = "ecdsa-p256") -> Credential:
        if (name, key_type) not in self._made:
            self._made[name, key_type] = self.of(issued(name, key_type).key_pem)
        return self._made[name, key_type]

    def of(self, key_pem: bytes) -> Credential:
        keyfile = self._folder / "key.pem"
        keyfile.write_bytes(key_pem)
        return Credential.from_raw_public_key(keyfile)


@pytest.fixture(scope="session")
def raw(folder: Path) -> Raw:
    return Raw(folder)


def knowing(key: Credential, **options: object) -> ClientConfig:
    """A client that knows the server by its key."""
    return client_config(trusted_public_keys=key.chain, **options)


def asking(*trusted: bytes, **options: object) -> ServerConfig:
    """A server that wants to know its clients: by their keys, if any are *trusted*."""
    return server_config(client_auth=ClientAuth.REQUIRED, trusted_public_keys=trusted, **options)


# --- Each end by its own ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("7250", "4")
@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "ed25519"])
def test_server_alone_proves_itself_by_its_key(raw: Raw, key_type: KeyType) -> None:
    key = raw(NAME, key_type)
    seen_by_client, seen_by_server = join(knowing(key), server_config(credentials=key), None).completed()
    assert seen_by_client.peer is not None
    assert (seen_by_client.peer.raw_public_key, seen_by_client.peer.certificates) == (True, key.chain)
    assert (seen_by_client.peer.subject, seen_by_client.peer.not_after) == ("", None)
    assert (seen_by_server.peer, seen_by_server.credential) == (None, key)


@pytest.mark.rfc("7250", "4")
@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
def test_client_alone_proves_itself_by_its_key(raw: Raw, key_type: KeyType) -> None:
    key = raw(CLIENT_NAME, key_type)
    seen_by_client, seen_by_server = join(client_config(credentials=key), asking(*key.chain)).completed()
    assert seen_by_client.peer is not None
    assert not seen_by_client.peer.raw_public_key
    assert seen_by_server.peer is not None
    assert (seen_by_server.peer.raw_public_key, seen_by_server.peer.certificates) == (True, key.chain)


@pytest.mark.rfc("7250", "4")
def test_raw_public_keys_survive_a_retry(raw: Raw) -> None:
    ours, theirs = raw(CLIENT_NAME), raw()
    server = asking(*ours.chain, credentials=theirs, groups=(NamedGroup.secp256r1,))
    client = knowing(theirs, credentials=ours, key_shares=(NamedGroup.x25519,))
    assert all(negotiated.retried for negotiated in join(client, server, None).completed())


@pytest.mark.rfc("7250", "4")
def test_connection_that_was_proved_by_a_raw_public_key_verifies_no_name(raw: Raw) -> None:
    """§6: whose the key is, the program knows from elsewhere; it is said to the server all the same."""
    _, seen = join(knowing(raw()), server_config(credentials=raw()), "whatever.example").completed()
    assert seen.server_name == "whatever.example"


# --- Which type is agreed on ------------------------------------------------------------------------------------------


def offered(config: ClientConfig) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The types of the server's certificate and of the client's that a ClientHello offers."""
    server, client = ScriptedServer(credential()), ClientConnection(config, NAME)
    Pipe(server, client).pump()
    hello = server.client_hello
    return hello.server_certificate_type, hello.client_certificate_type


@pytest.mark.rfc("7250", "4.1")
def test_client_offers_what_it_can_verify_and_show_and_nothing_if_that_is_certificates(raw: Raw) -> None:
    keys = raw().chain
    certificate, key = credential(CLIENT_NAME), raw(CLIENT_NAME)
    assert offered(client_config(credentials=certificate)) == (None, None)
    assert offered(client_config(trusted_public_keys=keys)) == ((RAW,), None)
    assert offered(client_config(trusted_public_keys=keys, roots=roots())) == ((RAW, X509), None)
    assert offered(client_config(trusted_public_keys=keys, verifier=lambda *_: True)) == ((RAW, X509), None)
    assert offered(client_config(credentials=key)) == (None, (RAW,))
    assert offered(client_config(credentials=[certificate, key])) == (None, (X509, RAW))
    assert offered(client_config(credentials=[key, certificate])) == (None, (RAW, X509))


def answered(config: ServerConfig, **extensions: Any) -> tuple[int | None, int | None]:
    """The types of the server's certificate and of the client's that EncryptedExtensions name."""
    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), **extensions).encode())
    pipe.pump()
    assert pipe.second.error is None
    (message,) = [message for message in client.server_messages if isinstance(message, EncryptedExtensions)]
    return message.server_certificate_type, message.client_certificate_type


@pytest.mark.rfc("7250", "4.2")
def test_server_answers_the_first_type_of_its_own_certificate_that_the_client_takes() -> None:
    config = server_config()
    assert answered(config) == (None, None)
    assert answered(config, server_certificate_type=(RAW, X509)) == (X509, None)
    assert answered(config, server_certificate_type=(OPENPGP, 224, X509)) == (X509, None)


@pytest.mark.rfc("7250", "4.2")
def test_server_answers_the_first_type_of_the_clients_that_it_can_verify(raw: Raw) -> None:
    key = raw(CLIENT_NAME).chain[0]
    both = asking(key, client_roots=roots())
    assert answered(both, client_certificate_type=(RAW, X509)) == (None, RAW)
    assert answered(both, client_certificate_type=(X509, RAW)) == (None, X509)
    assert answered(both, client_certificate_type=(OPENPGP, 224, RAW)) == (None, RAW)
    assert answered(asking(key), client_certificate_type=(X509, RAW)) == (None, RAW)
    assert answered(asking(client_roots=roots()), client_certificate_type=(RAW, X509)) == (None, X509)
    assert answered(asking(verifier=lambda *_: True), client_certificate_type=(RAW, X509)) == (None, RAW)


@pytest.mark.rfc("7250", "4.2")
def test_server_that_asks_for_no_certificate_answers_no_type_of_it() -> None:
    """Even if it could verify none of them."""
    assert answered(server_config(), client_certificate_type=(RAW,)) == (None, None)
    assert answered(server_config(), client_certificate_type=(OPENPGP,)) == (None, None)


@pytest.mark.rfc("7250", "4.2")
@pytest.mark.parametrize("types", [(RAW,), (OPENPGP,), (224, RAW)], ids=str)
def test_server_refuses_client_that_takes_no_type_of_its_certificate(types: tuple[int, ...]) -> None:
    client, server = ScriptedClient(), ServerConnection(server_config())
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), server_certificate_type=types).encode())
    pipe.pump()
    assert type(pipe.second.error) is UnsupportedCertificate
    assert client.alerts == [Alert(2, AlertDescription.unsupported_certificate, protected=False)]


@pytest.mark.rfc("7250", "4.2")
def test_client_shows_the_credential_of_the_type_that_was_agreed_on(raw: Raw) -> None:
    certificate, key = credential(CLIENT_NAME), raw(CLIENT_NAME)
    for credentials in ([certificate, key], [key, certificate]):
        client = client_config(credentials=credentials)
        assert join(client, asking(*key.chain)).completed()[0].credential is key
        assert join(client, asking(client_roots=roots())).completed()[0].credential is certificate
        both = asking(*key.chain, client_roots=roots())
        assert join(client, both).completed()[0].credential is credentials[0]


@pytest.mark.rfc("7250", "4.2")
def test_client_whose_resolver_gives_another_type_than_was_agreed_on_does_not_show_it(raw: Raw) -> None:
    """Where nothing was agreed on it is a certificate; the mistake is the program's, and it is to hear of it."""
    client = client_config(credentials=lambda _: raw(CLIENT_NAME))
    joined = Joined(client, asking(raw(CLIENT_NAME).chain[0], client_roots=roots()))
    assert isinstance(joined.errors[0], LocalError), joined.errors[0]


@pytest.mark.rfc("7250", "4.2")
def test_server_whose_resolver_gives_a_type_that_the_client_does_not_take_does_not_show_it(raw: Raw) -> None:
    joined = Joined(client_config(), server_config(credentials=lambda _: raw()))
    joined.refused_by_server(UnsupportedCertificate, AlertDescription.unsupported_certificate)


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7250", "6")
@pytest.mark.parametrize("client_auth", [ClientAuth.REQUIRED, ClientAuth.OPTIONAL])
def test_server_refuses_raw_public_key_that_it_does_not_know(raw: Raw, client_auth: ClientAuth) -> None:
    config = replace(asking(*raw().chain), client_auth=client_auth)
    joined = Joined(client_config(credentials=raw(CLIENT_NAME)), config)
    joined.refused_by_server(UntrustedCertificate, AlertDescription.unknown_ca)


@pytest.mark.rfc("7250", "6")
def test_raw_public_key_that_is_not_known_is_put_to_the_verifier(raw: Raw) -> None:
    shown: list[tuple[PeerIdentity, str | None]] = []

    def verifier(peer: PeerIdentity, name: str | None) -> bool:
        shown.append((peer, name))
        return peer.certificates == raw(CLIENT_NAME).chain

    client = client_config(credentials=raw(CLIENT_NAME))
    join(client, asking(verifier=verifier))
    ((peer, name),) = shown
    assert (peer.raw_public_key, name) == (True, None)
    joined = Joined(client_config(credentials=raw("mallory.example")), asking(verifier=verifier))
    joined.refused_by_server(CertificateError, BAD)
    known = asking(*raw("mallory.example").chain, verifier=verifier)
    join(client_config(credentials=raw("mallory.example")), known)
    assert len(shown) == 2  # nobody asks about a key that is known


def server_at_certificate(config: ClientConfig, key: Credential, *, agreed: int | None) -> tuple[ScriptedServer, Pipe]:
    """A scripted server that is to show its certificate, of the type *agreed* on."""
    server = ScriptedServer(key)
    pipe = Pipe(server, ClientConnection(config, NAME))
    pipe.pump()
    server.send_server_hello()
    extensions = server.encrypted_extensions()
    if agreed is not None:
        extensions = server.encrypted_extensions(server_certificate_type=agreed)
    server.send(extensions)
    pipe.pump()
    return server, pipe


def assert_refused(server: ScriptedServer, pipe: Pipe, kind: type[TLSError], alert: AlertDescription) -> None:
    pipe.pump()
    assert type(pipe.second.error) is kind, repr(pipe.second.error)
    assert server.alerts == [Alert(2, alert, protected=True)]


@pytest.mark.rfc("7250", "4.2")
@pytest.mark.parametrize("chosen", [X509, OPENPGP, 255])
def test_client_refuses_type_that_it_did_not_offer(raw: Raw, chosen: int) -> None:
    refused = server_at_certificate(knowing(raw()), credential(), agreed=chosen)
    assert_refused(*refused, IllegalParameter, ILLEGAL)


@pytest.mark.rfc("7250", "4.2")
def test_client_refuses_type_where_it_offered_none() -> None:
    refused = server_at_certificate(client_config(), credential(), agreed=X509)
    assert_refused(*refused, UnsupportedExtension, AlertDescription.unsupported_extension)


@pytest.mark.rfc("7250", "4.2")
def test_client_refuses_certificate_where_it_takes_raw_public_keys_alone_and_the_server_is_silent(raw: Raw) -> None:
    """A server that does not know the extension shows a certificate, which nothing here can verify."""
    server, pipe = server_at_certificate(knowing(raw()), credential(), agreed=None)
    server.send(server.certificate())
    assert_refused(server, pipe, UntrustedCertificate, AlertDescription.unknown_ca)


@cache
def weak() -> bytes:
    """The SubjectPublicKeyInfo of an RSA key that is too short."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it is to be refused
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def of_another_curve() -> bytes:
    """The SubjectPublicKeyInfo of a key that TLS 1.3 has no signature scheme for."""
    key = ec.generate_private_key(ec.SECP256K1())
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.rfc("7250", "3")
def test_client_refuses_raw_public_key_that_is_none_and_one_that_is_not_alone(raw: Raw) -> None:
    key = raw().chain[0]
    cases: list[tuple[list[bytes], type[TLSError], AlertDescription]] = [
        ([key, key], DecodeError, AlertDescription.decode_error),
        ([key, credential().chain[0]], DecodeError, AlertDescription.decode_error),
        ([credential().chain[0]], CertificateError, BAD),
        ([key[:-1]], CertificateError, BAD),
        ([key + b"\0"], CertificateError, BAD),
        ([b"key"], CertificateError, BAD),
        ([weak()], UnsupportedCertificate, AlertDescription.unsupported_certificate),
        ([of_another_curve()], UnsupportedCertificate, AlertDescription.unsupported_certificate),
        ([raw(CLIENT_NAME).chain[0]], UntrustedCertificate, AlertDescription.unknown_ca),
    ]
    for chain, kind, alert in cases:
        # Trust does not make good what is malformed or weak.
        trusted = [key, chain[0]] if issubclass(kind, UnsupportedCertificate) else [key]
        server, pipe = server_at_certificate(client_config(trusted_public_keys=trusted), raw(), agreed=RAW)
        server.send(server.certificate(chain))
        assert_refused(server, pipe, kind, alert)


@pytest.mark.rfc("7250", "4.2")
def test_client_refuses_raw_public_key_where_certificates_were_agreed_on(raw: Raw) -> None:
    both = client_config(trusted_public_keys=raw().chain, roots=roots())
    for agreed in (X509, None):
        server, pipe = server_at_certificate(both, raw(), agreed=agreed)
        server.send(server.certificate())
        assert_refused(server, pipe, CertificateError, BAD)


@pytest.mark.rfc("8446", "4.4.3")
def test_peer_with_a_key_that_is_known_and_not_its_own_is_refused(raw: Raw) -> None:
    """Who sends a public key proves nothing by that."""
    known, own = raw(), raw("mallory.example")
    stolen = replace(known, signing_key=own.signing_key)
    joined = Joined(knowing(known), server_config(credentials=stolen), None)
    joined.refused_by_client(DecryptError, AlertDescription.decrypt_error)
    joined = Joined(client_config(credentials=stolen), asking(*known.chain))
    joined.refused_by_server(DecryptError, AlertDescription.decrypt_error)


@pytest.mark.rfc("7250", "4")
def test_hello_of_a_client_with_raw_public_keys_asks_for_no_staple(raw: Raw) -> None:
    server = ScriptedServer(credential())
    Pipe(server, ClientConnection(knowing(raw()), NAME)).pump()
    assert ExtensionType.status_request not in server.client_hello.extensions


def test_raw_public_key_of_a_key_that_is_too_weak_is_no_credential(raw: Raw) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it is to be refused
    with pytest.raises(CertificateError, match="1024"):
        raw.of(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
