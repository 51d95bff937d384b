"""What becomes of a connection's keys: their updates, what is exported from them, and that they are let go."""

import gc
import hashlib
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from OpenSSL import SSL

from aiotls import ClientConfig, ClientConnection, Credential, ServerConfig, ServerConnection
from aiotls.crypto.hashes import HMACKey
from aiotls.crypto.schedule13 import EarlySecret, HandshakeSecret, MasterSecret, TrafficSecret
from aiotls.errors import AlertDescription, CallbackError, LocalError, PeerFlooding, TLSError
from aiotls.events import ApplicationData, HandshakeComplete, KeyUpdated
from aiotls.handshake.effects import HandshakeDriver
from aiotls.handshake.outcome import Secrets
from aiotls.handshake.transcript import Transcript
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import ScriptedClient, encode_message
from aiotls.testing.pipe import Pipe, pump
from aiotls.trust.credentials import SigningKey
from aiotls.wire.messages import KeyUpdate
from aiotls.wire.registries import CipherSuite, ContentType, KeyUpdateRequest

RECORD = 16 * 1024


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential())


def connect(config: ServerConfig) -> tuple[ScriptedClient, ServerConnection, Pipe]:
    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    client.finish()
    pipe.pump()
    assert isinstance(pipe.second.events.pop(), HandshakeComplete)
    return client, server, pipe


def key_updates(client: ScriptedClient) -> list[int]:
    """What each KeyUpdate of the server's asks for."""
    return [message.request_update for message in client.server_messages if isinstance(message, KeyUpdate)]


# --- KeyUpdate ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("request_peer", [False, True])
def test_server_updates_its_sending_key(config: ServerConfig, request_peer: bool) -> None:  # noqa: FBT001
    client, server, pipe = connect(config)
    before = client.read_key
    server.send_data(b"before, ")
    server.key_update(request_peer=request_peer)
    server.send_data(b"after")
    pipe.pump()
    assert client.data == b"before, after"
    assert client.read_key is not before
    assert key_updates(client) == [int(request_peer)]


@pytest.mark.rfc("8446", "4.6.3")
def test_server_answers_all_requests_that_came_since_it_last_sent_at_once(config: ServerConfig) -> None:
    client, server, _ = connect(config)
    for _ in range(100):
        client.send_key_update(request_peer=True)
        client.send_data(b"x")
        server.receive_data(client.data_to_send())
    first = bytes(server.data_to_send())  # what the first request brought
    server.send_data(b"answer")
    client.receive_data(first + server.data_to_send())
    assert key_updates(client) == [0, 0]
    assert client.data == b"answer"
    assert not server.data_to_send()


@pytest.mark.rfc("8446", "4.6.3")
def test_server_answers_key_update_that_asks_for_one_exactly_once(config: ServerConfig) -> None:
    client, server, pipe = connect(config)
    for _ in range(3):
        client.send_key_update(request_peer=True)
    client.send_data(b"data")
    pipe.pump()
    assert key_updates(client) == [KeyUpdateRequest.update_not_requested]
    assert pipe.second.events == [KeyUpdated(), KeyUpdated(), KeyUpdated(), ApplicationData(b"data")]
    server.send_data(b"under the new key")
    pipe.pump()
    assert client.data == b"under the new key"


@pytest.mark.rfc("8446", "4.6.3")
def test_server_does_not_answer_key_update_that_asks_for_none(config: ServerConfig) -> None:
    client, _, pipe = connect(config)
    client.send_key_update()
    pipe.pump()
    assert key_updates(client) == []


@pytest.mark.rfc("8446", "4.6.3")
def test_server_cannot_answer_key_update_after_its_close(config: ServerConfig) -> None:
    client, server, pipe = connect(config)
    server.close()
    client.send_key_update(request_peer=True)
    client.send_data(b"still heard")
    pipe.pump()
    assert key_updates(client) == []
    assert pipe.second.events == [KeyUpdated(), ApplicationData(b"still heard")]


