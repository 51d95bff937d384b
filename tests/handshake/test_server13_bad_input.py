"""ClientHellos and other handshake messages that a server must refuse, each with its own error and its exact alert.

RFC 8446 §6.2 says which alert: decode_error where the bytes do not have the form, illegal_parameter where they have it
and say what they must not, missing_extension, and the incompatibilities, which are nobody's fault.  Every refusal
is one typed error, one alert, and a dead connection; `Duel.assert_refused` checks all three.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aiotls import ServerConfig
from aiotls.errors import (
    AlertDescription,
    DecodeError,
    DecryptError,
    IllegalParameter,
    MissingExtension,
    NoApplicationProtocol,
    NoCommonCipherSuite,
    NoCommonGroup,
    NoCommonSignatureScheme,
    NoCommonVersion,
    TLSError,
    UnrecognizedName,
)
from aiotls.testing.peer import HelloFields, encode_message, join_hello, split_hello
from aiotls.wire.extensions import OfferedPsks, PskIdentity
from aiotls.wire.messages import HEADER_LENGTH, Finished
from aiotls.wire.registries import ContentType, ExtensionType, HandshakeType
from tests.handshake.conftest import Duel, Stage, credential

DECODE = AlertDescription.decode_error
ILLEGAL = AlertDescription.illegal_parameter
MISSING = AlertDescription.missing_extension

GREASE = 0x0A0A  # RFC 8701
X25519, P256, P521 = 0x001D, 0x0017, 0x0019
ONE_PSK = OfferedPsks((PskIdentity(b"ticket", 7),), (b"\xee" * 32,))


# --- A ClientHello with everything in it, and all its length fields ------------------------------------------------


def full_hello(duel: Duel) -> bytes:
    """A ClientHello with every extension that we know, and fixed bytes wherever there could be random ones."""
    share = duel.client.hello().key_share or {}
    return duel.client.hello(
        random=b"\xaa" * 32,
        legacy_session_id=b"\xbb" * 32,
        signature_algorithms_cert=(0x0403, 0x0804),
        application_layer_protocol_negotiation=(b"h2", b"http/1.1"),
        cookie=b"\xcc" * 9,
        key_share={**share, 0x0017: b"\x04" + b"\xdd" * 64},
        psk_key_exchange_modes=(1,),
        early_data=True,
        certificate_authorities=(b"\x30\x00", b"\x30\x01\x00"),
        post_handshake_auth=True,
        pre_shared_key=OfferedPsks(
            (PskIdentity(b"\xee" * 20, 7), PskIdentity(b"\xee" * 30, 7)), (b"\xee" * 32, b"\xee" * 48)
        ),
    ).encode()


@dataclass(frozen=True)
class Vector:
    """``element name<...>`` behind a length of *size* bytes; opaque without *element*."""

    name: str
    size: int
    element: tuple["int | Vector", ...] = ()


INTERIORS: dict[int, tuple[int | Vector, ...]] = {
    ExtensionType.server_name: (Vector("list", 2, (1, Vector("name", 2))),),
    ExtensionType.supported_groups: (Vector("list", 2),),
    ExtensionType.signature_algorithms: (Vector("list", 2),),
    ExtensionType.signature_algorithms_cert: (Vector("list", 2),),
    ExtensionType.application_layer_protocol_negotiation: (Vector("list", 2, (Vector("name", 1),)),),
    ExtensionType.supported_versions: (Vector("list", 1),),
    ExtensionType.cookie: (Vector("cookie", 2),),
    ExtensionType.key_share: (Vector("list", 2, (2, Vector("share", 2))),),
    ExtensionType.psk_key_exchange_modes: (Vector("list", 1),),
    ExtensionType.certificate_authorities: (Vector("list", 2, (Vector("name", 2),)),),
    ExtensionType.pre_shared_key: (
        Vector("identities", 2, (Vector("identity", 2), 4)),
        Vector("binders", 2, (Vector("binder", 1),)),
    ),
}
"""RFC 8446 §4.2, RFC 6066 §3, RFC 7301 §3.1, as far as there are lengths; a number is so many bytes without one."""

FRONT = (34, Vector("session_id", 1), Vector("cipher_suites", 2), Vector("compression_methods", 1))


@dataclass(frozen=True)
class LengthField:
    """Where a length stands, and what it says."""

    path: str
    offset: int
    size: int
    value: int

    def rewritten(self, raw: bytes, value: int) -> bytes:
        return raw[: self.offset] + value.to_bytes(self.size, "big") + raw[self.offset + self.size :]

    def wrong_values(self) -> Iterator[int]:
        """One too many, one too few, none, and as many as the field can say."""
        for value in (self.value + 1, self.value - 1, 0, (1 << 8 * self.size) - 1):
            if value != self.value and value >= 0:
                yield value


class Walker:
    """Walks through the bytes of a ClientHello, and notes every length field."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.position = HEADER_LENGTH
        self.found: list[LengthField] = []
        self.walk(FRONT, "")
        end = self.length("extensions", 2)
        while self.position < end:
            code = int.from_bytes(raw[self.position : self.position + 2], "big")
            self.position += 2
            name = ExtensionType(code).name
            self.length(name, 2)
            self.walk(INTERIORS.get(code, ()), f"{name}.")
        assert self.position == end == len(raw)

    def length(self, path: str, size: int) -> int:
        """Note a length field; where what it counts ends."""
        value = int.from_bytes(self.raw[self.position : self.position + size], "big")
        self.found.append(LengthField(path, self.position, size, value))
        self.position += size
        return self.position + value

    def walk(self, parts: tuple[int | Vector, ...], path: str) -> None:
        for part in parts:
            if isinstance(part, int):
                self.position += part
                continue
            end = self.length(path + part.name, part.size)
            while part.element and self.position < end:
                self.walk(part.element, f"{path}{part.name}.")
            self.position = end


