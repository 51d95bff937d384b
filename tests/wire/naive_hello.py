"""A second parser of the ClientHello, as plain as can be: field by field with the Reader, as the RFC's structs say.

It is the oracle for the parser by offsets, so it takes nothing from it but the errors that both raise.
"""

import re
from collections.abc import Callable
from typing import Any

from aiotls.errors import DecodeError, IllegalParameter
from aiotls.wire.codec import Reader

HOST_NAME_LIMIT = 255


def numbers(vector: Reader) -> tuple[int, ...]:
    """``uint16 x<2..>``."""
    found = [vector.uint16()]
    while vector:
        found.append(vector.uint16())
    return tuple(found)


def strings(vector: Reader, read: Callable[[Reader], bytes]) -> tuple[bytes, ...]:
    """A list of opaque strings, at least one."""
    found = [read(vector)]
    while vector:
        found.append(read(vector))
    return tuple(found)


def server_name(data: Reader) -> str:
    """RFC 6066 §3."""
    names, found = data.vector16(1), []
    while names:
        name_type, name = names.uint8(), names.opaque16(1)
        if name_type == 0:
            found.append(name)
    if len(found) != 1 or len(found[0]) > HOST_NAME_LIMIT:
        raise IllegalParameter("not one host name")
    try:
        text = found[0].decode("ascii")
    except UnicodeDecodeError:
        raise IllegalParameter("no ASCII") from None
    labels = text.removesuffix(".").split(".")
    if not all(re.fullmatch("[-_0-9a-z]+", label, re.IGNORECASE | re.ASCII) and len(label) < 64 for label in labels):
        raise IllegalParameter("no host name")
    return text.lower()


def key_share(data: Reader) -> dict[int, bytes]:
    """RFC 8446 §4.2.8."""
    entries, shares = data.vector16(), {}
    while entries:
        group, share = entries.uint16(), entries.opaque16(1)
        if group in shares:
            raise IllegalParameter("two shares for a group")
        shares[group] = share
    return shares


def pre_shared_key(data: Reader) -> tuple[tuple[tuple[bytes, int], ...], tuple[bytes, ...]]:
    """RFC 8446 §4.2.11."""
    identity_list, binder_list = data.vector16(7), data.vector16(33)
    data.finish()
    identities = []
    while identity_list:
        identities.append((identity_list.opaque16(1), identity_list.uint32()))
    binders = strings(binder_list, lambda binders: binders.opaque8(32))
    if len(identities) != len(binders):
        raise IllegalParameter("not one binder for each identity")
    return tuple(identities), binders


def present(data: Reader) -> bool:
    """An extension without content."""
    data.finish()
    return True


def status_request(data: Reader) -> bool | None:
    """RFC 6066 §8: OCSP's, or another kind's, which nobody here can read."""
    if data.uint8() != 1:
        while data:
            data.uint8()
        return None
    data.opaque16()
    data.opaque16()
    return True


def record_size_limit(data: Reader) -> int:
    """RFC 8449 §4."""
    limit = data.uint16()
    data.finish()
    if limit < 64:
        raise IllegalParameter("too small a limit")
    return limit


def misplaced(data: Reader) -> None:
    """An extension of a CertificateRequest."""
    raise IllegalParameter("this has no place in a ClientHello")


EXTENSIONS: dict[int, tuple[str, Callable[[Reader], Any]]] = {
    0: ("server_name", server_name),
    5: ("status_request", status_request),
    10: ("supported_groups", lambda data: numbers(data.vector16(2))),
    13: ("signature_algorithms", lambda data: numbers(data.vector16(2))),
    16: (
        "application_layer_protocol_negotiation",
        lambda data: strings(data.vector16(2), lambda names: names.opaque8(1)),
    ),
    19: ("client_certificate_type", lambda data: tuple(data.opaque8(1))),
    20: ("server_certificate_type", lambda data: tuple(data.opaque8(1))),
    27: ("compress_certificate", lambda data: numbers(data.vector8(2))),
    28: ("record_size_limit", record_size_limit),
    41: ("pre_shared_key", pre_shared_key),
    42: ("early_data", present),
    43: ("supported_versions", lambda data: numbers(data.vector8(2))),
    44: ("cookie", lambda data: data.opaque16(1)),
    45: ("psk_key_exchange_modes", lambda data: tuple(data.opaque8(1))),
    47: ("certificate_authorities", lambda data: strings(data.vector16(3), lambda names: names.opaque16(1))),
    48: ("oid_filters", misplaced),
    49: ("post_handshake_auth", present),
    50: ("signature_algorithms_cert", lambda data: numbers(data.vector16(2))),
    51: ("key_share", key_share),
}


def parse(raw: bytes) -> dict[str, Any]:
    """The fields of a ClientHello by their names, its header not looked at; absent extensions are left out."""
    body = Reader(raw, "ClientHello", 4)
    fields: dict[str, Any] = {
        "legacy_version": body.uint16(),
        "random": body.opaque(32),
        "legacy_session_id": body.opaque8(0, 32),
        "cipher_suites": numbers(body.vector16(2)),
        "legacy_compression_methods": body.opaque8(1),
    }
    extensions: dict[int, bytes] = {}
    block = body.vector16() if body else Reader(b"", "ClientHello")
    body.finish()
    while block:
        code, data = block.uint16(), block.opaque16()
        if code in extensions:
            raise IllegalParameter("an extension twice")
        extensions[code] = data
        if code in EXTENSIONS:
            name, read = EXTENSIONS[code]
            reader = Reader(data, name)
            value = read(reader)
            reader.finish()
            if value is not None:
                fields[name] = value
    if 41 in extensions and list(extensions)[-1] != 41:
        raise IllegalParameter("pre_shared_key is not the last")
    fields["extensions"] = extensions
    return fields


def outcome(read: Callable[[bytes], dict[str, Any]], raw: bytes) -> dict[str, Any] | type[Exception]:
    """What a parser makes of *raw*: fields, or the kind of its error."""
    try:
        return read(raw)
    except (DecodeError, IllegalParameter) as error:
        return type(error)
