"""trio's own checks of a stream, on ours, with and without a transport that is clogged."""

from functools import partial

import trio
from trio.testing import (
    MockClock,
    check_half_closeable_stream,
    check_two_way_stream,
    lockstep_stream_pair,
    memory_stream_pair,
    trio_test,
)

from aiotls import ClientConfig, ServerConfig
from aiotls.trio import TLSStream

Pair = tuple[TLSStream, TLSStream]


async def stream_pair(client_config: ClientConfig, server_config: ServerConfig) -> Pair:
    ours, theirs = memory_stream_pair()
    return TLSStream(ours, client_config, server_hostname="localhost"), TLSStream(theirs, server_config)


async def clogged_pair(client_config: ClientConfig, server_config: ServerConfig) -> Pair:
    """A transport that holds nothing: every send waits until the peer receives.  The handshake is complete."""
    ours, theirs = lockstep_stream_pair()
    client, server = TLSStream(ours, client_config, server_hostname="localhost"), TLSStream(theirs, server_config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
    return client, server


@trio_test
async def test_stream_is_a_two_way_stream(client_config: ClientConfig, server_config: ServerConfig) -> None:
    await check_two_way_stream(partial(stream_pair, client_config, server_config), None)


@trio_test
async def test_stream_is_a_half_closeable_stream(client_config: ClientConfig, server_config: ServerConfig) -> None:
    await check_half_closeable_stream(partial(stream_pair, client_config, server_config), None)


@trio_test
async def test_stream_is_a_half_closeable_stream_over_a_clogged_transport(
    client_config: ClientConfig, server_config: ServerConfig, autojump_clock: MockClock
) -> None:
    unclogged = partial(stream_pair, client_config, server_config)
    await check_half_closeable_stream(unclogged, partial(clogged_pair, client_config, server_config))


@trio_test
async def test_stream_is_a_half_closeable_stream_over_a_transport_that_holds_nothing(
    client_config: ClientConfig, server_config: ServerConfig, autojump_clock: MockClock
) -> None:
    clogged = partial(clogged_pair, client_config, server_config)
    await check_half_closeable_stream(clogged, clogged)
