"""ServerConnection's methods: what each promises, and what it says to a caller who asks for the impossible.

The other end is a `ScriptedClient`.  Keys, exporters and the costs of a connection are in the files beside this one.
"""

import array
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from aiotls import Credential, ServerConfig, ServerConnection
from aiotls.errors import (
    AlertDescription,
    AlertReceived,
    BadRecordMAC,
    CallbackError,
    CertificateError,
    HandshakeTimeout,
    LocalError,
    TLSError,
    TruncationError,
    UnexpectedMessage,
)
from aiotls.events import ApplicationData, HandshakeComplete, KeyUpdated, PeerClosed
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import Alert, ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.wire.registries import ContentType, NamedGroup

CLOSE_NOTIFY = AlertDescription.close_notify
RECORD = 16 * 1024
OVERHEAD = 5 + 1 + 16  # header, content type, tag


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    return ServerConfig(credentials=LocalCA().issue("localhost").credential())


class Connection:
    """A ScriptedClient joined to a ServerConnection."""

    def __init__(self, config: ServerConfig, chunk_sizes: tuple[int, ...] = ()) -> None:
        self.client = ScriptedClient()
        self.server = ServerConnection(config)
        self.pipe = Pipe(self.client, self.server, chunk_sizes=chunk_sizes)

    def handshake(self) -> "Connection":
        self.client.send_hello()
        self.pipe.pump()
        self.client.finish()
        self.pipe.pump()
        assert isinstance(self.take(), HandshakeComplete)
        return self

    def take(self) -> object:
        """The oldest event that the server told."""
        return self.pipe.second.events.pop(0)

    @property
    def error(self) -> TLSError | None:
        return self.pipe.second.error

    @property
    def alerts(self) -> list[AlertDescription]:
        return [alert.description for alert in self.client.alerts]

    def close_from_client(self) -> None:
        self.client.send_alert(CLOSE_NOTIFY, level=1)
        self.pipe.pump()


@pytest.fixture
def fresh(config: ServerConfig) -> Connection:
    return Connection(config)


@pytest.fixture
def complete(config: ServerConfig) -> Connection:
    return Connection(config).handshake()


def record_lengths(data: bytes | bytearray) -> list[int]:
    lengths, position = [], 0
    while position < len(data):
        lengths.append(5 + int.from_bytes(data[position + 3 : position + 5], "big"))
        position += lengths[-1]
    return lengths


# --- Events ------------------------------------------------------------------------------------------------------


def test_server_tells_what_happened_in_its_order(complete: Connection) -> None:
    complete.client.send_data(b"one")
    complete.client.send_key_update()
    complete.client.send_data(b"two")
    complete.close_from_client()
    expected = [ApplicationData(b"one"), KeyUpdated(), ApplicationData(b"two"), PeerClosed()]
    assert complete.pipe.second.events == expected
    assert complete.server.next_event() is None


def test_server_has_no_event_before_anything_came(fresh: Connection) -> None:
    assert fresh.server.next_event() is None
    assert fresh.server.data_to_send() == b""


def test_server_gives_each_record_its_own_event(complete: Connection) -> None:
    complete.client.send_data(bytes(RECORD + 5))
    complete.pipe.pump()
    assert complete.pipe.second.events == [ApplicationData(bytes(RECORD)), ApplicationData(bytes(5))]


def test_negotiated_is_there_once_the_handshake_is_complete(fresh: Connection) -> None:
    fresh.client.send_hello()
    fresh.pipe.pump()
    assert fresh.server.negotiated is None
    fresh.client.finish()
    fresh.pipe.pump()
    event = fresh.take()
    assert isinstance(event, HandshakeComplete)
    assert fresh.server.negotiated is event.negotiated
    assert event.negotiated.group is NamedGroup.x25519


