"""TLSProtocol and TLSTransport between a TCP transport in memory and an application: what asyncio promises of both."""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest

from aiotls import ServerConfig
from aiotls.errors import AlertDescription, AlertReceived, BadRecordMAC, HandshakeTimeout, TruncationError
from aiotls.wire.messages import KeyUpdate
from tests.asyncio.support import Recorder, Reports, Wire, open_wire, protocol_of, turn

CLOSE_NOTIFY = AlertDescription.close_notify


# --- The order of callbacks --------------------------------------------------------------------------------------


async def test_callbacks_come_in_asyncios_order_and_once(wire: Wire, application: Recorder) -> None:
    wire.script.send_data(b"one")
    wire.script.send_data(b"two")
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    await application.lost.wait()
    assert application.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert bytes(application.data) == b"onetwo"
    assert application.error is None


async def test_protocol_is_made_only_when_the_client_has_finished(config: ServerConfig, application: Recorder) -> None:
    wire = Wire(protocol_of(config, lambda: application))
    wire.script.send_hello()
    wire.exchange()
    assert wire.script.server_finished
    assert application.calls == []
    wire.script.finish()
    wire.exchange()
    assert application.calls == ["connection_made"]


async def test_data_that_comes_with_finished_follows_connection_made(
    config: ServerConfig, application: Recorder
) -> None:
    wire = Wire(protocol_of(config, lambda: application))
    wire.script.send_hello()
    wire.exchange()
    wire.script.finish()
    wire.script.send_data(b"request")
    wire.exchange()
    assert application.calls == ["connection_made", "data_received"]


async def test_protocol_takes_bytes_one_by_one(config: ServerConfig, application: Recorder) -> None:
    wire = Wire(protocol_of(config, lambda: application))
    wire.script.send_hello()
    for _ in range(2):
        for byte in wire.script.data_to_send():
            wire.feed(bytes([byte]))
        wire.exchange()
        if not application.calls:
            wire.script.finish()
            wire.script.send_data(b"drop by drop")
    assert application.data == b"drop by drop"


async def test_connections_of_a_loop_share_one_receive_buffer(config: ServerConfig) -> None:
    first, second = (protocol_of(config, Recorder) for _ in range(2))
    assert first.get_buffer(-1) is second.get_buffer(-1)


async def test_connections_that_share_a_buffer_do_not_mix(config: ServerConfig) -> None:
    applications = [Recorder(), Recorder()]
    wires = [open_wire(config, application) for application in applications]
    messages = []
    for number, wire in enumerate(wires):
        wire.script.send_data(bytes([number]) * 1000)
        messages.append(wire.script.data_to_send())
    for start in range(0, len(messages[0]), 100):
        for wire, message in zip(wires, messages, strict=True):
            wire.feed(message[start : start + 100])
    assert [application.data for application in applications] == [b"\0" * 1000, b"\1" * 1000]


# --- Writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_transport_writes_every_kind_of_bytes(
    kind: type[bytes | bytearray | memoryview], wire: Wire, application: Recorder
) -> None:
    application.transport.write(kind(b"hello"))
    application.transport.write(kind(b""))
    application.transport.write(kind(b"x" * 40_000))
    wire.exchange()
    assert wire.script.data == b"hello" + b"x" * 40_000


async def test_transport_seals_before_write_returns(wire: Wire, application: Recorder) -> None:
    data = bytearray(b"before")
    application.transport.write(data)
    data[:] = b"after!"
    wire.exchange()
    assert wire.script.data == b"before"


async def test_transport_hands_a_large_write_to_tcp_in_one_call(wire: Wire, application: Recorder) -> None:
    wire.writes = 0
    application.transport.write(bytes(1 << 20))
    assert wire.writes == 1
    wire.exchange()
    assert wire.script.data == bytes(1 << 20)


