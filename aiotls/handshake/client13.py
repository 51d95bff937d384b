"""A client's TLS 1.3 handshake (RFC 8446 §2).

    Client                                                       Server

    ClientHello
      + key_share              -------->
                               <--------              HelloRetryRequest
                                                            + key_share
    ClientHello
      + key_share              -------->
                                                            ServerHello
                                                            + key_share
                                                  {EncryptedExtensions}
                                                  {CertificateRequest*}
                                                          {Certificate}
                                                    {CertificateVerify}
                               <--------                     {Finished}
    {Certificate*}
    {CertificateVerify*}
    {Finished}                 -------->
    [Application Data]         <------->             [Application Data]

`client13` is this diagram from the server's first answer on; each of its steps is a function below it.  A server may
answer only what was offered, and each of its answers is checked against the `Offer`.
"""

from typing import Final

from aiotls.config import ClientConfig
from aiotls.crypto.groups import KeyShare
from aiotls.crypto.schedule13 import EarlySecret
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import Suite
from aiotls.errors import CallbackError, DecodeError, IllegalParameter, MissingExtension, UnexpectedMessage
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
from aiotls.handshake.offer import Offer
from aiotls.handshake.outcome import Outcome, Secrets
from aiotls.handshake.transcript import Transcript
from aiotls.negotiated import Negotiated
from aiotls.trust.credentials import CertificateRequestInfo, Credential, select_for_request
from aiotls.trust.names import ServerName
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    CompressedCertificate,
    EncryptedExtensions,
    Finished,
    ServerHello,
)
from aiotls.wire.registries import CertificateType, CipherSuite, NamedGroup, ProtocolVersion, name_of

__all__ = ["client13"]

_NO_CERTIFICATE: Final = Certificate().encode()  # RFC 8446 §4.4.2: where we have none to show


async def client13(
    offer: Offer, answer: ServerHello, config: ClientConfig, server_name: ServerName | None, channel: Channel
) -> Outcome:
    """A TLS 1.3 handshake from the server's first answer on; raises TLSError, from which the alert follows."""
    suite = check_server_hello(answer, offer, config)
    transcript = Transcript(suite.hash)
    transcript.add(offer.raw)
    retried = answer.is_hello_retry_request
    if retried:
        offer, answer = await retry(answer, offer, config, transcript, channel)
    transcript.add(answer.raw)
    group, shared_secret = key_exchange(answer, offer)
    if not retried:
        channel.send_change_cipher_spec()

    secrets = Secrets(offer.hello.random, config.key_log)
    handshake_secret = EarlySecret.handshake_secret_without_psk(suite.hash, shared_secret)
    client_traffic, server_traffic = secrets.handshake(handshake_secret, transcript)
    channel.install_read_key(suite, server_traffic)
    channel.install_write_key(suite, client_traffic)

    extensions = await expect(EncryptedExtensions, offered=offer.answerable)
    check_encrypted_extensions(extensions, config)
    transcript.add(extensions.raw)
    if extensions.record_size_limit is not None:
        channel.limit_records(ours=config.record_size_limit, theirs=extensions.record_size_limit)

    message: CertificateRequest | Certificate | CompressedCertificate
    message = await expect(CertificateRequest, Certificate, CompressedCertificate, offered=offer.answerable)
    request = None
    if isinstance(message, CertificateRequest):
        request = check_certificate_request(message)
        transcript.add(request.raw)
        message = await expect_certificate(offer)
    transcript.add(message.raw)
    certificate = check_certificate(read_certificate(message, offer.answerable, config))
    peer = await verify_peer(certificate, extensions.server_certificate_type, server_name, config)

    proof = await expect(CertificateVerify)
    check_signature(proof, peer, SIGNED_BY_SERVER, transcript, config.schemes)
    transcript.add(proof.raw)
    finished = await expect(Finished)
    check_finished(finished, server_traffic, transcript)
    transcript.add(finished.raw)
    master_secret = handshake_secret.master_secret()
    client_application, server_application, exporter_secret = secrets.application(master_secret, transcript)
    channel.install_read_key(suite, server_application)

    ours = None
    if request is not None:
        ours = await choose_proof(request, extensions.client_certificate_type, server_name, config)
        await show_certificate(ours, request, config, transcript, channel)
    negotiated = Negotiated(
        version=ProtocolVersion.TLSv1_3,
        cipher_suite=suite.code,
        group=group,
        signature_scheme=SCHEMES[proof.algorithm].code,
        alpn=selected_protocol(extensions, config),
        server_name=None if server_name is None else server_name.text,
        resumed=False,
        retried=retried,
        credential=None if ours is None else ours.credential,
        peer=peer,
        offered_alpn=tuple(config.protocols),
    )
    await check_authorisation(negotiated, config)
    channel.send(Finished(client_traffic.finished(transcript.digest())).encode())
    channel.install_write_key(suite, client_application)
    return Outcome(negotiated, suite, config, exporter_secret)


