"""`start_server` and `create_server` on real sockets, against Python's own `ssl` and against peers that misbehave."""

import asyncio
import inspect
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

import aiotls
from aiotls import ServerConfig
from aiotls.asyncio import TLSServer
from aiotls.errors import (
    AlertDescription,
    AlertReceived,
    BadRecordMAC,
    HandshakeTimeout,
    LocalError,
    NoCommonVersion,
    TruncationError,
    UnexpectedMessage,
)
from aiotls.negotiated import Negotiated
from aiotls.testing.ca import LocalCA
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion
from tests.asyncio.support import Connected, Peer, Recorder, Recorders, Reports, port_of

OnClose = Callable[[Any], None]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HOST = "127.0.0.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def connect(server: TLSServer, context: ssl.SSLContext) -> Streams:
    """A client of the standard library's."""
    return await asyncio.open_connection(HOST, port_of(server), ssl=context, server_hostname="localhost")


async def served(server: TLSServer, context: ssl.SSLContext) -> bytes:
    """What the echo server, still in good health, says to a word."""
    reader, writer = await connect(server, context)
    writer.write(b"word")
    answer = await reader.readexactly(4)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
async def echo_server(config: ServerConfig, on_close: OnClose) -> TLSServer:
    server = await aiotls.start_server(echo, HOST, 0, ssl=config)
    on_close(server)
    return server


# --- The paved path ----------------------------------------------------------------------------------------------


async def test_server_serves_on_the_paved_path(
    ca: LocalCA, tmp_path: Path, client_context: ssl.SSLContext, on_close: OnClose
) -> None:
    certfile, keyfile = ca.issue("localhost").write(tmp_path)
    seen: list[Negotiated] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("tls"))
        await echo(reader, writer)

    config = aiotls.ServerConfig(credentials=aiotls.Credential.from_files(certfile, keyfile), alpn=("http/1.1",))
    server = await aiotls.start_server(handler, "127.0.0.1", 0, ssl=config)
    on_close(server)
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    assert await served(server, client_context) == b"word"
    (tls,) = seen
    assert (tls.version, tls.cipher_suite) == (ProtocolVersion.TLSv1_3, CipherSuite.TLS_AES_128_GCM_SHA256)
    assert (tls.group, tls.alpn, tls.server_name) == (NamedGroup.x25519, "http/1.1", "localhost")
    assert (tls.resumed, tls.retried, tls.peer_certificates) == (False, False, ())


async def test_server_and_client_carry_megabytes_both_ways_at_once(
    echo_server: TLSServer, client_context: ssl.SSLContext
) -> None:
    payload = bytes(range(256)) * (16 * 1024)  # 4 MiB: more than all the buffers between the two hold
    reader, writer = await connect(echo_server, client_context)

    async def send() -> None:
        for start in range(0, len(payload), 300_001):
            writer.write(payload[start : start + 300_001])
            await writer.drain()

    sending = asyncio.create_task(send())
    assert await reader.readexactly(len(payload)) == payload
    await sending
    writer.close()
    await writer.wait_closed()


async def test_server_passes_limit_on_to_reader(
    config: ServerConfig, client_context: ssl.SSLContext, on_close: OnClose
) -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readline()
        except ValueError as error:
            outcome.set_result(str(error))
        writer.close()

    server = await aiotls.start_server(handler, HOST, 0, ssl=config, limit=100)
    on_close(server)
    _, writer = await connect(server, client_context)
    writer.write(b"x" * 1000)
    assert "limit" in await outcome
    writer.close()
    await writer.wait_closed()


async def test_server_takes_asyncios_own_arguments(config: ServerConfig, on_close: OnClose) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        server = await aiotls.create_server(Recorder, sock=unused.dup(), ssl=config, backlog=5, start_serving=False)
        on_close(server)
        assert not server.is_serving()
        assert port_of(server) == unused.getsockname()[1]


# --- Arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, True, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ServerConfig], ids=repr)
async def test_server_refuses_what_is_no_config_and_says_what_to_pass(wrong: Any) -> None:
    for make in (aiotls.create_server, aiotls.start_server):
        with pytest.raises(TypeError, match=r"aiotls\.ServerConfig\(credentials=aiotls\.Credential\.from_files"):
            await cast("Any", make)(echo, HOST, 0, ssl=wrong)


async def test_server_names_the_type_that_it_refuses() -> None:
    with pytest.raises(TypeError, match=r"not a ssl\.SSLContext"):
        await cast("Any", aiotls.start_server)(echo, HOST, 0, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.5])
async def test_server_refuses_timeout_that_is_not_positive(config: ServerConfig, name: str, seconds: float) -> None:
    for make in (aiotls.create_server, aiotls.start_server):
        with pytest.raises(LocalError, match=f"{name} must be positive, and is {seconds}"):
            await cast("Any", make)(echo, HOST, 0, ssl=config, **{name: seconds})


