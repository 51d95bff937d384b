"""Which files in a directory are a certificate and its private key: the layouts that programs write.

The names tell, and nothing is read.  It goes by the private keys: a certificate without a key is an issuer or a root,
which a directory of credentials may well hold; a key without a certificate is something that somebody forgot, and
is found as well, so that to load it says so.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from aiotls.errors import CertificateError

__all__ = ["Files", "find_pairs"]

Files: TypeAlias = tuple[str, str | None]
"""The certificate file, and the key file unless it is the same."""

_FIXED = (("fullchain.pem", "privkey.pem"), ("cert.pem", "key.pem"), ("tls.crt", "tls.key"))
"""What certbot, many others, and Kubernetes call the two."""


def find_pairs(directory: str) -> dict[Files, str]:
    """The pairs in a directory and in those right below it, by their paths, and what each is called.

    That is what the names of the two files begin with, or the name of the directory that they are in.  Whether there
    is a key in a pair of one file only its content tells.  CertificateError says that the directory cannot be read.
    """
    files, directories = _entries(directory)
    found: dict[Files, str] = {}
    for name in directories:
        for certificate, key in _fixed_pairs(partial(_is_in, f"{directory}/{name}")):
            found[f"{directory}/{name}/{certificate}", f"{directory}/{name}/{key}"] = name
    for name, certificate, one_key in _flat_pairs(files, Path(directory).resolve().name):
        found[f"{directory}/{certificate}", one_key and f"{directory}/{one_key}"] = name
    return found


def _entries(directory: str) -> tuple[list[str], list[str]]:
    """The files and the directories in it; what is hidden is left out, as the ``..data`` of Kubernetes."""
    try:
        with os.scandir(directory) as entries:
            kinds = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CertificateError(f"{directory!r}: the directory cannot be read: {error}") from error
    names = sorted(kinds)
    return [name for name in names if not kinds[name]], [name for name in names if kinds[name]]


def _is_in(directory: str, name: str) -> bool:
    # A link that leads nowhere counts: to read it fails, and names it.
    return os.path.lexists(f"{directory}/{name}")


def _fixed_pairs(exists: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The first of the fixed layouts that is there, complete or at least with its key; or nothing."""
    with_key = [(certificate, key) for certificate, key in _FIXED if exists(key)]
    complete = [(certificate, key) for certificate, key in with_key if exists(certificate)]
    return (complete or with_key)[:1]


def _flat_pairs(files: list[str], own_name: str) -> Iterator[tuple[str, str, str | None]]:
    """The name, the certificate and the key of each pair right in the directory, which is called *own_name*."""
    names = set(files)
    for certificate, key in _fixed_pairs(names.__contains__):
        yield own_name, certificate, key
        names -= {certificate, key}
    for key in [name for name in files if name.endswith((".key", "-key.pem"))]:
        stem = key.removesuffix(".key").removesuffix("-key.pem")
        candidates = (f"{stem}.crt", f"{stem}.pem") if key.endswith(".key") else (f"{stem}.pem",)
        certificate = next((name for name in candidates if name in names), candidates[0])
        if key in names and (key.endswith(".key") or certificate in names):
            yield stem, certificate, key
            names -= {certificate, key}
    for name in sorted(names):
        if name.endswith(".pem"):
            yield name.removesuffix(".pem"), name, None
