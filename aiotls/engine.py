"""The engine: what both ends of a TLS connection have in common, without I/O.

Theory of operation.  The owner feeds what the peer sent (`receive_data`, `receive_eof`), takes events
(`next_event`) until there are none, and sends what comes out (`data_to_send`).  Everything that a `receive_data`
brings is processed in that call, so that the owner may use its buffer again at once; events wait in their order.

An error of the peer's is an event like the others, and the last: `next_event` raises it, in its place and from then on,
the alert that tells the peer of it is in `data_to_send`, and the engine takes and gives no more.

When the handshake waits for something outside (a certificate from a database, a signature from an HSM), `pending` is an
awaitable, and the owner calls `resume` or `fail` with what came of it.  Until then what the peer sends is kept, within
a bound; an owner does best to stop reading.
"""

import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple

from aiotls.config import ClientConfig, ServerConfig
from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.suites import Suite
from aiotls.errors import (
    AlertDescription,
    AlertReceived,
    BadRecordMAC,
    CallbackError,
    DecodeError,
    LocalError,
    PeerFlooding,
    RecordOverflow,
    TLSError,
    TruncationError,
    UnexpectedMessage,
    alert_for,
)
from aiotls.events import ApplicationData, Event, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.handshake.effects import HandshakeDriver
from aiotls.handshake.outcome import Outcome
from aiotls.handshake.post import PostHandshake, key_update
from aiotls.negotiated import Negotiated
from aiotls.record.framing import (
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    RECORD_HEADER,
    Buffer,
    Deframer,
    Reassembler,
)
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.record.sending import RecordSender
from aiotls.trust.identity import end_point_digest
from aiotls.wire.registries import CipherSuite, ContentType, KeyUpdateRequest

__all__ = ["Connection", "TrafficKey"]

_CHANGE_CIPHER_SPEC: Final = int(ContentType.change_cipher_spec)
_ALERT: Final = int(ContentType.alert)
_HANDSHAKE: Final = int(ContentType.handshake)
_APPLICATION_DATA: Final = int(ContentType.application_data)

_WARNING: Final = 1
_FATAL: Final = 2
_ALERT_LENGTH: Final = 2

# Bounds on what is legal, costs us work, and brings nothing.
_MAX_CHANGE_CIPHER_SPEC: Final = 32  # as in BoringSSL
_MAX_EMPTY_RECORDS: Final = 32  # in a row; as in BoringSSL and Rustls
_MAX_WARNINGS: Final = 4  # as in Rustls
_MAX_BACKLOG: Final = 64 * 1024  # bytes kept while the handshake waits for its owner

_KEY_UPDATE: Final = key_update(request_peer=False)


class TrafficKey(NamedTuple):
    """What protects the records of one direction, for whoever goes on with them (RFC 8446 §5.3, §7.3)."""

    cipher_suite: CipherSuite
    key: bytes
    iv: bytes
    sequence: int
    """The number of the next record."""


def _octets(data: Buffer) -> Buffer:
    """*data* as single bytes, whatever it is an array of; TypeError for what is not bytes-like."""
    return data if type(data) is bytes else memoryview(data).cast("B")


