"""A TLS 1.3 server that says what a test tells it to, right or wrong (RFC 8446).

It holds real keys and a real transcript, so that what it sends out of place is still sealed as a server would seal it:
the client has to refuse it for what it is, and not because it cannot be opened.

    server, client = ScriptedServer(credential), ClientConnection(config, "localhost")
    pipe = Pipe(server, client)
    pipe.pump()                                                 # the ClientHello is here
    server.send_server_hello()
    server.send(server.encrypted_extensions(early_data=True))   # which nobody offered
    pipe.pump()
    assert isinstance(pipe.second.error, UnsupportedExtension)
    assert server.alert == Alert(2, AlertDescription.unsupported_extension, protected=True)

Every method without ``send`` in its name makes the message that an honest server would send now, but for what the
script wants otherwise; nothing is sent until it is told to.  What it receives it takes like an honest server: it
verifies the client's CertificateVerify and Finished, follows its KeyUpdates, and keeps what was said.  A client that is
wrong makes `receive_data` raise.  It does not look into the certificate chain, and it resumes no sessions.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypedDict, Unpack

from aiotls.crypto.groups import GROUPS
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import SUITES
from aiotls.errors import LocalError, UnexpectedMessage
from aiotls.record.protection import SealingKey
from aiotls.testing.scripted import (
    CLIENT_CONTEXT,
    RANDOM_LENGTH,
    SERVER_CONTEXT,
    Alert,
    ScriptedPeer,
    encode_message,
    join_message,
    split_message,
)
from aiotls.trust.credentials import Credential
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.messages import (
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    EncryptedExtensions,
    Finished,
    HandshakeMessage,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    CipherSuite,
    NamedGroup,
    ProtocolVersion,
    name_of,
)

__all__ = [
    "Alert",
    "CertificateRequestFields",
    "EncryptedExtensionsFields",
    "NewSessionTicketFields",
    "ScriptedServer",
    "ServerHelloFields",
    "encode_message",
    "join_message",
    "split_message",
]

_TICKET_LIFETIME: Final = 7200  # seconds


class ServerHelloFields(TypedDict, total=False):
    """The fields of a ServerHello that a script may want otherwise; an extension that is None is left out."""

    random: bytes
    legacy_session_id_echo: bytes
    cipher_suite: int
    legacy_version: int
    legacy_compression_method: int
    supported_versions: int | None
    key_share: KeyShareEntry | None
    pre_shared_key: int | None


class EncryptedExtensionsFields(TypedDict, total=False):
    """The answers in EncryptedExtensions; there are none but those that a script gives."""

    server_name: bool
    supported_groups: tuple[int, ...]
    application_layer_protocol_negotiation: bytes
    early_data: bool
    record_size_limit: int
    client_certificate_type: int
    server_certificate_type: int


class CertificateRequestFields(TypedDict, total=False):
    """The fields of a CertificateRequest that a script may want otherwise; an extension that is None is left out."""

    certificate_request_context: bytes
    signature_algorithms: tuple[int, ...] | None
    signature_algorithms_cert: tuple[int, ...] | None
    certificate_authorities: tuple[bytes, ...] | None
    oid_filters: tuple[tuple[bytes, bytes], ...] | None
    status_request: bool | None
    compress_certificate: tuple[int, ...] | None


class NewSessionTicketFields(TypedDict, total=False):
    """The fields of a NewSessionTicket that a script may want otherwise."""

    ticket_lifetime: int
    ticket_age_add: int
    ticket_nonce: bytes
    ticket: bytes
    early_data: int | None


class ScriptedServer(ScriptedPeer):
    """A server under a script's control; see the top of this module.

    It shows *credential*, whose key must be in this process, and chooses *cipher_suite*, and *group*, of which the
    client has to send a share first or when it is asked to.
    """

    _other = "client"

    def __init__(
        self,
        credential: Credential,
        *,
        cipher_suite: int = CipherSuite.TLS_AES_128_GCM_SHA256,
        group: int = NamedGroup.x25519,
    ) -> None:
        super().__init__()
        self._random = os.urandom(RANDOM_LENGTH)
        self._answers: dict[bytes, tuple[bytes, bytes]] = {}  # by the client's share: ours, and the secret
        self.credential = credential
        """What it proves its name with."""
        self.cipher_suite = cipher_suite
        """The cipher suite that its next hello chooses."""
        self.group = group
        """The group that its ServerHello chooses."""
        self.client_messages: list[HandshakeMessage] = []
        """Every handshake message of the client's, in its order."""
        self.client_finished = False
        """Whether the client's Finished came, and was right."""

    @property
    def client_hello(self) -> ClientHello:
        """The last ClientHello that came."""
        for message in reversed(self.client_messages):
            if isinstance(message, ClientHello):
                return message
        raise LocalError("there is nothing to answer before a ClientHello has come")

    @property
    def client_certificates(self) -> tuple[bytes, ...]:
        """The chain that the client has shown, in DER; empty when it has shown none."""
        chains = [message.certificate_list for message in self.client_messages if isinstance(message, Certificate)]
        return tuple(entry.cert_data for entry in chains[-1]) if chains else ()

    # --- HelloRetryRequest and ServerHello -----------------------------------------------------------------------

    def hello_retry_request(
        self, group: int | None, *, cookie: bytes | None = None, **changes: Unpack[ServerHelloFields]
    ) -> ServerHello:
        """The HelloRetryRequest that asks for a share of *group*, or with None for none (RFC 8446 §4.1.4)."""
        hello = ServerHello(
            random=HELLO_RETRY_REQUEST_RANDOM,
            legacy_session_id_echo=self.client_hello.legacy_session_id,
            cipher_suite=self.cipher_suite,
            supported_versions=ProtocolVersion.TLSv1_3,
            key_share=group,
            cookie=cookie,
        )
        return replace(hello, **changes)

    def send_hello_retry_request(
        self, group: int | None, *, cookie: bytes | None = None, **changes: Unpack[ServerHelloFields]
    ) -> None:
        """Send `hello_retry_request`; *group*, if we know it, is what the ServerHello chooses then."""
        self.begin_retry()
        if group in GROUPS:
            self.group = group
        self.send(self.hello_retry_request(group, cookie=cookie, **changes))

    def begin_retry(self) -> None:
        """Put the hash of the first ClientHello into its place in the transcript (RFC 8446 §4.4.1)."""
        already = self._transcript is not None
        transcript = self._begin_transcript(SUITES[self.cipher_suite])
        if not already:
            transcript.rewrite_for_retry()

    def server_hello(self, **changes: Unpack[ServerHelloFields]) -> ServerHello:
        """The ServerHello of a full handshake (RFC 8446 §4.1.3)."""
        if "key_share" not in changes:
            changes["key_share"] = KeyShareEntry(self.group, self._answer()[0])
        hello = ServerHello(
            random=self._random,
            legacy_session_id_echo=self.client_hello.legacy_session_id,
            cipher_suite=self.cipher_suite,
            supported_versions=ProtocolVersion.TLSv1_3,
        )
        return replace(hello, **changes)

    def send_server_hello(self, **changes: Unpack[ServerHelloFields]) -> None:
        """Send `server_hello`, and go over to the handshake keys."""
        self.send(self.server_hello(**changes))
        self.use_handshake_key()

    def use_handshake_key(self) -> None:
        """Seal and open what follows under the keys of the transcript as it is now (RFC 8446 §7.1).

        The cipher suite and the group are those of this server, whatever its ServerHello said.
        """
        suite = SUITES[self.cipher_suite]
        self._begin_transcript(suite)
        secrets = self._derive_handshake_secrets(suite, self._answer()[1])
        self.write_key = SealingKey(suite, secrets.server)
        self._install_read_key(suite, secrets.client)

    # --- The rest of the flight ----------------------------------------------------------------------------------

    def encrypted_extensions(self, **changes: Unpack[EncryptedExtensionsFields]) -> EncryptedExtensions:
        """EncryptedExtensions with these answers, and no other (RFC 8446 §4.3.1)."""
        return EncryptedExtensions(**changes)

    def certificate_request(self, **changes: Unpack[CertificateRequestFields]) -> CertificateRequest:
        """A CertificateRequest that takes any certificate we can check (RFC 8446 §4.3.2)."""
        schemes = tuple(int(code) for code, scheme in SCHEMES.items() if scheme.handshake13)
        return replace(CertificateRequest(signature_algorithms=schemes), **changes)

    def certificate(
        self, chain: Sequence[bytes | CertificateEntry] | None = None, *, context: bytes = b""
    ) -> Certificate:
        """The credential's Certificate, or one of another *chain* in DER (RFC 8446 §4.4.2)."""
        entries = self.credential.chain if chain is None else chain
        as_entries = (entry if isinstance(entry, CertificateEntry) else CertificateEntry(entry) for entry in entries)
        return Certificate(context, tuple(as_entries))

    def certificate_verify(
        self, *, credential: Credential | None = None, scheme: int | None = None, content: bytes | None = None
    ) -> CertificateVerify:
        """The signature of this point of the transcript, or of *content* instead (RFC 8446 §4.4.3).

        Without a *scheme* it is the first of the credential's that the client takes.  LocalError says that there is
        none, or that the credential's key is not in this process.
        """
        signer = credential or self.credential
        offered = self.client_hello.signature_algorithms or ()
        if scheme is None:
            scheme = next((code for code in signer.schemes if code in offered), None)
        if scheme is None:
            raise LocalError("the client takes no signature scheme of the credential; give certificate_verify(scheme=)")
        signed = self.to_be_signed(SERVER_CONTEXT) if content is None else content
        signature = signer.signing_key.sign(scheme, signed)
        if not isinstance(signature, bytes):
            raise LocalError("the credential's key has to be in this process: a script awaits nothing")
        return CertificateVerify(scheme, signature)

    def finished(self) -> bytes:
        """The Finished message that is right at this point (RFC 8446 §4.4.4)."""
        if self._handshake is None:
            raise LocalError("there is no Finished before the ServerHello")
        return Finished(self._handshake.server.finished(self._running_transcript().digest())).encode()

    def use_application_key(self) -> None:
        """Seal what follows under the application key, whether Finished was sent or not.

        The client's records are opened under its handshake key until its Finished has come.
        """
        if self.suite is None or self._handshake is None:
            raise LocalError("there is no application key before the ServerHello")
        secrets = self._derive_application_secrets(self._handshake.master)
        self.write_key = SealingKey(self.suite, secrets.server)
        self._in_handshake = False

    def send_flight(self, **changes: Unpack[EncryptedExtensionsFields]) -> None:
        """Send all that an honest server has to send to this ClientHello; *changes* are to EncryptedExtensions."""
        self.send_server_hello()
        if self.client_hello.legacy_session_id:  # RFC 8446 §D.4
            self.send_change_cipher_spec()
        self.send(self.encrypted_extensions(**changes))
        self.send(self.certificate())
        self.send(self.certificate_verify())
        self.finish()

    # --- After the handshake -------------------------------------------------------------------------------------

    def new_session_ticket(self, **changes: Unpack[NewSessionTicketFields]) -> NewSessionTicket:
        """A ticket that nothing can be resumed with (RFC 8446 §4.6.1)."""
        ticket = NewSessionTicket(_TICKET_LIFETIME, 0, b"\0", b"a ticket of the scripted server")
        return replace(ticket, **changes)

    # --- Listening -----------------------------------------------------------------------------------------------

    def _receive_message(self, message: HandshakeMessage) -> None:
        self.client_messages.append(message)
        match message:
            case Certificate():
                if message.certificate_list:
                    self._receive_certificate(message)
            case CertificateVerify():
                self._check_signature(message, CLIENT_CONTEXT)
            case Finished():
                self._receive_finished(message)
                return
            case KeyUpdate():
                self.read_key = self._opening_key().updated()
                return
            case _:
                pass
        self.note(message.raw)

    def _receive_finished(self, message: Finished) -> None:
        """Check the client's Finished, and go over to its application key (RFC 8446 §4.4.4)."""
        if self._handshake is None or self._application is None or self.suite is None:
            raise UnexpectedMessage("the client sent Finished before the server's")
        self._check_finished(message, self._handshake.client)
        self._install_read_key(self.suite, self._application.client)
        self.client_finished = True

    # --- Keys ----------------------------------------------------------------------------------------------------

    def _answer(self) -> tuple[bytes, bytes]:
        """Our share for the client's, which stays the same, and the shared secret."""
        share = (self.client_hello.key_share or {}).get(self.group)
        if share is None:
            group = name_of(NamedGroup, self.group)
            raise LocalError(f"the client sent no share for {group}; use send_hello_retry_request, or another group")
        if share not in self._answers:
            self._answers[share] = GROUPS[self.group].respond(share)
        return self._answers[share]
