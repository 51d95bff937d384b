"""Mutual TLS: both ends show a certificate, and the server decides by the client's whom it admits.

    python examples/mutual_tls.py

Server and client are in this one program, with certificates made on the spot.  Alice is greeted; Mallory has a
certificate of the same authority, but is not on the list; and a client without one does not get in at all.

Only what both ends verify tells who somebody is: a certificate is public, and that its owner has the private key is
proved in every handshake.
"""

import asyncio
from typing import Any

import aiotls
from aiotls.negotiated import Negotiated
from aiotls.testing.ca import LocalCA

MEMBERS = {"alice.example"}


def is_member(tls: Negotiated) -> bool:
    """The authorisation: the certificate is verified by now, and we know who it is."""
    return tls.peer is not None and not MEMBERS.isdisjoint(tls.peer.dns_names)


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection; who is not admitted never gets here."""
    tls = writer.get_extra_info("tls")
    writer.write(f"Hello, {tls.peer.dns_names[0]}!".encode())
    writer.close()


def report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for a handshake that failed."""
    print("  server:", context["message"])


async def call(port: int, config: aiotls.ClientConfig) -> str:
    """What the server says to a client with this config."""
    reader, writer = await aiotls.open_connection("127.0.0.1", port, ssl=config, server_hostname="localhost")
    try:
        # A client is done before the server has seen its certificate: that it is refused comes with the first read.
        return (await reader.read()).decode()
    except aiotls.AlertReceived as alert:
        return f"refused, by the alert {alert.description.name}"
    finally:
        writer.close()


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
    asyncio.get_running_loop().set_exception_handler(report)
    server = await aiotls.start_server(greet, "127.0.0.1", 0, ssl=config)
    port = server.sockets[0].getsockname()[1]
    try:
        for who in ("alice.example", "mallory.example", None):
            credential = None if who is None else ca.issue(who).credential()
            print(f"{who or 'nobody'}:", await call(port, aiotls.ClientConfig(roots=roots, credentials=credential)))
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
