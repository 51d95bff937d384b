"""What must hold of the engine for any input: how bytes are cut does not matter, and nothing but a TLSError comes out.

The second property is the one that a stranger tests first.  It is tried with noise, with honest records that were
damaged, and, further in, with contents sealed under the right keys.
"""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotls.errors import AlertDescription, TLSError, alert_for
from aiotls.events import ApplicationData, Event, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.testing.peer import encode_message, join_hello, split_hello
from aiotls.wire.registries import ContentType, ExtensionType
from tests.handshake.conftest import STAGES, Duel, Stage

CHUNK_SIZES = st.lists(st.integers(1, 700) | st.integers(1, 5), min_size=1, max_size=12)
CONTENT_TYPES = st.sampled_from(list(ContentType)) | st.integers(0, 255)
FEWER = settings(max_examples=60)


def conversation(*, retried: bool, chunk_sizes: Iterable[int] = ()) -> tuple[list[Event], bytes]:
    """An honest connection, its client's bytes cut into chunks: what the server told, and what the client heard."""
    duel = Duel(chunk_sizes=chunk_sizes, shares=() if retried else (0x001D,), random=b"\xaa" * 32)
    client = duel.client
    client.send_hello()
    duel.pump()
    if retried:
        client.send_change_cipher_spec()
        client.send_hello()
        duel.pump()
    client.send_change_cipher_spec()
    client.send_message(client.finished(), fragment_size=11)
    client.use_application_key()
    client.send_data(b"first")
    client.send_data(b"")
    client.send_key_update(request_peer=True)
    client.send_data(bytes(20_000))
    client.send_record(ContentType.application_data, b"padded", padding=100)
    client.send_key_update()
    client.send_alert(AlertDescription.user_canceled, level=1)
    client.send_data(b"last")
    client.send_alert(AlertDescription.close_notify, level=1)
    client.send_data(b"too late")
    duel.pump()
    assert duel.error is None
    duel.server.send_data(b"answer")
    duel.server.close()
    duel.pump()
    return duel.events, bytes(client.data)


WHOLE = {retried: conversation(retried=retried) for retried in (False, True)}


def test_server_tells_all_of_honest_connection() -> None:
    for events, heard in WHOLE.values():
        assert isinstance(events[0], HandshakeComplete)
        assert events[1:] == [
            ApplicationData(b"first"),
            KeyUpdated(),
            ApplicationData(bytes(16_384)),
            ApplicationData(bytes(3_616)),
            ApplicationData(b"padded"),
            KeyUpdated(),
            ApplicationData(b"last"),
            PeerClosed(),
        ]
        assert heard == b"answer"


@FEWER
@given(chunk_sizes=CHUNK_SIZES, retried=st.booleans())
def test_server_tells_the_same_however_bytes_are_cut(chunk_sizes: list[int], *, retried: bool) -> None:
    assert conversation(retried=retried, chunk_sizes=chunk_sizes) == WHOLE[retried]


@pytest.mark.parametrize("retried", [False, True], ids=["at_once", "retried"])
def test_server_tells_the_same_byte_by_byte(*, retried: bool) -> None:
    assert conversation(retried=retried, chunk_sizes=(1,)) == WHOLE[retried]


# --- Any bytes -----------------------------------------------------------------------------------------------------


def feed(duel: Duel, *pieces: bytes) -> list[Event]:
    """Give the server bytes, and return what it told.

    Only a TLSError may come of them, and then silence.  The client does not hear the answer, for what it would make of
    it is of no interest here.
    """
    server = duel.server
    told: list[Event] = []
    for piece in pieces:
        server.receive_data(piece)
        told += drain(duel)
    server.receive_eof()
    told += drain(duel)
    error = duel.error
    answer = bytes(server.data_to_send())
    assert server.data_to_send() == b""
    if told and told[-1] == PeerClosed():
        assert error is None
        return told
    assert error is not None
    if alert_for(error) is not None:
        assert answer
    server.receive_data(b"more")
    server.receive_eof()
    assert server.data_to_send() == b""
    with pytest.raises(TLSError) as again:
        server.next_event()
    assert again.value is error
    return told


