"""JA4: the examples of FoxIO's specification, and each of its rules on hellos that we make."""

import hashlib
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.wire.ja4 import ja4, ja4_raw
from aiotls.wire.messages import ClientHello
from aiotls.wire.registries import ExtensionType

GREASE = [high << 8 | high for high in range(0x0A, 0x100, 0x10)]

# The specification's example: what Chrome sent, in its order.
SUITES = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
EXTENSIONS = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
SCHEMES = "0403,0804,0401,0503,0805,0501,0806,0601"
FINGERPRINT = "t13d1516h2_8daaf6152771_e5627efa2ab1"
RAW = (
    "t13d1516h2"
    "_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9"
    "_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01"
    "_0403,0804,0401,0503,0805,0501,0806,0601"
)


def codes(text: str) -> list[int]:
    return [int(code, 16) for code in text.split(",")]


def vector(item: bytes, size: int = 2) -> bytes:
    return len(item).to_bytes(size, "big") + item


def uint16s(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


CONTENTS = {
    ExtensionType.server_name: vector(b"\0" + vector(b"example.com")),
    ExtensionType.status_request: bytes((1, 0, 0, 0, 0)),
    ExtensionType.supported_groups: vector(uint16s([0x1D])),
    ExtensionType.signature_algorithms: vector(uint16s(codes(SCHEMES))),
    ExtensionType.application_layer_protocol_negotiation: vector(vector(b"h2", 1) + vector(b"http/1.1", 1)),
    ExtensionType.compress_certificate: vector(uint16s([2]), 1),
    ExtensionType.supported_versions: vector(uint16s([0x0304, 0x0303]), 1),
    ExtensionType.psk_key_exchange_modes: vector(b"\1", 1),
    ExtensionType.key_share: vector(uint16s([0x1D]) + vector(bytes(32))),
}


def hello(
    suites: list[int] | None = None,
    extensions: list[int] | None = None,
    *,
    legacy_version: int = 0x0303,
    **contents: bytes,
) -> ClientHello:
    """A ClientHello as it comes from the wire: the example's, but for what is given."""
    suites = codes(SUITES) if suites is None else suites
    extensions = codes(EXTENSIONS) if extensions is None else extensions
    given = CONTENTS | {ExtensionType[name]: content for name, content in contents.items()}
    block = b"".join(uint16s([code]) + vector(given.get(ExtensionType(code), b"")) for code in extensions)
    body = uint16s([legacy_version]) + bytes(32) + vector(b"", 1) + vector(uint16s(suites)) + b"\1\0" + vector(block)
    return ClientHello.parse(b"\1" + vector(body, 3))


def parts(message: ClientHello) -> tuple[str, str, str]:
    first, second, third = ja4(message).split("_")
    return first, second, third


# --- The specification's examples ----------------------------------------------------------------------------------


def test_fingerprint_is_that_of_the_specification() -> None:
    assert ja4(hello()) == FINGERPRINT
    assert ja4_raw(hello()) == RAW


def test_hello_without_signature_algorithms_ends_without_underscore() -> None:
    """The specification has the hash of its example without them; there 000d is still among the extensions."""
    extensions = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01"
    assert hashlib.sha256(extensions.encode()).hexdigest()[:12] == "6d807ffa2a79"
    without = extensions.replace("000d,", "")
    message = hello(extensions=codes(without))
    assert ja4_raw(message).rpartition("_")[2] == without
    assert parts(message)[2] == hashlib.sha256(without.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"Az", "Az"),
        (b"\xab", "ab"),
        (b"\x20", "20"),
        (b"\xab\xcd", "ad"),
        (b"\x20\x61", "21"),
        (b"\x30\xab", "3b"),
        (b"\x61\x20", "60"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ],
)
def test_protocol_is_told_by_its_ends(name: bytes, expected: str) -> None:
    protocols = vector(vector(name, 1) + vector(b"zz", 1))
    assert ja4(hello(application_layer_protocol_negotiation=protocols))[8:10] == expected


@pytest.mark.parametrize("byte", [0x2F, 0x3A, 0x40, 0x5B, 0x60, 0x7B, 0xC4])
def test_neighbours_of_letters_and_digits_are_none(byte: int) -> None:
    name = bytes((byte,))
    assert ja4(hello(application_layer_protocol_negotiation=vector(vector(name, 1))))[8:10] == name.hex()


# --- Its rules, one by one -----------------------------------------------------------------------------------------


def test_hello_without_protocols_has_zeros() -> None:
    without = codes(EXTENSIONS)
    without.remove(0x0010)
    first, second, third = parts(hello(extensions=without))
    assert first == "t13d151500"
    assert (second, third) == tuple(FINGERPRINT.split("_")[1:])


