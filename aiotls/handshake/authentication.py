"""The authentication messages of RFC 8446 §4.4, for either role: Certificate, CertificateVerify, Finished.

An endpoint shows a certificate, proves by a signature over the whole handshake that it holds the certificate's key, and
by a MAC that nobody changed what was said.  Who we are is a `Proof`; who the peer is comes out as a `PeerIdentity`.
"""

import hashlib
import hmac
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiotls.blocking import Blocking
from aiotls.config import ClientConfig, ServerConfig
from aiotls.crypto.schedule13 import TrafficSecret
from aiotls.crypto.signatures import SCHEMES, schemes_for, verify
from aiotls.errors import (
    AccessDenied,
    CallbackError,
    CertificateError,
    DecodeError,
    DecryptError,
    IllegalParameter,
    LocalError,
    UntrustedCertificate,
)
from aiotls.handshake.effects import Channel, ask
from aiotls.handshake.transcript import Transcript
from aiotls.negotiated import Negotiated
from aiotls.trust.compression import compress, decompress
from aiotls.trust.credentials import Credential
from aiotls.trust.identity import PeerIdentity, identify, identify_raw_public_key
from aiotls.trust.names import ServerName
from aiotls.wire.messages import (
    HEADER_LENGTH,
    Certificate,
    CertificateEntry,
    CertificateVerify,
    CompressedCertificate,
    Finished,
)
from aiotls.wire.registries import CertificateType, HandshakeType, SignatureScheme, name_of

__all__ = [
    "SIGNED_BY_CLIENT",
    "SIGNED_BY_SERVER",
    "PeerAccepts",
    "Proof",
    "certificate_message",
    "check_authorisation",
    "check_finished",
    "check_signature",
    "prove",
    "read_certificate",
    "verify_peer",
]

SIGNED_BY_SERVER: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
"""What precedes the transcript hash in the server's signature (RFC 8446 §4.4.3)."""
SIGNED_BY_CLIENT: Final = b" " * 64 + b"TLS 1.3, client CertificateVerify\0"
"""What precedes the transcript hash in the client's signature (RFC 8446 §4.4.3)."""

_MOST_ENCODINGS: Final = 8  # of one credential's Certificate message: by algorithm, and by staple


# --- Ours ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proof:
    """What we prove our name with where there is no pre-shared key."""

    credential: Credential
    scheme: int
    """The signature scheme."""


@dataclass(frozen=True, slots=True)
class PeerAccepts:
    """What the peer's hello or request lets us do with our Certificate message."""

    staple: bool = False
    """Whether it wants an OCSP response with it (RFC 6066 §8)."""
    algorithms: Sequence[int] = ()
    """How it may be compressed (RFC 8879 §3)."""


async def certificate_message(
    credential: Credential, accepts: PeerAccepts, config: ServerConfig | ClientConfig
) -> bytes:
    """Our Certificate, with the OCSP response and in the compressed form that the peer accepts (RFC 8446 §4.4.2)."""
    staple = None
    if accepts.staple and credential.staple is not None:
        now = datetime.fromtimestamp(config.clock(), UTC)
        leaf, issuer = credential.chain[0], credential.staple_issuer
        staple = await ask("the OCSP staple", credential.staple.current, now, leaf, issuer)
    algorithm = next((code for code in config.compression_algorithms if code in accepts.algorithms), None)
    if staple is None and algorithm is None:
        return credential.certificate_message
    encodings = credential.encodings
    encoded = encodings.get((algorithm, staple))
    if encoded is None:
        if len(encodings) >= _MOST_ENCODINGS:  # staples change, and the old ones are of no use any more
            encodings.clear()
        encoded = encodings[algorithm, staple] = _encode(credential, staple, algorithm)
    return encoded


def _encode(credential: Credential, staple: bytes | None, algorithm: int | None) -> bytes:
    message = credential.certificate_message
    if staple is not None:
        leaf, *issuers = credential.chain
        entries = (CertificateEntry(leaf, staple), *map(CertificateEntry, issuers))
        message = Certificate(certificate_list=entries).encode()
    if algorithm is None:
        return message
    body = message[HEADER_LENGTH:]
    compressed = CompressedCertificate(algorithm, len(body), compress(algorithm, body)).encode()
    return min(compressed, message, key=len)


async def prove(proof: Proof, context: bytes, transcript: Transcript, channel: Channel) -> None:
    """The CertificateVerify: a signature over all that was said (RFC 8446 §4.4.3)."""
    content = context + transcript.digest()
    signature = await ask("the signing key", proof.credential.signing_key.sign, proof.scheme, content)
    if not isinstance(signature, bytes):
        msg = f"the signing key returned a {type(signature).__name__}, and no bytes"
        raise CallbackError(msg)
    certificate_verify = CertificateVerify(proof.scheme, signature).encode()
    transcript.add(certificate_verify)
    channel.send(certificate_verify)


# --- The peer's ----------------------------------------------------------------------------------------------------


def read_certificate(
    message: Certificate | CompressedCertificate, offered: Container[int], config: ServerConfig | ClientConfig
) -> Certificate:
    """The peer's Certificate, out of its compressed form if it came in one (RFC 8446 §4.4.2, RFC 8879 §4)."""
    certificate = message if isinstance(message, Certificate) else _decompressed(message, offered, config)
    if certificate.certificate_request_context:
        msg = "a Certificate within the handshake bears a request context (RFC 8446 §4.4.2)"
        raise IllegalParameter(msg)
    return certificate


