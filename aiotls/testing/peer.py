"""A TLS 1.3 client that says what a test tells it to, right or wrong (RFC 8446).

It holds real keys and a real transcript, so that what it sends out of place is still sealed as a client would seal it:
the server has to refuse it for what it is, and not because it cannot be opened.

    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()                                     # the server's flight, verified
    client.send_message(KeyUpdate(0).encode())      # instead of Finished
    pipe.pump()
    assert isinstance(pipe.second.error, UnexpectedMessage)
    assert client.alert == Alert(2, AlertDescription.unexpected_message, protected=True)

What it sends is the script's to decide, byte by byte if it wants; what it receives it takes like an honest client.  It
verifies the server's CertificateVerify and Finished, follows its KeyUpdates, and keeps what was said.  A server that is
wrong makes `receive_data` raise.  It does not look into the certificate chain.

It is as free of I/O as the engines, and an `Engine` itself: join it to one by a `Pipe`, or feed it from a socket.
"""

import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypedDict, Unpack

from cryptography import x509

from aiotls.crypto import signatures
from aiotls.crypto.groups import GROUPS, KeyShare
from aiotls.crypto.schedule13 import EarlySecret, MasterSecret, TrafficSecret, export
from aiotls.crypto.suites import SUITES, Suite
from aiotls.errors import (
    AlertDescription,
    CertificateError,
    DecodeError,
    DecryptError,
    IllegalParameter,
    LocalError,
    UnexpectedMessage,
)
from aiotls.handshake.transcript import Transcript
from aiotls.record.framing import MAX_CIPHERTEXT, MAX_PLAINTEXT, Deframer, Reassembler, split
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.trust.loading import public_key_of
from aiotls.wire.extensions import KeyShareEntry, OfferedPsks
from aiotls.wire.messages import (
    HEADER_LENGTH,
    MESSAGES,
    Certificate,
    CertificateVerify,
    ClientHello,
    Finished,
    HandshakeMessage,
    KeyUpdate,
    ServerHello,
)
from aiotls.wire.registries import (
    CipherSuite,
    ContentType,
    HandshakeType,
    KeyUpdateRequest,
    NamedGroup,
    ProtocolVersion,
    name_of,
)

__all__ = ["Alert", "HelloFields", "ScriptedClient", "encode_message", "join_hello", "split_hello"]

_RANDOM_LENGTH: Final = 32
_SERVER_CONTEXT: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"  # RFC 8446 §4.4.3
_ALERT_LENGTH: Final = 2
_MESSAGE_LIMIT: Final = 1 << 24
_ANYTHING: Final = range(1 << 16)
"""A script may offer what this class cannot know of, so any answer is taken."""