def drain(duel: Duel) -> list[Event]:
    """The events that are there; the error goes where the pipe keeps it."""
    end = duel.pipe.second
    known = len(end.events)
    end.collect()
    return end.events[known:]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of which some are changed, left out, said twice or made up."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 3))
        data[start:end] = draw(st.binary(max_size=3) | st.just(bytes(data[start:end]) * 2))
    return bytes(data)


@STAGES
@FEWER
@given(pieces=st.lists(st.binary(max_size=60), max_size=4))
def test_server_raises_only_tls_errors_for_any_bytes(stage: Stage, pieces: list[bytes]) -> None:
    assert feed(Duel.at(stage), *pieces) == []


@STAGES
@FEWER
@given(records=st.lists(st.tuples(CONTENT_TYPES, st.binary(max_size=60)), min_size=1, max_size=4))
def test_server_raises_only_tls_errors_for_any_plaintext_records(
    stage: Stage, records: list[tuple[int, bytes]]
) -> None:
    duel = Duel.at(stage, early_data=True)
    pieces = [duel.client.record(content_type, content, protected=False) for content_type, content in records]
    assert feed(duel, *pieces) == []


@pytest.mark.parametrize("stage", [Stage.START, Stage.RETRIED], ids=lambda stage: stage.name.lower())
@settings(max_examples=200)
@given(data=st.data())
def test_server_raises_only_tls_errors_for_damaged_hello(stage: Stage, data: st.DataObject) -> None:
    duel = Duel.at(stage, random=b"\xaa" * 32, legacy_session_id=b"\xbb" * 32)
    body = data.draw(damaged(duel.client.hello().encode()[4:]))
    record = duel.client.record(ContentType.handshake, encode_message(1, body))
    assert feed(duel, record) == []


@settings(max_examples=200)
@given(
    extensions=st.lists(
        st.tuples(st.sampled_from(list(ExtensionType)) | st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=6
    )
)
def test_server_raises_only_tls_errors_for_any_extensions(extensions: list[tuple[int, bytes]]) -> None:
    duel = Duel()
    front, honest = split_hello(duel.client.hello().encode())
    given_codes = {code for code, _ in extensions}
    rest = [(code, content) for code, content in honest if code not in given_codes]
    record = duel.client.record(ContentType.handshake, join_hello(front, rest + extensions))
    assert feed(duel, record) == []


@pytest.mark.parametrize("stage", [Stage.FLIGHT, Stage.CONNECTED], ids=lambda stage: stage.name.lower())
@settings(max_examples=150)
@given(
    records=st.lists(
        st.tuples(CONTENT_TYPES, st.binary(max_size=20), st.integers(0, 20))
        | st.tuples(
            st.just(int(ContentType.handshake)),
            st.builds(encode_message, st.integers(0, 255), st.binary(max_size=40)),
            st.just(0),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_server_raises_only_tls_errors_for_any_sealed_contents(
    stage: Stage, records: list[tuple[int, bytes, int]]
) -> None:
    duel = Duel.at(stage)
    pieces = [duel.client.record(kind, content, protected=True, padding=padding) for kind, content, padding in records]
    told = feed(duel, *pieces)
    if stage is Stage.FLIGHT:
        assert told == []
    sent = [ApplicationData(content) for kind, content, _ in records if kind == ContentType.application_data]
    data = [event for event in told if isinstance(event, ApplicationData)]
    assert data == [event for event in sent if event.data][: len(data)]


@pytest.mark.parametrize("stage", [Stage.FLIGHT, Stage.CONNECTED], ids=lambda stage: stage.name.lower())
@settings(max_examples=150)
@given(data=st.data())
def test_server_takes_nothing_behind_damage(stage: Stage, data: st.DataObject) -> None:
    """The honest rest of a connection, damaged: what is told is a front part of what would have been told."""
    duel = Duel.at(stage)
    client = duel.client
    if stage is Stage.FLIGHT:
        client.finish()
    client.send_data(b"first")
    client.send_key_update(request_peer=True)
    client.send_data(b"last")
    client.send_alert(AlertDescription.close_notify, level=1)
    told = feed(duel, data.draw(damaged(client.data_to_send())))
    if stage is Stage.FLIGHT and told:
        assert isinstance(told.pop(0), HandshakeComplete)
    whole = [ApplicationData(b"first"), KeyUpdated(), ApplicationData(b"last"), PeerClosed()]
    assert told == whole[: len(told)]
