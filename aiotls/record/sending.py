"""What we send: content cut into records, padded and protected, in its order (RFC 8446 §5.1-5.5).

Handshake messages are collected, for those of one flight share their records; all else is protected at once.  A key
that has served its time is replaced by a KeyUpdate of our own accord (§5.5).
"""

from collections.abc import Callable, Sequence
from typing import Final

from aiotls.errors import CallbackError, LocalError
from aiotls.record.framing import MAX_PLAINTEXT, Buffer, frame_plaintext, split
from aiotls.record.protection import SealingKey
from aiotls.wire.registries import ContentType

__all__ = ["Padding", "RecordSender"]

_CHANGE_CIPHER_SPEC: Final = frame_plaintext(ContentType.change_cipher_spec, b"\x01")
_ALERT: Final = int(ContentType.alert)
_HANDSHAKE: Final = int(ContentType.handshake)
_APPLICATION_DATA: Final = int(ContentType.application_data)
_ALERT_LENGTH: Final = 2

Padding = int | Callable[[int], int]
"""The multiple that a record's content is padded to, or how many zeros content of this length gets."""


class RecordSender:
    """Our half of the record layer."""

    __slots__ = ("_flight", "_fragment", "_key_update", "_limit", "_out", "_padding", "_records_per_key", "key")

    def __init__(self, *, max_fragment: int, padding: Padding, records_per_key: int | None, key_update: bytes) -> None:
        """*key_update* is the message that tells the peer of a new key."""
        self.key: SealingKey | None = None
        """What protects our records; None while they are in plain text."""
        self._out: list[bytes | bytearray] = []
        self._flight = b""
        self._fragment = max_fragment
        self._limit = MAX_PLAINTEXT + 1
        self._padding = padding
        self._records_per_key = records_per_key
        self._key_update = key_update

    def configure(self, max_fragment: int, padding: Padding, records_per_key: int | None) -> None:
        """Go on under other rules of our own; what the peer asks for stands."""
        self._fragment = min(max_fragment, self._limit - 1)
        self._padding = padding
        self._records_per_key = records_per_key

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._out)

    def limit(self, size: int) -> None:
        """The peer takes no more than *size* bytes of plaintext, type and padding included (RFC 8449 §4)."""
        self._limit = min(size, MAX_PLAINTEXT + 1)
        self._fragment = min(self._fragment, self._limit - 1)

    def take(self) -> bytes | bytearray:
        """What is to be sent, each byte once; empty when there is nothing."""
        out = self._out
        if not out:
            return b""
        if len(out) == 1:
            return out.pop()
        data = b"".join(out)
        out.clear()
        return data

    # --- The handshake -------------------------------------------------------------------------------------------

    def collect(self, message: bytes) -> None:
        """Keep a handshake message for the flight that `flush` sends."""
        self._flight += message

    def discard(self) -> None:
        """Forget the flight."""
        self._flight = b""

    def flush(self) -> None:
        """Send the flight under the present key."""
        if self._flight:
            flight, self._flight = self._flight, b""
            if self.key is None:
                self._out.append(frame_plaintext(_HANDSHAKE, flight))
            else:
                pieces = self._padded(split(flight, self._fragment))
                self._out += [self.key.seal(_HANDSHAKE, piece, zeros) for piece, zeros in pieces]

    def change_cipher_spec(self) -> None:
        """The compatibility record of RFC 8446 §D.4."""
        self.flush()
        self._out.append(_CHANGE_CIPHER_SPEC)

    def install(self, key: SealingKey) -> None:
        """What was collected goes out under the old key, all else under this one."""
        self.flush()
        self.key = key

    # --- Protected, or not yet -----------------------------------------------------------------------------------

    def alert(self, level: int, description: int) -> None:
        """Send an alert, whatever becomes of its padding: the connection ends by it."""
        content = bytes((level, description))
        if self.key is None:
            self._out.append(frame_plaintext(_ALERT, content))
            return
        try:
            zeros = self._zeros(_ALERT_LENGTH)
        except CallbackError:
            zeros = 0
        self._out.append(self.key.seal(_ALERT, content, zeros))

    def handshake(self, messages: bytes) -> None:
        """Send post-handshake messages at once, under one key (RFC 8446 §5.1)."""
        pieces = split(messages, self._fragment)
        key = self._fresh_key(len(pieces))
        self._out += [key.seal(_HANDSHAKE, piece, zeros) for piece, zeros in self._padded(pieces)]

    def application_data(self, data: Buffer) -> None:
        """Send application data, cut into records."""
        if len(data) <= self._fragment:
            if data:
                zeros = self._zeros(len(data)) if self._padding else 0
                self._out.append(self._fresh_key().seal(_APPLICATION_DATA, data, zeros))
            return
        view = memoryview(data)
        if self._fragment == MAX_PLAINTEXT and not self._padding:
            full = len(view) - len(view) % MAX_PLAINTEXT
            self._seal_full_records(view[:full])
            view = view[full:]
        for piece, zeros in self._padded(split(view, self._fragment)) if view else ():
            self._out.append(self._fresh_key().seal(_APPLICATION_DATA, piece, zeros))

    def update_key(self, message: bytes) -> SealingKey:
        """Send a KeyUpdate, and go over to the next generation (RFC 8446 §4.6.3)."""
        key = self._installed()
        self._out.append(key.seal(_HANDSHAKE, message))
        key = self.key = key.updated()
        return key

    def _seal_full_records(self, data: memoryview) -> None:
        while data:
            key = self._fresh_key()
            size = min(len(data), max(1, self._records_left(key)) * MAX_PLAINTEXT)
            self._out.append(key.seal_full_records(data[:size]))
            data = data[size:]

    def _padded(self, pieces: Sequence[Buffer]) -> list[tuple[Buffer, int]]:
        """Each piece with its zeros: all are known before the first is sealed, lest a part be sent and no more."""
        return [(piece, self._zeros(len(piece)) if self._padding else 0) for piece in pieces]

    def _zeros(self, length: int) -> int:
        """How many zeros pad content of this *length* (RFC 8446 §5.4), within the record's limit."""
        padding = self._padding
        if not callable(padding):
            return min(-length % padding, self._limit - 1 - length) if padding else 0
        try:
            zeros: object = padding(length)
        except Exception as error:
            msg = f"record_padding failed: {error!r}"
            raise CallbackError(msg) from error
        if not isinstance(zeros, int) or zeros < 0:
            msg = f"record_padding must give a number of zeros, and gave {zeros!r}"
            raise CallbackError(msg)
        return min(zeros, self._limit - 1 - length)

    def _installed(self) -> SealingKey:
        if self.key is None:
            msg = "the handshake is not complete"
            raise LocalError(msg)
        return self.key

    def _fresh_key(self, records: int = 1) -> SealingKey:
        """The key, replaced first when so many records more are too many for it (RFC 8446 §5.5)."""
        key = self._installed()
        if self._records_left(key) < records and key.sequence:
            key = self.update_key(self._key_update)
        return key

    def _records_left(self, key: SealingKey) -> int:
        """Records that *key* may still protect; one is kept for the KeyUpdate that ends it (RFC 8446 §5.5)."""
        limit = key.suite.confidentiality_limit
        if self._records_per_key is not None:
            limit = min(limit, self._records_per_key)
        return limit - 1 - key.sequence
