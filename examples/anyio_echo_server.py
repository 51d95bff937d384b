"""An echo server on anyio: what a client sends comes back to it, until it ends its side.

    python examples/anyio_echo_server.py --port 8443 --backend trio
    python examples/anyio_echo_client.py --cafile ca.pem --port 8443

The certificate is made on the spot, and that of its authority is written to ``--cafile``; a real server takes its own,
by ``aiotls.Credential.from_files``.
"""

import argparse
import contextlib
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute

import aiotls
import aiotls.anyio
from aiotls.testing.ca import LocalCA


async def echo(stream: aiotls.anyio.TLSStream) -> None:
    """Serve one connection."""
    async with stream:
        with contextlib.suppress(anyio.BrokenResourceError):  # the client is gone
            async for data in stream:
                await stream.send(data)
            await stream.send_eof()


def make_config(cafile: Path | None) -> aiotls.ServerConfig:
    """A config with a certificate of an authority that *cafile* is to hold."""
    ca = LocalCA()
    if cafile is not None:
        cafile.write_bytes(ca.certificate_pem)
    return aiotls.ServerConfig(credentials=ca.issue("localhost", "127.0.0.1").credential())


async def main(port: int, config: aiotls.ServerConfig) -> None:
    """Serve until Ctrl-C."""
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with aiotls.anyio.TLSListener(tcp, config) as listener:
        port = listener.extra(SocketAttribute.local_port)
        print(f"Echoing on localhost:{port}; Ctrl-C ends.", flush=True)
        await listener.serve(echo)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo over TLS what clients send.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--cafile", type=Path, help="where to write the authority's certificate")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    try:
        anyio.run(main, arguments.port, make_config(arguments.cafile), backend=arguments.backend)
    except* KeyboardInterrupt:  # it comes out of a task group
        pass
