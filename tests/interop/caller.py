"""Our end: a client, which verifies what it calls."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiotls
from aiotls.asyncio import TLSTransport
from tests.interop.endpoint import PATIENCE
from tests.interop.identities import Identity
from tests.interop.servers import Running


@dataclass(frozen=True)
class Call:
    """A connection that has had its handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    negotiated: aiotls.Negotiated

    @property
    def transport(self) -> TLSTransport:
        transport = self.writer.transport
        assert isinstance(transport, TLSTransport)
        return transport

    async def hang_up(self, *, first: bool = True) -> None:
        """Wait for the peer's close_notify, if we are the *first* after our own."""
        if first:
            self.writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert await self.reader.read() == b""


def trusting(identity: Identity, **options: Any) -> aiotls.ClientConfig:
    """A config that trusts this authority and no other."""
    options.setdefault("alpn", ("http/1.1",))
    return aiotls.ClientConfig(roots=aiotls.Roots.from_file(identity.authority), **options)


@asynccontextmanager
async def call(running: Running, config: aiotls.ClientConfig, *, name: str = "localhost") -> AsyncGenerator[Call]:
    """Call a server under this name."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await aiotls.open_connection("127.0.0.1", running.port, ssl=config, server_hostname=name)
    try:
        yield Call(reader, writer, writer.get_extra_info("tls"))
    finally:
        writer.close()
