"""The protocol and the transport between asyncio's TCP transport and the application's protocol.

       TCP transport  <->  TLSProtocol  <->  engine  <->  TLSTransport  <->  application's protocol

Two rules keep it fast and small.  All connections of an event loop read into one buffer, for what is read is worked off
before the loop reads again.  And back-pressure is TCP's own: what is written is sealed at once and handed to the TCP
transport, whose limits, `pause_writing` and `resume_writing` the application meets directly.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from aiotls.asyncio.connections import Connections
from aiotls.asyncio.options import Options
from aiotls.asyncio.transport import TLSTransport
from aiotls.blocking import Blocking
from aiotls.config import ClientConfig
from aiotls.connection import Connection
from aiotls.errors import CallbackError, HandshakeTimeout, LocalError, TLSError, TruncationError, alert_for
from aiotls.events import ApplicationData, Event, HandshakeComplete, PeerClosed

__all__ = ["TLSProtocol"]

_BUFFER_SIZE: Final = 256 * 1024  # as asyncio reads at most
_ALERT_GRACE: Final = 1.0  # seconds in which a peer may read our alert before the connection goes

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
        "_connections",
        "_draining",
        "_engine",
        "_error",
        "_established",
        "_factory",
        "_held",
        "_loop",
        "_options",
        "_outside",
        "_peer_ended",
        "_reading_paused",
        "_tcp",
        "_timer",
        "_transport",
        "_truncated",
        "_writing_paused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: Connection,
        protocol_factory: Callable[[], asyncio.BaseProtocol] | None,
        options: Options,
        *,
        established: "asyncio.Future[TLSTransport] | None" = None,
        connections: Connections | None = None,
    ) -> None:
        """*protocol_factory* makes the application's protocol; None is for an `upgrade`.

        *established* is told of the handshake's end, good or bad; without it, as on a server, a bad end is reported to
        the loop's exception handler.  *connections* is where the connection counts as one of the server's.
        """
        self._loop = loop
        self._established = established
        self._factory = protocol_factory
        self._options = options
        self._connections = connections
        self._engine = engine
        self._buffer = _receive_buffer(loop)
        self._tcp: asyncio.Transport
        self._transport: TLSTransport | None = None
        self._application: asyncio.BaseProtocol | None = None
        self._outside: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._draining = False
        self._held = False
        self._peer_ended = False
        self._truncated = False
        self._reading_paused = False
        self._writing_paused = False

    # --- Called by the TCP transport -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there: the handshake begins, but has not for ever."""
        self._tcp = transport  # type: ignore[assignment]  # a stream's transport is a Transport
        if self._connections is not None and not self._connections.admit(self):
            self._error = LocalError("the connection was refused: there are too many, or the server shuts down")
            self._draining = True
            transport.abort()  # type: ignore[attr-defined]
            return
        self._timer = self._loop.call_later(self._options.handshake_timeout, self._handshake_timed_out)
        self.flush()

    def upgrade(self, tcp: asyncio.Transport, application: asyncio.BaseProtocol, received: bytes) -> None:
        """Take an open connection over from *application*, which goes on above; *received* was read from it already.

        When the handshake is complete, nothing is delivered before `release`.
        """
        self._application = application
        self._writing_paused = bool(getattr(tcp, "_protocol_paused", False))
        tcp.set_protocol(self)
        self.connection_made(tcp)
        tcp.resume_reading()  # a StreamReader may have paused it
        self._engine.receive_data(received)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the TCP transport reads into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """The TCP transport has read."""
        if self._draining:
            return
        if self._connections is not None:
            self._connections.counters.bytes_received += nbytes
        self._engine.receive_data(self._buffer[:nbytes])
        self._pump()

    def eof_received(self) -> bool:
        """The peer ended its TCP side: after close_notify the connection goes on one way."""
        if self._draining:
            return False
        if self._options.allow_truncation and self._transport is not None:
            self._truncated = True  # the engine is not told: it goes on sealing what we send
        else:
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
        self._held = False
        if self._transport is None and self._error is None:
            self._error = exc or TruncationError("the connection ended during the handshake")
            self._report(self._error)
        if self._connections is not None:
            self._connections.ended(self)
        self._factory = None
        application, self._application = self._application, None
        if application is not None:
            application.connection_lost(self._error or exc)

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
            if self._connections is not None:
                self._connections.counters.bytes_sent += len(data)
            self._tcp.write(data)

    def close(self) -> None:
        """Send close_notify and what was written before it, and close without waiting for the peer's."""
        self._engine.close()
        self.flush()
        if self._tcp.get_write_buffer_size() and self._timer is None:  # a peer that never reads must not keep it open
            self._timer = self._loop.call_later(self._options.shutdown_timeout, self._tcp.abort)
        self._tcp.close()

    def end(self) -> None:
        """Close, whatever the connection's state is; the handshake, where it is in progress, has failed."""
        if self._transport is not None:
            self._transport.close()
        elif not self._draining:
            self._cancel_timer()
            self._draining = True
            self._error = LocalError("the server has shut down during the handshake")
            self._count_failure(self._error)
            self.close()

    def abort(self) -> None:
        """End the connection now."""
        self._tcp.abort()

    def pause_reading(self) -> None:
        """Deliver nothing more, not even what is decrypted already."""
        if not self._reading_paused:
            self._reading_paused = True
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, first what was held back."""
        if self._reading_paused:
            self._reading_paused = False
            self._resume_tcp()

    def release(self) -> None:
        """Deliver what was held since an upgrade's handshake is complete."""
        if self._held:
            self._held = False
            self._resume_tcp()

    def _resume_tcp(self) -> None:
        if not (self._held or self._reading_paused):
            self._tcp.resume_reading()
            self._loop.call_soon(self._pump)

    @property
    def reading_paused(self) -> bool:
        """Whether the application has paused reading."""
        return self._reading_paused

    @property
    def writing_paused(self) -> bool:
        """Whether the application was told to pause writing."""
        return self._writing_paused

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, closing, or has failed."""
        return self._draining or self._tcp.is_closing()

    # --- Between the engine and the application ------------------------------------------------------------------

    def _pump(self) -> None:
        """Deliver what the engine has, send what it wants sent, and see to what it waits for."""
        while not (self._reading_paused or self._held or self.ended):
            try:
                event = self._engine.next_event()
            except TLSError as error:
                self._fail(error)
                return
            if event is None:
                if not self._truncated:
                    break
                self._truncated, event = False, PeerClosed()
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
        if type(event) is ApplicationData:
            self._deliver_data(event.data)
        elif type(event) is HandshakeComplete:
            self._handshake_complete(event)
        elif type(event) is PeerClosed and self._transport is not None and not self._peer_ended:
            self._peer_ended = True  # where truncation is allowed, the end of TCP comes after close_notify too
            keep_open = cast("asyncio.Protocol", self._application).eof_received()
            if not keep_open:
                self._transport.close()

    def _deliver_data(self, data: bytes) -> None:
        """Give *data* to the application, which may have become another one in each of its callbacks."""
        rest: bytes | memoryview = data
        while rest and not self.ended:
            application = self._application
            if not isinstance(application, asyncio.BufferedProtocol):
                cast("asyncio.Protocol", application).data_received(bytes(rest))
                return
            rest = memoryview(rest)[_fill(application, rest) :]

    def _handshake_complete(self, event: HandshakeComplete) -> None:
        self._cancel_timer()
        self._transport = TLSTransport(self, event.negotiated)
        if self._connections is not None:
            self._connections.completed(self, resumed=event.negotiated.resumed)
        factory, self._factory = self._factory, None
        if factory is None:  # an upgrade: its application has its connection already
            self._held = True
            self._tcp.pause_reading()
        else:
            self._application = factory()
            self._application.connection_made(self._transport)
            if self._writing_paused and self._application is not None:
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
        if self._transport is None:
            self._report(error)
        self.flush()
        if alert_for(error) is None or isinstance(self._engine.config, ClientConfig) or not self._tcp.can_write_eof():
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

    def _count_failure(self, error: Exception) -> None:
        if self._connections is not None:
            self._connections.failed(self, error)

    def _report(self, error: Exception) -> None:
        """A handshake failed: whoever waits for it is told, or there is one report, with the peer's address."""
        self._count_failure(error)
        if self._established is not None:
            if not self._established.done():
                self._established.set_exception(error)
            return
        peername = self._tcp.get_extra_info("peername")
        context = {"message": f"TLS handshake with {peername} failed: {error}", "exception": error, "protocol": self}
        self._loop.call_exception_handler(context)

    def _handshake_timed_out(self) -> None:
        self._timer = None
        self._engine.abandon(
            HandshakeTimeout(f"no complete handshake within {self._options.handshake_timeout:g} seconds")
        )
        self._pump()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fill(application: asyncio.BufferedProtocol, data: bytes | memoryview) -> int:
    """Copy authenticated bytes into the buffer that the application provides; how many it took."""
    buffer = memoryview(application.get_buffer(len(data)))
    size = min(len(buffer), len(data))
    if not size:
        msg = "get_buffer() returned an empty buffer"
        raise RuntimeError(msg)
    buffer[:size] = data[:size]
    application.buffer_updated(size)
    return size
