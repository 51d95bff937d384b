"""Mutual TLS: both ends show a certificate, and the server decides by the client's whom it admits.

    python examples/mutual_tls.py

Server and client are in this one program, with certificates made on the spot.  Alice is greeted; Mallory has a
certificate of the same authority, but is not on the list; and a client without one does not get in at all.
"""

import asyncio

import aiotls
from aiotls.negotiated import Negotiated
from aiotls.testing.ca import LocalCA

MEMBERS = {"alice.example"}


def is_member(tls: Negotiated) -> bool:
    """The authorisation: the certificate is verified by now, and we know who it is."""
    return tls.peer is not None and not MEMBERS.isdisjoint(tls.peer.dns_names)


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    tls = writer.get_extra_info("tls")
    writer.write(f"Hello, {tls.peer.dns_names[0]}!".encode())
    writer.close()


async def call(port: int, config: aiotls.ClientConfig) -> str:
    """What the server says to a client with this config."""
    try:
        reader, writer = await aiotls.open_connection("127.0.0.1", port, ssl=config, server_hostname="localhost")
        greeting = await reader.read()
    except aiotls.TLSError as error:
        return f"refused: {error}"
    writer.close()
    return greeting.decode()


async def main() -> None:
    """Start the server, and call it three times."""
    ca = LocalCA()
    roots = aiotls.Roots.from_bytes(ca.certificate_pem)
    config = aiotls.ServerConfig(
        credentials=ca.issue("localhost").credential(),
        client_auth=aiotls.ClientAuth.REQUIRED,
        client_roots=roots,
        authorise=is_member,
    )
    server = await aiotls.start_server(greet, "127.0.0.1", 0, ssl=config)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: print("server:", context["message"]))
    port = server.sockets[0].getsockname()[1]
    for who in ("alice.example", "mallory.example", None):
        credential = None if who is None else ca.issue(who).credential()
        print(f"{who or 'nobody'}:", await call(port, aiotls.ClientConfig(roots=roots, credentials=credential)))
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
