"""The transport that the application's protocol is given: asyncio's contract for one, over a TLS connection.

It derives from asyncio's own mix-in and carries two of its private marks, for asyncio looks for them before it sends a
file through a transport (`loop.sendfile`, by its fallback) or puts another TLS over it (`loop.start_tls`).
"""

import contextlib
import warnings
from asyncio import BaseProtocol, Transport, constants, transports
from collections.abc import Iterable
from typing import Any, Final, Protocol

from aiotls.connection import Connection
from aiotls.events import Negotiated
from aiotls.ssl_object import SSLObjectView

__all__ = ["Layer", "TLSTransport"]

Buffer = bytes | bytearray | memoryview


class Layer(Protocol):
    """What stands between the transport and TCP; `TLSProtocol` is it."""

    @property
    def engine(self) -> Connection:
        """The connection's engine."""

    @property
    def tcp(self) -> Transport:
        """The transport below."""

    @property
    def application(self) -> BaseProtocol | None:
        """The protocol above; None once it was told that the connection is lost."""

    @application.setter
    def application(self, protocol: BaseProtocol) -> None: ...

    @property
    def reading_paused(self) -> bool:
        """Whether the application has paused reading."""

    @property
    def writing_paused(self) -> bool:
        """Whether the application was told to pause writing."""

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, closing, or has failed."""

    def flush(self) -> None:
        """Hand what the engine has sealed to the TCP transport."""

    def close(self) -> None:
        """Send close_notify and close, without waiting for the peer's."""

    def pause_reading(self) -> None:
        """Deliver nothing more."""

    def resume_reading(self) -> None:
        """Deliver again."""


class TLSTransport(transports._FlowControlMixin):  # noqa: SLF001 - as the head of the file says
    """The transport that the application's protocol is given."""

    __slots__ = ("_closing", "_negotiated", "_protocol", "_write_ended")

    _start_tls_compatible: Final = True
    _sendfile_compatible: Final = constants._SendfileMode.FALLBACK  # noqa: SLF001

    def __init__(self, protocol: Layer, negotiated: Negotiated) -> None:
        """A transport for a connection whose handshake is complete."""
        Transport.__init__(self)  # and not the mix-in's, whose limits are not the ones in force
        self._protocol = protocol
        self._negotiated = negotiated
        self._closing = False
        self._write_ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's signature
        """What is known of the connection.

        ``tls`` is the `Negotiated` record; ``sslcontext`` our config; ``ssl_object``, ``cipher``, ``peercert`` and
        ``compression`` are what programs written for `ssl` look for.  All else is the TCP transport's.
        """
        if name == "tls":
            return self._negotiated
        if name == "sslcontext":
            return self._protocol.engine.config
        if name not in {"ssl_object", "cipher", "peercert", "compression"}:
            return self._protocol.tcp.get_extra_info(name, default)
        view = SSLObjectView(self._protocol.engine, self._negotiated)
        if name == "ssl_object":
            return view
        value = getattr(view, "getpeercert" if name == "peercert" else name)()
        return default if value is None else value

    def export_keying_material(self, label: str, context: bytes, length: int) -> bytes:
        """Key material of *length* bytes that only the two ends can know (RFC 8446 §7.5); LocalError if it can't be."""
        return self._protocol.engine.export_keying_material(label, context, length)

    def channel_binding(self, name: str = "tls-exporter") -> bytes:
        """What binds an authentication to this connection; see `Connection.channel_binding`."""
        return self._protocol.engine.channel_binding(name)

    def write(self, data: Buffer) -> None:
        """Seal *data* and hand it to TCP.

        Raises TypeError for what is not bytes-like, RuntimeError after `write_eof`; after the connection is closed it
        warns and drops the data, as asyncio's own transports do.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"data must be a bytes-like object, and not {type(data).__name__}"
            raise TypeError(msg)
        if self._write_ended:
            msg = "write() after write_eof()"
            raise RuntimeError(msg)
        engine = self._protocol.engine
        if self._closing or not engine.can_send:
            if data and self._closing:
                warnings.warn("write() on a closed TLS connection: the data is dropped", stacklevel=2)
            return
        engine.send_data(data)
        self._protocol.flush()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """Write the pieces as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """True: in TLS 1.3 each side ends on its own (RFC 8446 §6.1)."""
        return True

    def write_eof(self) -> None:
        """End our side by close_notify; the peer's goes on."""
        if self._write_ended or self._closing:
            return
        self._write_ended = True
        self._protocol.engine.close()
        self._protocol.flush()
        if self._protocol.tcp.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has reset it already, and connection_lost is to follow
                self._protocol.tcp.write_eof()

    def close(self) -> None:
        """Send close_notify and what was written before it, and close without waiting for the peer's."""
        if self._closing:
            return
        self._closing = True
        self._protocol.close()

    def abort(self) -> None:
        """Close now; what was not sent yet is lost, and the peer sees a truncation."""
        self._closing = True
        self._protocol.tcp.abort()

    def _force_close(self, _: BaseException | None) -> None:
        """End now: what another TLS over this transport calls when it fails."""
        self.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._closing or self._protocol.ended

    def set_protocol(self, protocol: BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._protocol.application = protocol

    def get_protocol(self) -> BaseProtocol:
        """The application's protocol."""
        application = self._protocol.application
        if application is None:
            msg = "the connection is closed and has no protocol any more"
            raise RuntimeError(msg)
        return application

    def is_reading(self) -> bool:
        """Whether data is delivered."""
        return not self._protocol.reading_paused and not self.is_closing()

    def pause_reading(self) -> None:
        """Deliver no data until `resume_reading`."""
        self._protocol.pause_reading()

    def resume_reading(self) -> None:
        """Deliver data again."""
        self._protocol.resume_reading()

    @property
    def _protocol_paused(self) -> bool:
        """Whether the application was told to pause writing, as `loop.sendfile` asks."""
        return self._protocol.writing_paused

    def get_write_buffer_size(self) -> int:
        """Bytes that TCP has not taken yet, TLS's own among them."""
        return self._protocol.tcp.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """TCP's low and high water marks, in bytes."""
        return self._protocol.tcp.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set TCP's water marks, in bytes."""
        self._protocol.tcp.set_write_buffer_limits(high, low)
