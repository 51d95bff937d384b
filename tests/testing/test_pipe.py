"""The memory pipe: it carries all bytes both ways, in chunks of any size, and keeps what the engines tell."""

from collections.abc import Sequence

import pytest

from aiotls import ServerConfig, ServerConnection
from aiotls.errors import DecodeError, UnexpectedMessage
from aiotls.events import ApplicationData, Event, HandshakeComplete, PeerClosed
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Engine, Pipe, pump


class Recorder:
    """An engine that sends what it is given, answers nothing, and notes what it gets."""

    def __init__(self, *sent: bytes, events: Sequence[Event] = (), error: DecodeError | None = None) -> None:
        self.sent = list(sent)
        self.events = list(events)
        self.error = error
        self.received: list[bytes] = []

    def receive_data(self, data: bytes, /) -> None:
        self.received.append(data)

    def next_event(self) -> Event | None:
        if self.events:
            return self.events.pop(0)
        if self.error is not None:
            raise self.error
        return None

    def data_to_send(self) -> bytes:
        return self.sent.pop(0) if self.sent else b""


@pytest.mark.parametrize(
    ("chunk_sizes", "expected"),
    [
        ((), [b"abcdefg", b"hi"]),
        ((1,), [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i"]),
        ((3, 1), [b"abc", b"d", b"efg", b"h", b"i"]),
        ((100,), [b"abcdefg", b"hi"]),
    ],
)
def test_pipe_delivers_in_chunks(chunk_sizes: tuple[int, ...], expected: list[bytes]) -> None:
    receiver = Recorder()
    Pipe(Recorder(b"abcdefg", b"hi"), receiver, chunk_sizes=chunk_sizes).pump()
    assert receiver.received == expected


def test_pipe_carries_both_ways_until_both_are_quiet() -> None:
    first, second = Recorder(b"a", b"b"), Recorder(b"1", b"2", b"3")
    Pipe(first, second).pump()
    assert (first.received, second.received) == ([b"1", b"2", b"3"], [b"a", b"b"])


@pytest.mark.parametrize("size", [0, -1])
def test_pipe_refuses_chunks_without_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Pipe(Recorder(), Recorder(), chunk_sizes=(5, size))


def test_pipe_keeps_events_and_error_of_each_end() -> None:
    error = DecodeError("wrong")
    first = Recorder(events=[ApplicationData(b"1")])
    second = Recorder(events=[ApplicationData(b"2"), PeerClosed()], error=error)
    pipe = Pipe(first, second)
    pipe.pump()
    pipe.pump()
    assert (pipe.first.events, pipe.first.error) == ([ApplicationData(b"1")], None)
    assert (pipe.second.events, pipe.second.error) == ([ApplicationData(b"2"), PeerClosed()], error)


@pytest.mark.parametrize("broken", [0, 1])
def test_pump_raises_the_error_of_either_end(broken: int) -> None:
    ends: list[Engine] = [Recorder(b"a"), Recorder(b"b")]
    ends[broken] = Recorder(error=DecodeError("wrong"))
    with pytest.raises(DecodeError, match="wrong"):
        pump(*ends)


def test_pump_joins_two_engines() -> None:
    client = ScriptedClient()
    server = ServerConnection(ServerConfig(credentials=LocalCA().issue("localhost").credential()))
    client.send_hello()
    assert pump(client, server) == ([], [])
    client.finish()
    client.send_data(b"ping")
    told, events = pump(client, server, chunk_sizes=(1,))
    assert told == []
    assert [type(event) for event in events] == [HandshakeComplete, ApplicationData]
    client.send_record(0, b"\0")
    with pytest.raises(UnexpectedMessage):
        pump(client, server)
