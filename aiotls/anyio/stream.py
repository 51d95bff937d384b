"""TLS over any anyio byte stream, on every backend of anyio's.

**Errors** are anyio's, for that is what its programs catch: a failure of an established connection is an
`anyio.BrokenResourceError`, with the `TLSError` that tells what happened as its ``__cause__``, and the peer's
close_notify an `anyio.EndOfStream`.  `TLSStream.wrap`, which has no stream to call broken, raises the TLSError itself.

**Cancellation.**  A `receive` that is cancelled leaves a sound stream.  A `send` or `send_eof` that is cancelled may
have sent a part of a record; then the stream is broken for sending, receiving goes on, and the peer sees a
truncation at the end.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
from anyio.abc import AnyByteStream, ByteStream
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from anyio.streams.tls import TLSAttribute

from aiotls.config import ClientConfig, ServerConfig
from aiotls.events import Negotiated
from aiotls.pump import EventLoop, Pump, connection_for
from aiotls.ssl_object import SSLObjectView

__all__ = ["TLSStream"]

_ANYIO: Final = EventLoop(
    lock=anyio.Lock,
    move_on_after=anyio.move_on_after,
    checkpoint=checkpoint,
    checkpoint_if_cancelled=checkpoint_if_cancelled,
    run_in_thread=anyio.to_thread.run_sync,
    broken=anyio.BrokenResourceError,
    closed=anyio.ClosedResourceError,
    busy=anyio.BusyResourceError,
)


class _Transport:
    """The stream below, as the pump wants it."""

    __slots__ = ("_stream", "aclose")

    def __init__(self, stream: AnyByteStream) -> None:
        self._stream = stream
        self.aclose = stream.aclose

    async def receive_some(self) -> bytes:
        """What comes next; empty at the end."""
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            return b""

    async def send_all(self, data: bytes | bytearray, /) -> None:
        """Send it, as the bytes that anyio's streams are made for."""
        await self._stream.send(bytes(data))

    async def send_eof(self) -> None:
        """End our side, where the stream has sides."""
        try:
            await self._stream.send_eof()
        except NotImplementedError:  # anyio's own TLSStream
            await checkpoint()


class TLSStream(ByteStream):
    """A TLS connection over an anyio stream; made by `wrap`."""

    def __init__(self, transport_stream: AnyByteStream, pump: Pump) -> None:
        self.transport_stream = transport_stream
        """The stream below."""
        self._pump = pump

    @classmethod
    async def wrap(
        cls,
        transport_stream: AnyByteStream,
        config: ClientConfig | ServerConfig,
        *,
        server_hostname: str | None = None,
        handshake_timeout: float | None = None,
    ) -> "TLSStream":
        """Complete a handshake over *transport_stream*; the role is the config's.

        The *server_hostname* of a client is what the server's certificate must be for.  *handshake_timeout* is
        in seconds, or None for ever.  Raises the TLSError that the handshake failed with, what the stream below raises,
        and LocalError or TypeError for arguments that cannot be; the stream below is then the caller's to close.
        """
        engine = connection_for(config, server_hostname)
        pump = Pump(engine, _Transport(transport_stream), _ANYIO, handshake_timeout=handshake_timeout)
        stream = cls(transport_stream, pump)
        await pump.handshake()
        return stream

    @property
    def negotiated(self) -> Negotiated:
        """What the handshake agreed on."""
        negotiated = self._pump.engine.negotiated
        if negotiated is None:
            raise anyio.ClosedResourceError("the handshake of this TLS stream was not completed")
        return negotiated

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Some bytes, at most *max_bytes*; raises anyio.EndOfStream after the peer's close_notify.

        A transport that ends without it raises anyio.BrokenResourceError from TruncationError.
        """
        if operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        data = await self._pump.receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Seal *item* and send it; see the module on what a cancelled call leaves."""
        await self._pump.send(item)

    async def send_eof(self) -> None:
        """End our side by close_notify; the peer's goes on (RFC 8446 §6.1)."""
        await self._pump.send_eof()

    async def aclose(self) -> None:
        """Send close_notify, without waiting for the peer's, and close the stream below.

        When another task is sending there is no close_notify to send.
        """
        await self._pump.aclose()

    def export_keying_material(self, label: str, context: bytes, length: int) -> bytes:
        """Key material of *length* bytes that only the two ends can know (RFC 8446 §7.5); LocalError if it can't be."""
        return self._pump.engine.export_keying_material(label, context, length)

    def channel_binding(self, name: str = "tls-exporter") -> bytes:
        """What binds an authentication to this connection; see `Connection.channel_binding`."""
        return self._pump.engine.channel_binding(name)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the stream below, and of anyio's `TLSAttribute` what there is.

        There is no ``channel_binding_tls_unique``, for TLS 1.3 does not define it (RFC 8446 §C.5; `channel_binding`
        has what took its place), no ``peer_certificate`` as a dictionary (`negotiated` tells who the peer is), and no
        ``shared_ciphers`` on a server, which does not keep the client's list.
        """
        view = SSLObjectView(self._pump.engine, self.negotiated)
        attributes: dict[Any, Callable[[], Any]] = {
            **self.transport_stream.extra_attributes,
            TLSAttribute.alpn_protocol: view.selected_alpn_protocol,
            TLSAttribute.cipher: view.cipher,
            TLSAttribute.peer_certificate_binary: lambda: view.getpeercert(binary_form=True),
            TLSAttribute.server_side: lambda: view.server_side,
            TLSAttribute.ssl_object: lambda: view,
            TLSAttribute.standard_compatible: lambda: True,
            TLSAttribute.tls_version: view.version,
        }
        for missing in (TLSAttribute.channel_binding_tls_unique, TLSAttribute.peer_certificate):
            attributes.pop(missing, None)  # those of a TLS connection below are not ours
        attributes.pop(TLSAttribute.shared_ciphers, None)
        if not view.server_side:
            attributes[TLSAttribute.shared_ciphers] = lambda: None
        return attributes
