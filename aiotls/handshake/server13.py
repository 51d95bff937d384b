"""The server's side of a TLS 1.3 handshake (RFC 8446 §2, Figure 1).

       Client                                               Server

       ClientHello
       + key_share                 -------->
                                                       ServerHello
                                                       + key_share
                                             {EncryptedExtensions}
                                                     {Certificate}
                                               {CertificateVerify}
                                   <--------            {Finished}
       {Finished}                  -------->
       [Application Data]          <------->    [Application Data]

When the client resumes a session (§2.2, Figure 3), its ClientHello also holds pre_shared_key, and the ServerHello
answers it; Certificate and CertificateVerify are then left out.  Nothing else changes: there is always a key exchange.

`server13` is this diagram, from top to bottom; each of its steps is a function below it.
"""

import hmac
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from aiotls.config import ServerConfig
from aiotls.crypto.groups import Group
from aiotls.crypto.schedule13 import EarlySecret, HandshakeSecret, MasterSecret, TrafficSecret, export
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import Suite
from aiotls.errors import (
    CallbackError,
    DecodeError,
    DecryptError,
    LocalError,
    MissingExtension,
    NoCommonSignatureScheme,
    UnrecognizedName,
)
from aiotls.handshake import negotiate
from aiotls.handshake.effects import Channel, ask, expect
from aiotls.handshake.negotiate import Negotiated
from aiotls.handshake.resumption import Resumption, accept_session, accepts_tickets, offered_sessions
from aiotls.handshake.transcript import Transcript
from aiotls.trust.credentials import ClientHelloInfo, Credential, select
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.messages import CertificateVerify, ClientHello, Finished, ServerHello
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    ProtocolVersion,
)

__all__ = ["Outcome", "server13"]

_RANDOM_LENGTH: Final = 32
_LONGEST_LABEL: Final = 255 - len("tls13 ")  # RFC 8446 §7.1
_SIGNED_BY_SERVER: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"  # RFC 8446 §4.4.3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What remains of a handshake when its coroutine, and the secrets in its frame, are gone."""

    negotiated: Negotiated
    suite: Suite
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


async def server13(hello: ClientHello, config: ServerConfig, channel: Channel) -> Outcome:
    """A TLS 1.3 handshake from the ClientHello on; raises TLSError, from which the alert follows."""
    negotiate.check_mandatory_extensions(hello)
    protocol = negotiate.application_protocol(hello, config)
    offers = offered_sessions(hello, protocol, config)
    suite = negotiate.cipher_suite(hello, config, [offer.session.cipher_suite for offer in offers])
    transcript = Transcript(suite.hash)
    if hello.early_data:
        channel.skip_early_data()  # RFC 8446 §4.2.10: we accept none

    group, share = negotiate.key_exchange(hello, config)
    retried = share is None
    if share is None:
        hello, share = await retry(hello, group, suite, transcript, channel)
        offers = offered_sessions(hello, protocol, config)

    resumption = accept_session(offers, hello, suite, transcript)
    transcript.add(hello.raw)
    proof = await choose_proof(hello, config) if resumption is None else None

    server_share, shared_secret = group.respond(share)
    server_hello = answer(hello, suite, KeyShareEntry(group.code, server_share), resumption, config)
    transcript.add(server_hello)
    channel.send(server_hello)
    if not retried:
        send_change_cipher_spec(hello, channel)

    secrets = Secrets(hello, config)
    if resumption is None:
        handshake_secret = EarlySecret.handshake_secret_without_psk(suite.hash, shared_secret)
    else:
        handshake_secret = resumption.early_secret.handshake_secret(shared_secret)
    client_traffic, server_traffic = secrets.handshake(handshake_secret, transcript)
    channel.install_write_key(suite, server_traffic)
    channel.install_read_key(suite, client_traffic)

    flight = config.encrypted_extensions[hello.server_name is not None, protocol]
    if proof is not None:
        flight += proof.credential.certificate_message
    transcript.add(flight)
    channel.send(flight)
    if proof is not None:
        await prove(proof, transcript, channel)

    server_finished = Finished(server_traffic.finished(transcript.digest())).encode()
    transcript.add(server_finished)
    channel.send(server_finished)

    master_secret = handshake_secret.master_secret()
    client_application, server_application, exporter_secret = secrets.application(master_secret, transcript)
    channel.install_write_key(suite, server_application)

    client_finished = await expect(Finished)
    check_finished(client_finished, client_traffic, transcript)
    channel.install_read_key(suite, client_application)

    resumption_secret = b""
    if config.sealing_keys is not None and accepts_tickets(hello):
        transcript.add(client_finished.raw)
        resumption_secret = master_secret.resumption(transcript.digest())
    return Outcome(
        Negotiated(
            version=ProtocolVersion.TLSv1_3,
            cipher_suite=suite.code,
            group=group.code,
            signature_scheme=None if proof is None else SCHEMES[proof.scheme].code,
            alpn=None if protocol is None else config.protocols[protocol],
            server_name=hello.server_name,
            resumed=resumption is not None,
            retried=retried,
            credential=None if proof is None else proof.credential,
        ),
        suite,
        exporter_secret,
        resumption_secret,
        None if resumption is None else resumption.session.created,
    )