def test_server_takes_many_key_updates_with_data_between_them(config: ServerConfig) -> None:
    client, _, pipe = connect(config)
    for _ in range(100):
        client.send_key_update()
        client.send_data(b".")
    pipe.pump()
    assert pipe.second.error is None
    assert pipe.second.events.count(KeyUpdated()) == 100


def test_server_refuses_endless_key_updates(config: ServerConfig) -> None:
    client, _, pipe = connect(config)
    for _ in range(33):
        client.send_key_update()
    pipe.pump()
    assert isinstance(pipe.second.error, PeerFlooding)
    assert pipe.second.events == [KeyUpdated()] * 32
    assert client.alerts[-1].description is AlertDescription.unexpected_message


class CountingClient(ScriptedClient):
    """Notes how many records the server protected with each of its application keys."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[int] = []

    def receive_data(self, data: bytes) -> None:
        """Take whole records, one after the other."""
        while data:
            size = 5 + int.from_bytes(data[3:5], "big")
            record, data = data[:size], data[size:]
            key = self.read_key
            super().receive_data(record)
            if self.server_finished and key is not None and record[0] == ContentType.application_data:
                self.records.append(key.sequence)


def writes_under_limit(config: ServerConfig, limit: int, writes: Sequence[bytes]) -> CountingClient:
    client, server = CountingClient(), ServerConnection(replace(config, max_records_per_key=limit))
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()
    client.finish()
    pipe.pump()
    client.records.clear()
    for write in writes:
        server.send_data(write)
    pipe.pump()
    assert client.data == b"".join(writes)
    return client


@pytest.mark.rfc("8446", "5.5")
@pytest.mark.parametrize("limit", [2, 3, 4, 7])
@pytest.mark.parametrize(
    "writes",
    [
        [bytes(range(256)) * 64 * 10 + b"rest"],
        [b"x" * RECORD] * 10,
        [bytes([number]) for number in range(20)],
        [b"small", bytes(2 * RECORD), b"small", bytes(5 * RECORD + 1), b"small"],
    ],
    ids=["one_large", "full_records", "small", "mixed"],
)
def test_server_replaces_its_key_when_it_has_served_its_time(
    config: ServerConfig, limit: int, writes: list[bytes]
) -> None:
    client = writes_under_limit(config, limit, writes)
    assert max(client.records) == limit
    records = sum(-(-len(write) // RECORD) for write in writes)
    assert len(key_updates(client)) == (records - 1) // (limit - 1)
    assert set(key_updates(client)) == {KeyUpdateRequest.update_not_requested}


@pytest.mark.rfc("8446", "5.5")
def test_server_keeps_its_key_while_the_limit_is_far(config: ServerConfig) -> None:
    client, server, pipe = connect(config)
    for _ in range(100):
        server.send_data(bytes(RECORD))
    pipe.pump()
    assert len(client.data) == 100 * RECORD
    assert key_updates(client) == []


@pytest.mark.rfc("8446", "5.5")
def test_server_keeps_to_the_suites_limit_even_if_the_config_allows_more(config: ServerConfig) -> None:
    config = replace(config, max_records_per_key=1 << 30)
    suite = config.suites[CipherSuite.TLS_AES_128_GCM_SHA256]
    config.suites[suite.code] = replace(suite, confidentiality_limit=5)
    client, server, pipe = connect(config)
    server.send_data(bytes(10 * RECORD))
    pipe.pump()
    assert client.data == bytes(10 * RECORD)
    assert len(key_updates(client)) == 2


# --- Keying material ---------------------------------------------------------------------------------------------

LABEL = "EXPERIMENTAL aiotls"


@pytest.mark.rfc("8446", "7.5")
@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 1000, 255 * 32])
@pytest.mark.parametrize("context", [b"", b"context", bytes(300)], ids=["none", "short", "long"])
def test_both_ends_export_the_same(config: ServerConfig, context: bytes, length: int) -> None:
    client, server, _ = connect(config)
    ours = server.export_keying_material(LABEL, context, length)
    assert len(ours) == length
    assert ours == client.export_keying_material(LABEL, context, length)


def openssl_client() -> SSL.Connection:
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)  # in memory; its trust is tested elsewhere
    connection.set_connect_state()
    connection.set_tlsext_host_name(b"localhost")
    return connection


def join(client: SSL.Connection, server: ServerConnection) -> None:
    """The handshake of an OpenSSL client in memory."""
    for _ in range(4):
        with suppress(SSL.WantReadError):
            client.do_handshake()
        with suppress(SSL.WantReadError):
            server.receive_data(client.bio_read(1 << 16))
        if data := server.data_to_send():
            client.bio_write(bytes(data))
    assert isinstance(server.next_event(), HandshakeComplete)


@pytest.mark.rfc("8446", "7.5")
@pytest.mark.parametrize("suite", list(CipherSuite)[:3], ids=lambda suite: suite.name)
def test_openssl_exports_the_same(config: ServerConfig, suite: CipherSuite) -> None:
    client, server = openssl_client(), ServerConnection(replace(config, cipher_suites=(suite,)))
    join(client, server)
    for context, length in ((b"", 32), (b"context", 100)):
        ours = server.export_keying_material(LABEL, context, length)
        assert ours == client.export_keying_material(LABEL.encode(), length, context)


@pytest.mark.rfc("9266", "2")
def test_openssl_has_the_same_channel_binding(config: ServerConfig) -> None:
    client, server = openssl_client(), ServerConnection(config)
    join(client, server)
    theirs = client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    assert server.channel_binding() == server.channel_binding("tls-exporter") == theirs


def test_exported_material_depends_on_label_context_and_connection(config: ServerConfig) -> None:
    (_, first, _), (_, second, _) = connect(config), connect(config)
    exported = {
        first.export_keying_material(LABEL, b"", 32),
        first.export_keying_material(LABEL, b"context", 32),
        first.export_keying_material(LABEL + "2", b"", 32),
        first.export_keying_material(LABEL, b"", 33)[:32],
        second.export_keying_material(LABEL, b"", 32),
    }
    assert len(exported) == 5


@pytest.mark.rfc("8446", "7.5")
def test_exported_material_survives_key_updates_and_the_close(config: ServerConfig) -> None:
    client, server, pipe = connect(config)
    before = server.export_keying_material(LABEL, b"", 32)
    server.key_update(request_peer=True)
    client.send_key_update()
    server.close()
    client.send_alert(AlertDescription.close_notify, level=1)
    pipe.pump()
    assert server.export_keying_material(LABEL, b"", 32) == before


@pytest.mark.rfc("5869", "2.3")
@pytest.mark.parametrize("length", [0, -1, 255 * 32 + 1])
def test_server_refuses_to_export_a_length_that_hkdf_cannot_give(config: ServerConfig, length: int) -> None:
    _, server, _ = connect(config)
    with pytest.raises(LocalError, match=f"1 to 8160 bytes, and not {length}"):
        server.export_keying_material(LABEL, b"", length)


@pytest.mark.rfc("8446", "7.1")
@pytest.mark.parametrize("label", ["", "x" * 250, "Schlüssel"], ids=["empty", "long", "not_ascii"])
def test_server_refuses_label_that_hkdf_label_cannot_hold(config: ServerConfig, label: str) -> None:
    _, server, _ = connect(config)
    with pytest.raises(LocalError, match="1 to 249 ASCII characters"):
        server.export_keying_material(label, b"", 32)


def test_server_exports_with_the_longest_label(config: ServerConfig) -> None:
    client, server, _ = connect(config)
    longest = "x" * 249
    assert server.export_keying_material(longest, b"", 32) == client.export_keying_material(longest, b"", 32)


def test_server_has_no_keying_material_before_the_handshake_is_complete(config: ServerConfig) -> None:
    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    for _ in range(2):
        with pytest.raises(LocalError, match="once the handshake is complete"):
            server.export_keying_material(LABEL, b"", 32)
        with pytest.raises(LocalError, match="once the handshake is complete"):
            server.channel_binding()
        pipe.pump()


@pytest.mark.rfc("8446", "C.5")
@pytest.mark.parametrize("name", ["tls-unique", "TLS-EXPORTER", ""])
def test_server_refuses_channel_binding_that_tls13_has_not(config: ServerConfig, name: str) -> None:
    _, server, _ = connect(config)
    with pytest.raises(LocalError, match=f"no channel binding {name!r}; there are tls-exporter and tls-server-end-poi"):
        server.channel_binding(name)


@pytest.mark.rfc("5929", "4")
def test_both_ends_have_the_digest_of_the_servers_certificate(config: ServerConfig) -> None:
    client = ClientConnection(ClientConfig(verifier=lambda peer, name: True), "localhost")
    server = ServerConnection(config)
    pump(client, server)
    leaf = config.credential_list[0].chain[0]
    expected = hashlib.sha256(leaf).digest()
    assert server.channel_binding("tls-server-end-point") == expected
    assert client.channel_binding("tls-server-end-point") == expected
    assert client.channel_binding() == server.channel_binding()


@pytest.mark.rfc("5929", "4")
def test_server_that_has_shown_no_certificate_has_no_binding_to_it(config: ServerConfig) -> None:
    with pytest.raises(LocalError, match="it has shown none"):
        ServerConnection(config).channel_binding("tls-server-end-point")


@pytest.mark.rfc("5929", "4")
def test_raw_public_key_is_no_certificate_to_bind_to(tmp_path: Path) -> None:
    keyfile = tmp_path / "key.pem"
    keyfile.write_bytes(LocalCA().issue("localhost").key_pem)
    credential = Credential.from_raw_public_key(keyfile)
    client = ClientConnection(ClientConfig(trusted_public_keys=credential.chain), None)
    server = ServerConnection(ServerConfig(credentials=credential))
    pump(client, server)
    assert client.channel_binding() == server.channel_binding()
    for end in (client, server):
        with pytest.raises(LocalError, match="it has shown none"):
            end.channel_binding("tls-server-end-point")


# --- Secrets are let go ------------------------------------------------------------------------------------------

SECRETS = (HMACKey, OpeningKey, SealingKey)
"""Everything that holds key material; every secret of the schedule is an HMACKey."""
HANDSHAKE = (HandshakeDriver, Transcript, Secrets, types.CoroutineType)
"""What only a handshake that is under way may hold on to."""
SHARED = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType, ServerConfig)
"""What all connections share, and what holds nothing of one of them."""


def held_by(root: object) -> Counter[str]:
    """How many objects of each of those types can be reached from *root*."""
    seen: dict[int, object] = {}
    found: Counter[str] = Counter()
    todo = [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, SHARED):
            continue
        seen[id(one)] = one
        if isinstance(one, SECRETS + HANDSHAKE):
            found[type(one).__name__] += 1
        todo += gc.get_referents(one)
    return found


def test_every_secret_of_the_schedule_is_counted() -> None:
    for kind in (EarlySecret, HandshakeSecret, MasterSecret, TrafficSecret):
        assert issubclass(kind, HMACKey)


def test_server_holds_two_keys_and_nothing_of_the_handshake_when_it_is_complete(config: ServerConfig) -> None:
    _, server, _ = connect(config)
    assert held_by(server) == {"OpeningKey": 1, "SealingKey": 1, "TrafficSecret": 2}


def test_server_lets_old_keys_go_at_key_update(config: ServerConfig) -> None:
    client, server, pipe = connect(config)
    for _ in range(3):
        server.key_update(request_peer=True)
        client.send_key_update(request_peer=True)
        pipe.pump()
    assert held_by(server) == {"OpeningKey": 1, "SealingKey": 1, "TrafficSecret": 2}


def test_server_under_way_is_seen_to_hold_secrets(config: ServerConfig) -> None:
    client, server = ScriptedClient(), ServerConnection(config)
    client.send_hello()
    Pipe(client, server).pump()
    found = held_by(server)
    assert {"CoroutineType", "coroutine"} & set(found) or "HandshakeDriver" in found
    assert found["SealingKey"] == 1


def sends_broken_record(client: ScriptedClient) -> None:
    broken = bytearray(client.record(ContentType.handshake, client.finished()))
    broken[-1] ^= 1
    client.send_raw(bytes(broken))


def sends_wrong_finished(client: ScriptedClient) -> None:
    finished = bytearray(client.finished())
    finished[-1] ^= 1
    client.send_message(bytes(finished))


def sends_wrong_message(client: ScriptedClient) -> None:
    client.send_message(encode_message(24, b"\0"))


def sends_alert(client: ScriptedClient) -> None:
    client.send_alert(AlertDescription.bad_certificate)


def sends_unprotected_record(client: ScriptedClient) -> None:
    client.send_record(ContentType.handshake, client.finished(), protected=False)


MISDEEDS = [sends_broken_record, sends_wrong_finished, sends_wrong_message, sends_alert, sends_unprotected_record]


@pytest.mark.parametrize("misdeed", MISDEEDS, ids=lambda misdeed: misdeed.__name__)
def test_server_holds_no_secret_after_a_handshake_that_failed(
    config: ServerConfig, misdeed: Callable[[ScriptedClient], None]
) -> None:
    client, server = ScriptedClient(), ServerConnection(config)
    client.send_hello()
    server.receive_data(client.data_to_send())
    client.receive_data(bytes(server.data_to_send()))
    misdeed(client)
    server.receive_data(client.data_to_send())
    assert held_by(server) == {}
    with pytest.raises(TLSError):
        server.next_event()


def test_server_holds_no_secret_after_its_owner_gave_up(config: ServerConfig) -> None:
    for give_up in (ServerConnection.close, ServerConnection.receive_eof):
        client, server = ScriptedClient(), ServerConnection(config)
        client.send_hello()
        server.receive_data(client.data_to_send())
        give_up(server)
        assert held_by(server) == {}


def test_server_holds_no_secret_after_an_open_connection_failed(config: ServerConfig) -> None:
    client, server, _ = connect(config)
    broken = bytearray(client.record(ContentType.application_data, b"data"))
    broken[-1] ^= 1
    server.receive_data(bytes(broken))
    assert held_by(server) == {}


class Promise:
    """An awaitable that is never awaited."""

    def __await__(self) -> NoReturn:
        raise AssertionError("the engine has no event loop")


class OutOfService:
    """A SigningKey that fails, at once or when it is awaited."""

    def __init__(self, key: SigningKey, *, later: bool) -> None:
        self._key = key
        self._later = later

    def schemes(self) -> Sequence[int]:
        return self._key.schemes()

    def sign(self, scheme: int, message: bytes) -> bytes | Awaitable[bytes]:
        if self._later:
            return Promise()
        raise RuntimeError("out of service")


@pytest.mark.parametrize("later", [False, True])
def test_server_holds_no_secret_after_a_signer_failed(config: ServerConfig, later: bool) -> None:  # noqa: FBT001
    ours = config.credential_list[0]
    key = OutOfService(ours.signing_key, later=later)
    server = ServerConnection(replace(config, credentials=Credential.from_signing_key(ours.chain, key)))
    client = ScriptedClient()
    client.send_hello()
    server.receive_data(client.data_to_send())
    if later:
        assert held_by(server)["TrafficSecret"]
        server.fail(RuntimeError("out of service"))
    # The cause keeps its traceback, for the program to read; through it a coroutine that is over may be reached.
    assert set(held_by(server)) <= {"HandshakeDriver", "coroutine"}
    with pytest.raises(CallbackError) as caught:
        server.next_event()
    assert isinstance(caught.value.__cause__, RuntimeError)