class HelloFields(TypedDict, total=False):
    """The fields of a ClientHello that a script may want otherwise; an extension that is None is left out."""

    random: bytes
    legacy_session_id: bytes
    cipher_suites: tuple[int, ...]
    legacy_version: int
    legacy_compression_methods: bytes
    server_name: str | None
    supported_groups: tuple[int, ...] | None
    signature_algorithms: tuple[int, ...] | None
    signature_algorithms_cert: tuple[int, ...] | None
    application_layer_protocol_negotiation: tuple[bytes, ...] | None
    supported_versions: tuple[int, ...] | None
    cookie: bytes | None
    key_share: Mapping[int, bytes] | None
    psk_key_exchange_modes: tuple[int, ...] | None
    early_data: bool | None
    certificate_authorities: tuple[bytes, ...] | None
    post_handshake_auth: bool | None
    pre_shared_key: OfferedPsks | None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it came (RFC 8446 §6)."""

    level: int
    description: AlertDescription
    protected: bool
    """Whether it was encrypted."""


class ScriptedClient:
    """A client under a script's control; see the top of this module.

    *shares* are the groups that its first ClientHello holds a share for; the other arguments are what every hello of
    this client has in place of the defaults.
    """

    def __init__(
        self,
        *,
        shares: Sequence[int] = (NamedGroup.x25519,),
        **fields: Unpack[HelloFields],
    ) -> None:
        self._share_groups = tuple(shares)
        self._key_shares: dict[int, KeyShare] = {}
        self._fields = fields
        self._random = os.urandom(_RANDOM_LENGTH)
        self._session_id = os.urandom(_RANDOM_LENGTH)
        self._out = bytearray()
        self._deframer = Deframer()
        self._reassembler = Reassembler(_MESSAGE_LIMIT)
        self._said: list[bytes] = []  # until the cipher suite, and with it the hash, is known
        self._transcript: Transcript | None = None
        self._client_traffic: TrafficSecret | None = None
        self._server_traffic: TrafficSecret | None = None
        self._client_application: TrafficSecret | None = None
        self._exporter_secret = b""
        self._master_secret: MasterSecret | None = None
        self._certificate: x509.Certificate | None = None
        self.suite: Suite | None = None
        """The cipher suite, once the server chose one."""
        self.write_key: SealingKey | None = None
        """Seals what is sent; a script may exchange it."""
        self.read_key: OpeningKey | None = None
        """Opens what the server sends; a script may exchange it."""
        self.retry_request: ServerHello | None = None
        """The HelloRetryRequest, if one came."""
        self.server_messages: list[HandshakeMessage] = []
        """Every handshake message of the server's, in its order."""
        self.server_finished = False
        """Whether the server's Finished came, and was right."""
        self.alerts: list[Alert] = []
        """Every alert of the server's."""
        self.data = bytearray()
        """The application data that came."""
        self.change_cipher_specs = 0
        """How many change_cipher_spec records came."""

    @property
    def alert(self) -> Alert | None:
        """The server's last alert."""
        return self.alerts[-1] if self.alerts else None

    # --- The engine's methods ------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take TLS bytes from the server; raises a TLSError for what an honest client would not accept."""
        self._deframer.feed(data)
        while (record := self._deframer.next_record()) is not None:
            content_type, header, payload = record
            if self.read_key is not None and content_type == ContentType.application_data:
                self._receive_content(*self.read_key.open(header, payload), protected=True)
            else:
                self._receive_content(content_type, bytes(payload), protected=False)
        self._deframer.keep()

    def next_event(self) -> None:
        """None: what happened is in this object's attributes."""

    def data_to_send(self) -> bytes:
        """The bytes for the server, each of them once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # --- Saying the right thing ----------------------------------------------------------------------------------

    def hello(self, **overrides: Unpack[HelloFields]) -> ClientHello:
        """The ClientHello that an honest client would send now, but for *overrides*.

        After a HelloRetryRequest it is the second one, with the share and the cookie that the server asked for.
        """
        retry = self.retry_request
        groups = self._share_groups
        if retry is not None and isinstance(retry.key_share, int):
            groups = (retry.key_share,)
        hello = ClientHello(
            random=self._random,
            legacy_session_id=self._session_id,
            cipher_suites=tuple(int(code) for code in SUITES),
            server_name="localhost",
            supported_groups=tuple(int(code) for code in GROUPS),
            signature_algorithms=tuple(int(scheme) for scheme in signatures.SCHEMES),
            supported_versions=(ProtocolVersion.TLSv1_3,),
            key_share={group: self._key_share(group).public for group in groups},
            cookie=None if retry is None else retry.cookie,
        )
        return replace(replace(hello, **self._fields), **overrides)

    def send_hello(self, **overrides: Unpack[HelloFields]) -> None:
        """Send `hello`."""
        self.send_message(self.hello(**overrides).encode())

    def finished(self) -> bytes:
        """The Finished message that is right at this point (RFC 8446 §4.4.4)."""
        if self._client_traffic is None or self._transcript is None:
            raise LocalError("there is no Finished before the ServerHello has come")
        return Finished(self._client_traffic.finished(self._transcript.digest())).encode()

    def finish(self) -> None:
        """Send Finished, and go over to the application keys."""
        self.send_message(self.finished())
        self.use_application_key()

    def use_application_key(self) -> None:
        """Seal what follows under the application key, whether Finished was sent or not."""
        if self.suite is None or self._client_application is None:
            raise LocalError("there is no application key before the server's Finished has come")
        self.write_key = SealingKey(self.suite, self._client_application)

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
        """What the server's `export_keying_material` has to give too (RFC 8446 §7.5)."""
        if self.suite is None or not self.server_finished:
            raise LocalError("there is no keying material before the server's Finished has come")
        return export(self._exporter_secret, self.suite.hash, label.encode(), context, length)

    # --- Saying anything -----------------------------------------------------------------------------------------

    def send_message(self, raw: bytes, *, fragment_size: int = MAX_PLAINTEXT) -> None:
        """Send a handshake message, header included, in records of *fragment_size*, and `note` it."""
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

    def _receive_content(self, content_type: int, content: bytes, *, protected: bool) -> None:
        match content_type:
            case ContentType.change_cipher_spec:
                self.change_cipher_specs += 1
            case ContentType.alert:
                if len(content) != _ALERT_LENGTH:
                    raise DecodeError(f"the server sent an alert of {len(content)} bytes (RFC 8446 §6)")
                self.alerts.append(Alert(content[0], AlertDescription(content[1]), protected))
            case ContentType.handshake:
                self._reassembler.feed(content)
                while (raw := self._reassembler.next_message()) is not None:
                    self._receive_message(raw)
            case ContentType.application_data:
                self.data += content
            case _:
                raise UnexpectedMessage(f"the server sent a record of type {content_type}")

    def _receive_message(self, raw: bytes) -> None:
        kind = MESSAGES.get(raw[0])
        if kind is None:
            raise UnexpectedMessage(f"the server sent {name_of(HandshakeType, raw[0])}")
        message = kind.parse(raw, _ANYTHING)
        self.server_messages.append(message)
        match message:
            case ServerHello():
                self._receive_server_hello(message)
                return
            case Certificate():
                self._receive_certificate(message)
            case CertificateVerify():
                self._check_signature(message)
            case Finished():
                self._receive_finished(message)
                return
            case KeyUpdate():
                self.read_key = self._opening_key().updated()
            case _:
                pass
        self.note(raw)

    def _receive_server_hello(self, hello: ServerHello) -> None:
        """Choose the hash, and derive the handshake's keys (RFC 8446 §7.1)."""
        suite = SUITES.get(hello.cipher_suite)
        if suite is None:
            raise IllegalParameter(f"the server chose {name_of(CipherSuite, hello.cipher_suite)}")
        transcript = self._transcript
        if transcript is None:
            transcript = self._transcript = Transcript(suite.hash)
            for raw in self._said:
                transcript.add(raw)
        self.suite = suite
        if hello.is_hello_retry_request:
            self.retry_request = hello
            transcript.rewrite_for_retry()
            transcript.add(hello.raw)
            return
        transcript.add(hello.raw)
        entry = hello.key_share
        if not isinstance(entry, KeyShareEntry) or entry.group not in self._key_shares:
            raise IllegalParameter("the ServerHello holds no share for a group that this client made one for")
        shared_secret = self._key_shares[entry.group].finish(entry.key_exchange)
        secret = EarlySecret.handshake_secret_without_psk(suite.hash, shared_secret)
        digest = transcript.digest()
        self._client_traffic = secret.client_handshake_traffic(digest)
        self._server_traffic = secret.server_handshake_traffic(digest)
        self._master_secret = secret.master_secret()
        self.write_key = SealingKey(suite, self._client_traffic)
        self._install_read_key(OpeningKey(suite, self._server_traffic))

    def _receive_certificate(self, message: Certificate) -> None:
        if not message.certificate_list:  # RFC 8446 §4.4.2.4
            raise DecodeError("the server sent an empty Certificate message (RFC 8446 §4.4.2.4)")
        try:
            self._certificate = x509.load_der_x509_certificate(message.certificate_list[0].cert_data)
        except ValueError as error:
            raise CertificateError("the server's certificate does not parse") from error

    def _check_signature(self, message: CertificateVerify) -> None:
        if self._certificate is None or self._transcript is None:
            raise UnexpectedMessage("the server sent CertificateVerify before its Certificate")
        key = public_key_of(self._certificate, "the server's certificate")
        content = _SERVER_CONTEXT + self._transcript.digest()
        signatures.verify(key, message.algorithm, message.signature, content)

    def _receive_finished(self, message: Finished) -> None:
        """Check the server's Finished, and derive the application's keys (RFC 8446 §4.4.4, §7.1)."""
        transcript, suite, master = self._transcript, self.suite, self._master_secret
        if transcript is None or suite is None or master is None or self._server_traffic is None:
            raise UnexpectedMessage("the server sent Finished before its ServerHello")
        if not hmac.compare_digest(message.verify_data, self._server_traffic.finished(transcript.digest())):
            raise DecryptError("the server's Finished does not verify (RFC 8446 §4.4.4)")
        transcript.add(message.raw)
        digest = transcript.digest()
        self._client_application = master.client_application_traffic(digest)
        self._exporter_secret = master.exporter(digest)
        self._install_read_key(OpeningKey(suite, master.server_application_traffic(digest)))
        self.server_finished = True

    def _install_read_key(self, key: OpeningKey) -> None:
        self.read_key = key
        self._deframer.limit = MAX_CIPHERTEXT

    # --- Keys ----------------------------------------------------------------------------------------------------

    def _key_share(self, group: int) -> KeyShare:
        if group not in GROUPS:
            raise LocalError(
                f"a share for {name_of(NamedGroup, group)} has to be the script's own: hello(key_share=...)"
            )
        if group not in self._key_shares:
            self._key_shares[group] = GROUPS[group].generate()
        return self._key_shares[group]

    def _sealing_key(self) -> SealingKey:
        if self.write_key is None:
            raise LocalError("nothing can be sealed before the ServerHello has come")
        return self.write_key

    def _opening_key(self) -> OpeningKey:
        if self.read_key is None:
            raise LocalError("nothing can be opened before the ServerHello has come")
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
    block = b"".join(code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in extensions)
    return encode_message(HandshakeType.client_hello, front + len(block).to_bytes(2, "big") + block)