async def retry(
    first: ClientHello, group: Group, suite: Suite, transcript: Transcript, channel: Channel
) -> tuple[ClientHello, bytes]:
    """Ask for a share of *group*, and return the second ClientHello and that share (RFC 8446 §4.1.4)."""
    request = ServerHello(
        random=HELLO_RETRY_REQUEST_RANDOM,
        legacy_session_id_echo=first.legacy_session_id,
        cipher_suite=suite.code,
        supported_versions=ProtocolVersion.TLSv1_3,
        key_share=group.code,
    ).encode()
    transcript.add(first.raw)
    transcript.rewrite_for_retry()
    transcript.add(request)
    channel.send(request)
    send_change_cipher_spec(first, channel)

    second = await expect(ClientHello)
    negotiate.check_mandatory_extensions(second)
    share = negotiate.check_second_hello(first, second, group)
    return second, share


def answer(
    hello: ClientHello, suite: Suite, share: KeyShareEntry, resumption: Resumption | None, config: ServerConfig
) -> bytes:
    """The ServerHello (RFC 8446 §4.1.3)."""
    random = config.random(_RANDOM_LENGTH)
    if resumption is None:
        return config.server_hellos[suite.code, share.group].fill(random, hello.legacy_session_id, share.key_exchange)
    return ServerHello(
        random=random,
        legacy_session_id_echo=hello.legacy_session_id,
        cipher_suite=suite.code,
        supported_versions=ProtocolVersion.TLSv1_3,
        key_share=share,
        pre_shared_key=resumption.identity,
    ).encode()


def send_change_cipher_spec(hello: ClientHello, channel: Channel) -> None:
    """Once, after our first message, to a client in compatibility mode (RFC 8446 §D.4)."""
    if hello.legacy_session_id:
        channel.send_change_cipher_spec()


class Proof(NamedTuple):
    """What we prove our name with where there is no pre-shared key."""

    credential: Credential
    scheme: int
    """The signature scheme."""


async def choose_proof(hello: ClientHello, config: ServerConfig) -> Proof:
    """The credential, and what it signs with (RFC 8446 §4.4.2.2)."""
    negotiate.check_certificate_extensions(hello)
    credential = await select_credential(hello, config)
    return Proof(credential, negotiate.signature_scheme(hello, credential, config))


async def select_credential(hello: ClientHello, config: ServerConfig) -> Credential:
    """The credential to prove our name with (RFC 8446 §4.4.2.2), by the config's list or its resolver."""
    if hello.server_name is None and config.require_server_name:
        msg = "the client names no server (RFC 6066 §3), and ServerConfig.require_server_name is set"
        raise MissingExtension(msg)
    if len(config.credential_list) == 1:
        return config.credential_list[0]
    info = ClientHelloInfo(
        server_name=hello.server_name,
        alpn=hello.application_layer_protocol_negotiation or (),
        signature_schemes=hello.signature_algorithms or (),
        cipher_suites=hello.cipher_suites,
        groups=hello.supported_groups or (),
    )
    if config.resolve is None:
        acceptable = tuple(scheme for scheme in info.signature_schemes if scheme in config.schemes)
        credential = select(config.credential_list, replace(info, signature_schemes=acceptable))
        if credential is None:
            msg = "the client accepts no signature scheme of our credentials (RFC 8446 §4.4.2.2)"
            raise NoCommonSignatureScheme(msg)
        return credential
    resolved = await ask("the credential resolver", config.resolve, info)
    if resolved is None:
        msg = f"there is no credential for the server name {hello.server_name!r} (RFC 6066 §3)"
        raise UnrecognizedName(msg)
    if not isinstance(resolved, Credential):
        msg = f"the credential resolver returned a {type(resolved).__name__}, and no Credential"
        raise CallbackError(msg)
    return resolved


async def prove(proof: Proof, transcript: Transcript, channel: Channel) -> None:
    """The CertificateVerify: a signature over all that was said (RFC 8446 §4.4.3)."""
    content = _SIGNED_BY_SERVER + transcript.digest()
    signature = await ask("the signing key", proof.credential.signing_key.sign, proof.scheme, content)
    if not isinstance(signature, bytes):
        msg = f"the signing key returned a {type(signature).__name__}, and no bytes"
        raise CallbackError(msg)
    certificate_verify = CertificateVerify(proof.scheme, signature).encode()
    transcript.add(certificate_verify)
    channel.send(certificate_verify)


def check_finished(finished: Finished, traffic: TrafficSecret, transcript: Transcript) -> None:
    """The peer saw the same handshake as we did (RFC 8446 §4.4.4)."""
    expected = traffic.finished(transcript.digest())
    if len(finished.verify_data) != len(expected):
        msg = f"a Finished of {len(finished.verify_data)} bytes, where the hash has {len(expected)}"
        raise DecodeError(msg)
    if not hmac.compare_digest(finished.verify_data, expected):
        msg = "the Finished does not verify: the peer saw another handshake (RFC 8446 §4.4.4)"
        raise DecryptError(msg)


class Secrets:
    """The traffic secrets of one handshake, each written to the key log, if there is one, as it comes."""

    __slots__ = ("_key_log", "_random")

    def __init__(self, hello: ClientHello, config: ServerConfig) -> None:
        self._random = hello.random
        self._key_log = config.key_log

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
