"""The protocol and the transport between asyncio's TCP transport and the application's protocol.

       TCP transport  <->  TLSProtocol  <->  engine  <->  TLSTransport  <->  application's protocol

Two rules keep it fast and small.  All connections of an event loop read into one buffer, for what is read is worked off
before the loop reads again.  And back-pressure is TCP's own: what is written is sealed at once and handed to the TCP
transport, whose limits, `pause_writing` and `resume_writing` the application meets directly.
"""

import asyncio
import contextlib
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from aiotls.blocking import Blocking
from aiotls.connection import Connection
from aiotls.errors import CallbackError, HandshakeTimeout, TLSError, TruncationError, alert_for
from aiotls.events import ApplicationData, Event, HandshakeComplete, PeerClosed
from aiotls.ssl_object import SSLObjectView, cipher

__all__ = ["TLSProtocol", "TLSTransport"]

_BUFFER_SIZE: Final = 256 * 1024  # as asyncio reads at most
_ALERT_GRACE: Final = 1.0  # seconds in which a peer may read our alert before the connection goes

Buffer = bytes | bytearray | memoryview

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _receive_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The loop's buffer; on Windows one of the connection's own, for there reads go on in the background."""
    if sys.platform == "win32":
        return memoryview(bytearray(_BUFFER_SIZE // 4))
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(_BUFFER_SIZE))
    return buffer


class TLSProtocol(asyncio.BufferedProtocol):
    """Stands under the application's protocol, which it makes once the handshake is complete."""

    __slots__ = (
        "_application",
        "_buffer",
        "_draining",
        "_engine",
        "_error",
        "_established",
        "_factory",
        "_handshake_timeout",
        "_loop",
        "_outside",
        "_reading_paused",
        "_tcp",
        "_timer",
        "_transport",
        "_writing_paused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: Connection,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        handshake_timeout: float,
        established: "asyncio.Future[TLSTransport] | None" = None,
    ) -> None:
        """*protocol_factory* makes the application's protocol; *handshake_timeout* is in seconds.

        *established* is told of the handshake's end, good or bad; without it, as on a server, a bad end is reported to
        the loop's exception handler.
        """
        self._loop = loop
        self._established = established
        self._factory: Callable[[], asyncio.BaseProtocol] | None = protocol_factory
        self._handshake_timeout = handshake_timeout
        self._engine = engine
        self._buffer = _receive_buffer(loop)
        self._tcp: asyncio.Transport
        self._transport: TLSTransport | None = None
        self._application: asyncio.BaseProtocol | None = None
        self._outside: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._draining = False
        self._reading_paused = False
        self._writing_paused = False

    # --- Called by the TCP transport -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there: the handshake begins, but has not for ever."""
        self._tcp = transport  # type: ignore[assignment]  # a stream's transport is a Transport
        self._timer = self._loop.call_later(self._handshake_timeout, self._handshake_timed_out)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the TCP transport reads into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """The TCP transport has read."""
        if self._draining:
            return
        self._engine.receive_data(self._buffer[:nbytes])
        self._pump()

    def eof_received(self) -> bool:
        """The peer ended its TCP side: after close_notify the connection goes on one way."""
        if self._draining:
            return False
        self._engine.receive_eof()
        self._pump()
        return self._error is None and not self._tcp.is_closing()

    def pause_writing(self) -> None:
        """Pass TCP's back-pressure on."""
        self._writing_paused = True
        if self._application is not None:
            self._application.pause_writing()

    def resume_writing(self) -> None:
        """Pass TCP's relief on."""
        self._writing_paused = False
        if self._application is not None:
            self._application.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone."""
        self._cancel_timer()
        if self._outside is not None:
            self._outside.cancel()
        self._draining = True
        application, self._application = self._application, None
        if application is not None:
            application.connection_lost(self._error or exc)
        elif self._error is None:
            self._report(exc or TruncationError("the connection ended during the handshake"))
        self._factory = None

    # --- Called by the transport that the application has --------------------------------------------------------

    @property
    def engine(self) -> Connection:
        """The connection's engine."""
        return self._engine

    @property
    def tcp(self) -> asyncio.Transport:
        """The transport below."""
        return self._tcp

    @property
    def application(self) -> asyncio.BaseProtocol | None:
        """The protocol above."""
        return self._application

    @application.setter
    def application(self, protocol: asyncio.BaseProtocol) -> None:
        self._application = protocol

    def flush(self) -> None:
        """Hand what the engine has sealed to the TCP transport."""
        data = self._engine.data_to_send()
        if data and not self._tcp.is_closing():
            self._tcp.write(data)

    def pause_reading(self) -> None:
        """Deliver nothing more, not even what is decrypted already."""
        if not self._reading_paused:
            self._reading_paused = True
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, first what was held back."""
        if self._reading_paused:
            self._reading_paused = False
            self._tcp.resume_reading()
            self._loop.call_soon(self._pump)

    @property
    def reading_paused(self) -> bool:
        """Whether the application has paused reading."""
        return self._reading_paused

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, closing, or has failed."""
        return self._draining or self._tcp.is_closing()

    # --- Between the engine and the application ------------------------------------------------------------------

    def _pump(self) -> None:
        """Deliver what the engine has, send what it wants sent, and see to what it waits for."""
        while not (self._reading_paused or self.ended):
            try:
                event = self._engine.next_event()
            except TLSError as error:
                self._fail(error)
                return
            if event is None:
                break
            try:
                self._deliver(event)
            except Exception as error:  # noqa: BLE001 - as asyncio does: it ends the connection, and not the loop
                self._callback_failed(error)
                return
        self.flush()
        pending = self._engine.pending
        if pending is not None and self._outside is None:
            self._tcp.pause_reading()
            task = self._loop.create_task(self._await_outside(pending))
            if asyncio.iscoroutine(pending):  # a task that is cancelled before it starts would leave it unawaited
                task.add_done_callback(lambda _: pending.close())
            if not task.done():  # an eager task may be through already, and the next one under way
                self._outside = task

    def _deliver(self, event: Event) -> None:
        application = self._application
        if type(event) is ApplicationData:
            if isinstance(application, asyncio.BufferedProtocol):
                _fill(application, event.data)
            else:
                cast("asyncio.Protocol", application).data_received(event.data)
        elif type(event) is HandshakeComplete:
            self._handshake_complete(event)
        elif type(event) is PeerClosed and self._transport is not None:
            keep_open = cast("asyncio.Protocol", application).eof_received()
            if not keep_open:
                self._transport.close()

    def _handshake_complete(self, event: HandshakeComplete) -> None:
        self._cancel_timer()
        if self._factory is None:
            return
        factory, self._factory = self._factory, None
        self._transport = TLSTransport(self, event)
        self._application = factory()
        self._application.connection_made(self._transport)
        if self._writing_paused:
            self._application.pause_writing()
        if self._established is not None and not self._established.done():
            self._established.set_result(self._transport)

    async def _await_outside(self, awaitable: Awaitable[Any]) -> None:
        """Await what the handshake waits for (a certificate, a signature), and go on with it."""
        try:
            if isinstance(awaitable, Blocking):
                result = await self._loop.run_in_executor(None, awaitable.run)
            else:
                result = await awaitable
        except asyncio.CancelledError:
            self._outside = None
            if not self._draining:
                self._engine.fail(CallbackError("what the handshake waited for was cancelled"))
                self._pump()
            raise
        except Exception as error:  # noqa: BLE001 - whatever a caller's function raises ends its connection, not the loop
            failure: Exception | None = error
        else:
            failure = None
        self._outside = None
        if self._draining:
            return
        if failure is None:
            self._engine.resume(result)
        else:
            self._engine.fail(failure)
        if not self._reading_paused:
            self._tcp.resume_reading()
        self._pump()

    # --- The end -------------------------------------------------------------------------------------------------

    def _fail(self, error: TLSError) -> None:
        """Tell the peer by alert and the program by exception, and end the connection."""
        self._error = error
        self._draining = True
        self._cancel_timer()
        if self._outside is not None:
            self._outside.cancel()
        if self._application is None:
            self._report(error)
        self.flush()
        if alert_for(error) is None or self._established is not None or not self._tcp.can_write_eof():
            self._tcp.close()  # a client may be about to end its loop, and can't stay for long
            return
        # Closed at once, with bytes of the peer's unread, TCP would reset the connection, and the alert be lost.
        with contextlib.suppress(OSError):  # the peer has reset it already, and connection_lost is to follow
            self._tcp.write_eof()
        self._tcp.resume_reading()
        self._timer = self._loop.call_later(_ALERT_GRACE, self._tcp.abort)

    def _callback_failed(self, error: Exception) -> None:
        """A callback of the application's raised: report it, and end the connection."""
        self._error = error
        self._draining = True
        message = "Fatal error: a callback of the protocol on a TLS connection failed"
        context = {"message": message, "exception": error, "transport": self._transport, "protocol": self}
        self._loop.call_exception_handler(context)
        if self._established is not None and not self._established.done():
            self._established.set_exception(error)
        self._tcp.abort()

    def _report(self, error: BaseException) -> None:
        """A handshake failed: whoever waits for it is told, or there is one report, with the peer's address."""
        if self._established is not None:
            if not self._established.done():
                self._established.set_exception(error)
            return
        peername = self._tcp.get_extra_info("peername")
        context = {"message": f"TLS handshake with {peername} failed: {error}", "exception": error, "protocol": self}
        self._loop.call_exception_handler(context)

    def _handshake_timed_out(self) -> None:
        self._timer = None
        self._engine.abandon(HandshakeTimeout(f"no complete handshake within {self._handshake_timeout} seconds"))
        self._pump()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fill(application: asyncio.BufferedProtocol, data: bytes) -> None:
    """Copy authenticated bytes into the buffers that the application provides."""
    view = memoryview(data)
    while view:
        buffer = memoryview(application.get_buffer(len(view)))
        size = min(len(buffer), len(view))
        if not size:
            msg = "get_buffer() returned an empty buffer"
            raise RuntimeError(msg)
        buffer[:size] = view[:size]
        application.buffer_updated(size)
        view = view[size:]