async def test_server_takes_the_shutdown_timeout_of_the_standard_library(
    config: ServerConfig, client_context: ssl.SSLContext, on_close: OnClose
) -> None:
    server = await aiotls.start_server(echo, HOST, 0, ssl=config, ssl_shutdown_timeout=5)
    on_close(server)
    assert await served(server, client_context) == b"word"


@pytest.mark.parametrize("name", ["create_server", "start_server"])
def test_server_is_made_with_the_arguments_of_the_standard_library(name: str) -> None:
    """Those of the oldest Python that we run on, and in the same order."""
    parameters = inspect.signature(getattr(aiotls, name)).parameters
    assert list(parameters)[1:3] == ["host", "port"]
    theirs = inspect.signature(asyncio.BaseEventLoop.create_server).parameters
    known = {"self", "protocol_factory", "keep_alive"}  # keep_alive: from Python 3.13 on
    if name == "create_server":
        assert set(theirs) - known <= set(parameters)
        for shared in ("family", "flags", "backlog", "reuse_address", "start_serving"):
            assert parameters[shared].default == theirs[shared].default


# --- Handshakes that fail ----------------------------------------------------------------------------------------


async def ends_at_once(peer: Peer) -> None:
    peer.close()


async def ends_in_mid_hello(peer: Peer) -> None:
    peer.script.send_hello()
    peer.writer.write(peer.script.data_to_send()[:100])
    peer.writer.write_eof()


async def resets(peer: Peer) -> None:
    peer.script.send_hello()
    await peer.flush()
    await peer.receive()
    peer.reset()


async def sends_garbage(peer: Peer) -> None:
    peer.script.send_raw(b"\xde\xad\xbe\xef" * 100)
    await peer.flush()


async def speaks_http(peer: Peer) -> None:
    peer.script.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await peer.flush()


async def speaks_tls12_only(peer: Peer) -> None:
    peer.script.send_hello(supported_versions=None)
    await peer.flush()


async def sends_wrong_finished(peer: Peer) -> None:
    peer.script.send_hello()
    await peer.flush()
    await peer.receive_until(lambda: peer.script.server_finished)
    broken = bytearray(peer.script.record(22, peer.script.finished()))
    broken[-1] ^= 1
    peer.script.send_raw(bytes(broken))
    await peer.flush()


async def refuses_certificate(peer: Peer) -> None:
    peer.script.send_hello()
    await peer.flush()
    await peer.receive_until(lambda: peer.script.server_finished)
    peer.script.send_alert(AlertDescription.unknown_ca)
    await peer.flush()


@dataclass(frozen=True)
class Failure:
    """What a peer does, what the server makes of it, and what it tells the peer."""

    act: Callable[[Peer], Awaitable[None]]
    error: type[Exception]
    alert: AlertDescription | None = None


FAILURES = [
    Failure(ends_at_once, TruncationError),
    Failure(ends_in_mid_hello, TruncationError),
    Failure(resets, ConnectionResetError),
    Failure(sends_garbage, UnexpectedMessage, AlertDescription.unexpected_message),
    Failure(speaks_http, UnexpectedMessage, AlertDescription.unexpected_message),
    Failure(speaks_tls12_only, NoCommonVersion, AlertDescription.protocol_version),
    Failure(sends_wrong_finished, BadRecordMAC, AlertDescription.bad_record_mac),
    Failure(refuses_certificate, AlertReceived),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.act.__name__)
async def test_server_reports_failed_handshake_once_and_goes_on(
    failure: Failure, recording_server: TLSServer, recorders: Recorders, reports: Reports, on_close: OnClose
) -> None:
    peer, honest = await Peer.connect(recording_server), await Peer.connect(recording_server)
    on_close(peer)
    on_close(honest)
    address = peer.address
    await failure.act(peer)
    context = await reports.next()
    assert type(context["exception"]) is failure.error
    assert address in context["message"]
    assert str(context["exception"]) in context["message"]
    assert recorders.made == []
    if failure.alert is not None:
        await peer.receive_all()
        assert [alert.description for alert in peer.script.alerts] == [failure.alert]
    await honest.handshake()
    await recorders.next()


async def test_server_tells_client_of_tls12_by_protocol_version(
    echo_server: TLSServer, client_context: ssl.SSLContext, reports: Reports
) -> None:
    client_context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        await connect(echo_server, client_context)
    assert isinstance((await reports.next())["exception"], NoCommonVersion)


async def test_server_says_that_http_came_to_a_tls_port(echo_server: TLSServer, reports: Reports) -> None:
    peer = await Peer.connect(echo_server)
    await speaks_http(peer)
    assert "plain HTTP" in (await reports.next())["message"]
    await peer.receive_all()
    peer.close()
    await peer.wait_closed()


async def test_server_ends_handshake_that_takes_too_long(
    config: ServerConfig, client_context: ssl.SSLContext, reports: Reports, on_close: OnClose
) -> None:
    server = await aiotls.start_server(echo, HOST, 0, ssl=config, ssl_handshake_timeout=0.05)
    on_close(server)
    peer = await Peer.connect(server)
    on_close(peer)
    error = (await reports.next())["exception"]
    assert type(error) is HandshakeTimeout
    await peer.receive_all()
    assert peer.script.alerts[0].description is AlertDescription.user_canceled
    peer.close()


