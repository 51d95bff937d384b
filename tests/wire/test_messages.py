"""The handshake messages: written and read back, cut short, too long, and with the extensions that each may carry.

The ClientHello has a file of its own.
"""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.groups import GROUPS
from aiotls.errors import DecodeError, IllegalParameter, LocalError, PeerMisbehaved, UnsupportedExtension
from aiotls.wire.extensions import EXTENSIONS, Carrier, KeyShareEntry
from aiotls.wire.messages import (
    HEADER_LENGTH,
    MESSAGES,
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    CompressedCertificate,
    EncryptedExtensions,
    EndOfEarlyData,
    Finished,
    HandshakeMessage,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
    ServerHelloTemplate,
    message_hash,
)
from aiotls.wire.registries import (
    HELLO_RETRY_REQUEST_RANDOM,
    CipherSuite,
    ExtensionType,
    HandshakeType,
    NamedGroup,
    ProtocolVersion,
)

EVERYTHING = range(1 << 16)

uint8, uint16, uint32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
uint16s = st.lists(uint16, min_size=1, max_size=10).map(tuple)
randoms = st.binary(min_size=32, max_size=32).filter(lambda value: value != HELLO_RETRY_REQUEST_RANDOM)
session_ids = st.binary(max_size=32)
names = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=3).map(tuple)
absent = st.none()

server_hellos = st.builds(
    ServerHello,
    random=randoms,
    legacy_session_id_echo=session_ids,
    cipher_suite=uint16,
    legacy_version=uint16,
    legacy_compression_method=uint8,
    supported_versions=uint16,
    key_share=absent | st.builds(KeyShareEntry, uint16, st.binary(min_size=1, max_size=50)),
    pre_shared_key=absent | uint16,
)
retry_requests = st.builds(
    ServerHello,
    random=st.just(HELLO_RETRY_REQUEST_RANDOM),
    legacy_session_id_echo=session_ids,
    cipher_suite=uint16,
    supported_versions=uint16,
    key_share=absent | uint16,
    cookie=absent | st.binary(min_size=1, max_size=50),
)
certificate_entries = st.builds(
    CertificateEntry, st.binary(min_size=1, max_size=70), absent | st.binary(min_size=1, max_size=70)
)
messages = st.one_of(
    server_hellos,
    retry_requests,
    st.builds(
        EncryptedExtensions,
        server_name=absent | st.just(value=True),
        supported_groups=absent | uint16s,
        application_layer_protocol_negotiation=absent | st.binary(min_size=1, max_size=255),
        early_data=absent | st.just(value=True),
        record_size_limit=absent | st.integers(64, 0xFFFF),
        client_certificate_type=absent | uint8,
        server_certificate_type=absent | uint8,
    ),
    st.builds(
        CertificateRequest,
        certificate_request_context=st.binary(max_size=255),
        signature_algorithms=absent | uint16s,
        signature_algorithms_cert=absent | uint16s,
        certificate_authorities=absent | names,
        oid_filters=absent
        | st.lists(st.tuples(st.binary(min_size=1, max_size=255), st.binary(max_size=300)), max_size=3).map(tuple),
        status_request=absent | st.just(value=True),
        compress_certificate=absent | uint16s,
    ),
    st.builds(
        Certificate,
        certificate_request_context=st.binary(max_size=255),
        certificate_list=st.lists(certificate_entries, max_size=4).map(tuple),
    ),
    st.builds(
        CompressedCertificate,
        algorithm=uint16,
        uncompressed_length=st.integers(0, 0xFFFFFF),
        compressed_certificate_message=st.binary(min_size=1, max_size=300),
    ),
    st.builds(CertificateVerify, algorithm=uint16, signature=st.binary(max_size=300)),
    st.builds(Finished, verify_data=st.binary(max_size=64)),
    st.builds(EndOfEarlyData),
    st.builds(
        NewSessionTicket,
        ticket_lifetime=uint32,
        ticket_age_add=uint32,
        ticket_nonce=st.binary(max_size=255),
        ticket=st.binary(min_size=1, max_size=300),
        early_data=absent | uint32,
    ),
    st.builds(KeyUpdate, request_update=st.integers(0, 1)),
)

