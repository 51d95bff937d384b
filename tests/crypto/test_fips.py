"""FIPS mode: it is on only where every module that computes for us says so."""

import _hashlib

import pytest
from cryptography.hazmat.bindings._rust import openssl

from aiotls.crypto import fips
from aiotls.crypto.fips import fips_mode, module_version


def test_fips_mode_is_off_with_the_module_that_a_wheel_brings() -> None:
    assert openssl.is_fips_enabled() is False
    assert fips_mode() is False


@pytest.mark.parametrize(
    ("cryptography", "python", "expected"), [(False, 0, False), (True, 0, False), (False, 1, False), (True, 1, True)]
)
def test_fips_mode_takes_both_modules(
    monkeypatch: pytest.MonkeyPatch, *, cryptography: bool, python: int, expected: bool
) -> None:
    class OfCryptography:
        @staticmethod
        def is_fips_enabled() -> bool:
            return cryptography

    monkeypatch.setattr(fips, "openssl", OfCryptography)
    monkeypatch.setattr(_hashlib, "get_fips_mode", lambda: python)
    assert fips_mode() is expected


def test_module_tells_its_version() -> None:
    assert module_version().startswith("OpenSSL ")
