"""The examples run as their readers run them: as programs, which clients talk to and Ctrl-C ends."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiotls.testing.ca import IssuedCertificate, LocalCA

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds; a bound on what hangs

CURL_LINE = re.compile(r"^ *curl (?:--cacert (\S+) )?(https://localhost:\d+/)$", re.MULTILINE)
PROMISE = {  # what any client that has TLS 1.3 gets
    "Version": "TLS 1.3",
    "Cipher suite": "TLS_AES_128_GCM_SHA256",
    "Signature scheme": "ecdsa_secp256r1_sha256",
    "Server name": "localhost",
    "Resumed": "no",
}


@dataclass
class Example:
    """An example that runs."""

    process: asyncio.subprocess.Process
    banner: str
    port: int

    async def end(self) -> tuple[int | None, str, str]:
        """Its exit code, what else it wrote, and its errors, after Ctrl-C."""
        return await end(self.process)

    @property
    def ca_file(self) -> Path:
        found = CURL_LINE.search(self.banner)
        assert found is not None
        return Path(found[1])

    @contextlib.asynccontextmanager
    async def connect(
        self, context: ssl.SSLContext
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=context, server_hostname="localhost"
            )
            try:
                yield reader, writer
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def request(self, data: bytes) -> bytes:
        """All that comes back for *data*."""
        async with self.connect(ssl.create_default_context(cafile=self.ca_file)) as (reader, writer):
            writer.write(data)
            return await reader.read()


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Press Ctrl-C; what does not end by that is killed."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@contextlib.contextmanager
def deliverable_interrupts() -> Iterator[None]:
    """A program that is started while SIGINT is ignored, as in a background job, would ignore it too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.asynccontextmanager
async def run(name: str, *arguments: str) -> AsyncIterator[Example]:
    """An example on a free port, up to its last line before it serves."""
    with deliverable_interrupts():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(ROOT / "examples" / name), "--port", "0", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            banner = await process.stdout.readline()
            if b"Try:" in banner:
                banner += b"".join([await process.stdout.readline() for _ in range(3)])
        port = re.search(rb"localhost:(\d+)", banner)
        assert port is not None, (banner, process.stderr and await process.stderr.read())
        yield Example(process, banner.decode(), int(port[1]))
    finally:
        await end(process)


@pytest.fixture
async def https_server() -> AsyncIterator[Example]:
    async with run("https_server.py") as example:
        yield example


def parts(response: bytes) -> tuple[int, dict[str, str], str]:
    """Status, fields in lower case, and content."""
    head, _, content = response.decode().partition("\r\n\r\n")
    status_line, *lines = head.split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status_line.split(" ")[1]), fields, content


