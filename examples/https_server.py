"""An HTTPS server that shows what client and server have negotiated: a page for browsers, plain text for curl.

    python examples/https_server.py
    python examples/https_server.py --certfile cert.pem --keyfile key.pem

Without ``--certfile`` it makes a certificate authority on the spot, and writes the authority's certificate to a file
for as long as it runs; a client that trusts that file trusts this server.
"""

import argparse
import asyncio
import contextlib
import html
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from string import Template
from typing import Any
from urllib.parse import urlsplit

import aiotls
from aiotls.negotiated import Negotiated
from aiotls.testing.ca import LocalCA

HEAD_LIMIT = 16 * 1024  # bytes of a request's head
IDLE_LIMIT = 30.0  # seconds in which a whole head must come
LINGER_LIMIT = 1.0  # seconds in which a client may read our last answer

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>aiotls: what was negotiated</title>
<style>
  :root { color-scheme: light dark }
  body { display: grid; min-height: 100vh; margin: 0; place-items: center; font: 1.05rem/1.7 system-ui, sans-serif }
  main { padding: 2rem 2.5rem; border: 1px solid #8884; border-radius: 1rem; box-shadow: 0 1rem 3rem #0002 }
  h1 { margin: 0 0 1rem; font-size: 1.4rem }
  h1::before { content: "\\1F512\\00A0" }
  th { padding-right: 2rem; font-weight: normal; text-align: left; opacity: .65 }
  td { font-family: ui-monospace, monospace }
</style>
<main>
  <h1>This page came over aiotls</h1>
  <table>
$rows
  </table>
</main>
</html>
""")


@dataclass(frozen=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    version: str
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow; we skip no bodies, so none follows a request that has one."""
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        return self.version == "1.1" and "close" not in options and not has_body


def parse_request(head: bytes) -> Request | None:
    """The request with this head, or None where it is not HTTP/1 (RFC 9112 §3, §5)."""
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    start = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/(1\.[0-9])", request_line)
    fields = [re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)", line) for line in lines]
    if start is None or None in fields:
        return None
    pairs = [(field[1].lower(), field[2].strip(" \t")) for field in fields if field]
    hosts = sum(name == "host" for name, _ in pairs)
    if hosts > 1 or (not hosts and start[3] != "1.0"):  # RFC 9112 §3.2
        return None
    try:
        path = urlsplit(start[2]).path
    except ValueError:
        return None
    return Request(start[1], path, "1.0" if start[3] == "1.0" else "1.1", dict(pairs))


def response(
    status: HTTPStatus, body: str, kind: str = "plain", *, keep_alive: bool = False, head: bool = False
) -> bytes:
    """A whole response, or its *head* only."""
    content = body.encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: text/{kind}; charset=utf-8",
        f"Content-Length: {len(content)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        "Vary: Accept",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else content)


def refusal(status: HTTPStatus, *, keep_alive: bool = False, head: bool = False) -> bytes:
    """A response that says why there is no page."""
    return response(status, f"{status.value} {status.phrase}\n", keep_alive=keep_alive, head=head)


def respond(request: Request, tls: Negotiated) -> bytes:
    """The response to a request."""
    head = request.method == "HEAD"
    if request.method not in ("GET", "HEAD"):
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, keep_alive=request.keep_alive)
    if request.path != "/":
        return refusal(HTTPStatus.NOT_FOUND, keep_alive=request.keep_alive, head=head)
    kind, render = ("html", as_html) if "text/html" in request.headers.get("accept", "") else ("plain", as_text)
    return response(HTTPStatus.OK, render(describe(tls)), kind, keep_alive=request.keep_alive, head=head)


def describe(tls: Negotiated) -> dict[str, str]:
    """What was negotiated, in words."""
    return {
        "Version": tls.version.name.replace("TLSv", "TLS ").replace("_", "."),
        "Cipher suite": tls.cipher_suite.name,
        "Group": tls.group.name if tls.group is not None else "none",
        "Signature scheme": tls.signature_scheme.name if tls.signature_scheme is not None else "none",
        "ALPN": tls.alpn or "none",
        "Server name": tls.server_name or "none",
        "Resumed": "yes" if tls.resumed else "no",
    }


def as_text(facts: dict[str, str]) -> str:
    """Two columns."""
    return "".join(f"{name:18}{value}\n" for name, value in facts.items())


def as_html(facts: dict[str, str]) -> str:
    """The page; the client has chosen the server name, so it is escaped."""
    rows = (f"    <tr><th>{html.escape(name)}<td>{html.escape(value)}" for name, value in facts.items())
    return PAGE.substitute(rows="\n".join(rows))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer the next request; False where none may follow."""
    keep_alive = False
    try:
        async with asyncio.timeout(IDLE_LIMIT):
            request = parse_request(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            return False
        data = refusal(HTTPStatus.BAD_REQUEST)
    except asyncio.LimitOverrunError:
        data = refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    else:
        keep_alive = request is not None and request.keep_alive
        data = respond(request, writer.get_extra_info("tls")) if request else refusal(HTTPStatus.BAD_REQUEST)
    writer.write(data)
    await writer.drain()
    return keep_alive


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End our side, and leave the client time to read what we sent (RFC 9112 §9.6)."""
    writer.write_eof()
    async with asyncio.timeout(LINGER_LIMIT):
        while await reader.read(HEAD_LIMIT):
            pass


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    try:
        while await answer(reader, writer):
            pass
        await hang_up(reader, writer)
    except (OSError, aiotls.TLSError, asyncio.CancelledError):  # TimeoutError is an OSError
        pass  # the client is gone or was too slow, or Ctrl-C ends us
    finally:
        writer.close()


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for a handshake that failed: clients that do not trust us are no reason for a traceback."""
    if isinstance(context.get("exception"), aiotls.TLSError):
        print(context["message"], file=sys.stderr)
    else:
        loop.default_exception_handler(context)


@contextlib.contextmanager
def credential_from(arguments: argparse.Namespace) -> Iterator[tuple[aiotls.Credential, str]]:
    """The credential, and the options that make curl trust it."""
    if arguments.certfile:
        yield aiotls.Credential.from_files(arguments.certfile, arguments.keyfile), ""
        return
    authority = LocalCA()
    with tempfile.NamedTemporaryFile(prefix="aiotls-ca-", suffix=".pem") as file:
        file.write(authority.certificate_pem)
        file.flush()
        yield authority.issue("localhost", "127.0.0.1", "::1").credential(), f"--cacert {file.name} "


async def main(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    asyncio.get_running_loop().set_exception_handler(report)
    with credential_from(arguments) as (credential, trust):
        config = aiotls.ServerConfig(credentials=credential, alpn=("http/1.1",))
        server = await aiotls.start_server(serve, "127.0.0.1", arguments.port, ssl=config, limit=HEAD_LIMIT)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        print(f"Serving {url}; Ctrl-C ends.  Try:\n\n    curl {trust}{url}/\n", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Show over HTTPS what was negotiated.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--certfile", help="the certificate chain, in PEM")
    parser.add_argument("--keyfile", help="its private key, in PEM")
    arguments = parser.parse_args()
    if bool(arguments.certfile) != bool(arguments.keyfile):
        parser.error("--certfile and --keyfile go together")
    return arguments


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parse_arguments()))
