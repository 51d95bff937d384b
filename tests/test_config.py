"""ServerConfig: frozen, and obeyed by the handshake; what it refuses is in `test_config_values.py`."""

import os
import time
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, NoReturn

import pytest

from aiotls import Credential, Preference, ServerConfig, ServerConnection
from aiotls.errors import CallbackError, IllegalParameter, MissingExtension, TLSError
from aiotls.events import HandshakeComplete
from aiotls.policy import DEFAULT
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.trust.credentials import ClientHelloInfo
from aiotls.wire.messages import ServerHello
from aiotls.wire.registries import CipherSuite, NamedGroup, SignatureScheme

AES_128 = CipherSuite.TLS_AES_128_GCM_SHA256
CHACHA20 = CipherSuite.TLS_CHACHA20_POLY1305_SHA256
ECDSA = SignatureScheme.ecdsa_secp256r1_sha256
ED25519 = SignatureScheme.ed25519


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def credential(ca: LocalCA) -> Credential:
    return ca.issue("localhost").credential()


@pytest.fixture(scope="module")
def ed25519_credential(ca: LocalCA) -> Credential:
    return ca.issue("localhost", key_type="ed25519").credential()


def handshake(config: ServerConfig, client: ScriptedClient | None = None) -> Pipe:
    """A handshake of *client*'s, as far as it goes."""
    client = client or ScriptedClient()
    pipe = Pipe(client, ServerConnection(config))
    client.send_hello()
    pipe.pump()
    if client.retry_request is not None:
        client.send_hello()
        pipe.pump()
    if client.server_finished:
        client.finish()
        pipe.pump()
    return pipe


def completed(config: ServerConfig, client: ScriptedClient | None = None) -> HandshakeComplete:
    pipe = handshake(config, client)
    assert pipe.second.error is None
    (event,) = pipe.second.events
    assert isinstance(event, HandshakeComplete)
    return event


def failed(config: ServerConfig, client: ScriptedClient | None = None) -> TLSError:
    error = handshake(config, client).second.error
    assert error is not None
    return error


# --- Making one --------------------------------------------------------------------------------------------------


def test_config_needs_no_more_than_credentials(credential: Credential) -> None:
    config = ServerConfig(credentials=credential)
    assert (config.alpn, config.policy, config.key_log) == ((), "default", None)
    assert (config.clock, config.random) == (time.time, os.urandom)
    assert tuple(config.suites) == DEFAULT.cipher_suites
    assert tuple(config.group_rows) == DEFAULT.groups
    assert config.schemes == DEFAULT.signature_schemes


def test_config_takes_keywords_only(credential: Credential) -> None:
    make: Any = ServerConfig
    with pytest.raises(TypeError):
        make(credential)
    with pytest.raises(TypeError):
        make()
    with pytest.raises(TypeError):
        make(credentials=credential, certfile="cert.pem")


def test_config_cannot_be_changed(credential: Credential) -> None:
    config = ServerConfig(credentials=credential)
    for field in fields(config):
        with pytest.raises(FrozenInstanceError):
            setattr(config, field.name, None)


def test_config_computes_anew_when_it_is_replaced(credential: Credential) -> None:
    config = ServerConfig(credentials=credential, alpn=("h2",))
    other = replace(config, alpn=("http/1.1",), groups=(NamedGroup.x25519,))
    assert list(config.protocols) == [b"h2"]
    assert list(other.protocols) == [b"http/1.1"]
    assert list(other.group_rows) == [NamedGroup.x25519]
    assert list(other.suites) == list(config.suites)


def test_config_is_not_changed_by_its_makers_list(credential: Credential) -> None:
    alpn, suites, credentials = ["h2"], [AES_128], [credential]
    config = ServerConfig(credentials=credentials, alpn=alpn, cipher_suites=suites)
    for given in (alpn, suites, credentials):
        given.clear()
    assert (list(config.protocols), list(config.suites)) == ([b"h2"], [AES_128])
    assert config.credential_list == (credential,)
    assert completed(config, ScriptedClient(application_layer_protocol_negotiation=(b"h2",))).negotiated.alpn == "h2"


def test_repr_shows_no_derived_values(credential: Credential) -> None:
    shown = repr(ServerConfig(credentials=credential))
    for name in ("suites=", "group_rows", "credential_list", "encrypted_extensions"):
        assert f" {name}" not in shown


def test_configs_of_the_same_values_are_equal(credential: Credential) -> None:
    assert ServerConfig(credentials=credential) == ServerConfig(credentials=credential)
    assert ServerConfig(credentials=credential) != ServerConfig(credentials=credential, alpn=("h2",))


def test_lists_keep_the_order_that_they_are_given_in(credential: Credential) -> None:
    config = ServerConfig(
        credentials=credential,
        cipher_suites=(CHACHA20, AES_128),
        groups=(NamedGroup.secp384r1, NamedGroup.x25519),
        alpn=("http/1.1", "h2"),
    )
    assert list(config.suites) == [CHACHA20, AES_128]
    assert list(config.group_rows) == [NamedGroup.secp384r1, NamedGroup.x25519]
    assert list(config.protocols) == [b"http/1.1", b"h2"]


def test_lists_may_replace_those_of_a_policy_object(credential: Credential) -> None:
    policy = replace(DEFAULT, name="mine", groups=(NamedGroup.secp256r1,))
    config = ServerConfig(credentials=credential, policy=policy, cipher_suites=(CHACHA20,))
    assert list(config.group_rows) == [NamedGroup.secp256r1]
    assert list(config.suites) == [CHACHA20]


