"""The examples of clients and of certificates, run as their readers run them: as programs."""

import asyncio
import contextlib
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import aiotls
from aiotls.errors import AlertDescription
from aiotls.testing.ca import IssuedCertificate, LocalCA
from tests.asyncio.support import port_of
from tests.examples.support import PATIENCE, ROOT, end, line_of, program

FETCH = ROOT / "examples" / "fetch.py"
MUTUAL_TLS = ROOT / "examples" / "mutual_tls.py"
RELOAD = ROOT / "examples" / "reload.py"

PAGE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\n"

Finish = Callable[[asyncio.StreamWriter], None]


# --- fetch -----------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """An HTTPS server with one page, for localhost."""

    port: int
    ca_file: Path
    requests: list[bytes]


@contextlib.asynccontextmanager
async def site(directory: Path, finish: Finish = asyncio.StreamWriter.close) -> AsyncIterator[Site]:
    authority, requests = LocalCA(), list[bytes]()
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(authority.certificate_pem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(PAGE)
        await writer.drain()
        finish(writer)

    config = aiotls.ServerConfig(credentials=authority.issue("localhost").credential(), alpn=("http/1.1",))
    # A client that refuses the certificate is what some tests want, and no error of the server's.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    server = await aiotls.start_server(serve, "127.0.0.1", 0, ssl=config)
    async with server:
        yield Site(port_of(server), ca_file, requests)


async def fetch(*arguments: str | Path, **env: str) -> tuple[int | None, str, str]:
    async with program(FETCH, *arguments, env=env) as process:
        return await end(process)


async def test_fetch_writes_the_answer_and_tells_how_it_was_secured(tmp_path: Path) -> None:
    async with site(tmp_path) as served:
        code, out, err = await fetch("--ca", served.ca_file, f"https://localhost:{served.port}/")
    assert (code, out.encode()) == (0, PAGE)
    first, peer, chain = err.splitlines()
    assert re.fullmatch(r"TLSv1_3, TLS_\w+, \w+", first)
    assert re.fullmatch(r"'CN=localhost,O=.*', valid until \d{4}-\d\d-\d\d", peer)
    assert chain == "verified up to a root, by 2 certificates"


async def test_fetch_trusts_the_roots_of_the_system_without_an_option(tmp_path: Path) -> None:
    async with site(tmp_path) as served:
        code, out, _ = await fetch(f"https://localhost:{served.port}/", SSL_CERT_FILE=str(served.ca_file))
    assert (code, out.encode()) == (0, PAGE)


async def test_fetch_asks_for_the_page_that_the_url_names(tmp_path: Path) -> None:
    async with site(tmp_path) as served:
        url = f"https://user:secret@localhost:{served.port}/a b/%20?c=ü&d=\r\nHost:+else#part"
        assert (await fetch("--ca", served.ca_file, url))[0] == 0
    host = f"Host: localhost:{served.port}\r\nConnection: close\r\n\r\n"
    assert served.requests == [f"GET /a%20b/%20?c=%C3%BC&d=Host:+else HTTP/1.1\r\n{host}".encode()]


async def test_fetch_refuses_a_server_that_it_does_not_trust(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(LocalCA().certificate_pem)
    async with site(tmp_path) as served:
        code, out, err = await fetch("--ca", other, f"https://localhost:{served.port}/")
    assert (code, out, served.requests) == (1, "", [])
    assert re.fullmatch(r"(UntrustedCertificate|CertificateError): .+\n", err)


async def test_fetch_refuses_a_server_of_another_name(tmp_path: Path) -> None:
    async with site(tmp_path) as served:
        code, out, err = await fetch("--ca", served.ca_file, f"https://127.0.0.1:{served.port}/")
    assert (code, out, served.requests) == (1, "", [])
    assert re.fullmatch(r"CertificateNameMismatch: it is not for 127\.0\.0\.1, but for localhost .+\n", err)


async def test_fetch_says_that_an_answer_was_cut_off(tmp_path: Path) -> None:
    def cut_off(writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)  # TCP ends, and TLS has not

    async with site(tmp_path, cut_off) as served:
        code, out, err = await fetch("--ca", served.ca_file, f"https://localhost:{served.port}/")
    assert (code, out.encode()) == (1, PAGE)
    assert err.splitlines()[-1].startswith("TruncationError: ")


@pytest.mark.parametrize(
    "url", ["http://localhost/", "localhost", "https://", "https://localhost:0/", "https://localhost:99999/"]
)
async def test_fetch_refuses_what_is_no_https_url(url: str) -> None:
    code, out, err = await fetch(url)
    assert (code, out) == (2, "")
    assert "argument url" in err


async def test_fetch_names_a_file_of_roots_that_is_not_there(tmp_path: Path) -> None:
    code, out, err = await fetch("--ca", tmp_path / "none.pem", "https://localhost/")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"CertificateError: .*none\.pem.*\n", err)


# --- mutual TLS ------------------------------------------------------------------------------------------------------


async def test_mutual_tls_admits_alice_alone() -> None:
    async with program(MUTUAL_TLS) as process:
        code, out, err = await end(process)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if not line.startswith("  server: ")] == [
        "alice.example: Hello, alice.example!",
        "mallory.example: refused, by the alert access_denied",
        "nobody: refused, by the alert certificate_required",
    ]
    reports = [line for line in out.splitlines() if line.startswith("  server: ")]
    assert len(reports) == 2
    assert "authorise refuses CN=mallory.example" in reports[0]
    assert "shows no certificate" in reports[1]


