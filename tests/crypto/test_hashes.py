"""HMAC on cached pads is HMAC, and shows no key."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.hashes import SHA256, SHA384, Hash, HMACKey
from aiotls.crypto.suites import SUITES


@pytest.mark.rfc("2104", "2")
@pytest.mark.parametrize("function", [SHA256, SHA384], ids=lambda function: function.name)
@given(key=st.binary(max_size=300), message=st.binary(max_size=300))
def test_hmac_is_that_of_the_standard_library(function: Hash, key: bytes, message: bytes) -> None:
    assert HMACKey(function, key).digest(message) == hmac.digest(key, message, function.name)


def test_key_is_not_shown() -> None:
    assert b"secret".hex() not in repr(HMACKey(SHA256, b"secret"))
    assert "secret" not in repr(HMACKey(SHA256, b"secret"))


@pytest.mark.rfc("8446", "B.4")
def test_suites_have_the_sizes_of_the_rfc() -> None:
    assert {suite.code.name: (suite.key_length, suite.hash.name) for suite in SUITES.values()} == {
        "TLS_AES_128_GCM_SHA256": (16, "sha256"),
        "TLS_AES_256_GCM_SHA384": (32, "sha384"),
        "TLS_CHACHA20_POLY1305_SHA256": (32, "sha256"),
    }


@pytest.mark.rfc("8446", "5.5")
def test_aes_gcm_keys_serve_no_more_records_than_the_rfc_allows() -> None:
    limits = {suite.code.name: suite.confidentiality_limit for suite in SUITES.values()}
    assert limits["TLS_AES_128_GCM_SHA256"] == limits["TLS_AES_256_GCM_SHA384"] == 2**24
    assert limits["TLS_CHACHA20_POLY1305_SHA256"] < 2**64


@pytest.mark.rfc("8439", "A.5")
def test_chacha20_poly1305_is_that_of_the_rfc() -> None:
    key = bytes.fromhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
    aead = SUITES[0x1303].aead(key)
    nonce, data = bytes.fromhex("000000000102030405060708"), bytes.fromhex("f33388860000000000004e91")
    sealed = aead.encrypt(nonce, b"Internet-Drafts are draft documents", data)
    assert sealed[:16].hex() == "64a0861575861af460f062c79be643bd"
    assert aead.decrypt(nonce, sealed, data) == b"Internet-Drafts are draft documents"
