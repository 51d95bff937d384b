"""The peers, one row each: how to have them say a request, and what they are known to tell."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from OpenSSL import SSL

from aiotls.errors import AlertDescription
from aiotls.wire.registries import NamedGroup
from tests.interop.endpoint import PATIENCE, Endpoint
from tests.interop.identities import Identity

NODE_CLIENT = Path(__file__).with_name("tls_client.js")
CHUNK = 1 << 16


@dataclass(frozen=True)
class Result:
    """What a peer came back with."""

    succeeded: bool
    output: bytes
    """The whole answer, if it succeeded; as far as it came, if not."""
    trace: str = ""
    """What else it has to say."""


@dataclass(frozen=True)
class Peer:
    """A TLS client that is not ours; all of them verify the certificate for the name localhost."""

    name: str
    talk: Callable[[Endpoint, bytes], Awaitable[Result]]
    """Sends a request with this body."""
    program: str | None = None
    """What must be on PATH."""
    notices_truncation: bool = True
    """Whether it fails where the server's close_notify is missing."""
    answers_close_notify: bool = True
    """Whether it always sends a close_notify of its own after the server's."""
    distrust: AlertDescription | None = AlertDescription.unknown_ca
    """The alert that it sends to a server that it does not trust, if any."""
    names_alerts: bool = True
    """Whether it tells which alert it was sent."""
    group: NamedGroup | None = None
    """The group that it must come to with a server that has them all, where that does not depend on its version."""


async def run(*argv: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Result:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    return Result(process.returncode == 0, out, err.decode("utf-8", "backslashreplace"))


# The programs


def files(client: Identity | None, certificate: str, key: str) -> list[str]:
    """The options by which a program is told what to show for itself."""
    return [certificate, str(client.certfile), key, str(client.keyfile)] if client else []


def chain(client: Identity | None) -> list[str]:
    """What OpenSSL sends after our own certificate; it takes no file without any."""
    return ["-cert_chain", str(client.chainfile)] if client and client.chainfile.stat().st_size else []


def openssl_arguments(endpoint: Endpoint) -> list[str]:
    """s_client with everything verified."""
    return [
        *("openssl", "s_client", "-connect", f"127.0.0.1:{endpoint.port}", "-servername", "localhost"),
        *("-CAfile", str(endpoint.certificate_authority), "-verify_return_error", "-verify_hostname", "localhost"),
        *("-alpn", "http/1.1", "-keylogfile", str(endpoint.client_key_log)),
        *files(endpoint.client, "-cert", "-key"),
        *chain(endpoint.client),
    ]


async def openssl(endpoint: Endpoint, body: bytes) -> Result:
    return await run(*openssl_arguments(endpoint), "-quiet", stdin=endpoint.request(body))


async def curl(endpoint: Endpoint, body: bytes) -> Result:
    return await run(
        *("curl", "--silent", "--show-error", "--include", "--http1.1", "--header", "Expect:"),
        *("--cacert", str(endpoint.certificate_authority), "--data-binary", "@-"),
        *("--noproxy", "*", "--resolve", f"localhost:{endpoint.port}:127.0.0.1"),
        *files(endpoint.client, "--cert", "--key"),
        f"https://localhost:{endpoint.port}/",
        stdin=body,
        environment={"SSLKEYLOGFILE": str(endpoint.client_key_log)},
    )


def gnutls_arguments(endpoint: Endpoint) -> list[str]:
    """A gnutls-cli with everything verified; the address is to follow."""
    return [
        *("gnutls-cli", "--port", str(endpoint.port), "--sni-hostname", "localhost", "--verify-hostname", "localhost"),
        *("--x509cafile", str(endpoint.certificate_authority), "--alpn", "http/1.1"),
        *files(endpoint.client, "--x509certfile", "--x509keyfile"),
        *("--logfile", os.devnull),
    ]


async def gnutls(endpoint: Endpoint, body: bytes) -> Result:
    return await run(
        *gnutls_arguments(endpoint),
        "127.0.0.1",
        stdin=endpoint.request(body),
        environment={"SSLKEYLOGFILE": str(endpoint.client_key_log)},
    )


async def node(endpoint: Endpoint, body: bytes) -> Result:
    return await run(
        *("node", str(NODE_CLIENT), str(endpoint.port)),
        *(str(endpoint.certificate_authority), str(endpoint.client_key_log)),
        *([str(endpoint.client.certfile), str(endpoint.client.keyfile)] if endpoint.client else []),
        stdin=endpoint.request(body),
    )


# Python's


def ssl_context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=endpoint.certificate_authority)
    context.set_alpn_protocols(["http/1.1"])
    context.keylog_filename = str(endpoint.client_key_log)
    if endpoint.client:
        context.load_cert_chain(endpoint.client.certfile, endpoint.client.keyfile)
    return context


