"""Between the engine and a byte stream: what trio's and anyio's front ends have in common.

The engine knows no I/O, and an event loop knows no TLS.  The pump reads and writes the transport for the engine, and
knows of the event loop only what an `EventLoop` tells it: a lock, a time limit, a checkpoint, a thread, and the
exceptions that its programs expect.  Its rules:

- The handshake runs once, in whichever call needs it first; the others wait for it.  A handshake that is cancelled
  while it waits for the peer goes on with the next call.
- **Receiving does not send.**  The answer to KeyUpdates, one for all, goes out with our next data, which is all that
  RFC 8446 §4.6.3 asks for, as a server's tickets do; so a peer that only writes is never waited for.
- A send is sealed in pieces, so that its memory is bounded whatever it is given.  Sealed bytes must arrive whole and
  in order: when the transport fails, or the send is cancelled while it has them, nothing can be sent on the
  connection any more.  Receiving goes on.
- The connection ends for the receiver with the peer's close_notify and with nothing else: a transport that ends
  before it is a `TruncationError`.
- `aclose` sends close_notify if it can be sent, and does not wait for the peer's.
"""

import inspect
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol

from aiotls.blocking import Blocking
from aiotls.config import ClientConfig, ServerConfig
from aiotls.connection import ClientConnection, Connection, ServerConnection
from aiotls.errors import HandshakeTimeout, LocalError, TLSError
from aiotls.events import ApplicationData, PeerClosed

__all__ = ["HANDSHAKE_TIMEOUT", "ByteTransport", "EventLoop", "Pump", "Scope", "connection_for"]

HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds for the handshake of a client that connected to a server; asyncio's default too."""
_CLOSE_TIMEOUT: Final = 30.0  # seconds in which a peer has to make room for close_notify; as asyncio's shutdown timeout
_ALERT_TIMEOUT: Final = 1.0  # seconds for an alert: whoever waits for its error should not wait for long
_PIECE: Final = 256 * 1024  # bytes that are sealed at a time

Buffer = bytes | bytearray | memoryview


class ByteTransport(Protocol):
    """The stream below, as the pump needs it; its exceptions are those of its event loop's streams."""

    async def receive_some(self) -> Buffer:
        """Some bytes of the peer's; empty at the end."""

    async def send_all(self, data: bytes | bytearray, /) -> None:
        """Send all of *data*."""

    async def send_eof(self) -> None:
        """End our side, if the transport can end one side."""

    async def aclose(self) -> None:
        """Close it; a second call, and one that is cancelled, closes it too."""


class Scope(Protocol):
    """What a time limit yields."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the time was up, or `cancel` was called."""

    def cancel(self) -> None:
        """End what runs within the limit now."""


