"""A server whose private key is in another process: what an HSM or a KMS looks like to a TLS server.

    python examples/remote_signer.py --port 8443
    openssl s_client -connect localhost:8443

The program starts itself a second time, as the signer, which makes a key and a certificate.  Over a UNIX socket it
tells the certificate, and signs; the key never leaves it.  The server asks for one signature in every full handshake
(RFC 8446 §4.4.3), and meanwhile goes on with its other connections.

A request is two numbers of 16 bits, the signature scheme and the length of the message, and the message; scheme 0 asks
for the certificate.  The answer is what comes until the signer closes the connection: nothing says that it refuses.
"""

import argparse
import asyncio
import contextlib
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiotls
from aiotls.testing.ca import LocalCA
from aiotls.wire.registries import SignatureScheme

TIME_LIMIT = 5.0  # seconds for an answer
CERTIFICATE = 0
REQUEST = struct.Struct("!HH")
SIGNED_BY_SERVERS = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"  # RFC 8446 §4.4.3


# --- The signer ------------------------------------------------------------------------------------------------------


class Signer:
    """Has the key, and signs with it what TLS servers sign, for nothing else should be possible with it."""

    def __init__(self) -> None:
        self._credential = LocalCA().issue("localhost", "127.0.0.1").credential()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request of one connection."""
        try:
            async with asyncio.timeout(TIME_LIMIT):
                scheme, length = REQUEST.unpack(await reader.readexactly(REQUEST.size))
                writer.write(await self.answer(scheme, await reader.readexactly(length)))
                await writer.drain()
        except (EOFError, OSError):  # TimeoutError is an OSError
            pass  # the server is gone
        finally:
            writer.close()

    async def answer(self, scheme: int, message: bytes) -> bytes:
        """The certificate, the signature, or nothing."""
        if scheme == CERTIFICATE:
            return self._credential.chain[0]
        if scheme not in self._credential.schemes or not message.startswith(SIGNED_BY_SERVERS):
            return b""
        signature = self._credential.signing_key.sign(scheme, message)
        return signature if isinstance(signature, bytes) else await signature


async def run_signer(listener: int) -> None:
    """Sign until the server's process, which holds the other end of our standard input, has ended."""
    await asyncio.start_unix_server(Signer().serve, sock=socket.socket(fileno=listener))
    await asyncio.to_thread(sys.stdin.read)


# --- The server ------------------------------------------------------------------------------------------------------


class RemoteKey:
    """The key as the server knows it: an `aiotls.trust.credentials.SigningKey`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def schemes(self) -> tuple[int, ...]:
        """What a key of EC P-256 signs with."""
        return (SignatureScheme.ecdsa_secp256r1_sha256,)

    async def sign(self, scheme: int, message: bytes) -> bytes:
        """Have it signed; an error ends the handshake that wanted it, and no other."""
        return await self.ask(scheme, message)

    async def ask(self, scheme: int, message: bytes = b"") -> bytes:
        """The signer's answer."""
        async with asyncio.timeout(TIME_LIMIT):
            reader, writer = await asyncio.open_unix_connection(self._path)
            try:
                writer.write(REQUEST.pack(scheme, len(message)) + message)
                answer = await reader.read()
            finally:
                writer.close()
        if not answer:
            raise PermissionError("the signer refuses")
        return answer


@contextlib.asynccontextmanager
async def signer_process() -> AsyncIterator[RemoteKey]:
    """A signer, and the key in it."""
    with tempfile.TemporaryDirectory(prefix="aiotls-signer-") as directory:  # which only we may enter
        path = Path(directory) / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, "--signer", str(listener.fileno())),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for us
            )
        try:
            yield RemoteKey(path)
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                process.terminate()
            await process.wait()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    try:
        writer.write(b"Signed by another process.\n")
        writer.write_eof()
        while await reader.read(65536):
            pass
    except (OSError, aiotls.TLSError, asyncio.CancelledError):
        pass  # the client is gone, or Ctrl-C ends us
    finally:
        writer.close()


async def main(port: int) -> None:
    """Serve until Ctrl-C."""
    async with signer_process() as key:
        credential = aiotls.Credential.from_signing_key(await key.ask(CERTIFICATE), key)
        server = await aiotls.start_server(greet, "127.0.0.1", port, ssl=aiotls.ServerConfig(credentials=credential))
        address = f"localhost:{server.sockets[0].getsockname()[1]}"
        print(f"Serving {address}; Ctrl-C ends.  Try:\n\n    openssl s_client -connect {address}\n", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve TLS with a key that another process has.")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    parser.add_argument("--signer", type=int, metavar="SOCKET", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.port) if arguments.signer is None else run_signer(arguments.signer))
