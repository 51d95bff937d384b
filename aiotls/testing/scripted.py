"""What the scripted client and the scripted server have in common: records, a real transcript, real keys (RFC 8446).

A scripted peer says what a test tells it to, right or wrong, and what it says out of place is still sealed as an
honest peer would seal it: the other side has to refuse it for what it is, and not because it cannot be opened.  What it
receives it takes like an honest peer, and a TLSError comes out of `receive_data` when the other side is wrong.

It is as free of I/O as the engines, and an `Engine` itself: join it to one by a `Pipe`, or feed it from a socket.
"""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Final

from cryptography import x509

from aiotls.crypto import signatures
from aiotls.crypto.schedule13 import EarlySecret, MasterSecret, TrafficSecret, export
from aiotls.crypto.suites import Suite
from aiotls.errors import (
    AlertDescription,
    CertificateError,
    DecodeError,
    DecryptError,
    LocalError,
    UnexpectedMessage,
)
from aiotls.handshake.transcript import Transcript
from aiotls.record.framing import MAX_CIPHERTEXT, MAX_PLAINTEXT, Deframer, Reassembler, split
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.trust.loading import public_key_of
from aiotls.wire.codec import Reader, Writer
from aiotls.wire.messages import (
    HEADER_LENGTH,
    MESSAGES,
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    EncryptedExtensions,
    Finished,
    HandshakeMessage,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from aiotls.wire.registries import ContentType, HandshakeType, KeyUpdateRequest, name_of

__all__ = [
    "CLIENT_CONTEXT",
    "RANDOM_LENGTH",
    "SERVER_CONTEXT",
    "Alert",
    "ScriptedPeer",
    "encode_message",
    "join_hello",
    "join_message",
    "split_hello",
    "split_message",
]

RANDOM_LENGTH: Final = 32
"""Bytes of a hello's random, and of the session ids that a scripted peer makes."""
CLIENT_CONTEXT: Final = b"TLS 1.3, client CertificateVerify"
"""What a client's signature is about (RFC 8446 §4.4.3)."""
SERVER_CONTEXT: Final = b"TLS 1.3, server CertificateVerify"
"""What a server's signature is about (RFC 8446 §4.4.3)."""

_ALERT_LENGTH: Final = 2
_MESSAGE_LIMIT: Final = 1 << 24
_ANYTHING: Final = range(1 << 16)
"""A script may offer what these classes cannot know of, so any answer is taken."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it came (RFC 8446 §6)."""

    level: int
    description: AlertDescription
    protected: bool
    """Whether it was encrypted."""


@dataclass(frozen=True, slots=True)
class HandshakeSecrets:
    """What follows from ClientHello...ServerHello (RFC 8446 §7.1)."""

    client: TrafficSecret
    server: TrafficSecret
    master: MasterSecret


@dataclass(frozen=True, slots=True)
class ApplicationSecrets:
    """What follows from ClientHello...server Finished (RFC 8446 §7.1)."""

    client: TrafficSecret
    server: TrafficSecret
    exporter: bytes


class ScriptedPeer(ABC):
    """One end of a connection under a script's control; see the top of this module."""

    _other: ClassVar[str]
    """What the other end is called in errors."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._deframer = Deframer()
        self._reassembler = Reassembler(_MESSAGE_LIMIT)
        self._said: list[bytes] = []  # until the cipher suite, and with it the hash, is known
        self._transcript: Transcript | None = None
        self._in_handshake = True
        self._handshake: HandshakeSecrets | None = None
        self._application: ApplicationSecrets | None = None
        self._certificate: x509.Certificate | None = None
        self.suite: Suite | None = None
        """The cipher suite, once the server chose one."""
        self.write_key: SealingKey | None = None
        """Seals what is sent; a script may exchange it."""
        self.read_key: OpeningKey | None = None
        """Opens what comes; a script may exchange it."""
        self.alerts: list[Alert] = []
        """Every alert that came."""
        self.data = bytearray()
        """The application data that came."""
        self.change_cipher_specs = 0
        """How many change_cipher_spec records came."""

    @property
    def alert(self) -> Alert | None:
        """The last alert that came."""
        return self.alerts[-1] if self.alerts else None

    # --- The engine's methods ------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take TLS bytes from the other side; raises a TLSError for what an honest peer would not accept."""
        self._deframer.feed(data)
        while (record := self._deframer.next_record()) is not None:
            content_type, header, payload = record
            if self.read_key is not None and content_type == ContentType.application_data:
                self._receive_content(*self.read_key.open(header, payload), protected=True)
            else:
                self._receive_content(content_type, bytes(payload), protected=False)
        self._deframer.keep()

    def next_event(self) -> None:  # noqa: B027 - no role has more to tell
        """None: what happened is in this object's attributes."""

    def data_to_send(self) -> bytes:
        """The bytes for the other side, each of them once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # --- Saying the right thing ----------------------------------------------------------------------------------

    @abstractmethod
    def finished(self) -> bytes:
        """The Finished message that is right at this point (RFC 8446 §4.4.4)."""

    @abstractmethod
    def use_application_key(self) -> None:
        """Seal what follows under the application key, whether Finished was sent or not."""

    def finish(self) -> None:
        """Send Finished, and go over to the application key."""
        self.send_message(self.finished())
        self.use_application_key()

    def send_data(self, data: bytes) -> None:
        """Send application data, in records of the greatest size."""
        for piece in split(data, MAX_PLAINTEXT):
            self.send_record(ContentType.application_data, bytes(piece))

    def send_key_update(self, *, request_peer: bool = False) -> None:
        """Send KeyUpdate, and go over to the next key (RFC 8446 §4.6.3)."""
        request = KeyUpdateRequest.update_requested if request_peer else KeyUpdateRequest.update_not_requested
        self.send_message(KeyUpdate(request).encode())
        self.write_key = self._sealing_key().updated()

    def send_alert(self, description: int, *, level: int = 2) -> None:
        """Send an alert, fatal if not said otherwise."""
        self.send_record(ContentType.alert, bytes((level, description)))

    def send_change_cipher_spec(self, content: bytes = b"\x01") -> None:
        """Send the record of RFC 8446 §D.4, which is never protected."""
        self.send_record(ContentType.change_cipher_spec, content, protected=False)

    def export_keying_material(self, label: str, context: bytes, length: int) -> bytes:
        """What the other side's `export_keying_material` has to give too (RFC 8446 §7.5)."""
        if self.suite is None or self._application is None:
            raise LocalError("there is no keying material before the server's Finished")
        return export(self._application.exporter, self.suite.hash, label.encode(), context, length)

    def to_be_signed(self, context: bytes) -> bytes:
        """What a CertificateVerify at this point signs, in the role that *context* names (RFC 8446 §4.4.3)."""
        return b" " * 64 + context + b"\0" + self._running_transcript().digest()

    # --- Saying anything -----------------------------------------------------------------------------------------

    def send(self, message: HandshakeMessage) -> None:
        """Send a handshake message, and `note` it."""
        self.send_message(message.encode())

    def send_message(self, raw: bytes, *, fragment_size: int = MAX_PLAINTEXT) -> None:
        """Send a handshake message, header included, in records of *fragment_size*.

        It is `note`d until the application key is in use: the transcript ends with the handshake (RFC 8446 §4.4.1).
        """
        if self._in_handshake:
            self.note(raw)
        for piece in split(raw, fragment_size):
            self.send_record(ContentType.handshake, bytes(piece))

    def note(self, raw: bytes) -> None:
        """Enter a message into the transcript without sending it."""
        if self._transcript is None:
            self._said.append(raw)
        else:
            self._transcript.add(raw)

    def send_record(
        self, content_type: int, content: bytes, *, protected: bool | None = None, padding: int = 0
    ) -> None:
        """Send what `record` makes."""
        self.send_raw(self.record(content_type, content, protected=protected, padding=padding))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._out += data

    def record(self, content_type: int, content: bytes, *, protected: bool | None = None, padding: int = 0) -> bytes:
        """One record of any type and size, not sent yet; it is sealed if there is a key, or as *protected* says.

        A sealed record takes its sequence number here, and *padding* is how many zeros follow its content (RFC 8446
        §5.4).
        """
        if protected is None:
            protected = self.write_key is not None
        if not protected:
            return bytes((content_type, 3, 3)) + len(content).to_bytes(2, "big") + content
        if padding:  # the key adds one byte after what it is given, which is then the last of the zeros
            return self._sealing_key().seal(0, content + bytes((content_type,)) + bytes(padding - 1))
        return self._sealing_key().seal(content_type, content)

    # --- Listening -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _receive_message(self, message: HandshakeMessage) -> None:
        """Take a handshake message; `note` is up to the role."""

    def _receive_content(self, content_type: int, content: bytes, *, protected: bool) -> None:
        match content_type:
            case ContentType.change_cipher_spec:
                self.change_cipher_specs += 1
            case ContentType.alert:
                if len(content) != _ALERT_LENGTH:
                    raise DecodeError(f"the {self._other} sent an alert of {len(content)} bytes (RFC 8446 §6)")
                self.alerts.append(Alert(content[0], AlertDescription(content[1]), protected))
            case ContentType.handshake:
                self._reassembler.feed(content)
                while (raw := self._reassembler.next_message()) is not None:
                    kind = MESSAGES.get(raw[0])
                    if kind is None:
                        raise UnexpectedMessage(f"the {self._other} sent {name_of(HandshakeType, raw[0])}")
                    self._receive_message(kind.parse(raw, _ANYTHING))
            case ContentType.application_data:
                self.data += content
            case _:
                raise UnexpectedMessage(f"the {self._other} sent a record of type {content_type}")

    def _receive_certificate(self, message: Certificate) -> None:
        try:
            self._certificate = x509.load_der_x509_certificate(message.certificate_list[0].cert_data)
        except ValueError as error:
            raise CertificateError(f"the {self._other}'s certificate does not parse") from error

    def _check_signature(self, message: CertificateVerify, context: bytes) -> None:
        """The other side's CertificateVerify (RFC 8446 §4.4.3)."""
        if self._certificate is None:
            raise UnexpectedMessage(f"the {self._other} sent CertificateVerify before its Certificate")
        key = public_key_of(self._certificate, f"the {self._other}'s certificate")
        signatures.verify(key, message.algorithm, message.signature, self.to_be_signed(context))

    def _check_finished(self, message: Finished, secret: TrafficSecret) -> None:
        """The other side's Finished (RFC 8446 §4.4.4)."""
        expected = secret.finished(self._running_transcript().digest())
        if not hmac.compare_digest(message.verify_data, expected):
            raise DecryptError(f"the {self._other}'s Finished does not verify (RFC 8446 §4.4.4)")

    # --- Keys ----------------------------------------------------------------------------------------------------

    def _begin_transcript(self, suite: Suite) -> Transcript:
        """The transcript under the suite's hash, with what was said before; it begins once only."""
        if self._transcript is None:
            self.suite = suite
            self._transcript = Transcript(suite.hash)
            for raw in self._said:
                self._transcript.add(raw)
        return self._transcript

    def _running_transcript(self) -> Transcript:
        if self._transcript is None:
            raise LocalError("there is no transcript before the ServerHello")
        return self._transcript

    def _derive_handshake_secrets(self, suite: Suite, shared_secret: bytes) -> HandshakeSecrets:
        """Of the transcript as it is now, which ends with the ServerHello (RFC 8446 §7.1)."""
        secret = EarlySecret.handshake_secret_without_psk(suite.hash, shared_secret)
        digest = self._running_transcript().digest()
        self._handshake = HandshakeSecrets(
            secret.client_handshake_traffic(digest), secret.server_handshake_traffic(digest), secret.master_secret()
        )
        return self._handshake

    def _derive_application_secrets(self, master: MasterSecret) -> ApplicationSecrets:
        """Of the transcript as it is now, which ends with the server's Finished (RFC 8446 §7.1)."""
        digest = self._running_transcript().digest()
        self._application = ApplicationSecrets(
            master.client_application_traffic(digest),
            master.server_application_traffic(digest),
            master.exporter(digest),
        )
        return self._application

    def _install_read_key(self, suite: Suite, secret: TrafficSecret) -> None:
        self.read_key = OpeningKey(suite, secret)
        self._deframer.limit = MAX_CIPHERTEXT

    def _sealing_key(self) -> SealingKey:
        if self.write_key is None:
            raise LocalError("nothing can be sealed before the ServerHello")
        return self.write_key

    def _opening_key(self) -> OpeningKey:
        if self.read_key is None:
            raise LocalError("nothing can be opened before the ServerHello")
        return self.read_key


# --- Messages taken apart, for a script that wants one that no class of ours would make --------------------------


def encode_message(handshake_type: int, body: bytes) -> bytes:
    """A handshake message of any type: header and body (RFC 8446 §4)."""
    return bytes((handshake_type,)) + len(body).to_bytes(3, "big") + body


def split_hello(raw: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A well-formed ClientHello as the part of its body before the extensions, and the extensions in their order."""
    extensions = list(ClientHello.parse(raw).extensions.items())
    size = sum(4 + len(data) for _, data in extensions)
    return raw[HEADER_LENGTH : len(raw) - 2 - size], extensions


def join_hello(front: bytes, extensions: Sequence[tuple[int, bytes]]) -> bytes:
    """The ClientHello of such parts, whatever they hold."""
    return join_message(HandshakeType.client_hello, front, extensions)


def split_message(
    message: ServerHello | EncryptedExtensions | CertificateRequest | NewSessionTicket,
) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The part of the message's body before the extensions, and the extensions: in these they come last."""
    bare = replace(message)
    for field in fields(message):
        if field.default is None:
            setattr(bare, field.name, None)
    start = len(bare.encode())
    raw = message.encode()
    block = Reader(raw, "extensions", start)
    extensions = []
    while block:
        extensions.append((block.uint16(), block.opaque16()))
    return raw[HEADER_LENGTH : start - 2], extensions


def join_message(handshake_type: int, front: bytes, extensions: Sequence[tuple[int, bytes]]) -> bytes:
    """The message of such parts, whatever they hold."""
    block = Writer()
    for code, data in extensions:
        block.uint16(code).opaque16(data)
    return encode_message(handshake_type, front + Writer().opaque16(block.getvalue()).getvalue())