# --- ServerHello and HelloRetryRequest -------------------------------------------------------------------------------


def check_server_hello(answer: ServerHello, offer: Offer, config: ClientConfig) -> Suite:
    """What holds for a ServerHello and a HelloRetryRequest alike; the cipher suite (RFC 8446 §4.1.3)."""
    if answer.legacy_version != ProtocolVersion.TLSv1_2:
        msg = f"ServerHello.legacy_version is {name_of(ProtocolVersion, answer.legacy_version)} (RFC 8446 §4.1.3)"
        raise IllegalParameter(msg)
    if answer.legacy_session_id_echo != offer.hello.legacy_session_id:
        msg = "the ServerHello does not echo our session id (RFC 8446 §4.1.3)"
        raise IllegalParameter(msg)
    if answer.legacy_compression_method:
        msg = "the ServerHello chooses compression (RFC 8446 §4.1.3)"
        raise IllegalParameter(msg)
    suite = config.suites.get(answer.cipher_suite)
    if suite is None:
        chosen = name_of(CipherSuite, answer.cipher_suite)
        msg = f"the server chooses {chosen}, which was not offered (RFC 8446 §4.1.3)"
        raise IllegalParameter(msg)
    return suite


async def retry(
    request: ServerHello, first: Offer, config: ClientConfig, transcript: Transcript, channel: Channel
) -> tuple[Offer, ServerHello]:
    """Offer again as the HelloRetryRequest wants it; our second offer, and the ServerHello (RFC 8446 §4.1.4)."""
    group = None if isinstance(request.key_share, KeyShareEntry) else request.key_share
    if group is None and request.cookie is None:
        msg = "the HelloRetryRequest would change nothing (RFC 8446 §4.1.4)"
        raise IllegalParameter(msg)
    if group is not None and (group not in config.group_rows or group in first.shares):
        why = "has a share of already" if group in first.shares else "was never offered"
        msg = f"the HelloRetryRequest asks for {name_of(NamedGroup, group)}, which it {why} (RFC 8446 §4.2.8)"
        raise IllegalParameter(msg)
    transcript.rewrite_for_retry()
    transcript.add(request.raw)
    second = first.again(config, group, request.cookie)
    transcript.add(second.raw)
    channel.send_change_cipher_spec()
    channel.send(second.raw)

    answer = await expect(ServerHello, offered=second.answerable)
    if answer.is_hello_retry_request:
        msg = "the server asks for a third ClientHello (RFC 8446 §4.1.4)"
        raise UnexpectedMessage(msg)
    check_server_hello(answer, second, config)
    if (answer.supported_versions, answer.cipher_suite) != (request.supported_versions, request.cipher_suite):
        msg = "the ServerHello contradicts the HelloRetryRequest before it (RFC 8446 §4.1.4)"
        raise IllegalParameter(msg)
    return second, answer


def key_exchange(answer: ServerHello, offer: Offer) -> tuple[NamedGroup, bytes]:
    """The group, and the shared secret (RFC 8446 §4.2.8); after a retry there is one share, of the group asked for."""
    entry = answer.key_share
    if not isinstance(entry, KeyShareEntry):
        msg = "the ServerHello holds no key_share (RFC 8446 §4.2.8)"
        raise MissingExtension(msg)
    share: KeyShare | None = offer.shares.get(entry.group)
    if share is None:
        group = name_of(NamedGroup, entry.group)
        msg = f"the server's share is of {group}, for which we sent none (RFC 8446 §4.2.8)"
        raise IllegalParameter(msg)
    return NamedGroup(entry.group), share.finish(entry.key_exchange)


# --- The server's parameters and certificate -------------------------------------------------------------------------


