"""The transcript hash (RFC 8446 §4.4.1): every handshake message in its order."""

from aiotls.crypto.hashes import Hash
from aiotls.wire.messages import message_hash

__all__ = ["Transcript"]


class Transcript:
    """A running hash over the handshake's messages, each added by an explicit line of the handshake."""

    __slots__ = ("_function", "_running")

    def __init__(self, function: Hash) -> None:
        self._function = function
        self._running = function.new(b"")

    def add(self, message: bytes) -> None:
        """Add one whole message."""
        self._running.update(message)

    def digest(self) -> bytes:
        """The hash of the messages so far; the transcript goes on afterwards."""
        return self._running.digest()

    def digest_with(self, part: bytes) -> bytes:
        """The hash of the messages so far and of *part*, which is not added (RFC 8446 §4.2.11.2)."""
        running = self._running.copy()
        running.update(part)
        return running.digest()

    def rewrite_for_retry(self) -> None:
        """Let message_hash stand for the first ClientHello, before the HelloRetryRequest is added."""
        digest = self._running.digest()
        self._running = self._function.new(message_hash(digest))
