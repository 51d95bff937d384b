"""What a connection costs, counted and not timed: HMACs, AEAD calls, records, chunks.

These are exact, so that a line that costs one more of any is seen, and the change of a figure is a decision.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aiotls import ServerConfig, ServerConnection
from aiotls.crypto import schedule13
from aiotls.crypto.hashes import SHA256
from aiotls.crypto.suites import AEAD, SUITES, Buffer
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import ScriptedClient
from aiotls.wire.registries import CipherSuite, ContentType

RECORD = 16 * 1024
SUITE = SUITES[CipherSuite.TLS_AES_128_GCM_SHA256]


class Counts:
    """A cipher suite whose hash and AEAD count what they are asked for."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.hash_inputs: list[int] = []
        function = replace(SHA256, new=self._counted_hash)
        self.suite = replace(SUITE, hash=function, aead=self._aead)

    def _counted_hash(self, data: bytes) -> Any:
        self.hash_inputs.append(len(data))
        return SHA256.new(data)

    def _aead(self, key: bytes) -> AEAD:
        self.calls["keys"] += 1
        return CountedAEAD(SUITE.aead(key), self.calls)

    @property
    def hmacs(self) -> int:
        """An HMAC is two hashes, each of which begins with a block of padded key (RFC 2104 §2)."""
        padded = sum(size >= SHA256.block_size for size in self.hash_inputs)
        assert padded % 2 == 0
        return padded // 2

    def reset(self) -> None:
        self.calls.clear()
        self.hash_inputs.clear()


class CountedAEAD:
    def __init__(self, aead: AEAD, calls: Counter[str]) -> None:
        self._aead = aead
        self._calls = calls

    def encrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer, /) -> bytes:
        self._calls["encrypt"] += 1
        return self._aead.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer, /) -> bytes:
        self._calls["decrypt"] += 1
        return self._aead.decrypt(nonce, data, associated_data)

    def encrypt_into(self, nonce: bytes, data: Buffer, associated_data: Buffer, buf: memoryview, /) -> int:
        self._calls["encrypt_into"] += 1
        return self._aead.encrypt_into(nonce, data, associated_data, buf)


class Counted:
    """A connection whose handshake is complete, over a suite that counts."""

    def __init__(self, config: ServerConfig, counts: Counts | None = None) -> None:
        self.counts = counts or Counts()
        config = replace(config)
        config.suites[SUITE.code] = self.counts.suite
        self.client = ScriptedClient(cipher_suites=(SUITE.code,))
        self.server = ServerConnection(config)
        self.client.send_hello()
        self.feed()
        self.first_flight = self.take()
        self.client.receive_data(self.first_flight)
        self.client.finish()
        self.feed()
        assert self.server.next_event() is not None

    def feed(self) -> None:
        self.server.receive_data(self.client.data_to_send())

    def take(self) -> bytes:
        return bytes(self.server.data_to_send())


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential())


@pytest.fixture
def counted(config: ServerConfig) -> Counted:
    return Counted(config)


def records(data: bytes) -> list[int]:
    """The types of the records in *data*."""
    types, position = [], 0
    while position < len(data):
        types.append(data[position])
        position += 5 + int.from_bytes(data[position + 3 : position + 5], "big")
    return types


def test_full_handshake_costs_twenty_hmacs(config: ServerConfig) -> None:
    counts = Counts()
    Counted(config, counts)  # what depends on the hash alone is computed once
    counts.reset()
    Counted(config, counts)
    # One extract, whose salt is a constant; two handshake secrets, and a key and an IV of each: 7.
    # The server's Finished, and the check of the client's: 2 and 2.
    # The salt and the extract of the master secret: 2.
    # Two application secrets, a key and an IV of each, and the exporter's secret: 7.
    assert counts.hmacs == 7 + 2 + 2 + 2 + 7


def test_handshake_computes_what_depends_on_the_hash_alone_only_once(config: ServerConfig) -> None:
    counts = Counts()
    schedule13.EarlySecret.handshake_secret_without_psk(counts.suite.hash, bytes(32))
    first = counts.hmacs
    counts.reset()
    schedule13.EarlySecret.handshake_secret_without_psk(counts.suite.hash, bytes(32))
    assert (first, counts.hmacs) == (3, 1)


def test_full_handshake_begins_one_transcript(config: ServerConfig) -> None:
    counts = Counts()
    Counted(config, counts)
    counts.reset()
    Counted(config, counts)
    assert [size for size in counts.hash_inputs if size < SHA256.block_size] == [0]


