"""Which files in a directory are a certificate and its private key: the layouts that programs write.

The names tell, and nothing is read.  It goes by the private keys: a certificate without a key is an issuer or a root,
which a directory of credentials may well hold; a key without a certificate is something that somebody forgot, and
is found as well, so that to load it says so.
"""

import os
from collections.abc import Callable, Iterator
from typing import TypeAlias

from aiotls.errors import CertificateError

__all__ = ["Files", "find_pairs"]

Files: TypeAlias = tuple[str, str | None]
"""The certificate file, and the key file unless it is the same."""

_FIXED = (("fullchain.pem", "privkey.pem"), ("cert.pem", "key.pem"), ("tls.crt", "tls.key"))
"""What certbot, many others, and Kubernetes call the two."""


def find_pairs(directory: str) -> dict[Files, str]:
    """The pairs in a directory and in those right below it, by their paths, and what each is called.

    The name is that of the files, as far as both have it, or that of the directory that they are in.  A pair with a
    single file may turn out to hold no key.  CertificateError says that the directory cannot be read.
    """
    files, directories = _entries(directory)
    found: dict[Files, str] = {}
    for name in directories:
        below = os.path.join(directory, name)  # noqa: PTH118 - the other functions here want text
        pair = _fixed_pair(lambda file, below=below: os.path.lexists(os.path.join(below, file)))  # type: ignore[misc]  # noqa: PTH118
        if pair is not None:
            found[os.path.join(below, pair[0]), os.path.join(below, pair[1])] = name  # noqa: PTH118 - as above
    for name, certificate, key in _flat_pairs(files, os.path.basename(os.path.abspath(directory))):  # noqa: PTH100, PTH119
        path = os.path.join(directory, certificate)  # noqa: PTH118 - as above
        found[path, None if key is None else os.path.join(directory, key)] = name  # noqa: PTH118 - as above
    return found
