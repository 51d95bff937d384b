"""Programs that are run as their readers run them, and ended by Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

__all__ = ["PATIENCE", "ROOT", "end", "line_of", "program"]

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds; a bound on what hangs


@contextlib.contextmanager
def deliverable_interrupts() -> Iterator[None]:
    """A program that is started while SIGINT is ignored, as in a background job, would ignore it too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.asynccontextmanager
async def program(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program, whose warnings are errors."""
    with deliverable_interrupts():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", *map(str, arguments)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
    try:
        yield process
    finally:
        await end(process, signal.SIGINT)


async def end(process: asyncio.subprocess.Process, by: int | None = None) -> tuple[int | None, str, str]:
    """Its exit code, what else it wrote, and its errors, after a signal; what does not end then is killed."""
    if by is not None and process.returncode is None:
        process.send_signal(by)
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def line_of(stream: asyncio.StreamReader | None, start: str) -> str:
    """The next line that begins so."""
    assert stream is not None
    async with asyncio.timeout(PATIENCE):
        while line := (await stream.readline()).decode():
            if line.startswith(start):
                return line
    raise AssertionError(f"the program has ended without a line {start!r}")
