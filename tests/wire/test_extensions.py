"""Extensions: the table of RFC 8446 §4.2, each extension's bytes in each of its messages, and what is refused."""

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import DecodeError, IllegalParameter, LocalError, PeerMisbehaved, UnsupportedExtension
from aiotls.wire.extensions import (
    EXTENSIONS,
    Carrier,
    KeyShareEntry,
    OfferedPsks,
    PskIdentity,
    parse_extensions,
    serialise_extensions,
)
from aiotls.wire.registries import ExtensionType

CH, SH, EE, CT, CR, NST, HRR = Carrier
ANSWERS = {SH, EE, CT, HRR}
EVERYTHING = range(1 << 16)
UNKNOWN = 0x0A0A

# The rows of RFC 8446 §4.2 for the extensions that we know.
TABLE: dict[str, set[Carrier]] = {
    "server_name": {CH, EE},
    "supported_groups": {CH, EE},
    "signature_algorithms": {CH, CR},
    "application_layer_protocol_negotiation": {CH, EE},
    "key_share": {CH, SH, HRR},
    "pre_shared_key": {CH, SH},
    "psk_key_exchange_modes": {CH},
    "early_data": {CH, EE, NST},
    "cookie": {CH, HRR},
    "supported_versions": {CH, SH, HRR},
    "certificate_authorities": {CH, CR},
    "post_handshake_auth": {CH},
    "signature_algorithms_cert": {CH, CR},
    "oid_filters": {CR},
    "status_request": {CH, CR, CT},
    "compress_certificate": {CH, CR},  # RFC 8879 §3
    "record_size_limit": {CH, EE},  # RFC 8449 §4
    "client_certificate_type": {CH, EE},
    "server_certificate_type": {CH, EE},
}


class Sample(NamedTuple):
    """An extension's value in a message, and its bytes as the RFC's structs give them."""

    name: str
    carriers: set[Carrier]
    value: object
    data: str

    @property
    def code(self) -> int:
        return ExtensionType[self.name]

    @property
    def wire(self) -> bytes:
        return bytes.fromhex(self.data)


PSKS = OfferedPsks((PskIdentity(b"ab", 1), PskIdentity(b"c", 0xFFFFFFFF)), (b"\x11" * 32, b"\x22" * 48))
SAMPLES = [
    Sample("server_name", {CH}, "localhost", "000c 00 0009 6c6f63616c686f7374"),
    Sample("server_name", {EE}, value=True, data=""),
    Sample("supported_groups", {CH, EE}, (0x1D, 0x11EC), "0004 001d 11ec"),
    Sample("signature_algorithms", {CH, CR}, (0x0403,), "0002 0403"),
    Sample("signature_algorithms_cert", {CH, CR}, (0x0401, 0x0804, 0x0807), "0006 0401 0804 0807"),
    Sample("application_layer_protocol_negotiation", {CH}, (b"h2", b"http/1.1"), "000c 02 6832 08 687474702f312e31"),
    Sample("application_layer_protocol_negotiation", {EE}, b"h2", "0003 02 6832"),
    Sample("key_share", {CH}, {0x1D: b"abc", 0x17: b"d"}, "000c 001d 0003 616263 0017 0001 64"),
    Sample("key_share", {SH}, KeyShareEntry(0x1D, b"abc"), "001d 0003 616263"),
    Sample("key_share", {HRR}, 0x1D, "001d"),
    Sample("cookie", {CH, HRR}, b"crumbs", "0006 6372756d6273"),
    Sample("supported_versions", {CH}, (0x0304, 0x0303), "04 0304 0303"),
    Sample("supported_versions", {SH, HRR}, 0x0304, "0304"),
    Sample("psk_key_exchange_modes", {CH}, (1, 0), "02 01 00"),
    Sample("early_data", {CH, EE}, value=True, data=""),
    Sample("early_data", {NST}, 0x4000, "00004000"),
    Sample("certificate_authorities", {CH, CR}, (b"abc", b"d"), "0008 0003 616263 0001 64"),
    Sample("post_handshake_auth", {CH}, value=True, data=""),
    Sample(
        "pre_shared_key",
        {CH},
        PSKS,
        "000f 0002 6162 00000001 0001 63 ffffffff 0052 20" + "11" * 32 + "30" + "22" * 48,
    ),
    Sample("pre_shared_key", {SH}, 1, "0001"),
    Sample("oid_filters", {CR}, ((b"\x55\x1d\x25", b"abc"), (b"d", b"")), "000d 03 551d25 0003 616263 01 64 0000"),
    Sample("status_request", {CH}, value=True, data="01 0000 0000"),
    Sample("status_request", {CR}, value=True, data=""),
    Sample("status_request", {CT}, b"response", "01 000008 726573706f6e7365"),
    Sample("compress_certificate", {CH, CR}, (2, 1), "04 0002 0001"),
    Sample("record_size_limit", {CH, EE}, 0x4001, "4001"),
    Sample("client_certificate_type", {CH}, (2, 0), "02 02 00"),
    Sample("client_certificate_type", {EE}, 2, "02"),
    Sample("server_certificate_type", {CH}, (0,), "01 00"),
    Sample("server_certificate_type", {EE}, 0, "00"),
]
PLACES = [(sample, carrier) for sample in SAMPLES for carrier in sorted(sample.carriers)]
every_place = pytest.mark.parametrize(
    ("sample", "carrier"), PLACES, ids=[f"{sample.name}-{carrier.name}" for sample, carrier in PLACES]
)
every_carrier = pytest.mark.parametrize("carrier", Carrier, ids=lambda carrier: carrier.name)


