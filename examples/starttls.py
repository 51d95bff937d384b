"""A connection that begins in the clear and goes over to TLS, as mail and databases have it: both ends of it.

    python examples/starttls.py

What a client has sent in the clear after its STARTTLS is never taken for a command: it is TLS, or the handshake fails.
"""

import asyncio

import aiotls
from aiotls.asyncio import start_tls_on_streams
from aiotls.testing.ca import LocalCA


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, config: aiotls.ServerConfig) -> None:
    """Go over to TLS when asked to, and greet the client there."""
    command = await reader.readline()
    if command == b"STARTTLS\n":
        writer.write(b"go ahead\n")
        await start_tls_on_streams(writer, config)
        name = await reader.readline()
        writer.write(b"hello, " + name)
    writer.close()


async def main() -> None:
    """Serve one client, and be it."""
    ca = LocalCA()
    server_config = aiotls.ServerConfig(credentials=ca.issue("localhost").credential())
    client_config = aiotls.ClientConfig(roots=aiotls.Roots.from_bytes(ca.certificate_pem))

    server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, server_config), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"STARTTLS\n")
    print("in the clear:", (await reader.readline()).decode().strip())
    await start_tls_on_streams(writer, client_config, server_hostname="localhost")
    print("from here on:", writer.get_extra_info("tls").cipher_suite.name)
    writer.write(b"world\n")
    print("protected:", (await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