def _decompressed(
    message: CompressedCertificate, offered: Container[int], config: ServerConfig | ClientConfig
) -> Certificate:
    if message.algorithm not in config.compression_algorithms:
        msg = f"the certificate is compressed by algorithm {message.algorithm}, which we did not offer (RFC 8879 §4)"
        raise IllegalParameter(msg)
    if message.uncompressed_length > config.max_handshake_message_size - HEADER_LENGTH:
        size = config.max_handshake_message_size
        msg = f"a compressed certificate of {message.uncompressed_length} bytes, where {size} are allowed"
        raise CertificateError(msg)
    body = decompress(message.algorithm, message.compressed_certificate_message, message.uncompressed_length)
    header = (HandshakeType.certificate << 24 | len(body)).to_bytes(HEADER_LENGTH, "big")
    return Certificate.parse(header + body, offered)


async def verify_peer(
    certificate: Certificate,
    certificate_type: int | None,
    server_name: ServerName | None,
    config: ServerConfig | ClientConfig,
) -> PeerIdentity:
    """Who the peer says it is, found trustworthy; *server_name* is what a server's certificate must be for.

    *certificate_type* is what was agreed on (RFC 7250); None is a certificate.  Raises a CertificateError that says why
    the peer is not trusted.
    """
    chain = tuple(entry.cert_data for entry in certificate.certificate_list)
    staple = certificate.certificate_list[0].status_request
    if certificate_type == CertificateType.raw_public_key:
        return await _verify_raw_public_key(chain, server_name, config)
    if config.verifier is not None:
        return await _ask_verifier(identify(chain), server_name, config)
    verification = config.verification
    if verification is None:
        msg = "the peer shows a certificate, and only raw public keys are trusted here"
        raise UntrustedCertificate(msg)

    def judge() -> PeerIdentity:
        if server_name is None:
            return verification.verify_client(chain, staple)
        return verification.verify_server(chain, server_name, staple)

    if config.verify_in_thread:
        return await ask("the verification", lambda: Blocking(judge))
    return judge()


async def _verify_raw_public_key(
    chain: Sequence[bytes], server_name: ServerName | None, config: ServerConfig | ClientConfig
) -> PeerIdentity:
    if len(chain) != 1:  # RFC 7250 §3
        msg = f"a raw public key comes alone, and not as one of {len(chain)} entries (RFC 7250 §3)"
        raise DecodeError(msg)
    peer = identify_raw_public_key(chain[0])
    if hashlib.sha256(chain[0]).digest() in config.public_keys:
        return peer
    if config.verifier is not None:
        return await _ask_verifier(peer, server_name, config)
    msg = "the peer's raw public key is none of the trusted ones (RFC 7250 §6)"
    raise UntrustedCertificate(msg)


async def _ask_verifier(
    peer: PeerIdentity, server_name: ServerName | None, config: ServerConfig | ClientConfig
) -> PeerIdentity:
    if config.verifier is None:
        msg = "there is no verifier"
        raise LocalError(msg)
    name = None if server_name is None else server_name.text
    if await ask("the verifier", config.verifier, peer, name) is not True:
        msg = f"the verifier refuses the certificate of {peer.subject or 'the peer'}"
        raise CertificateError(msg, subject=peer.subject, not_before=peer.not_before, not_after=peer.not_after)
    return peer


def check_signature(
    message: CertificateVerify, peer: PeerIdentity, context: bytes, transcript: Transcript, offered: Collection[int]
) -> None:
    """The peer holds the key of its certificate, and saw the handshake as we did (RFC 8446 §4.4.3)."""
    scheme = message.algorithm
    if scheme not in offered or not SCHEMES[scheme].handshake13:
        msg = f"the peer signs with {name_of(SignatureScheme, scheme)}, which was not offered (RFC 8446 §4.4.3)"
        raise IllegalParameter(msg)
    if scheme not in schemes_for(peer.public_key, rsa_pss=peer.rsa_pss):
        msg = f"the peer signs with {name_of(SignatureScheme, scheme)}, which is not for its key (RFC 8446 §4.4.3)"
        raise IllegalParameter(msg)
    verify(peer.public_key, scheme, message.signature, context + transcript.digest())


def check_finished(finished: Finished, traffic: TrafficSecret, transcript: Transcript) -> None:
    """The peer saw the same handshake as we did (RFC 8446 §4.4.4)."""
    expected = traffic.finished(transcript.digest())
    if len(finished.verify_data) != len(expected):
        msg = f"a Finished of {len(finished.verify_data)} bytes, where the hash has {len(expected)}"
        raise DecodeError(msg)
    if not hmac.compare_digest(finished.verify_data, expected):
        msg = "the Finished does not verify: the peer saw another handshake (RFC 8446 §4.4.4)"
        raise DecryptError(msg)


async def check_authorisation(negotiated: Negotiated, config: ServerConfig | ClientConfig) -> None:
    """Ask the program, if it wants to be asked, whether this peer may go on; it is proved who the peer is."""
    if config.authorise is not None and await ask("authorise", config.authorise, negotiated) is not True:
        peer = negotiated.peer
        whom = "a peer without a certificate" if peer is None else peer.subject or "the peer"
        msg = f"authorise refuses {whom}"
        raise AccessDenied(msg)
