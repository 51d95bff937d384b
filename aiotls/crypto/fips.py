"""Whether the modules that compute for us are in FIPS mode (FIPS 140-3).

There are two.  Ciphers, signatures and key exchange are of the OpenSSL that `cryptography` is linked to; the wheels
bring one of their own, which is not a validated module.  Hashes are of the OpenSSL that Python's `hashlib` is linked
to, and may be of another.
"""

import _hashlib

from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.bindings._rust import openssl

__all__ = ["fips_mode", "module_version"]


def fips_mode() -> bool:
    """Whether both modules are in FIPS mode; one that is not makes it False."""
    return bool(openssl.is_fips_enabled() and _hashlib.get_fips_mode())


def module_version() -> str:
    """The name and version of the OpenSSL behind `cryptography`, as it gives them."""
    return backend.openssl_version_text()
