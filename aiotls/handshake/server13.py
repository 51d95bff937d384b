"""The server's side of a TLS 1.3 handshake (RFC 8446 §2, Figure 1).

       Client                                               Server

       ClientHello
       + key_share                 -------->
                                                       ServerHello
                                                       + key_share
                                             {EncryptedExtensions}
                                             {CertificateRequest*}
                                                     {Certificate}
                                               {CertificateVerify}
                                   <--------            {Finished}
       {Certificate*}
       {CertificateVerify*}
       {Finished}                  -------->
       [Application Data]          <------->    [Application Data]

When the client resumes a session (§2.2, Figure 3), its ClientHello also holds pre_shared_key, and the ServerHello
answers it; Certificate and CertificateVerify are then left out.  Nothing else changes: there is always a key exchange.

`server13` is this diagram, from top to bottom; each of its steps is a function below it.
"""

from dataclasses import replace
from typing import Final

from aiotls.config import ClientAuth, ServerConfig
from aiotls.crypto.groups import Group
from aiotls.crypto.schedule13 import EarlySecret, HandshakeSecret
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import Suite
from aiotls.errors import (
    CallbackError,
    CertificateRequired,
    MissingExtension,
    NoCommonSignatureScheme,
    UnrecognizedName,
    UnsupportedCertificate,
)
from aiotls.handshake import negotiate
from aiotls.handshake.authentication import (
    SIGNED_BY_CLIENT,
    SIGNED_BY_SERVER,
    PeerAccepts,
    Proof,
    certificate_message,
    check_authorisation,
    check_finished,
    check_signature,
    prove,
    read_certificate,
    verify_peer,
)
from aiotls.handshake.effects import Channel, ask, expect
from aiotls.handshake.outcome import Outcome, Secrets
from aiotls.handshake.resumption import Resumption, accept_session, accepts_tickets, offered_sessions
from aiotls.handshake.transcript import Transcript
from aiotls.negotiated import Negotiated
from aiotls.trust.credentials import Credential, select
from aiotls.trust.identity import PeerIdentity
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.ja4 import ja4
from aiotls.wire.messages import (
    Certificate,
    CertificateVerify,
    ClientHello,
    CompressedCertificate,
    EncryptedExtensions,
    Finished,
    ServerHello,
)
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    CertificateType,
    ProtocolVersion,
    name_of,
)

__all__ = ["server13"]