async def ssl_asyncio(endpoint: Endpoint, body: bytes) -> Result:
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", endpoint.port, ssl=ssl_context(endpoint), server_hostname="localhost"
            )
            try:
                writer.write(endpoint.request(body))
                return Result(succeeded=True, output=await reader.read())
            finally:
                writer.close()
                await writer.wait_closed()
    except OSError as error:
        return Result(succeeded=False, output=b"", trace=str(error))


async def ssl_blocking(endpoint: Endpoint, body: bytes) -> Result:
    return await asyncio.to_thread(talk_by_ssl, endpoint, body)


def talk_by_ssl(endpoint: Endpoint, body: bytes) -> Result:
    """The `ssl` module on a blocking socket."""
    output = bytearray()
    try:
        with (
            socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE) as tcp,
            ssl_context(endpoint).wrap_socket(
                tcp, server_hostname="localhost", suppress_ragged_eofs=False
            ) as connection,
        ):
            connection.sendall(endpoint.request(body))
            while data := connection.recv(CHUNK):
                output += data
            connection.unwrap()
    except OSError as error:
        return Result(succeeded=False, output=bytes(output), trace=str(error))
    return Result(succeeded=True, output=bytes(output))


async def pyopenssl(endpoint: Endpoint, body: bytes) -> Result:
    return await asyncio.to_thread(talk_by_pyopenssl, endpoint, body)


def talk_by_pyopenssl(endpoint: Endpoint, body: bytes) -> Result:
    """The OpenSSL that `cryptography` brings along, which is newer than most systems'."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(endpoint.certificate_authority))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_alpn_protos([b"http/1.1"])
    if endpoint.client:
        context.use_certificate_chain_file(str(endpoint.client.certfile))
        context.use_privatekey_file(str(endpoint.client.keyfile))
    context.set_keylog_callback(lambda _, line: keys.append(line))
    keys: list[bytes] = []
    output = bytearray()
    with socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE) as tcp:
        tcp.settimeout(None)  # pyOpenSSL does not wait for a socket that has a timeout
        connection = SSL.Connection(context, tcp)
        connection.set_tlsext_host_name(b"localhost")
        connection.set_connect_state()
        try:
            connection.do_handshake()
            connection.sendall(endpoint.request(body))
            while True:
                output += connection.recv(CHUNK)
        except SSL.ZeroReturnError:  # the server's close_notify
            connection.shutdown()
        except SSL.Error as error:
            return Result(succeeded=False, output=bytes(output), trace=str(error))
    endpoint.client_key_log.write_bytes(b"".join(line + b"\n" for line in keys))
    return Result(succeeded=True, output=bytes(output))


PEERS = [
    Peer("openssl", openssl, "openssl"),
    Peer("curl", curl, "curl", notices_truncation=False),
    Peer(
        "gnutls-cli",
        gnutls,
        "gnutls-cli",
        notices_truncation=False,
        answers_close_notify=False,  # only if its standard input ended before
        distrust=AlertDescription.bad_certificate,
        names_alerts=False,
    ),
    Peer("node", node, "node", notices_truncation=False, distrust=None),
    Peer("ssl-asyncio", ssl_asyncio, notices_truncation=False, distrust=None),
    Peer("ssl-blocking", ssl_blocking),
    Peer("pyopenssl", pyopenssl, group=NamedGroup.X25519MLKEM768),
]


class Row(Protocol):
    """A row of a table of peers."""

    @property
    def name(self) -> str: ...
    @property
    def program(self) -> str | None: ...


def row(peer: Row) -> Any:
    """The same as a parameter of a test, which needs the peer's program."""
    return pytest.param(peer, id=peer.name, marks=[pytest.mark.peer(peer.program)] if peer.program else [])


each_peer = pytest.mark.parametrize("peer", [row(peer) for peer in PEERS])
