"""A session's encoding: it comes back as it was, has one length, and anything else is no session."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotls.errors import LocalError
from aiotls.sessions.session import LONGEST_LIFETIME, Session, usual_size

SESSION = Session(
    version=0x0304,
    cipher_suite=0x1302,
    psk=b"\xaa" * 48,
    created=1_700_000_000,
    lifetime=6 * 3600,
    ticket_age_add=0xDEADBEEF,
    server_name="localhost",
    alpn=b"http/1.1",
    scope=b"\xbb" * 32,
)

SESSIONS = st.builds(
    Session,
    version=st.integers(0, 0xFFFF),
    cipher_suite=st.integers(0, 0xFFFF),
    psk=st.binary(min_size=1, max_size=48),
    created=st.integers(0, 1 << 63),
    lifetime=st.integers(0, LONGEST_LIFETIME),
    ticket_age_add=st.integers(0, 0xFFFFFFFF),
    server_name=st.none() | st.text("abc.-", min_size=1, max_size=255),
    alpn=st.none() | st.binary(min_size=1, max_size=255),
    scope=st.binary(min_size=16, max_size=32),
)


@given(SESSIONS, st.integers(0, 1024))
def test_session_comes_back_as_it_was(session: Session, size: int) -> None:
    encoded = session.encode(size)
    assert Session.decode(encoded) == session
    assert len(encoded) == size or len(encoded) % 64 == 0


@given(st.binary(max_size=300))
def test_decode_gives_none_for_what_is_no_session(data: bytes) -> None:
    session = Session.decode(data)
    assert session is None or session.encode().rstrip(b"\0") == data.rstrip(b"\0")


def test_decode_gives_none_for_every_prefix_that_lacks_a_field() -> None:
    whole = SESSION.encode().rstrip(b"\0")
    assert Session.decode(whole) == SESSION
    assert [Session.decode(whole[:size]) for size in range(len(whole))] == [None] * len(whole)


@pytest.mark.parametrize("number", [0, 2, 255])
def test_decode_gives_none_for_another_format(number: int) -> None:
    assert Session.decode(bytes((number,)) + SESSION.encode()[1:]) is None


def test_decode_gives_none_when_something_follows_but_zeros() -> None:
    encoded = SESSION.encode(256)
    assert Session.decode(encoded[:-1] + b"\x01") is None
    assert Session.decode(encoded + b"\0" * 64) == SESSION


def test_decode_gives_none_for_a_name_that_is_not_ascii() -> None:
    encoded = SESSION.encode().replace(b"localhost", b"localh\xffst")
    assert Session.decode(encoded) is None


def test_encodings_have_one_length_whatever_they_hold() -> None:
    size = usual_size(8)
    smallest = replace(SESSION, psk=b"\xaa" * 32, server_name=None, alpn=None, scope=b"\xbb" * 16)
    largest = replace(SESSION, server_name="a" * 64)
    assert len(smallest.encode(size)) == len(SESSION.encode(size)) == len(largest.encode(size)) == size


def test_encoding_grows_by_steps_for_a_name_that_is_longer_than_usual() -> None:
    session = replace(SESSION, server_name="a" * 255)
    encoded = session.encode(usual_size(8))
    assert len(encoded) % 64 == 0
    assert Session.decode(encoded) == session


def test_encode_refuses_what_its_field_cannot_hold() -> None:
    with pytest.raises(LocalError):
        replace(SESSION, lifetime=1 << 32).encode()


def test_session_shows_no_secret() -> None:
    shown = repr(SESSION)
    assert "aa" not in shown
    assert str(SESSION.ticket_age_add) not in shown
    assert "localhost" in shown


@pytest.mark.parametrize(
    ("age", "alive"), [(-1, False), (-0.001, False), (0, True), (6 * 3600, True), (6 * 3600 + 0.001, False)]
)
def test_session_is_alive_from_its_creation_to_the_end_of_its_lifetime(age: float, *, alive: bool) -> None:
    assert SESSION.is_alive(SESSION.created + age) is alive
