"""What trio's streams leave behind when calls are cancelled, limited or wrong, and what tasks do at the same time."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import (
    MockClock,
    assert_checkpoints,
    lockstep_stream_pair,
    memory_stream_pair,
    trio_test,
    wait_all_tasks_blocked,
)

from aiotls import ClientConfig, Credential, LocalError, ServerConfig
from aiotls.errors import CallbackError, HandshakeTimeout
from aiotls.trio import TLSListener, TLSStream, open_tls_stream, serve_tls


def stream_pair(
    client: ClientConfig, server: ServerConfig, transports: Callable[[], tuple[Any, Any]] = memory_stream_pair
) -> tuple[TLSStream, TLSStream]:
    ours, theirs = transports()
    return TLSStream(ours, client, server_hostname="localhost"), TLSStream(theirs, server)


async def close(*streams: TLSStream) -> None:
    for stream in streams:
        await trio.aclose_forcefully(stream)


async def shake_hands(client: TLSStream, server: TLSStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)


# --- The handshake ---------------------------------------------------------------------------------------------------


@trio_test
async def test_handshake_that_is_cancelled_while_it_waits_for_the_peer_goes_on(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    client, server = stream_pair(client_config, server_config)
    for call in (client.do_handshake, client.receive_some):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    await shake_hands(client, server)
    await client.send_all(b"x")
    assert await server.receive_some() == b"x"
    await close(client, server)


@trio_test
async def test_tasks_that_need_the_handshake_at_once_share_it(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    client, server = stream_pair(client_config, server_config)
    received: list[bytes] = []

    async def receive(stream: TLSStream) -> None:
        received.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        for stream in (client, server):
            nursery.start_soon(receive, stream)
            nursery.start_soon(stream.send_all, b"x")
            nursery.start_soon(stream.do_handshake)
    assert received == [b"x", b"x"]
    with assert_checkpoints():
        await client.do_handshake()
    await close(client, server)


@trio_test
async def test_stream_whose_resolver_was_cancelled_tells_so_and_can_be_closed(
    client_config: ClientConfig, autojump_clock: MockClock
) -> None:
    async def never(_: object) -> Credential:
        await trio.sleep_forever()
        raise AssertionError

    client, server = stream_pair(client_config, ServerConfig(credentials=never))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.receive_some()
        assert isinstance(caught.value.__cause__, CallbackError)
    await server.aclose()
    await close(client)


@trio_test
async def test_aclose_ends_a_handshake_that_waits_for_a_resolver(client_config: ClientConfig) -> None:
    ended: list[str] = []

    async def never(_: object) -> Credential:
        try:
            await trio.sleep_forever()
            raise AssertionError
        finally:
            ended.append("resolver")

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await server.receive_some()
        ended.append("receiver")

    client, server = stream_pair(client_config, ServerConfig(credentials=never))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        async with trio.open_nursery() as handshake:
            handshake.start_soon(client.do_handshake)
            await wait_all_tasks_blocked()
            handshake.cancel_scope.cancel()
        await server.aclose()
    assert ended == ["resolver", "receiver"]
    await close(client)


@trio_test
async def test_handshake_timeout_is_a_broken_stream_and_counts_from_the_handshakes_begin(
    server_config: ServerConfig, autojump_clock: MockClock
) -> None:
    ours, theirs = memory_stream_pair()
    server = TLSStream(ours, server_config, handshake_timeout=5)
    await trio.sleep(100)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            for byte in b"\x16\x03\x01\x02\x00":
                await theirs.send_all(bytes([byte]))
                await trio.sleep(2)

        nursery.start_soon(drip)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.receive_some()
        assert trio.current_time() == began + 5 + 1  # a second for the peer to read the alert
    assert isinstance(caught.value.__cause__, HandshakeTimeout)
    await server.aclose()
    await theirs.aclose()


# --- Closing ---------------------------------------------------------------------------------------------------------


@trio_test
async def test_aclose_does_not_wait_for_ever_for_a_peer_that_never_reads(
    client_config: ClientConfig, server_config: ServerConfig, autojump_clock: MockClock
) -> None:
    client, server = stream_pair(client_config, server_config, lockstep_stream_pair)
    await shake_hands(client, server)
    began = trio.current_time()
    await client.aclose()
    assert trio.current_time() == began + 30
    await close(server)


@trio_test
async def test_aclose_while_another_task_sends_closes_at_once(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    client, server = stream_pair(client_config, server_config, lockstep_stream_pair)
    await shake_hands(client, server)

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await client.aclose()
    await close(server)


@trio_test
async def test_stream_that_was_never_used_closes_without_a_word(client_config: ClientConfig) -> None:
    ours, theirs = memory_stream_pair()
    client = TLSStream(ours, client_config, server_hostname="localhost")
    await client.aclose()
    assert await theirs.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await client.do_handshake()
    await theirs.aclose()


@trio_test
async def test_stream_that_has_failed_is_broken_for_sending_too(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    client, server = stream_pair(client_config, server_config)
    await shake_hands(client, server)
    await server.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await client.send_eof()
    await close(client, server)


# --- Arguments -------------------------------------------------------------------------------------------------------


@trio_test
async def test_negotiated_is_there_after_the_handshake_only(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    client, server = stream_pair(client_config, server_config)
    with pytest.raises(trio.NeedHandshakeError):
        _ = client.negotiated
    with pytest.raises(LocalError):
        client.export_keying_material("EXPORTER-x", b"", 32)
    await shake_hands(client, server)
    assert client.negotiated.alpn == server.negotiated.alpn == "h2"
    assert client.channel_binding() == server.channel_binding()
    assert client.export_keying_material("EXPORTER-x", b"", 32) == server.export_keying_material("EXPORTER-x", b"", 32)
    await close(client, server)


@trio_test
async def test_arguments_that_cannot_be_are_refused(client_config: ClientConfig, server_config: ServerConfig) -> None:
    transport, _ = memory_stream_pair()
    wrong: Any = "config"
    with pytest.raises(TypeError, match="ClientConfig"):
        TLSStream(transport, wrong)
    with pytest.raises(LocalError, match="server_hostname"):
        TLSStream(transport, server_config, server_hostname="localhost")
    with pytest.raises(LocalError, match="server_name"):
        TLSStream(transport, client_config)
    with pytest.raises(LocalError, match="handshake_timeout"):
        TLSStream(transport, server_config, handshake_timeout=0)
    with pytest.raises(TypeError, match="ServerConfig"):
        await serve_tls(lambda stream: stream.aclose(), 0, wrong)
    with pytest.raises(TypeError, match="ClientConfig"):
        await open_tls_stream("localhost", 1, config=wrong)


@trio_test
async def test_listener_accepts_without_a_handshake(client_config: ClientConfig, server_config: ServerConfig) -> None:
    [tcp] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with TLSListener(tcp, server_config) as listener:
        peer = await trio.open_tcp_stream("127.0.0.1", tcp.socket.getsockname()[1])
        stream = await listener.accept()
        client = TLSStream(peer, client_config, server_hostname="localhost")
        await shake_hands(client, stream)
        await close(client, stream)


def test_package_alone_imports_neither_trio_nor_anyio() -> None:
    code = "import sys, aiotls; print(sorted({'trio', 'anyio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"
