"""Clients: asyncio's `open_connection` and `loop.create_connection`, and those for UNIX sockets, with our config.

All other arguments are asyncio's own and go to it as they are.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from os import PathLike
from typing import Any, TypeVar

from aiotls.asyncio.options import HalfClosingStreams, Options
from aiotls.asyncio.stream import TLSProtocol
from aiotls.asyncio.transport import TLSTransport
from aiotls.config import ClientConfig
from aiotls.connection import ClientConnection
from aiotls.errors import LocalError

__all__ = [
    "client_config",
    "create_connection",
    "create_unix_connection",
    "open_connection",
    "open_unix_connection",
    "server_name",
    "unclaimed",
]

P = TypeVar("P", bound=asyncio.BaseProtocol)
Path = str | bytes | PathLike[str]


async def create_connection(
    protocol_factory: Callable[[], P],
    host: str | None = None,
    port: int | None = None,
    *,
    ssl: ClientConfig | bool = True,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
    **options: Any,  # noqa: ANN401 - those of loop.create_connection
) -> tuple[TLSTransport, P]:
    """`loop.create_connection` with TLS: the transport, and the protocol that it was given after the handshake.

    ``ssl`` is a ClientConfig, or True for one that trusts the system's roots.  ``server_hostname`` is what the server's
    certificate must be for, *host* by default; with ``sock=`` it has to be given.

    ``ssl_handshake_timeout`` is in seconds (60 by default).  `close` sends close_notify and never waits for the peer's;
    ``ssl_shutdown_timeout`` is how many seconds (30 by default) the peer has to take what was written before it.

    Where the TCP stream ends without close_notify, somebody may have cut it off: the protocol's `connection_lost` and
    whoever reads get a TruncationError.  With ``allow_truncation`` that counts as the peer's end, and
    `eof_received` is called.  It is for protocols whose messages tell their own length, as HTTP's do, and for peers
    that never send close_notify.

    Raises TLSError when the handshake fails, TypeError for another kind of ``ssl``, and what asyncio raises for the
    rest.  In TLS 1.3 a client is through before the server has looked at its certificate: that it was refused comes as
    an AlertReceived when it reads.
    """
    config = client_config(ssl)
    behaviour = Options.of(ssl_handshake_timeout, ssl_shutdown_timeout, allow_truncation=allow_truncation)
    name = server_name(config, host if server_hostname is None else server_hostname)
    address: dict[str, Any] = {"host": host, "port": port}  # asyncio checks them
    connect = functools.partial(asyncio.get_running_loop().create_connection, **address, **options)
    return await _connect(connect, protocol_factory, config, name, behaviour)


async def create_unix_connection(
    protocol_factory: Callable[[], P],
    path: Path | None = None,
    *,
    ssl: ClientConfig | bool = True,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    allow_truncation: bool = False,
    **options: Any,  # noqa: ANN401 - those of loop.create_unix_connection
) -> tuple[TLSTransport, P]:
    """`loop.create_unix_connection` with TLS; ``server_hostname`` has to be given, and all else is as for TCP."""
    config = client_config(ssl)
    behaviour = Options.of(ssl_handshake_timeout, ssl_shutdown_timeout, allow_truncation=allow_truncation)
    name = server_name(config, server_hostname)
    arguments: dict[str, Any] = {"path": path, **options}
    connect = functools.partial(asyncio.get_running_loop().create_unix_connection, **arguments)
    return await _connect(connect, protocol_factory, config, name, behaviour)


async def open_connection(
    host: str | None = None,
    port: int | None = None,
    *,
    ssl: ClientConfig | bool = True,
    limit: int = 1 << 16,
    **options: Any,  # noqa: ANN401 - those of create_connection
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`asyncio.open_connection` with TLS: a StreamReader and a StreamWriter, once the handshake is complete.

    ``writer.get_extra_info("tls")`` is the `Negotiated` of the connection.  ``limit`` is in bytes, as asyncio's; the
    other options are those of `create_connection`.
    """
    reader, factory = _streams(limit)
    transport, protocol = await create_connection(factory, host, port, ssl=ssl, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())


async def open_unix_connection(
    path: Path | None = None,
    *,
    ssl: ClientConfig | bool = True,
    limit: int = 1 << 16,
    **options: Any,  # noqa: ANN401 - those of create_unix_connection
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`asyncio.open_unix_connection` with TLS; the options are those of `create_unix_connection`."""
    reader, factory = _streams(limit)
    transport, protocol = await create_unix_connection(factory, path, ssl=ssl, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())


def _streams(limit: int) -> tuple[asyncio.StreamReader, Callable[[], HalfClosingStreams]]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    return reader, lambda: HalfClosingStreams(reader, loop=loop)


async def _connect(
    connect: Callable[[Callable[[], TLSProtocol]], Awaitable[tuple[asyncio.BaseTransport, object]]],
    protocol_factory: Callable[[], P],
    config: ClientConfig,
    name: str | None,
    options: Options,
) -> tuple[TLSTransport, P]:
    """The handshake on a connection that *connect* makes, and its end whenever this is left without one."""
    loop = asyncio.get_running_loop()
    engine = ClientConnection(config, name)  # a name that cannot be ends here, before there is a socket
    established: asyncio.Future[TLSTransport] = loop.create_future()
    made: list[P] = []

    def application() -> P:
        made.append(protocol_factory())
        return made[0]

    def tls_protocol() -> TLSProtocol:
        return TLSProtocol(loop, engine, application, options, established=established)

    try:
        tcp, _ = await connect(tls_protocol)
    except BaseException:
        established.cancel()  # nobody waits for it any more
        raise
    try:
        return await established, made[0]
    except BaseException:
        if unclaimed(established):
            tcp.abort()  # type: ignore[attr-defined]  # a stream's transport
        raise


def unclaimed(established: asyncio.Future[TLSTransport]) -> bool:
    """Whether nobody will end the connection, of whose handshake *established* tells, now that the caller is gone.

    A caller can be cancelled when the handshake is complete already.  One that has failed ends by itself, after its
    alert.
    """
    return established.cancelled() or not established.done() or established.exception() is None


def server_name(config: ClientConfig, name: str | None) -> str | None:
    """The name that the server's certificate must be for; LocalError where it is needed and there is none."""
    if not name and config.verification is not None:
        msg = "server_hostname must be given where there is no host: the server's certificate must be for some name"
        raise LocalError(msg)
    return name or None


@functools.cache
def _default_config() -> ClientConfig:
    return ClientConfig()


def client_config(ssl: object) -> ClientConfig:
    """The config that ``ssl=`` stands for; TypeError for what is none."""
    if ssl is True:
        return _default_config()
    if isinstance(ssl, ClientConfig):
        return ssl
    kind = f"{type(ssl).__module__}.{type(ssl).__qualname__}"
    msg = f"ssl= takes an aiotls.ClientConfig here, or True for one with the system's roots, and not a {kind}"
    raise TypeError(msg)