def test_resolver_and_list_of_credentials_are_told_apart(credential: Credential) -> None:
    def resolver(info: ClientHelloInfo) -> Credential:
        return credential

    assert (ServerConfig(credentials=resolver).resolve, ServerConfig(credentials=resolver).credential_list) == (
        resolver,
        (),
    )
    for given in (credential, [credential], (credential, credential)):
        config = ServerConfig(credentials=given)
        assert config.resolve is None
        assert set(config.credential_list) == {credential}


# --- What a handshake makes of it --------------------------------------------------------------------------------


def test_handshake_takes_the_servers_list(credential: Credential) -> None:
    config = ServerConfig(credentials=credential, cipher_suites=(CHACHA20,), groups=(NamedGroup.secp384r1,))
    negotiated = completed(config).negotiated
    assert (negotiated.cipher_suite, negotiated.group, negotiated.retried) == (CHACHA20, NamedGroup.secp384r1, True)


@pytest.mark.parametrize("preference", Preference)
def test_handshake_obeys_preference_of_cipher_suites(credential: Credential, preference: Preference) -> None:
    config = ServerConfig(credentials=credential, cipher_suite_preference=preference)
    client = ScriptedClient(cipher_suites=(CHACHA20, AES_128))
    expected = AES_128 if preference is Preference.SERVER else CHACHA20
    assert completed(config, client).negotiated.cipher_suite is expected


@pytest.mark.rfc("8446", "4.4.2.2")
def test_signature_schemes_decide_between_credentials(credential: Credential, ed25519_credential: Credential) -> None:
    config = ServerConfig(credentials=[credential, ed25519_credential], signature_schemes=(ED25519,))
    negotiated = completed(config).negotiated
    assert negotiated.signature_scheme is ED25519
    assert negotiated.credential is ed25519_credential


@pytest.mark.rfc("8446", "4.4.2.2")
def test_client_decides_between_credentials(credential: Credential, ed25519_credential: Credential) -> None:
    config = ServerConfig(credentials=[credential, ed25519_credential])
    client = ScriptedClient(signature_algorithms=(ED25519,))
    assert completed(config, client).negotiated.credential is ed25519_credential
    assert completed(config).negotiated.credential is credential


@pytest.mark.rfc("6066", "3")
def test_server_name_can_be_required(credential: Credential) -> None:
    config = ServerConfig(credentials=credential, require_server_name=True)
    assert isinstance(failed(config, ScriptedClient(server_name=None)), MissingExtension)
    assert completed(config).negotiated.server_name == "localhost"
    nameless = completed(replace(config, require_server_name=False), ScriptedClient(server_name=None))
    assert nameless.negotiated.server_name is None


def test_message_longer_than_the_limit_is_refused(credential: Credential) -> None:
    config = ServerConfig(credentials=credential, max_handshake_message_size=4096)
    names = tuple(bytes([number]) * 200 for number in range(20))
    error = failed(config, ScriptedClient(application_layer_protocol_negotiation=names))
    assert isinstance(error, IllegalParameter)
    assert "4096 are allowed" in str(error)
    roomier = replace(config, max_handshake_message_size=8192)
    completed(roomier, ScriptedClient(application_layer_protocol_negotiation=names))


def test_resolver_is_shown_the_clients_hello(credential: Credential) -> None:
    shown: list[ClientHelloInfo] = []

    def resolver(info: ClientHelloInfo) -> Credential:
        shown.append(info)
        return credential

    client = ScriptedClient(application_layer_protocol_negotiation=(b"h2",), server_name="www.example.test")
    config = ServerConfig(credentials=resolver)
    completed(config, client)
    (info,) = shown
    hello = client.hello()
    assert (info.server_name, info.alpn) == ("www.example.test", (b"h2",))
    assert (info.cipher_suites, info.groups) == (hello.cipher_suites, hello.supported_groups)
    offered = hello.signature_algorithms or ()
    assert info.signature_schemes == tuple(scheme for scheme in offered if scheme in config.schemes)


def test_handshake_is_deterministic_up_to_its_keys(credential: Credential) -> None:
    asked: list[int] = []

    def numbers(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    client = ScriptedClient()
    completed(ServerConfig(credentials=credential, random=numbers, tickets=0), client)
    hello = client.server_messages[0]
    assert isinstance(hello, ServerHello)
    assert hello.random == bytes(range(32))
    assert asked == [32]


def test_key_log_that_fails_ends_the_handshake(credential: Credential) -> None:
    def full(label: str, client_random: bytes, secret: bytes) -> NoReturn:
        raise OSError("no space left on device")

    error = failed(ServerConfig(credentials=credential, key_log=full))
    assert isinstance(error, CallbackError)
    assert isinstance(error.__cause__, OSError)


def test_one_config_serves_many_connections(credential: Credential) -> None:
    config = ServerConfig(credentials=credential)
    pipes = [(ScriptedClient(), ServerConnection(config)) for _ in range(3)]
    for client, server in pipes:
        client.send_hello()
        server.receive_data(client.data_to_send())
    for client, server in pipes:
        client.receive_data(bytes(server.data_to_send()))
        client.finish()
        server.receive_data(client.data_to_send())
        assert isinstance(server.next_event(), HandshakeComplete)
