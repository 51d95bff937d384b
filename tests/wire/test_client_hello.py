"""The ClientHello, which is parsed by offsets: against real ones, and against a naive parser as oracle."""

import dataclasses
import random
import ssl
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from OpenSSL import SSL

from aiotls.errors import DecodeError, IllegalParameter, LocalError
from aiotls.wire.extensions import Carrier, OfferedPsks, PskIdentity, serialise_extension
from aiotls.wire.messages import ClientHello
from aiotls.wire.registries import CipherSuite, ExtensionType, HandshakeType, NamedGroup, ProtocolVersion
from tests.wire import naive_hello

uint16 = st.integers(0, 0xFFFF)
uint16s = st.lists(uint16, min_size=1, max_size=70).map(tuple)
names = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4).map(tuple)
host_names = st.from_regex(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,2}\.?", fullmatch=True)


@st.composite
def psks(draw: st.DrawFn) -> OfferedPsks:
    count = draw(st.integers(1, 3))
    identities = tuple(
        PskIdentity(draw(st.binary(min_size=1, max_size=40)), draw(st.integers(0, 0xFFFFFFFF))) for _ in range(count)
    )
    return OfferedPsks(identities, tuple(draw(st.binary(min_size=32, max_size=48)) for _ in range(count)))


hellos = st.builds(
    ClientHello,
    random=st.binary(min_size=32, max_size=32),
    legacy_session_id=st.binary(max_size=32),
    cipher_suites=uint16s,
    legacy_version=uint16,
    legacy_compression_methods=st.binary(min_size=1, max_size=5),
    server_name=st.none() | host_names,
    supported_groups=st.none() | uint16s,
    signature_algorithms=st.none() | uint16s,
    signature_algorithms_cert=st.none() | uint16s,
    application_layer_protocol_negotiation=st.none() | names,
    supported_versions=st.none() | uint16s,
    cookie=st.none() | st.binary(min_size=1, max_size=40),
    key_share=st.none() | st.dictionaries(uint16, st.binary(min_size=1, max_size=40), max_size=3),
    psk_key_exchange_modes=st.none() | st.lists(st.integers(0, 255), min_size=1, max_size=3).map(tuple),
    early_data=st.none() | st.just(value=True),
    certificate_authorities=st.none() | names,
    post_handshake_auth=st.none() | st.just(value=True),
    status_request=st.none() | st.just(value=True),
    compress_certificate=st.none() | uint16s,
    record_size_limit=st.none() | st.integers(64, 0xFFFF),
    client_certificate_type=st.none() | st.lists(st.integers(0, 255), min_size=1, max_size=3).map(tuple),
    server_certificate_type=st.none() | st.lists(st.integers(0, 255), min_size=1, max_size=3).map(tuple),
    pre_shared_key=st.none() | psks(),
)


def fields_of(hello: ClientHello) -> dict[str, Any]:
    """The fields that the naive parser knows, those of absent extensions left out."""
    fields = {field.name: getattr(hello, field.name) for field in dataclasses.fields(hello) if field.name != "raw"}
    return {name: value for name, value in fields.items() if value is not None}


def by_offsets(raw: bytes) -> dict[str, Any]:
    return fields_of(ClientHello.parse(raw))


def assert_parsers_agree(raw: bytes) -> None:
    assert naive_hello.outcome(by_offsets, raw) == naive_hello.outcome(naive_hello.parse, raw)


def block_of(code: int, data: bytes) -> bytes:
    """One extension, type and length included."""
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def message_of(records: bytes) -> bytes:
    """The one handshake message in these records."""
    message = b""
    while records:
        size = int.from_bytes(records[3:5], "big")
        message += records[5 : 5 + size]
        records = records[5 + size :]
    return message


def hello_of_ssl(server_hostname: str | None, *protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_hostname)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return message_of(outgoing.read())


def hello_of_pyopenssl() -> bytes:
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    client.set_tlsext_host_name(b"LocalHost")
    with suppress(SSL.WantReadError):
        client.do_handshake()
    return message_of(client.bio_read(1 << 16))


MINIMAL = ClientHello(bytes(range(32)), b"", (CipherSuite.TLS_AES_128_GCM_SHA256,))
FULL = ClientHello(
    bytes(range(32)),
    b"session",
    (0x1301, 0x0A0A, 0x1303),
    server_name="localhost",
    supported_groups=(0x1D, 0x17),
    signature_algorithms=(0x0403,),
    signature_algorithms_cert=(0x0401,),
    application_layer_protocol_negotiation=(b"h2",),
    supported_versions=(0x0304,),
    cookie=b"crumbs",
    key_share={0x1D: b"share"},
    psk_key_exchange_modes=(1,),
    early_data=True,
    certificate_authorities=(b"authority",),
    post_handshake_auth=True,
    status_request=True,
    compress_certificate=(2, 1),
    record_size_limit=0x4001,
    client_certificate_type=(2, 0),
    server_certificate_type=(0,),
    pre_shared_key=OfferedPsks((PskIdentity(b"ticket", 7),), (bytes(32),)),
)


