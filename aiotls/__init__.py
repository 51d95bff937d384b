"""TLS for asynchronous Python: the protocol itself, in typed Python, over the primitives of `cryptography`.

A server and a client, in full::

    config = aiotls.ServerConfig(credentials=aiotls.Credential.from_files("cert.pem", "key.pem"))
    server = await aiotls.start_server(handler, "127.0.0.1", 8443, ssl=config)

    config = aiotls.ClientConfig(roots=aiotls.Roots.from_file("ca.pem"))
    reader, writer = await aiotls.open_connection("localhost", 8443, ssl=config)

`ServerConnection` and `ClientConnection` are the same without I/O.  The exceptions are in `aiotls.errors`, all of them
below `TLSError`.
"""

from aiotls.asyncio import create_connection, create_server, open_connection, start_server
from aiotls.config import ClientAuth, ClientConfig, Preference, ServerConfig
from aiotls.connection import ClientConnection, ServerConnection
from aiotls.errors import (
    AlertReceived,
    CertificateError,
    LocalError,
    PeerIncompatible,
    PeerMisbehaved,
    TLSError,
    TruncationError,
)
from aiotls.events import ApplicationData, HandshakeComplete, PeerClosed
from aiotls.keylog import KeyLogFile
from aiotls.negotiated import Negotiated
from aiotls.sessions.tickets import TicketKeys
from aiotls.trust.credentials import Credential
from aiotls.trust.roots import Roots

__all__ = [
    "AlertReceived",
    "ApplicationData",
    "CertificateError",
    "ClientAuth",
    "ClientConfig",
    "ClientConnection",
    "Credential",
    "HandshakeComplete",
    "KeyLogFile",
    "LocalError",
    "Negotiated",
    "PeerClosed",
    "PeerIncompatible",
    "PeerMisbehaved",
    "Preference",
    "Roots",
    "ServerConfig",
    "ServerConnection",
    "TLSError",
    "TicketKeys",
    "TruncationError",
    "create_connection",
    "create_server",
    "open_connection",
    "start_server",
]
