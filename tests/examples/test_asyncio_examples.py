"""The examples of STARTTLS and of a graceful shutdown, run as programs."""

import asyncio
import os
import re
import signal
import ssl
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds; a bound on what hangs


async def run(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "dev",
        *arguments,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_starttls_goes_over_to_tls() -> None:
    process = await run("examples/starttls.py")
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, err) == (0, b"")
    assert out.decode().splitlines() == [
        "in the clear: go ahead",
        "from here on: TLS_AES_128_GCM_SHA256",
        "protected: hello, world",
    ]


async def test_graceful_shutdown_lets_a_request_finish() -> None:
    process = await run("examples/graceful_shutdown.py", "--port", "0", "--grace", "20")
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        found = re.search(rb"localhost:(\d+)", await process.stdout.readline())
        assert found is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]), ssl=context)
        process.send_signal(signal.SIGTERM)
        assert await process.stdout.readline() == b"Ending; 1 open.\n"
        writer.write(b"hello\n")
        assert await reader.read() == b"you said: hello\n"
        writer.close()
        await writer.wait_closed()
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out == b"Completed 1 handshakes, 0 open.\n"
