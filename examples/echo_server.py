"""An echo server over TLS: what a client sends comes back to it, until it ends its side.

    python examples/echo_server.py --port 8443
    openssl s_client -connect localhost:8443
    python examples/echo_client.py --cafile ca.pem --port 8443

The certificate is made on the spot, and that of its authority is written to ``--cafile``; a real server takes its own,
by ``aiotls.Credential.from_files``.
"""

import argparse
import asyncio
import contextlib
from pathlib import Path

import aiotls
from aiotls.testing.ca import LocalCA


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (OSError, aiotls.TLSError, asyncio.CancelledError):
        pass  # the client is gone, or Ctrl-C ends us
    finally:
        writer.close()


def make_config(cafile: Path | None) -> aiotls.ServerConfig:
    """A config with a certificate of an authority that *cafile* is to hold."""
    ca = LocalCA()
    if cafile is not None:
        cafile.write_bytes(ca.certificate_pem)
    return aiotls.ServerConfig(credentials=ca.issue("localhost", "127.0.0.1").credential())


async def main(port: int, config: aiotls.ServerConfig) -> None:
    """Serve until Ctrl-C."""
    server = await aiotls.start_server(echo, "127.0.0.1", port, ssl=config)
    print(f"Echoing on localhost:{server.sockets[0].getsockname()[1]}; Ctrl-C ends.", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo over TLS what clients send.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--cafile", type=Path, help="where to write the authority's certificate")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.port, make_config(arguments.cafile)))