def test_full_handshake_seals_one_record_and_opens_one(counted: Counted) -> None:
    assert counted.counts.calls == {"keys": 4, "encrypt": 1, "decrypt": 1}


@pytest.mark.rfc("8446", "D.4")
def test_first_flight_is_three_records(counted: Counted) -> None:
    handshake, change_cipher_spec, protected = (
        ContentType.handshake,
        ContentType.change_cipher_spec,
        ContentType.application_data,
    )
    assert records(counted.first_flight) == [handshake, change_cipher_spec, protected]


def test_client_without_compatibility_mode_gets_two_records(config: ServerConfig) -> None:
    client, server = ScriptedClient(legacy_session_id=b""), ServerConnection(config)
    client.send_hello()
    server.receive_data(client.data_to_send())
    flight = bytes(server.data_to_send())
    assert records(flight) == [ContentType.handshake, ContentType.application_data]


def test_first_flight_comes_out_in_one_piece(config: ServerConfig) -> None:
    client, server = ScriptedClient(), ServerConnection(config)
    client.send_hello()
    server.receive_data(client.data_to_send())
    assert len(server._sender._out) == 3  # one chunk for each record, joined once
    assert len(records(bytes(server.data_to_send()))) == 3
    assert server.data_to_send() == b""


def test_server_sends_nothing_after_the_clients_finished(counted: Counted) -> None:
    assert counted.take() == b""


@pytest.mark.parametrize("size", [1, 100, RECORD])
def test_small_write_costs_one_seal(counted: Counted, size: int) -> None:
    counted.counts.reset()
    counted.server.send_data(bytes(size))
    assert counted.counts.calls == {"encrypt": 1}
    assert counted.counts.hash_inputs == []


@pytest.mark.parametrize("full", [1, 2, 64])
def test_large_write_is_sealed_in_place_and_is_one_chunk(counted: Counted, full: int) -> None:
    counted.counts.reset()
    counted.server.send_data(bytes((full + 1) * RECORD))
    assert counted.counts.calls == {"encrypt_into": full + 1}
    assert len(counted.server._sender._out) == 1
    sealed = counted.server._sender._out[0]
    assert counted.server.data_to_send() is sealed  # handed on as it is


def test_rest_of_a_large_write_is_one_more_seal(counted: Counted) -> None:
    counted.counts.reset()
    counted.server.send_data(bytes(3 * RECORD + 1))
    assert counted.counts.calls == {"encrypt_into": 3, "encrypt": 1}


@pytest.mark.parametrize("pieces", [[b"x"], [b"x"] * 10, [bytes(RECORD)] * 4])
def test_received_record_costs_one_open(counted: Counted, pieces: list[bytes]) -> None:
    counted.counts.reset()
    for piece in pieces:
        counted.client.send_data(piece)
    counted.feed()
    assert counted.counts.calls == {"decrypt": len(pieces)}
    assert counted.counts.hash_inputs == []


def test_key_update_costs_three_hmacs_and_one_key_for_each_direction(counted: Counted) -> None:
    counted.counts.reset()
    counted.server.key_update()
    assert counted.counts.hmacs == 3
    assert counted.counts.calls == {"keys": 1, "encrypt": 1}
    counted.counts.reset()
    counted.client.send_key_update()
    counted.feed()
    assert counted.counts.hmacs == 3
    assert counted.counts.calls == {"keys": 1, "decrypt": 1}


def test_refused_hello_costs_no_secret(config: ServerConfig) -> None:
    counts = Counts()
    config = replace(config)
    config.suites[SUITE.code] = counts.suite
    client, server = ScriptedClient(supported_groups=(0x0100,), key_share={}), ServerConnection(config)
    client.send_hello()
    server.receive_data(client.data_to_send())
    assert counts.hmacs == 0
    assert counts.calls == {}


def test_hello_is_parsed_once(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiotls.wire.messages import ClientHello

    parse: Callable[..., ClientHello] = ClientHello.parse
    parsed: list[int] = []

    def counting(raw: bytes, offered: object = ()) -> ClientHello:
        parsed.append(len(raw))
        return parse(raw)

    client, server = ScriptedClient(), ServerConnection(config)
    client.send_hello()
    monkeypatch.setattr(ClientHello, "parse", counting)
    server.receive_data(client.data_to_send())
    assert len(parsed) == 1
