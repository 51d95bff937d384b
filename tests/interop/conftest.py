"""The server that the peers talk to; one authority for the whole session, for a key costs time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import aiotls
from aiotls.asyncio import TLSServer
from aiotls.testing.ca import KeyType, LocalCA
from tests.interop.endpoint import Endpoint, Handler
from tests.interop.identities import Identities, Identity
from tests.interop.servers import Options


class Issuer:
    """An authority that issues each kind of credential once."""

    def __init__(self) -> None:
        self._authority = LocalCA()
        self._issued: dict[tuple[KeyType, bool], aiotls.Credential] = {}
        self.certificate_pem = self._authority.certificate_pem

    def credential(self, key_type: KeyType, *, intermediate: bool) -> aiotls.Credential:
        kind = key_type, intermediate
        if kind not in self._issued:
            issued = self._authority.issue("localhost", key_type=key_type, intermediate=intermediate)
            self._issued[kind] = issued.credential()
        return self._issued[kind]


@dataclass
class Serve:
    """Starts servers in the test's event loop."""

    issuer: Issuer
    directory: Path
    key_log: aiotls.KeyLogFile
    running: list[tuple[Endpoint, TLSServer]] = field(default_factory=list)

    async def __call__(
        self,
        *,
        key_type: KeyType = "ecdsa-p256",
        intermediate: bool = False,
        handler: Callable[[Endpoint], Handler] = lambda endpoint: endpoint.exchange,
        **options: Any,
    ) -> Endpoint:
        """Start one; the *options* are those of ServerConfig."""
        options.setdefault("credentials", self.issuer.credential(key_type, intermediate=intermediate))
        options.setdefault("alpn", ("http/1.1",))
        config = aiotls.ServerConfig(key_log=self.key_log, **options)
        authority = self.directory / "ca.pem"
        authority.write_bytes(self.issuer.certificate_pem)
        endpoint = Endpoint(authority, self.directory)
        asyncio.get_running_loop().set_exception_handler(endpoint.report)
        server = await aiotls.start_server(handler(endpoint), "127.0.0.1", 0, ssl=config)
        endpoint.port = server.sockets[0].getsockname()[1]
        self.running.append((endpoint, server))
        return endpoint


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    return Identities(tmp_path_factory.mktemp("identities"))


@dataclass(frozen=True)
class Prepare:
    """Makes the options of a server."""

    directory: Path

    def __call__(self, identity: Identity, **options: Any) -> Options:
        return Options(identity=identity, directory=self.directory, **options)


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return Prepare(tmp_path)


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def serve(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts servers; the end of a connection that the test did not ask about is an error."""
    key_log = aiotls.KeyLogFile(tmp_path / "server-keys.log")
    serve = Serve(issuer, tmp_path, key_log)
    yield serve
    for endpoint, server in serve.running:
        server.close()
        assert endpoint.ends.empty(), endpoint.ends.get_nowait()
    key_log.close()
