"""The choices of RFC 8446 §4.1.1, each a pure function of the ClientHello and the config.

What is common to both lists decides, in the order of the side that the config prefers.  Nothing in common is the
peer's incompatibility and no misbehaviour, and each choice has its own error.
"""

from collections.abc import Collection, Iterable

from aiotls.config import Preference, ServerConfig
from aiotls.crypto.groups import Group
from aiotls.crypto.suites import Suite
from aiotls.errors import (
    IllegalParameter,
    MissingExtension,
    NoApplicationProtocol,
    NoCommonCipherSuite,
    NoCommonGroup,
    NoCommonSignatureScheme,
    NoCommonVersion,
    UnsupportedCertificate,
)
from aiotls.trust.credentials import ClientHelloInfo, Credential
from aiotls.wire.messages import ClientHello, ServerHello
from aiotls.wire.registries import (
    CertificateType,
    ExtensionType,
    ProtocolVersion,
    SignatureScheme,
    name_of,
)

__all__ = [
    "application_protocol",
    "check_certificate_extensions",
    "check_mandatory_extensions",
    "check_second_hello",
    "check_server_version",
    "cipher_suite",
    "client_certificate_type",
    "client_hello_info",
    "key_exchange",
    "protocol_version",
    "signature_scheme",
]


def _first_common(ours: Collection[int], theirs: Collection[int], preference: Preference) -> int | None:
    """The first that both lists hold, in the order of the preferred side."""
    first, second = (ours, theirs) if preference is Preference.SERVER else (theirs, ours)
    for code in first:
        if code in second:
            return code
    return None


def protocol_version(hello: ClientHello) -> int:
    """The version, by supported_versions alone (RFC 8446 §4.2.1)."""
    if hello.legacy_version <= ProtocolVersion.SSLv3:  # §D.5
        msg = "the client's hello is of SSL 3.0 or older (RFC 8446 §D.5)"
        raise NoCommonVersion(msg)
    if hello.supported_versions is None:
        msg = f"the client speaks at most {name_of(ProtocolVersion, hello.legacy_version)}, and TLS 1.3 is wanted"
        raise NoCommonVersion(msg)
    if ProtocolVersion.TLSv1_3 not in hello.supported_versions:
        offered = ", ".join(name_of(ProtocolVersion, version) for version in hello.supported_versions[:8])
        msg = f"the client offers {offered}, and TLS 1.3 is wanted"
        raise NoCommonVersion(msg)
    return ProtocolVersion.TLSv1_3


# RFC 8446 §4.1.3: the end of the random of a server that could have spoken a newer version than it chose.
_DOWNGRADE_SENTINELS = (b"DOWNGRD\x00", b"DOWNGRD\x01")


def check_server_version(answer: ServerHello) -> None:
    """The version that the server chose, by supported_versions alone (RFC 8446 §4.2.1)."""
    if answer.supported_versions is None:
        if answer.random.endswith(_DOWNGRADE_SENTINELS):
            msg = "the server speaks TLS 1.3, and somebody made it believe that we do not (RFC 8446 §4.1.3)"
            raise IllegalParameter(msg)
        msg = f"the server speaks at most {name_of(ProtocolVersion, answer.legacy_version)}, and TLS 1.3 is wanted"
        raise NoCommonVersion(msg)
    if answer.supported_versions != ProtocolVersion.TLSv1_3:
        chosen = name_of(ProtocolVersion, answer.supported_versions)
        msg = f"the server chooses {chosen}, which was not offered (RFC 8446 §4.2.1)"
        raise IllegalParameter(msg)


def client_hello_info(hello: ClientHello) -> ClientHelloInfo:
    """What a program's functions are shown of the ClientHello."""
    schemes = hello.signature_algorithms or ()
    return ClientHelloInfo(
        server_name=hello.server_name,
        alpn=hello.application_layer_protocol_negotiation or (),
        signature_schemes=schemes,
        signature_schemes_cert=hello.signature_algorithms_cert or schemes,
        cipher_suites=hello.cipher_suites,
        groups=hello.supported_groups or (),
        supported_versions=hello.supported_versions or (),
        raw=hello.raw,
    )


def check_mandatory_extensions(hello: ClientHello) -> None:
    """What a ClientHello of TLS 1.3 must hold (RFC 8446 §4.1.2, §9.2)."""
    if hello.legacy_compression_methods != b"\0":  # §4.1.2
        msg = "a TLS 1.3 ClientHello offers compression (RFC 8446 §4.1.2)"
        raise IllegalParameter(msg)
    if hello.pre_shared_key is None:
        check_certificate_extensions(hello)
    if hello.supported_groups is None and (hello.key_share is not None or hello.pre_shared_key is None):
        raise _missing("supported_groups")
    if hello.key_share is None and hello.supported_groups is not None:
        raise _missing("key_share")
    if hello.pre_shared_key is not None and hello.psk_key_exchange_modes is None:  # §4.2.9
        raise _missing("psk_key_exchange_modes")


def check_certificate_extensions(hello: ClientHello) -> None:
    """What it must hold if we are to prove our name by a certificate (RFC 8446 §4.2.3, §9.2)."""
    if hello.signature_algorithms is None:
        raise _missing("signature_algorithms")


