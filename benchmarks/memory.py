"""Resident memory of a server for each idle connection: plain asyncio TCP, asyncio with `ssl`, and ours.

    python benchmarks/memory.py [--connections N] [--json PATH]

Each server runs in a process of its own, which says how large it is before and after the connections; the clients
are in this one, whose memory does not count.  A first batch of connections, opened and closed again, takes what is
allocated once.  Each connection has carried one message each way, and then waits.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import ssl
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiotls
from aiotls.asyncio import TLSServer
from aiotls.testing.ca import LocalCA
from benchmarks._report import keep, table

_HOST = "127.0.0.1"
_KINDS = ("plain TCP", "ssl", "ours")


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, aiotls.TLSError):
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _serve(kind: str, files: tuple[Path, Path], control: Connection) -> None:
    """Serve, and answer each question for the size, until there is no one to ask."""
    if kind == "ours":
        config = aiotls.ServerConfig(credentials=aiotls.Credential.from_files(*files))
        server: TLSServer | asyncio.Server = await aiotls.start_server(_echo, _HOST, 0, ssl=config, backlog=4096)
    else:
        context = None
        if kind == "ssl":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
        server = await asyncio.start_server(_echo, _HOST, 0, ssl=context, backlog=4096)
    control.send(server.sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    with contextlib.suppress(EOFError):
        while True:
            await loop.run_in_executor(None, control.recv)
            control.send(resident())


def _server_process(kind: str, files: tuple[Path, Path], control: Connection) -> None:
    _allow_descriptors()
    asyncio.run(_serve(kind, files, control))


def _allow_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _connect(port: int, context: ssl.SSLContext | None) -> asyncio.StreamWriter:
    name = "localhost" if context is not None else None
    reader, writer = await asyncio.open_connection(_HOST, port, ssl=context, server_hostname=name)
    writer.write(b"ping")
    await reader.readexactly(4)
    return writer


async def _open(count: int, port: int, context: ssl.SSLContext | None) -> list[asyncio.StreamWriter]:
    """Open connections, some at a time."""
    writers: list[asyncio.StreamWriter] = []
    while len(writers) < count:
        batch = min(50, count - len(writers))
        writers += await asyncio.gather(*(_connect(port, context) for _ in range(batch)))
    return writers


async def _close(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0.5)


async def per_connection(kind: str, count: int, files: tuple[Path, Path], ca_pem: bytes) -> float:
    """KiB of the server's memory for each of *count* connections."""
    context = None if kind == "plain TCP" else ssl.create_default_context(cadata=ca_pem.decode())
    control, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_server_process, args=(kind, files, theirs))
    process.start()
    theirs.close()
    try:
        port = control.recv()
        await _close(await _open(100, port, context))
        control.send(None)
        before = control.recv()
        writers = await _open(count, port, context)
        await asyncio.sleep(0.5)
        control.send(None)
        after = control.recv()
        await _close(writers)
    finally:
        control.close()
        process.terminate()
        process.join()
    return float(after - before) / 1024 / count


async def measure(count: int) -> dict[str, float]:
    """KiB per connection of each kind."""
    authority = LocalCA()
    issued = authority.issue("localhost")
    with tempfile.TemporaryDirectory() as folder:
        files = issued.write(folder)
        return {kind: await per_connection(kind, count, files, authority.certificate_pem) for kind in _KINDS}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=1000, help="idle connections of each kind (default 1000)")
    parser.add_argument("--json", type=Path, help="where the figures go (default benchmarks/results/memory.json)")
    options = parser.parse_args()
    _allow_descriptors()
    kib = asyncio.run(measure(options.connections))
    above = {kind: each - kib["plain TCP"] for kind, each in kib.items()}
    print(f"KiB of the server's memory for each of {options.connections} idle connections")
    print(table(["", "KiB", "above plain TCP"], [[kind, kib[kind], above[kind]] for kind in _KINDS]))
    figures = {"connections": options.connections, "KiB per connection": kib, "KiB above plain TCP": above}
    print(f"kept in {keep('memory', figures, options.json)}")


if __name__ == "__main__":
    main()
