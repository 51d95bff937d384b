"""An echo client on anyio: it sends a text, ends its side, and prints all that comes back.

    python examples/anyio_echo_client.py --cafile ca.pem --port 8443 --text hello --backend trio

The server must be one that answers after the end, as the echo servers beside this file do.
"""

import argparse

import anyio

import aiotls
import aiotls.anyio


async def main(host: str, port: int, cafile: str, text: str) -> None:
    """Send *text*, and print the answer."""
    config = aiotls.ClientConfig(roots=aiotls.Roots.from_file(cafile))
    async with await aiotls.anyio.connect_tls(host, port, config) as stream:
        await stream.send(text.encode())
        await stream.send_eof()  # our side ends, and the server's goes on
        answer = b"".join([data async for data in stream])
    print(answer.decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a text over TLS, and print what comes back.")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--cafile", required=True, help="the certificates of the authorities to trust")
    parser.add_argument("--text", default="hello")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.host, arguments.port, arguments.cafile, arguments.text, backend=arguments.backend)
