"""The client's side of a full TLS 1.3 handshake: ours, `ssl`'s, and the bare primitives.

Timed is what the client does, from making its connection object to its Finished; the server's work lies between, in
another process (see `_server.py`).  Both verify a chain of two certificates, the server's and an intermediate's.
"""

import hashlib
import socket
import ssl
from collections.abc import Callable
from time import perf_counter_ns
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aiotls import ClientConfig, ClientConnection, Roots
from aiotls.wire.registries import CipherSuite, NamedGroup
from benchmarks._client import receive, send, step

_HOST = "localhost"
_PEER_SHARE = X25519PrivateKey.generate().public_key().public_bytes_raw()
_PAD = bytes(128)
_HMACS = 22  # of a client's handshake: the schedule, the keys, and both Finished


class Client(Protocol):
    """One client connection under measurement."""

    def first(self) -> bytes | bytearray:
        """The ClientHello."""

    def second(self, flight: bytes) -> bytes | bytearray:
        """Verify the server, and answer with Finished."""


class Ours:
    """aiotls' engine."""

    def __init__(self, config: ClientConfig) -> None:
        self._engine = ClientConnection(config, _HOST)

    def first(self) -> bytes | bytearray:
        """The ClientHello."""
        return self._engine.data_to_send()

    def second(self, flight: bytes) -> bytes | bytearray:
        """Finished."""
        self._engine.receive_data(flight)
        if self._engine.next_event() is None:
            raise RuntimeError("our handshake did not complete")
        return self._engine.data_to_send()


class Standard:
    """The standard library's `ssl`, on memory BIOs."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=_HOST)

    def first(self) -> bytes:
        """The ClientHello."""
        step(self._object)
        return self._out.read()

    def second(self, flight: bytes) -> bytes:
        """Finished."""
        self._in.write(flight)
        self._object.do_handshake()
        return self._out.read()


def shake(server: socket.socket, make: Callable[[], Client]) -> float:
    """One handshake; the client's microseconds."""
    start = perf_counter_ns()
    client = make()
    hello = client.first()
    elapsed = perf_counter_ns() - start
    send(server, hello)
    flight = receive(server)
    start = perf_counter_ns()
    finished = client.second(flight)
    elapsed += perf_counter_ns() - start
    send(server, finished)
    receive(server)
    return elapsed / 1000


def floor(signatures: int) -> Callable[[], float]:
    """The primitives that a client takes, with nothing between them, for a chain with so many signatures to verify.

    They are a key exchange, those signatures and that of the handshake, HMACs, and AEADs.
    """
    signer = ec.generate_private_key(ec.SECP256R1())
    algorithm = ec.ECDSA(hashes.SHA256())
    key, signature = signer.public_key(), signer.sign(b"", algorithm)
    sha384 = hashlib.sha384

    def run() -> float:
        start = perf_counter_ns()
        private = X25519PrivateKey.generate()
        private.public_key().public_bytes_raw()
        private.exchange(X25519PublicKey.from_public_bytes(_PEER_SHARE))
        for _ in range(signatures + 1):
            key.verify(signature, b"", algorithm)
        for _ in range(_HMACS):
            sha384(_PAD + sha384(_PAD + _PEER_SHARE).digest()).digest()
        for _ in range(4):
            AESGCM(bytes(32)).encrypt(bytes(12), bytes(500), b"\x17\x03\x03\0\0")
        return (perf_counter_ns() - start) / 1000

    return run


def contenders(server: socket.socket, ca_pem: bytes, signatures: int) -> dict[str, Callable[[], float]]:
    """The rows, each a function that does one handshake and gives its microseconds."""
    roots = Roots.from_bytes(ca_pem)
    suites, groups = (CipherSuite.TLS_AES_256_GCM_SHA384,), (NamedGroup.x25519,)
    fresh = ClientConfig(roots=roots, cipher_suites=suites, groups=groups, verification_cache_size=0)
    remembering = ClientConfig(roots=roots, cipher_suites=suites, groups=groups)
    context = ssl.create_default_context(cadata=ca_pem.decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return {
        "ours": lambda: shake(server, lambda: Ours(fresh)),
        "ours, chain verified before": lambda: shake(server, lambda: Ours(remembering)),
        "ssl": lambda: shake(server, lambda: Standard(context)),
        "floor": floor(signatures),
        "floor, chain verified before": floor(0),
    }
