"""The extensions about certificates and records: their bounds, on both sides, and what they let pass.

Their places and their plain forms stand in the table of `test_extensions.py`.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import DecodeError, IllegalParameter, LocalError, UnsupportedExtension
from aiotls.wire.extensions import (
    EXTENSIONS,
    SMALLEST_RECORD_SIZE_LIMIT,
    Carrier,
    has_extension,
    parse_extensions,
    serialise_extension,
)
from aiotls.wire.registries import ExtensionType

CH, SH, EE, CT, CR, NST, HRR = Carrier
EVERYTHING = range(1 << 16)
TYPES = [ExtensionType.client_certificate_type, ExtensionType.server_certificate_type]
every_type = pytest.mark.parametrize("code", TYPES, ids=lambda code: code.name)


def parsed(code: int, data: bytes | str, carrier: Carrier = CH) -> object:
    """What comes of the one extension in a message that may answer everything."""
    content = bytes.fromhex(data) if isinstance(data, str) else data
    block = code.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content
    raw, values = parse_extensions(block, carrier, EVERYTHING)
    assert raw == {code: content}
    (value,) = values.values()
    return value


def serialised(code: int, value: object, carrier: Carrier = CH) -> bytes:
    return EXTENSIONS[code].forms[carrier].serialise(value)


# --- status_request ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("6066", "8")
@pytest.mark.parametrize(
    "data",
    ["01 0000 0000", "01 0004 0002 abcd 0000", "01 0000 0003 313233", "01 0004 0002 abcd 0003 313233"],
    ids=["any", "responders", "extensions", "both"],
)
def test_hints_of_a_status_request_change_nothing(data: str) -> None:
    assert parsed(ExtensionType.status_request, data) is True


@pytest.mark.rfc("6066", "8")
@pytest.mark.parametrize("data", ["00", "02", "02 0000 0000", "ff 01 02 03"])
def test_status_request_of_another_kind_is_ignored(data: str) -> None:
    assert parsed(ExtensionType.status_request, data) is None


@pytest.mark.rfc("6066", "8")
@pytest.mark.parametrize("data", ["", "01", "01 0000", "01 0001 0000", "01 0000 0001", "01 0000 0000 00"])
def test_status_request_that_is_malformed_does_not_decode(data: str) -> None:
    with pytest.raises(DecodeError, match="status_request"):
        parsed(ExtensionType.status_request, data)


@pytest.mark.rfc("8446", "4.4.2.1")
def test_server_asks_for_a_staple_by_an_empty_extension() -> None:
    """Unlike a client, which sends the structure of RFC 6066."""
    assert parsed(ExtensionType.status_request, "", CR) is True
    assert serialised(ExtensionType.status_request, value=True, carrier=CR) == b""


@pytest.mark.rfc("8446", "4.4.2.1")
def test_stapled_response_is_what_is_behind_its_length() -> None:
    for response in (b"a", bytes(0xFFFF - 4)):
        data = serialised(ExtensionType.status_request, response, CT)
        assert data == b"\1" + len(response).to_bytes(3, "big") + response
        assert parsed(ExtensionType.status_request, data, CT) == response


@pytest.mark.rfc("6066", "8")
@pytest.mark.parametrize("data", ["01 000000", "02 000000"])
def test_stapled_response_may_not_be_empty(data: str) -> None:
    with pytest.raises(DecodeError, match=r"status_request: length 0 is not within 1\.\."):
        parsed(ExtensionType.status_request, data, CT)


@pytest.mark.rfc("6066", "8")
@pytest.mark.parametrize("data", ["00 000001 61", "02 000001 61", "ff 000001 61"])
def test_staple_of_a_kind_that_was_not_asked_for_is_illegal(data: str) -> None:
    with pytest.raises(IllegalParameter, match="where OCSP was asked for"):
        parsed(ExtensionType.status_request, data, CT)


@pytest.mark.rfc("8446", "4.2")
@pytest.mark.parametrize("carrier", [CT, EE])
def test_staple_and_limit_that_nobody_asked_for_are_unsupported(carrier: Carrier) -> None:
    code, data = {
        CT: (ExtensionType.status_request, b"\1\0\0\1a"),
        EE: (ExtensionType.record_size_limit, b"\x40\1"),
    }[carrier]
    block = serialise_extension(code, carrier, b"a" if carrier is CT else 0x4001)
    assert block == code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data
    with pytest.raises(UnsupportedExtension, match=f"{carrier.value} answers {code.name}"):
        parse_extensions(block, carrier, {ExtensionType.server_name})


# --- compress_certificate ----------------------------------------------------------------------------------------


@pytest.mark.rfc("8879", "3")
@pytest.mark.parametrize("carrier", [CH, CR])
@pytest.mark.parametrize("data", ["", "00", "01 00", "03 000100", "02 00", "02 0001 00", "04 0001"])
def test_list_of_compression_algorithms_is_of_whole_numbers_and_not_empty(carrier: Carrier, data: str) -> None:
    with pytest.raises(DecodeError, match="compress_certificate"):
        parsed(ExtensionType.compress_certificate, data, carrier)


@pytest.mark.rfc("8879", "3")
def test_list_of_compression_algorithms_may_fill_its_field_and_name_what_nobody_knows() -> None:
    most = tuple(range(0x4000, 0x4000 + 127))
    data = serialised(ExtensionType.compress_certificate, most)
    assert data[0] == 254
    assert parsed(ExtensionType.compress_certificate, data) == most
    with pytest.raises(LocalError, match="does not fit a field"):
        serialised(ExtensionType.compress_certificate, (*most, 1))


# --- record_size_limit -------------------------------------------------------------------------------------------


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("carrier", [CH, EE])
def test_record_size_limit_has_a_floor_and_no_ceiling(carrier: Carrier) -> None:
    assert SMALLEST_RECORD_SIZE_LIMIT == 64
    for limit in (64, 65, 0x4000, 0x4001, 0x4002, 0xFFFF):  # §4: a larger one may come with a later version
        data = serialised(ExtensionType.record_size_limit, limit, carrier)
        assert data == limit.to_bytes(2, "big")
        assert parsed(ExtensionType.record_size_limit, data, carrier) == limit
    for limit in (63, 1, 0):
        with pytest.raises(IllegalParameter, match=f"a record_size_limit of {limit} bytes, below 64"):
            parsed(ExtensionType.record_size_limit, limit.to_bytes(2, "big"), carrier)


@pytest.mark.rfc("8449", "4")
@pytest.mark.parametrize("carrier", [CH, EE])
@pytest.mark.parametrize("data", ["", "40", "400100", "00004001"])
def test_record_size_limit_is_two_bytes(carrier: Carrier, data: str) -> None:
    with pytest.raises(DecodeError, match="record_size_limit"):
        parsed(ExtensionType.record_size_limit, data, carrier)


# --- client_certificate_type, server_certificate_type ------------------------------------------------------------


@pytest.mark.rfc("7250", "3")
@every_type
def test_list_of_certificate_types_is_not_empty_and_may_hold_unknown_ones(code: int) -> None:
    for data in ("", "00", "01", "02 00", "01 00 00"):
        with pytest.raises(DecodeError, match="certificate types"):
            parsed(code, data)
    assert parsed(code, "01 02") == (2,)
    assert parsed(code, "03 ff 02 01") == (255, 2, 1)
    assert parsed(code, b"\xff" + bytes(255)) == (0,) * 255
    with pytest.raises(LocalError, match="does not fit a field"):
        serialised(code, (0,) * 256)


@pytest.mark.rfc("7250", "3")
@every_type
def test_server_answers_with_one_certificate_type(code: int) -> None:
    assert parsed(code, "02", EE) == 2
    assert parsed(code, "ff", EE) == 255
    for data in ("", "0202", "01 02"):
        with pytest.raises(DecodeError, match="certificate type"):
            parsed(code, data, EE)


# --- oid_filters -------------------------------------------------------------------------------------------------

filters = st.lists(st.tuples(st.binary(min_size=1, max_size=255), st.binary(max_size=400)), max_size=4).map(tuple)


@pytest.mark.rfc("8446", "4.2.5")
@given(value=filters)
def test_oid_filters_are_read_as_they_were_written(value: tuple[tuple[bytes, bytes], ...]) -> None:
    data = serialised(ExtensionType.oid_filters, value, CR)
    assert parsed(ExtensionType.oid_filters, data, CR) == value


@pytest.mark.rfc("8446", "4.2.5")
def test_oid_filters_may_be_none_and_a_filter_without_values() -> None:
    assert parsed(ExtensionType.oid_filters, "0000", CR) == ()
    assert parsed(ExtensionType.oid_filters, "0004 01 61 0000", CR) == ((b"a", b""),)
    longest = ((b"o" * 255, b"v" * 65277),)
    data = serialised(ExtensionType.oid_filters, longest, CR)
    assert data[:2] == b"\xff\xff"
    with pytest.raises(LocalError, match="does not fit a field"):
        serialised(ExtensionType.oid_filters, ((b"o" * 255, b"v" * 65278),), CR)


@pytest.mark.rfc("8446", "4.2.5")
@pytest.mark.parametrize(
    "data",
    ["", "00", "0001", "0003 00 0000", "0003 01 61 00", "0004 01 61 0001", "0005 01 61 0000 00", "0004 01 61 0000 00"],
)
def test_oid_filters_that_are_malformed_do_not_decode(data: str) -> None:
    with pytest.raises(DecodeError, match="oid_filters"):
        parsed(ExtensionType.oid_filters, data, CR)


@pytest.mark.rfc("8446", "4.2.5")
@pytest.mark.parametrize("carrier", [CH, SH, EE, CT, NST, HRR])
def test_oid_filters_are_the_certificate_requests_alone(carrier: Carrier) -> None:
    """In a ClientHello too, which is no answer, and where what is not known is ignored."""
    with pytest.raises(IllegalParameter, match=f"oid_filters has no place in {carrier.value}"):
        parsed(ExtensionType.oid_filters, "0000", carrier)


# --- Blocks ------------------------------------------------------------------------------------------------------


@given(
    codes=st.lists(st.integers(0, 5), unique=True, max_size=5),
    data=st.lists(st.binary(max_size=20), min_size=5, max_size=5),
    wanted=st.integers(0, 6),
)
def test_extension_is_found_in_a_block_that_holds_it(codes: list[int], data: list[bytes], wanted: int) -> None:
    block = b"".join(
        code.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content
        for code, content in zip(codes, data, strict=False)
    )
    assert has_extension(block, wanted) is (wanted in codes)


def test_extension_is_not_found_within_the_content_of_another() -> None:
    hidden = bytes.fromhex("002b 0002 0304")
    block = b"\xff\x01\0\x06" + hidden
    assert not has_extension(block, ExtensionType.supported_versions)
    assert has_extension(block + hidden, ExtensionType.supported_versions)


@pytest.mark.rfc("8446", "4.2")
def test_extension_that_does_not_fit_its_field_is_not_written() -> None:
    protocols = (b"p" * 255,) * 255 + (b"q" * 252,)
    code = ExtensionType.application_layer_protocol_negotiation
    most = serialise_extension(code, CH, protocols)
    assert len(most) == 4 + 0xFFFF
    assert parsed(code, most[4:]) == protocols
    with pytest.raises(LocalError, match="does not fit a field"):
        serialise_extension(code, CH, (*protocols[:-1], b"q" * 253))
