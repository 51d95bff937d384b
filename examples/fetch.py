"""Fetch a page over HTTPS, and tell how the connection was secured.

    python examples/fetch.py https://www.python.org/
    python examples/fetch.py https://localhost:8443/ --ca ca.pem

The server's certificate must lead to one of the system's roots, or of those in the file that ``--ca`` names.
"""

import argparse
import asyncio
import sys
from urllib.parse import urlsplit

import aiotls


async def fetch(url: str, config: aiotls.ClientConfig) -> bytes:
    """The response to a GET, head and body; the connection's data go to standard error."""
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        raise SystemExit(f"{url}: give a URL that begins with https://")
    reader, writer = await aiotls.open_connection(parts.hostname, parts.port or 443, ssl=config)
    tls = writer.get_extra_info("tls")
    print(f"{tls.cipher_suite.name}, {tls.group.name}, {tls.peer.subject}", file=sys.stderr)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
    response = await reader.read()  # to the server's close_notify: what was cut off raises TruncationError
    writer.close()
    return response


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Fetch a page over HTTPS.")
    parser.add_argument("url")
    parser.add_argument("--ca", help="a file of root certificates, instead of the system's")
    arguments = parser.parse_args()
    try:
        roots = aiotls.Roots.from_file(arguments.ca) if arguments.ca else None
        response = asyncio.run(fetch(arguments.url, aiotls.ClientConfig(roots=roots, alpn=("http/1.1",))))
    except (aiotls.TLSError, OSError) as error:
        raise SystemExit(f"{arguments.url}: {error}") from error
    sys.stdout.buffer.write(response)


if __name__ == "__main__":
    main()
