"""The record size limit in the handshake (RFC 8449 §4): both ends keep to it from the first protected record on.

How data is cut is in tests/test_connection_records.py; GnuTLS, which speaks it, is in tests/interop/test_gnutls.py.
"""

from dataclasses import replace
from typing import Any

import pytest

from aiotls import ClientAuth, ClientConnection, ServerConfig, ServerConnection
from aiotls.crypto.suites import TAG_LENGTH
from aiotls.errors import AlertDescription, IllegalParameter, RecordOverflow
from aiotls.events import ApplicationData, HandshakeComplete
from aiotls.testing.peer import ScriptedClient, encode_message
from aiotls.testing.pipe import Pipe
from aiotls.testing.scripted import CLIENT_CONTEXT
from aiotls.testing.server_peer import Alert, ScriptedServer
from aiotls.wire.messages import Certificate, CertificateEntry, CertificateVerify, EncryptedExtensions
from aiotls.wire.registries import ContentType, HandshakeType, NamedGroup
from tests.handshake.joined import (
    CLIENT_NAME,
    client_config,
    credential,
    join,
    roots,
    server_config,
)

LEAST, FULL = 64, 1 << 14
OVERFLOW = [Alert(2, AlertDescription.record_overflow, protected=True)]
HYBRID = (NamedGroup.X25519MLKEM768,)


class Tap:
    """An engine, and what it sent: the sizes of its inner plaintexts, and of its records in plain text."""

    def __init__(self, engine: ClientConnection | ServerConnection) -> None:
        self.engine = engine
        self.protected: list[int] = []
        self.plain: list[int] = []
        self.receive_data = engine.receive_data
        self.next_event = engine.next_event

    def data_to_send(self) -> bytes:
        data = rest = bytes(self.engine.data_to_send())
        while rest:
            size = int.from_bytes(rest[3:5], "big")
            if rest[0] == ContentType.application_data:
                self.protected.append(size - TAG_LENGTH)
            else:
                self.plain.append(size)
            rest = rest[5 + size :]
        return data


def mutual(**options: Any) -> ServerConfig:
    return server_config(
        credentials=credential(intermediate=True), client_auth=ClientAuth.REQUIRED, client_roots=roots(), **options
    )


def tapped(client: Any, server: ServerConfig) -> tuple[Tap, Tap, Pipe]:
    """Both ends, whose handshake is complete, with a certificate of each."""
    config = client_config(credentials=credential(CLIENT_NAME, intermediate=True), **client)
    ours, theirs = Tap(ClientConnection(config, "localhost")), Tap(ServerConnection(server))
    pipe = Pipe(ours, theirs)
    pipe.pump()
    for end in (pipe.first, pipe.second):
        assert end.error is None
        assert isinstance(end.events[0], HandshakeComplete)
    return ours, theirs, pipe


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("compressed", [True, False], ids=["compressed", "plain"])
@pytest.mark.parametrize(("ours", "theirs"), [(LEAST, LEAST), (LEAST, 1000), (1000, LEAST), (FULL + 1, LEAST)])
def test_handshake_messages_are_cut_to_the_limit(ours: int, theirs: int, *, compressed: bool) -> None:
    """Certificates of kilobytes go in records of 64 bytes, and the limit is used to the full."""
    options: Any = {"certificate_compression": compressed}
    client, server, _ = tapped({"record_size_limit": ours, **options}, mutual(record_size_limit=theirs, **options))
    for end, limit in ((server, ours), (client, theirs)):
        assert max(end.protected) <= limit
        if limit == LEAST:
            assert end.protected.count(LEAST) > 10


@pytest.mark.rfc("8449", "4")
def test_limit_leaves_records_in_plain_text_alone() -> None:
    client, server, _ = tapped(
        {"record_size_limit": LEAST, "groups": HYBRID}, mutual(record_size_limit=LEAST, groups=HYBRID)
    )
    assert max(client.plain) > 1000
    assert max(server.plain) > 1000


