"""A server that lets requests finish when it is told to end, and says what it did.

    python examples/graceful_shutdown.py --port 8443 --grace 10
    openssl s_client -connect localhost:8443

Ctrl-C or SIGTERM ends it: it accepts no more, waits for its connections at most as long as the grace allows, and
closes those that are left.
"""

import argparse
import asyncio
import signal

import aiotls
from aiotls.testing.ca import LocalCA


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one line."""
    try:
        line = await reader.readline()
        writer.write(b"you said: " + line)
    except (OSError, aiotls.TLSError):
        pass  # the client is gone
    finally:
        writer.close()


async def main(port: int, grace: float) -> None:
    """Serve until told to end."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    credential = LocalCA().issue("localhost", "127.0.0.1").credential()
    config = aiotls.ServerConfig(credentials=credential)
    server = await aiotls.start_server(answer, "127.0.0.1", port, ssl=config, max_connections=1000, max_handshakes=100)
    print(f"Serving on localhost:{server.sockets[0].getsockname()[1]}; Ctrl-C ends.", flush=True)
    await told.wait()
    print(f"Ending; {len(server.connections)} open.", flush=True)
    await server.shutdown(grace)
    print(f"Completed {server.counters.handshakes_completed} handshakes, {len(server.connections)} open.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve, and end gracefully.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--grace", type=float, default=10, help="seconds for what is under way to end")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.grace))
