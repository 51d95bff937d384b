"""Cipher suites: sizes, limits, and a published vector for each AEAD."""

import pytest

from aiotls.crypto.suites import SUITES, TAG_LENGTH, TICKET_AEAD, TICKET_KEY_LENGTH, InvalidTag, Suite
from aiotls.wire.registries import CipherSuite

every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.code.name)


@pytest.mark.rfc("8446", "B.4")
def test_suites_have_the_sizes_of_the_rfc() -> None:
    assert {suite.code.name: (suite.key_length, suite.hash.name) for suite in SUITES.values()} == {
        "TLS_AES_128_GCM_SHA256": (16, "sha256"),
        "TLS_AES_256_GCM_SHA384": (32, "sha384"),
        "TLS_CHACHA20_POLY1305_SHA256": (32, "sha256"),
    }
    assert all(code == suite.code for code, suite in SUITES.items())


@pytest.mark.rfc("8446", "5.5")
def test_keys_serve_no_more_records_than_the_rfc_allows() -> None:
    limits = {suite.code.name: suite.confidentiality_limit for suite in SUITES.values()}
    assert limits["TLS_AES_128_GCM_SHA256"] == limits["TLS_AES_256_GCM_SHA384"] == 2**24 < 2**24.5
    assert limits["TLS_CHACHA20_POLY1305_SHA256"] < 2**64


@every_suite
def test_aead_takes_no_key_of_another_length(suite: Suite) -> None:
    suite.aead(bytes(suite.key_length))
    for length in (0, suite.key_length - 1, suite.key_length + 1):
        with pytest.raises(ValueError):
            suite.aead(bytes(length))


@pytest.mark.rfc("5116", "5.1")
@every_suite
def test_aead_adds_a_tag_and_opens_only_what_it_sealed(suite: Suite) -> None:
    aead, nonce = suite.aead(bytes(suite.key_length)), bytes(12)
    sealed = aead.encrypt(nonce, b"content", b"header")
    assert len(sealed) == len(b"content") + TAG_LENGTH
    buffer = bytearray(b"content") + bytes(TAG_LENGTH)
    view = memoryview(buffer)
    assert aead.encrypt_into(nonce, view[:7], b"header", view) == len(sealed)
    assert buffer == sealed
    assert aead.decrypt(nonce, sealed, b"header") == b"content"
    for wrong in (
        (bytes(11) + b"\1", sealed, b"header"),
        (nonce, sealed[:-1], b"header"),
        (nonce, sealed[: TAG_LENGTH - 1], b"header"),
        (nonce, b"", b"header"),
        (nonce, sealed, b"heads"),
    ):
        with pytest.raises(InvalidTag):
            aead.decrypt(*wrong)


@pytest.mark.parametrize(
    ("code", "sealed"),
    [
        (
            CipherSuite.TLS_AES_128_GCM_SHA256,
            "0388dace60b6a392f328c2b971b2fe78" + "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            CipherSuite.TLS_AES_256_GCM_SHA384,
            "cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919",
        ),
    ],
)
def test_aes_gcm_is_that_of_its_specification(code: CipherSuite, sealed: str) -> None:
    """Test cases 2 and 14 of McGrew and Viega, "The Galois/Counter Mode of Operation"."""
    aead = SUITES[code].aead(bytes(SUITES[code].key_length))
    assert aead.encrypt(bytes(12), bytes(16), b"").hex() == sealed
    assert aead.decrypt(bytes(12), bytes.fromhex(sealed), b"") == bytes(16)


@pytest.mark.rfc("8439", "2.8.2")
def test_chacha20_poly1305_is_that_of_the_rfc() -> None:
    aead = SUITES[CipherSuite.TLS_CHACHA20_POLY1305_SHA256].aead(bytes(range(0x80, 0xA0)))
    nonce, data = bytes.fromhex("070000004041424344454647"), bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    message = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    sealed = aead.encrypt(nonce, message, data)
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-TAG_LENGTH:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
    assert aead.decrypt(nonce, sealed, data) == message


def test_tickets_are_sealed_with_aes_256() -> None:
    sealed = TICKET_AEAD(bytes(TICKET_KEY_LENGTH)).encrypt(bytes(12), bytes(16), b"")
    assert sealed == SUITES[CipherSuite.TLS_AES_256_GCM_SHA384].aead(bytes(32)).encrypt(bytes(12), bytes(16), b"")
