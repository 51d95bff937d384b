"""The two ends of a TLS connection, without I/O; all that they have in common is in `engine`."""

from dataclasses import replace

from aiotls.config import ClientConfig, ServerConfig
from aiotls.engine import Connection, TrafficKey
from aiotls.errors import LocalError, TLSError
from aiotls.handshake.hello import connect, serve
from aiotls.handshake.outcome import Outcome
from aiotls.handshake.post import FROM_CLIENT, FROM_SERVER, PostHandshake, new_session_tickets
from aiotls.record.framing import MAX_CIPHERTEXT, Buffer
from aiotls.trust.names import ServerName
from aiotls.wire.registries import CertificateType

__all__ = ["ClientConnection", "Connection", "ServerConnection", "TrafficKey"]


class ServerConnection(Connection):
    """The server's end of a connection."""

    __slots__ = ("_owes_tickets",)
    _config: ServerConfig

    def __init__(self, config: ServerConfig) -> None:
        """Begin a handshake that waits for a ClientHello."""
        super().__init__(config, PostHandshake(FROM_CLIENT))
        self._owes_tickets = False
        self._begin(serve(config, self))

    def send_data(self, data: Buffer) -> None:
        """Seal application data at once; raises LocalError before the handshake is complete and after `close`."""
        if self._owes_tickets and len(data) and self.can_send:  # they cost no packet of their own
            self.send_tickets()
        super().send_data(data)

    def send_tickets(self) -> None:
        """Send the session tickets now, and not with the first application data (RFC 8446 §4.6.1).

        It does nothing when they were sent, or when the client is to get none.  Raises LocalError where `send_data`
        does.
        """
        outcome = self._outcome
        if outcome is None or not self.can_send:
            msg = "tickets can be sent between the handshake and the close only"
            raise LocalError(msg)
        if self._owes_tickets:
            self._forget_tickets()
            tickets = new_session_tickets(outcome, self._config)
            if tickets:
                self._sender.handshake(tickets)

    def _forget_tickets(self) -> None:
        """The secret behind the tickets has served, or never will, and must not be found later."""
        if self._outcome is not None and self._owes_tickets:
            self._owes_tickets = False
            self._outcome = replace(self._outcome, resumption_secret=b"")

    def close(self) -> None:
        """Send close_notify: our side ends, the peer's goes on (RFC 8446 §6.1).  A second call does nothing.

        Before the handshake is complete this gives it up, and says so with user_canceled.
        """
        super().close()
        self._forget_tickets()

    def skip_early_data(self) -> None:
        """The client may have sent early data, which cannot be opened (RFC 8446 §4.2.10)."""
        self._skippable = self._config.max_early_data_skipped
        self._deframer.limit = MAX_CIPHERTEXT

    def _complete(self, outcome: Outcome) -> None:
        super()._complete(outcome)
        self._owes_tickets = bool(outcome.resumption_secret)

    def _may_be_without_key(self) -> bool:
        """A client that could not follow our ServerHello has no key to tell us under."""
        return self._driver is not None and self._read_key is not None and not self._read_key.sequence

    def _server_certificate(self) -> bytes | None:
        credential = None if self._outcome is None else self._outcome.negotiated.credential
        if credential is None or credential.certificate_type != CertificateType.x509:
            return None
        return credential.chain[0]

    def _end(self, error: TLSError) -> None:
        super()._end(error)
        self._forget_tickets()


class ClientConnection(Connection):
    """The client's end of a connection."""

    __slots__ = ()
    _config: ClientConfig

    def __init__(self, config: ClientConfig, server_name: str | None) -> None:
        """Begin a handshake: the ClientHello is in `data_to_send`.

        *server_name* is the DNS name or IP address that the server's certificate must be for.  Raises LocalError for
        one that cannot be, and for None, except where a `verifier` or `trusted_public_keys` replace our verification.
        """
        super().__init__(config, PostHandshake(FROM_SERVER))
        if server_name is None and config.verification is not None:
            msg = "server_name must be the name that the server's certificate is for, and not None"
            raise LocalError(msg)
        name = None if server_name is None else ServerName.of(server_name)
        self._hello_sent_or_received = True
        self._begin(connect(config, name, self))

    def _server_certificate(self) -> bytes | None:
        peer = None if self._outcome is None else self._outcome.negotiated.peer
        return None if peer is None or peer.raw_public_key else peer.certificates[0]
