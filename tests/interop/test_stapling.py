"""What programs say to a staple that our server does not have at hand, but must fetch first (RFC 6066 §8)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aiotls.blocking import Blocking
from aiotls.trust.stapling import OCSPStaple
from tests.interop.conftest import Serve
from tests.interop.endpoint import ANSWER_HEAD, Endpoint
from tests.interop.identities import Identities
from tests.interop.peers import gnutls_arguments, openssl_arguments, run

Answer = Callable[[bytes], bytes | Awaitable[bytes]]


async def awaited(staple: bytes) -> bytes:
    await asyncio.sleep(0)
    return staple


ANSWERS: dict[str, Answer] = {
    "at_once": lambda staple: staple,
    "awaited": awaited,
    "in_a_thread": lambda staple: Blocking(lambda: staple),
}
each_answer = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


async def fetching(serve: Serve, identities: Identities, answer: Answer) -> tuple[Endpoint, bytes]:
    """A server that gets its staple by *answer* in its first handshake; and the staple."""
    identity, path = identities.stapled("good")
    good = path.read_bytes()
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: answer(good))
    endpoint = await serve(credentials=identity.credential.with_staple(staple))
    endpoint.certificate_authority.write_bytes(identity.authority.read_bytes())
    return endpoint, good


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.peer("openssl")
@each_answer
async def test_openssl_gets_the_staple_that_is_fetched(answer: Answer, serve: Serve, identities: Identities) -> None:
    endpoint, _ = await fetching(serve, identities, answer)
    result = await run(*openssl_arguments(endpoint), "-ign_eof", "-status", stdin=endpoint.request(b"hello"))
    assert result.succeeded, result.trace
    assert re.search(rb"^ *Cert Status: good$", result.output, re.MULTILINE)
    await endpoint.connection()


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.peer("openssl")
async def test_openssl_gets_no_staple_that_it_does_not_ask_for(serve: Serve, identities: Identities) -> None:
    endpoint, _ = await fetching(serve, identities, ANSWERS["at_once"])
    result = await run(*openssl_arguments(endpoint), "-ign_eof", "-tlsextdebug", stdin=endpoint.request(b"hello"))
    assert result.succeeded, result.trace
    assert b"OCSP" not in result.output
    assert b'"status request"' not in result.output
    await endpoint.connection()


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.peer("gnutls-cli")
@each_answer
async def test_gnutls_gets_the_staple_that_is_fetched(
    answer: Answer, serve: Serve, identities: Identities, tmp_path: Path
) -> None:
    endpoint, good = await fetching(serve, identities, answer)
    saved = tmp_path / "saved.der"
    arguments = (*gnutls_arguments(endpoint), "--save-ocsp", str(saved), "127.0.0.1")
    result = await run(*arguments, stdin=endpoint.request(b"hello"))
    assert result.succeeded, result.trace
    assert result.output == ANSWER_HEAD
    assert saved.read_bytes() == good
    await endpoint.connection()
