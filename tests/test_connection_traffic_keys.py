"""Traffic keys that are given out: whoever has them goes on with the connection, record for record."""

from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import pytest

from aiotls import ClientConfig, ClientConnection, ServerConfig, ServerConnection
from aiotls.connection import Connection, TrafficKey
from aiotls.crypto.suites import SUITES, TAG_LENGTH
from aiotls.errors import AlertDescription, LocalError, TLSError
from aiotls.events import ApplicationData, HandshakeComplete, KeyUpdated
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import HelloFields, ScriptedClient
from aiotls.testing.pipe import Pipe, pump
from aiotls.wire.messages import KeyUpdate, NewSessionTicket
from aiotls.wire.registries import CipherSuite, ContentType

every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: CipherSuite(suite).name)


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential(), traffic_key_export=True)


def client_config(*, traffic_key_export: bool = True) -> ClientConfig:
    return ClientConfig(verifier=lambda peer, name: True, traffic_key_export=traffic_key_export)


def connect(config: ServerConfig, **fields: Unpack[HelloFields]) -> tuple[ScriptedClient, ServerConnection, Pipe]:
    """A handshake that is complete, and nothing left to send or to tell."""
    client, server = ScriptedClient(**fields), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    client.finish()
    pipe.pump()
    assert isinstance(pipe.second.events.pop(), HandshakeComplete)
    return client, server, pipe


def join(config: ServerConfig) -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection(client_config(), "localhost"), ServerConnection(config)
    pump(client, server)
    return client, server


def nonce(key: TrafficKey, sequence: int) -> bytes:
    return (int.from_bytes(key.iv, "big") ^ sequence).to_bytes(12, "big")


def seal(key: TrafficKey, sequence: int, content: bytes) -> bytes:
    """A record of application data, by the primitives alone (RFC 8446 §5.2)."""
    inner = content + bytes((ContentType.application_data,))
    header = b"\x17\x03\x03" + (len(inner) + TAG_LENGTH).to_bytes(2, "big")
    return header + SUITES[key.cipher_suite].aead(key.key).encrypt(nonce(key, sequence), inner, header)


def opened(key: TrafficKey, sequence: int, record: bytes) -> bytes:
    """What a record of application data holds."""
    inner = SUITES[key.cipher_suite].aead(key.key).decrypt(nonce(key, sequence), record[5:], record[:5])
    assert inner[-1] == ContentType.application_data
    return inner[:-1]


def refused(connection: Connection) -> str:
    with pytest.raises(LocalError) as caught:
        connection.export_traffic_keys()
    return str(caught.value)


# --- What they are good for --------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "5.3")
@every_suite
def test_keys_protect_the_next_record_of_each_direction(config: ServerConfig, suite: int) -> None:
    client, server, pipe = connect(config, cipher_suites=(suite,))
    for _ in range(3):
        server.send_data(b"ours")
    for _ in range(5):
        client.send_data(b"theirs")
    pipe.pump()
    ours, theirs = server.export_traffic_keys()
    assert (ours.cipher_suite, theirs.cipher_suite) == (suite, suite)
    assert (ours.sequence, theirs.sequence) == (3, 5)
    assert (len(ours.key), len(ours.iv)) == (SUITES[suite].key_length, 12)
    for number in range(3):
        client.receive_data(seal(ours, ours.sequence + number, b", and on"))
        client.send_data(b"and theirs too")
        assert opened(theirs, theirs.sequence + number, client.data_to_send()) == b"and theirs too"
    assert client.data == b"ours" * 3 + b", and on" * 3


def test_both_ends_give_out_the_same_keys_the_other_way_round(config: ServerConfig) -> None:
    client, server = join(config)
    client.send_data(b"question")
    assert [type(event) for event in pump(client, server)[1]] == [ApplicationData]
    client_keys, server_keys = client.export_traffic_keys(), server.export_traffic_keys()
    assert client_keys == server_keys[::-1]
    assert [key.sequence for key in client_keys] == [1, 0]
    assert client_keys[0].key != client_keys[1].key


@pytest.mark.rfc("8446", "7.2")
def test_keys_are_those_of_the_present_generation(config: ServerConfig) -> None:
    _, first, _ = connect(config)
    client, server, pipe = connect(config)
    server.send_data(b"before")
    server.key_update()
    client.send_key_update()
    pipe.pump()
    assert pipe.second.events == [KeyUpdated()]
    ours, theirs = server.export_traffic_keys()
    assert (ours.sequence, theirs.sequence) == (0, 0)
    client.receive_data(seal(ours, 0, b", after"))
    assert client.data == b"before, after"
    client.send_data(b"theirs")
    assert opened(theirs, 0, client.data_to_send()) == b"theirs"
    assert ours != first.export_traffic_keys()[0]