def check_encrypted_extensions(extensions: EncryptedExtensions, config: ClientConfig) -> None:
    """Each answer is one of what we offered."""
    protocol = extensions.application_layer_protocol_negotiation
    if protocol is not None and protocol not in config.protocols:
        msg = f"the server chooses the protocol {protocol!r}, which was not offered (RFC 7301 §3.1)"
        raise IllegalParameter(msg)
    for what, chosen, offered in (
        ("server", extensions.server_certificate_type, config.server_certificate_types),
        ("client", extensions.client_certificate_type, config.client_certificate_types),
    ):
        if chosen is not None and chosen not in offered:
            kind = name_of(CertificateType, chosen)
            msg = f"the server chooses {kind} as the {what}'s certificate type, which was not offered (RFC 7250 §4.2)"
            raise IllegalParameter(msg)


def selected_protocol(extensions: EncryptedExtensions, config: ClientConfig) -> str | None:
    """The application protocol, as the config names it."""
    protocol = extensions.application_layer_protocol_negotiation
    return None if protocol is None else config.protocols[protocol]


async def expect_certificate(offer: Offer) -> Certificate | CompressedCertificate:
    """The server's Certificate, after its CertificateRequest."""
    return await expect(Certificate, CompressedCertificate, offered=offer.answerable)


def check_certificate(certificate: Certificate) -> Certificate:
    """A server shows one always (RFC 8446 §4.4.2.4)."""
    if not certificate.certificate_list:
        msg = "the server's Certificate is empty (RFC 8446 §4.4.2.4)"
        raise DecodeError(msg)
    return certificate


# --- Our own certificate ---------------------------------------------------------------------------------------------


def check_certificate_request(request: CertificateRequest) -> CertificateRequest:
    """What a CertificateRequest must hold (RFC 8446 §4.3.2)."""
    if request.certificate_request_context:
        msg = "a CertificateRequest within the handshake bears a context (RFC 8446 §4.3.2)"
        raise IllegalParameter(msg)
    if request.signature_algorithms is None:
        msg = "the CertificateRequest lacks signature_algorithms (RFC 8446 §4.3.2)"
        raise MissingExtension(msg)
    return request


async def choose_proof(
    request: CertificateRequest, certificate_type: int | None, server_name: ServerName | None, config: ClientConfig
) -> Proof | None:
    """What we show the server of ourselves, if anything (RFC 8446 §4.4.2.3)."""
    accepted = request.signature_algorithms or ()
    info = CertificateRequestInfo(
        server_name=None if server_name is None else server_name.text,
        signature_schemes=tuple(scheme for scheme in accepted if scheme in config.schemes),
        signature_schemes_cert=request.signature_algorithms_cert or accepted,
        authorities=request.certificate_authorities or (),
        oid_filters=request.oid_filters or (),
    )
    wanted = CertificateType.x509 if certificate_type is None else certificate_type
    if config.resolve is None:
        usable = [credential for credential in config.credential_list if credential.certificate_type == wanted]
        credential = select_for_request(usable, info)
    else:
        credential = await ask("the credential resolver", config.resolve, info)
        if credential is not None and not isinstance(credential, Credential):
            msg = f"the credential resolver returned a {type(credential).__name__}, and no Credential"
            raise CallbackError(msg)
        if credential is not None and credential.certificate_type != wanted:
            kind = name_of(CertificateType, wanted)
            msg = (
                f"the credential resolver returned one of another type than {kind}, which was agreed on (RFC 7250 §4.2)"
            )
            raise CallbackError(msg)
    if credential is None:
        return None
    scheme = next((scheme for scheme in credential.schemes if scheme in info.signature_schemes), None)
    return None if scheme is None else Proof(credential, scheme)


async def show_certificate(
    proof: Proof | None, request: CertificateRequest, config: ClientConfig, transcript: Transcript, channel: Channel
) -> None:
    """Our Certificate and CertificateVerify; without a certificate, an empty one alone (RFC 8446 §4.4.2)."""
    message = _NO_CERTIFICATE
    if proof is not None:
        accepts = PeerAccepts(bool(request.status_request), request.compress_certificate or ())
        message = await certificate_message(proof.credential, accepts, config)
    transcript.add(message)
    channel.send(message)
    if proof is not None:
        await prove(proof, SIGNED_BY_CLIENT, transcript, channel)