def block(*extensions: tuple[int, bytes]) -> bytes:
    return b"".join(code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in extensions)


def parsed(code: int, data: bytes, carrier: Carrier = CH) -> object:
    """What comes of the one extension in a message that may answer everything."""
    raw, values = parse_extensions(block((code, data)), carrier, EVERYTHING)
    assert raw == {code: data}
    (value,) = values.values()
    return value


# --- The table ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.2")
def test_extensions_have_the_places_of_the_table() -> None:
    assert {extension.code.name: set(extension.forms) for extension in EXTENSIONS.values()} == TABLE
    assert all(code == extension.code for code, extension in EXTENSIONS.items())
    assert {(sample.name, carrier) for sample, carrier in PLACES} == {
        (name, carrier) for name, carriers in TABLE.items() for carrier in carriers
    }


@every_place
def test_extension_is_written_and_read(sample: Sample, carrier: Carrier) -> None:
    form = EXTENSIONS[sample.code].forms[carrier]
    assert form.serialise(sample.value) == sample.wire
    raw, values = parse_extensions(block((sample.code, sample.wire)), carrier, {sample.code})
    assert raw == {sample.code: sample.wire}
    assert values == {sample.name: sample.value}
    assert type(values[sample.name]) is type(sample.value)


@pytest.mark.rfc("8446", "4.2")
@every_carrier
@pytest.mark.parametrize("name", TABLE)
def test_extension_in_the_wrong_message_is_illegal(name: str, carrier: Carrier) -> None:
    if carrier in TABLE[name]:
        return
    for offered in ((), EVERYTHING):  # even one that was offered
        with pytest.raises(IllegalParameter, match=f"{name} has no place in {carrier.value}"):
            parse_extensions(block((ExtensionType[name], b"")), carrier, offered)


@pytest.mark.rfc("8446", "4.2")
@every_place
def test_answer_to_nothing_is_unsupported(sample: Sample, carrier: Carrier) -> None:
    data = block((sample.code, sample.wire))
    if carrier in ANSWERS and (sample.name, carrier) != ("cookie", HRR):  # §4.2.2: that comes unasked
        with pytest.raises(UnsupportedExtension, match=f"{carrier.value} answers {sample.name}"):
            parse_extensions(data, carrier, {UNKNOWN})
    else:
        assert parse_extensions(data, carrier, ()) == ({sample.code: sample.wire}, {sample.name: sample.value})


@pytest.mark.rfc("8446", "4.2")
@every_carrier
@pytest.mark.parametrize("code", [UNKNOWN, 1, 18, 21, 0xFF01, 0xFFFF])
def test_unknown_extension_is_ignored_where_nothing_is_answered(carrier: Carrier, code: int) -> None:
    data = block((code, b"whatever"))
    assert parse_extensions(data, carrier, {code}) == ({code: b"whatever"}, {})
    if carrier in ANSWERS:
        with pytest.raises(UnsupportedExtension, match=f"{carrier.value} answers .*, which was not offered"):
            parse_extensions(data, carrier, ())
    else:
        assert parse_extensions(data, carrier, ()) == ({code: b"whatever"}, {})