SERVER_HELLO = ServerHello(
    bytes(range(32)),
    b"session",
    CipherSuite.TLS_AES_128_GCM_SHA256,
    supported_versions=ProtocolVersion.TLSv1_3,
    key_share=KeyShareEntry(NamedGroup.x25519, b"share"),
    pre_shared_key=0,
)
RETRY_REQUEST = ServerHello(
    HELLO_RETRY_REQUEST_RANDOM,
    b"session",
    CipherSuite.TLS_AES_128_GCM_SHA256,
    supported_versions=ProtocolVersion.TLSv1_3,
    key_share=NamedGroup.x25519,
    cookie=b"crumbs",
)
SAMPLES: dict[str, HandshakeMessage] = {
    "ServerHello": SERVER_HELLO,
    "HelloRetryRequest": RETRY_REQUEST,
    "EncryptedExtensions": EncryptedExtensions(
        server_name=True,
        supported_groups=(29, 23),
        application_layer_protocol_negotiation=b"h2",
        early_data=True,
        record_size_limit=0x4001,
        client_certificate_type=2,
        server_certificate_type=0,
    ),
    "CertificateRequest": CertificateRequest(
        b"context",
        (0x0403, 0x0804),
        (0x0401,),
        (b"authority", b"another"),
        oid_filters=((b"oid", b"values"), (b"another", b"")),
        status_request=True,
        compress_certificate=(1, 2),
    ),
    "Certificate": Certificate(b"context", (CertificateEntry(b"leaf", b"response"), CertificateEntry(b"issuer"))),
    "CompressedCertificate": CompressedCertificate(1, 1000, b"compressed"),
    "CertificateVerify": CertificateVerify(0x0403, b"signature"),
    "EndOfEarlyData": EndOfEarlyData(),
    "NewSessionTicket": NewSessionTicket(7200, 1, b"nonce", b"ticket", early_data=0x4000),
    "KeyUpdate": KeyUpdate(1),
}
every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def encoded(handshake_type: int, body: str | bytes) -> bytes:
    """A whole message with this body, which may be hex."""
    content = bytes.fromhex(body) if isinstance(body, str) else body
    return bytes((handshake_type,)) + len(content).to_bytes(3, "big") + content


def test_every_message_has_its_class() -> None:
    for code, message in MESSAGES.items():
        assert message.handshake_type == code
        assert message.__name__.lower() == HandshakeType(code).name.replace("_", "")
    assert set(HandshakeType) - set(MESSAGES) == {HandshakeType.message_hash}  # never on the wire


@given(message=messages)
def test_message_is_read_as_it_was_written(message: HandshakeMessage) -> None:
    raw = message.encode()
    assert raw[0] == message.handshake_type
    assert int.from_bytes(raw[1:HEADER_LENGTH], "big") == len(raw) - HEADER_LENGTH
    parsed = MESSAGES[raw[0]].parse(raw, EVERYTHING)
    assert parsed == message
    assert parsed.raw == raw
    assert parsed.encode() == raw


@every_sample
def test_sample_is_read_as_it_was_written(sample: HandshakeMessage) -> None:
    assert type(sample).parse(sample.encode(), EVERYTHING) == sample


@pytest.mark.rfc("8446", "6.2")
@every_sample
def test_message_cut_short_does_not_decode(sample: HandshakeMessage) -> None:
    raw = sample.encode()
    for end in range(len(raw)):
        if isinstance(sample, ServerHello) and end == 4 + 2 + 32 + 1 + len(b"session") + 2 + 1:
            continue  # a ServerHello of TLS 1.2, without extensions
        with pytest.raises(DecodeError, match=type(sample).__name__):
            type(sample).parse(raw[:end], EVERYTHING)


@pytest.mark.rfc("8446", "6.2")
@every_sample
def test_bytes_behind_a_message_do_not_decode(sample: HandshakeMessage) -> None:
    for tail in (b"\0", b"\0\0", b"\0\0\0\0", b"\xff" * 8):
        with pytest.raises(DecodeError, match=type(sample).__name__):
            type(sample).parse(sample.encode() + tail, EVERYTHING)


@pytest.mark.parametrize("code", MESSAGES)
@given(body=st.binary(max_size=100), offered=st.booleans())
def test_any_body_raises_nothing_but_the_peers_errors(code: int, body: bytes, *, offered: bool) -> None:
    raw = encoded(code, body)
    try:
        message = MESSAGES[code].parse(raw, EVERYTHING if offered else ())
    except PeerMisbehaved:
        return
    assert message.raw == raw


@every_sample
@given(place=st.floats(0, 1, exclude_max=True), byte=uint8)
def test_changed_message_raises_nothing_but_the_peers_errors(sample: HandshakeMessage, place: float, byte: int) -> None:
    changed = bytearray(sample.encode())
    changed[int(place * len(changed))] = byte
    try:
        type(sample).parse(bytes(changed), EVERYTHING)
    except PeerMisbehaved:
        return


