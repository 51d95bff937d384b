"""The key schedule of TLS 1.3: the diagram of RFC 8446 §7.1, one class for each of its three secrets.

                 0
                 |
                 v
   PSK ->  HKDF-Extract = Early Secret
                 |
                 +-----> Derive-Secret(., "ext binder" | "res binder", "") = binder_key
                 +-----> Derive-Secret(., "c e traffic", ClientHello)
                 v
           Derive-Secret(., "derived", "")
                 |
                 v
 (EC)DHE -> HKDF-Extract = Handshake Secret
                 |
                 +-----> Derive-Secret(., "c hs traffic", ClientHello...ServerHello)
                 +-----> Derive-Secret(., "s hs traffic", ClientHello...ServerHello)
                 v
           Derive-Secret(., "derived", "")
                 |
                 v
      0 -> HKDF-Extract = Master Secret
                 |
                 +-----> Derive-Secret(., "c ap traffic", ClientHello...server Finished)
                 +-----> Derive-Secret(., "s ap traffic", ClientHello...server Finished)
                 +-----> Derive-Secret(., "exp master", ClientHello...server Finished)
                 +-----> Derive-Secret(., "res master", ClientHello...client Finished)

No output here is longer than one digest, so HKDF-Expand (RFC 5869 §2.3) is always a single HMAC.  The parts of the
HkdfLabel that do not change are built once per hash and label, and what does not depend on a secret of ours (the
Early Secret without a PSK, and the salt derived from it) is computed once per hash.
"""

from functools import cache
from typing import Final

from aiotls.crypto.hashes import Hash, HMACKey
from aiotls.crypto.suites import Suite

__all__ = ["EarlySecret", "HandshakeSecret", "MasterSecret", "ResumptionSecret", "Secret", "TrafficSecret", "export"]

IV_LENGTH: Final = 12
"""Bytes of nonce that every AEAD of TLS 1.3 takes (RFC 8446 §5.3)."""


def _front(length: int, label: bytes) -> bytes:
    """An HkdfLabel up to its context (RFC 8446 §7.1)."""
    return length.to_bytes(2, "big") + bytes((6 + len(label),)) + b"tls13 " + label


# The caches hold the labels of the schedule itself; those of an exporter are its caller's, and would pile up.


@cache
def _digest_context(size: int, label: bytes) -> bytes:
    """An HkdfLabel for *size* bytes, up to a context that is a digest of as many."""
    return _front(size, label) + bytes((size,))


@cache
def _empty_context(length: int, label: bytes) -> bytes:
    """A whole HkdfLabel with an empty context, and the counter of HKDF-Expand's first block."""
    return _front(length, label) + b"\x00\x01"