# --- The end of a connection -------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6.1")
async def test_reader_raises_truncation_when_peer_ends_without_close_notify(
    config: ServerConfig, on_close: OnClose
) -> None:
    outcome: asyncio.Future[BaseException | bytes] = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            outcome.set_result(await reader.read())
        except TruncationError as error:
            outcome.set_result(error)
        writer.close()

    server = await aiotls.start_server(handler, HOST, 0, ssl=config)
    on_close(server)
    peer = await Peer.connect(server)
    on_close(peer)
    await peer.handshake()
    peer.script.send_data(b"half a mess")
    await peer.flush()
    peer.writer.write_eof()
    assert isinstance(await outcome, TruncationError)


@pytest.mark.rfc("8446", "6.1")
async def test_handler_may_answer_after_the_peers_close_notify(config: ServerConfig, on_close: OnClose) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read()
        writer.write(b"you said " + request)
        writer.close()

    server = await aiotls.start_server(handler, HOST, 0, ssl=config)
    on_close(server)
    peer = await Peer.connect(server)
    on_close(peer)
    await peer.handshake()
    peer.script.send_data(b"all")
    peer.script.send_alert(AlertDescription.close_notify, level=1)
    await peer.flush()
    peer.writer.write_eof()
    await peer.receive_all()
    assert peer.script.data == b"you said all"
    assert [alert.description for alert in peer.script.alerts] == [AlertDescription.close_notify]


@pytest.mark.rfc("8446", "6.1")
async def test_handler_may_read_after_its_own_write_eof(config: ServerConfig, on_close: OnClose) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.can_write_eof()
        writer.write(b"over to you")
        writer.write_eof()
        heard.set_result(await reader.read())
        writer.close()

    server = await aiotls.start_server(handler, HOST, 0, ssl=config)
    on_close(server)
    peer = await Peer.connect(server)
    on_close(peer)
    await peer.handshake()
    await peer.receive_all()
    assert peer.script.data == b"over to you"
    assert [alert.description for alert in peer.script.alerts] == [AlertDescription.close_notify]
    peer.script.send_data(b"thank you")
    peer.script.send_alert(AlertDescription.close_notify, level=1)
    await peer.flush()
    assert await heard == b"thank you"


async def test_close_does_not_wait_for_a_peer_that_never_answers(connected: Connected) -> None:
    recorder, peer = connected.application, connected.peer
    recorder.transport.write(b"last words")
    recorder.transport.close()
    await recorder.lost.wait()  # although the peer has not even read yet
    assert recorder.error is None
    await peer.receive_all()
    assert peer.script.data == b"last words"
    assert [alert.description for alert in peer.script.alerts] == [AlertDescription.close_notify]


async def test_abort_ends_the_connection_without_close_notify(connected: Connected) -> None:
    recorder, peer = connected.application, connected.peer
    recorder.transport.abort()
    assert recorder.transport.is_closing()
    await recorder.lost.wait()
    assert (recorder.calls, recorder.error) == (["connection_made", "connection_lost"], None)
    await peer.receive_all()
    assert peer.script.alerts == []


async def test_reset_of_an_open_connection_reaches_connection_lost(connected: Connected) -> None:
    recorder, peer = connected.application, connected.peer
    peer.reset()
    await recorder.lost.wait()
    assert isinstance(recorder.error, ConnectionResetError)


# --- Back-pressure -----------------------------------------------------------------------------------------------


async def test_writer_feels_the_back_pressure_of_a_peer_that_does_not_read(connected: Connected) -> None:
    recorder, peer = connected.application, connected.peer
    recorder.transport.set_write_buffer_limits(high=200_000, low=100_000)
    assert recorder.transport.get_write_buffer_limits() == (100_000, 200_000)
    sent = 0
    while recorder.calls[-1] != "pause_writing":
        recorder.transport.write(bytes(1 << 17))
        sent += 1 << 17
    assert recorder.transport.get_write_buffer_size() > 200_000
    assert recorder.calls == ["connection_made", "pause_writing"]
    await peer.receive_until(lambda: len(peer.script.data) == sent)
    await recorder.resumed.wait()
    assert recorder.calls == ["connection_made", "pause_writing", "resume_writing"]
    recorder.transport.close()
    await recorder.lost.wait()


async def test_peer_feels_the_back_pressure_of_a_reader_that_is_paused(connected: Connected) -> None:
    recorder, peer = connected.application, connected.peer
    recorder.transport.pause_reading()
    assert not recorder.transport.is_reading()
    payload = bytes(range(256)) * (64 * 1024)  # 16 MiB: more than the kernel buffers
    peer.script.send_data(payload)
    flushing = asyncio.create_task(peer.flush())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not flushing.done()
    assert recorder.data == b""
    recorder.transport.resume_reading()
    await flushing
    while len(recorder.data) < len(payload):
        recorder.received.clear()
        await recorder.received.wait()
    assert recorder.data == payload
    recorder.transport.close()
    await recorder.lost.wait()
