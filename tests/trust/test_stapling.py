"""OCSPStaple: which response is stapled when, who brings the next one, and what happens when it cannot be had."""

import asyncio
import datetime as dt
import itertools
import logging
import threading
from collections.abc import Awaitable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from aiotls.blocking import Blocking
from aiotls.errors import CertificateError, LocalError
from aiotls.handshake.effects import HandshakeDriver, ask
from aiotls.trust import stapling
from aiotls.trust.stapling import OCSPStaple
from tests.trust.statements import CA, DAY, HOUR, LEAF, NOW, OTHER, ROOT, SECOND, Clock, ocsp_response

MINUTE = dt.timedelta(minutes=1)
LEAF_DER = LEAF.certificate.public_bytes(Encoding.DER)
CA_DER = CA.certificate.public_bytes(Encoding.DER)


class Responder:
    """A function to fetch responses with; what it answers is set by hand."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[bytes, bytes]] = []

    def __call__(self, leaf: bytes, issuer: bytes) -> bytes:
        self.asked.append((leaf, issuer))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


def current(staple: OCSPStaple, now: dt.datetime = NOW) -> bytes | None:
    """What is stapled at once."""
    answer = staple.current(now, LEAF_DER, CA_DER)
    assert answer is None or isinstance(answer, bytes)
    return answer


def lasting(lifetime: dt.timedelta, since: dt.datetime = NOW) -> bytes:
    return ocsp_response(since=since, until=since + lifetime)


# From a callable


def test_staple_is_fetched_in_the_first_handshake_and_held() -> None:
    response = ocsp_response()
    responder = Responder(response)
    staple = OCSPStaple.from_callable(responder)
    assert [current(staple) for _ in range(3)] == [response] * 3
    assert responder.asked == [(LEAF_DER, CA_DER)]
    assert "Responder" in repr(staple)


def test_staple_is_renewed_at_half_of_its_life() -> None:
    first, second = lasting(DAY), lasting(2 * DAY)
    staple = OCSPStaple.from_callable(Responder(first, second))
    assert current(staple) == first
    assert current(staple, NOW + DAY / 2 - SECOND) == first
    assert current(staple, NOW + DAY / 2) == second


def test_staple_is_renewed_as_long_before_its_end_as_told() -> None:
    first, second = lasting(DAY), lasting(2 * DAY)
    staple = OCSPStaple.from_callable(Responder(first, second), refresh=HOUR)
    assert current(staple) == first
    assert current(staple, NOW + DAY - HOUR - SECOND) == first
    assert current(staple, NOW + DAY - HOUR) == second


def test_staple_that_lives_shorter_than_refresh_is_not_fetched_in_every_handshake() -> None:
    first, second = lasting(HOUR), lasting(2 * HOUR)
    staple = OCSPStaple.from_callable(Responder(first, second), refresh=DAY)
    assert current(staple) == first
    assert current(staple, NOW + MINUTE - SECOND) == first
    assert current(staple, NOW + MINUTE) == second


def test_older_response_does_not_replace_the_one_that_is_held() -> None:
    first, older = lasting(DAY), lasting(DAY - HOUR)
    staple = OCSPStaple.from_callable(Responder(first, older))
    assert current(staple) == first
    assert current(staple, NOW + DAY / 2) == first


def test_failed_fetch_is_logged_and_the_old_response_kept_while_valid(caplog: pytest.LogCaptureFixture) -> None:
    response = lasting(DAY)
    staple = OCSPStaple.from_callable(Responder(response, OSError("no route"), OSError("no route")))
    assert current(staple) == response
    assert current(staple, NOW + DAY / 2) == response
    [record] = caplog.records
    assert record.name == "aiotls.trust"
    assert record.levelno == logging.ERROR
    assert "CN=leaf" in record.getMessage()
    assert "2026-05-18 12:30 UTC" in record.getMessage()
    assert "no route" in record.getMessage()
    assert current(staple, NOW + DAY - SECOND) == response
    assert current(staple, NOW + DAY) is None
    assert "expired" in caplog.records[-1].getMessage()


def test_fetch_is_repeated_after_ever_longer_pauses() -> None:
    responder = Responder(*[OSError()] * 20)
    staple = OCSPStaple.from_callable(responder)
    minutes = []
    for minute in range(60 * 6):
        before = len(responder.asked)
        assert current(staple, NOW + minute * MINUTE) is None
        if len(responder.asked) > before:
            minutes.append(minute)
    pauses = [after - before for before, after in itertools.pairwise(minutes)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_fetch_that_succeeds_again_ends_the_pauses() -> None:
    responder = Responder(OSError(), OSError(), lasting(DAY), OSError(), lasting(2 * DAY))
    staple = OCSPStaple.from_callable(responder)
    times = [NOW, NOW + MINUTE, NOW + 3 * MINUTE, NOW + DAY, NOW + DAY + MINUTE]
    assert [current(staple, at) is not None for at in times] == [False, False, True, False, True]
    assert responder.answers == []


INVALID: list[tuple[object, str]] = [
    (b"", "malformed"),
    ("text", "returned str"),
    (None, "returned NoneType"),
    (ocsp_response(leaf=OTHER), "for another certificate"),
    (ocsp_response(since=NOW - DAY, until=NOW), "out of date"),
    (ocsp_response(status=ocsp.OCSPCertStatus.UNKNOWN), "does not know"),
    (ocsp_response(status=ocsp.OCSPCertStatus.REVOKED), "was revoked"),
    (ocsp_response(ROOT), "not signed|neither"),
]


@pytest.mark.rfc("6066", "8")
@pytest.mark.parametrize(("answer", "text"), INVALID, ids=[text for _, text in INVALID])
def test_response_that_a_client_would_refuse_is_logged_and_not_stapled(
    caplog: pytest.LogCaptureFixture, answer: object, text: str
) -> None:
    assert current(OCSPStaple.from_callable(Responder(answer))) is None
    [record] = caplog.records
    assert any(part in record.getMessage() for part in text.split("|"))
    assert "there is none" in record.getMessage()


@pytest.mark.rfc("6960", "2.2")
def test_response_that_our_certificate_is_revoked_ends_the_use_of_the_older_one() -> None:
    revoked = ocsp_response(status=ocsp.OCSPCertStatus.REVOKED)
    staple = OCSPStaple.from_callable(Responder(lasting(DAY), revoked, lasting(DAY)))
    assert current(staple) is not None
    assert current(staple, NOW + DAY / 2) is None
    assert current(staple, NOW + DAY / 2 + MINUTE) is not None


async def test_one_handshake_awaits_the_first_response_and_others_go_on_without() -> None:
    response = ocsp_response()
    fetched = asyncio.get_running_loop().create_future()
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: fetched)
    waiting = staple.current(NOW, LEAF_DER, CA_DER)
    assert isinstance(waiting, Awaitable)
    assert current(staple) is None
    fetched.set_result(response)
    assert await waiting == response
    assert current(staple) == response


async def test_one_handshake_awaits_the_renewal_and_others_go_on_with_the_old_response() -> None:
    first, second = lasting(DAY), lasting(2 * DAY)
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
    futures[0].set_result(first)
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: futures.pop(0))
    [_, renewal] = futures
    waiting = staple.current(NOW, LEAF_DER, CA_DER)
    assert isinstance(waiting, Awaitable)
    assert await waiting == first
    waiting = staple.current(NOW + DAY / 2, LEAF_DER, CA_DER)
    assert isinstance(waiting, Awaitable)
    assert [current(staple, NOW + DAY / 2) for _ in range(3)] == [first] * 3
    renewal.set_result(second)
    assert await waiting == second
    assert current(staple, NOW + DAY / 2) == second


async def test_awaited_fetch_that_fails_gives_the_old_response() -> None:
    first = lasting(DAY)
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
    futures[0].set_result(first)
    futures[1].set_exception(OSError("no route"))
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: futures.pop(0))
    for at in (NOW, NOW + DAY / 2):
        waiting = staple.current(at, LEAF_DER, CA_DER)
        assert isinstance(waiting, Awaitable)
        assert await waiting == first


async def test_fetch_that_is_cancelled_is_tried_again_after_the_pause() -> None:
    """The connection that carried it was closed: the error is its own, and the next attempt another's."""
    responses: list[asyncio.Future[bytes]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    responses[1].set_result(ocsp_response())
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: responses.pop(0))
    waiting = staple.current(NOW, LEAF_DER, CA_DER)
    assert isinstance(waiting, Awaitable)
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert current(staple, NOW + MINUTE - SECOND) is None
    again = staple.current(NOW + MINUTE, LEAF_DER, CA_DER)
    assert isinstance(again, Awaitable)
    assert await again is not None


