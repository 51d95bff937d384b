"""The handshake messages of TLS 1.3 (RFC 8446 §4, RFC 8879), one class each, under the RFC's names.

`parse` takes a whole message, its four-byte header included, and keeps it as `raw`, for that is what enters the
transcript; `encode` gives such a whole message.  An extension that is absent is None.

Parsing checks form only: what a message must be in itself.  What it must be here and now (its order, its agreement with
what went before) is checked where the handshake is told, in `aiotls.handshake`.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from aiotls.errors import DecodeError, IllegalParameter
from aiotls.wire.codec import Reader, Writer
from aiotls.wire.extensions import (
    Carrier,
    KeyShareEntry,
    OfferedPsks,
    has_extension,
    parse_extensions,
    parse_uint16s,
    serialise_extensions,
)
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    ExtensionType,
    HandshakeType,
    KeyUpdateRequest,
    ProtocolVersion,
)

__all__ = [
    "HEADER_LENGTH",
    "MESSAGES",
    "Certificate",
    "CertificateEntry",
    "CertificateRequest",
    "CertificateVerify",
    "ClientHello",
    "CompressedCertificate",
    "EncryptedExtensions",
    "EndOfEarlyData",
    "Finished",
    "HandshakeMessage",
    "KeyUpdate",
    "NewSessionTicket",
    "ServerHello",
    "ServerHelloTemplate",
    "message_hash",
]

HEADER_LENGTH = 4
"""Bytes of type and length before a message's body (RFC 8446 §4)."""

_RANDOM_LENGTH = 32
_SESSION_ID_LIMIT = 32


class HandshakeMessage(Protocol):
    """What all messages have in common."""

    handshake_type: ClassVar[HandshakeType]
    raw: bytes
    """The message as it came, header included; empty on a message that we made."""

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:
        """Parse a whole message; *offered* are the extensions that it may answer."""

    def encode(self) -> bytes:
        """The whole message."""


def _encode(handshake_type: HandshakeType, body: bytes) -> bytes:
    return (handshake_type << 24 | len(body)).to_bytes(HEADER_LENGTH, "big") + body


def _body(raw: bytes, what: str) -> Reader:
    return Reader(raw, what, HEADER_LENGTH)


def message_hash(digest: bytes) -> bytes:
    """The synthetic message that stands for the first ClientHello after a retry (RFC 8446 §4.4.1)."""
    return _encode(HandshakeType.message_hash, digest)


@dataclass(slots=True)
class ClientHello:
    """The client's first message (RFC 8446 §4.1.2)."""

    random: bytes
    legacy_session_id: bytes
    cipher_suites: tuple[int, ...]
    legacy_version: int = ProtocolVersion.TLSv1_2
    legacy_compression_methods: bytes = b"\0"
    server_name: str | None = None
    supported_groups: tuple[int, ...] | None = None
    signature_algorithms: tuple[int, ...] | None = None
    signature_algorithms_cert: tuple[int, ...] | None = None
    application_layer_protocol_negotiation: tuple[bytes, ...] | None = None
    supported_versions: tuple[int, ...] | None = None
    cookie: bytes | None = None
    key_share: Mapping[int, bytes] | None = None
    psk_key_exchange_modes: tuple[int, ...] | None = None
    early_data: bool | None = None
    certificate_authorities: tuple[bytes, ...] | None = None
    post_handshake_auth: bool | None = None
    status_request: bool | None = None
    compress_certificate: tuple[int, ...] | None = None
    record_size_limit: int | None = None
    client_certificate_type: tuple[int, ...] | None = None
    server_certificate_type: tuple[int, ...] | None = None
    pre_shared_key: OfferedPsks | None = None
    extensions: dict[int, bytes] = field(default_factory=dict, compare=False)
    """Every extension as it came, in the peer's order."""
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.client_hello

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - answers nothing
        """Parse by offsets, for this is the message that every stranger makes us read."""
        end = len(raw)
        position = 38  # header, legacy_version, random
        if end <= position:
            raise _short("legacy_session_id")
        random = raw[6:38]
        session_end = position + 1 + raw[position]
        if raw[position] > _SESSION_ID_LIMIT or end < session_end + 2:
            raise _short("legacy_session_id")
        suites_start = session_end + 2
        suites_length = raw[session_end] << 8 | raw[session_end + 1]
        compression = suites_start + suites_length
        if end <= compression:
            raise _short("cipher_suites")
        cipher_suites = parse_uint16s(raw, suites_start, suites_length, "ClientHello.cipher_suites")
        block = compression + 1 + raw[compression]
        if not raw[compression] or end < block:
            raise _short("legacy_compression_methods")
        extensions, values = _client_hello_extensions(raw, block)
        return cls(
            random,
            raw[39:session_end],
            cipher_suites,
            raw[4] << 8 | raw[5],
            raw[compression + 1 : block],
            extensions=extensions,
            raw=raw,
            **values,
        )

    def encode(self, extensions: bytes | None = None) -> bytes:
        """The whole message; *extensions*, already encoded, take the place of those that it holds."""
        suites = b"".join(suite.to_bytes(2, "big") for suite in self.cipher_suites)
        body = Writer().uint16(self.legacy_version).opaque(self.random).opaque8(self.legacy_session_id)
        body.opaque16(suites).opaque8(self.legacy_compression_methods)
        if extensions is None:
            body.opaque(serialise_extensions(self, Carrier.CH))
        else:
            body.opaque16(extensions)
        return _encode(self.handshake_type, body.getvalue())

    def without_binders(self) -> bytes:
        """The message as it came, up to the binders, which are the last that is in it (RFC 8446 §4.2.11.2)."""
        offered = self.pre_shared_key
        return self.raw if offered is None else self.raw[: -offered.binders_length]


