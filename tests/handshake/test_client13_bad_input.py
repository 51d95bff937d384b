"""Parameters and tickets that a client must refuse, and the form of every message, each with its error and its alert.

RFC 8446 §6.2 says which alert: decode_error where the bytes do not have the form, illegal_parameter where they have it
and say what they must not, unsupported_extension for an answer to what was not asked.  Every refusal is one typed
error, one alert, and a dead connection; `ClientDuel.assert_refused` checks all three.
"""

from collections.abc import Callable

import pytest

from aiotls import ClientConfig
from aiotls.errors import (
    AlertDescription,
    DecodeError,
    IllegalParameter,
    MissingExtension,
    PeerFlooding,
    TLSError,
    UnsupportedExtension,
)
from aiotls.testing.server_peer import (
    CertificateRequestFields,
    EncryptedExtensionsFields,
    ScriptedServer,
    encode_message,
    join_message,
    split_message,
)
from aiotls.wire.messages import (
    HEADER_LENGTH,
    CertificateRequest,
    EncryptedExtensions,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from aiotls.wire.registries import ContentType, ExtensionType, HandshakeType, NamedGroup
from tests.handshake.client13_support import (
    HANDSHAKE,
    PROTOCOL,
    ClientDuel,
    Stage,
    authority,
    roots,
    stages,
)

DECODE = AlertDescription.decode_error
ILLEGAL = AlertDescription.illegal_parameter
MISSING = AlertDescription.missing_extension
UNEXPECTED = AlertDescription.unexpected_message
UNSUPPORTED = AlertDescription.unsupported_extension

GREASE = 0x0A0A  # RFC 8701
UNKNOWN = 0xFFCE
P256 = NamedGroup.secp256r1

Message = ServerHello | EncryptedExtensions | CertificateRequest | NewSessionTicket
Make = Callable[[ScriptedServer], Message]
Extensions = list[tuple[int, bytes]]


def extended(message: Message, *more: tuple[int, bytes]) -> bytes:
    """The message with more extensions behind its own."""
    front, extensions = split_message(message)
    return join_message(message.handshake_type, front, [*extensions, *more])


# --- The form of every message -------------------------------------------------------------------------------------

MESSAGES: dict[str, tuple[Stage, Make]] = {
    "server_hello": (Stage.HELLO_SENT, ScriptedServer.server_hello),
    "retry_request": (Stage.HELLO_SENT, lambda server: server.hello_retry_request(P256, cookie=b"cookie")),
    "second_server_hello": (Stage.RETRIED, ScriptedServer.server_hello),
    "encrypted_extensions": (
        Stage.SERVER_HELLO,
        lambda server: server.encrypted_extensions(
            server_name=True, supported_groups=(29, 23), application_layer_protocol_negotiation=PROTOCOL
        ),
    ),
    "certificate_request": (
        Stage.EXTENSIONS,
        lambda server: server.certificate_request(
            signature_algorithms_cert=(0x0403,),
            certificate_authorities=(b"\x30\x00",),
            oid_filters=((b"\x55", b"value"),),
            status_request=True,
            compress_certificate=(1,),
        ),
    ),
    "new_session_ticket": (Stage.CONNECTED, lambda server: server.new_session_ticket(early_data=7)),
}
EVERY_MESSAGE = pytest.mark.parametrize(("stage", "make"), MESSAGES.values(), ids=MESSAGES)


def refuse_extensions(
    stage: Stage, make: Make, change: Callable[[Extensions], Extensions], kind: type[TLSError], alert: AlertDescription
) -> None:
    """The message with other extensions, against a fresh client."""
    duel = ClientDuel.at(stage)
    message = make(duel.server)
    front, extensions = split_message(message)
    duel.server.send_message(join_message(message.handshake_type, front, change(extensions)))
    duel.assert_refused(kind, alert)


@EVERY_MESSAGE
def test_client_takes_message_that_nobody_changed(stage: Stage, make: Make) -> None:
    """The control for all that follows."""
    duel = ClientDuel.at(stage)
    duel.server.send(make(duel.server))
    duel.pump()
    assert duel.error is None


@pytest.mark.rfc("8446", "6.2")
@EVERY_MESSAGE
def test_client_refuses_message_truncated_anywhere(stage: Stage, make: Make) -> None:
    sample = make(ClientDuel.at(stage).server)
    without_extensions = len(split_message(sample)[0]) if isinstance(sample, ServerHello) else -1
    for kept in range(len(sample.encode()) - HEADER_LENGTH):
        if kept == without_extensions:
            continue  # the form of TLS 1.2: it has its own test
        duel = ClientDuel.at(stage)
        raw = make(duel.server).encode()
        duel.server.send_message(encode_message(raw[0], raw[HEADER_LENGTH : HEADER_LENGTH + kept]))
        duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "6.2")