@pytest.mark.rfc("8446", "4.2")
@every_place
def test_extension_that_comes_twice_is_illegal(sample: Sample, carrier: Carrier) -> None:
    extension = (sample.code, sample.wire)
    for between in ((), ((UNKNOWN, b""),)):
        with pytest.raises(IllegalParameter, match=f"{carrier.value} holds {sample.name} twice"):
            parse_extensions(block(extension, *between, extension), carrier, EVERYTHING)


@pytest.mark.rfc("8446", "4.2")
@every_carrier
def test_unknown_extension_that_comes_twice_is_illegal(carrier: Carrier) -> None:
    with pytest.raises(IllegalParameter, match="holds unknown_0x0a0a twice"):
        parse_extensions(block((UNKNOWN, b"a"), (UNKNOWN, b"b")), carrier, EVERYTHING)


# --- Lengths -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6.2")
@every_place
def test_extension_cut_short_does_not_decode(sample: Sample, carrier: Carrier) -> None:
    """Neither with a length that says so, nor with the block's end."""
    for end in range(len(sample.wire)):
        with pytest.raises(DecodeError):
            parse_extensions(block((sample.code, sample.wire[:end])), carrier, EVERYTHING)
    whole = block((sample.code, sample.wire))
    for end in range(1, len(whole)):
        with pytest.raises(DecodeError):
            parse_extensions(whole[:end], carrier, EVERYTHING)


@pytest.mark.rfc("8446", "6.2")
@every_place
def test_bytes_behind_an_extension_do_not_decode(sample: Sample, carrier: Carrier) -> None:
    for tail in (b"\0", b"\xff", b"\0" * 40):
        with pytest.raises(DecodeError):
            parse_extensions(block((sample.code, sample.wire + tail)), carrier, EVERYTHING)
    for tail in (b"\0", b"\0\0", b"\0\0\0"):
        with pytest.raises(DecodeError, match=f"{carrier.value} extensions"):
            parse_extensions(block((sample.code, sample.wire)) + tail, carrier, EVERYTHING)


@pytest.mark.rfc("8446", "4.2.7")
@pytest.mark.parametrize("name", ["supported_groups", "signature_algorithms", "signature_algorithms_cert"])
def test_list_of_numbers_is_of_whole_numbers_and_not_empty(name: str) -> None:
    code = ExtensionType[name]
    for wrong in ("0000", "0001 00", "0003 001d00", "0002 001d 00", "0004 001d"):
        with pytest.raises(DecodeError, match=name):
            parsed(code, bytes.fromhex(wrong))
    for count in (1, 2, 63, 64, 65, 66, 1000, 0x7FFF - 1):
        values = tuple(random.Random(count).randrange(1 << 16) for _ in range(count))
        data = EXTENSIONS[code].forms[CH].serialise(values)
        assert len(data) == 2 + 2 * count
        assert parsed(code, data) == values


@pytest.mark.rfc("8446", "4.2.1")
def test_list_of_versions_is_of_whole_versions_and_not_empty() -> None:
    for wrong in ("", "00", "01 03", "03 030403", "02 0304 03", "04 0304"):
        with pytest.raises(DecodeError, match="supported_versions"):
            parsed(ExtensionType.supported_versions, bytes.fromhex(wrong))
    most = tuple(range(0x0300, 0x0300 + 127))
    data = EXTENSIONS[ExtensionType.supported_versions].forms[CH].serialise(most)
    assert parsed(ExtensionType.supported_versions, data) == most
    with pytest.raises(LocalError):
        EXTENSIONS[ExtensionType.supported_versions].forms[CH].serialise((*most, 0x0304))


# --- server_name -------------------------------------------------------------------------------------------------


def server_name(*names: tuple[int, bytes]) -> object:
    entries = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for kind, name in names)
    return parsed(ExtensionType.server_name, len(entries).to_bytes(2, "big") + entries)