# --- reload ----------------------------------------------------------------------------------------------------------


@dataclass
class Reloading:
    """The example, serving."""

    process: asyncio.subprocess.Process
    port: int

    async def ask(self, name: str, roots: aiotls.Roots) -> str:
        """What it says of the certificate that it shows for *name*."""
        config = aiotls.ClientConfig(roots=roots)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await aiotls.open_connection("127.0.0.1", self.port, ssl=config, server_hostname=name)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
            finally:
                writer.close()
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        return body


@contextlib.asynccontextmanager
async def reloading(*arguments: str | Path) -> AsyncIterator[tuple[Reloading, str]]:
    """The example, and what it prints before it serves."""
    async with program(RELOAD, "--port", "0", *arguments) as process:
        first = await line_of(process.stdout, "Serving ")
        port = re.search(r"on port (\d+)", first)
        assert port is not None
        curl = await line_of(process.stdout, "    curl ")
        yield Reloading(process, int(port[1])), first + curl


def put(issued: IssuedCertificate, directory: Path) -> tuple[Path, Path]:
    """Write both files, each replaced whole, as programs that renew certificates do it."""
    fresh = issued.write(directory / ".new")
    files = directory / "cert.pem", directory / "key.pem"
    for new, old in zip(fresh, files, strict=True):
        new.replace(old)
    return files


def roots_of(authority: LocalCA) -> aiotls.Roots:
    return aiotls.Roots.from_bytes(authority.certificate_pem)


async def test_reload_serves_each_name_with_its_certificate(tmp_path: Path) -> None:
    authority = LocalCA()
    for name in ("a.test", "b.test"):
        put(authority.issue(name), tmp_path / name)
    async with reloading("--directory", tmp_path) as (server, banner):
        assert "Serving a.test, b.test on port" in banner
        for name in ("a.test", "b.test"):
            answer = await server.ask(name, roots_of(authority))
            assert re.fullmatch(rf"{name}: certificate [0-9a-f]{{16}} for {name}\n", answer)
        with pytest.raises(aiotls.AlertReceived) as refused:
            await server.ask("c.test", roots_of(authority))
        assert refused.value.description is AlertDescription.unrecognized_name
        code, _, err = await end(server.process, signal.SIGINT)
    assert code == 0
    assert re.match(r"TLS handshake with .* failed: .*c\.test.*\n", err)


async def test_reload_answers_unknown_names_with_the_default(tmp_path: Path) -> None:
    authority = LocalCA()
    put(authority.issue("a.test"), tmp_path / "a.test")
    async with reloading("--directory", tmp_path, "--default", "a.test") as (server, _):
        with pytest.raises(aiotls.CertificateError, match=r"not for c\.test, but for a\.test"):
            await server.ask("c.test", roots_of(authority))


async def test_reload_serves_what_changed_on_hangup_and_keeps_what_is_not_broken(tmp_path: Path) -> None:
    authority = LocalCA()
    put(authority.issue("a.test"), tmp_path / "a.test")
    async with reloading("--directory", tmp_path) as (server, _):
        old = await server.ask("a.test", roots_of(authority))
        _, key = put(authority.issue("a.test"), tmp_path / "a.test")
        server.process.send_signal(signal.SIGHUP)
        await line_of(server.process.stdout, "Reloaded 1; ")
        new = await server.ask("a.test", roots_of(authority))
        assert new != old
        key.write_text("broken")
        server.process.send_signal(signal.SIGHUP)
        report = await line_of(server.process.stderr, "Not all reloaded")
        assert "what there was before stays in use" in report
        assert str(key) in report
        assert await server.ask("a.test", roots_of(authority)) == new
        code, out, _ = await end(server.process, signal.SIGINT)
    assert (code, out) == (0, "")


async def test_reload_renews_the_certificates_that_it_made_and_removes_them_on_interrupt() -> None:
    async with reloading("--renew-every", "0.1") as (server, banner):
        found = re.search(r"--cacert (\S+) ", banner)
        assert found is not None
        ca_file = Path(found[1])
        roots = aiotls.Roots.from_file(ca_file)
        first = await server.ask("one.localhost", roots)
        async with asyncio.timeout(PATIENCE):
            while await server.ask("one.localhost", roots) == first:
                pass
        assert (await server.ask("two.localhost", roots)).startswith("two.localhost: ")
        code, _, err = await end(server.process, signal.SIGINT)
    assert code == 0
    assert "fullchain.pem: reloaded: <Credential one.localhost" in err
    assert not ca_file.parent.exists()


@pytest.mark.peer("curl")
async def test_reload_answers_the_curl_line_that_it_prints() -> None:
    async with reloading() as (server, banner):
        line = banner.splitlines()[-1].split()
        curl = await asyncio.create_subprocess_exec(
            *line, "--silent", "--show-error", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await curl.communicate()
        assert (curl.returncode, err) == (0, b"")
        assert out.startswith(b"one.localhost: certificate ")
        assert (await end(server.process, signal.SIGINT))[0] == 0


async def test_reload_says_what_is_wrong_with_the_directory(tmp_path: Path) -> None:
    async with program(RELOAD, "--port", "0", "--directory", tmp_path) as process:
        code, out, err = await end(process)
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"{re.escape(str(tmp_path))}: .*\n", err)
