"""JA4: the fingerprint of a client by its ClientHello (FoxIO's JA4 specification), for operators.

    t13d1516h2_8daaf6152771_e5627efa2ab1
    │││ │ │ │  │            └── SHA-256 of the extensions, sorted, and the signature algorithms, as they come
    │││ │ │ │  └── SHA-256 of the cipher suites, sorted
    │││ │ │ └── the ends of the first application protocol
    │││ │ └── how many extensions
    │││ └── how many cipher suites
    ││└── d: a server is named; i: it is not, as by a client that was given an address
    │└── the highest version
    └── t: TLS over TCP

Clients that shuffle their extensions, and send other values of GREASE (RFC 8701) each time, keep one fingerprint: lists
are sorted, and GREASE is left out wherever it is.  What a client says of itself can be forged; it tells programs apart
that do not pretend, and is no authentication.
"""

import hashlib
from collections.abc import Iterable

from aiotls.wire.messages import ClientHello
from aiotls.wire.registries import ExtensionType

__all__ = ["ja4", "ja4_raw"]

_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_UNKNOWN_VERSION = "00"
_NO_PROTOCOL = "00"
_EMPTY_HASH = "000000000000"
# The first part tells of these two already.
_NOT_HASHED = frozenset({ExtensionType.server_name, ExtensionType.application_layer_protocol_negotiation})


def ja4(hello: ClientHello) -> str:
    """The JA4 fingerprint of *hello*, which must be one that was parsed: 36 characters."""
    return "_".join((_overview(hello), _hash(_cipher_suites(hello)), _hash(_extensions(hello))))


def ja4_raw(hello: ClientHello) -> str:
    """The fingerprint in the readable form JA4_r: with the lists themselves in place of their hashes."""
    return "_".join((_overview(hello), _cipher_suites(hello), _extensions(hello)))


def _is_grease(code: int) -> bool:
    """0x0A0A, 0x1A1A, ... 0xFAFA (RFC 8701 §2)."""
    return code & 0x0F0F == 0x0A0A and code >> 8 == code & 0xFF


def _without_grease(codes: Iterable[int]) -> list[int]:
    return [code for code in codes if not _is_grease(code)]


def _overview(hello: ClientHello) -> str:
    named = "d" if ExtensionType.server_name in hello.extensions else "i"
    counts = _count(hello.cipher_suites) + _count(hello.extensions)
    return f"t{_version(hello)}{named}{counts}{_protocol(hello)}"


def _version(hello: ClientHello) -> str:
    versions = (hello.legacy_version,) if hello.supported_versions is None else hello.supported_versions
    return _VERSIONS.get(max(_without_grease(versions), default=0), _UNKNOWN_VERSION)


def _count(codes: Iterable[int]) -> str:
    return f"{min(len(_without_grease(codes)), 99):02}"


def _protocol(hello: ClientHello) -> str:
    """The ends of the first protocol's name; those of its hexadecimal form, where either is no letter or digit."""
    names = hello.application_layer_protocol_negotiation or ()
    first = next((name for name in names if len(name) != 2 or not _is_grease(int.from_bytes(name, "big"))), b"")
    if not first:
        return _NO_PROTOCOL
    ends = first[:1] + first[-1:]
    if ends.isalnum():
        return ends.decode("ascii")
    digits = first.hex()
    return digits[0] + digits[-1]


def _cipher_suites(hello: ClientHello) -> str:
    return _listed(sorted(_without_grease(hello.cipher_suites)))


def _extensions(hello: ClientHello) -> str:
    extensions = _listed(sorted(code for code in _without_grease(hello.extensions) if code not in _NOT_HASHED))
    signature_algorithms = _listed(_without_grease(hello.signature_algorithms or ()))
    return f"{extensions}_{signature_algorithms}" if signature_algorithms else extensions


def _listed(codes: Iterable[int]) -> str:
    return ",".join(f"{code:04x}" for code in codes)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12] if text else _EMPTY_HASH
