"""Record protection (RFC 8446 §5.2-5.5): AEAD, nonces, padding, and how long a key may serve.

One key serves one direction.  The nonce is the sequence number XORed into the IV (§5.3), on whole integers.  The
additional data is the record's own header (§5.2).
"""

from typing import Final

from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.suites import AEAD, TAG_LENGTH, InvalidTag, Suite
from aiotls.errors import BadRecordMAC, RecordOverflow, UnexpectedMessage
from aiotls.record.framing import MAX_PLAINTEXT, RECORD_HEADER, Buffer
from aiotls.wire.registries import ContentType

__all__ = ["OpeningKey", "SealingKey"]

_APPLICATION_DATA: Final = int(ContentType.application_data)
_PROTECTED: Final = bytes((_APPLICATION_DATA, 3, 3))
_OVERHEAD: Final = 1 + TAG_LENGTH
_FULL_HEADER: Final = _PROTECTED + (MAX_PLAINTEXT + _OVERHEAD).to_bytes(2, "big")


class OpeningKey:
    """Opens the peer's records, in their order."""

    __slots__ = ("_aead", "_iv", "limit", "secret", "sequence", "suite")

    def __init__(self, suite: Suite, secret: TrafficSecret, limit: int = MAX_PLAINTEXT + 1) -> None:
        """*limit* is the most inner plaintext that a record may hold, in bytes (RFC 8446 §5.2, RFC 8449 §4)."""
        key, iv = secret.key_and_iv(suite)
        self._aead: AEAD = suite.aead(key)
        self._iv = int.from_bytes(iv, "big")
        self.suite = suite
        self.secret = secret
        self.sequence = 0
        self.limit = limit

    def open(self, header: Buffer, payload: Buffer) -> tuple[int, bytes]:
        """The content type and content of a protected record.

        Raises BadRecordMAC; RecordOverflow or UnexpectedMessage for what it holds.
        """
        try:
            inner = self._aead.decrypt((self.sequence ^ self._iv).to_bytes(12, "big"), payload, header)
        except InvalidTag:
            msg = f"record {self.sequence} does not authenticate (RFC 8446 §5.2)"
            raise BadRecordMAC(msg) from None
        self.sequence += 1
        if len(inner) > self.limit:
            msg = f"a record of {len(inner)} bytes of inner plaintext, where {self.limit} are allowed (RFC 8446 §5.2)"
            raise RecordOverflow(msg)
        if inner and inner[-1] == _APPLICATION_DATA:
            return _APPLICATION_DATA, inner[:-1]
        return _unpad(inner)

    def updated(self) -> "OpeningKey":
        """The key of the next generation (RFC 8446 §7.2)."""
        return OpeningKey(self.suite, self.secret.updated(), self.limit)


def _unpad(inner: bytes) -> tuple[int, bytes]:
    """Take the padding of RFC 8446 §5.4 off."""
    content = inner.rstrip(b"\0")
    if not content:
        msg = "a record of nothing but padding (RFC 8446 §5.4)"
        raise UnexpectedMessage(msg)
    return content[-1], content[:-1]


class SealingKey:
    """Seals our records, in their order."""

    __slots__ = ("_aead", "_iv", "secret", "sequence", "suite")

    def __init__(self, suite: Suite, secret: TrafficSecret) -> None:
        key, iv = secret.key_and_iv(suite)
        self._aead: AEAD = suite.aead(key)
        self._iv = int.from_bytes(iv, "big")
        self.suite = suite
        self.secret = secret
        self.sequence = 0

    def seal(self, content_type: int, content: Buffer, zeros: int = 0) -> bytes:
        """One record; *content* and *zeros* of padding (RFC 8446 §5.4) have at most MAX_PLAINTEXT bytes together."""
        header = _PROTECTED + (len(content) + zeros + _OVERHEAD).to_bytes(2, "big")
        nonce = (self.sequence ^ self._iv).to_bytes(12, "big")
        self.sequence += 1
        type_and_padding = bytes((content_type,)) + bytes(zeros) if zeros else bytes((content_type,))
        inner = b"".join((content, type_and_padding))
        return header + self._aead.encrypt(nonce, inner, header)

    def seal_full_records(self, data: memoryview) -> bytearray:
        """Application data that fills its records, sealed in place in one buffer.

        The length of *data* is a multiple of MAX_PLAINTEXT.
        """
        record_size = RECORD_HEADER + MAX_PLAINTEXT + _OVERHEAD
        count = len(data) // MAX_PLAINTEXT
        sealed = bytearray(count * record_size)
        view = memoryview(sealed)
        encrypt_into, iv = self._aead.encrypt_into, self._iv
        position = 0
        for number in range(count):
            inner = position + RECORD_HEADER
            end = inner + MAX_PLAINTEXT
            view[position:inner] = _FULL_HEADER
            view[inner:end] = data[number * MAX_PLAINTEXT : (number + 1) * MAX_PLAINTEXT]
            view[end] = _APPLICATION_DATA
            nonce = ((self.sequence + number) ^ iv).to_bytes(12, "big")
            position += record_size
            # In place, and exactly so: `cryptography` promises nothing for buffers that overlap otherwise.
            encrypt_into(nonce, view[inner : end + 1], _FULL_HEADER, view[inner:position])
        self.sequence += count
        return sealed

    def updated(self) -> "SealingKey":
        """The key of the next generation (RFC 8446 §7.2)."""
        return SealingKey(self.suite, self.secret.updated())
