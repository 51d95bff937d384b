"""What the tests of the trio front end share: an authority, and configs for both ends."""

from collections.abc import Iterator

import pytest
import trio.testing

from aiotls import ClientConfig, Roots, ServerConfig
from aiotls.testing.ca import LocalCA
from tests.log import Log, listening


@pytest.fixture(scope="session")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="session")
def server_config(ca: LocalCA) -> ServerConfig:
    return ServerConfig(credentials=ca.issue("localhost", "127.0.0.1").credential(), alpn=("h2", "http/1.1"))


@pytest.fixture(scope="session")
def client_config(ca: LocalCA) -> ClientConfig:
    return ClientConfig(roots=Roots.from_bytes(ca.certificate_pem), alpn=("h2",))


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Time passes at once when every task waits."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def log() -> Iterator[Log]:
    with listening() as log:
        yield log