# --- Extensions --------------------------------------------------------------------------------------------------

CARRIERS: dict[Carrier, tuple[type[Any], str]] = {
    Carrier.SH: (ServerHello, "0303" + "aa" * 32 + "00 1301 00"),
    Carrier.HRR: (ServerHello, "0303" + HELLO_RETRY_REQUEST_RANDOM.hex() + "00 1301 00"),
    Carrier.EE: (EncryptedExtensions, ""),
    Carrier.CR: (CertificateRequest, "00"),
    Carrier.NST: (NewSessionTicket, "00001c20 00000001 01 00 0006 7469636b6574"),
}
"""Messages that carry their extensions at the end: the class, and what stands before the block."""
TLS_1_3 = bytes.fromhex("002b 0002 0304")
"""The supported_versions without which a ServerHello is of TLS 1.2, and its extensions none of ours."""


def parse_with(carrier: Carrier, block: bytes, offered: object = EVERYTHING) -> Any:
    """A message of this kind, in which *block* are the extensions."""
    if carrier is Carrier.CT:
        entry = b"\0\0\1a" + len(block).to_bytes(2, "big") + block
        return Certificate.parse(encoded(11, b"\0" + len(entry).to_bytes(3, "big") + entry), offered)  # type: ignore[arg-type]
    message, front = CARRIERS[carrier]
    if message is ServerHello:
        block = TLS_1_3 + block
    body = bytes.fromhex(front) + len(block).to_bytes(2, "big") + block
    return message.parse(encoded(message.handshake_type, body), offered)


ANSWERS = [Carrier.SH, Carrier.HRR, Carrier.EE, Carrier.CT]
every_carrier = pytest.mark.parametrize("carrier", [*CARRIERS, Carrier.CT], ids=lambda carrier: carrier.name)


@pytest.mark.rfc("8446", "4.2")
@every_carrier
def test_message_refuses_extensions_that_have_no_place_in_it(carrier: Carrier) -> None:
    for extension in EXTENSIONS.values():
        if carrier not in extension.forms:
            with pytest.raises(IllegalParameter, match=f"{extension.code.name} has no place in {carrier.value}"):
                parse_with(carrier, extension.code.to_bytes(2, "big") + b"\0\0")


@pytest.mark.rfc("8446", "4.2")
@every_carrier
def test_message_refuses_an_extension_twice(carrier: Carrier) -> None:
    with pytest.raises(IllegalParameter, match=f"{carrier.value} holds padding twice"):
        parse_with(carrier, b"\0\x15\0\0" * 2)


@pytest.mark.rfc("8446", "4.2")
@every_carrier
def test_message_answers_only_what_was_offered(carrier: Carrier) -> None:
    parse_with(carrier, b"\0\x15\0\0", {21, 43})
    if carrier in ANSWERS:
        with pytest.raises(UnsupportedExtension, match=f"{carrier.value} answers padding, which was not offered"):
            parse_with(carrier, b"\0\x15\0\0", {10, 43})
    else:
        parse_with(carrier, b"\0\x15\0\0", ())


@pytest.mark.rfc("8446", "4.2.2")
def test_cookie_comes_unasked() -> None:
    assert parse_with(Carrier.HRR, bytes.fromhex("002c 0003 0001 61"), {43}).cookie == b"a"


@pytest.mark.rfc("8446", "4.2.8")
def test_key_share_of_a_retry_request_is_a_group_alone() -> None:
    assert parse_with(Carrier.HRR, bytes.fromhex("0033 0002 001d")).key_share == NamedGroup.x25519
    assert parse_with(Carrier.SH, bytes.fromhex("0033 0005 001d 0001 61")).key_share == KeyShareEntry(29, b"a")
    with pytest.raises(DecodeError, match="key_share"):
        parse_with(Carrier.SH, bytes.fromhex("0033 0002 001d"))
    with pytest.raises(DecodeError, match="key_share"):
        parse_with(Carrier.HRR, bytes.fromhex("0033 0005 001d 0001 61"))


# --- ServerHello -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.1.3")
def test_retry_request_is_known_by_its_random() -> None:
    assert RETRY_REQUEST.is_hello_retry_request
    assert not SERVER_HELLO.is_hello_retry_request


