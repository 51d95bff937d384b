"""What remains of a handshake when its coroutine, and the secrets in its frame, are gone."""

from dataclasses import dataclass, field
from typing import Final

from aiotls.config import ClientConfig, ServerConfig
from aiotls.crypto.schedule13 import HandshakeSecret, MasterSecret, TrafficSecret, export
from aiotls.crypto.suites import Suite
from aiotls.errors import CallbackError, LocalError
from aiotls.handshake.transcript import Transcript
from aiotls.keylog import KeyLog
from aiotls.negotiated import Negotiated

__all__ = ["Outcome", "Secrets"]

_LONGEST_LABEL: Final = 255 - len("tls13 ")  # RFC 8446 §7.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a handshake leaves to its connection."""

    negotiated: Negotiated
    suite: Suite
    config: ServerConfig | ClientConfig
    """The config that it was made under, which may be another than it began with."""
    exporter_secret: bytes = field(repr=False)
    """For RFC 8446 §7.5.  Not derived on demand: the master secret that it comes from would have to be kept, and
    with it the keys of all that was ever sent, past every KeyUpdate."""
    resumption_secret: bytes = field(default=b"", repr=False)
    """What the tickets' keys come from (RFC 8446 §4.6.1); empty when none are to be issued."""
    session_created: int | None = None
    """When the resumed session was created; None after a full handshake."""

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """Keying material (RFC 8446 §7.5); raises LocalError for a label or length that cannot be."""
        encoded = label.encode("ascii", "replace")
        if not label.isascii() or not 0 < len(encoded) <= _LONGEST_LABEL:
            msg = f"an exporter's label has 1 to {_LONGEST_LABEL} ASCII characters"
            raise LocalError(msg)
        longest = 255 * self.suite.hash.digest_size  # RFC 5869 §2.3
        if not 0 < length <= longest:
            msg = f"an exporter gives 1 to {longest} bytes, and not {length}"
            raise LocalError(msg)
        return export(self.exporter_secret, self.suite.hash, encoded, context, length)


class Secrets:
    """The traffic secrets of one handshake, each written to the key log, if there is one, as it comes."""

    __slots__ = ("_key_log", "_random")

    def __init__(self, client_random: bytes, key_log: KeyLog | None) -> None:
        self._random = client_random
        self._key_log = key_log

    def handshake(self, secret: HandshakeSecret, transcript: Transcript) -> tuple[TrafficSecret, TrafficSecret]:
        """The client's and the server's handshake traffic secrets."""
        digest = transcript.digest()
        client = secret.client_handshake_traffic(digest)
        server = secret.server_handshake_traffic(digest)
        if self._key_log is not None:
            self._log("CLIENT_HANDSHAKE_TRAFFIC_SECRET", client.value)
            self._log("SERVER_HANDSHAKE_TRAFFIC_SECRET", server.value)
        return client, server

    def application(self, secret: MasterSecret, transcript: Transcript) -> tuple[TrafficSecret, TrafficSecret, bytes]:
        """The client's and the server's application traffic secrets, and the exporter's."""
        digest = transcript.digest()
        client = secret.client_application_traffic(digest)
        server = secret.server_application_traffic(digest)
        exporter = secret.exporter(digest)
        if self._key_log is not None:
            self._log("CLIENT_TRAFFIC_SECRET_0", client.value)
            self._log("SERVER_TRAFFIC_SECRET_0", server.value)
            self._log("EXPORTER_SECRET", exporter)
        return client, server, exporter

    def _log(self, label: str, secret: bytes) -> None:
        try:
            if self._key_log is not None:
                self._key_log(label, self._random, secret)
        except Exception as error:
            msg = f"the key log failed: {error!r}"
            raise CallbackError(msg) from error
