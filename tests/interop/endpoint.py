"""Our end: a server on a free port of the loopback, which remembers what it saw of each connection.

Every peer says the same: one HTTP request with a body.  The answer has no Content-Length, so only close_notify tells
the peer that it is whole; and the server waits for the peer's close_notify in its turn.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiotls
from aiotls.asyncio import TLSTransport
from aiotls.negotiated import Negotiated
from tests.interop.identities import Identity

PATIENCE = 30.0  # seconds; a bound on what hangs, and no measure

ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def digest(data: bytes) -> str:
    """A digest, which an assertion can show where it could not show the data."""
    return f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"


@dataclass
class Seen:
    """What the server saw of a connection."""

    negotiated: Negotiated
    exporter: Callable[[str, bytes, int], bytes]
    received: bytes = b""
    """The body of the request."""
    error: Exception | None = None
    """How it ended, if not by the peer's close_notify."""


@dataclass
class Endpoint:
    """A server, and what it saw."""

    certificate_authority: Path
    """What the peers are to trust."""
    directory: Path
    """Where a peer may leave its files."""
    answer: bytes = b""
    """The body of every answer."""
    client: Identity | None = None
    """What the peer is to show for itself."""
    port: int = 0
    ends: asyncio.Queue[Seen | BaseException] = field(default_factory=asyncio.Queue)
    """Connections that ended, and what the loop's exception handler was told: failed handshakes above all."""

    @property
    def server_key_log(self) -> Path:
        return self.directory / "server-keys.log"

    @property
    def client_key_log(self) -> Path:
        return self.directory / "client-keys.log"

    async def end(self) -> Seen | BaseException:
        """How the next connection ended."""
        async with asyncio.timeout(PATIENCE):
            return await self.ends.get()

    async def connection(self) -> Seen:
        """The next connection that ended, and had a handshake."""
        end = await self.end()
        assert isinstance(end, Seen), end
        return end

    def report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler."""
        self.ends.put_nowait(context.get("exception") or RuntimeError(context["message"]))

    def request(self, body: bytes) -> bytes:
        """The request with this body."""
        return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and wait for the peer's close_notify."""
        seen = self.meet(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            seen.received = await reader.readexactly(int(length))
            writer.write(ANSWER_HEAD + self.answer)
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == b""
        except (aiotls.TLSError, OSError, EOFError) as error:
            seen.error = error
        finally:
            writer.close()
            self.ends.put_nowait(seen)

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Return what comes, until the peer's close_notify."""
        seen = self.meet(writer)
        try:
            while data := await reader.read(1 << 16):
                seen.received += data
                writer.write(data)
                await writer.drain()
        except (aiotls.TLSError, OSError) as error:
            seen.error = error
        finally:
            writer.close()
            self.ends.put_nowait(seen)

    async def truncate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and end TCP without close_notify."""
        seen = self.meet(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER_HEAD)
        await writer.drain()
        writer.transport._protocol.tcp.close()  # type: ignore[attr-defined]
        self.ends.put_nowait(seen)

    def meet(self, writer: asyncio.StreamWriter) -> Seen:
        """The record of a new connection."""
        transport = writer.transport
        assert isinstance(transport, TLSTransport)
        return Seen(writer.get_extra_info("tls"), transport.export_keying_material)
