"""What the tests of the asyncio front end share: an authority, configs, reports, and a look at what is left behind."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aiotls import ServerConfig
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import Reports

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
async def on_close() -> AsyncIterator[Callable[[Any], None]]:
    """Closes the servers and transports that a test gives it, when the test is over."""
    opened: list[Any] = []
    yield opened.append
    for one in reversed(opened):
        one.close()
    for one in opened:
        await one.wait_closed()
