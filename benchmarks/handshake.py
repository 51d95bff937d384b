"""Each side of a full TLS 1.3 handshake, in memory: ours, `ssl`'s, and the bare primitives.

    python benchmarks/handshake.py [--rounds N] [--seed N] [--json PATH] [--profile]

Timed is what the server does, from making its connection object to having handled the last byte of the handshake; the
client's work lies between its two halves, in another process (see `_client.py`).  Each round has one handshake of each
row, in an order drawn anew, so that all rows meet the same machine.  Tickets are off, but where a row says so.  The
floor is what no server can do without, on the same primitives as ours: key exchange, signature, HMACs (as two hash
calls each), transcript hashes, AEADs.  Collection of garbage is left on.  The client's side, which verifies a chain of
two certificates, is measured in the same way (see `_client_rows.py`).
"""

import argparse
import cProfile
import hashlib
import pstats
import random
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aiotls import Credential, ServerConfig, ServerConnection
from aiotls.crypto.suites import AEAD, SUITES
from aiotls.testing.ca import LocalCA
from aiotls.wire.registries import CipherSuite, NamedGroup
from benchmarks import _client_rows
from benchmarks._client import ALONE, CLASSICAL, HYBRID, client_process, receive, send, step
from benchmarks._report import keep, measure, summary, table
from benchmarks._server import server_process

_AES_256 = (CipherSuite.TLS_AES_256_GCM_SHA384,)


class Server(Protocol):
    """One server connection under measurement."""

    def first(self, hello: bytes) -> bytes | bytearray:
        """The answer to the client's first flight."""

    def second(self, flight: bytes) -> None:
        """Take the client's second flight."""


class Ours:
    """aiotls' engine."""

    def __init__(self, config: ServerConfig) -> None:
        self._engine = ServerConnection(config)

    def first(self, hello: bytes) -> bytes | bytearray:
        """ServerHello to Finished."""
        self._engine.receive_data(hello)
        self._engine.next_event()
        return self._engine.data_to_send()

    def second(self, flight: bytes) -> None:
        """The client's Finished."""
        self._engine.receive_data(flight)
        if self._engine.next_event() is None:
            raise RuntimeError("our handshake did not complete")
        self._engine.send_tickets()  # of its own accord it would wait for the first application data
        self._engine.data_to_send()


class Standard:
    """The standard library's `ssl`, on memory BIOs."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)

    def first(self, hello: bytes) -> bytes:
        """ServerHello to Finished."""
        self._in.write(hello)
        step(self._object)
        return self._out.read()

    def second(self, flight: bytes) -> None:
        """The client's Finished, and the tickets if any."""
        self._in.write(flight)
        self._object.do_handshake()
        self._out.read()


class Floor:
    """The primitives that a full handshake with X25519, ECDSA P-256 and AES-256-GCM takes, and nothing between them."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._reading: AEAD | None = None

    def first(self, hello: bytes) -> bytes:
        """What ServerHello to Finished take."""
        private = X25519PrivateKey.generate()
        private.public_key().public_bytes_raw()
        private.exchange(X25519PublicKey.from_public_bytes(_PEER_SHARE))
        transcript = hashlib.sha384(hello)
        transcript.digest()
        _hmacs(7)  # handshake secret, two traffic secrets, two keys and IVs
        writing = AESGCM(bytes(32))
        self._reading = AESGCM(bytes(32))
        signed = transcript.digest()
        signature = self._credential.signing_key.sign(self._credential.schemes[0], bytes(98) + signed)
        transcript.update(self._credential.certificate_message)
        transcript.digest()
        _hmacs(2)  # Finished
        assert isinstance(signature, bytes)
        flight = bytes(60) + self._credential.certificate_message + signature
        sealed = writing.encrypt(bytes(12), flight, b"\x17\x03\x03\0\0")
        transcript.digest()
        _hmacs(7)  # master secret by way of its salt, two traffic secrets, the exporter's, key and IV
        AESGCM(bytes(32))
        return sealed

    def second(self, flight: bytes) -> None:
        """What the client's Finished takes."""
        AESGCM(bytes(32)).encrypt(bytes(12), flight[-53:], b"\x17\x03\x03\0\0")  # as dear as to open it
        _hmacs(4)  # the client's Finished, key and IV


_PEER_SHARE = X25519PrivateKey.generate().public_key().public_bytes_raw()
_PAD = bytes(128)


def _hmacs(count: int) -> None:
    sha384 = hashlib.sha384
    for _ in range(count):
        sha384(_PAD + sha384(_PAD + _PEER_SHARE).digest()).digest()


@contextmanager
def profiled(profiler: cProfile.Profile | None) -> Iterator[None]:
    """Profile our own half alone."""
    if profiler is not None:
        profiler.enable()
    try:
        yield
    finally:
        if profiler is not None:
            profiler.disable()


def shake(
    client: socket.socket, kind: bytes, make: Callable[[], Server], profiler: cProfile.Profile | None = None
) -> float:
    """One handshake; the server's microseconds."""
    send(client, kind)
    hello = receive(client)
    with profiled(profiler):
        start = perf_counter_ns()
        server = make()
        answer = server.first(hello)
        elapsed = perf_counter_ns() - start
    send(client, answer)
    flight = receive(client)
    with profiled(profiler):
        start = perf_counter_ns()
        server.second(flight)
        elapsed += perf_counter_ns() - start
    return elapsed / 1000


