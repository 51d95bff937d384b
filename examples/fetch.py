"""Fetch a page over HTTPS, and tell how the connection was secured.

    python examples/fetch.py https://www.python.org/
    python examples/fetch.py --ca ca.pem https://localhost:8443/

The server's certificate must lead to one of the system's roots, or of those in the file that ``--ca`` names, and be
for the name in the URL.  What the server says goes to standard output, what we say to standard error.
"""

import argparse
import asyncio
import sys
from urllib.parse import SplitResult, quote, urlsplit

import aiotls
from aiotls.negotiated import Negotiated

TIME_LIMIT = 30.0  # seconds, for the connection and for each piece of the answer
LEGAL = "!$&'()*+,;=:@/?%-._~"  # what may stand in a path or query (RFC 3986 §3.3); all else is quoted


def https_url(text: str) -> SplitResult:
    """The parts of a URL that begins with https://."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.port == 0:
        raise argparse.ArgumentTypeError("give a URL that begins with https://")
    return parts


def request(url: SplitResult, server_name: str | None) -> bytes:
    """The request for a page (RFC 9112 §3), of the server with this name, or else with the URL's IP address."""
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.netloc.rpartition("@")[2]
    if server_name is not None:  # in ASCII, whatever it is in the URL
        host = f"{server_name}:{url.port}" if url.port else server_name
    return f"GET {quote(target, LEGAL)} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def describe(tls: Negotiated) -> str:
    """How the connection was secured, and by whom."""
    group = tls.group.name if tls.group else "no group"
    lines = [f"{tls.version.name}, {tls.cipher_suite.name}, {group}"]
    if tls.peer and tls.peer.not_after:
        # A certificate may hold any characters: `ascii` keeps them from the terminal.
        lines.append(f"{tls.peer.subject!a}, valid until {tls.peer.not_after:%Y-%m-%d}")
        lines.append(f"verified up to a root, by {len(tls.peer.verified_chain)} certificates")
    return "\n".join(lines)


async def fetch(url: SplitResult, config: aiotls.ClientConfig) -> None:
    """Copy the answer to a GET, head and body, to standard output."""
    async with asyncio.timeout(TIME_LIMIT):
        reader, writer = await aiotls.open_connection(url.hostname, url.port or 443, ssl=config)
    try:
        tls = writer.get_extra_info("tls")
        print(describe(tls), file=sys.stderr)
        writer.write(request(url, tls.server_name))
        while True:
            async with asyncio.timeout(TIME_LIMIT):
                data = await reader.read(65536)  # an answer that is cut off raises TruncationError
            if not data:  # the server's close_notify: this was all
                return
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    finally:
        writer.close()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Fetch a page over HTTPS.")
    parser.add_argument("url", type=https_url)
    parser.add_argument("--ca", metavar="FILE", help="root certificates to trust, instead of the system's")
    arguments = parser.parse_args()
    try:
        roots = aiotls.Roots.from_file(arguments.ca) if arguments.ca else None
        asyncio.run(fetch(arguments.url, aiotls.ClientConfig(roots=roots, alpn=("http/1.1",))))
    except (aiotls.TLSError, OSError) as error:  # TimeoutError is an OSError
        raise SystemExit(f"{type(error).__name__}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
