"""What programs read from ``get_extra_info("ssl_object")``: the look of an `ssl.SSLObject`, and no more than the look.

Servers ask it for the version, the cipher, the application protocol and the peer's certificate.
"""

from typing import Any, Final

from aiotls.connection import Connection, ServerConnection
from aiotls.events import Negotiated
from aiotls.trust.peercert import peercert

__all__ = ["SSLObjectView", "cipher"]

_VERSION_NAMES: Final = {0x0304: "TLSv1.3"}


def cipher(negotiated: Negotiated) -> tuple[str, str, int]:
    """The cipher suite as `ssl.SSLObject.cipher` tells it: name, version, secret bits."""
    return negotiated.cipher_suite.name, _VERSION_NAMES[negotiated.version], negotiated.secret_bits


class SSLObjectView:
    """Reads a connection through the methods of an `ssl.SSLObject`."""

    __slots__ = ("_engine", "_negotiated")

    def __init__(self, engine: Connection, negotiated: Negotiated) -> None:
        self._engine = engine
        self._negotiated = negotiated

    @property
    def server_side(self) -> bool:
        """Whether this is the server's end."""
        return isinstance(self._engine, ServerConnection)

    @property
    def server_hostname(self) -> str | None:
        """The name that the client asked for."""
        return self._negotiated.server_name

    @property
    def session_reused(self) -> bool:
        """Whether an earlier session was resumed."""
        return self._negotiated.resumed

    def version(self) -> str:
        """The protocol version, such as "TLSv1.3"."""
        return _VERSION_NAMES[self._negotiated.version]

    def cipher(self) -> tuple[str, str, int]:
        """The cipher suite: name, version, secret bits."""
        return cipher(self._negotiated)

    def selected_alpn_protocol(self) -> str | None:
        """The application protocol, if one was agreed on."""
        return self._negotiated.alpn

    def compression(self) -> None:
        """None: TLS 1.3 has no compression."""

    def getpeercert(self, binary_form: bool = False) -> bytes | dict[str, Any] | None:  # noqa: FBT001, FBT002 - the look
        """The peer's certificate, in `ssl`'s dictionary form or in DER; None where it showed none.

        Raises CertificateError where there is no dictionary for it.
        """
        peer = self._negotiated.peer
        if peer is None or peer.raw_public_key:
            return None
        return peer.certificates[0] if binary_form else peercert(peer.certificates[0])

    def get_channel_binding(self, cb_type: str = "tls-exporter") -> bytes:
        """The channel binding of that name: tls-exporter (RFC 9266) or tls-server-end-point (RFC 5929 §4)."""
        return self._engine.channel_binding(cb_type)