@pytest.mark.parametrize("wrong", ["text", 7, None, [b"list"], object()], ids=repr)
async def test_transport_refuses_to_write_what_is_no_bytes(wire: Wire, application: Recorder, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"bytes-like object, and not {type(wrong).__name__}"):
        application.transport.write(wrong)
    application.transport.write(b"still whole")
    wire.exchange()
    assert wire.script.data == b"still whole"


async def test_transport_writes_lines_as_one(wire: Wire, application: Recorder) -> None:
    wire.writes = 0
    application.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
    application.transport.writelines(iter([b"d"]))
    assert wire.writes == 2
    wire.exchange()
    assert wire.script.data == b"abcd"


async def test_transport_refuses_lines_that_are_no_bytes(wire: Wire, application: Recorder) -> None:
    with pytest.raises(TypeError):
        application.transport.writelines(cast("Any", [b"a", "b"]))
    wire.exchange()
    assert wire.script.data == b""


async def test_transport_warns_and_drops_what_is_written_after_close(wire: Wire, application: Recorder) -> None:
    application.transport.close()
    with pytest.warns(UserWarning, match="write\\(\\) on a closed TLS connection: the data is dropped"):
        application.transport.write(b"too late")
    application.transport.write(b"")
    wire.exchange()
    assert wire.script.data == b""
    await application.lost.wait()


async def test_transport_refuses_write_after_write_eof(wire: Wire, application: Recorder) -> None:
    application.transport.write_eof()
    with pytest.raises(RuntimeError, match=r"write\(\) after write_eof\(\)"):
        application.transport.write(b"more")


async def test_transport_drops_what_is_written_after_the_peers_fault(wire: Wire, application: Recorder) -> None:
    wire.script.send_alert(AlertDescription.internal_error)
    wire.exchange()
    assert application.transport.is_closing()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        application.transport.write(b"the program cannot know yet")
    wire.exchange()
    assert wire.script.data == b""
    await application.lost.wait()
    assert isinstance(application.error, AlertReceived)


async def test_transport_passes_back_pressure_on(wire: Wire, application: Recorder) -> None:
    wire.protocol.pause_writing()
    wire.protocol.resume_writing()
    assert application.calls == ["connection_made", "pause_writing", "resume_writing"]


async def test_protocol_made_under_back_pressure_is_told_so(config: ServerConfig, application: Recorder) -> None:
    wire = Wire(protocol_of(config, lambda: application))
    wire.protocol.pause_writing()
    wire.handshake()
    assert application.calls == ["connection_made", "pause_writing"]


async def test_relief_before_the_protocol_is_made_is_forgotten(config: ServerConfig, application: Recorder) -> None:
    wire = Wire(protocol_of(config, lambda: application))
    wire.protocol.pause_writing()
    wire.protocol.resume_writing()
    wire.handshake()
    assert application.calls == ["connection_made"]


# --- Reading -----------------------------------------------------------------------------------------------------


async def test_pause_reading_holds_back_even_what_is_decrypted(wire: Wire, application: Recorder) -> None:
    class Sipping(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    sipping = Sipping()
    sipping.calls, sipping.transport = ["connection_made"], application.transport
    application.transport.set_protocol(sipping)
    for piece in (b"first", b"second", b"third"):
        wire.script.send_data(piece)
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()  # four records in one read
    assert bytes(sipping.data) == b"first"
    assert wire.paused
    assert not application.transport.is_reading()
    for so_far in (b"firstsecond", b"firstsecondthird"):
        sipping.transport.resume_reading()
        await turn()
        assert bytes(sipping.data) == so_far
    assert sipping.calls == ["connection_made", "data_received"]
    sipping.transport.resume_reading()
    await sipping.lost.wait()
    assert sipping.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]


async def test_resume_reading_delivers_in_order_before_what_comes_next(wire: Wire, application: Recorder) -> None:
    application.transport.pause_reading()
    wire.script.send_data(b"held back, ")
    wire.exchange()
    assert bytes(application.data) == b""
    application.transport.resume_reading()
    assert not wire.paused
    wire.script.send_data(b"and new")
    wire.exchange()  # comes before the loop has delivered the first
    await turn()
    assert application.data == b"held back, and new"