# --- Receiving ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_sizes", [(1,), (2, 3), (5,), (7, 1, 4096)], ids=str)
def test_server_takes_bytes_split_anywhere(config: ServerConfig, chunk_sizes: tuple[int, ...]) -> None:
    connection = Connection(config, chunk_sizes).handshake()
    connection.client.send_data(b"one")
    connection.client.send_data(bytes(5000))
    connection.close_from_client()
    expected = [ApplicationData(b"one"), ApplicationData(bytes(5000)), PeerClosed()]
    assert connection.pipe.second.events == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_server_takes_every_kind_of_bytes(
    fresh: Connection, kind: Callable[[bytes], bytes | bytearray | memoryview]
) -> None:
    fresh.client.send_hello()
    fresh.server.receive_data(kind(fresh.client.data_to_send()))
    fresh.client.receive_data(bytes(fresh.server.data_to_send()))
    fresh.client.finish()
    fresh.client.send_data(b"data")
    fresh.server.receive_data(kind(fresh.client.data_to_send()))
    assert isinstance(fresh.server.next_event(), HandshakeComplete)
    event = fresh.server.next_event()
    assert isinstance(event, ApplicationData)
    assert type(event.data) is bytes


def test_server_takes_memoryview_of_any_item_size(fresh: Connection) -> None:
    fresh.client.send_hello()
    data = fresh.client.data_to_send()
    aligned = len(data) // 4 * 4
    fresh.server.receive_data(memoryview(data[:aligned]).cast("I"))
    fresh.server.receive_data(data[aligned:])
    fresh.pipe.pump()
    assert fresh.client.server_finished


def test_server_takes_nothing_from_no_bytes(complete: Connection) -> None:
    complete.server.receive_data(b"")
    assert complete.server.next_event() is None


@pytest.mark.parametrize("size", [1, 7, 100, 20_000])
def test_caller_may_overwrite_its_buffer_when_receive_data_returns(fresh: Connection, size: int) -> None:
    buffer = bytearray(size)

    def feed(data: bytes) -> None:
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            buffer[: len(piece)] = piece
            fresh.server.receive_data(memoryview(buffer)[: len(piece)])
            buffer[:] = b"\xff" * size

    fresh.client.send_hello()
    feed(fresh.client.data_to_send())
    fresh.client.receive_data(bytes(fresh.server.data_to_send()))
    fresh.client.finish()
    fresh.client.send_data(bytes(range(256)) * 20)
    feed(fresh.client.data_to_send())
    assert isinstance(fresh.server.next_event(), HandshakeComplete)
    assert fresh.server.next_event() == ApplicationData(bytes(range(256)) * 20)


def test_caller_may_resize_its_buffer_when_receive_data_returns(complete: Connection) -> None:
    complete.client.send_data(b"first")
    complete.client.send_data(b"second")
    buffer = bytearray(complete.client.data_to_send())
    rest = buffer[-3:]
    del buffer[-3:]
    complete.server.receive_data(buffer)
    buffer.clear()  # BufferError would say that the engine still holds it
    complete.server.receive_data(rest)
    assert [complete.server.next_event() for _ in range(3)] == [
        ApplicationData(b"first"),
        ApplicationData(b"second"),
        None,
    ]


# --- Sending -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, RECORD - 1, RECORD, RECORD + 1, 5 * RECORD, 5 * RECORD + 1])
@pytest.mark.rfc("8446", "5.1")
def test_server_sends_data_in_records_as_large_as_they_may_be(complete: Connection, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    complete.server.send_data(data[:size])
    sealed = complete.server.data_to_send()
    full, rest = divmod(size, RECORD)
    assert record_lengths(sealed) == [RECORD + OVERHEAD] * full + [rest + OVERHEAD] * bool(rest)
    complete.client.receive_data(bytes(sealed))
    assert complete.client.data == data[:size]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [5, 3 * RECORD + 5])
def test_server_sends_every_kind_of_bytes(
    complete: Connection, kind: Callable[[bytes], bytes | bytearray | memoryview], size: int
) -> None:
    complete.server.send_data(kind(b"x" * size))
    complete.pipe.pump()
    assert complete.client.data == b"x" * size


