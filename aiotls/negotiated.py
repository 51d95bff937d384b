"""What a handshake agreed on: the record that an application reads."""

from dataclasses import dataclass

from aiotls.crypto.suites import SUITES
from aiotls.trust.credentials import Credential
from aiotls.trust.identity import PeerIdentity
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme

__all__ = ["Negotiated"]


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a handshake agreed on."""

    version: ProtocolVersion
    cipher_suite: CipherSuite
    group: NamedGroup | None
    """The key exchange group."""
    signature_scheme: SignatureScheme | None
    """What the server signed the handshake with."""
    alpn: str | None
    """The application protocol, if one was agreed on."""
    server_name: str | None
    """The name that the client asked for, in lower case."""
    resumed: bool
    """Whether an earlier session was resumed."""
    retried: bool
    """Whether a HelloRetryRequest cost a round trip."""
    credential: Credential | None
    """Our own credential, if we proved our name with one."""
    peer: PeerIdentity | None = None
    """Who the peer has proved to be: always there for a server's, and for a client's if it showed a certificate."""
    offered_alpn: tuple[bytes, ...] = ()
    """The application protocols as the client listed them."""
    ja4: str | None = None
    """The JA4 fingerprint of the ClientHello, where the config asks for it."""

    @property
    def peer_certificates(self) -> tuple[bytes, ...]:
        """The peer's certificates in DER as it sent them, its own first."""
        return () if self.peer is None else self.peer.certificates

    @property
    def secret_bits(self) -> int:
        """The length of the cipher's key, in bits."""
        return 8 * SUITES[self.cipher_suite].key_length