def _missing(extension: str) -> MissingExtension:
    return MissingExtension(f"the ClientHello lacks {extension} (RFC 8446 §9.2)")


def cipher_suite(hello: ClientHello, config: ServerConfig, resumable: Iterable[int] = ()) -> Suite:
    """The cipher suite (RFC 8446 §4.1.1): if it can be, that of a session that the client wants to resume."""
    for wanted in resumable:
        if wanted in config.suites and wanted in hello.cipher_suites:
            return config.suites[wanted]
    code = _first_common(config.suites, hello.cipher_suites, config.cipher_suite_preference)
    if code is None:
        msg = "the client offers no cipher suite of TLS 1.3 that we allow"
        raise NoCommonCipherSuite(msg)
    return config.suites[code]


def key_exchange(hello: ClientHello, config: ServerConfig) -> tuple[Group, bytes | None]:
    """The group, and the client's share for it; None asks for one by HelloRetryRequest (RFC 8446 §4.1.1)."""
    groups = hello.supported_groups or ()
    shares = hello.key_share or {}
    if not shares.keys() <= set(groups):  # §4.2.8
        msg = "key_share holds a group that supported_groups does not (RFC 8446 §4.2.8)"
        raise IllegalParameter(msg)
    wanted = _first_common(config.group_rows, groups, config.group_preference)
    if wanted is None:
        msg = "the client supports no key exchange group that we allow"
        raise NoCommonGroup(msg)
    if wanted not in shares and not config.insist_on_preferred_group:
        offered = [group for group in groups if group in shares]
        wanted = _first_common(config.group_rows, offered, config.group_preference) or wanted
    return config.group_rows[wanted], shares.get(wanted)


def application_protocol(hello: ClientHello, config: ServerConfig) -> bytes | None:
    """The application protocol, in the server's order (RFC 7301 §3.2)."""
    offered = hello.application_layer_protocol_negotiation
    if offered is None or not config.protocols:
        return None
    for protocol in config.protocols:
        if protocol in offered:
            return protocol
    names = ", ".join(repr(name.decode("ascii", "backslashreplace")) for name in offered[:8])
    msg = f"the client speaks {names}; we speak {', '.join(map(repr, config.alpn))} (RFC 7301 §3.2)"
    raise NoApplicationProtocol(msg)


def signature_scheme(hello: ClientHello, credential: Credential, config: ServerConfig) -> int:
    """What the credential signs with, in its own order (RFC 8446 §4.4.3)."""
    offered = hello.signature_algorithms or ()
    for scheme in credential.schemes:
        if scheme in offered and scheme in config.schemes:
            return scheme
    ours = ", ".join(name_of(SignatureScheme, scheme) for scheme in credential.schemes)
    msg = f"our key signs with {ours}, of which the client accepts none (RFC 8446 §4.4.2.2)"
    raise NoCommonSignatureScheme(msg)


def client_certificate_type(hello: ClientHello, config: ServerConfig) -> int | None:
    """What clients that can show other than certificates are to show (RFC 7250 §4.2); None answers nothing."""
    offered = hello.client_certificate_type
    if offered is None or config.certificate_request is None:
        return None
    verifiable = {
        CertificateType.x509: config.verification is not None or config.verifier is not None,
        CertificateType.raw_public_key: bool(config.public_keys) or config.verifier is not None,
    }
    for kind in offered:
        if verifiable.get(CertificateType(kind)):
            return kind
    msg = "the client shows no type of certificate that we can verify (RFC 7250 §4.2)"
    raise UnsupportedCertificate(msg)


# What may differ between the two ClientHellos, apart from the key_share (RFC 8446 §4.1.2).
_MAY_CHANGE = frozenset(
    {ExtensionType.key_share, ExtensionType.early_data, ExtensionType.pre_shared_key, ExtensionType.padding}
)


def check_second_hello(first: ClientHello, second: ClientHello, group: Group) -> bytes:
    """The share that the HelloRetryRequest asked for; the rest must be as it was (RFC 8446 §4.1.2)."""
    same = (
        first.random == second.random
        and first.legacy_session_id == second.legacy_session_id
        and first.cipher_suites == second.cipher_suites
        and first.legacy_version == second.legacy_version
        and second.legacy_compression_methods == first.legacy_compression_methods
        and _unchanging(first) == _unchanging(second)
    )
    if not same:
        msg = "the second ClientHello differs from the first in what must stay (RFC 8446 §4.1.2)"
        raise IllegalParameter(msg)
    if second.pre_shared_key is not None and first.pre_shared_key is None:
        msg = "the second ClientHello offers a pre-shared key, and the first did not (RFC 8446 §4.1.2)"
        raise IllegalParameter(msg)
    if second.early_data is not None:  # §4.2.10
        msg = "the second ClientHello offers early data (RFC 8446 §4.1.2)"
        raise IllegalParameter(msg)
    shares = second.key_share
    if shares is None or set(shares) != {group.code}:
        msg = f"the second ClientHello does not hold one share, for {group.code.name} (RFC 8446 §4.2.8)"
        raise IllegalParameter(msg)
    return shares[group.code]


def _unchanging(hello: ClientHello) -> dict[int, bytes]:
    return {code: data for code, data in hello.extensions.items() if code not in _MAY_CHANGE}