class TLSTransport(asyncio.Transport):
    """The transport that the application's protocol is given."""

    __slots__ = ("_closing", "_negotiated", "_protocol", "_write_ended")

    def __init__(self, protocol: TLSProtocol, complete: HandshakeComplete) -> None:
        """A transport for a connection whose handshake is *complete*."""
        super().__init__()
        self._protocol = protocol
        self._negotiated = complete.negotiated
        self._closing = False
        self._write_ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's signature
        """What is known of the connection.

        ``tls`` is the `Negotiated` record; ``sslcontext`` our config; ``ssl_object``, ``cipher``, ``peercert`` and
        ``compression`` are what programs written for `ssl` look for.  All else is the TCP transport's.
        """
        if name == "tls":
            return self._negotiated
        if name == "sslcontext":
            return self._protocol.engine.config
        if name == "ssl_object":
            return SSLObjectView(self._protocol.engine, self._negotiated)
        if name == "cipher":
            return cipher(self._negotiated)
        if name in ("peercert", "compression"):
            return default
        return self._protocol.tcp.get_extra_info(name, default)

    def export_keying_material(self, label: str, context: bytes, length: int) -> bytes:
        """Key material of *length* bytes that only the two ends can know (RFC 8446 §7.5); LocalError if it can't be."""
        return self._protocol.engine.export_keying_material(label, context, length)

    def channel_binding(self, name: str = "tls-exporter") -> bytes:
        """What binds an authentication to this connection; see `Connection.channel_binding`."""
        return self._protocol.engine.channel_binding(name)

    def write(self, data: Buffer) -> None:
        """Seal *data* and hand it to TCP.

        Raises TypeError for what is not bytes-like, RuntimeError after `write_eof`; after the connection is closed it
        warns and drops the data, as asyncio's own transports do.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"data must be a bytes-like object, and not {type(data).__name__}"
            raise TypeError(msg)
        if self._write_ended:
            msg = "write() after write_eof()"
            raise RuntimeError(msg)
        engine = self._protocol.engine
        if self._closing or not engine.can_send:
            if data and self._closing:
                warnings.warn("write() on a closed TLS connection: the data is dropped", stacklevel=2)
            return
        engine.send_data(data)
        self._protocol.flush()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """Write the pieces as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """True: in TLS 1.3 each side ends on its own (RFC 8446 §6.1)."""
        return True

    def write_eof(self) -> None:
        """End our side by close_notify; the peer's goes on."""
        if self._write_ended or self._closing:
            return
        self._write_ended = True
        self._protocol.engine.close()
        self._protocol.flush()
        if self._protocol.tcp.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has reset it already, and connection_lost is to follow
                self._protocol.tcp.write_eof()

    def close(self) -> None:
        """Send close_notify and what was written before it, and close without waiting for the peer's."""
        if self._closing:
            return
        self._closing = True
        self._protocol.engine.close()
        self._protocol.flush()
        self._protocol.tcp.close()

    def abort(self) -> None:
        """Close now; what was not sent yet is lost, and the peer sees a truncation."""
        self._closing = True
        self._protocol.tcp.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._closing or self._protocol.ended

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._protocol.application = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The application's protocol."""
        application = self._protocol.application
        if application is None:
            msg = "the connection is closed and has no protocol any more"
            raise RuntimeError(msg)
        return application

    def is_reading(self) -> bool:
        """Whether data is delivered."""
        return not self._protocol.reading_paused and not self.is_closing()

    def pause_reading(self) -> None:
        """Deliver no data until `resume_reading`."""
        self._protocol.pause_reading()

    def resume_reading(self) -> None:
        """Deliver data again."""
        self._protocol.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that TCP has not taken yet, TLS's own among them."""
        return self._protocol.tcp.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """TCP's low and high water marks, in bytes."""
        return self._protocol.tcp.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set TCP's water marks, in bytes."""
        self._protocol.tcp.set_write_buffer_limits(high, low)