def _client_hello_extensions(raw: bytes, position: int) -> tuple[dict[int, bytes], dict[str, Any]]:
    end = len(raw)
    if position == end:  # RFC 8446 §4.1.2: a client of TLS 1.2 or older may leave the block out
        return {}, {}
    start = position + 2
    if end < start or raw[position] << 8 | raw[position + 1] != end - start:
        raise _short("extensions")
    extensions, values = parse_extensions(raw[start:], Carrier.CH)
    if ExtensionType.pre_shared_key in extensions and next(reversed(extensions)) != ExtensionType.pre_shared_key:
        msg = "pre_shared_key is not the last extension of the ClientHello (RFC 8446 §4.2.11)"
        raise IllegalParameter(msg)
    return extensions, values


def _short(what: str) -> DecodeError:
    return DecodeError(f"ClientHello: the length of {what} contradicts the message's")


@dataclass(slots=True)
class ServerHello:
    """The server's answer, or a HelloRetryRequest, which has the same form (RFC 8446 §4.1.3-4.1.4)."""

    random: bytes
    legacy_session_id_echo: bytes
    cipher_suite: int
    legacy_version: int = ProtocolVersion.TLSv1_2
    legacy_compression_method: int = 0
    supported_versions: int | None = None
    key_share: KeyShareEntry | int | None = None
    """The server's share; in a HelloRetryRequest the group that it wants."""
    pre_shared_key: int | None = None
    cookie: bytes | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.server_hello

    @property
    def is_hello_retry_request(self) -> bool:
        """Whether the random says that this is a HelloRetryRequest (RFC 8446 §4.1.3)."""
        return self.random == HELLO_RETRY_REQUEST_RANDOM

    @property
    def _carrier(self) -> Carrier:
        return Carrier.HRR if self.is_hello_retry_request else Carrier.SH

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:
        """Parse a whole message; of one that is not of TLS 1.3 the extensions are left alone."""
        body = _body(raw, "ServerHello")
        legacy_version, random = body.uint16(), body.opaque(_RANDOM_LENGTH)
        session_id, suite, compression = body.opaque8(0, _SESSION_ID_LIMIT), body.uint16(), body.uint8()
        message = cls(random, session_id, suite, legacy_version, compression, raw=raw)
        if body:
            block = body.opaque16()
            body.finish()
            if not has_extension(block, ExtensionType.supported_versions):
                return message  # of TLS 1.2 or older, where other extensions have their place (RFC 8446 §4.2.1)
            _, values = parse_extensions(block, message._carrier, offered)
            for name, value in values.items():
                setattr(message, name, value)
        return message

    def encode(self) -> bytes:
        """The whole message."""
        session_id = self.legacy_session_id_echo
        body = (
            self.legacy_version.to_bytes(2, "big"),
            self.random,
            bytes((len(session_id),)),
            session_id,
            (self.cipher_suite << 8 | self.legacy_compression_method).to_bytes(3, "big"),
            serialise_extensions(self, self._carrier),
        )
        return _encode(self.handshake_type, b"".join(body))