# --- Real ones ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.1.2")
def test_hello_of_the_standard_library_is_read() -> None:
    raw = hello_of_ssl("Example.COM", "h2", "http/1.1")
    hello = ClientHello.parse(raw)
    assert hello.raw == raw
    assert hello.legacy_version == ProtocolVersion.TLSv1_2
    assert (len(hello.random), len(hello.legacy_session_id)) == (32, 32)
    assert hello.server_name == "example.com"
    assert hello.application_layer_protocol_negotiation == (b"h2", b"http/1.1")
    assert ProtocolVersion.TLSv1_3 in (hello.supported_versions or ())
    assert CipherSuite.TLS_AES_128_GCM_SHA256 in hello.cipher_suites
    assert hello.key_share is not None
    assert len(hello.key_share[NamedGroup.x25519]) == 32
    assert hello.signature_algorithms
    assert hello.psk_key_exchange_modes == (1,)
    assert hello.pre_shared_key is None
    assert hello.early_data is None
    assert ExtensionType.extended_master_secret in hello.extensions
    assert_parsers_agree(raw)


def test_hello_without_names_is_read() -> None:
    hello = ClientHello.parse(hello_of_ssl(None))
    assert hello.server_name is None
    assert hello.application_layer_protocol_negotiation is None


@pytest.mark.rfc("8446", "4.2.8")
def test_hello_with_a_hybrid_share_is_read() -> None:
    raw = hello_of_pyopenssl()
    hello = ClientHello.parse(raw)
    assert hello.key_share is not None
    assert len(hello.key_share[NamedGroup.X25519MLKEM768]) == 1184 + 32
    assert hello.supported_groups is not None
    assert NamedGroup.X25519MLKEM768 in hello.supported_groups
    assert hello.server_name == "localhost"
    assert_parsers_agree(raw)


# --- Against the oracle ------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.1.2")
@given(hello=hellos)
@example(hello=MINIMAL)
@example(hello=FULL)
def test_hello_is_read_as_it_was_written(hello: ClientHello) -> None:
    raw = hello.encode()
    parsed = ClientHello.parse(raw)
    assert parsed == hello
    assert parsed.raw == raw
    assert raw[0] == HandshakeType.client_hello
    assert int.from_bytes(raw[1:4], "big") == len(raw) - 4
    assert dataclasses.replace(parsed, raw=b"").encode() == raw
    assert_parsers_agree(raw)


@given(hello=hellos, seed=st.integers(0, 1 << 32))
def test_parsers_agree_on_a_changed_hello(hello: ClientHello, seed: int) -> None:
    """A byte replaced, lost or added, or the end cut off: both take the same hello, or refuse it alike."""
    raw, generator = hello.encode(), random.Random(seed)
    for _ in range(20):
        place = generator.randrange(4, len(raw))
        byte = generator.choice((0, 1, 2, 32, 33, 255, generator.randrange(256)))
        assert_parsers_agree(raw[:place] + bytes((byte,)) + raw[place + 1 :])
        assert_parsers_agree(raw[:place] + raw[place + 1 :])
        assert_parsers_agree(raw[:place] + bytes((byte,)) + raw[place:])
        assert_parsers_agree(raw[:place])


@given(body=st.binary(max_size=120))
def test_parsers_agree_on_any_bytes(body: bytes) -> None:
    assert_parsers_agree(b"\x01" + len(body).to_bytes(3, "big") + body)
    front = MINIMAL.encode()[:-2]
    assert_parsers_agree(front + len(body).to_bytes(2, "big") + body)


@given(
    extensions=st.lists(
        st.tuples(st.sampled_from([*naive_hello.EXTENSIONS, 21, 0x0A0A]), st.binary(max_size=12)), max_size=4
    )
)
def test_parsers_agree_on_any_extensions(extensions: list[tuple[int, bytes]]) -> None:
    block = b"".join(code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in extensions)
    assert_parsers_agree(MINIMAL.encode()[:-2] + len(block).to_bytes(2, "big") + block)


# --- Its form ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize("hello", [MINIMAL, FULL], ids=["minimal", "full"])
def test_hello_cut_short_does_not_decode(hello: ClientHello) -> None:
    raw = hello.encode()
    for end in range(len(raw)):
        if end == 4 + 2 + 32 + 1 + len(hello.legacy_session_id) + 2 + 2 * len(hello.cipher_suites) + 2:
            assert ClientHello.parse(raw[:end]).extensions == {}  # a hello without a block of extensions
            continue
        with pytest.raises(DecodeError, match="ClientHello"):
            ClientHello.parse(raw[:end])


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize("tail", [b"\0", b"\0\0", b"\0\0\0\0"], ids=len)
@pytest.mark.parametrize("hello", [MINIMAL, FULL], ids=["minimal", "full"])
def test_bytes_behind_a_hello_do_not_decode(hello: ClientHello, tail: bytes) -> None:
    with pytest.raises(DecodeError, match="extensions contradicts"):
        ClientHello.parse(hello.encode() + tail)


