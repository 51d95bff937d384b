"""Extensions (RFC 8446 §4.2): one entry each, with its forms in the messages that may carry it.

The rules that hold for all of them stand once, in `parse_extensions`:

- an extension appears at most once in a block;
- one that we know, in a message that the table of §4.2 does not give it, is an illegal_parameter;
- an answer to something that was not asked is an unsupported_extension;
- one that we do not know is ignored in a request.

A parsed extension becomes the attribute of its message that bears the extension's name in the registry.
"""

import enum
import re
import struct
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiotls.errors import DecodeError, IllegalParameter, LocalError, UnsupportedExtension
from aiotls.wire.codec import Reader, Writer
from aiotls.wire.registries import CertificateStatusType, ExtensionType, NameType, name_of

__all__ = [
    "EXTENSIONS",
    "SMALLEST_RECORD_SIZE_LIMIT",
    "Carrier",
    "Extension",
    "Form",
    "KeyShareEntry",
    "OfferedPsks",
    "PskIdentity",
    "has_extension",
    "parse_extensions",
    "serialise_extension",
    "serialise_extensions",
]


_LONGEST = 0xFFFF  # bytes of an extension, and of all of them

SMALLEST_RECORD_SIZE_LIMIT = 64
"""Bytes; a peer may not ask for smaller records (RFC 8449 §4)."""


class Carrier(enum.StrEnum):
    """The messages that carry extensions, abbreviated as in the table of RFC 8446 §4.2."""

    CH = "ClientHello"
    SH = "ServerHello"
    EE = "EncryptedExtensions"
    CT = "Certificate"
    CR = "CertificateRequest"
    NST = "NewSessionTicket"
    HRR = "HelloRetryRequest"


# In these an extension answers one of the peer's; the others are requests of their own.
_ANSWERS = frozenset({Carrier.SH, Carrier.EE, Carrier.CT, Carrier.HRR})


@dataclass(frozen=True, slots=True)
class Form:
    """What an extension holds in one kind of message, both ways."""

    parse: Callable[[bytes], object]
    serialise: Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: its code point and its form in each message that may carry it."""

    code: ExtensionType
    forms: Mapping[Carrier, Form]
    unsolicited: frozenset[Carrier] = frozenset()
    """Answers that may come without having been asked: only the cookie (RFC 8446 §4.2.2)."""


class KeyShareEntry(NamedTuple):
    """A group and the sender's share for it (RFC 8446 §4.2.8)."""

    group: int
    key_exchange: bytes


class PskIdentity(NamedTuple):
    """A pre-shared key that the client offers (RFC 8446 §4.2.11)."""

    identity: bytes
    obfuscated_ticket_age: int
    """Milliseconds since the ticket was issued, plus its ticket_age_add, modulo 2^32."""


class OfferedPsks(NamedTuple):
    """The client's pre-shared keys, each with the binder that proves it (RFC 8446 §4.2.11)."""

    identities: tuple[PskIdentity, ...]
    binders: tuple[bytes, ...]

    @property
    def binders_length(self) -> int:
        """Bytes that the binders take at the end of the ClientHello, their list's length field included."""
        return 2 + sum(1 + len(binder) for binder in self.binders)


# --- Parsing -----------------------------------------------------------------------------------------------------

_read_header = struct.Struct(">HH").unpack_from
_UINT16S = tuple(struct.Struct(f">{count}H") for count in range(65))


def parse_uint16s(data: bytes, start: int, length: int, what: str) -> tuple[int, ...]:
    """A vector of *length* bytes of uint16 at *start*; it must not be empty."""
    if length & 1 or not length:
        msg = f"{what}: a list of two-byte values has {length} bytes"
        raise DecodeError(msg)
    count = length >> 1
    layout = _UINT16S[count] if count < len(_UINT16S) else struct.Struct(f">{count}H")
    return layout.unpack_from(data, start)


