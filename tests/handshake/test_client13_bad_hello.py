"""ServerHello and HelloRetryRequest messages that a client must refuse, each with its own error and its exact alert.

RFC 8446 §4.1.3 and §4.1.4 give a server little to say: it chooses among what was offered, echoes what it was sent, and
may ask once for another share or bring a cookie.  Whatever else it says is an illegal_parameter, but for the version,
which an honest server may be too old for.
"""

from collections.abc import Iterable
from functools import cache

import pytest

from aiotls import ClientConfig
from aiotls.errors import (
    AlertDescription,
    DecodeError,
    IllegalParameter,
    MissingExtension,
    NoCommonVersion,
    TLSError,
    UnsupportedExtension,
)
from aiotls.testing.server_peer import ServerHelloFields, encode_message, join_message, split_message
from aiotls.wire.extensions import KeyShareEntry
from aiotls.wire.messages import CertificateVerify
from aiotls.wire.registries import CipherSuite, ExtensionType, HandshakeType, NamedGroup
from tests.handshake.client13_support import ClientDuel, Stage, roots

DECODE = AlertDescription.decode_error
ILLEGAL = AlertDescription.illegal_parameter
MISSING = AlertDescription.missing_extension
UNSUPPORTED = AlertDescription.unsupported_extension
VERSION = AlertDescription.protocol_version

GREASE = 0x0A0A  # RFC 8701
P256 = NamedGroup.secp256r1
DOWNGRADES = (b"DOWNGRD\x01", b"DOWNGRD\x00")  # RFC 8446 §4.1.3


# --- ServerHello ---------------------------------------------------------------------------------------------------

WRONG_FIELDS: dict[str, tuple[ServerHelloFields, type[TLSError], AlertDescription]] = {
    "legacy_version_1_3": (ServerHelloFields(legacy_version=0x0304), IllegalParameter, ILLEGAL),
    "legacy_version_1_1": (ServerHelloFields(legacy_version=0x0302), IllegalParameter, ILLEGAL),
    "legacy_version_0": (ServerHelloFields(legacy_version=0), IllegalParameter, ILLEGAL),
    "session_id_other": (ServerHelloFields(legacy_session_id_echo=bytes(32)), IllegalParameter, ILLEGAL),
    "session_id_shorter": (ServerHelloFields(legacy_session_id_echo=bytes(31)), IllegalParameter, ILLEGAL),
    "session_id_gone": (ServerHelloFields(legacy_session_id_echo=b""), IllegalParameter, ILLEGAL),
    "session_id_too_long": (ServerHelloFields(legacy_session_id_echo=bytes(33)), DecodeError, DECODE),
    "suite_not_offered": (ServerHelloFields(cipher_suite=0x1304), IllegalParameter, ILLEGAL),
    "suite_of_tls_1_2": (ServerHelloFields(cipher_suite=0xC02F), IllegalParameter, ILLEGAL),
    "suite_that_signals": (ServerHelloFields(cipher_suite=0x00FF), IllegalParameter, ILLEGAL),
    "suite_grease": (ServerHelloFields(cipher_suite=GREASE), IllegalParameter, ILLEGAL),
    "suite_null": (ServerHelloFields(cipher_suite=0), IllegalParameter, ILLEGAL),
    "compression": (ServerHelloFields(legacy_compression_method=1), IllegalParameter, ILLEGAL),
    "compression_unknown": (ServerHelloFields(legacy_compression_method=255), IllegalParameter, ILLEGAL),
}
WRONG_VERSIONS: dict[str, tuple[ServerHelloFields, type[TLSError], AlertDescription]] = {
    "version_unsaid": (ServerHelloFields(supported_versions=None), NoCommonVersion, VERSION),
    "version_1_1": (ServerHelloFields(supported_versions=None, legacy_version=0x0302), NoCommonVersion, VERSION),
    "version_1_2_said": (ServerHelloFields(supported_versions=0x0303), IllegalParameter, ILLEGAL),
    "version_newer": (ServerHelloFields(supported_versions=0x0305), IllegalParameter, ILLEGAL),
    "version_draft": (ServerHelloFields(supported_versions=0x7F1C), IllegalParameter, ILLEGAL),
    "version_grease": (ServerHelloFields(supported_versions=GREASE), IllegalParameter, ILLEGAL),
}
WRONG_HELLOS = {
    **WRONG_FIELDS,
    **WRONG_VERSIONS,
    "key_share_missing": (ServerHelloFields(key_share=None), MissingExtension, MISSING),
    "psk_that_was_not_offered": (ServerHelloFields(pre_shared_key=0), UnsupportedExtension, UNSUPPORTED),
    "psk_alone": (ServerHelloFields(pre_shared_key=0, key_share=None), UnsupportedExtension, UNSUPPORTED),
}