@pytest.mark.rfc("8446", "4.1.3")
def test_server_hello_of_tls_1_2_may_have_no_extensions() -> None:
    hello = ServerHello.parse(encoded(2, "0303" + "aa" * 32 + "00 c02f 00"))
    assert hello == ServerHello(b"\xaa" * 32, b"", 0xC02F)


# What servers of TLS 1.2 answer, and what has no place in a ServerHello of TLS 1.3, is malformed there, or comes twice.
OLD_BLOCKS = {
    "renegotiation_info": "ff01 0001 00",
    "extended_master_secret": "0017 0000",
    "session_ticket": "0023 0000",
    "server_name": "0000 0000",
    "protocol": "0010 0005 0003 02 6832",
    "status_request": "0005 0000",
    "twice": "0017 0000 0017 0000",
    "nothing": "",
}


@pytest.mark.rfc("8446", "4.2.1")
@pytest.mark.parametrize("block", OLD_BLOCKS.values(), ids=OLD_BLOCKS)
@pytest.mark.parametrize("random", [b"\xaa" * 32, HELLO_RETRY_REQUEST_RANDOM], ids=["hello", "retry"])
def test_server_hello_of_tls_1_2_may_have_any_extensions(random: bytes, block: str) -> None:
    """Without supported_versions it is not of TLS 1.3, whose rules are not for it."""
    extensions = bytes.fromhex(block)
    raw = encoded(2, b"\3\3" + random + b"\0\xc0\x2f\0" + len(extensions).to_bytes(2, "big") + extensions)
    hello = ServerHello.parse(raw)
    assert hello == ServerHello(random, b"", 0xC02F)
    assert hello.raw == raw


@pytest.mark.rfc("8446", "4.2.1")
@pytest.mark.parametrize("block", ["ff01 0001 00" + "002b 0002 0304", "002b 0002 0304" + "ff01 0001 00"])
def test_server_hello_of_tls_1_3_is_held_to_its_rules_wherever_its_version_stands(block: str) -> None:
    raw = encoded(2, "0303" + "aa" * 32 + "00 1301 00" + "000b" + block)
    with pytest.raises(UnsupportedExtension, match="ServerHello answers renegotiation_info"):
        ServerHello.parse(raw, {43, 51})


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize(
    "block", ["ff", "ff01", "ff01 00", "ff01 0001", "0033 ffff" + "002b 0002 0304", "ff01 0001 00" + "002b 0002 03"]
)
def test_server_hello_whose_extensions_do_not_parse_does_not_decode(block: str) -> None:
    """Neither of TLS 1.3 nor of TLS 1.2."""
    extensions = bytes.fromhex(block)
    raw = encoded(2, b"\3\3" + b"\xaa" * 32 + b"\0\x13\x01\0" + len(extensions).to_bytes(2, "big") + extensions)
    with pytest.raises(DecodeError):
        ServerHello.parse(raw, EVERYTHING)


@pytest.mark.rfc("8446", "4.1.3")
def test_session_id_of_more_than_32_bytes_does_not_decode() -> None:
    with pytest.raises(DecodeError, match=r"length 33 is not within 0\.\.32"):
        ServerHello.parse(encoded(2, "0303" + "aa" * 32 + "21" + "bb" * 33 + "1301 00"))


@pytest.mark.rfc("8446", "4.1.3")
@pytest.mark.parametrize("length", sorted({group.server_share_length for group in GROUPS.values()}))
@given(
    data=st.data(),
    suite=uint16 | st.just(0xFFFF),
    group=uint16 | st.just(0xFFFF),
    random=randoms,
    session_id=session_ids,
)
def test_template_gives_what_encoding_gives(
    length: int, *, data: st.DataObject, suite: int, group: int, random: bytes, session_id: bytes
) -> None:
    """Also where all around the share looks like the filler that holds its place."""
    template = ServerHelloTemplate(suite, group, length)
    filler, zeros = b"\xff" * length, bytes(length)
    for share in (filler, zeros, data.draw(st.binary(min_size=length, max_size=length))):
        for filled_random, filled_id in ((random, session_id), (b"\xff" * 32, b"\xff" * 32)):
            hello = ServerHello(
                filled_random,
                filled_id,
                suite,
                supported_versions=ProtocolVersion.TLSv1_3,
                key_share=KeyShareEntry(group, share),
            )
            assert template.fill(filled_random, filled_id, share) == hello.encode()
            assert ServerHello.parse(hello.encode(), EVERYTHING) == hello