def get(path: str = "/", *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def trusting_anyone() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_echo_server_returns_what_a_client_sends() -> None:
    async with run("echo_server.py") as example:
        async with example.connect(trusting_anyone()) as (reader, writer):
            for message in (b"hello", bytes(100_000)):
                writer.write(message)
                assert await reader.readexactly(len(message)) == message
        assert await example.end() == (0, "", "")


async def test_echo_server_ends_on_interrupt_while_a_client_is_connected() -> None:
    context = trusting_anyone()
    async with run("echo_server.py") as example, example.connect(context) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert await example.end() == (0, "", "")
        assert await reader.read() == b""


async def test_https_server_ends_on_interrupt_while_a_client_is_connected(https_server: Example) -> None:
    context = ssl.create_default_context(cafile=https_server.ca_file)
    async with https_server.connect(context) as (reader, writer):
        writer.write(get())
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        assert await https_server.end() == (0, "", "")


async def test_https_server_prints_one_curl_line_and_removes_the_authority_on_interrupt() -> None:
    async with run("https_server.py") as example:
        assert len(CURL_LINE.findall(example.banner)) == example.banner.count("curl") == 1
        assert b"BEGIN CERTIFICATE" in example.ca_file.read_bytes()
        assert await example.end() == (0, "", "")
        assert not example.ca_file.exists()


async def test_https_server_tells_programs_in_plain_text_what_was_negotiated(https_server: Example) -> None:
    status, fields, content = parts(await https_server.request(get("/", "Accept: */*", "Connection: close")))
    facts = {line[:18].rstrip(): line[18:] for line in content.splitlines()}
    assert (status, fields["content-type"]) == (200, "text/plain; charset=utf-8")
    assert facts.items() >= {**PROMISE, "ALPN": "none"}.items()
    assert set(facts) == {*PROMISE, "ALPN", "Group"}
    assert int(fields["content-length"]) == len(content)
    assert await https_server.end() == (0, "", "")


async def test_https_server_shows_browsers_a_page(https_server: Example) -> None:
    request = get("/?x", "Accept: text/html,*/*;q=0.8", "Connection: close")
    status, fields, content = parts(await https_server.request(request))
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    for name, value in PROMISE.items():
        assert f"<th>{name}<td>{value}" in content


async def test_https_server_keeps_the_connection_for_the_next_request(https_server: Example) -> None:
    async with https_server.connect(ssl.create_default_context(cafile=https_server.ca_file)) as (reader, writer):
        writer.write(get("/nowhere") + get().replace(b"GET", b"HEAD") + get("/", "Connection: close"))
        first, second, third = (await reader.read()).split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3], third[:3]) == (b"404", b"200", b"200")
    assert [b"keep-alive" in each for each in (first, second, third)] == [True, True, False]
    assert second.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"junk\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nname : value\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nname: folded\r\n value\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: Close\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 200),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nfield: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    ],
)
async def test_https_server_answers_request_and_closes(https_server: Example, request_: bytes, status: int) -> None:
    seen, fields, _ = parts(await https_server.request(request_))
    assert (seen, fields["connection"]) == (status, "close")
    assert seen != 405 or fields["allow"] == "GET, HEAD"


async def test_https_server_goes_on_when_clients_leave_midway(https_server: Example) -> None:
    context = ssl.create_default_context(cafile=https_server.ca_file)
    for data in (b"", b"GET / HT", get()):
        async with https_server.connect(context) as (_, writer):
            writer.write(data)
            await writer.drain()
            writer.transport.abort()
    assert parts(await https_server.request(get("/", "Connection: close")))[0] == 200
    assert await https_server.end() == (0, "", "")


async def test_https_server_reports_in_one_line_a_client_that_does_not_trust_it(https_server: Example) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with https_server.connect(ssl.create_default_context()):
            pass
    assert parts(await https_server.request(get("/", "Connection: close")))[0] == 200
    code, out, err = await https_server.end()
    assert (code, out) == (0, "")
    assert re.fullmatch(r"TLS handshake with .* failed: .*\n", err)


async def test_https_server_serves_the_certificate_that_it_is_given(tmp_path: Path) -> None:
    authority = LocalCA()
    issued: IssuedCertificate = authority.issue("localhost")
    certfile, keyfile = issued.write(tmp_path)
    context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    async with run("https_server.py", "--certfile", str(certfile), "--keyfile", str(keyfile)) as example:
        assert "--cacert" not in example.banner
        async with example.connect(context) as (reader, writer):
            writer.write(get("/", "Connection: close"))
            assert parts(await reader.read())[0] == 200
        assert await example.end() == (0, "", "")


@pytest.mark.peer("curl")
async def test_https_server_answers_the_curl_line_that_it_prints(https_server: Example) -> None:
    found = CURL_LINE.search(https_server.banner)
    assert found is not None
    curl = await asyncio.create_subprocess_exec(
        *found[0].split(), "--silent", "--show-error", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await curl.communicate()
    assert (curl.returncode, err) == (0, b"")
    assert re.search(rb"^ALPN +http/1.1$", out, re.MULTILINE)
    assert await https_server.end() == (0, "", "")


async def test_https_server_survives_bytes_that_are_not_tls(https_server: Example) -> None:
    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", https_server.port), timeout=PATIENCE) as plain:
            plain.sendall(get())
            return plain.recv(100)

    assert (await asyncio.to_thread(talk))[:1] == b"\x15"  # an alert record
    assert parts(await https_server.request(get("/", "Connection: close")))[0] == 200
