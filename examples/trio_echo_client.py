"""An echo client on trio: it sends a text, ends its side, and prints all that comes back.

    python examples/trio_echo_client.py --cafile ca.pem --port 8443 --text hello

The server must be one that answers after the end, as the echo servers beside this file do.
"""

import argparse

import trio

import aiotls
import aiotls.trio


async def main(host: str, port: int, cafile: str, text: str) -> None:
    """Send *text*, and print the answer."""
    config = aiotls.ClientConfig(roots=aiotls.Roots.from_file(cafile))
    stream = await aiotls.trio.open_tls_stream(host, port, config=config)
    async with stream:
        await stream.send_all(text.encode())
        await stream.send_eof()  # our side ends, and the server's goes on
        answer = b"".join([data async for data in stream])
    print(answer.decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a text over TLS, and print what comes back.")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--cafile", required=True, help="the certificates of the authorities to trust")
    parser.add_argument("--text", default="hello")
    arguments = parser.parse_args()
    trio.run(main, arguments.host, arguments.port, arguments.cafile, arguments.text)