def count_primitives(client: socket.socket, credential: Credential) -> dict[str, int]:
    """HMACs and AEAD calls of one of our handshakes, counted and not timed."""
    counts = {"hash objects": 0, "AEAD calls": 0, "AEAD keys": 0}
    suite = SUITES[_AES_256[0]]
    new = suite.hash.new

    def counting_hash(data: bytes) -> "hashlib._Hash":
        counts["hash objects"] += 1
        return new(data)

    class CountingAEAD:
        def __init__(self, key: bytes) -> None:
            counts["AEAD keys"] += 1
            aead = AESGCM(key)
            self.encrypt = self._counting(aead.encrypt)
            self.decrypt = self._counting(aead.decrypt)
            self.encrypt_into = aead.encrypt_into

        @staticmethod
        def _counting(call: Callable[..., bytes]) -> Callable[..., bytes]:
            def counted(*arguments: object) -> bytes:
                counts["AEAD calls"] += 1
                return call(*arguments)

            return counted

    config = ServerConfig(credentials=credential, cipher_suites=_AES_256, tickets=0)
    config.suites[suite.code] = replace(suite, hash=replace(suite.hash, new=counting_hash), aead=CountingAEAD)
    shake(client, CLASSICAL, lambda: Ours(config))  # fills what is computed once for each hash
    for name in counts:
        counts[name] = 0
    shake(client, CLASSICAL, lambda: Ours(config))
    hmacs = (counts.pop("hash objects") - 1) // 2  # one hash object is the transcript's
    return {"HMACs": hmacs, **counts}


Row = tuple[bytes, Callable[[], Server]]


def contenders(credential: Credential, without: ssl.SSLContext, with_tickets: ssl.SSLContext) -> dict[str, Row]:
    """The rows: what hello each gets, and how its server is made."""
    x25519 = (NamedGroup.x25519,)
    same = ServerConfig(credentials=credential, cipher_suites=_AES_256, groups=x25519, tickets=0)
    ticketed = ServerConfig(credentials=credential, cipher_suites=_AES_256, groups=x25519, tickets=2)
    preferred = ServerConfig(credentials=credential, groups=x25519, tickets=0)
    hybrid = ServerConfig(credentials=credential, tickets=0)
    return {
        "ours": (CLASSICAL, lambda: Ours(same)),
        "ssl": (CLASSICAL, lambda: Standard(without)),
        "floor": (ALONE, lambda: Floor(credential)),
        "ours, 2 tickets": (CLASSICAL, lambda: Ours(ticketed)),
        "ssl, 2 tickets": (CLASSICAL, lambda: Standard(with_tickets)),
        "ours, AES-128-GCM": (CLASSICAL, lambda: Ours(preferred)),
        "ours, X25519MLKEM768": (HYBRID, lambda: Ours(hybrid)),
    }


def server_context(certificate: Path, key: Path, tickets: int) -> ssl.SSLContext:
    """A server of `ssl` that issues so many tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.num_tickets = tickets
    return context


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2000, help="handshakes of each row (default 2000)")
    parser.add_argument("--seed", type=int, default=8446, help="seed of the order within the rounds")
    parser.add_argument("--json", type=Path, help="where the figures go (default benchmarks/results/handshake.json)")
    parser.add_argument("--profile", action="store_true", help="print where our half spends its time instead")
    options = parser.parse_args()
    random.seed(options.seed)
    authority = LocalCA()
    issued = authority.issue("localhost")
    with tempfile.TemporaryDirectory() as folder:
        files = issued.write(folder)
        contexts = [server_context(*files, tickets) for tickets in (0, 2)]
    rows = contenders(issued.credential(), contexts[0], contexts[1])
    with client_process(authority.certificate_pem, contexts[0]) as client:
        if options.profile:
            profile(client, rows["ours"], options.rounds)
            return
        counts = count_primitives(client, issued.credential())
        servers = summary(measure({name: partial(shake, client, *row) for name, row in rows.items()}, options.rounds))
    clients = measure_clients(authority, options.rounds)
    show("The server's side of a full TLS 1.3 handshake, microseconds", servers)
    print("In each of ours: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    show("The client's side, with a chain of two certificates", clients)
    figures = {"server, microseconds": servers, "client, microseconds": clients, "per handshake of the server": counts}
    print(f"kept in {keep('handshake', {'rounds': options.rounds, 'seed': options.seed, **figures}, options.json)}")


def measure_clients(authority: LocalCA, rounds: int) -> dict[str, dict[str, float]]:
    """The rows of the client's side."""
    with tempfile.TemporaryDirectory() as folder:
        context = server_context(*authority.issue("localhost", intermediate=True).write(folder), 0)
    with server_process(context) as server:
        return summary(measure(_client_rows.contenders(server, authority.certificate_pem, signatures=2), rounds))


def show(title: str, figures: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    columns = list(next(iter(figures.values())))
    print(title)
    print(table(["", *columns], [[name, *row.values()] for name, row in figures.items()]))


def profile(client: socket.socket, row: Row, rounds: int) -> None:
    """Print where our half spends its time; a profile is slower than life, and charges every call alike."""
    profiler = cProfile.Profile()
    for _ in range(rounds):
        shake(client, *row, profiler)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