def test_hello_without_server_name_is_for_an_address() -> None:
    without = codes(EXTENSIONS)
    without.remove(0x0000)
    first, second, third = parts(hello(extensions=without))
    assert first == "t13i1515h2"
    assert (second, third) == tuple(FINGERPRINT.split("_")[1:])


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([0x0304, 0x0303], "13"),
        ([0x0302, 0x0303], "12"),
        ([0x0302], "11"),
        ([0x0301], "10"),
        ([0x0300], "s3"),
        ([0x0002], "s2"),
        ([0xFAFA, 0x0303], "12"),
        ([0x0304, 0x7F1C], "00"),
        ([0x1A1A], "00"),
    ],
)
def test_version_is_the_highest_of_supported_versions(versions: list[int], expected: str) -> None:
    assert ja4(hello(supported_versions=vector(uint16s(versions), 1)))[1:3] == expected


@pytest.mark.parametrize(
    ("version", "expected"), [(0x0303, "12"), (0x0302, "11"), (0x0301, "10"), (0x0300, "s3"), (0x0305, "00")]
)
def test_version_without_supported_versions_is_the_legacy_one(version: int, expected: str) -> None:
    without = codes(EXTENSIONS)
    without.remove(0x002B)
    assert ja4(hello(extensions=without, legacy_version=version))[1:3] == expected


@pytest.mark.rfc("8701", "2")
@pytest.mark.parametrize("grease", GREASE, ids=hex)
def test_grease_changes_nothing(grease: int) -> None:
    another = GREASE[GREASE.index(grease) - 1]
    message = hello(
        [grease, *codes(SUITES)],
        [grease, *codes(EXTENSIONS), another],
        supported_versions=vector(uint16s([grease, 0x0304]), 1),
        signature_algorithms=vector(uint16s([grease, *codes(SCHEMES)])),
        application_layer_protocol_negotiation=vector(vector(uint16s([grease]), 1) + vector(b"h2", 1)),
    )
    assert ja4(message) == FINGERPRINT
    assert ja4_raw(message) == RAW


@pytest.mark.parametrize("code", [0x0A0B, 0x0A1A, 0x1A0A, 0x0B0B, 0xA0A0])
def test_what_looks_like_grease_counts(code: int) -> None:
    assert ja4(hello([code, *codes(SUITES)]))[4:6] == "16"


def test_signalling_and_private_suites_count() -> None:
    assert ja4_raw(hello([0xFE00, 0x5600, 0x00FF])).split("_")[1] == "00ff,5600,fe00"


def test_order_of_suites_and_extensions_does_not_matter() -> None:
    for suites in permutations([0x1301, 0x1303, 0xC02B]):
        assert ja4(hello(list(suites))) == ja4(hello([0x1301, 0x1303, 0xC02B]))
    assert ja4(hello(extensions=codes(EXTENSIONS)[::-1])) == FINGERPRINT


def test_order_of_signature_algorithms_matters() -> None:
    other = hello(signature_algorithms=vector(uint16s(codes(SCHEMES)[::-1])))
    assert parts(other)[:2] == parts(hello())[:2]
    assert parts(other)[2] != parts(hello())[2]


@pytest.mark.parametrize(("count", "expected"), [(1, "01"), (9, "09"), (99, "99"), (100, "99"), (32000, "99")])
def test_suites_are_counted_in_two_digits(count: int, expected: str) -> None:
    assert ja4(hello([0x2000] * count))[4:6] == expected


@pytest.mark.parametrize(("count", "expected"), [(1, "01"), (99, "99"), (100, "99"), (1000, "99")])
def test_extensions_are_counted_in_two_digits(count: int, expected: str) -> None:
    assert ja4(hello(extensions=list(range(0x2000, 0x2000 + count))))[6:8] == expected


def test_empty_lists_are_zeros() -> None:
    message = hello([0x0A0A], [0xFAFA])
    assert ja4(message) == "t12i000000_000000000000_000000000000"
    assert ja4_raw(message) == "t12i000000__"
    assert parts(hello(extensions=[0x0000, 0x0010])) == ("t12d1502h2", "8daaf6152771", "000000000000")


@given(
    suites=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=200),
    extensions=st.lists(st.integers(0x4000, 0xFFFF).filter(lambda code: code != 0xFF01), unique=True, max_size=150),
)
def test_any_hello_has_a_fingerprint_of_36_characters(suites: list[int], extensions: list[int]) -> None:
    fingerprint = ja4(hello(suites, extensions))
    assert len(fingerprint) == 36
    assert fingerprint.isascii()
    assert [len(part) for part in fingerprint.split("_")] == [10, 12, 12]