class ServerHelloTemplate:
    """A ServerHello of which only the random, the session id and the share are open.

    All else follows from the cipher suite and the group, and is encoded once.
    """

    __slots__ = ("_after", "_before", "_size")

    def __init__(self, cipher_suite: int, group: int, share_length: int) -> None:
        """For a TLS 1.3 handshake with this suite, group, and server's share of *share_length* bytes."""
        share = KeyShareEntry(group, b"\xff" * share_length)  # found again below
        hello = ServerHello(
            bytes(_RANDOM_LENGTH), b"", cipher_suite, supported_versions=ProtocolVersion.TLSv1_3, key_share=share
        ).encode()
        session_id = HEADER_LENGTH + 2 + _RANDOM_LENGTH
        gap = hello.index(share.key_exchange, session_id + 1)
        self._before = hello[session_id + 1 : gap]
        self._after = hello[gap + share_length :]
        self._size = len(hello) - HEADER_LENGTH

    def fill(self, random: bytes, session_id: bytes, share: bytes) -> bytes:
        """The whole message."""
        header = HandshakeType.server_hello << 24 | self._size + len(session_id)
        front = (header << 16 | ProtocolVersion.TLSv1_2).to_bytes(HEADER_LENGTH + 2, "big")
        return b"".join((front, random, bytes((len(session_id),)), session_id, self._before, share, self._after))


@dataclass(slots=True)
class EncryptedExtensions:
    """The server's answers that need no secret agreed before them (RFC 8446 §4.3.1)."""

    server_name: bool | None = None
    supported_groups: tuple[int, ...] | None = None
    application_layer_protocol_negotiation: bytes | None = None
    early_data: bool | None = None
    record_size_limit: int | None = None
    client_certificate_type: int | None = None
    server_certificate_type: int | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.encrypted_extensions

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:
        """Parse a whole message."""
        body = _body(raw, "EncryptedExtensions")
        block = body.opaque16()
        body.finish()
        return cls(raw=raw, **parse_extensions(block, Carrier.EE, offered)[1])

    def encode(self) -> bytes:
        """The whole message."""
        return _encode(self.handshake_type, serialise_extensions(self, Carrier.EE))


@dataclass(slots=True)
class CertificateRequest:
    """The server asks for a certificate (RFC 8446 §4.3.2)."""

    certificate_request_context: bytes = b""
    signature_algorithms: tuple[int, ...] | None = None
    signature_algorithms_cert: tuple[int, ...] | None = None
    certificate_authorities: tuple[bytes, ...] | None = None
    oid_filters: tuple[tuple[bytes, bytes], ...] | None = None
    status_request: bool | None = None
    compress_certificate: tuple[int, ...] | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.certificate_request

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - a request, no answer
        """Parse a whole message."""
        body = _body(raw, "CertificateRequest")
        context, block = body.opaque8(), body.opaque16()
        body.finish()
        return cls(context, raw=raw, **parse_extensions(block, Carrier.CR)[1])

    def encode(self) -> bytes:
        """The whole message."""
        body = Writer().opaque8(self.certificate_request_context).opaque(serialise_extensions(self, Carrier.CR))
        return _encode(self.handshake_type, body.getvalue())


@dataclass(slots=True)
class CertificateEntry:
    """One certificate of the chain, in DER, with what the sender says about it (RFC 8446 §4.4.2)."""

    cert_data: bytes
    status_request: bytes | None = field(default=None, repr=False)
    """The OCSP response (RFC 8446 §4.4.2.1)."""


@dataclass(slots=True)
class Certificate:
    """The sender's chain, its own certificate first (RFC 8446 §4.4.2)."""

    certificate_request_context: bytes = b""
    certificate_list: tuple[CertificateEntry, ...] = ()
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.certificate

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:
        """Parse a whole message."""
        body = _body(raw, "Certificate")
        context, entries = body.opaque8(), body.vector24()
        body.finish()
        chain = []
        while entries:
            cert_data = entries.opaque24(1)
            values = parse_extensions(entries.opaque16(), Carrier.CT, offered)[1]
            chain.append(CertificateEntry(cert_data, **values))
        return cls(context, tuple(chain), raw)

    def encode(self) -> bytes:
        """The whole message."""
        entries = Writer()
        for entry in self.certificate_list:
            entries.opaque24(entry.cert_data).opaque(serialise_extensions(entry, Carrier.CT))
        body = Writer().opaque8(self.certificate_request_context).opaque24(entries.getvalue())
        return _encode(self.handshake_type, body.getvalue())