@pytest.mark.rfc("8446", "4.1.3")
@pytest.mark.parametrize(("fields", "kind", "alert"), WRONG_HELLOS.values(), ids=WRONG_HELLOS)
def test_client_refuses_wrong_server_hello(
    fields: ServerHelloFields, kind: type[TLSError], alert: AlertDescription
) -> None:
    duel = ClientDuel()
    duel.server.send(duel.server.server_hello(**fields))
    duel.assert_refused(kind, alert)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize(
    ("fields", "kind", "alert"),
    [*WRONG_FIELDS.values(), *WRONG_VERSIONS.values()],
    ids=[*WRONG_FIELDS, *WRONG_VERSIONS],
)
def test_client_refuses_wrong_retry_request(
    fields: ServerHelloFields, kind: type[TLSError], alert: AlertDescription
) -> None:
    duel = ClientDuel()
    duel.server.send(duel.server.hello_retry_request(P256, **fields))
    duel.assert_refused(kind, alert)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize(("fields", "kind", "alert"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_client_refuses_wrong_second_server_hello(
    fields: ServerHelloFields, kind: type[TLSError], alert: AlertDescription
) -> None:
    duel = ClientDuel.at(Stage.RETRIED)
    duel.server.send(duel.server.server_hello(**fields))
    duel.assert_refused(kind, alert)


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("version", [None, 0x0303, 0x0305], ids=["unsaid", "1.2", "newer"])
def test_client_refuses_second_server_hello_of_another_version(version: int | None) -> None:
    """§4.1.4: the value must be that of the HelloRetryRequest."""
    duel = ClientDuel.at(Stage.RETRIED)
    duel.server.send(duel.server.server_hello(supported_versions=version))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.3")
@pytest.mark.parametrize("suite", [CipherSuite.TLS_AES_256_GCM_SHA384, CipherSuite.TLS_CHACHA20_POLY1305_SHA256])
def test_client_refuses_suite_that_we_know_and_it_did_not_offer(suite: CipherSuite) -> None:
    config = ClientConfig(
        roots=roots(), cipher_suites=(CipherSuite.TLS_AES_128_GCM_SHA256,), key_shares=(NamedGroup.x25519,)
    )
    duel = ClientDuel(config=config)
    duel.server.send(duel.server.server_hello(cipher_suite=suite))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.3")
@pytest.mark.parametrize("sentinel", DOWNGRADES, ids=["to_1_2", "to_1_1"])
@pytest.mark.parametrize("version", [0x0303, 0x0302, 0x0301])
def test_client_notices_downgrade(version: int, sentinel: bytes) -> None:
    duel = ClientDuel()
    hello = duel.server.server_hello(
        random=bytes(24) + sentinel, legacy_version=version, supported_versions=None, key_share=None
    )
    duel.server.send(hello)
    text = duel.assert_refused(IllegalParameter, ILLEGAL)
    assert "4.1.3" in text


@pytest.mark.rfc("8446", "4.1.3")
@pytest.mark.parametrize("sentinel", DOWNGRADES, ids=["to_1_2", "to_1_1"])
def test_client_takes_sentinel_where_nothing_was_downgraded(sentinel: bytes) -> None:
    """The control: the check is for a ServerHello of TLS 1.2 or below."""
    duel = ClientDuel()
    duel.server.send_server_hello(random=bytes(24) + sentinel)
    duel.stage = Stage.SERVER_HELLO
    duel.assert_in_order()


@pytest.mark.rfc("8446", "4.2.1")
def test_client_says_what_is_wrong_with_server_that_stops_at_tls_1_2() -> None:
    """A ServerHello as such servers send it: it answers the server name and the protocol right there."""
    for more in (
        [],
        [(ExtensionType.server_name, b"")],
        [(ExtensionType.application_layer_protocol_negotiation, b"\0\x09\x08http/1.1")],
        [(ExtensionType.status_request, b"")],
    ):
        duel = ClientDuel()
        front, _ = split_message(duel.server.server_hello(cipher_suite=0xC02F, legacy_session_id_echo=bytes(32)))
        duel.server.send_message(join_message(HandshakeType.server_hello, front, more))
        text = duel.assert_refused(NoCommonVersion, VERSION)
        assert "TLSv1_2" in text


@pytest.mark.rfc("8446", "4.2.1")
def test_client_says_what_is_wrong_with_server_hello_without_extensions() -> None:
    duel = ClientDuel()
    front, _ = split_message(duel.server.server_hello(cipher_suite=0xC02F))
    duel.server.send_message(encode_message(HandshakeType.server_hello, front))
    duel.assert_refused(NoCommonVersion, VERSION)


# --- HelloRetryRequest ---------------------------------------------------------------------------------------------

WRONG_REQUESTS: dict[str, tuple[int | None, bytes | None, type[TLSError], AlertDescription]] = {
    "group_with_share": (NamedGroup.x25519, None, IllegalParameter, ILLEGAL),
    "group_with_share_and_cookie": (NamedGroup.x25519, b"cookie", IllegalParameter, ILLEGAL),
    "group_not_offered": (NamedGroup.secp384r1, None, IllegalParameter, ILLEGAL),
    "group_unknown": (NamedGroup.x448, None, IllegalParameter, ILLEGAL),
    "group_grease": (GREASE, None, IllegalParameter, ILLEGAL),
    "nothing_to_change": (None, None, IllegalParameter, ILLEGAL),
    "empty_cookie": (P256, b"", DecodeError, DECODE),
    "empty_cookie_alone": (None, b"", DecodeError, DECODE),
}


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize(("group", "cookie", "kind", "alert"), WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_client_refuses_retry_request_for_nothing_that_it_can_give(
    group: int | None, cookie: bytes | None, kind: type[TLSError], alert: AlertDescription
) -> None:
    duel = ClientDuel()
    duel.server.send(duel.server.hello_retry_request(group, cookie=cookie))
    duel.assert_refused(kind, alert)


@pytest.mark.rfc("8446", "4.1.2")
@pytest.mark.parametrize("cookie", [None, b"c", b"cookie" * 50, bytes(60_000)], ids=lambda c: str(len(c or b"")))
@pytest.mark.parametrize("group", [P256, None])
def test_client_changes_only_what_the_retry_request_wants(group: NamedGroup | None, cookie: bytes | None) -> None:
    if group is None and cookie is None:
        return  # nothing to change: refused above
    duel = ClientDuel()
    first = duel.server.client_hello
    duel.server.send_hello_retry_request(group, cookie=cookie)
    duel.pump()
    second = duel.server.client_hello
    assert second is not first
    assert second.cookie == cookie
    assert list(second.key_share or {}) == [group or NamedGroup.x25519]
    if group is None:
        assert second.key_share == first.key_share
    assert (second.random, second.legacy_session_id, second.cipher_suites, second.legacy_version) == (
        first.random,
        first.legacy_session_id,
        first.cipher_suites,
        first.legacy_version,
    )
    changed = {ExtensionType.key_share, ExtensionType.cookie}
    rest = {code: data for code, data in second.extensions.items() if code not in changed}
    assert rest == {code: data for code, data in first.extensions.items() if code not in changed}
    duel.stage = Stage.RETRIED
    duel.assert_in_order()


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("suite", [CipherSuite.TLS_AES_256_GCM_SHA384, CipherSuite.TLS_CHACHA20_POLY1305_SHA256])
def test_client_refuses_server_hello_of_another_suite_than_the_retry_request(suite: CipherSuite) -> None:
    duel = ClientDuel.at(Stage.RETRIED)
    duel.server.send(duel.server.server_hello(cipher_suite=suite))
    duel.assert_refused(IllegalParameter, ILLEGAL)


# --- GREASE --------------------------------------------------------------------------------------------------------


@cache
def greasing() -> ClientConfig:
    return ClientConfig(roots=roots(), grease=True, key_shares=(NamedGroup.x25519,))


def reserved(values: Iterable[int] | None) -> int:
    """The value that RFC 8701 §2 reserves, among those that the client sent."""
    return next(value for value in values or () if value & 0x0F0F == GREASE)


@pytest.mark.rfc("8701", "4.1")
@pytest.mark.parametrize("field", ["cipher_suite", "supported_versions", "key_share"])
def test_client_refuses_the_reserved_value_that_it_sent_itself(field: str) -> None:
    duel = ClientDuel(config=greasing())
    offer = duel.server.client_hello
    fields = {
        "cipher_suite": ServerHelloFields(cipher_suite=reserved(offer.cipher_suites)),
        "supported_versions": ServerHelloFields(supported_versions=reserved(offer.supported_versions)),
        "key_share": ServerHelloFields(key_share=KeyShareEntry(reserved(offer.key_share), b"\0")),
    }
    duel.server.send(duel.server.server_hello(**fields[field]))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8701", "4.1")
def test_client_refuses_retry_for_the_reserved_group_that_it_sent_itself() -> None:
    duel = ClientDuel(config=greasing())
    duel.server.send(duel.server.hello_retry_request(reserved(duel.server.client_hello.supported_groups)))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8701", "4.1")
@pytest.mark.parametrize("stage", [Stage.HELLO_SENT, Stage.SERVER_HELLO], ids=["server_hello", "encrypted_extensions"])
def test_client_refuses_answer_to_the_reserved_extension_that_it_sent_itself(stage: Stage) -> None:
    duel = ClientDuel.at(stage, config=greasing())
    server = duel.server
    message = server.server_hello() if stage is Stage.HELLO_SENT else server.encrypted_extensions()
    front, extensions = split_message(message)
    more = (reserved(server.client_hello.extensions), b"")
    server.send_message(join_message(message.handshake_type, front, [*extensions, more]))
    duel.assert_refused(UnsupportedExtension, UNSUPPORTED)


@pytest.mark.rfc("8701", "4.1")
def test_client_refuses_the_reserved_scheme_that_it_sent_itself() -> None:
    duel = ClientDuel.at(Stage.CERTIFICATE, config=greasing())
    scheme = reserved(duel.server.client_hello.signature_algorithms)
    duel.server.send(CertificateVerify(scheme, duel.server.certificate_verify().signature))
    duel.assert_refused(IllegalParameter, ILLEGAL)


def test_client_that_sends_reserved_values_connects() -> None:
    """The control for the above."""
    ClientDuel(config=greasing()).assert_in_order()