class Secret(HMACKey):
    """A secret of the schedule: an HMAC key, its pads made once for all that is derived from it."""

    __slots__ = ()

    # Both are an HMAC spelled out: they make up the handshake, and a call less in each is felt.

    def derive(self, label: bytes, transcript_hash: bytes) -> bytes:
        """Derive-Secret (RFC 8446 §7.1), with the messages hashed already."""
        new = self._new
        info = _digest_context(self.hash.digest_size, label) + transcript_hash + b"\x01"
        return new(self._outer + new(self._inner + info).digest()).digest()

    def expand(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label with an empty context."""
        new = self._new
        return new(self._outer + new(self._inner + _empty_context(length, label)).digest()).digest()[:length]


class TrafficSecret(Secret):
    """A traffic secret: the key and IV of one direction, its Finished key, its successor (RFC 8446 §7.2-7.3)."""

    __slots__ = ()

    def key_and_iv(self, suite: Suite) -> tuple[bytes, bytes]:
        """The write key and IV (RFC 8446 §7.3)."""
        return self.expand(b"key", suite.key_length), self.expand(b"iv", IV_LENGTH)

    def finished(self, transcript_hash: bytes) -> bytes:
        """The verify_data of a Finished message (RFC 8446 §4.4.4)."""
        finished_key = self.expand(b"finished", self.hash.digest_size)
        return HMACKey(self.hash, finished_key).digest(transcript_hash)

    def updated(self) -> "TrafficSecret":
        """The next generation, after a KeyUpdate (RFC 8446 §7.2)."""
        return TrafficSecret(self.hash, self.expand(b"traffic upd", self.hash.digest_size))


class MasterSecret(Secret):
    """The third secret of the diagram: application traffic, exporters, resumption."""

    __slots__ = ()

    def client_application_traffic(self, transcript_hash: bytes) -> TrafficSecret:
        """Of ClientHello...server Finished."""
        return TrafficSecret(self.hash, self.derive(b"c ap traffic", transcript_hash))

    def server_application_traffic(self, transcript_hash: bytes) -> TrafficSecret:
        """Of ClientHello...server Finished."""
        return TrafficSecret(self.hash, self.derive(b"s ap traffic", transcript_hash))

    def exporter(self, transcript_hash: bytes) -> bytes:
        """Of ClientHello...server Finished (RFC 8446 §7.5)."""
        return self.derive(b"exp master", transcript_hash)

    def resumption(self, transcript_hash: bytes) -> bytes:
        """Of ClientHello...client Finished (RFC 8446 §4.6.1)."""
        return self.derive(b"res master", transcript_hash)


class ResumptionSecret(Secret):
    """The resumption master secret: the pre-shared keys of a connection's tickets come from it."""

    __slots__ = ()

    def psk(self, ticket_nonce: bytes) -> bytes:
        """The pre-shared key of the ticket with this nonce (RFC 8446 §4.6.1)."""
        front = _front(self.hash.digest_size, b"resumption")
        return self.digest(front + bytes((len(ticket_nonce),)) + ticket_nonce + b"\x01")


class HandshakeSecret(Secret):
    """The second secret of the diagram: it protects the rest of the handshake."""

    __slots__ = ()

    def client_handshake_traffic(self, transcript_hash: bytes) -> TrafficSecret:
        """Of ClientHello...ServerHello."""
        return TrafficSecret(self.hash, self.derive(b"c hs traffic", transcript_hash))

    def server_handshake_traffic(self, transcript_hash: bytes) -> TrafficSecret:
        """Of ClientHello...ServerHello."""
        return TrafficSecret(self.hash, self.derive(b"s hs traffic", transcript_hash))

    def master_secret(self) -> MasterSecret:
        """Down the diagram: nothing is mixed in at the last step."""
        salt = HMACKey(self.hash, self.derive(b"derived", _hash_of_nothing(self.hash)))
        return MasterSecret(self.hash, salt.digest(bytes(self.hash.digest_size)))


class EarlySecret(Secret):
    """The first secret of the diagram, from a pre-shared key or, without one, from zeros."""

    __slots__ = ()

    def __init__(self, function: Hash, psk: bytes) -> None:
        super().__init__(function, _zero_salt(function).digest(psk))

    def binder_key(self, label: bytes) -> TrafficSecret:
        """The key of a PSK binder; *label* is ``b"res binder"`` or ``b"ext binder"`` (RFC 8446 §4.2.11.2)."""
        return TrafficSecret(self.hash, self.derive(label, _hash_of_nothing(self.hash)))

    def client_early_traffic(self, transcript_hash: bytes) -> TrafficSecret:
        """Of the ClientHello."""
        return TrafficSecret(self.hash, self.derive(b"c e traffic", transcript_hash))

    def handshake_secret(self, shared_secret: bytes) -> HandshakeSecret:
        """Down the diagram, mixing in the (EC)DHE shared secret."""
        salt = HMACKey(self.hash, self.derive(b"derived", _hash_of_nothing(self.hash)))
        return HandshakeSecret(self.hash, salt.digest(shared_secret))

    @staticmethod
    def handshake_secret_without_psk(function: Hash, shared_secret: bytes) -> HandshakeSecret:
        """The same from a PSK of zeros, whose salt is a constant of the hash."""
        return HandshakeSecret(function, _salt_without_psk(function).digest(shared_secret))


def export(exporter_secret: bytes, function: Hash, label: bytes, context: bytes, length: int) -> bytes:
    """TLS-Exporter (RFC 8446 §7.5), for any *length* up to 255 digests."""
    size = function.digest_size
    derive_label = _front(size, label) + bytes((size,)) + _hash_of_nothing(function)
    secret = HMACKey(function, HMACKey(function, exporter_secret).digest(derive_label + b"\x01"))
    front = _front(length, b"exporter") + bytes((size,)) + function.new(context).digest()
    output = block = b""
    counter = 0
    while len(output) < length:  # HKDF-Expand, RFC 5869 §2.3
        counter += 1
        block = secret.digest(block + front + bytes((counter,)))
        output += block
    return output[:length]


@cache
def _zero_salt(function: Hash) -> HMACKey:
    return HMACKey(function, b"")


@cache
def _hash_of_nothing(function: Hash) -> bytes:
    return function.new(b"").digest()


@cache
def _salt_without_psk(function: Hash) -> HMACKey:
    early = EarlySecret(function, bytes(function.digest_size))
    return HMACKey(function, early.derive(b"derived", _hash_of_nothing(function)))
