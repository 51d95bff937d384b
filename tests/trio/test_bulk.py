"""Bulk data over trio's streams: every byte arrives, and memory stays flat however slow the reader is."""

import gc
import hashlib
import tracemalloc

import trio
from trio.testing import trio_test

from aiotls import ClientConfig, ServerConfig
from aiotls.trio import TLSListener, TLSStream

SIZE = 256 * 1024 * 1024
PIECE = 1024 * 1024
BOUND = 8 * 1024 * 1024
"""Bytes that may be held at once; the transfer is 32 times as large in each direction."""


def piece(number: int) -> bytes:
    """What is sent, a different piece each time."""
    return number.to_bytes(4, "big") * (PIECE // 4)


async def send(stream: TLSStream) -> None:
    for number in range(SIZE // PIECE):
        await stream.send_all(piece(number))
    await stream.send_eof()


async def receive(stream: TLSStream, digests: list[bytes]) -> None:
    digest = hashlib.sha256()
    async for data in stream:
        digest.update(data)
        await trio.lowlevel.checkpoint()  # slower than the sender
    digests.append(digest.digest())


async def both_ways(stream: TLSStream, digests: list[bytes]) -> None:
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(send, stream)
        nursery.start_soon(receive, stream, digests)


@trio_test
async def test_transfer_both_ways_keeps_memory_flat_and_brings_every_byte(
    client_config: ClientConfig, server_config: ServerConfig
) -> None:
    digests: list[bytes] = []
    [tcp, *_] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener = TLSListener(tcp, server_config)
    async with listener:
        ours = await trio.open_tcp_stream("127.0.0.1", tcp.socket.getsockname()[1])
        client = TLSStream(ours, client_config, server_hostname="localhost")
        server = await listener.accept()
        gc.collect()
        tracemalloc.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(both_ways, client, digests)
                nursery.start_soon(both_ways, server, digests)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    expected = hashlib.sha256()
    for number in range(SIZE // PIECE):
        expected.update(piece(number))
    assert digests == [expected.digest()] * 2
    assert peak < BOUND
