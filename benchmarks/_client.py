"""The client of the handshake figure, in a process of its own.

A server's client runs on another machine: it does not warm the caches of the server's libcrypto.  In one process
with the servers, this client, which is `ssl`, would do so for `ssl` alone.  So it lives behind a socket pair, and the
servers meet it as in life: cold, one handshake at a time.  Where there are two cores, each side has its own, for on
a shared one the caches are shared as well.
"""

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator

from OpenSSL import SSL

CLASSICAL, HYBRID, ALONE = b"c", b"h", b"a"
"""A hello with an X25519 share; with an X25519MLKEM768 share; and a flight that no server answers, for the floor."""

_HOST = "localhost"
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def send(sock: socket.socket, data: bytes | bytearray) -> None:
    """One message, behind its length."""
    sock.sendall(struct.pack(">I", len(data)) + data)


def receive(sock: socket.socket) -> bytes:
    """One message; EOFError when the other end is gone."""
    (length,) = struct.unpack(">I", _exactly(sock, 4))
    return _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        try:
            piece = sock.recv(count - len(data), socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue  # a server under load does not sleep: its core is awake
        if not piece:
            raise EOFError
        data += piece
    return data


@contextlib.contextmanager
def client_process(ca_pem: bytes, server: ssl.SSLContext) -> Iterator[socket.socket]:
    """The socket of a client that runs until it is closed; *server* is whom it talks to when it is alone."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        keep_to(-1)
        ours.close()
        with contextlib.suppress(EOFError, ConnectionError):
            _serve(theirs, ca_pem, server)
        os._exit(0)
    theirs.close()
    keep_to(0)
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(child, 0)


def keep_to(place: int) -> None:
    """Run on the first or the last core only, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {_CORES[place]})


def _serve(sock: socket.socket, ca_pem: bytes, server: ssl.SSLContext) -> None:
    context = ssl.create_default_context(cadata=ca_pem.decode())
    hybrid = SSL.Context(SSL.TLS_CLIENT_METHOD)  # its libcrypto offers X25519MLKEM768; it verifies nothing
    while True:
        kind = receive(sock)
        if kind == HYBRID:
            _shake_hybrid(sock, SSL.Connection(hybrid, None))
        else:
            _shake(sock, context, server if kind == ALONE else None)


def _shake(sock: socket.socket, context: ssl.SSLContext, alone_with: ssl.SSLContext | None) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=_HOST)
    step(client)
    hello = outgoing.read()
    send(sock, hello)
    flight = receive(sock)
    if alone_with is not None:
        back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
        back.write(hello)
        step(alone_with.wrap_bio(back, forth, server_side=True))
        flight = forth.read()
    incoming.write(flight)
    step(client)
    send(sock, outgoing.read())


def _shake_hybrid(sock: socket.socket, client: SSL.Connection) -> None:
    client.set_tlsext_host_name(_HOST.encode())
    client.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    send(sock, client.bio_read(1 << 16))
    client.bio_write(receive(sock))
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    send(sock, client.bio_read(1 << 16))


def step(connection: ssl.SSLObject) -> None:
    """Go on with a handshake as far as it goes."""
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
