"""Resumption over TCP: by OpenSSL's own client, which keeps its session in a file from one run to the next."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiotls import ServerConfig, start_server
from aiotls.testing.ca import LocalCA
from tests.asyncio.conftest import PATIENCE
from tests.asyncio.support import port_of


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one line by what kind of handshake it was."""
    await reader.readline()
    resumed = writer.get_extra_info("tls").resumed
    assert resumed is writer.get_extra_info("ssl_object").session_reused
    writer.write(b"resumed\n" if resumed else b"full\n")
    writer.close()
    await writer.wait_closed()


async def s_client(port: int, *arguments: str) -> list[str]:
    """The lines that `openssl s_client` writes: what it tells of the connection, and the server's answer."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-tls1_3", "-ign_eof"),
        *("-verify_return_error", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(b"hello\n"), PATIENCE)
    assert process.returncode == 0, errors.decode()
    return output.decode().splitlines()


@pytest.mark.peer("openssl")
@pytest.mark.rfc("8446", "2.2")
async def test_openssl_resumes_its_session_in_a_second_run(
    ca: LocalCA, config: ServerConfig, tmp_path: Path, on_close: Callable[[Any], None]
) -> None:
    server = await start_server(handle, "127.0.0.1", 0, ssl=config)
    on_close(server)
    authority, session = tmp_path / "ca.pem", str(tmp_path / "session.pem")
    authority.write_bytes(ca.certificate_pem)
    trust = ("-CAfile", str(authority))

    lines = await s_client(port_of(server), *trust, "-sess_out", session)
    assert "full" in lines
    for _ in range(2):
        lines = await s_client(port_of(server), *trust, "-sess_in", session, "-sess_out", session)
        assert "resumed" in lines
        assert any(line.startswith("Reused, TLSv1.3") for line in lines)
    lines = await s_client(port_of(server), *trust, "-sess_in", session, "-alpn", "h2")
    assert "full" in lines
    assert any(line.startswith("New, TLSv1.3") for line in lines)