@pytest.mark.rfc("8449", "4")
def test_limit_holds_after_a_retry() -> None:
    client, server, _ = tapped(
        {"record_size_limit": LEAST, "key_shares": ()},
        mutual(record_size_limit=100),
    )
    assert max(server.protected) == LEAST
    assert max(client.protected) == 100


@pytest.mark.rfc("8449", "4")
def test_padding_keeps_to_the_limit() -> None:
    client, server, pipe = tapped(
        {"record_size_limit": 100, "record_padding": 512}, mutual(record_size_limit=LEAST, record_padding=512)
    )
    assert set(server.protected) == {100}
    assert set(client.protected) == {LEAST}
    client.engine.send_data(b"x")
    client.engine.close()
    server.engine.send_data(b"x")
    server.engine.close()
    pipe.pump()
    assert set(server.protected) == {100}
    assert set(client.protected) == {LEAST}
    assert pipe.first.error is None
    assert pipe.second.error is None


@pytest.mark.rfc("8449", "4")
def test_what_follows_the_handshake_keeps_to_the_limit() -> None:
    """Tickets, the answers to KeyUpdate, and alerts."""
    client = Tap(ClientConnection(client_config(record_size_limit=LEAST), "localhost"))
    server = Tap(ServerConnection(server_config(record_size_limit=100)))
    pipe = Pipe(client, server)
    pipe.pump()
    server.engine.send_data(bytes(1000))
    client.engine.send_data(bytes(1000))
    client.engine.key_update(request_peer=True)
    pipe.pump()
    client.engine.send_data(bytes(1000))
    server.engine.send_data(bytes(1000))
    server.engine.close()
    client.engine.close()
    pipe.pump()
    assert (pipe.first.error, pipe.second.error) == (None, None)
    assert (max(server.protected), max(client.protected)) == (LEAST, 100)
    for end in (pipe.first, pipe.second):
        assert sum(len(event.data) for event in end.events if isinstance(event, ApplicationData)) == 2000


@pytest.mark.rfc("8449", "4")
def test_config_that_is_selected_says_the_limit() -> None:
    selected = mutual(record_size_limit=LEAST)
    client, server, _ = tapped(
        {"record_size_limit": 100}, replace(selected, record_size_limit=FULL, select_config=lambda _: selected)
    )
    assert max(client.protected) == LEAST
    assert max(server.protected) == 100


# --- A server's limit, and a client that goes beyond it ---------------------------------------------------------------


def limiting(limit: int, **options: Any) -> tuple[ScriptedClient, Pipe]:
    """A client that has the flight of a server with this limit."""
    client, server = ScriptedClient(), ServerConnection(mutual(record_size_limit=limit, **options))
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), record_size_limit=FULL + 1).encode())
    pipe.pump()
    (extensions,) = [message for message in client.server_messages if isinstance(message, EncryptedExtensions)]
    assert extensions.record_size_limit == limit
    return client, pipe


def whole() -> bytes:
    """An honest Certificate of more than 600 bytes."""
    return Certificate(b"", tuple(map(CertificateEntry, credential(CLIENT_NAME).chain))).encode()


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("limit", [LEAST, 500])
def test_server_refuses_certificate_in_a_record_beyond_its_limit(limit: int) -> None:
    client, pipe = limiting(limit)
    client.send_message(whole(), fragment_size=limit)  # and its type makes one byte too much
    pipe.pump()
    assert type(pipe.second.error) is RecordOverflow
    assert client.alerts == OVERFLOW


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("limit", [LEAST, 500])
def test_server_takes_certificate_in_records_within_its_limit(limit: int) -> None:
    """The control."""
    client, pipe = limiting(limit)
    client.send_message(whole(), fragment_size=limit - 1)
    shown = credential(CLIENT_NAME)
    signature = shown.signing_key.sign(shown.schemes[0], client.to_be_signed(CLIENT_CONTEXT))
    assert isinstance(signature, bytes)
    client.send_message(CertificateVerify(shown.schemes[0], signature).encode(), fragment_size=limit - 1)
    client.finish()
    pipe.pump()
    assert pipe.second.error is None
    assert isinstance(pipe.second.events[0], HandshakeComplete)


