"""Trust anchors: the certificates at which a chain may end (RFC 5280 §6.1.1 (d)).

Whom to trust is the user's decision, so it is never made in silence: a set of roots that would be empty is an
error, and so is one that cannot be read.  The system's own bundle is the exception in one thing: it was not made by
whoever runs this program, and one damaged certificate among 150 must not take the other 149 with it.

SSL_CERT_FILE and SSL_CERT_DIR have their meaning from OpenSSL, save that where one of them is set, nothing but what
they name is trusted: who names a private bundle there does not mean the whole Web beside it.
"""

import functools
import hashlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from aiotls.errors import CertificateError, LocalError
from aiotls.trust.fields import subject_name_of
from aiotls.trust.loading import Source, load_certificates
from aiotls.trust.statements import MALFORMED

__all__ = ["Roots"]

_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL 7 and later
    "/etc/ssl/cert.pem",  # Alpine, OpenBSD
    "/usr/local/etc/ssl/cert.pem",  # FreeBSD
    "/usr/local/share/certs/ca-root-nss.crt",  # FreeBSD, DragonFly
    "/etc/openssl/certs/ca-certificates.crt",  # NetBSD
)
_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/openssl/certs")
_WITHOUT_FILES = {"darwin": "macOS", "ios": "iOS", "win32": "Windows"}

_BLOCK = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----.*?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL)
# The second are the names that `openssl rehash` gives to its links.
_CERTIFICATE_NAME = re.compile(r".+\.(?:pem|crt|cer|der)|[0-9a-f]{8}\.[0-9]+", re.IGNORECASE)

_log = logging.getLogger("aiotls.trust")


