"""The example whose key is in another process, run as a program: its server, and the signer behind it."""

import asyncio
import contextlib
import importlib.util
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "remote_signer.py"
PATIENCE = 20.0  # seconds; a bound on what hangs
GREETING = b"Signed by another process.\n"


@contextlib.contextmanager
def deliverable_interrupts() -> Iterator[None]:
    """A program that is started while SIGINT is ignored, as in a background job, would ignore it too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Server:
    """The example, serving."""

    def __init__(self, process: asyncio.subprocess.Process, banner: str) -> None:
        self.process = process
        self.banner = banner
        found = re.search(r"^ +openssl s_client -connect localhost:(\d+)$", banner, re.MULTILINE)
        assert found is not None, banner
        self.port = int(found[1])

    @property
    def signer(self) -> int:
        """The process that has the key."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return int(children)

    async def greeting(self) -> bytes:
        """What a new connection gets to read."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
            try:
                return await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def end(self) -> tuple[int | None, str, str]:
        """Its exit code, what else it wrote, and its errors, after Ctrl-C."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await self.process.communicate()
        except TimeoutError:
            self.process.kill()
            out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with deliverable_interrupts():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(EXAMPLE), "--port", "0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        banner = b"".join([await process.stdout.readline() for _ in range(4)])
    server = Server(process, banner.decode())
    yield server
    await server.end()


async def test_remote_signer_signs_for_clients_at_the_same_time(server: Server) -> None:
    assert await asyncio.gather(*(server.greeting() for _ in range(8))) == [GREETING] * 8
    assert await server.end() == (0, "", "")


async def test_remote_signer_ends_its_signer_on_interrupt(server: Server) -> None:
    signer = server.signer
    os.kill(signer, 0)
    assert await server.end() == (0, "", "")
    with pytest.raises(ProcessLookupError):
        os.kill(signer, 0)


async def test_remote_signer_fails_handshakes_and_goes_on_when_the_signer_is_gone(server: Server) -> None:
    os.kill(server.signer, signal.SIGTERM)
    for _ in range(2):
        with pytest.raises((ssl.SSLError, OSError)):
            await server.greeting()
    code, out, err = await server.end()
    assert (code, out) == (0, "")
    assert "CallbackError" in err


async def test_signer_ends_when_the_server_is_killed(server: Server) -> None:
    """It holds the server's standard error, which therefore ends when both are gone."""
    server.process.kill()
    assert (await server.end())[2] == ""


@pytest.fixture
def example() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("remote_signer", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.rfc("8446", "4.4.3")
async def test_signer_signs_nothing_but_what_a_server_has_to_sign(example: ModuleType) -> None:
    signer = example.Signer()
    (scheme,) = example.RemoteKey(Path()).schemes()
    proof = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + bytes(32)
    assert await signer.answer(scheme, proof)
    assert await signer.answer(scheme, proof[1:]) == b""
    assert await signer.answer(scheme, proof.replace(b"server", b"client")) == b""
    assert await signer.answer(scheme + 1, proof) == b""