@pytest.mark.rfc("8449", "4")
def test_server_counts_the_padding_of_a_record() -> None:
    for padding in (LEAST - 1 - 36, LEAST - 36):
        client, server = ScriptedClient(), ServerConnection(server_config(record_size_limit=LEAST))
        pipe = Pipe(client, server)
        client.send_message(replace(client.hello(), record_size_limit=FULL).encode())
        pipe.pump()
        finished = client.finished()
        assert len(finished) == 36
        client.send_record(ContentType.handshake, finished, padding=padding)
        pipe.pump()
        assert client.alerts == ([] if padding == LEAST - 1 - 36 else OVERFLOW)


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("limit", [0, 1, 63])
def test_server_refuses_limit_that_is_too_small(limit: int) -> None:
    client, server = ScriptedClient(), ServerConnection(server_config())
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), record_size_limit=limit).encode())
    pipe.pump()
    assert type(pipe.second.error) is IllegalParameter
    assert client.alerts == [Alert(2, AlertDescription.illegal_parameter, protected=False)]


# --- A client's limit, and a server that goes beyond it ---------------------------------------------------------------


def answering(limit: int | None, *, offered: int = 100) -> tuple[ScriptedServer, Pipe]:
    """A server that has answered a client's limit with one of its own, or not at all."""
    server = ScriptedServer(credential())
    pipe = Pipe(server, ClientConnection(client_config(record_size_limit=offered), "localhost"))
    pipe.pump()
    assert server.client_hello.record_size_limit == offered
    server.send_server_hello()
    answer = server.encrypted_extensions()
    if limit is not None:
        answer = server.encrypted_extensions(record_size_limit=limit)
    server.send(answer)
    pipe.pump()
    assert pipe.second.error is None
    return server, pipe


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("excess", [0, 1])
def test_client_refuses_certificate_in_a_record_beyond_its_limit(excess: int) -> None:
    server, pipe = answering(FULL + 1)
    server.send_message(server.certificate().encode(), fragment_size=99 + excess)
    pipe.pump()
    if excess:
        assert type(pipe.second.error) is RecordOverflow
        assert server.alerts == OVERFLOW
        return
    server.send_message(server.certificate_verify().encode(), fragment_size=99)
    server.finish()
    pipe.pump()
    assert pipe.second.error is None
    assert server.client_finished


@pytest.mark.rfc("8449", "4")
def test_client_takes_records_of_any_size_from_a_server_that_does_not_know_the_limit() -> None:
    server, pipe = answering(None)
    server.send(server.certificate())
    server.send(server.certificate_verify())
    server.finish()
    server.send_data(bytes(FULL))
    pipe.pump()
    assert pipe.second.error is None
    assert pipe.second.events[1:] == [ApplicationData(bytes(FULL))]


@pytest.mark.rfc("8449", "4")
def test_handshake_message_in_the_smallest_pieces_is_bounded_all_the_same() -> None:
    """A limit on records does not lift the one on messages."""
    client, pipe = limiting(LEAST, max_handshake_message_size=4096)
    client.send_message(encode_message(HandshakeType.certificate, bytes(8000)), fragment_size=LEAST - 1)
    pipe.pump()
    assert pipe.second.error is not None
    assert [alert.description for alert in client.alerts] == [AlertDescription.illegal_parameter]


def test_limits_may_differ_and_meet_no_obstacle() -> None:
    """As a program meets them."""
    join(client_config(record_size_limit=LEAST), server_config(record_size_limit=FULL, tickets=0))
    join(client_config(record_size_limit=FULL), server_config(record_size_limit=LEAST, tickets=0))