@pytest.mark.parametrize("count", [3, RECORD // 4 + 1, RECORD])
def test_server_sends_memoryview_of_any_item_size(complete: Connection, count: int) -> None:
    numbers = array.array("I", range(count))
    complete.server.send_data(memoryview(numbers))
    complete.pipe.pump()
    assert complete.client.data == numbers.tobytes()


def test_server_sends_nothing_for_no_data(complete: Connection) -> None:
    for nothing in (b"", bytearray(), memoryview(b"")):
        complete.server.send_data(nothing)
    assert complete.server.data_to_send() == b""


def test_server_is_whole_after_it_refused_what_is_no_bytes(complete: Connection) -> None:
    wrong: Any
    for wrong in ("text", ["list"], "t" * (RECORD + 1)):
        with pytest.raises(TypeError):
            complete.server.send_data(wrong)
    complete.server.send_data(b"good")
    complete.pipe.pump()
    assert complete.client.data == b"good"


def test_data_to_send_gives_each_byte_once(complete: Connection) -> None:
    complete.server.send_data(b"one")
    complete.server.send_data(b"two")
    both = complete.server.data_to_send()
    assert record_lengths(both) == [3 + OVERHEAD] * 2
    assert complete.server.data_to_send() == b""
    complete.server.send_data(b"three")
    assert record_lengths(complete.server.data_to_send()) == [5 + OVERHEAD]


def test_server_refuses_to_send_before_the_handshake_is_complete(fresh: Connection) -> None:
    for greeted in (False, True):
        assert not fresh.server.can_send
        with pytest.raises(LocalError, match="the handshake is not complete"):
            fresh.server.send_data(b"early")
        with pytest.raises(LocalError, match="between the handshake and the close"):
            fresh.server.key_update()
        if not greeted:
            fresh.client.send_hello()
            fresh.pipe.pump()
    fresh.client.finish()
    fresh.pipe.pump()
    assert fresh.server.can_send


def test_server_refuses_to_send_after_close(complete: Connection) -> None:
    complete.server.close()
    assert not complete.server.can_send
    with pytest.raises(LocalError, match="the connection is closed for sending"):
        complete.server.send_data(b"late")
    with pytest.raises(LocalError, match="between the handshake and the close"):
        complete.server.key_update()


def test_server_refuses_to_send_after_failure_and_says_which(complete: Connection) -> None:
    complete.client.send_alert(AlertDescription.internal_error)
    complete.pipe.pump()
    assert not complete.server.can_send
    with pytest.raises(LocalError, match=r"has failed: the peer ended the connection with the alert internal_error"):
        complete.server.send_data(b"late")


# --- The end -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6.1")
def test_server_closes_its_own_side_only(complete: Connection) -> None:
    complete.server.close()
    complete.pipe.pump()
    assert complete.client.alerts == [Alert(1, CLOSE_NOTIFY, protected=True)]
    complete.client.send_data(b"go on")
    complete.close_from_client()
    assert complete.pipe.second.events == [ApplicationData(b"go on"), PeerClosed()]
    assert complete.error is None


@pytest.mark.rfc("8446", "6.1")
def test_server_may_send_after_the_peers_close_notify(complete: Connection) -> None:
    complete.close_from_client()
    assert complete.server.can_send
    complete.server.send_data(b"answer")
    complete.server.close()
    complete.pipe.pump()
    assert (bytes(complete.client.data), complete.alerts) == (b"answer", [CLOSE_NOTIFY])


def test_second_close_does_nothing(complete: Connection) -> None:
    complete.server.close()
    complete.server.close()
    complete.pipe.pump()
    assert complete.alerts == [CLOSE_NOTIFY]


def test_close_after_failure_does_nothing(complete: Connection) -> None:
    complete.client.send_alert(AlertDescription.internal_error)
    complete.pipe.pump()
    complete.server.close()
    assert complete.server.data_to_send() == b""


@pytest.mark.rfc("8446", "6.1")
@pytest.mark.parametrize("greeted", [False, True])
def test_close_during_the_handshake_gives_it_up_and_says_so(fresh: Connection, greeted: bool) -> None:  # noqa: FBT001
    if greeted:
        fresh.client.send_hello()
        fresh.pipe.pump()
    fresh.server.close()
    fresh.server.close()
    fresh.pipe.pump()
    assert fresh.client.alerts == [
        Alert(1, AlertDescription.user_canceled, protected=greeted),
        Alert(1, CLOSE_NOTIFY, protected=greeted),
    ]
    assert type(fresh.error) is LocalError
    assert str(fresh.error) == "the connection was closed during the handshake"
    fresh.client.send_hello()
    fresh.pipe.pump()
    assert len(fresh.client.alerts) == 2


@pytest.mark.rfc("8446", "6.1")
def test_server_ignores_what_follows_the_peers_close_notify(complete: Connection) -> None:
    complete.close_from_client()
    complete.client.send_data(b"after the end")
    complete.client.send_raw(b"garbage")
    complete.pipe.pump()
    assert complete.pipe.second.events == [PeerClosed()]
    assert complete.error is None
    assert complete.alerts == []


@pytest.mark.rfc("8446", "6.1")
def test_end_of_transport_without_close_notify_is_a_truncation(complete: Connection) -> None:
    complete.client.send_data(b"half a mess")
    complete.server.receive_data(complete.client.data_to_send())
    complete.server.receive_eof()
    assert complete.server.next_event() == ApplicationData(b"half a mess")
    with pytest.raises(TruncationError, match="before close_notify"):
        complete.server.next_event()
    assert complete.server.data_to_send() == b""


def test_end_of_transport_during_the_handshake_is_named(fresh: Connection) -> None:
    fresh.server.receive_eof()
    with pytest.raises(TruncationError, match="during the handshake"):
        fresh.server.next_event()


def test_end_of_transport_after_close_notify_is_no_event(complete: Connection) -> None:
    complete.close_from_client()
    complete.server.receive_eof()
    complete.pipe.pump()
    assert complete.pipe.second.events == [PeerClosed()]
    assert complete.error is None
    assert complete.server.can_send


@pytest.mark.rfc("8446", "6.2")
def test_error_is_the_last_event_and_is_raised_from_then_on(complete: Connection) -> None:
    complete.client.send_data(b"good")
    broken = bytearray(complete.client.record(ContentType.application_data, b"broken"))
    broken[-1] ^= 1
    complete.client.send_raw(bytes(broken))
    complete.server.receive_data(complete.client.data_to_send())
    assert complete.server.next_event() == ApplicationData(b"good")
    for _ in range(3):
        with pytest.raises(BadRecordMAC) as caught:
            complete.server.next_event()
        depth = len(caught.traceback)
        assert depth <= 2  # it does not grow
    complete.pipe.pump()
    assert complete.client.alerts == [Alert(2, AlertDescription.bad_record_mac, protected=True)]
    complete.client.send_data(b"more")
    complete.server.receive_eof()
    complete.pipe.pump()
    assert type(complete.error) is BadRecordMAC
    assert len(complete.client.alerts) == 1


@pytest.mark.rfc("8446", "6.1")
def test_fault_of_the_peer_is_not_answered_after_our_close_notify(complete: Connection) -> None:
    complete.server.close()
    complete.pipe.pump()
    complete.client.send_record(99, b"of no known type")
    complete.pipe.pump()
    assert type(complete.error) is UnexpectedMessage
    assert complete.alerts == [CLOSE_NOTIFY]


def test_abandon_tells_the_peer_and_ends_the_connection(complete: Connection) -> None:
    reason = LocalError("the program had enough")
    complete.server.abandon(reason)
    complete.server.abandon(LocalError("a second one is not heard"))
    complete.pipe.pump()
    assert complete.error is reason
    assert complete.alerts == [AlertDescription.internal_error]


@pytest.mark.rfc("8446", "6.1")
def test_deadline_of_the_handshake_is_told_as_cancelled_and_closed(fresh: Connection) -> None:
    fresh.client.send_hello()
    fresh.pipe.pump()
    fresh.server.abandon(HandshakeTimeout("no complete handshake within 60 seconds"))
    fresh.pipe.pump()
    assert type(fresh.error) is HandshakeTimeout
    assert fresh.alerts == [AlertDescription.user_canceled, CLOSE_NOTIFY]


def test_alert_of_the_peer_ends_the_connection_and_is_not_answered(complete: Connection) -> None:
    complete.client.send_alert(AlertDescription.certificate_expired)
    complete.pipe.pump()
    assert isinstance(complete.error, AlertReceived)
    assert complete.error.description is AlertDescription.certificate_expired
    assert complete.alerts == []


# --- What the handshake waits for --------------------------------------------------------------------------------


class Promise:
    """An awaitable that is never awaited: the test says what comes of it."""

    def __await__(self) -> NoReturn:
        raise AssertionError("the engine has no event loop")


def waiting(config: ServerConfig) -> Connection:
    """A handshake that waits for its credential, with the client's hello behind it."""
    connection = Connection(replace(config, credentials=lambda _: Promise()))
    connection.client.send_hello()
    connection.pipe.pump()
    return connection


@pytest.fixture
def held(config: ServerConfig) -> Connection:
    return waiting(config)


def test_handshake_waits_for_what_a_resolver_awaits(held: Connection, config: ServerConfig) -> None:
    assert isinstance(held.server.pending, Promise)
    assert held.server.data_to_send() == b""
    assert held.server.next_event() is None
    held.server.resume(config.credential_list[0])
    assert held.server.pending is None
    held.pipe.pump()
    held.client.finish()
    held.pipe.pump()
    event = held.take()
    assert isinstance(event, HandshakeComplete)
    assert event.negotiated.credential is config.credential_list[0]


def test_handshake_waits_once_more_for_a_signer_that_awaits(config: ServerConfig) -> None:
    key = config.credential_list[0].signing_key
    asked: list[tuple[int, bytes]] = []

    class Custody:
        def schemes(self) -> tuple[int, ...]:
            return tuple(key.schemes())

        def sign(self, scheme: int, message: bytes) -> Awaitable[bytes]:
            asked.append((scheme, message))
            return Promise()

    held = waiting(config)
    held.server.resume(Credential.from_signing_key(config.credential_list[0].chain, Custody()))
    assert isinstance(held.server.pending, Promise)
    signature = key.sign(*asked[0])
    held.server.resume(signature)
    assert held.server.pending is None
    held.pipe.pump()
    assert held.client.server_finished


def test_server_keeps_what_comes_while_it_waits_and_takes_it_in_order(held: Connection, config: ServerConfig) -> None:
    held.client.send_change_cipher_spec()
    held.client.send_alert(AlertDescription.access_denied)
    held.pipe.pump()
    assert held.error is None
    held.server.resume(config.credential_list[0])
    held.pipe.pump()
    assert isinstance(held.error, AlertReceived)


def test_server_refuses_more_than_its_backlog_while_it_waits(held: Connection, config: ServerConfig) -> None:
    for _ in range(16):
        held.server.receive_data(bytes(4096))
    held.server.receive_data(b"\0")  # what is kept may go beyond the bound once, for a read has some size
    with pytest.raises(LocalError, match="stop reading from the peer"):
        held.server.receive_data(b"\0")
    assert held.server.pending is not None  # it was the caller's fault, and the handshake goes on


def test_server_takes_a_whole_read_of_any_size_while_it_waits(held: Connection) -> None:
    held.server.receive_data(bytes(256 * 1024))


@pytest.mark.parametrize("moment", ["fresh", "complete", "failed"])
def test_resume_and_fail_say_that_nothing_is_waited_for(config: ServerConfig, moment: str) -> None:
    connection = Connection(config)
    if moment == "complete":
        connection.handshake()
    elif moment == "failed":
        connection.server.receive_eof()
    for call in (connection.server.resume, connection.server.fail):
        with pytest.raises(LocalError, match="the handshake waits for nothing"):
            call(Exception())


@pytest.mark.parametrize(
    ("failure", "kind", "alert"),
    [
        (RuntimeError("database"), CallbackError, AlertDescription.internal_error),
        (KeyboardInterrupt(), CallbackError, AlertDescription.internal_error),
        (CertificateError("renewed just now"), CertificateError, AlertDescription.bad_certificate),
    ],
    ids=["exception", "base_exception", "tls_error"],
)
def test_handshake_fails_with_what_it_waited_for(
    held: Connection, failure: BaseException, kind: type[TLSError], alert: AlertDescription
) -> None:
    held.server.fail(failure)
    assert held.server.pending is None
    held.pipe.pump()
    assert type(held.error) is kind
    assert held.error is failure or held.error.__cause__ is failure or repr(failure) in str(held.error)
    assert held.client.alerts == [Alert(2, alert, protected=False)]
    with pytest.raises(LocalError, match="waits for nothing"):
        held.server.resume(None)


@pytest.mark.parametrize("end", ["close", "abandon", "receive_eof"])
def test_nothing_is_pending_when_the_connection_has_ended(held: Connection, end: str) -> None:
    {
        "close": held.server.close,
        "abandon": lambda: held.server.abandon(HandshakeTimeout("60 seconds")),
        "receive_eof": held.server.receive_eof,
    }[end]()
    assert held.server.pending is None
    held.server.receive_data(bytes(1 << 20))  # ignored, and not refused
    held.pipe.pump()
    assert isinstance(held.error, TLSError)
    with pytest.raises(LocalError, match="waits for nothing"):
        held.server.resume(None)
