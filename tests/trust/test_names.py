"""Server names: what is one, and that it has one form however it is written."""

import sys
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import LocalError
from aiotls.trust.names import ServerName
from tests.trust.chains import ROOT

LABEL = "a" * 63


@pytest.mark.rfc("6066", "3")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.test", "example.test"),
        ("Example.TEST", "example.test"),
        ("example.test.", "example.test"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.example", "1.example"),
        ("a-b.3com.test", "a-b.3com.test"),
        (LABEL, LABEL),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}", f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}"),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}.", f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}"),
    ],
)
def test_server_name_of_dns_name_is_lower_case_and_without_trailing_dot(text: str, expected: str) -> None:
    name = ServerName.of(text)
    assert (name.text, name.is_ip, name.subject) == (expected, False, x509.DNSName(expected))
    assert str(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%2]", "fe80::1"),
    ],
)
def test_server_name_of_address_is_its_canonical_text(text: str, expected: str) -> None:
    name = ServerName.of(text)
    assert (name.text, name.is_ip, name.subject) == (expected, True, x509.IPAddress(ip_address(expected)))


@pytest.mark.rfc("5891", "4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("\uff45xample.test", "example.test"),
    ],
)
def test_server_name_of_u_labels_is_a_labels(text: str, expected: str) -> None:
    assert ServerName.of(text) == ServerName.of(expected)
    assert ServerName.of(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a_b.example",
        "*.example",
        "-a.example",
        "a-.example",
        "a b",
        "a\0b",
        "a\n",
        "example.test:443",
        "https://example.test",
        "user@example.test",
        "a" * 64,
        f"{LABEL}.{LABEL}.{LABEL}.{'a' * 62}",
        "a." * 3000,
        "[192.0.2.1]",
        "[example.test]",
        "[::1",
        "::g",
        "192.0.2",
        "192.0.2.256",
        "0x7f.1",
        "1",
        "0x7f",
        "\uff11\uff19\uff12.0.2.1",
        "☃️‍.example",
        "ü" * 5000,
        "xn--a.\u0301",
    ],
)
def test_server_name_refuses_what_is_neither_name_nor_address(text: str) -> None:
    with pytest.raises(LocalError, match="server name"):
        ServerName.of(text)


def test_server_name_refuses_what_is_no_text() -> None:
    with pytest.raises(LocalError, match="bytes; give a str"):
        ServerName.of(b"example.test")  # type: ignore[arg-type]


def test_server_name_says_what_to_install_where_idna_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(LocalError, match=r"install aiotls\[idna\]"):
        ServerName.of("bücher.example")
    assert ServerName.of("example.test").text == "example.test"


@given(st.text(max_size=80) | st.from_regex(r"[a-z0-9_.-]{1,70}", fullmatch=True))
def test_server_name_that_is_accepted_is_one_that_can_be_verified(text: str) -> None:
    try:
        name = ServerName.of(text)
    except LocalError:
        return
    assert ServerName.of(name.text) == name
    PolicyBuilder().store(Store([ROOT.certificate])).build_server_verifier(name.subject)