# --- The others --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.4.1")
def test_message_hash_has_a_header_of_its_own() -> None:
    assert message_hash(bytes(range(48))) == b"\xfe\0\0\x30" + bytes(range(48))


@pytest.mark.rfc("8446", "4.4.2")
def test_certificate_may_be_empty_but_an_entry_may_not() -> None:
    assert Certificate.parse(encoded(11, "00 000000")) == Certificate()
    with pytest.raises(DecodeError, match=r"Certificate: length 0 is not within 1\.\."):
        Certificate.parse(encoded(11, "00 000005 000000 0000"))


@pytest.mark.rfc("8446", "4.4.2")
def test_extensions_are_checked_in_each_entry() -> None:
    first, second = "000001 61 0000", "000001 62 0009 0005 0005 01 000001 63"
    chain = Certificate.parse(encoded(11, "00 000015" + first + second), {ExtensionType.status_request})
    assert chain.certificate_list == (CertificateEntry(b"a"), CertificateEntry(b"b", b"c"))
    with pytest.raises(UnsupportedExtension, match="Certificate answers status_request"):
        Certificate.parse(encoded(11, "00 000015" + first + second))


@pytest.mark.rfc("8879", "4")
def test_compressed_certificate_may_not_be_empty() -> None:
    parsed = CompressedCertificate.parse(encoded(25, "0001 ffffff 000001 61"))
    assert parsed == CompressedCertificate(1, 0xFFFFFF, b"a")
    with pytest.raises(DecodeError, match=r"CompressedCertificate: length 0 is not within 1\.\."):
        CompressedCertificate.parse(encoded(25, "0001 000010 000000"))


@pytest.mark.rfc("8446", "4.6.1")
def test_ticket_may_not_be_empty() -> None:
    with pytest.raises(DecodeError, match=r"NewSessionTicket: length 0 is not within 1\.\."):
        NewSessionTicket.parse(encoded(4, "00000001 00000002 00 0000 0000"))


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize("value", [2, 255])
def test_key_update_that_asks_for_something_else_is_illegal(value: int) -> None:
    with pytest.raises(IllegalParameter, match=f"request_update is {value}"):
        KeyUpdate.parse(encoded(24, bytes((value,))))


@pytest.mark.rfc("8446", "4.4.4")
def test_finished_is_all_that_is_behind_its_header() -> None:
    raw = encoded(20, bytes(range(48)))
    assert Finished.parse(raw) == Finished(bytes(range(48)))
    assert Finished.parse(encoded(20, b"")).verify_data == b""


@pytest.mark.parametrize(
    "message",
    [
        NewSessionTicket(1 << 32, 0, b"", b"ticket"),
        NewSessionTicket(0, 0, bytes(256), b"ticket"),
        NewSessionTicket(0, 0, b"", bytes(1 << 16)),
        CertificateRequest(bytes(256)),
        EncryptedExtensions(application_layer_protocol_negotiation=bytes(256)),
        CertificateRequest(oid_filters=((bytes(256), b""),)),
        CertificateRequest(compress_certificate=tuple(range(128))),
        CertificateRequest(signature_algorithms=(0x0403,), certificate_authorities=(bytes(0xFFFF - 4),)),
        Certificate(certificate_list=(CertificateEntry(b"leaf", bytes(0xFFFF - 3)),)),
        CompressedCertificate(1 << 16, 1, b"a"),
        CompressedCertificate(1, 1 << 24, b"a"),
    ],
    ids=[
        "lifetime",
        "nonce",
        "ticket",
        "context",
        "protocol",
        "oid",
        "algorithms",
        "block",
        "extension",
        "algorithm",
        "length",
    ],
)
def test_message_with_a_field_that_does_not_fit_is_not_written(message: HandshakeMessage) -> None:
    with pytest.raises(LocalError, match="does not fit a field"):
        message.encode()


@pytest.mark.parametrize(
    "message",
    [Finished(b"the secret", b"raw secret"), NewSessionTicket(1, 2, b"secret nonce", b"secret ticket", raw=b"secret")],
    ids=lambda message: type(message).__name__,
)
def test_message_does_not_show_its_secrets(message: HandshakeMessage) -> None:
    assert "secret" not in repr(message)
    assert b"secret".hex() not in repr(message)


@every_sample
def test_raw_bytes_do_not_count_when_messages_are_compared(sample: Any) -> None:
    assert dataclasses.replace(sample, raw=b"something else") == sample
    assert "something else" not in repr(dataclasses.replace(sample, raw=b"something else"))
