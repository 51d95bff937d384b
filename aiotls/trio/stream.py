"""TLS over any trio stream.

**Errors** are trio's, for that is what its programs catch: every failure of the connection is a
`trio.BrokenResourceError`, with the `TLSError` that tells what happened as its ``__cause__``; so it is in
trio's own SSLStream.  Only `open_tls_stream`, which has no stream to call broken, raises the TLSError itself.

**Cancellation.**  A `receive_some` or `do_handshake` that is cancelled while it waits for the peer leaves a sound
stream.  A `send_all` or `send_eof` that is cancelled may have sent a part of a record; then the stream is broken for
sending, receiving goes on, and the peer sees a truncation at the end.
"""

import operator
from typing import Final

import trio

from aiotls.config import ClientConfig, ServerConfig
from aiotls.events import Negotiated
from aiotls.pump import EventLoop, Pump, connection_for

__all__ = ["TLSStream"]

_TRIO: Final = EventLoop(
    lock=trio.Lock,
    move_on_after=trio.move_on_after,
    checkpoint=trio.lowlevel.checkpoint,
    checkpoint_if_cancelled=trio.lowlevel.checkpoint_if_cancelled,
    run_in_thread=trio.to_thread.run_sync,
    broken=trio.BrokenResourceError,
    closed=trio.ClosedResourceError,
    busy=trio.BusyResourceError,
)


class _Transport:
    """The stream below, as the pump wants it."""

    __slots__ = ("_stream", "aclose", "receive_some", "send_all")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.receive_some = stream.receive_some
        self.send_all = stream.send_all
        self.aclose = stream.aclose

    async def send_eof(self) -> None:
        """End our side, where the stream has sides."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()


class TLSStream(trio.abc.HalfCloseableStream):
    """A TLS connection over *transport_stream*; its role is the config's.

    The handshake runs when it is first needed, or by `do_handshake`.  The *server_hostname* of a client is what the
    server's certificate must be for.  *handshake_timeout* is in seconds, from when the handshake begins; None is for
    ever.  Raises LocalError or TypeError for arguments that cannot be.
    """

    __slots__ = ("_pump", "transport_stream")

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        config: ClientConfig | ServerConfig,
        *,
        server_hostname: str | None = None,
        handshake_timeout: float | None = None,
    ) -> None:
        self.transport_stream = transport_stream
        """The stream below."""
        engine = connection_for(config, server_hostname)
        self._pump = Pump(engine, _Transport(transport_stream), _TRIO, handshake_timeout=handshake_timeout)

    @property
    def negotiated(self) -> Negotiated:
        """What the handshake agreed on; raises trio.NeedHandshakeError before it is complete."""
        negotiated = self._pump.engine.negotiated
        if negotiated is None:
            raise trio.NeedHandshakeError("call do_handshake() first")
        return negotiated

    async def do_handshake(self) -> None:
        """Complete the handshake, whichever task began it; the first send or receive does it too.

        Raises trio.BrokenResourceError, with the reason as its ``__cause__``.
        """
        with self._pump.mapped():
            await self._pump.handshake()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at most *max_bytes*; empty after the peer's close_notify, and for no other reason.

        A transport that ends without it raises trio.BrokenResourceError from TruncationError.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        return await self._pump.receive(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Seal *data* and send it; see the module on what a cancelled call leaves."""
        await self._pump.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream below can take data."""
        await self._pump.wait_sendable(self.transport_stream.wait_send_all_might_not_block)

    async def send_eof(self) -> None:
        """End our side by close_notify; the peer's goes on (RFC 8446 §6.1)."""
        await self._pump.send_eof()

    async def aclose(self) -> None:
        """Send close_notify, without waiting for the peer's, and close the stream below.

        When another task is sending, or the handshake was never begun, there is no close_notify to send.
        """
        await self._pump.aclose()

    def export_keying_material(self, label: str, context: bytes, length: int) -> bytes:
        """Key material of *length* bytes that only the two ends can know (RFC 8446 §7.5); LocalError if it can't be."""
        return self._pump.engine.export_keying_material(label, context, length)

    def channel_binding(self, name: str = "tls-exporter") -> bytes:
        """What binds an authentication to this connection; see `Connection.channel_binding`."""
        return self._pump.engine.channel_binding(name)