def _uint16_list(what: str) -> Form:
    """``uint16 x<2..2^16-2>``, as groups and signature schemes are listed."""

    def parse(data: bytes) -> tuple[int, ...]:
        length = len(data) - 2
        if length < 2 or length & 1 or (data[0] << 8 | data[1]) != length:
            raise _wrong_length(what)
        count = length >> 1
        layout = _UINT16S[count] if count < len(_UINT16S) else struct.Struct(f">{count}H")
        return layout.unpack_from(data, 2)

    return Form(parse, lambda values: Writer().opaque16(_uint16s(values)).getvalue())


def _wrong_length(what: str) -> DecodeError:
    return DecodeError(f"{what}: the length field contradicts the extension's length")


def _uint16s(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _parse_supported_versions(data: bytes) -> tuple[int, ...]:
    if not data or data[0] != len(data) - 1:
        raise _wrong_length("supported_versions")
    return parse_uint16s(data, 1, len(data) - 1, "supported_versions")


# RFC 6066 §3 wants the ASCII form of a DNS name; underscores are not in the letter of it, but in the field.
_HOST_NAME = re.compile(rb"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_HOST_NAME_LIMIT = 255


def _parse_server_name(data: bytes) -> str:
    size = len(data)
    if size < 4 or (data[0] << 8 | data[1]) != size - 2:
        raise _wrong_length("server_name")
    # The one form in use holds a single host_name.
    single = size > 5 and not data[2] and (data[3] << 8 | data[4]) == size - 5
    name = data[5:] if single else _only_host_name(Reader(data, "server_name", 2))
    if len(name) > _HOST_NAME_LIMIT or not _HOST_NAME.fullmatch(name):
        msg = "server_name holds no valid host name (RFC 6066 §3)"
        raise IllegalParameter(msg)
    return name.decode("ascii").lower()


def _only_host_name(names: Reader) -> bytes:
    """The host_name among names of several types; a second one is refused (RFC 6066 §3)."""
    host_names = []
    while names:
        name_type, name = names.uint8(), names.opaque16(1)
        if name_type == NameType.host_name:
            host_names.append(name)
    if len(host_names) != 1:
        msg = f"server_name holds {len(host_names)} host names (RFC 6066 §3)"
        raise IllegalParameter(msg)
    return host_names[0]


def _parse_protocol_name_list(data: bytes) -> tuple[bytes, ...]:
    end = len(data)
    if end < 4 or (data[0] << 8 | data[1]) != end - 2:
        raise _wrong_length("application_layer_protocol_negotiation")
    protocols = []
    position = 2
    while position < end:
        start = position + 1
        position = start + data[position]
        if position > end or position == start:
            raise _wrong_length("application_layer_protocol_negotiation")
        protocols.append(data[start:position])
    return tuple(protocols)


def _parse_selected_protocol(data: bytes) -> bytes:
    protocols = _parse_protocol_name_list(data)
    if len(protocols) != 1:  # RFC 7301 §3.1
        msg = f"the server selected {len(protocols)} application protocols instead of one"
        raise DecodeError(msg)
    return protocols[0]


def _parse_client_shares(data: bytes) -> dict[int, bytes]:
    end = len(data)
    if end < 2 or (data[0] << 8 | data[1]) != end - 2:
        raise _wrong_length("key_share")
    shares: dict[int, bytes] = {}
    position = 2
    while position < end:
        if end - position < 5:
            raise _wrong_length("key_share")
        group = data[position] << 8 | data[position + 1]
        start = position + 4
        position = start + (data[position + 2] << 8 | data[position + 3])
        if position > end or position == start:
            raise _wrong_length("key_share")
        if group in shares:  # RFC 8446 §4.2.8
            msg = f"key_share holds two shares for group 0x{group:04x}"
            raise IllegalParameter(msg)
        shares[group] = data[start:position]
    return shares


def _serialise_client_shares(shares: Mapping[int, bytes]) -> bytes:
    entries = Writer()
    for group, share in shares.items():
        entries.uint16(group).opaque16(share)
    return Writer().opaque16(entries.getvalue()).getvalue()


def _parse_server_share(data: bytes) -> KeyShareEntry:
    reader = Reader(data, "key_share")
    entry = KeyShareEntry(reader.uint16(), reader.opaque16(1))
    reader.finish()
    return entry


def _serialise_server_share(entry: KeyShareEntry) -> bytes:
    return (entry.group << 16 | len(entry.key_exchange)).to_bytes(4, "big") + entry.key_exchange


def _parse_modes(data: bytes) -> tuple[int, ...]:
    if len(data) < 2 or data[0] != len(data) - 1:
        raise _wrong_length("psk_key_exchange_modes")
    return tuple(data[1:])


def _parse_offered_psks(data: bytes) -> OfferedPsks:
    reader = Reader(data, "pre_shared_key")
    identity_list, binder_list = reader.vector16(7), reader.vector16(33)
    reader.finish()
    identities, binders = [], []
    while identity_list:
        identities.append(PskIdentity(identity_list.opaque16(1), identity_list.uint32()))
    while binder_list:
        binders.append(binder_list.opaque8(32))
    if len(identities) != len(binders):  # RFC 8446 §4.2.11
        msg = f"pre_shared_key holds {len(identities)} identities and {len(binders)} binders"
        raise IllegalParameter(msg)
    return OfferedPsks(tuple(identities), tuple(binders))


def _serialise_offered_psks(offered: OfferedPsks) -> bytes:
    identities, binders = Writer(), Writer()
    for identity in offered.identities:
        identities.opaque16(identity.identity).uint32(identity.obfuscated_ticket_age)
    for binder in offered.binders:
        binders.opaque8(binder)
    return Writer().opaque16(identities.getvalue()).opaque16(binders.getvalue()).getvalue()


# What every client sends that wants a stapled response: of any responder, with no extensions.
_ANY_OCSP_RESPONSE = bytes((CertificateStatusType.ocsp, 0, 0, 0, 0))


def _parse_status_request(data: bytes) -> bool | None:
    """Whether an OCSP response is wanted; the hints that may be with it change nothing for us (RFC 6066 §8)."""
    if data == _ANY_OCSP_RESPONSE:
        return True
    reader = Reader(data, "status_request")
    if reader.uint8() != CertificateStatusType.ocsp:
        return None  # the form of other kinds is theirs to know
    reader.opaque16()
    reader.opaque16()
    reader.finish()
    return True


def _parse_certificate_status(data: bytes) -> bytes:
    reader = Reader(data, "status_request")
    status_type, response = reader.uint8(), reader.opaque24(1)
    reader.finish()
    if status_type != CertificateStatusType.ocsp:  # RFC 8446 §4.4.2.1
        msg = f"a certificate status of type {status_type}, where OCSP was asked for (RFC 6066 §8)"
        raise IllegalParameter(msg)
    return response


def _serialise_certificate_status(response: bytes) -> bytes:
    return Writer().uint8(CertificateStatusType.ocsp).opaque24(response).getvalue()


def _parse_algorithms(data: bytes) -> tuple[int, ...]:
    if not data or data[0] != len(data) - 1:
        raise _wrong_length("compress_certificate")
    return parse_uint16s(data, 1, len(data) - 1, "compress_certificate")


def _parse_certificate_types(data: bytes) -> tuple[int, ...]:
    if len(data) < 2 or data[0] != len(data) - 1:
        raise _wrong_length("a list of certificate types")
    return tuple(data[1:])


def _parse_record_size_limit(data: bytes) -> int:
    if len(data) != 2:
        raise _wrong_length("record_size_limit")
    limit = data[0] << 8 | data[1]
    if limit < SMALLEST_RECORD_SIZE_LIMIT:
        msg = f"a record_size_limit of {limit} bytes, below {SMALLEST_RECORD_SIZE_LIMIT} (RFC 8449 §4)"
        raise IllegalParameter(msg)
    return limit


def _parse_oid_filters(reader: Reader) -> tuple[tuple[bytes, bytes], ...]:
    entries = reader.vector16()
    filters = []
    while entries:
        filters.append((entries.opaque8(1), entries.opaque16()))
    return tuple(filters)


def _serialise_oid_filters(filters: Iterable[tuple[bytes, bytes]]) -> bytes:
    entries = b"".join(Writer().opaque8(oid).opaque16(values).getvalue() for oid, values in filters)
    return Writer().opaque16(entries).getvalue()


def _whole(read: Callable[[Reader], object], what: str) -> Callable[[bytes], object]:
    """Parse the whole extension by one step of a Reader."""

    def parse(data: bytes) -> object:
        reader = Reader(data, what)
        value = read(reader)
        reader.finish()
        return value

    return parse


def _parse_authorities(reader: Reader) -> tuple[bytes, ...]:
    names = reader.vector16(3)
    authorities = []
    while names:
        authorities.append(names.opaque16(1))
    return tuple(authorities)


def _serialise_authorities(authorities: Iterable[bytes]) -> bytes:
    names = b"".join(Writer().opaque16(name).getvalue() for name in authorities)
    return Writer().opaque16(names).getvalue()


def _serialise_protocols(protocols: Iterable[bytes]) -> bytes:
    names = b"".join(Writer().opaque8(name).getvalue() for name in protocols)
    return Writer().opaque16(names).getvalue()


def _serialise_server_name(name: str) -> bytes:
    entry = Writer().uint8(NameType.host_name).opaque16(name.encode("ascii")).getvalue()
    return Writer().opaque16(entry).getvalue()


def _uint16(what: str) -> Form:
    return Form(_whole(Reader.uint16, what), lambda value: value.to_bytes(2, "big"))


def _flag(what: str) -> Form:
    """An extension that is empty: being there is all that it says."""

    def parse(data: bytes) -> bool:
        if data:
            msg = f"{what} must be empty, and has {len(data)} bytes"
            raise DecodeError(msg)
        return True

    return Form(parse, lambda _: b"")


def _opaque16(what: str) -> Form:
    return Form(_whole(lambda reader: reader.opaque16(1), what), lambda value: Writer().opaque16(value).getvalue())


_EARLY_DATA_SIZE = Form(_whole(Reader.uint32, "early_data"), lambda size: Writer().uint32(size).getvalue())
_AUTHORITIES = Form(_whole(_parse_authorities, "certificate_authorities"), _serialise_authorities)
_SCHEMES = _uint16_list("signature_algorithms")
_SCHEMES_CERT = _uint16_list("signature_algorithms_cert")
_GROUPS = _uint16_list("supported_groups")
_COOKIE = _opaque16("cookie")
_STATUS_REQUEST = Form(_parse_status_request, lambda _: _ANY_OCSP_RESPONSE)
_ALGORITHMS = Form(_parse_algorithms, lambda values: Writer().opaque8(_uint16s(values)).getvalue())
_RECORD_SIZE_LIMIT = Form(_parse_record_size_limit, lambda limit: limit.to_bytes(2, "big"))
_CERTIFICATE_TYPES = Form(_parse_certificate_types, lambda types: Writer().opaque8(bytes(types)).getvalue())
_CERTIFICATE_TYPE = Form(_whole(Reader.uint8, "certificate type"), lambda kind: bytes((kind,)))

# --- The table ---------------------------------------------------------------------------------------------------

EXTENSIONS: dict[int, Extension] = {
    extension.code: extension
    for extension in (
        Extension(  # RFC 6066 §3
            ExtensionType.server_name,
            {Carrier.CH: Form(_parse_server_name, _serialise_server_name), Carrier.EE: _flag("server_name")},
        ),
        Extension(ExtensionType.supported_groups, {Carrier.CH: _GROUPS, Carrier.EE: _GROUPS}),  # §4.2.7
        Extension(ExtensionType.signature_algorithms, {Carrier.CH: _SCHEMES, Carrier.CR: _SCHEMES}),  # §4.2.3
        Extension(  # §4.2.3
            ExtensionType.signature_algorithms_cert, {Carrier.CH: _SCHEMES_CERT, Carrier.CR: _SCHEMES_CERT}
        ),
        Extension(  # RFC 7301 §3.1
            ExtensionType.application_layer_protocol_negotiation,
            {
                Carrier.CH: Form(_parse_protocol_name_list, _serialise_protocols),
                Carrier.EE: Form(_parse_selected_protocol, lambda protocol: _serialise_protocols((protocol,))),
            },
        ),
        Extension(  # §4.2.8
            ExtensionType.key_share,
            {
                Carrier.CH: Form(_parse_client_shares, _serialise_client_shares),
                Carrier.SH: Form(_parse_server_share, _serialise_server_share),
                Carrier.HRR: _uint16("key_share"),
            },
        ),
        Extension(  # §4.2.2
            ExtensionType.cookie, {Carrier.CH: _COOKIE, Carrier.HRR: _COOKIE}, frozenset({Carrier.HRR})
        ),
        Extension(  # §4.2.1
            ExtensionType.supported_versions,
            {
                Carrier.CH: Form(_parse_supported_versions, lambda v: Writer().opaque8(_uint16s(v)).getvalue()),
                Carrier.SH: _uint16("supported_versions"),
                Carrier.HRR: _uint16("supported_versions"),
            },
        ),
        Extension(  # §4.2.9
            ExtensionType.psk_key_exchange_modes,
            {
                Carrier.CH: Form(_parse_modes, lambda modes: Writer().opaque8(bytes(modes)).getvalue()),
            },
        ),
        Extension(  # §4.2.10
            ExtensionType.early_data,
            {Carrier.CH: _flag("early_data"), Carrier.EE: _flag("early_data"), Carrier.NST: _EARLY_DATA_SIZE},
        ),
        Extension(  # §4.2.4
            ExtensionType.certificate_authorities, {Carrier.CH: _AUTHORITIES, Carrier.CR: _AUTHORITIES}
        ),
        Extension(  # §4.2.5
            ExtensionType.oid_filters,
            {Carrier.CR: Form(_whole(_parse_oid_filters, "oid_filters"), _serialise_oid_filters)},
        ),
        Extension(  # RFC 6066 §8, RFC 8446 §4.4.2.1
            ExtensionType.status_request,
            {
                Carrier.CH: _STATUS_REQUEST,
                Carrier.CR: _flag("status_request"),
                Carrier.CT: Form(_parse_certificate_status, _serialise_certificate_status),
            },
        ),
        Extension(  # RFC 8879 §3
            ExtensionType.compress_certificate, {Carrier.CH: _ALGORITHMS, Carrier.CR: _ALGORITHMS}
        ),
        Extension(  # RFC 8449 §4
            ExtensionType.record_size_limit, {Carrier.CH: _RECORD_SIZE_LIMIT, Carrier.EE: _RECORD_SIZE_LIMIT}
        ),
        Extension(  # RFC 7250 §3
            ExtensionType.client_certificate_type, {Carrier.CH: _CERTIFICATE_TYPES, Carrier.EE: _CERTIFICATE_TYPE}
        ),
        Extension(  # RFC 7250 §3
            ExtensionType.server_certificate_type, {Carrier.CH: _CERTIFICATE_TYPES, Carrier.EE: _CERTIFICATE_TYPE}
        ),
        Extension(ExtensionType.post_handshake_auth, {Carrier.CH: _flag("post_handshake_auth")}),  # §4.2.6
        Extension(  # §4.2.11; in a ClientHello it must come last, and so it does here
            ExtensionType.pre_shared_key,
            {
                Carrier.CH: Form(_parse_offered_psks, _serialise_offered_psks),
                Carrier.SH: _uint16("pre_shared_key"),
            },
        ),
    )
}

# The same by message, for the two loops below: code -> (attribute, form).
_FORMS: dict[Carrier, dict[int, tuple[str, Form]]] = {
    carrier: {
        extension.code: (extension.code.name, extension.forms[carrier])
        for extension in EXTENSIONS.values()
        if carrier in extension.forms
    }
    for carrier in Carrier
}


def has_extension(block: bytes, wanted: int) -> bool:
    """Whether an extensions block holds an extension, whatever that is worth; raises DecodeError if it is no block."""
    position, end = 0, len(block)
    while position < end:
        start = position + 4
        if start > end:
            raise _wrong_length("extensions")
        code, length = _read_header(block, position)
        if code == wanted:
            return True
        position = start + length
    if position > end:
        raise _wrong_length("extensions")
    return False


def parse_extensions(
    block: bytes, carrier: Carrier, offered: Container[int] = ()
) -> tuple[dict[int, bytes], dict[str, Any]]:
    """Split the content of an extensions block, and parse what we know of it.

    Returns every extension as it came, by code, and the values of those we know, by attribute name.  *offered* are the
    codes of the extensions that an answer may answer.  Raises DecodeError, IllegalParameter or UnsupportedExtension.
    """
    forms = _FORMS[carrier]
    answers = carrier in _ANSWERS
    raw: dict[int, bytes] = {}
    values: dict[str, Any] = {}
    position, end = 0, len(block)
    while position < end:
        start = position + 4
        if start > end:
            raise _wrong_length(f"{carrier.value} extensions")
        code, length = _read_header(block, position)
        position = start + length
        if position > end:
            raise _wrong_length(name_of(ExtensionType, code))
        if code in raw:  # RFC 8446 §4.2
            msg = f"{carrier.value} holds {name_of(ExtensionType, code)} twice (RFC 8446 §4.2)"
            raise IllegalParameter(msg)
        data = raw[code] = block[start:position]
        if answers or (code not in forms and code in EXTENSIONS):
            _check_place(code, carrier, offered, answers=answers)
        if code in forms:
            attribute, form = forms[code]
            values[attribute] = form.parse(data)
    return raw, values


def _check_place(code: int, carrier: Carrier, offered: Container[int], *, answers: bool) -> None:
    """RFC 8446 §4.2: known extensions keep to their messages, and answers to what was offered."""
    extension = EXTENSIONS.get(code)
    if extension is not None and carrier not in extension.forms:
        msg = f"{extension.code.name} has no place in {carrier.value} (RFC 8446 §4.2)"
        raise IllegalParameter(msg)
    if not answers or code in offered or (extension is not None and carrier in extension.unsolicited):
        return
    msg = f"{carrier.value} answers {name_of(ExtensionType, code)}, which was not offered (RFC 8446 §4.2)"
    raise UnsupportedExtension(msg)


def serialise_extensions(message: object, carrier: Carrier) -> bytes:
    """The extensions block, length included, of the values that *message* holds; LocalError if it is too long."""
    parts = b""
    for code, (attribute, form) in _FORMS[carrier].items():
        value = getattr(message, attribute)
        if value is not None:
            parts += _framed(code, form.serialise(value))
    if len(parts) > _LONGEST:
        msg = f"{carrier.value}.extensions: a length of {len(parts)} does not fit a field of 2 bytes"
        raise LocalError(msg)
    return len(parts).to_bytes(2, "big") + parts


def serialise_extension(code: int, carrier: Carrier, value: object) -> bytes:
    """One extension, type and length included, as *carrier* bears it."""
    return _framed(code, _FORMS[carrier][code][1].serialise(value))


def _framed(code: int, data: bytes) -> bytes:
    if len(data) > _LONGEST:
        msg = f"{name_of(ExtensionType, code)}: a length of {len(data)} does not fit a field of 2 bytes"
        raise LocalError(msg)
    return (code << 16 | len(data)).to_bytes(4, "big") + data
