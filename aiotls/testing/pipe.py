"""Two engines joined in memory: a whole connection without a socket, an event loop or a clock.

    pipe = Pipe(client, server, chunk_sizes=(1,))       # byte by byte
    pipe.pump()
    assert pipe.second.events == [HandshakeComplete(...)]

An engine is anything that takes and gives bytes: a connection of this package, a `ScriptedClient`, or an adapter
around another implementation.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, repeat
from typing import Protocol

from aiotls.errors import TLSError
from aiotls.events import Event

__all__ = ["End", "Engine", "Pipe", "pump"]


class Engine(Protocol):
    """What the pipe needs of each end."""

    def receive_data(self, data: bytes, /) -> None:
        """Take bytes from the peer."""

    def next_event(self) -> Event | None:
        """The next event, or None; raises the TLSError that ended the connection."""

    def data_to_send(self) -> bytes | bytearray:
        """The bytes for the peer, each of them once."""


@dataclass(slots=True)
class End:
    """One end of the pipe, and what its engine told."""

    engine: Engine
    events: list[Event] = field(default_factory=list)
    """Every event, in its order."""
    error: TLSError | None = None
    """What ended the connection, once something has."""

    def collect(self) -> None:
        """Take the events that the engine has."""
        if self.error is not None:
            return
        try:
            while (event := self.engine.next_event()) is not None:
                self.events.append(event)
        except TLSError as error:
            self.error = error


class Pipe:
    """Carries bytes between two engines, and keeps what they tell.

    *chunk_sizes* are the sizes in which bytes are delivered, one after the other and then from the front again; without
    them each delivery is as large as what the sender gave.  ValueError says that one of them is below 1.
    """

    def __init__(self, first: Engine, second: Engine, *, chunk_sizes: Iterable[int] = ()) -> None:
        self.first = End(first)
        self.second = End(second)
        self._chunk_sizes = _endless(tuple(chunk_sizes))

    def pump(self) -> None:
        """Move bytes both ways until neither engine has any more to send."""
        for end in (self.first, self.second):
            end.collect()
        moving = True
        while moving:
            moving = self._move(self.first, self.second)
            moving = self._move(self.second, self.first) or moving

    def _move(self, source: End, target: End) -> bool:
        """Deliver what *source* has to send; whether there was anything."""
        data = bytes(source.engine.data_to_send())
        position = 0
        while position < len(data):
            size = next(self._chunk_sizes) or len(data)
            target.engine.receive_data(data[position : position + size])
            target.collect()
            position += size
        return bool(data)


def _endless(sizes: tuple[int, ...]) -> Iterator[int]:
    """The sizes over and over; 0 stands for all that there is."""
    if any(size < 1 for size in sizes):
        raise ValueError(f"a chunk has at least one byte, and the sizes are {sizes}")
    return cycle(sizes) if sizes else repeat(0)


def pump(first: Engine, second: Engine, *, chunk_sizes: Iterable[int] = ()) -> tuple[list[Event], list[Event]]:
    """Join two engines until both are quiet, and return the events of each; the error of either is raised."""
    pipe = Pipe(first, second, chunk_sizes=chunk_sizes)
    pipe.pump()
    for end in (pipe.first, pipe.second):
        if end.error is not None:
            raise end.error
    return pipe.first.events, pipe.second.events
