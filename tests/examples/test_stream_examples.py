"""The echo examples of asyncio, trio and anyio: each client with each server, with `ssl`, and with openssl's client."""

import asyncio
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiotls import ClientConfig, Roots, open_connection

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds; a bound on what hangs

ON_ASYNCIO = ["echo_server.py"]
SERVERS = [
    ON_ASYNCIO,
    ["trio_echo_server.py"],
    ["anyio_echo_server.py", "--backend", "asyncio"],
    ["anyio_echo_server.py", "--backend", "trio"],
]
CLIENTS = [
    ["echo_client.py"],
    ["trio_echo_client.py"],
    ["anyio_echo_client.py", "--backend", "asyncio"],
    ["anyio_echo_client.py", "--backend", "trio"],
]


async def start(*arguments: str) -> asyncio.subprocess.Process:
    name, *rest = arguments
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child that is to end by it must not ignore it
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(ROOT / "examples" / name), *rest),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        signal.signal(signal.SIGINT, before)


async def output_of(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(cafile: Path, *server: str) -> AsyncIterator[int]:
    """The port of a server, which has to end without complaint when Ctrl-C is pressed."""
    process = await start(*server, "--port", "0", "--cafile", str(cafile))
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            banner = (await process.stdout.readline()).decode()
        found = re.search(r"localhost:(\d+)", banner)
        assert found is not None, (banner, process.stderr and await process.stderr.read())
        yield int(found[1])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        ended = await output_of(process)
    assert ended == (0, "", "")


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
async def test_every_client_gets_its_echo_after_it_has_ended_its_side(server: list[str], tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    async with serving(cafile, *server) as port:
        clients = [
            await start(*client, "--host", "127.0.0.1", "--port", str(port), "--cafile", str(cafile), "--text", "echo")
            for client in CLIENTS
        ]
        assert [await output_of(client) for client in clients] == [(0, "echo\n", "")] * len(clients)


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
async def test_server_echoes_to_ssl_and_ends_on_interrupt_while_it_is_connected(
    server: list[str], tmp_path: Path
) -> None:
    cafile = tmp_path / "ca.pem"
    async with serving(cafile, *server) as port:
        context = ssl.create_default_context(cafile=cafile)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            writer.write(bytes(100_000))
            assert await reader.readexactly(100_000) == bytes(100_000)
    writer.close()


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
async def test_server_echoes_to_the_asyncio_front_end_after_it_has_ended_its_side(
    server: list[str], tmp_path: Path
) -> None:
    cafile = tmp_path / "ca.pem"
    async with serving(cafile, *server) as port, asyncio.timeout(PATIENCE):
        config = ClientConfig(roots=Roots.from_file(cafile))
        reader, writer = await open_connection("127.0.0.1", port, ssl=config, server_hostname="localhost")
        writer.write(bytes(100_000))
        writer.write_eof()
        assert await reader.read() == bytes(100_000)
        writer.close()
        await writer.wait_closed()


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
async def test_server_echoes_to_openssl_after_it_has_ended_its_side(server: list[str], tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    async with serving(cafile, *server) as port:
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-CAfile", cafile),
            *("-verify_return_error", "-verify_hostname", "localhost", "-quiet", "-no_ign_eof"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        async with asyncio.timeout(PATIENCE):
            client.stdin.write(b"over the wire\n")
            assert await client.stdout.readexactly(14) == b"over the wire\n"
            client.stdin.write_eof()  # close_notify follows, and the server's answer to it
            assert await client.stdout.read() == b""
            assert await client.wait() == 0


@pytest.mark.parametrize("server", [server for server in SERVERS if server is not ON_ASYNCIO], ids=" ".join)
async def test_server_goes_on_after_a_client_that_speaks_no_tls(server: list[str], tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    process = await start(*server, "--port", "0", "--cafile", str(cafile))
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        found = re.search(rb"localhost:(\d+)", await process.stdout.readline())
        assert found is not None
        port = int(found[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.read())[:1] == b"\x15"  # an alert record
        writer.close()
        client = await start(
            "anyio_echo_client.py", "--host", "127.0.0.1", "--port", str(port), "--cafile", str(cafile)
        )
        assert await output_of(client) == (0, "hello\n", "")
    process.send_signal(signal.SIGINT)
    code, out, err = await output_of(process)
    assert (code, out) == (0, "")
    assert re.fullmatch(r"TLS handshake with .*127\.0\.0\.1.* failed: .*plain HTTP.*\n", err)