@pytest.mark.rfc("8446", "4.1.2")
def test_hello_of_tls_1_2_may_have_no_extensions() -> None:
    hello = ClientHello.parse(MINIMAL.encode()[:-2])
    assert (hello, hello.extensions) == (MINIMAL, {})


@pytest.mark.rfc("8446", "4.1.2")
@pytest.mark.parametrize(
    ("session_id", "suites", "compression", "what"),
    [
        (b"\x21" + bytes(33), b"\0\2\x13\x01", b"\1\0", "legacy_session_id"),
        (b"\0", b"\0\0", b"\1\0", "cipher_suites"),
        (b"\0", b"\0\3\x13\x01\x13", b"\1\0", "cipher_suites"),
        (b"\0", b"\xff\xfe\x13\x01", b"\1\0", "cipher_suites"),
        (b"\0", b"\0\2\x13\x01", b"\0", "legacy_compression_methods"),
        (b"\0", b"\0\2\x13\x01", b"\xff\0", "legacy_compression_methods"),
    ],
)
def test_field_outside_its_bounds_does_not_decode(
    session_id: bytes, suites: bytes, compression: bytes, what: str
) -> None:
    body = b"\x03\x03" + bytes(32) + session_id + suites + compression + b"\0\0"
    with pytest.raises(DecodeError, match=what):
        ClientHello.parse(b"\x01" + len(body).to_bytes(3, "big") + body)


@pytest.mark.rfc("8446", "4.2.11")
def test_pre_shared_key_in_another_place_than_the_last_is_illegal() -> None:
    raw = FULL.encode()
    end = len(MINIMAL.encode()) - 2 + len(FULL.legacy_session_id) + 2 * (len(FULL.cipher_suites) - 1)
    for code in (ExtensionType.padding, 0x0A0A):
        block = raw[end + 2 :] + code.to_bytes(2, "big") + b"\0\0"
        with pytest.raises(IllegalParameter, match="pre_shared_key is not the last extension"):
            ClientHello.parse(raw[:end] + len(block).to_bytes(2, "big") + block)


@pytest.mark.rfc("8446", "4.2.11.2")
def test_hello_without_its_binders_ends_before_their_list() -> None:
    raw = FULL.encode()
    assert ClientHello.parse(raw).without_binders() == raw[: -(2 + 1 + 32)]
    raw = MINIMAL.encode()
    assert ClientHello.parse(raw).without_binders() == raw


# --- Extensions in an order of its maker's -----------------------------------------------------------------------


@given(hello=hellos, shuffle=st.randoms(use_true_random=False))
def test_hello_is_written_with_its_extensions_in_any_order(hello: ClientHello, shuffle: random.Random) -> None:
    """All but the pre_shared_key, whose place is the last (RFC 8446 §4.2.11)."""
    hello = dataclasses.replace(hello, pre_shared_key=None)
    plain = ClientHello.parse(hello.encode())
    codes = list(plain.extensions)
    shuffle.shuffle(codes)
    pieces = [block_of(code, plain.extensions[code]) for code in codes]
    shuffled = ClientHello.parse(hello.encode(b"".join(pieces)))
    assert list(shuffled.extensions) == codes
    assert shuffled.extensions == plain.extensions
    assert shuffled == hello


def test_extensions_that_are_given_take_the_place_of_the_hellos_own() -> None:
    grease = block_of(0x0A0A, b"\0")
    parsed = ClientHello.parse(FULL.encode(grease))
    assert parsed.extensions == {0x0A0A: b"\0"}
    assert (parsed.cipher_suites, parsed.server_name) == (FULL.cipher_suites, None)
    without = FULL.encode(b"")
    assert without.endswith(b"\1\0" + b"\0\0")
    assert ClientHello.parse(without).extensions == {}


def test_extension_is_written_alone_as_within_the_hello() -> None:
    pieces = [
        serialise_extension(code, Carrier.CH, getattr(FULL, ExtensionType(code).name))
        for code in ClientHello.parse(FULL.encode()).extensions
    ]
    assert FULL.encode(b"".join(pieces)) == FULL.encode()


def test_extensions_that_do_not_fit_their_field_are_not_written() -> None:
    most = block_of(ExtensionType.padding, bytes(0xFFFF - 4))
    assert len(most) == 0xFFFF
    assert list(ClientHello.parse(MINIMAL.encode(most)).extensions) == [ExtensionType.padding]
    with pytest.raises(LocalError, match="does not fit a field"):
        MINIMAL.encode(most + b"\0")