async def test_pause_and_resume_may_be_called_twice(wire: Wire, application: Recorder) -> None:
    for _ in range(2):
        application.transport.pause_reading()
    for _ in range(2):
        application.transport.resume_reading()
    assert application.transport.is_reading()
    wire.script.send_data(b"data")
    wire.exchange()
    await turn()
    assert application.data == b"data"


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_transport_delivers_nothing_after_it_is_closed(wire: Wire, application: Recorder, end: str) -> None:
    class Brief(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, end)()

    brief = Brief()
    brief.calls, brief.transport = ["connection_made"], application.transport
    application.transport.set_protocol(brief)
    for piece in (b"first", b"second"):
        wire.script.send_data(piece)
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    await brief.lost.wait()
    assert brief.data == b"first"
    assert brief.calls == ["connection_made", "data_received", "connection_lost"]


async def test_resume_reading_after_close_delivers_nothing(wire: Wire, application: Recorder) -> None:
    application.transport.pause_reading()
    wire.script.send_data(b"unread")
    wire.exchange()
    application.transport.close()
    application.transport.resume_reading()
    assert not application.transport.is_reading()
    await application.lost.wait()
    await turn()
    assert application.calls == ["connection_made", "connection_lost"]


class Buffered(asyncio.BufferedProtocol):
    """Takes data in buffers of at most *size* bytes."""

    def __init__(self, size: int) -> None:
        self.data = bytearray()
        self.hints: list[int] = []
        self.lost = asyncio.Event()
        self.error: Exception | None = None
        self.eof = False
        self._buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        self.hints.append(sizehint)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self._buffer[:nbytes]

    def eof_received(self) -> None:
        self.eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()


@pytest.mark.parametrize("size", [1, 7, 100, 20_000])
async def test_buffered_protocol_gets_all_data_in_its_own_buffers(config: ServerConfig, size: int) -> None:
    buffered = Buffered(size)
    wire = open_wire(config, buffered)
    wire.script.send_data(bytes(range(100)))
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    await buffered.lost.wait()
    assert buffered.data == bytes(range(100))
    assert buffered.hints[0] == 100
    assert buffered.eof
    assert buffered.error is None


async def test_buffered_protocol_that_gives_no_room_ends_its_connection(config: ServerConfig, reports: Reports) -> None:
    buffered = Buffered(0)
    wire = open_wire(config, buffered)
    wire.script.send_data(b"data")
    wire.exchange()
    assert str(reports.take()["exception"]) == "get_buffer() returned an empty buffer"
    await buffered.lost.wait()


async def test_protocol_of_no_base_class_is_served(config: ServerConfig) -> None:
    duck = Recorder()
    names = ("connection_made", "data_received", "eof_received", "connection_lost")
    plain = type("Plain", (), {name: staticmethod(getattr(duck, name)) for name in names})()
    wire = open_wire(config, plain)
    wire.script.send_data(b"data")
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    await duck.lost.wait()
    assert duck.calls == [*names]


# --- The peer's end ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6.1")
async def test_connection_stays_open_when_eof_received_returns_true(config: ServerConfig) -> None:
    application = Recorder(half_open=True)
    wire = open_wire(config, application)
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    assert wire.protocol.eof_received()  # TCP's own end
    assert not application.transport.is_closing()
    application.transport.write(b"an answer")
    application.transport.close()
    wire.exchange()
    assert wire.script.data == b"an answer"
    assert [alert.description for alert in wire.script.alerts] == [CLOSE_NOTIFY]
    await application.lost.wait()
    assert application.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_connection_closes_when_eof_received_returns_false(wire: Wire, application: Recorder) -> None:
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    assert application.transport.is_closing()
    assert [alert.description for alert in wire.script.alerts] == [CLOSE_NOTIFY]
    await application.lost.wait()
    assert application.error is None


