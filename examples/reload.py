"""A server with a certificate for each of its names, which are renewed while it runs.

    python examples/reload.py
    python examples/reload.py --directory /etc/letsencrypt/live --default www.example.com

It serves what lies in the directory, and reads again what changes there: put a renewed certificate and its key in the
place of the old ones, and the next second's clients get it.  ``kill -HUP`` has it read everything at once.  What is
broken is reported, and what was there before stays in use.

Without ``--directory`` it makes one with certificates for two names, and renews them every few seconds, as certbot does
every two months; so ask twice.
"""

import argparse
import asyncio
import contextlib
import hashlib
import logging
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiotls
from aiotls.negotiated import Negotiated
from aiotls.testing.ca import LocalCA
from aiotls.trust.resolvers import CredentialDirectory

NAMES = ("one.localhost", "two.localhost")  # which curl and browsers look for on this machine (RFC 6761 §6.3)
HEAD_LIMIT = 16 * 1024  # bytes of a request's head
TIME_LIMIT = 30.0  # seconds for a request


# --- The server ------------------------------------------------------------------------------------------------------


def describe(tls: Negotiated) -> str:
    """Which of our names the client wants, and the certificate that it was shown."""
    name = tls.server_name or "no name"
    if tls.credential is None:
        return f"{name}: an earlier session is resumed, which needs no certificate\n"
    fingerprint = hashlib.sha256(tls.credential.chain[0]).hexdigest()
    return f"{name}: certificate {fingerprint[:16]} for {', '.join(tls.credential.names)}\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, whatever it is for."""
    try:
        async with asyncio.timeout(TIME_LIMIT):
            await reader.readuntil(b"\r\n\r\n")
        body = describe(writer.get_extra_info("tls")).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
    except (EOFError, OSError, aiotls.TLSError, asyncio.LimitOverrunError, asyncio.CancelledError):
        pass  # the client is gone, or is none of HTTP; or Ctrl-C ends us
    finally:
        writer.close()


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for a handshake that failed, as with a client that asks for a name that we do not have."""
    if isinstance(context.get("exception"), aiotls.TLSError):
        print(context["message"], file=sys.stderr)
    else:
        loop.default_exception_handler(context)


async def reload(credentials: CredentialDirectory) -> None:
    """Read all files again; in a thread, for it takes its time."""
    try:
        await asyncio.to_thread(credentials.reload)
    except aiotls.CertificateError as error:
        print(f"Not all reloaded, and what there was before stays in use: {error}", file=sys.stderr, flush=True)
    else:
        end = credentials.not_after
        print(
            f"Reloaded {len(credentials.credentials)}; the first to expire does on {end:%Y-%m-%d %H:%M} UTC", flush=True
        )


# --- What stands in for certbot --------------------------------------------------------------------------------------


def renew(authority: LocalCA, directory: Path) -> None:
    """Put new certificates into the directory, each file in one go: nobody shall read half of one."""
    for name in NAMES:
        issued = authority.issue(name)
        (directory / name).mkdir(exist_ok=True)
        for file, content in (("privkey.pem", issued.key_pem), ("fullchain.pem", issued.chain_pem)):
            new = directory / name / f".{file}.new"
            new.touch(mode=0o600)
            new.write_bytes(content)
            new.replace(directory / name / file)


async def renew_every(seconds: float, authority: LocalCA, directory: Path) -> None:
    """Renew them again and again."""
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(renew, authority, directory)


@contextlib.asynccontextmanager
async def made_directory(seconds: float) -> AsyncIterator[tuple[Path, str]]:
    """A directory of certificates that are renewed, and the option that makes curl trust them."""
    authority = LocalCA()
    with tempfile.TemporaryDirectory(prefix="aiotls-reload-") as made:
        directory = Path(made)
        (directory / "ca.pem").write_bytes(authority.certificate_pem)  # it has no key beside it, and is not served
        renew(authority, directory)
        renewing = asyncio.create_task(renew_every(seconds, authority, directory))
        try:
            yield directory, f"--cacert {directory / 'ca.pem'} "
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])


# ---------------------------------------------------------------------------------------------------------------------


async def run(directory: Path, default: str | None, port: int, trust: str = "") -> None:
    """Serve until Ctrl-C."""
    try:
        credentials = CredentialDirectory(directory, default=default)
    except aiotls.CertificateError as error:
        raise SystemExit(f"{error}") from None
    loop, hangup = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(report)
    if sys.platform != "win32":  # where there is no SIGHUP
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
    config = aiotls.ServerConfig(credentials=credentials, alpn=("http/1.1",))
    server = await aiotls.start_server(serve, "127.0.0.1", port, ssl=config, limit=HEAD_LIMIT)
    port = server.sockets[0].getsockname()[1]
    print(f"Serving {', '.join(sorted(credentials.names))} on port {port}; Ctrl-C ends.  Try:\n")
    for name in sorted(credentials.names):
        print(f"    curl {trust}--connect-to ::127.0.0.1:{port} https://{name.replace('*', 'any')}:{port}/")
    print(flush=True)
    try:
        while await hangup.wait():
            hangup.clear()
            await reload(credentials)
    finally:
        server.close()


async def main(arguments: argparse.Namespace) -> None:
    """Serve the directory that is given, or one that is made."""
    if arguments.directory:
        await run(arguments.directory, arguments.default, arguments.port)
        return
    async with made_directory(arguments.renew_every) as (directory, trust):
        await run(directory, arguments.default, arguments.port, trust)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve certificates that are renewed while the server runs.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--directory", type=Path, help="where the certificates and their keys are")
    parser.add_argument("--default", metavar="NAME", help="whose certificate unknown names get; else they are refused")
    parser.add_argument("--renew-every", type=float, default=10.0, metavar="SECONDS", help="without --directory")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