def test_blocking_fetch_comes_out_as_blocking_to_run_in_a_thread() -> None:
    response = ocsp_response()
    ran_in: list[threading.Thread] = []

    def work() -> bytes:
        ran_in.append(threading.current_thread())
        return response

    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: Blocking(work))
    waiting = staple.current(NOW, LEAF_DER, CA_DER)
    assert isinstance(waiting, Blocking)
    assert current(staple) is None
    results: list[bytes | None] = []
    thread = threading.Thread(target=lambda: results.append(waiting.run()))
    thread.start()
    thread.join()
    assert results == [response]
    assert ran_in == [thread]
    assert current(staple) == response


def test_blocking_fetch_that_fails_gives_nothing(caplog: pytest.LogCaptureFixture) -> None:
    staple = OCSPStaple.from_callable(lambda _leaf, _issuer: Blocking(Responder(OSError("no route"))))  # type: ignore[arg-type]
    waiting = staple.current(NOW, LEAF_DER, CA_DER)
    assert isinstance(waiting, Blocking)
    assert waiting.run() is None
    assert len(caplog.records) == 1


def test_one_of_many_threads_fetches() -> None:
    response = ocsp_response()
    responder = Responder(*[response] * 8)
    staple = OCSPStaple.from_callable(responder)
    barrier = threading.Barrier(8)

    def handshake() -> None:
        barrier.wait()
        current(staple)

    threads = [threading.Thread(target=handshake) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(responder.asked) == 1


def test_handshake_gets_the_staple_by_asking() -> None:
    response = ocsp_response()

    async def fetch(leaf: bytes, issuer: bytes) -> bytes:
        return response

    staple = OCSPStaple.from_callable(fetch)

    async def handshake() -> bytes | None:
        return await ask("the OCSP staple", staple.current, NOW, LEAF_DER, CA_DER)

    driver = HandshakeDriver(handshake())
    assert driver.pending is not None
    driver.resume(asyncio.run(awaiting(driver.pending)))
    assert driver.result == response
    assert HandshakeDriver(handshake()).result == response


async def awaiting(pending: Awaitable[object]) -> object:
    return await pending


def test_one_object_serves_several_certificates() -> None:
    one, other = ocsp_response(), ocsp_response(leaf=OTHER)
    staple = OCSPStaple.from_callable(Responder(one, other))
    other_der = OTHER.certificate.public_bytes(Encoding.DER)
    for _ in range(2):
        assert current(staple) == one
        assert staple.current(NOW, other_der, CA_DER) == other


def test_responses_are_held_for_a_bounded_number_of_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stapling, "_CERTIFICATES", 1)
    one, other = ocsp_response(), ocsp_response(leaf=OTHER)
    responder = Responder(one, other, one)
    staple = OCSPStaple.from_callable(responder)
    assert current(staple) == one
    assert staple.current(NOW, OTHER.certificate.public_bytes(Encoding.DER), CA_DER) == other
    assert current(staple) == one
    assert responder.answers == []


