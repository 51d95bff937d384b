"""The server of the client's figure, in a process of its own; see `_client.py` for why."""

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

from benchmarks._client import keep_to, receive, send, step


@contextlib.contextmanager
def server_process(context: ssl.SSLContext) -> Iterator[socket.socket]:
    """The socket of a server that runs until it is closed: it takes a first flight, answers, and takes the second."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        keep_to(-1)
        ours.close()
        with contextlib.suppress(EOFError, ConnectionError):
            _serve(theirs, context)
        os._exit(0)
    theirs.close()
    keep_to(0)
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(child, 0)


def _serve(sock: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(receive(sock))
        step(server)
        send(sock, outgoing.read())
        incoming.write(receive(sock))
        server.do_handshake()
        send(sock, outgoing.read())