@EVERY_MESSAGE
def test_client_refuses_trailing_byte(stage: Stage, make: Make) -> None:
    duel = ClientDuel.at(stage)
    raw = make(duel.server).encode()
    duel.server.send_message(encode_message(raw[0], raw[HEADER_LENGTH:] + b"\0"))
    duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "6.2")
@EVERY_MESSAGE
@pytest.mark.parametrize("claimed", [1, 255, 0xFFFF])
def test_client_refuses_extension_longer_than_its_block(stage: Stage, make: Make, claimed: int) -> None:
    duel = ClientDuel.at(stage)
    raw = extended(make(duel.server), (UNKNOWN, b""))
    duel.server.send_message(raw[:-2] + claimed.to_bytes(2, "big"))
    duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "6.2")
@EVERY_MESSAGE
def test_client_refuses_extension_with_wrong_content(stage: Stage, make: Make) -> None:
    """One byte more than there should be, one less, and none."""
    count = len(split_message(make(ClientDuel.at(stage).server))[1])
    for place in range(count):

        def longer(extensions: Extensions, place: int = place) -> Extensions:
            code, data = extensions[place]
            return [*extensions[:place], (code, data + b"\0"), *extensions[place + 1 :]]

        def shorter(extensions: Extensions, place: int = place) -> Extensions:
            code, data = extensions[place]
            return [*extensions[:place], (code, data[:-1] or b"\0"), *extensions[place + 1 :]]

        def empty(extensions: Extensions, place: int = place) -> Extensions:
            code, data = extensions[place]
            return [*extensions[:place], (code, b"" if data else b"\0"), *extensions[place + 1 :]]

        for change in (longer, shorter, empty):
            refuse_extensions(stage, make, change, DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.2")
@EVERY_MESSAGE
def test_client_refuses_extension_that_comes_twice(stage: Stage, make: Make) -> None:
    count = len(split_message(make(ClientDuel.at(stage).server))[1])
    for place in range(count):

        def at_the_end(extensions: Extensions, place: int = place) -> Extensions:
            return [*extensions, extensions[place]]

        def in_front(extensions: Extensions, place: int = place) -> Extensions:
            return [extensions[place], *extensions]

        for change in (at_the_end, in_front):
            refuse_extensions(stage, make, change, IllegalParameter, ILLEGAL)


ANSWERS = {name: case for name, case in MESSAGES.items() if name not in {"certificate_request", "new_session_ticket"}}
REQUESTS = {name: case for name, case in MESSAGES.items() if name not in ANSWERS}

NOT_OFFERED = {
    "unknown": (UNKNOWN, b"content"),
    "grease": (GREASE, b""),
    "signed_certificate_timestamp": (ExtensionType.signed_certificate_timestamp, b""),
    "max_fragment_length": (ExtensionType.max_fragment_length, b"\1"),
    "extended_master_secret": (ExtensionType.extended_master_secret, b""),
    "session_ticket": (ExtensionType.session_ticket, b""),
    "renegotiation_info": (ExtensionType.renegotiation_info, b"\0"),
}


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize("more", NOT_OFFERED.values(), ids=NOT_OFFERED)
@pytest.mark.parametrize(("stage", "make"), ANSWERS.values(), ids=ANSWERS)
def test_client_refuses_answer_to_what_it_did_not_offer(stage: Stage, make: Make, more: tuple[int, bytes]) -> None:
    refuse_extensions(stage, make, lambda all_: [*all_, more], UnsupportedExtension, UNSUPPORTED)


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize("more", NOT_OFFERED.values(), ids=NOT_OFFERED)
@pytest.mark.parametrize(("stage", "make"), REQUESTS.values(), ids=REQUESTS)
def test_client_ignores_request_that_it_does_not_know(stage: Stage, make: Make, more: tuple[int, bytes]) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_message(extended(make(duel.server), more))
    duel.pump()
    assert duel.error is None


MAY_BE_IN: dict[str, set[str]] = {
    "server_hello": {"key_share", "supported_versions", "pre_shared_key"},
    "retry_request": {"key_share", "supported_versions", "cookie"},
    "second_server_hello": {"key_share", "supported_versions", "pre_shared_key"},
    "encrypted_extensions": {
        "server_name",
        "supported_groups",
        "application_layer_protocol_negotiation",
        "early_data",
        "record_size_limit",
        "client_certificate_type",
        "server_certificate_type",
    },
    "certificate_request": {
        "signature_algorithms",
        "signature_algorithms_cert",
        "certificate_authorities",
        "oid_filters",
        "status_request",
        "compress_certificate",
    },
    "new_session_ticket": {"early_data"},
}
"""The table of RFC 8446 §4.2, with what RFC 7250, 8449 and 8879 add to it."""

IN_NO_TABLE = {
    "max_fragment_length",
    "use_srtp",
    "heartbeat",
    "signed_certificate_timestamp",
    "padding",
    "extended_master_secret",
    "session_ticket",
    "renegotiation_info",
}
"""Those that the library does not know: they are refused in answers as not offered, and ignored in requests."""

MISPLACED = [
    pytest.param(*MESSAGES[name], code, id=f"{name}-{code.name}")
    for name, allowed in MAY_BE_IN.items()
    for code in ExtensionType
    if code.name not in allowed | IN_NO_TABLE
]


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize(("stage", "make", "code"), MISPLACED)
def test_client_refuses_extension_that_has_no_place_in_the_message(
    stage: Stage, make: Make, code: ExtensionType
) -> None:
    refuse_extensions(stage, make, lambda all_: [*all_, (code, b"\0\0")], IllegalParameter, ILLEGAL)


# --- EncryptedExtensions -------------------------------------------------------------------------------------------


def refuse_answers(
    fields: EncryptedExtensionsFields,
    kind: type[TLSError],
    alert: AlertDescription,
    config: ClientConfig | None = None,
) -> None:
    duel = ClientDuel.at(Stage.SERVER_HELLO, config=config)
    duel.server.send(duel.server.encrypted_extensions(**fields))
    duel.assert_refused(kind, alert)


UNSOLICITED: dict[str, EncryptedExtensionsFields] = {
    "alpn": EncryptedExtensionsFields(application_layer_protocol_negotiation=PROTOCOL),
    "early_data": EncryptedExtensionsFields(early_data=True),
    "record_size_limit": EncryptedExtensionsFields(record_size_limit=1000),
    "client_certificate_type": EncryptedExtensionsFields(client_certificate_type=2),
    "server_certificate_type": EncryptedExtensionsFields(server_certificate_type=2),
    "server_name": EncryptedExtensionsFields(server_name=True),
}


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize("fields", UNSOLICITED.values(), ids=UNSOLICITED)
def test_client_refuses_unsolicited_answer(fields: EncryptedExtensionsFields) -> None:
    config = ClientConfig(roots=roots(), send_server_name=False, key_shares=(NamedGroup.x25519,))
    refuse_answers(fields, UnsupportedExtension, UNSUPPORTED, config)


@pytest.mark.rfc("7301", "3.1")
@pytest.mark.parametrize("protocol", [b"h2", b"HTTP/1.1", b"http/1.1\0", b"\xff"])
def test_client_refuses_protocol_that_it_did_not_offer(protocol: bytes) -> None:
    fields = EncryptedExtensionsFields(application_layer_protocol_negotiation=protocol)
    refuse_answers(fields, IllegalParameter, ILLEGAL)


@pytest.mark.rfc("7301", "3.1")
@pytest.mark.parametrize(
    "data",
    [b"\0\x12" + b"\x08http/1.1" * 2, b"\0\x0c\x08http/1.1\x02h2", b"\0\0", b"\0\x01\0", b"\0\x0a\x08http/1.1\0"],
    ids=["twice", "two", "none", "empty", "empty_second"],
)
def test_client_refuses_more_or_less_than_one_protocol(data: bytes) -> None:
    duel = ClientDuel.at(Stage.SERVER_HELLO)
    more = (ExtensionType.application_layer_protocol_negotiation, data)
    duel.server.send_message(extended(EncryptedExtensions(), more))
    duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8449", "4")
def test_client_refuses_record_size_limit_that_is_too_small() -> None:
    config = ClientConfig(roots=roots(), record_size_limit=2000, key_shares=(NamedGroup.x25519,))
    refuse_answers(EncryptedExtensionsFields(record_size_limit=63), IllegalParameter, ILLEGAL, config)
    for allowed in (64, 16_385, 0xFFFF):  # §4: one that is greater than the protocol's own is no error
        duel = ClientDuel.at(Stage.SERVER_HELLO, config=config)
        duel.server.send(duel.server.encrypted_extensions(record_size_limit=allowed))
        duel.stage = Stage.EXTENSIONS
        duel.assert_in_order()


@pytest.mark.rfc("7250", "4.2")
@pytest.mark.parametrize("chosen", [1, 3, 255])
def test_client_refuses_certificate_type_that_it_did_not_offer(chosen: int) -> None:
    key = b"\x30\x00"  # never looked at
    config = ClientConfig(roots=roots(), trusted_public_keys=(key,), key_shares=(NamedGroup.x25519,))
    refuse_answers(EncryptedExtensionsFields(server_certificate_type=chosen), IllegalParameter, ILLEGAL, config)


@pytest.mark.rfc("8446", "4.3.1")
def test_client_takes_every_answer_that_it_asked_for() -> None:
    """The control for the above."""
    duel = ClientDuel.at(Stage.SERVER_HELLO)
    answers = duel.server.encrypted_extensions(
        server_name=True, supported_groups=(GREASE, 0x001D), application_layer_protocol_negotiation=PROTOCOL
    )
    duel.server.send(answers)
    duel.stage = Stage.EXTENSIONS
    duel.assert_in_order()
    assert duel.client.negotiated is not None
    assert duel.client.negotiated.alpn == PROTOCOL.decode()


# --- CertificateRequest --------------------------------------------------------------------------------------------

WRONG_CERTIFICATE_REQUESTS: dict[str, tuple[CertificateRequestFields, type[TLSError], AlertDescription]] = {
    "context": (CertificateRequestFields(certificate_request_context=b"\1"), IllegalParameter, ILLEGAL),
    "long_context": (CertificateRequestFields(certificate_request_context=bytes(255)), IllegalParameter, ILLEGAL),
    "no_signature_algorithms": (CertificateRequestFields(signature_algorithms=None), MissingExtension, MISSING),
    "empty_signature_algorithms": (CertificateRequestFields(signature_algorithms=()), DecodeError, DECODE),
    "empty_signature_algorithms_cert": (CertificateRequestFields(signature_algorithms_cert=()), DecodeError, DECODE),
    "empty_authorities": (CertificateRequestFields(certificate_authorities=()), DecodeError, DECODE),
    "empty_authority": (CertificateRequestFields(certificate_authorities=(b"", b"\x30\x00")), DecodeError, DECODE),
    "empty_oid": (CertificateRequestFields(oid_filters=((b"", b"value"),)), DecodeError, DECODE),
}


@pytest.mark.rfc("8446", "4.3.2")
@pytest.mark.parametrize(
    ("fields", "kind", "alert"), WRONG_CERTIFICATE_REQUESTS.values(), ids=WRONG_CERTIFICATE_REQUESTS
)
def test_client_refuses_wrong_certificate_request(
    fields: CertificateRequestFields, kind: type[TLSError], alert: AlertDescription
) -> None:
    duel = ClientDuel.at(Stage.EXTENSIONS)
    duel.server.send(duel.server.certificate_request(**fields))
    duel.assert_refused(kind, alert)


@pytest.mark.rfc("8446", "4.4.2")
@pytest.mark.parametrize("schemes", [(0x0403,), (0x0804,), (GREASE, 0x0201)], ids=["common", "other_key", "unknown"])
@pytest.mark.parametrize("has_one", [False, True], ids=["without", "with"])
def test_client_answers_certificate_request(schemes: tuple[int, ...], *, has_one: bool) -> None:
    """The control: with its certificate if it has one that fits, and else with an empty message."""
    ours = authority().issue("client.test").credential() if has_one else None
    duel = ClientDuel.at(
        Stage.EXTENSIONS, config=ClientConfig(roots=roots(), credentials=ours, key_shares=(NamedGroup.x25519,))
    )
    duel.server.send(duel.server.certificate_request(signature_algorithms=schemes))
    duel.stage = Stage.REQUESTED
    duel.assert_in_order()
    fits = ours is not None and 0x0403 in schemes
    assert duel.server.client_certificates == (ours.chain if ours is not None and fits else ())
    names = [type(message).__name__ for message in duel.server.client_messages[1:]]
    assert names == ["Certificate", *["CertificateVerify"] * fits, "Finished"]


# --- How long a message may be -------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [(64 << 10) - HEADER_LENGTH + 1, 0xFFFFFF])
@stages(*Stage)
def test_client_refuses_oversized_message_by_its_header(stage: Stage, length: int) -> None:
    duel = ClientDuel.at(stage)
    duel.server.send_record(ContentType.handshake, bytes((HandshakeType.server_hello, *length.to_bytes(3, "big"))))
    text = duel.assert_refused(IllegalParameter, ILLEGAL)
    assert "65536" in text


def test_client_takes_message_of_the_greatest_size_and_none_longer() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    ticket = duel.server.new_session_ticket()
    filler = bytes((64 << 10) - len(extended(ticket, (UNKNOWN, b""))))
    duel.server.send_message(extended(ticket, (UNKNOWN, filler)))
    duel.assert_in_order()
    duel.server.send_message(extended(ticket, (UNKNOWN, filler + b"\0")))
    duel.assert_refused(IllegalParameter, ILLEGAL)


# --- After the handshake -------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.6.1")
def test_client_refuses_empty_ticket() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send(duel.server.new_session_ticket(ticket=b""))
    duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.6.1")
def test_client_takes_tickets_at_the_edges_of_their_form() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    for ticket in (
        duel.server.new_session_ticket(ticket_lifetime=0),
        duel.server.new_session_ticket(ticket_lifetime=604_801),  # a server must not; a client just keeps it no longer
        duel.server.new_session_ticket(ticket_lifetime=0xFFFFFFFF, ticket_age_add=0xFFFFFFFF),
        duel.server.new_session_ticket(ticket_nonce=b"", ticket=b"t"),
        duel.server.new_session_ticket(ticket_nonce=bytes(255), ticket=bytes(60_000)),
    ):
        duel.server.send(ticket)
    duel.assert_in_order()


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("value", [2, 3, 127, 128, 255])
def test_client_refuses_key_update_with_unknown_request(value: int) -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_message(encode_message(HandshakeType.key_update, bytes((value,))))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("body", [b"", b"\0\0", b"\x01\0\0", bytes(200)], ids=len)
def test_client_refuses_key_update_of_wrong_length(body: bytes) -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    duel.server.send_message(encode_message(HandshakeType.key_update, body))
    duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.6")
@pytest.mark.parametrize("kind", ["ticket", "key_update", "request", "by_turns"])
def test_client_bounds_messages_after_the_handshake(kind: str) -> None:
    duel = ClientDuel.at(Stage.CONNECTED)

    def send(number: int) -> None:
        if kind == "ticket" or (kind == "by_turns" and number % 2):
            duel.server.send(duel.server.new_session_ticket())
        else:
            duel.server.send_key_update(request_peer=kind == "request")

    for number in range(32):
        send(number)
    duel.pump()
    assert duel.error is None
    send(32)
    duel.assert_refused(PeerFlooding, UNEXPECTED)


@pytest.mark.rfc("8446", "4.6")
def test_client_counts_anew_after_data() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    for _ in range(3):
        for _ in range(32):
            duel.server.send(duel.server.new_session_ticket())
        duel.server.send_data(b"data")
    duel.assert_in_order()


@pytest.mark.rfc("8446", "4.6.3")
def test_client_answers_many_requests_that_came_at_once_with_one_key_update() -> None:
    duel = ClientDuel.at(Stage.CONNECTED)
    for _ in range(20):
        duel.server.send_key_update(request_peer=True)
    duel.pump()
    assert [message for message in duel.server.client_messages if isinstance(message, KeyUpdate)] == [KeyUpdate(0)]
    duel.assert_in_order()


@stages(*HANDSHAKE)
def test_client_is_not_complete_before_finished(stage: Stage) -> None:
    duel = ClientDuel.at(stage)
    assert duel.events == []
    assert duel.client.negotiated is None
    assert not duel.client.can_send
