"""What a handshake coroutine may wait for, what it may do, and the driver that runs it.

A handshake reads from top to bottom as the RFC's message diagram does.  It waits for two things only: the peer's
next message (`expect`), and an answer from the calling program (`ask`).  The driver runs it by `send()`, with no
event loop:

- what the peer must send is awaited by yielding an `Expect`; the driver refuses a message of another type before it
  is parsed;
- what the program answers at once costs nothing; where it returns an awaitable, the driver stops, and the awaitable
  comes out as `pending`, for the front end to await in its own event loop.

What a handshake does (send, change keys) goes through a `Channel`, so that it knows nothing of records.
"""

from collections.abc import Awaitable, Callable, Container, Coroutine, Generator
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from aiotls.config import ServerConfig
from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.suites import Suite
from aiotls.errors import CallbackError, TLSError, UnexpectedMessage
from aiotls.wire.messages import HandshakeMessage
from aiotls.wire.registries import HandshakeType, name_of

__all__ = ["Channel", "Expect", "HandshakeDriver", "ask", "expect"]

M = TypeVar("M", bound=HandshakeMessage)
T = TypeVar("T")
P = ParamSpec("P")


class Channel(Protocol):
    """What a handshake may do to its connection."""

    def send(self, message: bytes) -> None:
        """Send a whole handshake message under the current write key."""

    def send_change_cipher_spec(self) -> None:
        """Send the compatibility record of RFC 8446 §D.4."""

    def install_write_key(self, suite: Suite, secret: TrafficSecret) -> None:
        """Protect what we send from now on."""

    def install_read_key(self, suite: Suite, secret: TrafficSecret) -> None:
        """Open what the peer sends from now on; a message begun under the old key is refused (RFC 8446 §5.1)."""

    def configure(self, config: ServerConfig) -> None:
        """Go on under another config, which was chosen by the ClientHello."""

    def limit_records(self, *, ours: int | None, theirs: int) -> None:
        """Keep to the peer's record size limit from now on, and hold it to ours (RFC 8449 §4)."""

    def skip_early_data(self) -> None:
        """Drop what the peer sent as early data, within a bound (RFC 8446 §4.2.10)."""


class Expect(Generic[M]):
    """The peer's next message, which must be one of these."""

    __slots__ = ("kinds", "offered")

    def __init__(self, *kinds: type[M], offered: Container[int] = ()) -> None:
        self.kinds = kinds
        self.offered = offered

    def __await__(self) -> Generator["Expect[M]", HandshakeMessage, M]:
        return cast("M", (yield self))

    def parse(self, raw: bytes) -> M:
        """The message, or UnexpectedMessage when the RFC has no place for its type here."""
        for kind in self.kinds:
            if raw[0] == kind.handshake_type:
                return kind.parse(raw, self.offered)
        wanted = " or ".join(kind.__name__ for kind in self.kinds)
        msg = f"the peer sent {name_of(HandshakeType, raw[0])}, where {wanted} had to come"
        raise UnexpectedMessage(msg)


expect = Expect


class _Outside(Generic[T]):
    """An awaitable of the calling program's, for the front end to await."""

    __slots__ = ("awaitable",)

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self.awaitable = awaitable

    def __await__(self) -> Generator["_Outside[T]", T, T]:
        return (yield self)


async def ask(what: str, function: Callable[P, T | Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the calling program answers, at once or awaited; *what* names its function in the error when it fails."""
    try:
        answer: object = function(*args, **kwargs)
        if hasattr(answer, "__await__"):
            answer = await _Outside(cast("Awaitable[T]", answer))
    except TLSError:
        raise
    except Exception as error:
        msg = f"{what} failed: {error!r}"
        raise CallbackError(msg) from error
    return cast("T", answer)


class HandshakeDriver(Generic[T]):
    """Runs a handshake's coroutine to its next wait."""

    __slots__ = ("_coroutine", "_waiting", "pending", "result")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._waiting: Expect[Any] | _Outside[Any] | None = None
        self.pending: Awaitable[Any] | None = None
        """The awaitable that the handshake waits for, or None while it waits for the peer."""
        self.result: T | None = None
        """What the handshake returned, once it has."""
        self._advance(None)

    def deliver(self, raw: bytes) -> None:
        """Hand over the peer's next message."""
        waiting = self._waiting
        if not isinstance(waiting, Expect):
            msg = "a message was delivered while the handshake waits for an answer"
            raise UnexpectedMessage(msg)
        self._advance(waiting.parse(raw))

    def resume(self, answer: object) -> None:
        """Hand over what `pending` came to."""
        self._advance(answer)

    def fail(self, error: BaseException) -> None:
        """Say that `pending` failed."""
        self._advance(error, throw=True)

    def close(self) -> None:
        """Abandon the handshake: the coroutine's frame, and the secrets in it, are let go.

        What `pending` gave out is its owner's to await or to cancel.
        """
        self._waiting = self.pending = None
        self._coroutine.close()

    def _advance(self, value: Any, *, throw: bool = False) -> None:  # noqa: ANN401 - whatever it waits for
        try:
            waiting = self._waiting = self._coroutine.throw(value) if throw else self._coroutine.send(value)
        except StopIteration as stop:
            self._waiting = self.pending = None
            self.result = stop.value
        else:
            self.pending = waiting.awaitable if type(waiting) is _Outside else None
