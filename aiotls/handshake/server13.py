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

`server13` is this diagram, from top to bottom; each of its steps is a function below it.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

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
from aiotls.handshake.transcript import Transcript
from aiotls.trust.credentials import ClientHelloInfo, Credential, select
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
    suite = negotiate.cipher_suite(hello, config)
    transcript = Transcript(suite.hash)
    transcript.add(hello.raw)
    if hello.early_data:
        channel.skip_early_data()  # RFC 8446 §4.2.10: we accept none

    group, share = negotiate.key_exchange(hello, config)
    retried = share is None
    if share is None:
        hello, share = await retry(hello, group, suite, transcript, channel)

    protocol = negotiate.application_protocol(hello, config)
    credential = await select_credential(hello, config)
    scheme = negotiate.signature_scheme(hello, credential, config)

    server_share, shared_secret = group.respond(share)
    server_hello = config.server_hellos[suite.code, group.code].fill(
        config.random(_RANDOM_LENGTH), hello.legacy_session_id, server_share
    )
    transcript.add(server_hello)
    channel.send(server_hello)
    if not retried:
        send_change_cipher_spec(hello, channel)

    secrets = Secrets(hello, config)
    handshake_secret = EarlySecret.handshake_secret_without_psk(suite.hash, shared_secret)
    client_traffic, server_traffic = secrets.handshake(handshake_secret, transcript)
    channel.install_write_key(suite, server_traffic)
    channel.install_read_key(suite, client_traffic)

    answers = config.encrypted_extensions[hello.server_name is not None, protocol]
    flight = answers + credential.certificate_message
    transcript.add(flight)
    channel.send(flight)

    certificate_verify = await prove(credential, scheme, transcript)
    transcript.add(certificate_verify)
    channel.send(certificate_verify)

    server_finished = Finished(server_traffic.finished(transcript.digest())).encode()
    transcript.add(server_finished)
    channel.send(server_finished)

    master_secret = handshake_secret.master_secret()
    client_application, server_application, exporter_secret = secrets.application(master_secret, transcript)
    channel.install_write_key(suite, server_application)

    client_finished = await expect(Finished)
    check_finished(client_finished, client_traffic, transcript)
    channel.install_read_key(suite, client_application)

    return Outcome(
        Negotiated(
            version=ProtocolVersion.TLSv1_3,
            cipher_suite=suite.code,
            group=group.code,
            signature_scheme=SCHEMES[scheme].code,
            alpn=None if protocol is None else config.protocols[protocol],
            server_name=hello.server_name,
            resumed=False,
            retried=retried,
            credential=credential,
        ),
        suite,
        exporter_secret,
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
    transcript.rewrite_for_retry()
    transcript.add(request)
    channel.send(request)
    send_change_cipher_spec(first, channel)

    second = await expect(ClientHello)
    negotiate.check_mandatory_extensions(second)
    share = negotiate.check_second_hello(first, second, group)
    transcript.add(second.raw)
    return second, share


def send_change_cipher_spec(hello: ClientHello, channel: Channel) -> None:
    """Once, after our first message, to a client in compatibility mode (RFC 8446 §D.4)."""
    if hello.legacy_session_id:
        channel.send_change_cipher_spec()


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
        credential = select(config.credential_list, info)
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


async def prove(credential: Credential, scheme: int, transcript: Transcript) -> bytes:
    """The CertificateVerify: a signature over all that was said (RFC 8446 §4.4.3)."""
    content = _SIGNED_BY_SERVER + transcript.digest()
    signature = await ask("the signing key", credential.signing_key.sign, scheme, content)
    if not isinstance(signature, bytes):
        msg = f"the signing key returned a {type(signature).__name__}, and no bytes"
        raise CallbackError(msg)
    return CertificateVerify(scheme, signature).encode()


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