# --- When they are not given out ---------------------------------------------------------------------------------


def test_keys_are_given_out_only_where_the_config_says_so(config: ServerConfig) -> None:
    server = ServerConnection(replace(config, traffic_key_export=False))
    client = ClientConnection(client_config(traffic_key_export=False), "localhost")
    pump(client, server)
    assert "only where ServerConfig.traffic_key_export is set" in refused(server)
    assert "only where ClientConfig.traffic_key_export is set" in refused(client)
    client.send_data(b"and the connection goes on")
    assert pump(client, server)[1] == [ApplicationData(b"and the connection goes on")]


def test_config_that_is_selected_decides_about_the_keys(config: ServerConfig) -> None:
    closed = replace(config, traffic_key_export=False)
    _, server, _ = connect(replace(config, select_config=lambda info: closed))
    assert "only where" in refused(server)
    _, server, _ = connect(replace(closed, select_config=lambda info: config))
    assert len(server.export_traffic_keys()) == 2


def test_there_are_no_keys_before_the_handshake_is_complete(config: ServerConfig) -> None:
    client, server = ScriptedClient(), ServerConnection(config)
    assert "between the handshake and the end" in refused(server)
    client.send_hello()
    Pipe(client, server).pump()
    assert "between the handshake and the end" in refused(server)
    assert "between the handshake and the end" in refused(ClientConnection(client_config(), "localhost"))


def tells_of_the_handshake(client: ScriptedClient, server: ServerConnection) -> None:
    client.finish()
    server.receive_data(client.data_to_send())


def tells_of_data(client: ScriptedClient, server: ServerConnection) -> None:
    client.send_data(b"data")
    server.receive_data(client.data_to_send())


def has_something_to_send(client: ScriptedClient, server: ServerConnection) -> None:
    server.send_data(b"data")


def has_part_of_a_record(client: ScriptedClient, server: ServerConnection) -> None:
    client.send_data(b"data")
    server.receive_data(client.data_to_send()[:7])


def has_part_of_a_message(client: ScriptedClient, server: ServerConnection) -> None:
    client.send_record(ContentType.handshake, KeyUpdate(0).encode()[:2])
    server.receive_data(client.data_to_send())


@pytest.mark.parametrize(
    "state",
    [tells_of_the_handshake, tells_of_data, has_something_to_send, has_part_of_a_record, has_part_of_a_message],
    ids=lambda state: state.__name__,
)
def test_there_are_no_keys_while_something_is_left(
    config: ServerConfig, state: Callable[[ScriptedClient, ServerConnection], None]
) -> None:
    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    if state is not tells_of_the_handshake:
        client.finish()
        pipe.pump()
    state(client, server)
    assert "take what the connection has first" in refused(server)
    if state in (has_part_of_a_record, has_part_of_a_message):
        return
    pipe.pump()
    assert len(server.export_traffic_keys()) == 2


def test_there_are_no_keys_after_the_connection_failed(config: ServerConfig) -> None:
    client, server, pipe = connect(config)
    client.send_alert(AlertDescription.internal_error)
    pipe.pump()
    assert pipe.second.error is not None
    assert "between the handshake and the end" in refused(server)


# --- What becomes of the connection ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["client", "server"])
def test_connection_ends_once_its_keys_are_given_out(config: ServerConfig, role: str) -> None:
    client, server = join(config)
    connection: Connection = client if role == "client" else server
    other: Connection = server if role == "client" else client
    other.send_data(b"for whoever has the keys now")
    connection.export_traffic_keys()
    connection.receive_data(bytes(other.data_to_send()))
    connection.receive_eof()
    for _ in range(2):
        with pytest.raises(TLSError, match="the traffic keys were given out"):
            connection.next_event()
    assert not connection.can_send
    with pytest.raises(LocalError, match="the traffic keys were given out"):
        connection.send_data(b"data")
    connection.close()
    assert connection.data_to_send() == b""
    assert "between the handshake and the end" in refused(connection)


def test_tickets_may_be_sent_before_the_keys_are_given_out(config: ServerConfig) -> None:
    client, server, pipe = connect(config, psk_key_exchange_modes=(1,))
    server.send_tickets()
    assert "take what the connection has first" in refused(server)
    pipe.pump()
    ours, _ = server.export_traffic_keys()
    client.receive_data(seal(ours, ours.sequence, b"data"))
    assert client.data == b"data"
    assert [type(message) for message in client.server_messages[-2:]] == [NewSessionTicket] * 2