@final
class Roots:
    """An immutable set of certificates to trust; made by `system`, `from_file`, `from_directory` or `from_bytes`.

    ``a | b`` trusts what either trusts.  It is never empty.
    """

    __slots__ = ("_origin", "certificates", "digest", "subjects")

    certificates: tuple[x509.Certificate, ...]
    """The trusted certificates, each once."""
    digest: bytes
    """A SHA-256 hash over them, in whatever order they were given."""
    subjects: tuple[bytes, ...]
    """Their subjects, each a Name in DER: what a server sends as certificate_authorities (RFC 8446 §4.2.4)."""

    def __init__(self, certificates: Iterable[x509.Certificate], origin: str) -> None:
        by_der = {certificate.public_bytes(Encoding.DER): certificate for certificate in certificates}
        if not by_der:
            raise CertificateError(f"{origin}: there is no certificate in it; give at least one root to trust")
        self.certificates = tuple(by_der.values())
        self.digest = hashlib.sha256(b"".join(sorted(hashlib.sha256(der).digest() for der in by_der))).digest()
        self.subjects = tuple(dict.fromkeys(subject_name_of(certificate) for certificate in self.certificates))
        self._origin = origin

    def __len__(self) -> int:
        return len(self.certificates)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roots) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Roots: {len(self)} from {self._origin}>"

    def __or__(self, other: "Roots") -> "Roots":
        if not isinstance(other, Roots):
            return NotImplemented
        return Roots(self.certificates + other.certificates, f"{self._origin} and {other._origin}")

    @classmethod
    def system(cls) -> "Roots":
        """What the system trusts; read once.

        Where SSL_CERT_FILE or SSL_CERT_DIR is set, it is the file and the directories (separated as in PATH) that they
        name; else the first bundle at the places where systems keep it.  A certificate that does not parse is left
        out, and logged.  CertificateError says that there is none, and where it was looked for.
        """
        return _system(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Roots":
        """The certificates in a file, one in DER or any number in PEM.

        CertificateError, naming the file, says that it cannot be read, or that a certificate in it is damaged.
        """
        source = Source.read(path)
        return cls(load_certificates([source]), source.label)

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> "Roots":
        """The certificates in the files of a directory, but not in directories below it.

        These are the files named ``*.pem``, ``*.crt``, ``*.cer`` or ``*.der``, and as `openssl rehash` names
        its links.  CertificateError, naming the file, says what cannot be read or is damaged.
        """
        sources = [Source.read(file) for file in _files_in(Path(path))]
        return cls(load_certificates(sources), os.fspath(path))

    @classmethod
    def from_bytes(cls, *blobs: bytes) -> "Roots":
        """The certificates in these bytes, each one in DER or any number in PEM.

        LocalError says that nothing is given, CertificateError that there is no certificate in it or a damaged one.
        """
        if not blobs:
            raise LocalError("blobs is empty; give at least one root certificate, in PEM or DER")
        sources = [Source(f"root certificate bytes {at}", bytes(blob)) for at, blob in enumerate(blobs, 1)]
        return cls(load_certificates(sources), "bytes")


def _files_in(directory: Path) -> list[Path]:
    """The files of certificates, each once: `openssl rehash` makes links to those that are there anyway."""
    try:
        entries = sorted(directory.iterdir())
        named = [entry for entry in entries if _CERTIFICATE_NAME.fullmatch(entry.name)]
        return list({entry.resolve(): entry for entry in named if entry.is_file()}.values())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{directory}: the directory cannot be read: {error}") from error


@functools.lru_cache(maxsize=8)
def _system(file: str, directories: str) -> Roots:
    """By the values of the variables, so that a program that sets them later gets what it asks for."""
    if file or directories:
        return _from_environment(file, [name for name in directories.split(os.pathsep) if name])
    if sys.platform in _WITHOUT_FILES:
        raise CertificateError(
            f"{_WITHOUT_FILES[sys.platform]} keeps its roots where this program cannot read them; give a bundle, such"
            " as Roots.from_file(certifi.where()), or name it in SSL_CERT_FILE"
        )
    for place in _FILES:
        certificates = _lenient(Path(place))
        if certificates:
            return Roots(certificates, place)
    for place in _DIRECTORIES:
        certificates = _lenient_directory(Path(place))
        if certificates:
            return Roots(certificates, place)
    looked = ", ".join(_FILES + _DIRECTORIES)
    raise CertificateError(
        f"the system has no roots to trust: there are none in {looked}; install its package (ca-certificates), or name"
        " a bundle in SSL_CERT_FILE"
    )


def _from_environment(file: str, directories: list[str]) -> Roots:
    certificates = _lenient(Path(file)) if file else []
    for directory in directories:
        certificates += _lenient_directory(Path(directory))
    if not certificates:
        settings = {"SSL_CERT_FILE": file, "SSL_CERT_DIR": os.pathsep.join(directories)}
        looked = " and ".join(f"{name}={value}" for name, value in settings.items() if value)
        raise CertificateError(f"there are no roots to trust in {looked}; name a bundle in PEM, or unset the variable")
    return Roots(certificates, " and ".join(name for name in (file, *directories) if name))


def _lenient_directory(directory: Path) -> list[x509.Certificate]:
    try:
        files = _files_in(directory)
    except CertificateError:
        return []
    return [certificate for file in files for certificate in _lenient(file)]


def _lenient(path: Path) -> list[x509.Certificate]:
    """The certificates in a file of the system's; none where there is no such file or it cannot be read."""
    try:
        source = Source.read(path)
    except CertificateError:
        return []
    blocks = _BLOCK.findall(source.data) if source.is_pem else [source.data]
    certificates: list[x509.Certificate] = []
    for at, block in enumerate(blocks, 1):
        try:
            with warnings.catch_warnings():
                # Of a root with the serial number 0, as there is one in the Web's bundles.
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                certificates += load_certificates([Source(f"{source.label}, certificate {at}", block)])
        except (CertificateError, *MALFORMED) as error:
            _log.warning("a root certificate of the system's is left out: %s", error)
    return certificates