@pytest.mark.rfc("8446", "6.1")
async def test_tcp_end_without_close_notify_is_a_truncation(wire: Wire, application: Recorder) -> None:
    wire.script.send_data(b"half a mess")
    wire.exchange()
    assert not wire.protocol.eof_received()
    await application.lost.wait()
    assert application.calls == ["connection_made", "data_received", "connection_lost"]
    assert isinstance(application.error, TruncationError)
    assert wire.script.alerts == []


async def test_truncation_waits_for_a_reader_that_is_paused(wire: Wire, application: Recorder) -> None:
    application.transport.pause_reading()
    wire.script.send_data(b"unread")
    wire.exchange()
    wire.protocol.eof_received()
    await turn()
    assert application.calls == ["connection_made"]
    application.transport.resume_reading()
    await application.lost.wait()
    assert application.data == b"unread"
    assert isinstance(application.error, TruncationError)


@pytest.mark.rfc("8446", "6.2")
async def test_record_that_does_not_authenticate_ends_the_connection(wire: Wire, application: Recorder) -> None:
    record = bytearray(wire.script.record(23, b"data"))
    record[-1] ^= 1
    wire.script.send_data(b"good")
    good = wire.script.data_to_send()
    wire.feed(good)
    wire.feed(bytes(record))
    wire.exchange()
    assert wire.script.alerts[-1].description is AlertDescription.bad_record_mac
    assert wire.eof
    assert application.transport.is_closing()
    wire.feed(b"what follows is not read")
    assert not wire.protocol.eof_received()
    wire.close()
    await application.lost.wait()
    assert isinstance(application.error, BadRecordMAC)


@pytest.mark.rfc("8446", "4.6.3")
async def test_peer_may_update_its_key_in_mid_stream(wire: Wire, application: Recorder) -> None:
    for number in range(3):
        wire.script.send_data(bytes([number]) * 20_000)
        wire.script.send_key_update(request_peer=number == 1)
    wire.script.send_data(b"end")
    wire.exchange()
    assert application.data == b"".join(bytes([number]) * 20_000 for number in range(3)) + b"end"
    updates = [message for message in wire.script.server_messages if isinstance(message, KeyUpdate)]
    assert [update.request_update for update in updates] == [0]
    application.transport.write(b"under the new key")
    wire.exchange()
    assert wire.script.data == b"under the new key"


# --- Our own end -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6.1")
async def test_write_eof_ends_our_side_only(wire: Wire, application: Recorder) -> None:
    assert application.transport.can_write_eof()
    application.transport.write(b"all that I say")
    application.transport.write_eof()
    application.transport.write_eof()
    assert wire.eof
    wire.exchange()
    assert wire.script.data == b"all that I say"
    assert [alert.description for alert in wire.script.alerts] == [CLOSE_NOTIFY]
    assert not application.transport.is_closing()
    wire.script.send_data(b"go on")
    wire.script.send_key_update(request_peer=True)  # which cannot be answered any more
    wire.script.send_data(b", please")
    wire.exchange()
    assert application.data == b"go on, please"
    application.transport.close()
    wire.exchange()
    assert len(wire.script.alerts) == 1
    await application.lost.wait()


async def test_close_is_prompt_and_happens_once(wire: Wire, application: Recorder) -> None:
    application.transport.write(b"last words")
    application.transport.close()
    application.transport.close()
    application.transport.write_eof()
    assert application.transport.is_closing()
    assert wire.is_closing()
    wire.exchange()
    assert wire.script.data == b"last words"
    assert [alert.description for alert in wire.script.alerts] == [CLOSE_NOTIFY]
    await application.lost.wait()
    assert application.calls == ["connection_made", "connection_lost"]


