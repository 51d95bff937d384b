"""What the tests of live credentials are made with: handshakes that ask, files that are replaced, many threads."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiotls.blocking import Blocking
from aiotls.crypto import signatures
from aiotls.testing.ca import IssuedCertificate
from aiotls.trust.credentials import Credential
from aiotls.trust.loading import Source, load_certificates, public_key_of
from aiotls.trust.resolvers import CredentialDirectory, CredentialFiles
from aiotls.wire.registries import SignatureScheme
from tests.trust.material import hello
from tests.trust.statements import Clock

Resolver = CredentialFiles | CredentialDirectory


def now(resolver: Resolver, name: str | None = "a.test", *schemes: int) -> Credential | None:
    """What a handshake gets, whose owner does the work in place."""
    answer = resolver(hello(name, *(schemes or (SignatureScheme.ecdsa_secp256r1_sha256,))))
    return answer.run() if isinstance(answer, Blocking) else answer


def later(clock: Clock, resolver: Resolver, name: str | None = "a.test", *schemes: int) -> Credential | None:
    """The same when the next look is due."""
    clock.now += 0.5
    return now(resolver, name, *schemes)


Log = Callable[[], list[str]]


def read_log(caplog: pytest.LogCaptureFixture) -> Log:
    """A function that returns what warnings and errors have been logged since it was last called."""
    caplog.set_level(logging.WARNING, "aiotls.trust")

    def read() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.name == "aiotls.trust"]
        caplog.clear()
        return messages

    return read


def settle(clock: Clock, resolver: Resolver) -> None:
    """Let the time pass in which the files are compared by content."""
    for _ in range(10):
        later(clock, resolver)


def put(path: Path, data: bytes) -> None:
    """Replace a file in one step."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def install(issued: IssuedCertificate, directory: Path) -> None:
    """Put cert.pem and key.pem there, one after the other, as other programs do."""
    directory.mkdir(exist_ok=True)
    put(directory / "cert.pem", issued.chain_pem)
    put(directory / "key.pem", issued.key_pem)


def same(served: Credential | None, wanted: Credential | IssuedCertificate) -> bool:
    """Whether it is this certificate."""
    expected = wanted.credential() if isinstance(wanted, IssuedCertificate) else wanted
    return served is not None and served.chain == expected.chain


def check_key(credential: Credential) -> None:
    """The key is that of the certificate: what it signs verifies (RFC 8446 §4.4.3)."""
    public_key = public_key_of(load_certificates(Source.of_chain(credential.chain))[0], "the chain")
    signature = credential.signing_key.sign(credential.schemes[0], b"message")
    assert isinstance(signature, bytes)
    signatures.verify(public_key, credential.schemes[0], signature, b"message")


def in_threads(functions: Sequence[Callable[[], None]]) -> None:
    """Run all at the same time; an error in one of them is raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], None]) -> None:
        barrier.wait()
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let the threads take turns often: the one that writes would wait 5 ms for each of its turns."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
