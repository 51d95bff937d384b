"""TLS for asynchronous Python: the protocol itself, in typed Python, over the primitives of `cryptography`.

A server, in full::

    config = aiotls.ServerConfig(credentials=aiotls.Credential.from_files("cert.pem", "key.pem"))
    server = await aiotls.start_server(handler, "127.0.0.1", 8443, ssl=config)

`ServerConnection` is the same without I/O.  The exceptions are in `aiotls.errors`, all of them below `TLSError`.
"""

from aiotls.asyncio import create_server, start_server
from aiotls.config import Preference, ServerConfig
from aiotls.connection import ServerConnection
from aiotls.errors import (
    AlertReceived,
    CertificateError,
    LocalError,
    PeerIncompatible,
    PeerMisbehaved,
    TLSError,
    TruncationError,
)
from aiotls.events import ApplicationData, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.handshake.negotiate import Negotiated
from aiotls.keylog import KeyLogFile
from aiotls.sessions.tickets import TicketKeys
from aiotls.trust.credentials import ClientHelloInfo, Credential, SigningKey

__all__ = [
    "AlertReceived",
    "ApplicationData",
    "CertificateError",
    "ClientHelloInfo",
    "Credential",
    "HandshakeComplete",
    "KeyLogFile",
    "KeyUpdated",
    "LocalError",
    "Negotiated",
    "PeerClosed",
    "PeerIncompatible",
    "PeerMisbehaved",
    "Preference",
    "ServerConfig",
    "ServerConnection",
    "SigningKey",
    "TLSError",
    "TicketKeys",
    "TruncationError",
    "create_server",
    "start_server",
]
