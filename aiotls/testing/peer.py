"""A TLS 1.3 client that says what a test tells it to, right or wrong (RFC 8446).

It holds real keys and a real transcript, so that what it sends out of place is still sealed as a client would seal it:
the server has to refuse it for what it is, and not because it cannot be opened.

    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_hello()
    pipe.pump()                                     # the server's flight, verified
    client.send_message(KeyUpdate(0).encode())      # instead of Finished
    pipe.pump()
    assert isinstance(pipe.second.error, UnexpectedMessage)
    assert client.alert == Alert(2, AlertDescription.unexpected_message, protected=True)

What it sends is the script's to decide, byte by byte if it wants; what it receives it takes like an honest client.  It
verifies the server's CertificateVerify and Finished, follows its KeyUpdates, and keeps what was said.  A server that is
wrong makes `receive_data` raise.  It does not look into the certificate chain.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, Unpack

from aiotls.crypto import signatures
from aiotls.crypto.groups import GROUPS, KeyShare
from aiotls.crypto.suites import SUITES
from aiotls.errors import DecodeError, IllegalParameter, LocalError, UnexpectedMessage
from aiotls.record.protection import SealingKey
from aiotls.testing.scripted import (
    RANDOM_LENGTH,
    SERVER_CONTEXT,
    Alert,
    ScriptedPeer,
    encode_message,
    join_hello,
    split_hello,
)
from aiotls.wire.extensions import KeyShareEntry, OfferedPsks
from aiotls.wire.messages import (
    Certificate,
    CertificateVerify,
    ClientHello,
    Finished,
    HandshakeMessage,
    KeyUpdate,
    ServerHello,
)
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, name_of

__all__ = ["Alert", "HelloFields", "ScriptedClient", "encode_message", "join_hello", "split_hello"]


class HelloFields(TypedDict, total=False):
    """The fields of a ClientHello that a script may want otherwise; an extension that is None is left out."""

    random: bytes
    legacy_session_id: bytes
    cipher_suites: tuple[int, ...]
    legacy_version: int
    legacy_compression_methods: bytes
    server_name: str | None
    supported_groups: tuple[int, ...] | None
    signature_algorithms: tuple[int, ...] | None
    signature_algorithms_cert: tuple[int, ...] | None
    application_layer_protocol_negotiation: tuple[bytes, ...] | None
    supported_versions: tuple[int, ...] | None
    cookie: bytes | None
    key_share: Mapping[int, bytes] | None
    psk_key_exchange_modes: tuple[int, ...] | None
    early_data: bool | None
    certificate_authorities: tuple[bytes, ...] | None
    post_handshake_auth: bool | None
    pre_shared_key: OfferedPsks | None


class ScriptedClient(ScriptedPeer):
    """A client under a script's control; see the top of this module.

    *shares* are the groups that its first ClientHello holds a share for; the other arguments are what every hello of
    this client has in place of the defaults.
    """

    _other = "server"

    def __init__(
        self,
        *,
        shares: Sequence[int] = (NamedGroup.x25519,),
        **fields: Unpack[HelloFields],
    ) -> None:
        super().__init__()
        self._share_groups = tuple(shares)
        self._key_shares: dict[int, KeyShare] = {}
        self._fields = fields
        self._random = os.urandom(RANDOM_LENGTH)
        self._session_id = os.urandom(RANDOM_LENGTH)
        self.retry_request: ServerHello | None = None
        """The HelloRetryRequest, if one came."""
        self.server_messages: list[HandshakeMessage] = []
        """Every handshake message of the server's, in its order."""
        self.server_finished = False
        """Whether the server's Finished came, and was right."""

    # --- Saying the right thing ----------------------------------------------------------------------------------

    def hello(self, **overrides: Unpack[HelloFields]) -> ClientHello:
        """The ClientHello that an honest client would send now, but for *overrides*.

        After a HelloRetryRequest it is the second one, with the share and the cookie that the server asked for.
        """
        retry = self.retry_request
        groups = self._share_groups
        if retry is not None and isinstance(retry.key_share, int):
            groups = (retry.key_share,)
        hello = ClientHello(
            random=self._random,
            legacy_session_id=self._session_id,
            cipher_suites=tuple(int(code) for code in SUITES),
            server_name="localhost",
            supported_groups=tuple(int(code) for code in GROUPS),
            signature_algorithms=tuple(int(scheme) for scheme in signatures.SCHEMES),
            supported_versions=(ProtocolVersion.TLSv1_3,),
            key_share={group: self._key_share(group).public for group in groups},
            cookie=None if retry is None else retry.cookie,
        )
        return replace(replace(hello, **self._fields), **overrides)

    def send_hello(self, **overrides: Unpack[HelloFields]) -> None:
        """Send `hello`."""
        self.send_message(self.hello(**overrides).encode())

    def finished(self) -> bytes:
        """The Finished message that is right at this point (RFC 8446 §4.4.4)."""
        if self._handshake is None:
            raise LocalError("there is no Finished before the ServerHello has come")
        return Finished(self._handshake.client.finished(self._running_transcript().digest())).encode()

    def use_application_key(self) -> None:
        """Seal what follows under the application key, whether Finished was sent or not."""
        if self.suite is None or self._application is None:
            raise LocalError("there is no application key before the server's Finished has come")
        self.write_key = SealingKey(self.suite, self._application.client)
        self._in_handshake = False

    # --- Listening -----------------------------------------------------------------------------------------------

    def _receive_message(self, message: HandshakeMessage) -> None:
        self.server_messages.append(message)
        match message:
            case ServerHello():
                self._receive_server_hello(message)
                return
            case Certificate():
                if not message.certificate_list:  # RFC 8446 §4.4.2.4
                    raise DecodeError("the server sent an empty Certificate message (RFC 8446 §4.4.2.4)")
                self._receive_certificate(message)
            case CertificateVerify():
                self._check_signature(message, SERVER_CONTEXT)
            case Finished():
                self._receive_finished(message)
                return
            case KeyUpdate():
                self.read_key = self._opening_key().updated()
            case _:
                pass
        if self._in_handshake:
            self.note(message.raw)

    def _receive_server_hello(self, hello: ServerHello) -> None:
        """Choose the hash, and derive the handshake's keys (RFC 8446 §7.1)."""
        suite = SUITES.get(hello.cipher_suite)
        if suite is None:
            raise IllegalParameter(f"the server chose {name_of(CipherSuite, hello.cipher_suite)}")
        transcript = self._begin_transcript(suite)
        if hello.is_hello_retry_request:
            self.retry_request = hello
            transcript.rewrite_for_retry()
            transcript.add(hello.raw)
            return
        transcript.add(hello.raw)
        entry = hello.key_share
        if not isinstance(entry, KeyShareEntry) or entry.group not in self._key_shares:
            raise IllegalParameter("the ServerHello holds no share for a group that this client made one for")
        shared_secret = self._key_shares[entry.group].finish(entry.key_exchange)
        secrets = self._derive_handshake_secrets(suite, shared_secret)
        self.write_key = SealingKey(suite, secrets.client)
        self._install_read_key(suite, secrets.server)

    def _receive_finished(self, message: Finished) -> None:
        """Check the server's Finished, and derive the application's keys (RFC 8446 §4.4.4, §7.1)."""
        if self._handshake is None or self.suite is None:
            raise UnexpectedMessage("the server sent Finished before its ServerHello")
        self._check_finished(message, self._handshake.server)
        self.note(message.raw)
        secrets = self._derive_application_secrets(self._handshake.master)
        self._install_read_key(self.suite, secrets.server)
        self.server_finished = True

    # --- Keys ----------------------------------------------------------------------------------------------------

    def _key_share(self, group: int) -> KeyShare:
        if group not in GROUPS:
            raise LocalError(
                f"a share for {name_of(NamedGroup, group)} has to be the script's own: hello(key_share=...)"
            )
        if group not in self._key_shares:
            self._key_shares[group] = GROUPS[group].generate()
        return self._key_shares[group]
