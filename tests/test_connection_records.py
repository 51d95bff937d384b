"""What a connection's config and its peer say about records: fragments, padding, and the limits of RFC 8449."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn, Unpack

import pytest

from aiotls import ClientConfig, ClientConnection, ServerConfig, ServerConnection
from aiotls.connection import Connection
from aiotls.crypto.suites import TAG_LENGTH
from aiotls.errors import AlertDescription, CallbackError, RecordOverflow
from aiotls.events import ApplicationData, HandshakeComplete
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import HelloFields, ScriptedClient
from aiotls.testing.pipe import Pipe, pump
from aiotls.wire.messages import EncryptedExtensions, NewSessionTicket
from aiotls.wire.registries import ContentType

FULL = 1 << 14


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential())


def client_config(**fields: Any) -> ClientConfig:
    return ClientConfig(verifier=lambda peer, name: True, certificate_compression=False, **fields)


class Tap:
    """An engine, and the sizes of the inner plaintexts that it sent (RFC 8446 §5.2)."""

    def __init__(self, engine: Connection) -> None:
        self.engine = engine
        self.sizes: list[int] = []
        self.receive_data = engine.receive_data
        self.next_event = engine.next_event

    def data_to_send(self) -> bytes:
        data = rest = bytes(self.engine.data_to_send())
        while rest:
            size = int.from_bytes(rest[3:5], "big")
            if rest[0] == ContentType.application_data:
                self.sizes.append(size - TAG_LENGTH)
            rest = rest[5 + size :]
        return data


def join(server_config: ServerConfig, config: ClientConfig) -> tuple[Tap, Tap]:
    """Client and server, whose handshake is complete."""
    client, server = Tap(ClientConnection(config, "localhost")), Tap(ServerConnection(server_config))
    for events in pump(client, server):
        assert isinstance(events[0], HandshakeComplete)
    return client, server


def connect(config: ServerConfig, **fields: Unpack[HelloFields]) -> tuple[ScriptedClient, ServerConnection, Pipe]:
    """A scripted client and a server, whose handshake is complete."""
    client, server = ScriptedClient(**fields), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    client.finish()
    pipe.pump()
    assert server.can_send
    return client, server, pipe


def carried(source: Tap, target: Tap, data: bytes) -> list[int]:
    """The sizes of the inner plaintexts that carry *data*."""
    source.sizes.clear()
    source.engine.send_data(data)
    _, events = pump(source, target)
    assert b"".join(event.data for event in events if isinstance(event, ApplicationData)) == data
    return source.sizes


# --- Our own fragments and padding -------------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", [64, 1000, FULL])
def test_both_ends_keep_to_their_own_fragments(config: ServerConfig, fragment: int) -> None:
    client, server = join(replace(config, max_fragment=fragment, tickets=0), client_config(max_fragment=fragment))
    assert max(client.sizes) <= fragment + 1
    assert max(server.sizes) <= fragment + 1
    for source, target in ((client, server), (server, client)):
        assert carried(source, target, bytes(2 * fragment + 1)) == [fragment + 1, fragment + 1, 2]


@pytest.mark.rfc("8446", "5.4")
@pytest.mark.parametrize("padding", [512, lambda length: -length % 512], ids=["multiple", "function"])
def test_every_protected_record_is_padded(config: ServerConfig, padding: int | Callable[[int], int]) -> None:
    client, server = join(replace(config, record_padding=padding), client_config(record_padding=padding))
    for source, target in ((client, server), (server, client)):
        assert source.sizes
        assert {size % 512 for size in source.sizes} == {1}
        assert carried(source, target, b"a") == [513]
        source.sizes.clear()
        source.engine.close()
        source.data_to_send()
        assert source.sizes == [513]


def test_config_that_is_selected_decides_about_records(config: ServerConfig) -> None:
    selected = replace(config, max_fragment=100, record_padding=64, max_records_per_key=3, tickets=0)
    client, server = join(replace(config, select_config=lambda info: selected), client_config())
    assert max(server.sizes) == 129
    assert carried(server, client, bytes(150)) == [129, 65]
    assert carried(server, client, b"a") == [6, 65]  # a KeyUpdate first


@pytest.mark.rfc("8446", "5.1")
@pytest.mark.parametrize("limit", [2, 3, 4])
def test_tickets_arrive_whole_however_small_the_fragments(config: ServerConfig, limit: int) -> None:
    """A KeyUpdate may not stand within another message."""
    client, server, pipe = connect(
        replace(config, max_fragment=64, max_records_per_key=limit), psk_key_exchange_modes=(1,)
    )
    server.send_data(bytes(500))
    pipe.pump()
    assert client.data == bytes(500)
    assert sum(isinstance(message, NewSessionTicket) for message in client.server_messages) == 2


# --- Padding that fails ------------------------------------------------------------------------------------------


def raises(length: int) -> NoReturn:
    raise ArithmeticError("no idea")


def is_nonsense(length: int) -> Any:
    return "a lot"


@pytest.mark.parametrize("padding", [raises, is_nonsense], ids=lambda padding: padding.__name__)
def test_handshake_ends_when_the_padding_fails(config: ServerConfig, padding: Callable[[int], int]) -> None:
    """No error escapes from `receive_data`, and the peer is told by an alert, if need be without padding."""
    client, server = ScriptedClient(), ServerConnection(replace(config, record_padding=padding))
    client.send_hello()
    server.receive_data(client.data_to_send())
    with pytest.raises(CallbackError, match="record_padding"):
        server.next_event()
    client.receive_data(bytes(server.data_to_send()))
    assert client.alert is not None
    assert client.alert.description is AlertDescription.internal_error


def closes(client: ScriptedClient, server: ServerConnection) -> None:
    server.close()


def is_sent_nonsense(client: ScriptedClient, server: ServerConnection) -> None:
    client.send_record(ContentType.handshake, b"")
    server.receive_data(client.data_to_send())


@pytest.mark.parametrize(
    ("ending", "alert"),
    [(closes, AlertDescription.close_notify), (is_sent_nonsense, AlertDescription.unexpected_message)],
)
def test_connection_can_end_when_the_padding_fails(
    config: ServerConfig, ending: Callable[[ScriptedClient, ServerConnection], None], alert: AlertDescription
) -> None:
    failing = False

    def padding(length: int) -> int:
        return raises(length) if failing else 0

    client, server, pipe = connect(replace(config, record_padding=padding))
    failing = True
    ending(client, server)
    assert not server.can_send
    pipe.pump()
    assert client.alert is not None
    assert client.alert.description is alert


def test_data_of_which_only_a_part_could_be_padded_leaves_no_gap(config: ServerConfig) -> None:
    """What was asked to be sent is sent, or nothing is sent any more."""
    lengths: list[int] = []

    def padding(length: int) -> int:
        lengths.append(length)
        return raises(length) if lengths[-2:] == [100, 50] else 0

    client, server, pipe = connect(replace(config, max_fragment=100, record_padding=padding))
    with pytest.raises(CallbackError, match="record_padding failed"):
        server.send_data(b"a" * 150)
    if server.can_send:
        server.send_data(b"b" * 10)
    pipe.pump()
    assert client.data in (b"", b"a" * 100, b"b" * 10)


# --- Limits of records (RFC 8449) --------------------------------------------------------------------------------


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("limit", [64, 65, 1000, FULL, FULL + 1])
def test_both_ends_keep_to_the_others_limit(config: ServerConfig, limit: int) -> None:
    for ours, theirs in ((limit, None), (None, limit), (limit, limit)):
        client, server = join(
            replace(config, record_size_limit=theirs, tickets=0), client_config(record_size_limit=ours)
        )
        if ours is not None:
            assert max(server.sizes) <= limit
            assert max(carried(server, client, bytes(3 * limit))) == limit
        if ours is not None and theirs is not None:
            assert max(client.sizes) <= limit
            assert max(carried(client, server, bytes(3 * limit))) == limit
        if ours is None:  # a client that does not offer the extension is not answered
            assert max(carried(server, client, bytes(2 * FULL))) == FULL + 1
            assert max(carried(client, server, bytes(2 * FULL))) == FULL + 1


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize(("limit", "answered"), [(None, FULL + 1), (64, 64), (FULL, FULL)])
def test_server_answers_a_limit_with_its_own(config: ServerConfig, limit: int | None, answered: int) -> None:
    client, server = ScriptedClient(), ServerConnection(replace(config, record_size_limit=limit))
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), record_size_limit=1000).encode())
    pipe.pump()
    (extensions,) = [message for message in client.server_messages if isinstance(message, EncryptedExtensions)]
    assert extensions.record_size_limit == answered


@pytest.mark.rfc("8449", "4")
def test_server_says_no_limit_to_a_client_that_says_none(config: ServerConfig) -> None:
    client, server = ScriptedClient(), ServerConnection(replace(config, record_size_limit=64))
    client.send_hello()
    Pipe(client, server).pump()
    (extensions,) = [message for message in client.server_messages if isinstance(message, EncryptedExtensions)]
    assert extensions.record_size_limit is None


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("padding", [0, 50])
def test_server_refuses_record_beyond_its_limit(config: ServerConfig, excess: int, padding: int) -> None:
    """The limit counts content, type and padding, and holds from the first protected record on."""
    client, server = ScriptedClient(), ServerConnection(replace(config, record_size_limit=100))
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), record_size_limit=FULL + 1).encode())
    pipe.pump()
    client.finish()
    client.send_record(ContentType.application_data, bytes(99 + excess - padding), padding=padding)
    pipe.pump()
    if not excess:
        assert pipe.second.error is None
        assert pipe.second.events[1:] == [ApplicationData(bytes(99 - padding))]
        return
    assert isinstance(pipe.second.error, RecordOverflow)
    assert client.alert is not None
    assert client.alert.description is AlertDescription.record_overflow


@pytest.mark.rfc("8449", "4")
def test_limit_survives_key_updates(config: ServerConfig) -> None:
    client, server = join(
        replace(config, record_size_limit=100, tickets=0, max_records_per_key=2),
        client_config(record_size_limit=200, max_records_per_key=2),
    )
    for source, target, limit in ((client, server, 100), (server, client, 200)):
        sizes = carried(source, target, bytes(1000))
        assert max(sizes) == limit
        assert 6 in sizes  # a KeyUpdate