@pytest.mark.parametrize("refresh", [dt.timedelta(0), -SECOND])
def test_staple_refuses_refresh_that_is_not_positive(refresh: dt.timedelta) -> None:
    with pytest.raises(LocalError, match="refresh is"):
        OCSPStaple.from_callable(Responder(), refresh=refresh)


def test_staple_refuses_what_is_no_certificate() -> None:
    with pytest.raises(LocalError, match="in DER"):
        OCSPStaple.from_callable(Responder()).current(NOW, b"leaf", CA_DER)


# From a file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ocsp.der"
    path.write_bytes(lasting(DAY))
    return path


def test_staple_of_file_is_stapled_until_it_expires(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    staple = OCSPStaple.from_file(file)
    assert repr(staple) == f"<OCSPStaple from {file}>"
    assert current(staple) == file.read_bytes()
    assert current(staple, NOW + DAY - SECOND) == file.read_bytes()
    assert caplog.records == []
    assert current(staple, NOW + DAY) is None
    assert current(staple, NOW + DAY) is None
    [record] = caplog.records
    assert "CN=leaf expired on 2026-05-18 12:30 UTC" in record.getMessage()


def test_staple_of_file_is_read_again_when_it_changes(file: Path) -> None:
    clock = Clock()
    staple = OCSPStaple.from_file(file, clock=clock)
    old = current(staple)
    file.write_bytes(lasting(2 * DAY))
    assert current(staple) == old
    clock.now += 1
    assert current(staple) == file.read_bytes() != old


@pytest.mark.parametrize(
    "content",
    [b"", b"half", None, ocsp_response(leaf=OTHER), ocsp_response(until=NOW)],
    ids=["empty", "half", "gone", "another's", "expired"],
)
def test_staple_of_file_stays_when_the_new_file_cannot_be_used(
    file: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    staple = OCSPStaple.from_file(file, interval=0)
    old = current(staple)
    assert old is not None
    file.unlink() if content is None else file.write_bytes(content)
    assert [current(staple) for _ in range(3)] == [old] * 3
    assert len(caplog.records) == 1
    file.write_bytes(lasting(3 * DAY))
    assert current(staple) == file.read_bytes()


def test_staple_of_file_that_is_expired_lets_the_server_start(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(lasting(DAY, NOW - 2 * DAY))
    staple = OCSPStaple.from_file(file)
    assert [current(staple) for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----", LEAF_DER])
def test_staple_refuses_file_without_response(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(CertificateError, match=r"ocsp\.der: there is no OCSP response in DER"):
        OCSPStaple.from_file(file)


def test_staple_refuses_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="there is no such file"):
        OCSPStaple.from_file(tmp_path / "gone.der")