def refuse_hello(raw: bytes, kind: type[TLSError], alert: AlertDescription) -> str:
    """One ClientHello against a fresh server."""
    duel = Duel()
    duel.client.send_message(raw)
    return duel.assert_refused(kind, alert)


def refuse_fields(fields: HelloFields, kind: type[TLSError], alert: AlertDescription) -> str:
    """One ClientHello with other *fields* than an honest one."""
    duel = Duel()
    duel.client.send_hello(**fields)
    return duel.assert_refused(kind, alert)


def test_walker_finds_every_length_of_the_full_hello() -> None:
    found = Walker(full_hello(Duel())).found
    assert len(found) == 40
    assert {field.path.split(".")[0] for field in found} >= {ExtensionType(code).name for code in INTERIORS}


@pytest.mark.rfc("8446", "6.2")
def test_server_refuses_every_length_that_is_wrong() -> None:
    raw = full_hello(Duel())
    for field in Walker(raw).found:
        for value in field.wrong_values():
            refuse_hello(field.rewritten(raw, value), DecodeError, DECODE)


@pytest.mark.rfc("8446", "6.2")
def test_server_refuses_hello_truncated_anywhere() -> None:
    raw = full_hello(Duel())
    body = raw[HEADER_LENGTH:]
    before_extensions = len(split_hello(raw)[0])
    for length in range(len(body)):
        shortened = encode_message(HandshakeType.client_hello, body[:length])
        if length == before_extensions:  # the form of TLS 1.2 without extensions (RFC 8446 §4.1.2)
            refuse_hello(shortened, NoCommonVersion, AlertDescription.protocol_version)
        else:
            refuse_hello(shortened, DecodeError, DECODE)