class Connection:
    """One end of a connection: what `ServerConnection` and `ClientConnection` have in common."""

    __slots__ = (
        "__weakref__",
        "_change_cipher_specs",
        "_close_sent",
        "_config",
        "_deframer",
        "_driver",
        "_empty_records",
        "_error",
        "_events",
        "_hello_sent_or_received",
        "_outcome",
        "_owes_key_update",
        "_peer_closed",
        "_post_handshake",
        "_read_key",
        "_read_limit",
        "_reassembler",
        "_sender",
        "_skippable",
        "_warnings",
    )

    def __init__(self, config: ServerConfig | ClientConfig, post_handshake: PostHandshake) -> None:
        self._config = config
        self._deframer = Deframer()
        self._reassembler = Reassembler(config.max_handshake_message_size)
        self._read_key: OpeningKey | None = None
        self._read_limit = MAX_PLAINTEXT + 1
        self._sender = RecordSender(
            max_fragment=config.max_fragment,
            padding=config.record_padding,
            records_per_key=config.max_records_per_key,
            key_update=_KEY_UPDATE,
        )
        self._events: deque[Event] = deque()
        self._error: TLSError | None = None
        self._outcome: Outcome | None = None
        self._close_sent = False
        self._peer_closed = False
        self._owes_key_update = False
        self._post_handshake = post_handshake
        self._change_cipher_specs = 0
        self._empty_records = 0
        self._warnings = 0
        self._skippable = -1  # bytes of early data that may still be passed over; -1: there is none to expect
        self._hello_sent_or_received = False
        self._driver: HandshakeDriver[Outcome] | None = None

    def _begin(self, handshake: Coroutine[Any, Any, Outcome]) -> None:
        self._driver = HandshakeDriver(handshake)
        self._sender.flush()

    # --- The owner's side: state ---------------------------------------------------------------------------------

    @property
    def negotiated(self) -> Negotiated | None:
        """What was agreed on, once the handshake is complete."""
        return None if self._outcome is None else self._outcome.negotiated

    @property
    def config(self) -> ServerConfig | ClientConfig:
        """The config, which for a server the ClientHello may have chosen."""
        return self._config

    @property
    def pending(self) -> Awaitable[Any] | None:
        """What the handshake waits for the owner to await, or None; see `resume` and `fail`."""
        return None if self._driver is None else self._driver.pending

    @property
    def can_send(self) -> bool:
        """Whether `send_data` may be called: the handshake is complete, and our side is open."""
        return self._outcome is not None and not self._close_sent and self._error is None

    # --- The owner's side: receiving -----------------------------------------------------------------------------

    def receive_data(self, data: Buffer) -> None:
        """Take TLS bytes from the peer: any bytes-like object, split anywhere; it is free when this returns.

        Raises LocalError when the owner goes on feeding a handshake that waits for it.
        """
        if self._error is not None or self._peer_closed:
            return  # RFC 8446 §6.1: what comes after the end is ignored
        if self.pending is not None and self._deframer.buffered > _MAX_BACKLOG:
            msg = "the handshake waits for `pending`: stop reading from the peer until then"
            raise LocalError(msg)
        self._deframer.feed(_octets(data))
        self._process()

    def receive_eof(self) -> None:
        """The transport ended; without the peer's close_notify that is a truncation (RFC 8446 §6.1)."""
        if self._error is None and not self._peer_closed:
            when = "before close_notify" if self._outcome else "during the handshake"
            self._fail(TruncationError(f"the peer's transport ended {when}"))

    def next_event(self) -> Event | None:
        """What happened next, or None; raises the TLSError that ended the connection once all else was told."""
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            raise self._error.with_traceback(None)  # it is raised again and again, and would grow
        return None

    def resume(self, result: object) -> None:
        """Go on with what `pending` came to."""
        self._continue(lambda driver: driver.resume(result))

    def fail(self, error: BaseException) -> None:
        """`pending` failed, or was cancelled: the handshake ends with internal_error, or the error's own alert."""
        if not isinstance(error, Exception):
            error = CallbackError(f"cancelled: {error!r}")
        self._continue(lambda driver: driver.fail(error))

    def _continue(self, step: Callable[[HandshakeDriver[Outcome]], None]) -> None:
        driver = self._driver
        if driver is None or driver.pending is None:
            msg = "the handshake waits for nothing"
            raise LocalError(msg)
        try:
            step(driver)
            self._after_step(driver)
        except TLSError as failure:
            self._fail(failure)
        self._process()

    # --- The owner's side: sending -------------------------------------------------------------------------------

    def send_data(self, data: Buffer) -> None:
        """Seal application data at once; raises LocalError before the handshake is complete and after `close`."""
        if not self.can_send:
            msg = "the handshake is not complete" if self._outcome is None else "the connection is closed for sending"
            raise LocalError(msg if self._error is None else f"the connection has failed: {self._error}")
        if self._owes_key_update:
            self._send_key_update(request_peer=False)
        self._sender.application_data(_octets(data))

    def data_to_send(self) -> bytes | bytearray:
        """The TLS bytes for the peer, each of them once; empty when there are none."""
        return self._sender.take()

    def close(self) -> None:
        """Send close_notify: our side ends, the peer's goes on (RFC 8446 §6.1).  A second call does nothing.

        Before the handshake is complete this gives it up, and says so with user_canceled.
        """
        if self._close_sent or self._error is not None:
            return
        if self._outcome is None:
            self._send_alert(AlertDescription.user_canceled)
            self._end(LocalError("the connection was closed during the handshake"))
            return
        self._send_alert(AlertDescription.close_notify)
        self._close_sent = True

    def abandon(self, error: TLSError) -> None:
        """End the connection because of *error* of the owner's own (a deadline, say), telling the peer."""
        if self._error is None:
            self._fail(error)

    def key_update(self, *, request_peer: bool = False) -> None:
        """Change our sending key now, and if asked for the peer's too (RFC 8446 §4.6.3)."""
        if not self.can_send:
            msg = "keys can be updated between the handshake and the close only"
            raise LocalError(msg)
        self._send_key_update(request_peer=request_peer)

    # --- The owner's side: what the handshake's secrets are good for ---------------------------------------------

    def export_keying_material(self, label: str, context: bytes, length: int) -> bytes:
        """Key material of *length* bytes that only the two ends can know (RFC 8446 §7.5, RFC 5705)."""
        outcome = self._outcome
        if outcome is None:
            msg = "keying material is there once the handshake is complete"
            raise LocalError(msg)
        return outcome.export(label, context, length)

    def channel_binding(self, name: str = "tls-exporter") -> bytes:
        """The value that binds an authentication to this connection.

        ``tls-exporter`` (RFC 9266) is this connection's own; ``tls-server-end-point`` (RFC 5929 §4) is the digest of
        the server's certificate.  Raises LocalError for any other name, for tls-unique is not defined for TLS 1.3 (RFC
        8446 §C.5), and where the server has shown no certificate.
        """
        if name == "tls-exporter":
            return self.export_keying_material("EXPORTER-Channel-Binding", b"", 32)
        if name != "tls-server-end-point":
            msg = f"there is no channel binding {name!r}; there are tls-exporter and tls-server-end-point"
            raise LocalError(msg)
        certificate = self._server_certificate()
        if certificate is None:
            msg = "tls-server-end-point needs a certificate of the server's, and it has shown none (RFC 5929 §4)"
            raise LocalError(msg)
        return end_point_digest(certificate)

    def _server_certificate(self) -> bytes | None:
        raise NotImplementedError

    def export_traffic_keys(self) -> tuple[TrafficKey, TrafficKey]:
        """What protects our records from here on, and the peer's: for kernel TLS, or a capture.

        Whoever goes on with them must do so alone: this connection then sends and takes nothing more.  Raises
        LocalError unless the config's `traffic_key_export` is set and the handshake complete, and while there is
        something to be sent or told.
        """
        sealing, opening = self._sender.key, self._read_key
        if not self._config.traffic_key_export:
            msg = f"traffic keys are given out only where {type(self._config).__name__}.traffic_key_export is set"
            raise LocalError(msg)
        if not self.can_send or sealing is None or opening is None:
            msg = "there are traffic keys between the handshake and the end only"
            raise LocalError(msg)
        if self._events or self._sender.waiting or self._deframer.buffered or self._reassembler.buffer:
            msg = "take what the connection has first: next_event() until it gives None, and data_to_send()"
            raise LocalError(msg)
        self._end(LocalError("the traffic keys were given out, and the connection goes on elsewhere"))
        return _traffic_key(sealing), _traffic_key(opening)

    # --- The handshake's side: its Channel -----------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Collect a handshake message; those of one flight share their records."""
        self._sender.collect(message)

    def send_change_cipher_spec(self) -> None:
        """The compatibility record of RFC 8446 §D.4."""
        self._sender.change_cipher_spec()

    def install_write_key(self, suite: Suite, secret: TrafficSecret) -> None:
        """What was collected goes out under the old key, all else under the new one."""
        self._sender.install(SealingKey(suite, secret))

    def install_read_key(self, suite: Suite, secret: TrafficSecret) -> None:
        """A message must not span a change of keys (RFC 8446 §5.1)."""
        self._refuse_leftovers()
        self._read_key = OpeningKey(suite, secret, self._read_limit)
        self._deframer.limit = MAX_CIPHERTEXT

    def limit_records(self, *, ours: int | None, theirs: int) -> None:
        """Both ends keep to the other's limit from here on (RFC 8449 §4)."""
        self._sender.limit(theirs)
        if ours is not None:
            self._read_limit = min(ours, self._read_limit)
            if self._read_key is not None:
                self._read_key.limit = self._read_limit

    def configure(self, config: ServerConfig) -> None:
        """Go on under the config that the ClientHello has chosen."""
        self._config = config
        self._reassembler.limit = config.max_handshake_message_size
        self._sender.configure(config.max_fragment, config.record_padding, config.max_records_per_key)

    def skip_early_data(self) -> None:
        """Only a server is sent early data."""
        raise NotImplementedError

    def _refuse_leftovers(self) -> None:
        if self._reassembler.buffer:
            msg = "a handshake message spans a change of keys (RFC 8446 §5.1)"
            raise UnexpectedMessage(msg)

    # --- Receiving -----------------------------------------------------------------------------------------------

    def _process(self) -> None:
        """Work through what has come, as far as it goes."""
        try:
            while self._error is None and not self._peer_closed:
                if self._driver is not None and self._driver.pending is not None:
                    break
                if self._reassembler.buffer:
                    message = self._reassembler.next_message()
                    if message is not None:
                        self._handle_message(message)
                        continue
                record = self._deframer.next_record()
                if record is None:
                    break
                self._handle_record(*record)
            if self._owes_key_update and self.can_send and not self._sender.waiting:
                self._send_key_update(request_peer=False)
        except TLSError as error:
            self._fail(error)
        self._deframer.keep()

    def _handle_record(self, content_type: int, header: Buffer, payload: Buffer) -> None:
        key = self._read_key
        if key is None:
            self._handle_plaintext_record(content_type, payload)
            return
        if content_type != _APPLICATION_DATA:
            self._handle_unprotected_record(content_type, payload)
            return
        try:
            content_type, content = key.open(header, payload)
        except BadRecordMAC:
            if not self._skip(payload):
                raise
            return
        self._skippable = -1
        if content_type == _APPLICATION_DATA:
            self._handle_application_data(content)
        else:
            self._handle_content(content_type, content)

    def _handle_plaintext_record(self, content_type: int, payload: Buffer) -> None:
        """Before there is a key: the hellos, and alerts about them."""
        if content_type == _APPLICATION_DATA:
            if not self._skip(payload):
                msg = "application data before the handshake (RFC 8446 §5)"
                raise UnexpectedMessage(msg)
            return
        if len(payload) > MAX_PLAINTEXT:  # where early data may come, the deframer lets longer records pass
            msg = f"a record of {len(payload)} bytes, where {MAX_PLAINTEXT} are allowed (RFC 8446 §5.1)"
            raise RecordOverflow(msg)
        if content_type == _CHANGE_CIPHER_SPEC:
            self._handle_change_cipher_spec(payload)
            return
        if content_type == _HANDSHAKE:
            self._skippable = -1  # the second ClientHello: it offers no early data
        self._handle_content(content_type, payload)

    def _handle_unprotected_record(self, content_type: int, payload: Buffer) -> None:
        """After there is a key, two kinds of record may still come without protection, during the handshake."""
        if content_type == _CHANGE_CIPHER_SPEC:
            self._handle_change_cipher_spec(payload)
        elif content_type == _ALERT and self._may_be_without_key():
            self._handle_alert(payload)
        else:
            msg = "a record without protection, after the keys were agreed on (RFC 8446 §5)"
            raise UnexpectedMessage(msg)

    def _may_be_without_key(self) -> bool:
        """Whether the peer may have to tell us of an error without a key to tell it under."""
        return False

    def _handle_content(self, content_type: int, content: Buffer) -> None:
        if content_type == _HANDSHAKE:
            self._reassembler.feed(content)
            return
        if self._reassembler.buffer:
            msg = "a record of another type between the parts of a handshake message (RFC 8446 §5.1)"
            raise UnexpectedMessage(msg)
        if content_type != _ALERT:
            msg = f"a protected record of type {content_type} (RFC 8446 §5)"
            raise UnexpectedMessage(msg)
        self._handle_alert(content)

    def _handle_application_data(self, content: bytes) -> None:
        if self._outcome is None:
            msg = "application data before the peer's Finished (RFC 8446 §2)"
            raise UnexpectedMessage(msg)
        if self._reassembler.buffer:
            msg = "application data between the parts of a handshake message (RFC 8446 §5.1)"
            raise UnexpectedMessage(msg)
        if not content:  # RFC 8446 §5.1 allows it, as a defence against traffic analysis
            self._empty_records += 1
            if self._empty_records > _MAX_EMPTY_RECORDS:
                msg = f"more than {_MAX_EMPTY_RECORDS} empty records in a row"
                raise PeerFlooding(msg)
            return
        self._empty_records = 0
        self._post_handshake.reset()
        self._events.append(ApplicationData(content))

    def _handle_message(self, message: bytes) -> None:
        driver = self._driver
        if driver is not None:
            self._hello_sent_or_received = True
            driver.deliver(message)
            self._after_step(driver)
            return
        request = self._post_handshake.receive(message)
        if request is not None:
            self._handle_key_update(request)

    def _handle_key_update(self, request: int) -> None:
        """The peer's next record is under its next key (RFC 8446 §4.6.3)."""
        self._refuse_leftovers()
        if request == KeyUpdateRequest.update_requested:
            # One answer stands for all requests that came since the owner last sent: a peer that asks and does not
            # read must neither fill our memory nor find more messages in a row than it takes.
            self._owes_key_update = True
        if self._read_key is not None:
            self._read_key = self._read_key.updated()
        self._events.append(KeyUpdated())

    def _after_step(self, driver: HandshakeDriver[Outcome]) -> None:
        """The handshake goes on, or is complete."""
        self._sender.flush()
        if driver.result is not None:
            self._complete(driver.result)

    def _complete(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._driver = None
        self._skippable = -1
        self._events.append(HandshakeComplete(outcome.negotiated))

    def _handle_change_cipher_spec(self, payload: Buffer) -> None:
        """Dropped without a look where RFC 8446 §5 allows it, and refused elsewhere."""
        self._change_cipher_specs += 1
        if payload != b"\x01" or self._driver is None or not self._hello_sent_or_received or self._reassembler.buffer:
            msg = "a change_cipher_spec that has no place here (RFC 8446 §5)"
            raise UnexpectedMessage(msg)
        if self._change_cipher_specs > _MAX_CHANGE_CIPHER_SPEC:
            msg = f"more than {_MAX_CHANGE_CIPHER_SPEC} change_cipher_spec records"
            raise PeerFlooding(msg)

    def _handle_alert(self, content: Buffer) -> None:
        """RFC 8446 §6: but for two, every alert is the end, whatever level it bears."""
        if not content:  # §5.4
            msg = "an alert record without content (RFC 8446 §5.4)"
            raise UnexpectedMessage(msg)
        if len(content) != _ALERT_LENGTH:
            msg = f"an alert record of {len(content)} bytes (RFC 8446 §6)"
            raise DecodeError(msg)
        description = AlertDescription(content[1])
        if description is AlertDescription.close_notify:
            if self._outcome is None:
                msg = "the peer closed the connection during the handshake"
                raise TruncationError(msg)
            self._peer_closed = True
            self._events.append(PeerClosed())
        elif description is AlertDescription.user_canceled:
            self._warnings += 1
            if self._warnings > _MAX_WARNINGS:
                msg = f"more than {_MAX_WARNINGS} user_canceled alerts"
                raise PeerFlooding(msg)
        else:
            raise AlertReceived(description)

    def _skip(self, payload: Buffer) -> bool:
        """Whether a record that cannot be opened may be early data (RFC 8446 §4.2.10)."""
        if self._skippable < 0:
            return False
        self._skippable -= RECORD_HEADER + len(payload)
        return self._skippable >= 0

    # --- Sending -------------------------------------------------------------------------------------------------

    def _send_key_update(self, *, request_peer: bool) -> None:
        self._owes_key_update = False
        self._sender.update_key(key_update(request_peer=request_peer))

    def _send_alert(self, description: AlertDescription) -> None:
        closing = description in (AlertDescription.close_notify, AlertDescription.user_canceled)
        self._sender.alert(_WARNING if closing else _FATAL, description)
        if description is AlertDescription.user_canceled:  # RFC 8446 §6.1
            self._send_alert(AlertDescription.close_notify)

    # --- The end -------------------------------------------------------------------------------------------------

    def _fail(self, error: TLSError) -> None:
        """The one place where an error becomes an alert (RFC 8446 §6.2)."""
        self._sender.discard()
        alert = alert_for(error)
        if alert is not None and not self._close_sent:
            self._send_alert(alert)
        self._end(error)

    def _end(self, error: TLSError) -> None:
        """Take and give no more, and let the secrets go, with the frames that an error's traceback would keep."""
        traceback.clear_frames(error.__traceback__)
        self._error = error.with_traceback(None)
        error.__context__ = None
        driver, self._driver = self._driver, None
        self._read_key = self._sender.key = None
        if driver is not None:
            driver.close()


def _traffic_key(key: SealingKey | OpeningKey) -> TrafficKey:
    return TrafficKey(key.suite.code, *key.secret.key_and_iv(key.suite), key.sequence)
