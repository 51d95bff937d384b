"""What the tests of the asyncio front end share: an authority, configs, reports, and a look at what is left behind."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aiotls import ServerConfig, create_server
from aiotls.asyncio import TLSServer
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import Connected, Peer, Recorder, Recorders, Reports, Wire, open_wire

PATIENCE = 20
"""Seconds in which whatever was set going must have ended; on a sound library nothing ever waits for it."""


@pytest.fixture(scope="session")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="session")
def config(ca: LocalCA) -> ServerConfig:
    return ServerConfig(credentials=ca.issue("localhost", "127.0.0.1").credential(), alpn=("h2", "http/1.1"))


@pytest.fixture
def client_context(ca: LocalCA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca.certificate_pem.decode())


@pytest.fixture
async def reports() -> Reports:
    """What the loop's exception handler is told during the test."""
    told = Reports()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.add(context))
    return told


@pytest.fixture(autouse=True)
async def _nothing_left_behind(reports: Reports) -> AsyncIterator[None]:
    """Every task ends by itself, no socket is left to the collector, and no report goes unread."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, stuck = await asyncio.wait(left, timeout=PATIENCE)
        assert not stuck
    gc.collect()  # what is not closed warns here, and a warning is an error
    assert [context["message"] for context in reports.unread] == []


@pytest.fixture
async def recorders() -> Recorders:
    return Recorders()


@pytest.fixture
async def recording_server(config: ServerConfig, recorders: Recorders, on_close: Callable[[Any], None]) -> TLSServer:
    """A server whose applications are the `recorders`."""
    server = await create_server(recorders, "127.0.0.1", 0, ssl=config)
    on_close(server)
    return server


@pytest.fixture
async def connected(recording_server: TLSServer, recorders: Recorders, on_close: Callable[[Any], None]) -> Connected:
    """A connection of the `recording_server`'s."""
    peer = await Peer.connect(recording_server)
    on_close(peer)
    await peer.handshake()
    return Connected(await recorders.next(), peer)


@pytest.fixture
async def on_close() -> AsyncIterator[Callable[[Any], None]]:
    """Closes the servers and transports that a test gives it, when the test is over."""
    opened: list[Any] = []
    yield opened.append
    for one in reversed(opened):
        one.close()
    for one in opened:
        await one.wait_closed()


@pytest.fixture
async def application() -> Recorder:
    return Recorder()


@pytest.fixture
async def wire(config: ServerConfig, application: Recorder) -> Wire:
    """A TCP transport in memory, and above it the `application`; the handshake is complete."""
    return open_wire(config, application)
