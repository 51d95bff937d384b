"""Certificate files that are replaced while clients come and go: none of them notices, but for the new certificate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import aiotls
from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.testing.ca import IssuedCertificate, LocalCA
from aiotls.trust.resolvers import CredentialFiles
from tests.asyncio.support import port_of

HANDSHAKES = 1000
WORKERS = 8
A_SECOND = 1.0


class Clock:
    """A monotonic clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def put(issued: IssuedCertificate, folder: Path) -> tuple[Path, Path]:
    """Write both files, each replaced whole, as programs that renew certificates do it."""
    fresh = issued.write(folder / "new")
    files = folder / "cert.pem", folder / "key.pem"
    for new, old in zip(fresh, files, strict=True):
        new.replace(old)
    return files


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def serving(credentials: CredentialFiles) -> AsyncIterator[int]:
    config = ServerConfig(credentials=credentials, tickets=0)
    async with await aiotls.start_server(close, "127.0.0.1", 0, ssl=config) as server:
        yield port_of(server)


async def leaf_of(port: int, config: ClientConfig) -> bytes:
    """The certificate that one handshake is shown."""
    reader, writer = await aiotls.open_connection("127.0.0.1", port, ssl=config, server_hostname="localhost")
    assert await reader.read() == b""
    writer.close()
    tls: aiotls.Negotiated = writer.get_extra_info("tls")
    return tls.peer_certificates[0]


def leaf(issued: IssuedCertificate) -> bytes:
    return issued.credential().chain[0]


async def test_no_handshake_of_a_thousand_fails_while_the_files_are_replaced(ca: LocalCA, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    first, second = ca.issue("localhost"), ca.issue("localhost", intermediate=True)
    clock = Clock()
    credentials = CredentialFiles(*put(first, tmp_path), clock=clock)
    config = ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))
    seen: list[bytes] = []

    async def client(port: int) -> None:
        while len(seen) < HANDSHAKES:
            seen.append(await leaf_of(port, config))
            if len(seen) == HANDSHAKES // 4:
                put(second, tmp_path)
                clock.now += A_SECOND

    async with serving(credentials) as port, asyncio.TaskGroup() as clients:
        for _ in range(WORKERS):
            clients.create_task(client(port))
    assert set(seen) == {leaf(first), leaf(second)}
    turned = seen.index(leaf(second))
    assert turned >= HANDSHAKES // 4
    assert set(seen[turned + WORKERS :]) == {leaf(second)}  # those under way at the time may have been shown the old


async def test_connection_that_is_open_outlives_the_replacement(ca: LocalCA, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    clock = Clock()
    credentials = CredentialFiles(*put(ca.issue("localhost"), tmp_path), clock=clock)
    config = ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server_config = ServerConfig(credentials=credentials, tickets=0)
    async with await aiotls.start_server(echo, "127.0.0.1", 0, ssl=server_config) as server:
        port = port_of(server)
        reader, writer = await aiotls.open_connection("127.0.0.1", port, ssl=config, server_hostname="localhost")
        second = ca.issue("localhost")
        put(second, tmp_path)
        clock.now += A_SECOND
        other_reader, other = await aiotls.open_connection("127.0.0.1", port, ssl=config, server_hostname="localhost")
        assert other.get_extra_info("tls").peer_certificates[0] == leaf(second)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        for stream, end in ((reader, writer), (other_reader, other)):
            end.write_eof()
            assert await stream.read() == b""
            end.close()


async def test_broken_file_is_logged_by_its_name_and_the_server_goes_on(
    ca: LocalCA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "new").mkdir()
    first, clock = ca.issue("localhost"), Clock()
    certfile, keyfile = put(first, tmp_path)
    credentials = CredentialFiles(certfile, keyfile, clock=clock)
    config = ClientConfig(roots=Roots.from_bytes(ca.certificate_pem))
    async with serving(credentials) as port:
        certfile.write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
        clock.now += A_SECOND
        for _ in range(3):
            assert await leaf_of(port, config) == leaf(first)
    assert [record.name for record in caplog.records] == ["aiotls.trust"]
    assert str(certfile) in caplog.text
