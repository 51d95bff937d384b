"""Hellos, parameters and tickets that a client must refuse, each with its own error and its exact alert.

RFC 8446 §6.2 says which alert: decode_error where the bytes do not have the form, illegal_parameter where they have it
and say what they must not, unsupported_extension for an answer to what was not asked.  Every refusal is one typed
error, one alert, and a dead connection; `ClientDuel.assert_refused` checks all three.
"""

from collections.abc import Callable, Sequence

import pytest

from aiotls import ClientConfig
from aiotls.errors import (
    AlertDescription,
    DecodeError,
    IllegalParameter,
    MissingExtension,
    NoCommonVersion,
    PeerFlooding,
    TLSError,
    UnsupportedExtension,
)
from aiotls.events import ApplicationData
from aiotls.testing.server_peer import (
    CertificateRequestFields,
    EncryptedExtensionsFields,
    ScriptedServer,
    ServerHelloFields,
    append_extensions,
    encode_message,
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
    PROTOCOL,
    ClientDuel,
    Stage,
    authority,
    credential,
    default_config,
    roots,
    stages,
)

DECODE = AlertDescription.decode_error
ILLEGAL = AlertDescription.illegal_parameter
MISSING = AlertDescription.missing_extension
UNSUPPORTED = AlertDescription.unsupported_extension
VERSION = AlertDescription.protocol_version

GREASE = 0x0A0A  # RFC 8701
UNKNOWN = 0xFFCE
P256 = NamedGroup.secp256r1

Message = ServerHello | EncryptedExtensions | CertificateRequest | NewSessionTicket
Make = Callable[[ScriptedServer], Message]


def refuse(stage: Stage, raw: bytes, kind: type[TLSError], alert: AlertDescription) -> str:
    """One message against a fresh client that has come to *stage*."""
    duel = ClientDuel.at(stage)
    duel.server.send_message(raw)
    return duel.assert_refused(kind, alert)


def extension(code: int, data: bytes) -> bytes:
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


# --- The form of every message -------------------------------------------------------------------------------------

MESSAGES: dict[str, tuple[Stage, Make]] = {
    "server_hello": (Stage.HELLO_SENT, ScriptedServer.server_hello),
    "retry_request": (Stage.HELLO_SENT, lambda server: server.hello_retry_request(P256, cookie=b"cookie")),
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


@EVERY_MESSAGE
def test_client_takes_the_message_as_it_is(stage: Stage, make: Make) -> None:
    """The control for all that follows."""
    duel = ClientDuel.at(stage)
    duel.server.send(make(duel.server))
    duel.pump()
    assert duel.error is None


@pytest.mark.rfc("8446", "6.2")
@EVERY_MESSAGE
def test_client_refuses_message_truncated_anywhere(stage: Stage, make: Make) -> None:
    length = len(make(ClientDuel.at(stage).server).encode()) - HEADER_LENGTH
    for kept in range(length):
        duel = ClientDuel.at(stage)
        raw = make(duel.server).encode()
        if raw[0] == HandshakeType.server_hello and kept == 38 + raw[38]:
            continue  # the form of TLS 1.2 without extensions, which has its own test
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
@pytest.mark.parametrize("data", [b"\0", b"\0\0", b"\0\0\0", extension(UNKNOWN, b"four")[:-1]], ids=lambda d: d.hex())
def test_client_refuses_extension_that_is_cut_off(stage: Stage, make: Make, data: bytes) -> None:
    """The block's length holds, and what is in it does not."""
    duel = ClientDuel.at(stage)
    message = make(duel.server)
    bare = append_extensions(message, ())
    block = len(append_extensions(message, [(UNKNOWN, b"")])) - 4
    start = bare.rindex(bare[block_start(message) :])
    size = block - start - 2 + len(data)
    duel.server.send_message(encode_message(bare[0], bare[4:start] + size.to_bytes(2, "big") + bare[start + 2 :] + data))
    duel.assert_refused(DecodeError, DECODE)


def block_start(message: Message) -> int:
    """Where the extensions begin, with their length."""
    return len(message.encode()) - 2 - sum(4 + len(data) for _, data in extensions_of(message))


def extensions_of(message: Message) -> list[tuple[int, bytes]]:
    """The extensions of a well-formed message, in their order."""
    raw = message.encode()
    found: list[tuple[int, bytes]] = []
    for start in range(HEADER_LENGTH, len(raw) - 1):  # the block is the last, and only its own length leads to the end
        if int.from_bytes(raw[start : start + 2], "big") == len(raw) - start - 2:
            position = start + 2
            while position < len(raw):
                end = position + 4 + int.from_bytes(raw[position + 2 : position + 4], "big")
                found.append((int.from_bytes(raw[position : position + 2], "big"), raw[position + 4 : end]))
                position = end
            break
    return found
