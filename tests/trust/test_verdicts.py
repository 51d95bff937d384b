"""Verdicts that are remembered: what a hit spares, what is another question, and when a verdict ends."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509

from aiotls.errors import (
    BadCertificateStatus,
    CertificateError,
    CertificateExpired,
    CertificateRevoked,
    RevocationUnknown,
    UnsupportedCertificate,
    UntrustedCertificate,
)
from aiotls.trust.names import ServerName
from aiotls.trust.verify import Verifier
from tests.trust.chains import (
    CLIENT,
    DAY,
    INTERMEDIATE,
    NAME,
    NOW,
    PEER,
    ROOT,
    SENT,
    WWW,
    Clock,
    authority,
    crls,
    der,
    leaf,
    staple,
    verifier,
)


class Judged(list[int]):
    """Counts the chains that `cryptography` was given, by how many certificates they have."""


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judged:
    counted = Judged()
    build_path = Verifier._build_path

    def counting(self: Verifier, loaded: Sequence[x509.Certificate], *rest: Any) -> list[x509.Certificate]:
        counted.append(len(loaded))
        return build_path(self, loaded, *rest)

    monkeypatch.setattr(Verifier, "_build_path", counting)
    return counted


def copied(sent: Sequence[bytes]) -> list[bytes]:
    return [bytes(bytearray(one)) for one in sent]


def test_verifier_that_sees_the_same_again_checks_no_signature(judged: Judged) -> None:
    it = verifier()
    first = it.verify_server(SENT, WWW)
    assert it.verify_server(copied(SENT), ServerName.of(NAME.upper())) is first
    assert it.verify_server(tuple(SENT), WWW) is first
    assert len(judged) == 1


def test_verifier_without_memory_verifies_every_time(judged: Judged) -> None:
    it = verifier(cache_size=0)
    it.verify_server(SENT, WWW)
    it.verify_server(SENT, WWW)
    assert len(judged) == 2


def test_verifier_remembers_no_refusal(judged: Judged) -> None:
    it = verifier()
    for _ in range(2):
        with pytest.raises(UntrustedCertificate):
            it.verify_server(SENT[:1], WWW)
    assert len(judged) == 2


BOTH_NAMES = leaf(INTERMEDIATE, [NAME, "b.test"])


@pytest.mark.parametrize(
    "other",
    [
        lambda it, sent: it.verify_server(sent, ServerName.of("b.test")),
        lambda it, sent: it.verify_client(sent),
        lambda it, sent: it.verify_server([*sent, *der(ROOT)], WWW),
        lambda it, sent: it.verify_server([sent[0], *der(ROOT), sent[1]], WWW),
        lambda it, sent: it.verify_server(sent, WWW, staple(leaf=BOTH_NAMES)),
    ],
    ids=["name", "role", "chain", "order", "staple"],
)
def test_verifier_judges_anew_what_differs(judged: Judged, other: Callable[[Verifier, list[bytes]], object]) -> None:
    it, sent = verifier(), der(BOTH_NAMES, INTERMEDIATE)
    it.verify_server(sent, WWW)
    other(it, sent)
    assert len(judged) == 2


def test_verifier_does_not_take_one_split_of_the_bytes_for_another(judged: Judged) -> None:
    it = verifier()
    it.verify_server(SENT, WWW)
    with pytest.raises(CertificateError):
        it.verify_server([b"".join(SENT)], WWW)


def test_verifier_does_not_pass_off_a_clients_verdict_as_a_servers() -> None:
    it, sent = verifier(), der(leaf(ROOT, purposes=[CLIENT]))
    it.verify_client(sent)
    with pytest.raises(UnsupportedCertificate):
        it.verify_server(sent, WWW)


def test_verdict_lasts_its_time_and_not_longer(judged: Judged) -> None:
    clock = Clock()
    it = verifier(clock=clock, cache_lifetime=60)
    it.verify_server(SENT, WWW)
    clock.now += 59.9
    it.verify_server(SENT, WWW)
    assert len(judged) == 1
    clock.now += 0.1
    it.verify_server(SENT, WWW)
    assert len(judged) == 2


def test_verdict_lasts_no_longer_than_the_chain(judged: Judged) -> None:
    clock = Clock()
    it = verifier(clock=clock, cache_lifetime=10**9)
    sent = der(leaf(brief := authority("brief", ROOT, until=NOW + DAY)), brief)
    it.verify_server(sent, WWW)
    clock.now += DAY.total_seconds() - 1
    it.verify_server(sent, WWW)
    assert len(judged) == 1
    clock.now += 2
    with pytest.raises(CertificateExpired):
        it.verify_server(sent, WWW)


@pytest.mark.parametrize("what", ["crl", "staple"])
def test_verdict_lasts_no_longer_than_what_is_known_of_revocation(judged: Judged, what: str) -> None:
    clock = Clock()
    it = verifier(clock=clock, cache_lifetime=10**9, crls=crls() if what == "crl" else None)
    response = staple() if what == "staple" else None
    it.verify_server(SENT, WWW, response)
    clock.now += DAY.total_seconds() - 1
    it.verify_server(SENT, WWW, response)
    assert len(judged) == 1
    clock.now += 2
    with pytest.raises(RevocationUnknown if what == "crl" else BadCertificateStatus):
        it.verify_server(SENT, WWW, response)


def test_verdict_ends_when_the_crls_change(judged: Judged) -> None:
    lists = crls()
    it = verifier(crls=lists)
    it.verify_server(SENT, WWW)
    lists._snapshot = crls(PEER)._snapshot
    with pytest.raises(CertificateRevoked):
        it.verify_server(SENT, WWW)


def test_verdict_is_not_prolonged_by_a_clock_that_is_set_back(judged: Judged) -> None:
    clock = Clock()
    it = verifier(clock=clock, cache_lifetime=60)
    it.verify_server(SENT, WWW)
    clock.now += 50
    it.verify_server(SENT, WWW)
    clock.now -= 40
    it.verify_server(SENT, WWW)
    assert len(judged) == 2
    clock.now += 59
    it.verify_server(SENT, WWW)
    assert len(judged) == 2


def test_verdict_is_not_prolonged_by_a_clock_that_trembles(judged: Judged) -> None:
    clock = Clock()
    it = verifier(clock=clock, cache_lifetime=60)
    it.verify_server(SENT, WWW)
    clock.now += 59.9
    it.verify_server(SENT, WWW)
    clock.now -= 0.5
    it.verify_server(SENT, WWW)
    assert len(judged) == 1
    clock.now += 0.7
    it.verify_server(SENT, WWW)
    clock.now -= 0.7
    it.verify_server(SENT, WWW)
    assert len(judged) == 2


def test_verifier_remembers_a_bounded_number_and_the_latest_of_it(judged: Judged) -> None:
    it = verifier(cache_size=8)
    names = [ServerName.of(f"{at}.example.test") for at in range(40)]
    sent = der(leaf(ROOT, ["*.example.test"]))
    for name in names:
        it.verify_server(sent, name)
        it.verify_server(sent, names[0])
        assert len(it._memory._younger) + len(it._memory._older) <= 8
    assert len(judged) == 40, "what is used all the time is forgotten"
    it.verify_server(sent, names[-2])
    assert len(judged) == 40
    it.verify_server(sent, names[5])
    assert len(judged) == 41


def test_threads_that_share_a_verifier_get_the_verdicts_that_they_asked_for() -> None:
    it = verifier(cache_size=4)
    sent = der(leaf(ROOT, ["*.example.test"]))
    names = [ServerName.of(f"{at}.example.test") for at in range(12)]

    def judge(name: ServerName) -> bool:
        good = it.verify_server(sent, name).dns_names == ("*.example.test",)
        with pytest.raises(CertificateError):
            it.verify_server(sent, ServerName.of(f"a.{name.text}"))
        return good

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(judge, names * 10))
