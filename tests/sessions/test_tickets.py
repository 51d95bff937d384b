"""Ticket keys: what they seal they open, for one to two periods; anything else they do not."""

import os
import threading
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from aiotls.errors import LocalError
from aiotls.sessions.tickets import OVERHEAD, TicketKeys


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> TicketKeys:
    return TicketKeys.rotating(100, clock=clock)


def counted() -> Callable[[int], bytes]:
    """Random bytes that a test can foresee."""
    numbers: Iterator[int] = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


@pytest.mark.parametrize("plaintext", [b"", b"session", bytes(1000)])
def test_keys_open_what_they_sealed(keys: TicketKeys, plaintext: bytes) -> None:
    ticket = keys.seal(plaintext)
    assert len(ticket) == len(plaintext) + OVERHEAD
    assert keys.open(ticket) == plaintext


def test_ticket_is_name_nonce_and_sealed_session() -> None:
    keys = TicketKeys.rotating(clock=Clock(), random=counted())
    ticket = keys.seal(b"session")
    assert ticket[:16] == (1).to_bytes(16, "big")
    assert ticket[16:28] == (3).to_bytes(12, "big")
    assert b"session" not in ticket


def test_tickets_of_one_session_differ_in_their_nonces(keys: TicketKeys) -> None:
    first, second = keys.seal(b"session"), keys.seal(b"session")
    assert first[:16] == second[:16]
    assert first[16:28] != second[16:28]


def test_keys_do_not_open_a_ticket_with_any_byte_changed(keys: TicketKeys) -> None:
    ticket = keys.seal(b"session")
    for place in range(len(ticket)):
        forged = ticket[:place] + bytes((ticket[place] ^ 1,)) + ticket[place + 1 :]
        assert keys.open(forged) is None


def test_keys_do_not_open_a_ticket_that_is_cut_off_or_longer(keys: TicketKeys) -> None:
    ticket = keys.seal(b"session")
    assert {keys.open(ticket[:size]) for size in range(len(ticket))} == {None}
    assert keys.open(ticket + b"\0") is None


def test_keys_do_not_open_the_ticket_of_other_keys(keys: TicketKeys) -> None:
    assert keys.open(TicketKeys.rotating().seal(b"session")) is None


def test_old_key_opens_for_one_more_period_and_is_then_gone(keys: TicketKeys, clock: Clock) -> None:
    ticket = keys.seal(b"session")
    clock.now += 100
    later = keys.seal(b"session")
    assert later[:16] != ticket[:16]
    assert keys.open(ticket) == keys.open(later) == b"session"
    clock.now += 99
    assert keys.open(ticket) == b"session"
    clock.now += 1
    assert keys.open(ticket) is None
    assert keys.open(later) == b"session"


def test_periods_go_on_from_the_first_when_nobody_asked_for_a_while(keys: TicketKeys, clock: Clock) -> None:
    """A late rotation does not give the key more time: the periods stay where they were."""
    ticket = keys.seal(b"session")
    clock.now += 190
    assert keys.open(ticket) == b"session"
    clock.now += 10
    assert keys.open(ticket) is None


def test_key_is_gone_when_nobody_asked_for_two_periods(keys: TicketKeys, clock: Clock) -> None:
    ticket = keys.seal(b"session")
    clock.now += 200
    assert keys.open(ticket) is None


def test_key_stays_when_the_clock_is_set_back_a_little(keys: TicketKeys, clock: Clock) -> None:
    ticket = keys.seal(b"session")
    clock.now -= 50
    assert keys.seal(b"session")[:16] == ticket[:16]


def test_key_is_replaced_when_the_clock_is_set_back_far(keys: TicketKeys, clock: Clock) -> None:
    """Or it would serve until the clock came back."""
    ticket = keys.seal(b"session")
    clock.now -= 10_000
    assert keys.seal(b"session")[:16] != ticket[:16]
    assert keys.open(ticket) == b"session"
    clock.now += 100
    assert keys.open(ticket) is None


@pytest.mark.parametrize("period", [0, -1, float("nan")])
def test_period_must_be_positive(period: float) -> None:
    with pytest.raises(LocalError, match="period"):
        TicketKeys.rotating(period)


def test_threads_that_rotate_at_once_agree_on_the_key(clock: Clock) -> None:
    """Each thread is held while it makes its key, so that all of them make one, and one of these is taken."""
    barrier = threading.Barrier(4)
    held = False

    def random(size: int) -> bytes:
        if held and size == 16:  # a key's name: every thread is past its look at the old ring
            barrier.wait(20)
        return os.urandom(size)

    keys = TicketKeys.rotating(100, clock=clock, random=random)
    before = keys.seal(b"before")
    clock.now += 100
    held = True
    tickets: list[bytes] = []
    threads = [threading.Thread(target=lambda: tickets.append(keys.seal(b"session"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tickets) == 4
    assert len({ticket[:16] for ticket in tickets}) == 1
    assert {keys.open(ticket) for ticket in tickets} == {b"session"}
    assert keys.open(before) == b"before"


def test_thread_that_stores_an_old_ring_late_does_no_harm(keys: TicketKeys, clock: Clock) -> None:
    old = keys._ring
    clock.now += 100
    ticket = keys.seal(b"session")
    keys._ring = old
    assert keys.seal(b"session")[:16] == ticket[:16]
    assert keys.open(ticket) == b"session"


def test_keys_show_no_secret() -> None:
    keys = TicketKeys.rotating(random=lambda size: b"\xaa" * size)
    assert "aa" * 8 not in repr(keys)
    assert "\\xaa" * 17 not in repr(keys._ring)
