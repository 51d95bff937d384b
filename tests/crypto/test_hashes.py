"""HMAC on cached pads is HMAC, and shows no key."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.hashes import SHA256, SHA384, Hash, HMACKey


@pytest.mark.rfc("2104", "2")
@pytest.mark.parametrize("function", [SHA256, SHA384], ids=lambda function: function.name)
@given(key=st.binary(max_size=300), message=st.binary(max_size=300))
def test_hmac_is_that_of_the_standard_library(function: Hash, key: bytes, message: bytes) -> None:
    assert HMACKey(function, key).digest(message) == hmac.digest(key, message, function.name)


def test_key_is_not_shown() -> None:
    assert b"secret".hex() not in repr(HMACKey(SHA256, b"secret"))
    assert "secret" not in repr(HMACKey(SHA256, b"secret"))