@pytest.mark.rfc("6066", "3")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a", "a"),
        (b"Example.COM", "example.com"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_service.example", "_service.example"),
        (b"example.com.", "example.com."),
        (b"a" * 63 + b".example", "a" * 63 + ".example"),
        (b".".join([b"a" * 63] * 3 + [b"b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_host_name_is_read_in_lower_case(name: bytes, expected: str) -> None:
    assert server_name((0, name)) == expected


@pytest.mark.rfc("6066", "3")
@pytest.mark.parametrize(
    "name",
    [
        b".",
        b".example",
        b"a..b",
        b"example..",
        b"b\xc3\xbccher.example",
        b"example.com\0.evil",
        b"example.com\n",
        b"[::1]",
        b"*.example",
        b"with space",
        b"a" * 64,
        b".".join([b"a" * 63] * 4 + [b"b"]),
    ],
)
def test_host_name_that_is_none_is_illegal(name: bytes) -> None:
    with pytest.raises(IllegalParameter, match="no valid host name"):
        server_name((0, name))


@pytest.mark.rfc("6066", "3")
def test_host_name_is_found_among_names_of_other_types() -> None:
    assert server_name((7, b"\xff"), (0, b"localhost"), (8, b"x")) == "localhost"


@pytest.mark.rfc("6066", "3")
def test_server_name_holds_exactly_one_host_name() -> None:
    with pytest.raises(IllegalParameter, match="holds 2 host names"):
        server_name((0, b"a.example"), (0, b"b.example"))
    with pytest.raises(IllegalParameter, match="holds 0 host names"):
        server_name((7, b"name"))


@pytest.mark.rfc("6066", "3")
@pytest.mark.parametrize(
    "data", ["", "00", "0000", "0003 00 0000", "0003 00 0001", "0004 00 0009 61", "0005 01 0001 61 00"]
)
def test_server_name_list_that_is_malformed_does_not_decode(data: str) -> None:
    with pytest.raises(DecodeError, match="server_name"):
        parsed(ExtensionType.server_name, bytes.fromhex(data))


# --- The others --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7301", "3.1")
@pytest.mark.parametrize("carrier", [CH, EE])
@pytest.mark.parametrize(
    "data", ["", "0000", "0001 00", "0002 00 00", "0003 03 6832", "0004 02 6832 00", "0003 01 6832"]
)
def test_protocol_list_that_is_malformed_does_not_decode(data: str, carrier: Carrier) -> None:
    with pytest.raises(DecodeError, match="application_layer_protocol_negotiation"):
        parsed(ExtensionType.application_layer_protocol_negotiation, bytes.fromhex(data), carrier)


@pytest.mark.rfc("7301", "3.1")
def test_server_that_selects_two_protocols_does_not_decode() -> None:
    with pytest.raises(DecodeError, match="selected 2 application protocols"):
        parsed(ExtensionType.application_layer_protocol_negotiation, bytes.fromhex("0006 02 6832 02 6833"), EE)


def test_longest_protocol_name_is_read() -> None:
    name = b"p" * 255
    assert parsed(ExtensionType.application_layer_protocol_negotiation, b"\x01\x00\xff" + name) == (name,)


@pytest.mark.rfc("8446", "4.2.8")
def test_two_shares_for_one_group_are_illegal() -> None:
    with pytest.raises(IllegalParameter, match="two shares for group 0x001d"):
        parsed(ExtensionType.key_share, bytes.fromhex("000a 001d 0001 61 001d 0001 62"))


@pytest.mark.rfc("8446", "4.2.8")
def test_client_may_send_no_share_at_all() -> None:
    """It asks for a HelloRetryRequest."""
    assert parsed(ExtensionType.key_share, b"\0\0") == {}
    assert EXTENSIONS[ExtensionType.key_share].forms[CH].serialise({}) == b"\0\0"


@pytest.mark.rfc("8446", "4.2.8")
@pytest.mark.parametrize(
    ("carrier", "data"), [(CH, "0004 001d 0000"), (CH, "0005 001d 0002 61"), (CH, "0003 001d 00"), (SH, "001d 0000")]
)
def test_share_that_is_malformed_does_not_decode(carrier: Carrier, data: str) -> None:
    with pytest.raises(DecodeError, match="key_share"):
        parsed(ExtensionType.key_share, bytes.fromhex(data), carrier)


@pytest.mark.rfc("8446", "4.2.11")
@pytest.mark.parametrize(
    "data",
    [
        "0000 0021 20" + "11" * 32,  # no identity
        "0007 0001 61 00000000 0000",  # no binder
        "0007 0000 00000000 61 0021 20" + "11" * 32,  # an empty identity
        "0007 0001 61 00000000 0021 1f" + "11" * 31 + "00",  # a binder of 31 bytes
        "0007 0001 61 00000000 0021 21" + "11" * 32,  # one that runs over its list
        "0006 0001 61 000000 0021 20" + "11" * 32,  # an age of 3 bytes
    ],
)
def test_pre_shared_keys_that_are_malformed_do_not_decode(data: str) -> None:
    with pytest.raises(DecodeError, match="pre_shared_key"):
        parsed(ExtensionType.pre_shared_key, bytes.fromhex(data))


@pytest.mark.rfc("8446", "4.2.11")
@pytest.mark.parametrize("binders", [1, 3])
def test_each_pre_shared_key_has_one_binder(binders: int) -> None:
    form = EXTENSIONS[ExtensionType.pre_shared_key].forms[CH]
    data = form.serialise(OfferedPsks(PSKS.identities, (bytes(32),) * binders))
    with pytest.raises(IllegalParameter, match=f"2 identities and {binders} binders"):
        parsed(ExtensionType.pre_shared_key, data)


@pytest.mark.rfc("8446", "4.2.11.2")
def test_length_of_the_binders_is_that_of_their_list() -> None:
    data = EXTENSIONS[ExtensionType.pre_shared_key].forms[CH].serialise(PSKS)
    assert data[-PSKS.binders_length :] == b"\0\x52\x20" + PSKS.binders[0] + b"\x30" + PSKS.binders[1]


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("psk_key_exchange_modes", "00"),
        ("certificate_authorities", "0000"),
        ("certificate_authorities", "0003 0000 61"),
        ("certificate_authorities", "0003 0002 61"),
        ("cookie", "0000"),
    ],
)
def test_list_or_string_below_its_floor_does_not_decode(name: str, data: str) -> None:
    with pytest.raises(DecodeError, match=name):
        parsed(ExtensionType[name], bytes.fromhex(data))


@pytest.mark.rfc("8446", "4.2.9")
def test_unknown_modes_survive() -> None:
    assert parsed(ExtensionType.psk_key_exchange_modes, b"\x03\x0b\x01\xff") == (11, 1, 255)


# --- Whole blocks ------------------------------------------------------------------------------------------------


@given(
    extensions=st.dictionaries(
        st.integers(0, 0xFFFF).filter(lambda code: code not in EXTENSIONS), st.binary(max_size=30), max_size=8
    )
)
def test_unknown_extensions_are_kept_in_their_order(extensions: dict[int, bytes]) -> None:
    raw, values = parse_extensions(block(*extensions.items()), CH)
    assert (list(raw.items()), values) == (list(extensions.items()), {})


def mutations(data: bytes, generator: random.Random) -> Iterator[bytes]:
    for _ in range(20):
        place = generator.randrange(len(data) + 1)
        yield data[:place] + generator.randbytes(1) + data[place + 1 :]
        yield data[:place] + data[place + 1 :]
        yield data[:place] + generator.randbytes(1) + data[place:]


@every_place
@given(seed=st.integers(0, 1 << 32))
def test_changed_extension_raises_nothing_but_the_peers_errors(sample: Sample, carrier: Carrier, seed: int) -> None:
    for data in mutations(sample.wire, random.Random(seed)):
        try:
            _, values = parse_extensions(block((sample.code, data)), carrier, EVERYTHING)
        except PeerMisbehaved:
            continue
        if sample.name != "server_name" and (sample.name, carrier) != ("status_request", CH):
            # The one may lose names of other types, and its case, the other what it says of responders.
            assert EXTENSIONS[sample.code].forms[carrier].serialise(values[sample.name]) == data


@given(data=st.binary(max_size=60), carrier=st.sampled_from(list(Carrier)), offered=st.booleans())
def test_any_bytes_raise_nothing_but_the_peers_errors(data: bytes, carrier: Carrier, *, offered: bool) -> None:
    try:
        raw, _ = parse_extensions(data, carrier, EVERYTHING if offered else ())
    except PeerMisbehaved:
        return
    assert block(*raw.items()) == data


@pytest.mark.rfc("8446", "4.2.11")
@every_carrier
def test_message_writes_what_it_holds_and_a_pre_shared_key_last(carrier: Carrier) -> None:
    samples = {sample.name: sample for sample, place in PLACES if place is carrier}
    names = [name for name, carriers in TABLE.items() if carrier in carriers]
    message = SimpleNamespace(**{name: samples[name].value for name in names})
    data = serialise_extensions(message, carrier)
    assert int.from_bytes(data[:2], "big") == len(data) - 2
    raw, values = parse_extensions(data[2:], carrier, EVERYTHING)
    assert values == vars(message)
    assert raw == {sample.code: sample.wire for sample in samples.values()}
    if "pre_shared_key" in names:
        assert list(raw)[-1] == ExtensionType.pre_shared_key
    assert serialise_extensions(SimpleNamespace(**dict.fromkeys(names)), carrier) == b"\0\0"