@pytest.mark.rfc("8446", "6.2")
def test_server_refuses_trailing_bytes_behind_every_vector() -> None:
    """The vector and all that holds it are lengthened by a byte that belongs to nothing."""
    raw = full_hello(Duel())
    front, extensions = split_hello(raw)
    refuse_hello(encode_message(HandshakeType.client_hello, raw[HEADER_LENGTH:] + b"\0"), DecodeError, DECODE)
    for place, (code, data) in enumerate(extensions):
        longer = [*extensions[:place], (code, data + b"\0"), *extensions[place + 1 :]]
        refuse_hello(join_hello(front, longer), DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.2")
def test_server_refuses_every_known_extension_without_content_that_must_have_some() -> None:
    front, extensions = split_hello(full_hello(Duel()))
    for place, (code, data) in enumerate(extensions):
        if data:
            emptied = [*extensions[:place], (code, b""), *extensions[place + 1 :]]
            refuse_hello(join_hello(front, emptied), DecodeError, DECODE)


# --- What a ClientHello must and must not say ----------------------------------------------------------------------

WRONG_FIELDS = {
    "session_id_too_long": (HelloFields(legacy_session_id=bytes(33)), DecodeError, DECODE),
    "no_compression_methods": (HelloFields(legacy_compression_methods=b""), DecodeError, DECODE),
    "compression_without_null": (HelloFields(legacy_compression_methods=b"\x01"), IllegalParameter, ILLEGAL),
    "compression_beside_null": (HelloFields(legacy_compression_methods=b"\x01\0"), IllegalParameter, ILLEGAL),
    "null_compression_twice": (HelloFields(legacy_compression_methods=b"\0\0"), IllegalParameter, ILLEGAL),
    "no_cipher_suites": (HelloFields(cipher_suites=()), DecodeError, DECODE),
    "random_too_short": (HelloFields(random=bytes(31), legacy_session_id=b""), DecodeError, DECODE),
    "host_name_with_null": (HelloFields(server_name="local\0host"), IllegalParameter, ILLEGAL),
    "host_name_empty": (HelloFields(server_name=""), DecodeError, DECODE),
    "protocol_name_empty": (
        HelloFields(application_layer_protocol_negotiation=(b"http/1.1", b"")),
        DecodeError,
        DECODE,
    ),
    "share_outside_supported_groups": (
        HelloFields(supported_groups=(P256,), key_share={X25519: bytes(31) + b"\x09"}),
        IllegalParameter,
        ILLEGAL,
    ),
    "more_identities_than_binders": (
        HelloFields(
            psk_key_exchange_modes=(1,),
            pre_shared_key=OfferedPsks(ONE_PSK.identities * 2, ONE_PSK.binders),
        ),
        IllegalParameter,
        ILLEGAL,
    ),
    "binder_too_short": (
        HelloFields(psk_key_exchange_modes=(1,), pre_shared_key=OfferedPsks(ONE_PSK.identities, (bytes(31),))),
        DecodeError,
        DECODE,
    ),
}


@pytest.mark.rfc("8446", "4.1.2")
@pytest.mark.parametrize(("fields", "kind", "alert"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_server_refuses_hello_with_wrong_field(
    fields: HelloFields, kind: type[TLSError], alert: AlertDescription
) -> None:
    refuse_fields(fields, kind, alert)


MISSING_EXTENSIONS = {
    "signature_algorithms": HelloFields(signature_algorithms=None),
    "supported_groups": HelloFields(supported_groups=None),
    "key_share": HelloFields(key_share=None),
    "supported_groups_and_key_share": HelloFields(supported_groups=None, key_share=None),
    "psk_key_exchange_modes": HelloFields(pre_shared_key=ONE_PSK),
}


@pytest.mark.rfc("8446", "9.2")
@pytest.mark.parametrize("fields", MISSING_EXTENSIONS.values(), ids=MISSING_EXTENSIONS)
def test_server_refuses_hello_without_mandatory_extension(fields: HelloFields) -> None:
    refuse_fields(fields, MissingExtension, MISSING)


NOTHING_IN_COMMON = {
    "version_older": (HelloFields(supported_versions=(0x0303, 0x0302)), NoCommonVersion, "protocol_version"),
    "version_newer": (HelloFields(supported_versions=(0x0305,)), NoCommonVersion, "protocol_version"),
    "version_unsaid": (HelloFields(supported_versions=None), NoCommonVersion, "protocol_version"),
    "cipher_suite": (HelloFields(cipher_suites=(0x1304, 0xC02F)), NoCommonCipherSuite, "handshake_failure"),
    "group": (HelloFields(supported_groups=(P521,), key_share={}), NoCommonGroup, "handshake_failure"),
    "signature_of_other_key": (
        HelloFields(signature_algorithms=(0x0804, 0x0807)),
        NoCommonSignatureScheme,
        "handshake_failure",
    ),
    "signature_with_sha1": (
        HelloFields(signature_algorithms=(0x0203, 0x0201)),
        NoCommonSignatureScheme,
        "handshake_failure",
    ),
    "application_protocol": (
        HelloFields(application_layer_protocol_negotiation=(b"h3", b"HTTP/1.1")),
        NoApplicationProtocol,
        "no_application_protocol",
    ),
}


@pytest.mark.rfc("8446", "4.1.1")
@pytest.mark.parametrize(("fields", "kind", "alert"), NOTHING_IN_COMMON.values(), ids=NOTHING_IN_COMMON)
def test_server_refuses_client_with_which_it_shares_nothing(
    fields: HelloFields, kind: type[TLSError], alert: str
) -> None:
    refuse_fields(fields, kind, AlertDescription[alert])


@pytest.mark.rfc("6066", "3")
def test_server_refuses_name_that_its_resolver_does_not_know() -> None:
    duel = Duel(config=ServerConfig(credentials=lambda _: None))
    duel.client.send_hello()
    duel.assert_refused(UnrecognizedName, AlertDescription.unrecognized_name)


@pytest.mark.rfc("8446", "9.2")
def test_server_refuses_client_without_name_when_it_requires_one() -> None:
    duel = Duel(config=ServerConfig(credentials=credential(), require_server_name=True))
    duel.client.send_hello(server_name=None)
    duel.assert_refused(MissingExtension, MISSING)


@pytest.mark.rfc("8446", "D.5")
def test_server_refuses_hello_of_ssl_3() -> None:
    refuse_fields(HelloFields(legacy_version=0x0300), NoCommonVersion, AlertDescription.protocol_version)


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize("apart", [False, True], ids=["side_by_side", "apart"])
@pytest.mark.parametrize("code", [*INTERIORS, ExtensionType.early_data, ExtensionType.post_handshake_auth, GREASE])
def test_server_refuses_extension_that_comes_twice(code: int, *, apart: bool) -> None:
    front, extensions = split_hello(full_hello(Duel()))
    extensions.insert(0, (GREASE, b"\0"))
    place = [extension[0] for extension in extensions].index(code)
    extensions.insert(0 if apart else place, extensions[place])
    refuse_hello(join_hello(front, extensions), IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.11")
@pytest.mark.parametrize("behind", [ExtensionType.padding, ExtensionType.early_data, GREASE])
def test_server_refuses_pre_shared_key_that_is_not_last(behind: int) -> None:
    hello = Duel().client.hello(psk_key_exchange_modes=(1,), pre_shared_key=ONE_PSK)
    front, extensions = split_hello(hello.encode())
    refuse_hello(join_hello(front, [*extensions, (behind, b"")]), IllegalParameter, ILLEGAL)


@pytest.mark.rfc("6066", "3")
def test_server_refuses_two_host_names() -> None:
    front, extensions = split_hello(Duel().client.hello().encode())
    names = b"\0\0\x01a\0\0\x01b"
    changed = [(code, b"\0\x08" + names if code == ExtensionType.server_name else data) for code, data in extensions]
    refuse_hello(join_hello(front, changed), IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.2.8")
def test_server_refuses_two_shares_for_one_group() -> None:
    front, extensions = split_hello(Duel().client.hello().encode())
    place = [code for code, _ in extensions].index(ExtensionType.key_share)
    entry = extensions[place][1][2:]
    extensions[place] = (ExtensionType.key_share, (2 * len(entry)).to_bytes(2, "big") + entry + entry)
    refuse_hello(join_hello(front, extensions), IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.1.2")
def test_server_ignores_what_it_must_ignore() -> None:
    """The controls: an honest client may say all this, and is served."""
    duel = Duel()
    share = duel.client.hello().key_share or {}
    hello = duel.client.hello(
        legacy_version=0x0301,  # RFC 8446 §4.2.1: ignored, for supported_versions is there
        cipher_suites=(GREASE, 0x1301, 0x00FF, 0x5600),
        supported_versions=(GREASE, 0x0304, 0x0303),
        supported_groups=(GREASE, X25519, P256),
        key_share={GREASE: b"\0", **share, P256: b"no point, and not looked at"},
        signature_algorithms=(GREASE, 0x0201, 0x0403),
        psk_key_exchange_modes=(GREASE & 0xFF, 1),
        pre_shared_key=ONE_PSK,
    )
    front, extensions = split_hello(hello.encode())
    duel.client.send_message(join_hello(front, [(GREASE, b""), (0xFFCE, b"unknown"), *extensions]))
    duel.pump()
    duel.assert_in_order()


# --- How long a message may be -------------------------------------------------------------------------------------


def padded_hello(duel: Duel, size: int) -> bytes:
    """A ClientHello of exactly *size* bytes, header included."""
    front, extensions = split_hello(duel.client.hello().encode())
    missing = size - len(join_hello(front, [*extensions, (ExtensionType.padding, b"")]))
    return join_hello(front, [*extensions, (ExtensionType.padding, bytes(missing))])


def test_server_accepts_hello_of_the_greatest_size() -> None:
    duel = Duel(config=ServerConfig(credentials=credential(), max_handshake_message_size=20_000))
    duel.client.send_message(padded_hello(duel, 20_000))
    duel.pump()
    duel.assert_in_order()


@pytest.mark.parametrize("length", [(64 << 10) - HEADER_LENGTH + 1, 0xFFFFFF])
@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.name.lower())
def test_server_refuses_oversized_message_by_its_header(stage: Stage, length: int) -> None:
    duel = Duel.at(stage)
    duel.client.send_record(ContentType.handshake, bytes((HandshakeType.client_hello, *length.to_bytes(3, "big"))))
    text = duel.assert_refused(IllegalParameter, ILLEGAL)
    assert "65536" in text


# --- Finished and KeyUpdate ----------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_finished_of_wrong_length() -> None:
    for length in (*range(32), 33, 48, 64):
        duel = Duel.at(Stage.FLIGHT)
        verify_data = duel.client.finished()[HEADER_LENGTH:]
        duel.client.send_message(Finished(verify_data.ljust(length, b"\0")[:length]).encode())
        duel.assert_refused(DecodeError, DECODE)


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_finished_with_any_bit_flipped() -> None:
    for bit in range(0, 256, 5):
        duel = Duel.at(Stage.FLIGHT)
        raw = bytearray(duel.client.finished())
        raw[HEADER_LENGTH + bit // 8] ^= 1 << bit % 8
        duel.client.send_message(bytes(raw))
        duel.assert_refused(DecryptError, AlertDescription.decrypt_error)
        assert duel.events == []


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_its_own_finished_as_the_clients() -> None:
    duel = Duel.at(Stage.FLIGHT)
    duel.client.send_message(duel.client.server_messages[-1].raw)
    duel.assert_refused(DecryptError, AlertDescription.decrypt_error)


@pytest.mark.rfc("8446", "4.4.4")
def test_server_refuses_finished_of_another_transcript() -> None:
    duel = Duel.at(Stage.FLIGHT)
    duel.client.note(b"the client believes that this was said")
    duel.client.finish()
    duel.assert_refused(DecryptError, AlertDescription.decrypt_error)


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("value", [2, 3, 127, 128, 255])
def test_server_refuses_key_update_with_unknown_request(value: int) -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.client.send_message(encode_message(HandshakeType.key_update, bytes((value,))))
    duel.assert_refused(IllegalParameter, ILLEGAL)


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("body", [b"", b"\0\0", b"\x01\0\0", bytes(200)], ids=len)
def test_server_refuses_key_update_of_wrong_length(body: bytes) -> None:
    duel = Duel.at(Stage.CONNECTED)
    duel.client.send_message(encode_message(HandshakeType.key_update, body))
    duel.assert_refused(DecodeError, DECODE)
