"""A quarter of a gibibyte each way, with a slow reader: every byte arrives, and no buffer grows beyond its limit."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

import aiotls
from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import port_of

SIZE = 256 << 20
PIECE = 1 << 18
BLOCK = bytes(range(256)) * (PIECE // 256)
# What TCP may hold (64 KiB), one write beyond it with its records' overhead, and what one read may bring.
WRITE_BOUND = (1 << 16) + PIECE + (1 << 14)
READ_BOUND = 2 * (1 << 16) + (1 << 18)


async def send(writer: asyncio.StreamWriter) -> int:
    """Send it all; how full the buffer was at most."""
    fullest = 0
    transport: Any = writer.transport
    for _ in range(SIZE // PIECE):
        writer.write(BLOCK)
        fullest = max(fullest, transport.get_write_buffer_size())
        await writer.drain()
    writer.write_eof()
    return fullest


async def receive(reader: asyncio.StreamReader, hashed: Callable[[bytes], None]) -> tuple[int, int]:
    """Take it all, a bit at a time; how much it was, and how full the buffer was at most."""
    total = fullest = 0
    parts: Any = reader
    while data := await reader.read(1 << 17):
        fullest = max(fullest, len(parts._buffer) + len(data))
        total += len(data)
        hashed(data)
        await asyncio.sleep(0)  # the other end goes on, and this one does not read
    return total, fullest


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sender", ["server", "client"])
async def test_slow_reader_keeps_memory_flat_and_gets_every_byte(
    sender: str, config: ServerConfig, ca: LocalCA
) -> None:
    served: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    digest = hashlib.sha256()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.set_result(await (send(writer) if sender == "server" else receive(reader, digest.update)))
        await reader.read()
        writer.close()

    server = await aiotls.start_server(handler, "127.0.0.1", 0, ssl=config)
    client_config = ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))
    reader, writer = await aiotls.open_connection(
        "127.0.0.1", port_of(server), ssl=client_config, server_hostname="localhost"
    )
    if sender == "server":
        total, read = await receive(reader, digest.update)
        written = await served
        writer.write_eof()
    else:
        written = await send(writer)
        total, read = await served
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await server.shutdown(20)
    assert total == SIZE
    expected = hashlib.sha256()
    for _ in range(SIZE // PIECE):
        expected.update(BLOCK)
    assert digest.digest() == expected.digest()
    assert written <= WRITE_BOUND
    assert read <= READ_BOUND