async def test_abort_sends_nothing(wire: Wire, application: Recorder) -> None:
    assert not application.transport.is_closing()
    application.transport.abort()
    assert application.transport.is_closing()
    assert wire.aborted
    assert not wire.written
    await application.lost.wait()
    assert application.error is None


# --- Protocols ---------------------------------------------------------------------------------------------------


async def test_set_protocol_hands_the_connection_over(wire: Wire, application: Recorder) -> None:
    successor = Recorder()
    successor.calls.append("took over")
    wire.script.send_data(b"one")
    wire.exchange()
    assert application.transport.get_protocol() is application
    application.transport.set_protocol(successor)
    assert application.transport.get_protocol() is successor
    wire.script.send_data(b"two")
    wire.script.send_alert(CLOSE_NOTIFY, level=1)
    wire.exchange()
    await successor.lost.wait()
    assert bytes(application.data) == b"one"
    assert application.calls == ["connection_made", "data_received"]
    assert successor.calls == ["took over", "data_received", "eof_received", "connection_lost"]


async def test_set_protocol_in_connection_made_takes_effect_at_once(config: ServerConfig) -> None:
    successor = Recorder()
    successor.calls.append("took over")

    class Switch(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.set_protocol(successor)

    switch = Switch()
    wire = Wire(protocol_of(config, lambda: switch))
    wire.protocol.pause_writing()
    wire.handshake()
    wire.script.send_data(b"data")
    wire.exchange()
    assert switch.calls == ["connection_made"]
    assert successor.calls == ["took over", "pause_writing", "data_received"]


async def test_get_protocol_says_that_the_connection_is_closed(wire: Wire, application: Recorder) -> None:
    application.transport.close()
    assert application.transport.get_protocol() is application
    await application.lost.wait()
    with pytest.raises(RuntimeError, match="closed"):
        application.transport.get_protocol()


# --- The handshake's timer ---------------------------------------------------------------------------------------


class Timers:
    """Stands in for `loop.call_later`: keeps what is to be called, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed: list[tuple[float, Callable[[], None], asyncio.TimerHandle]] = []
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(self._loop, "call_later", self._call_later)

    def _call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(delay, callback, (), self._loop)
        self.armed.append((delay, callback, handle))
        return handle

    def cancelled(self) -> list[bool]:
        return [handle.cancelled() for _, _, handle in self.armed]


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    return Timers(monkeypatch)


async def test_drip_of_bytes_does_not_extend_the_handshake(
    config: ServerConfig, reports: Reports, timers: Timers
) -> None:
    wire = Wire(protocol_of(config, Recorder))
    wire.script.send_hello()
    for byte in wire.script.data_to_send()[:-1]:
        wire.feed(bytes([byte]))
    ((delay, timed_out, handle),) = timers.armed
    assert delay == 60
    assert not handle.cancelled()
    timed_out()
    context = reports.take()
    assert isinstance(context["exception"], HandshakeTimeout)
    assert "('192.0.2.1', 4433)" in context["message"]
    assert "60 seconds" in context["message"]
    wire.close()
    await turn()


async def test_timer_is_cancelled_when_the_handshake_is_complete(
    config: ServerConfig, application: Recorder, timers: Timers
) -> None:
    wire = Wire(protocol_of(config, lambda: application))
    wire.script.send_hello()
    wire.exchange()
    assert timers.cancelled() == [False]
    wire.script.finish()
    wire.exchange()
    assert timers.cancelled() == [True]


async def test_peer_that_does_not_close_after_our_alert_is_aborted(
    config: ServerConfig, reports: Reports, timers: Timers
) -> None:
    wire = Wire(protocol_of(config, Recorder))
    wire.script.send_raw(b"GET / HTTP/1.1\r\n\r\n")
    wire.exchange()
    assert "plain HTTP" in reports.take()["message"]
    assert timers.cancelled() == [True, False]
    assert not wire.is_closing()
    timers.armed[1][1]()
    assert wire.aborted
    await turn()
    assert timers.cancelled() == [True, True]