@dataclass(frozen=True, slots=True)
class EventLoop:
    """What the pump has to know of an event loop and of its streams."""

    lock: Callable[[], AbstractAsyncContextManager[Any]]
    """A fair lock."""
    move_on_after: Callable[[float], AbstractContextManager[Scope]]
    """Cancels what runs within it after so many seconds."""
    checkpoint: Callable[[], Awaitable[Any]]
    """Lets other tasks run, and is where a cancelled task ends."""
    checkpoint_if_cancelled: Callable[[], Awaitable[Any]]
    """Is where a cancelled task ends."""
    run_in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Runs a function in a thread, and waits for its end."""
    broken: type[Exception]
    """Of a stream that failed."""
    closed: type[Exception]
    """Of a stream that was closed on this side."""
    busy: type[Exception]
    """Of a call that another task is in."""


class _OneAtATime:
    """Refuses a second task."""

    __slots__ = ("_busy", "_what", "held")

    def __init__(self, busy: type[Exception], what: str) -> None:
        self._busy = busy
        self._what = what
        self.held = False

    def __enter__(self) -> None:
        if self.held:
            raise self._busy(f"another task is {self._what} on this TLS stream")
        self.held = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.held = False


class Pump:
    """One connection: an engine, the transport that it runs over, and the event loop."""

    __slots__ = (
        "_closed",
        "_engine",
        "_established",
        "_handshake_lock",
        "_handshake_timeout",
        "_loop",
        "_outside",
        "_peer_closed",
        "_plaintext",
        "_receiving",
        "_send_broken",
        "_send_ended",
        "_send_lock",
        "_sending",
        "_started",
        "_transmitting",
        "_transport",
    )

    def __init__(
        self, engine: Connection, transport: ByteTransport, loop: EventLoop, *, handshake_timeout: float | None = None
    ) -> None:
        """*handshake_timeout* is in seconds, from when the handshake is first waited for; None is for ever."""
        if handshake_timeout is not None and not handshake_timeout > 0:
            raise LocalError(f"handshake_timeout must be positive, or None, and is {handshake_timeout}")
        self._engine = engine
        self._transport = transport
        self._loop = loop
        self._handshake_timeout = math.inf if handshake_timeout is None else handshake_timeout
        self._handshake_lock = loop.lock()
        self._send_lock = loop.lock()
        self._sending = _OneAtATime(loop.busy, "sending")
        self._receiving = _OneAtATime(loop.busy, "receiving")
        self._plaintext: bytes | memoryview = b""
        self._outside: Scope | None = None
        self._started = self._established = False
        self._closed = self._peer_closed = False
        self._transmitting = self._send_ended = self._send_broken = False

    @property
    def engine(self) -> Connection:
        """The connection's engine."""
        return self._engine

    # --- The handshake -------------------------------------------------------------------------------------------

    async def handshake(self) -> None:
        """Complete the handshake, or wait until another task has; raises the TLSError that it failed with."""
        self._check_open()
        if not await self._ensure_handshake():
            await self._loop.checkpoint()

    async def _ensure_handshake(self) -> bool:
        """Whether there was anything to wait for, and so a checkpoint."""
        if self._established:
            return False
        async with self._handshake_lock:
            self._check_open()
            if not self._established:
                await self._limited_handshake()
        return True

    async def _limited_handshake(self) -> None:
        try:
            with self._loop.move_on_after(self._handshake_timeout) as scope:
                await self._run_handshake()
            if scope.cancelled_caught:
                self._time_out()
        except TLSError:
            if await self._send_alert() and isinstance(self._engine, ServerConnection):
                await self._linger()
            raise
        except BaseException as error:
            if self._engine.pending is not None:  # what was awaited half-way can't be awaited again
                self._engine.fail(error)
            raise
        self._established = True

    def _time_out(self) -> NoReturn:
        failure = HandshakeTimeout(f"no handshake within {self._handshake_timeout} seconds")
        self._engine.abandon(failure)
        raise failure

    async def _run_handshake(self) -> None:
        """Exchange messages, and do what the handshake asks of the program, until it is complete."""
        engine = self._engine
        self._started = True
        while engine.negotiated is None:
            engine.next_event()  # raises what ended the handshake; until it is complete there is nothing else to tell
            pending = engine.pending
            try:
                await self._flush()
                if pending is not None:
                    await self._await_outside(pending)
            finally:
                if inspect.iscoroutine(pending):
                    pending.close()  # one that was never begun would complain
            if pending is None:
                await self._read()
        await self._flush()

    async def _await_outside(self, pending: Awaitable[Any]) -> None:
        """Await what the handshake waits for (a certificate, a signature), and go on with it."""
        result: object = None
        failure: Exception | None = None
        with self._loop.move_on_after(math.inf) as scope:
            self._outside = scope
            try:
                if isinstance(pending, Blocking):
                    result = await self._loop.run_in_thread(pending.run)
                else:
                    result = await pending
            except Exception as error:  # noqa: BLE001 - whatever a caller's function raises ends its connection
                failure = error
            finally:
                self._outside = None
        self._check_open()
        if failure is None:
            self._engine.resume(result)
        else:
            self._engine.fail(failure)

    # --- Receiving -----------------------------------------------------------------------------------------------

    async def receive(self, max_bytes: int | None) -> bytes:
        """Some bytes, at most *max_bytes*; empty after the peer's close_notify.

        Cancelled, it has taken nothing away.
        """
        with self._receiving, self.mapped():
            self._check_open()
            waited = await self._ensure_handshake()
            try:
                while not self._pull():
                    await self._read()
                    waited = True
            except TLSError:
                await self._send_alert()
                raise
            if not waited:
                await self._loop.checkpoint()
            return self._take(max_bytes)

    def _pull(self) -> bool:
        """Whether there are bytes to return, or the end."""
        while not self._plaintext and not self._peer_closed:
            event = self._engine.next_event()
            if event is None:
                return False
            if type(event) is ApplicationData:
                self._plaintext = event.data
            elif type(event) is PeerClosed:
                self._peer_closed = True
        return True

    def _take(self, max_bytes: int | None) -> bytes:
        data = self._plaintext
        if max_bytes is None or len(data) <= max_bytes:
            self._plaintext = b""
            return bytes(data)
        view = memoryview(data)
        self._plaintext = view[max_bytes:]
        return bytes(view[:max_bytes])

    async def _read(self) -> None:
        """Feed the engine; what it answers stays there until something is sent."""
        data = await self._transport.receive_some()
        if data:
            self._engine.receive_data(data)
        else:
            self._engine.receive_eof()

    # --- Sending -------------------------------------------------------------------------------------------------

    async def send(self, data: Buffer) -> None:
        """Seal *data* and send it.

        Cancelled before the transport was given anything, or between two pieces, it leaves a sound stream;
        cancelled while the transport sends, it leaves one that is broken for sending.
        """
        with self._sending, self.mapped():
            view = memoryview(data).cast("B")
            self._check_sending()
            await self._ensure_handshake()
            if not view:
                await self._loop.checkpoint()
                return
            async with self._send_lock:
                while view:
                    self._check_sending()
                    await self._loop.checkpoint_if_cancelled()
                    self._engine.send_data(view[:_PIECE])
                    await self._transmit()
                    view = view[_PIECE:]

    async def send_eof(self) -> None:
        """Send close_notify, and end our side of the transport if it has sides; a second call does nothing."""
        with self._sending, self.mapped():
            self._check_open()
            await self._ensure_handshake()
            if self._send_ended:
                await self._loop.checkpoint()
                return
            async with self._send_lock:
                self._check_sending()
                self._engine.send_data(b"")  # raises where the connection has failed; close() would say nothing
                self._send_ended = True
                self._engine.close()
                await self._transmit()
            await self._transport.send_eof()

    async def wait_sendable(self, wait: Callable[[], Awaitable[Any]]) -> None:
        """*wait* until the transport can take data, while nobody sends."""
        with self._sending:
            self._check_sending()
            async with self._send_lock:
                await wait()

    async def _flush(self) -> bool:
        """Send what there is to be sent; whether there was anything."""
        async with self._send_lock:
            return await self._transmit()

    async def _transmit(self) -> bool:
        """Flush; the caller holds the lock, for bytes must go out in the order of sealing."""
        self._check_unbroken()
        data = self._engine.data_to_send()
        if not data:
            return False
        self._transmitting = True
        try:
            await self._transport.send_all(data)
        except BaseException:
            self._send_broken = True
            raise
        finally:
            self._transmitting = False
        return True

    async def _send_alert(self) -> bool:
        """Tell the peer why the connection ends, if it listens; whether there was anything to tell it."""
        with suppress(*self._stream_errors), self._loop.move_on_after(_ALERT_TIMEOUT):
            return await self._flush()
        return False

    async def _linger(self) -> None:
        """Closed at once, with bytes of the peer's unread, TCP would reset the connection, and the alert be lost."""
        with suppress(*self._stream_errors), self._loop.move_on_after(_ALERT_TIMEOUT):
            await self._transport.send_eof()
            while await self._transport.receive_some():
                pass

    # --- The end -------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send close_notify if that can be done, and close the transport."""
        if self._closed:
            await self._transport.aclose()
            return
        self._closed = True
        if self._outside is not None:
            self._outside.cancel()
        try:
            await self._say_goodbye()
        finally:
            await self._transport.aclose()

    async def _say_goodbye(self) -> None:
        """Send close_notify, unless another task is sending, or nothing was said at all."""
        self._engine.close()
        if not self._started or self._sending.held or self._transmitting or self._send_broken:
            return
        with suppress(*self._stream_errors), self._loop.move_on_after(_CLOSE_TIMEOUT):
            await self._flush()

    # --- State ---------------------------------------------------------------------------------------------------

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Errors of TLS as the event loop's programs expect them: a broken stream, and the TLSError as its cause."""
        try:
            yield
        except TLSError as error:
            raise self._loop.broken(str(error)) from error

    @property
    def _stream_errors(self) -> tuple[type[Exception], ...]:
        """Of a transport that can't take what we would say last."""
        return self._loop.broken, self._loop.closed, self._loop.busy

    def _check_open(self) -> None:
        if self._closed:
            raise self._loop.closed("this TLS stream was closed")

    def _check_unbroken(self) -> None:
        if self._send_broken:
            raise self._loop.broken("an earlier send on this TLS stream failed, or was cancelled half-way")

    def _check_sending(self) -> None:
        self._check_open()
        self._check_unbroken()
        if self._send_ended:
            raise self._loop.closed("our side of this TLS stream was ended by send_eof()")


def connection_for(config: ServerConfig | ClientConfig, server_hostname: str | None) -> Connection:
    """The engine for a stream, whose role follows from the config's type.

    Raises TypeError for another type, and LocalError for a server that is told a name, or a client that needs one.
    """
    if isinstance(config, ClientConfig):
        return ClientConnection(config, server_hostname)
    if not isinstance(config, ServerConfig):
        kind = f"{type(config).__module__}.{type(config).__qualname__}"
        raise TypeError(f"config must be an aiotls.ClientConfig or an aiotls.ServerConfig, and not a {kind}")
    if server_hostname is not None:
        raise LocalError("server_hostname is a client's to give, and the config is a server's")
    return ServerConnection(config)