_RANDOM_LENGTH: Final = 32
_LARGEST_RECORD: Final = (1 << 14) + 1  # bytes of plaintext and its type (RFC 8449 §4)
_CERTIFICATES_ALONE: Final = (CertificateType.x509,)


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

    secrets = Secrets(hello.random, config.key_log)
    handshake_secret = mix_in(shared_secret, resumption, suite)
    client_traffic, server_traffic = secrets.handshake(handshake_secret, transcript)
    channel.install_write_key(suite, server_traffic)
    channel.install_read_key(suite, client_traffic)

    if hello.record_size_limit is not None:
        channel.limit_records(ours=config.record_size_limit or _LARGEST_RECORD, theirs=hello.record_size_limit)
    extensions = encrypted_extensions(hello, protocol, proof, config)
    transcript.add(extensions)
    channel.send(extensions)
    if proof is not None:
        await show_certificate(proof, hello, config, transcript, channel)
    server_finished = Finished(server_traffic.finished(transcript.digest())).encode()
    transcript.add(server_finished)
    channel.send(server_finished)

    master_secret = handshake_secret.master_secret()
    client_application, server_application, exporter_secret = secrets.application(master_secret, transcript)
    channel.install_write_key(suite, server_application)

    peer = None
    if proof is not None and config.certificate_request is not None:
        peer = await authenticate_client(hello, config, transcript)
    client_finished = await expect(Finished)
    check_finished(client_finished, client_traffic, transcript)
    channel.install_read_key(suite, client_application)

    transcript.add(client_finished.raw)
    negotiated = Negotiated(
        version=ProtocolVersion.TLSv1_3,
        cipher_suite=suite.code,
        group=group.code,
        signature_scheme=None if proof is None else SCHEMES[proof.scheme].code,
        alpn=None if protocol is None else config.protocols[protocol],
        server_name=hello.server_name,
        resumed=resumption is not None,
        retried=retried,
        credential=None if proof is None else proof.credential,
        peer=peer,
        offered_alpn=hello.application_layer_protocol_negotiation or (),
        ja4=ja4(hello) if config.fingerprint else None,
    )
    await check_authorisation(negotiated, config)
    secret = master_secret.resumption(transcript.digest()) if gives_tickets(hello, config) else b""
    return Outcome(
        negotiated, suite, config, exporter_secret, secret, None if resumption is None else resumption.session.created
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


def mix_in(shared_secret: bytes, resumption: Resumption | None, suite: Suite) -> HandshakeSecret:
    """The (EC)DHE secret joins that of the resumed session, if there is one (RFC 8446 §7.1)."""
    if resumption is None:
        return EarlySecret.handshake_secret_without_psk(suite.hash, shared_secret)
    return resumption.early_secret.handshake_secret(shared_secret)


def encrypted_extensions(
    hello: ClientHello, protocol: bytes | None, proof: Proof | None, config: ServerConfig
) -> bytes:
    """The EncryptedExtensions (RFC 8446 §4.3.1)."""
    named = hello.server_name is not None
    client_type = negotiate.client_certificate_type(hello, config)
    server_type = None
    if hello.server_certificate_type is not None and proof is not None:
        server_type = proof.credential.certificate_type
    if hello.record_size_limit is None and client_type is None and server_type is None:
        return config.encrypted_extensions[named, protocol]
    return EncryptedExtensions(
        server_name=named or None,
        application_layer_protocol_negotiation=protocol,
        record_size_limit=hello.record_size_limit and (config.record_size_limit or _LARGEST_RECORD),
        client_certificate_type=client_type,
        server_certificate_type=server_type,
    ).encode()


async def show_certificate(
    proof: Proof, hello: ClientHello, config: ServerConfig, transcript: Transcript, channel: Channel
) -> None:
    """Our Certificate and CertificateVerify, and before them the wish to see the client's (RFC 8446 §4.3.2-4.4.3)."""
    accepts = PeerAccepts(bool(hello.status_request), hello.compress_certificate or ())
    flight = (config.certificate_request or b"") + await certificate_message(proof.credential, accepts, config)
    transcript.add(flight)
    channel.send(flight)
    await prove(proof, SIGNED_BY_SERVER, transcript, channel)


async def choose_proof(hello: ClientHello, config: ServerConfig) -> Proof:
    """The credential, and what it signs with (RFC 8446 §4.4.2.2)."""
    negotiate.check_certificate_extensions(hello)
    credential = await select_credential(hello, config)
    if credential.certificate_type not in (hello.server_certificate_type or _CERTIFICATES_ALONE):
        kind = name_of(CertificateType, credential.certificate_type)
        msg = f"the client does not take a {kind}, which is all that we have for it (RFC 7250 §4.2)"
        raise UnsupportedCertificate(msg)
    return Proof(credential, negotiate.signature_scheme(hello, credential, config))


async def select_credential(hello: ClientHello, config: ServerConfig) -> Credential:
    """The credential to prove our name with (RFC 8446 §4.4.2.2), by the config's list or its resolver."""
    if hello.server_name is None and config.require_server_name:
        msg = "the client names no server (RFC 6066 §3), and ServerConfig.require_server_name is set"
        raise MissingExtension(msg)
    if len(config.credential_list) == 1:
        return config.credential_list[0]
    info = negotiate.client_hello_info(hello)
    acceptable = tuple(scheme for scheme in info.signature_schemes if scheme in config.schemes)
    info = replace(info, signature_schemes=acceptable)
    if config.resolve is None:
        types = hello.server_certificate_type or _CERTIFICATES_ALONE
        usable = [credential for credential in config.credential_list if credential.certificate_type in types]
        credential = select(usable or config.credential_list, info)
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


async def authenticate_client(hello: ClientHello, config: ServerConfig, transcript: Transcript) -> PeerIdentity | None:
    """Who the client proves to be; None for one without a certificate, where that is allowed (RFC 8446 §4.4.2.4)."""
    message: Certificate | CompressedCertificate = await expect(Certificate, CompressedCertificate)
    transcript.add(message.raw)
    certificate = read_certificate(message, (), config)
    if not certificate.certificate_list:
        if config.client_auth is ClientAuth.REQUIRED:
            msg = "the client shows no certificate, and ServerConfig.client_auth is REQUIRED (RFC 8446 §4.4.2.4)"
            raise CertificateRequired(msg)
        return None
    peer = await verify_peer(certificate, negotiate.client_certificate_type(hello, config), None, config)
    proof = await expect(CertificateVerify)
    check_signature(proof, peer, SIGNED_BY_CLIENT, transcript, config.schemes)
    transcript.add(proof.raw)
    return peer


def gives_tickets(hello: ClientHello, config: ServerConfig) -> bool:
    """Whether the client is to get tickets (RFC 8446 §4.6.1)."""
    return config.sealing_keys is not None and accepts_tickets(hello)
