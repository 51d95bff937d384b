"""Who servers and clients are in these tests: certificates and keys in files, for most programs read nothing else."""

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import aiotls
from aiotls.testing.ca import CertificateStatus, IssuedCertificate, KeyType, LocalCA

CLIENT_NAME = "client.example.test"


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, with what makes others trust it."""

    certfile: Path
    """The chain in PEM, our own certificate first."""
    keyfile: Path
    chainfile: Path
    """The same without our own certificate, which may be empty."""
    authority: Path
    """The root in PEM."""

    @cached_property
    def credential(self) -> aiotls.Credential:
        return aiotls.Credential.from_files(self.certfile, self.keyfile)


def files_in(directory: Path) -> Identity:
    """What `write` has put there."""
    return Identity(*(directory / name for name in ("cert.pem", "key.pem", "chain.pem", "authority.pem")))


def write(directory: Path, issued: IssuedCertificate, ca: LocalCA) -> Identity:
    """Put it all into a directory, which is made."""
    issued.write(directory)
    identity = files_in(directory)
    identity.chainfile.write_bytes(issued.chain_pem.partition(b"-----END CERTIFICATE-----\n")[2])
    identity.authority.write_bytes(ca.certificate_pem)
    return identity


@dataclass(frozen=True)
class Identities:
    """Issues each kind once, for a key costs time."""

    directory: Path
    _ca: LocalCA = field(default_factory=LocalCA)

    def server(self, key_type: KeyType = "ecdsa-p256", *, intermediate: bool = False) -> Identity:
        """For localhost and 127.0.0.1."""
        return self._issued("localhost", "127.0.0.1", key_type=key_type, intermediate=intermediate)

    def client(self, key_type: KeyType = "ecdsa-p256", *, intermediate: bool = False) -> Identity:
        """Of the same authority as the servers."""
        return self._issued(CLIENT_NAME, key_type=key_type, intermediate=intermediate)

    @cached_property
    def elsewhere(self) -> Identity:
        """A server for another name."""
        return self._issued("elsewhere.example.test")

    @cached_property
    def stranger(self) -> Identity:
        """A client of an authority that nobody trusts, though it bears the name of the one that all trust."""
        return self._of("stranger", LocalCA(), CLIENT_NAME)

    @cached_property
    def foreigner(self) -> Identity:
        """A client of an authority that bears another name."""
        return self._of("foreigner", LocalCA(common_name="another local CA"), CLIENT_NAME)

    @cached_property
    def expired(self) -> Identity:
        """For localhost, and expired a month ago; the authority goes on."""
        then = dt.datetime.now(dt.UTC) - dt.timedelta(days=30 + 90)
        return self._of("expired", LocalCA(clock=lambda: then), "localhost")

    def stapled(self, status: CertificateStatus) -> tuple[Identity, Path]:
        """For localhost, of an intermediate authority and good only with a staple; and a staple that says *status*."""
        directory = self.directory / f"stapled-{status}"
        staple = directory / "staple.der"
        if not staple.exists():
            issued = self._ca.issue("localhost", intermediate=True, must_staple=True)
            write(directory, issued, self._ca)
            staple.write_bytes(self._ca.ocsp_response(issued, status=status))
        return files_in(directory), staple

    def _issued(self, *names: str, key_type: KeyType = "ecdsa-p256", intermediate: bool = False) -> Identity:
        directory = self.directory / "-".join([*names, key_type, *(["intermediate"] if intermediate else [])])
        if directory.exists():
            return files_in(directory)
        return write(directory, self._ca.issue(*names, key_type=key_type, intermediate=intermediate), self._ca)

    def _of(self, directory: str, ca: LocalCA, name: str) -> Identity:
        return write(self.directory / directory, ca.issue(name), ca)