@dataclass(slots=True)
class CompressedCertificate:
    """A Certificate message, its header left out, in compressed form (RFC 8879 §4)."""

    algorithm: int
    uncompressed_length: int
    compressed_certificate_message: bytes
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.compressed_certificate

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - bears no extensions
        """Parse a whole message."""
        body = _body(raw, "CompressedCertificate")
        message = cls(body.uint16(), body.uint24(), body.opaque24(1), raw)
        body.finish()
        return message

    def encode(self) -> bytes:
        """The whole message."""
        body = Writer().uint16(self.algorithm).uint24(self.uncompressed_length)
        return _encode(self.handshake_type, body.opaque24(self.compressed_certificate_message).getvalue())


@dataclass(slots=True)
class CertificateVerify:
    """The proof that the sender holds the certificate's key (RFC 8446 §4.4.3)."""

    algorithm: int
    signature: bytes
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.certificate_verify

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - bears no extensions
        """Parse a whole message."""
        body = _body(raw, "CertificateVerify")
        message = cls(body.uint16(), body.opaque16(), raw)
        body.finish()
        return message

    def encode(self) -> bytes:
        """The whole message."""
        numbers = (self.algorithm << 16 | len(self.signature)).to_bytes(4, "big")
        return _encode(self.handshake_type, numbers + self.signature)


@dataclass(slots=True)
class Finished:
    """A MAC over the whole handshake (RFC 8446 §4.4.4)."""

    verify_data: bytes = field(repr=False)
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.finished

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - bears no extensions
        """Parse a whole message; its length is checked where the hash is known."""
        return cls(raw[HEADER_LENGTH:], raw)

    def encode(self) -> bytes:
        """The whole message."""
        return _encode(self.handshake_type, self.verify_data)


@dataclass(slots=True)
class EndOfEarlyData:
    """The client has sent its last early data (RFC 8446 §4.5)."""

    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.end_of_early_data

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - bears no extensions
        """Parse a whole message."""
        _body(raw, "EndOfEarlyData").finish()
        return cls(raw)

    def encode(self) -> bytes:
        """The whole message."""
        return _encode(self.handshake_type, b"")


@dataclass(slots=True)
class NewSessionTicket:
    """A ticket with which the client may resume (RFC 8446 §4.6.1)."""

    ticket_lifetime: int
    """Seconds, at most a week."""
    ticket_age_add: int = field(repr=False)
    ticket_nonce: bytes = field(repr=False)
    ticket: bytes = field(repr=False)
    early_data: int | None = None
    """Bytes of early data that the server would take."""
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.new_session_ticket

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - a request, no answer
        """Parse a whole message."""
        body = _body(raw, "NewSessionTicket")
        lifetime, age_add, nonce = body.uint32(), body.uint32(), body.opaque8()
        ticket, block = body.opaque16(1), body.opaque16()
        body.finish()
        return cls(lifetime, age_add, nonce, ticket, raw=raw, **parse_extensions(block, Carrier.NST)[1])

    def encode(self) -> bytes:
        """The whole message."""
        body = Writer().uint32(self.ticket_lifetime).uint32(self.ticket_age_add).opaque8(self.ticket_nonce)
        body.opaque16(self.ticket).opaque(serialise_extensions(self, Carrier.NST))
        return _encode(self.handshake_type, body.getvalue())


@dataclass(slots=True)
class KeyUpdate:
    """The sender changes its keys (RFC 8446 §4.6.3)."""

    request_update: int
    raw: bytes = field(default=b"", compare=False, repr=False)

    handshake_type: ClassVar[HandshakeType] = HandshakeType.key_update

    @classmethod
    def parse(cls, raw: bytes, offered: Container[int] = ()) -> Self:  # noqa: ARG003 - bears no extensions
        """Parse a whole message."""
        body = _body(raw, "KeyUpdate")
        message = cls(body.uint8(), raw)
        body.finish()
        if message.request_update not in _KEY_UPDATE_REQUESTS:  # RFC 8446 §4.6.3
            msg = f"KeyUpdate.request_update is {message.request_update} (RFC 8446 §4.6.3)"
            raise IllegalParameter(msg)
        return message

    def encode(self) -> bytes:
        """The whole message."""
        return _encode(self.handshake_type, bytes((self.request_update,)))


_KEY_UPDATE_REQUESTS = (KeyUpdateRequest.update_not_requested, KeyUpdateRequest.update_requested)

MESSAGES: dict[int, type[HandshakeMessage]] = {
    message.handshake_type: message
    for message in (
        ClientHello,
        ServerHello,
        NewSessionTicket,
        EndOfEarlyData,
        EncryptedExtensions,
        Certificate,
        CertificateRequest,
        CompressedCertificate,
        CertificateVerify,
        Finished,
        KeyUpdate,
    )
}
"""The class of each message type."""
