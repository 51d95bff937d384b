"""The cookie of a HelloRetryRequest comes back in the second ClientHello, as far as one can hold it."""

import pytest

from aiotls import ClientConfig, ClientConnection
from aiotls.errors import PeerMisbehaved
from aiotls.record.framing import RECORD_HEADER, frame_plaintext
from aiotls.wire.messages import ClientHello, ServerHello
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    CipherSuite,
    ContentType,
    ExtensionType,
    NamedGroup,
    ProtocolVersion,
)

LARGEST_BLOCK = 0xFFFF
OVERHEAD = 2 + 2 + 2
"""Bytes of type, length and the cookie's own length."""


@pytest.fixture(scope="module")
def config() -> ClientConfig:
    return ClientConfig(verifier=lambda peer, name: True, groups=(NamedGroup.x25519,))


def messages(data: bytes) -> bytes:
    """What the handshake records in *data* hold."""
    found = b""
    while data:
        end = RECORD_HEADER + int.from_bytes(data[3:RECORD_HEADER], "big")
        if data[0] == ContentType.handshake:
            found += data[RECORD_HEADER:end]
        data = data[end:]
    return found


def first_hello(client: ClientConnection) -> ClientHello:
    return ClientHello.parse(messages(bytes(client.data_to_send())))


def retry(client: ClientConnection, hello: ClientHello, cookie: bytes) -> None:
    request = ServerHello(
        random=HELLO_RETRY_REQUEST_RANDOM,
        legacy_session_id_echo=hello.legacy_session_id,
        cipher_suite=CipherSuite.TLS_AES_128_GCM_SHA256,
        supported_versions=ProtocolVersion.TLSv1_3,
        cookie=cookie,
    ).encode()
    client.receive_data(frame_plaintext(ContentType.handshake, request))


def room(hello: ClientHello) -> int:
    """The most that a cookie may have beside the extensions of *hello*."""
    return LARGEST_BLOCK - sum(4 + len(data) for data in hello.extensions.values()) - OVERHEAD


@pytest.mark.rfc("8446", "4.2.2")
def test_client_sends_the_cookie_back_and_changes_nothing_else(config: ClientConfig) -> None:
    for size in (1, 100, 20000, None):
        client = ClientConnection(config, "localhost")
        first = first_hello(client)
        cookie = b"c" * (room(first) if size is None else size)
        retry(client, first, cookie)
        second = ClientHello.parse(messages(bytes(client.data_to_send())))
        assert second.cookie == cookie
        assert {code: data for code, data in second.extensions.items() if code != ExtensionType.cookie} == (
            first.extensions
        )
        assert (second.random, second.legacy_session_id) == (first.random, first.legacy_session_id)


@pytest.mark.rfc("8446", "4.2.2")
def test_client_refuses_cookie_that_no_hello_can_hold(config: ClientConfig) -> None:
    """A server's mischief ends the connection like any other, and raises nothing into the program."""
    client = ClientConnection(config, "localhost")
    hello = first_hello(client)
    retry(client, hello, b"c" * (room(hello) + 1))
    with pytest.raises(PeerMisbehaved):
        client.next_event()
    assert client.data_to_send()[:1] == bytes((ContentType.alert,))
