"""A server on the OpenSSL that `cryptography` brings along, which is newer than most systems'.

It stands in a process of its own, where OPENSSL_CONF says which groups it has: pyOpenSSL has no call for that.  It
takes its options from the command line in JSON, and says in JSON where it listens and whom it meets.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

from OpenSSL import SSL

CHUNK = 1 << 16


def say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def context_of(options: dict[str, Any]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(options["certfile"])
    context.use_privatekey_file(options["keyfile"])
    protocols = [name.encode() for name in options["alpn"]]
    context.set_alpn_select_callback(
        lambda _, offered: next((name for name in protocols if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
    )
    if options["clientAuth"] != "off":
        required = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if options["clientAuth"] == "required" else 0
        context.set_verify(SSL.VERIFY_PEER | required)
        context.load_verify_locations(options["clientCA"])
        context.load_client_ca(options["clientCA"].encode())
        context.set_session_id(b"aiotls")
    if options["staple"]:
        staple = Path(options["staple"]).read_bytes()
        context.set_ocsp_server_callback(lambda *_: staple)
    return context


def serve(connection: SSL.Connection) -> None:
    """Return what comes, until the client's close_notify.

    After the line ``close`` our own close_notify is sent, and what comes is counted, and no more returned.
    """
    connection.do_handshake()
    certificate = connection.get_peer_certificate()
    say(
        met=certificate.get_subject().CN if certificate else None,
        alpn=connection.get_alpn_proto_negotiated().decode(),
        exported=connection.export_keying_material(b"EXPORTER-aiotls", 77, b"context").hex(),
        group=connection.get_group_name(),
    )
    counted = 0
    try:
        while (data := connection.recv(CHUNK)) != b"close\n":
            connection.sendall(data)
        connection.shutdown()
        while True:
            counted += len(connection.recv(CHUNK))
    except SSL.ZeroReturnError:
        say(counted=counted)
        connection.shutdown()


def main() -> None:
    options = json.loads(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    context = context_of(options)
    say(port=listener.getsockname()[1])
    while True:
        tcp, _ = listener.accept()
        connection = SSL.Connection(context, tcp)
        connection.set_accept_state()
        try:
            serve(connection)
        except SSL.Error as error:
            say(error=str(error))
            # Closed at once, with bytes of the client's unread, TCP would reset the connection, and the alert be lost.
            tcp.shutdown(socket.SHUT_WR)
            while tcp.recv(CHUNK):
                pass
        tcp.close()


if __name__ == "__main__":
    main()
