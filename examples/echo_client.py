"""An echo client on asyncio: it sends a text, ends its side, and prints all that comes back.

    python examples/echo_client.py --cafile ca.pem --port 8443 --text hello

The server must be one that answers after the end, as the echo servers beside this file do.
"""

import argparse
import asyncio

import aiotls


async def main(host: str, port: int, cafile: str, text: str) -> None:
    """Send *text*, and print the answer."""
    config = aiotls.ClientConfig(roots=aiotls.Roots.from_file(cafile))
    reader, writer = await aiotls.open_connection(host, port, ssl=config)
    writer.write(text.encode())
    writer.write_eof()  # our side ends, and the server's goes on
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    print(answer.decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a text over TLS, and print what comes back.")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--cafile", required=True, help="the certificates of the authorities to trust")
    parser.add_argument("--text", default="hello")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.host, arguments.port, arguments.cafile, arguments.text))
