"""An echo server on trio: what a client sends comes back to it, until it ends its side.

    python examples/trio_echo_server.py --port 8443
    python examples/trio_echo_client.py --cafile ca.pem --port 8443

The certificate is made on the spot, and that of its authority is written to ``--cafile``; a real server takes its own,
by ``aiotls.Credential.from_files``.
"""

import argparse
import contextlib
from pathlib import Path

import trio

import aiotls
import aiotls.trio
from aiotls.testing.ca import LocalCA


async def echo(stream: aiotls.trio.TLSStream) -> None:
    """Serve one connection."""
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):  # the client is gone
            async for data in stream:
                await stream.send_all(data)
            await stream.send_eof()


def make_config(cafile: Path | None) -> aiotls.ServerConfig:
    """A config with a certificate of an authority that *cafile* is to hold."""
    ca = LocalCA()
    if cafile is not None:
        cafile.write_bytes(ca.certificate_pem)
    return aiotls.ServerConfig(credentials=ca.issue("localhost", "127.0.0.1").credential())


async def main(port: int, config: aiotls.ServerConfig) -> None:
    """Serve until Ctrl-C."""
    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(
            lambda task_status: aiotls.trio.serve_tls(echo, port, config, host="127.0.0.1", task_status=task_status)
        )
        port = listener.transport_listener.socket.getsockname()[1]
        print(f"Echoing on localhost:{port}; Ctrl-C ends.", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo over TLS what clients send.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--cafile", type=Path, help="where to write the authority's certificate")
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.port, make_config(arguments.cafile))
    except* KeyboardInterrupt:  # it comes out of a nursery
        pass
