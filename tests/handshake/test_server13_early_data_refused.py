"""Early data to a server that accepts none: it passes over it, within a bound (RFC 8446 §4.2.10).

Without a HelloRetryRequest it tries to open each record, and drops those that it cannot; the first that it can open
ends that.  With one it drops every record of type application_data until the second ClientHello, which ends that.
"""

import os

import pytest

from aiotls import ServerConfig
from aiotls.errors import AlertDescription, BadRecordMAC, TLSError, UnexpectedMessage
from aiotls.wire.extensions import OfferedPsks, PskIdentity
from aiotls.wire.registries import ContentType
from tests.handshake.conftest import Duel, Stage, credential

DATA = ContentType.application_data
BAD_MAC = AlertDescription.bad_record_mac
FULL_RECORD = (1 << 14) + 256
PSK = OfferedPsks((PskIdentity(os.urandom(40), 7),), (os.urandom(32),))
UNEXPECTED = AlertDescription.unexpected_message
TOO_MUCH: dict[Stage, tuple[type[TLSError], AlertDescription]] = {
    Stage.FLIGHT: (BadRecordMAC, BAD_MAC),  # RFC 8446 §5.2
    Stage.RETRIED: (UnexpectedMessage, UNEXPECTED),  # RFC 8446 §5: before there is a key
}
"""What becomes of a record that is not passed over."""
STAGES = pytest.mark.parametrize("stage", [Stage.FLIGHT, Stage.RETRIED], ids=lambda stage: stage.name.lower())


def offering(stage: Stage, *, skipped: int = 16 * 1024, early_data: bool | None = True) -> Duel:
    """A client that offered early data, under a key that the server does not know."""
    config = ServerConfig(credentials=credential(), max_early_data_skipped=skipped)
    return Duel.at(stage, config=config, early_data=early_data, psk_key_exchange_modes=(1,), pre_shared_key=PSK)


def send_early_data(duel: Duel, size: int) -> None:
    """One record that the server cannot open, of *size* bytes behind its header."""
    duel.client.send_raw(b"\x17\x03\x03" + size.to_bytes(2, "big") + os.urandom(size))


def go_on(duel: Duel) -> None:
    """What the client says when its early data was refused."""
    if duel.client.retry_request is not None:
        duel.client.send_hello(early_data=None)
        duel.pump()
    duel.assert_in_order()


@pytest.mark.rfc("8446", "4.2.10")
@STAGES
@pytest.mark.parametrize("sizes", [(), (17,), (100,) * 20, (4000, 4000, 4000)], ids=len)
def test_server_skips_early_data(stage: Stage, sizes: tuple[int, ...]) -> None:
    duel = offering(stage)
    for size in sizes:
        send_early_data(duel, size)
    duel.pump()
    assert duel.error is None
    go_on(duel)
    assert len(duel.events) == 2


@pytest.mark.rfc("8446", "4.2.10")
@STAGES
def test_server_skips_early_data_in_full_records(stage: Stage) -> None:
    """§5.2: a protected record has up to 2^14 + 256 bytes, and early data is protected."""
    duel = offering(stage, skipped=64 * 1024)
    for _ in range(3):
        send_early_data(duel, FULL_RECORD)
    duel.pump()
    assert duel.error is None
    go_on(duel)


@pytest.mark.rfc("8446", "4.2.10")
def test_server_skips_early_data_that_came_with_the_hello() -> None:
    duel = offering(Stage.START)
    duel.client.send_hello()
    duel.client.send_change_cipher_spec()
    send_early_data(duel, 1000)
    duel.pump()
    duel.client.finish()
    duel.assert_in_order()


@pytest.mark.rfc("8446", "4.2.10")
@STAGES
@pytest.mark.parametrize("size", [16, 100, 4000])
def test_server_bounds_early_data(stage: Stage, size: int) -> None:
    duel = offering(stage)
    for _ in range(16 * 1024 // size + 1):
        send_early_data(duel, size)
    duel.assert_refused(*TOO_MUCH[stage])


@pytest.mark.rfc("8446", "4.2.10")
@STAGES
def test_server_bounds_early_data_of_no_size(stage: Stage) -> None:
    """A record costs work whatever it holds, so its header has to count."""
    duel = offering(stage)
    for _ in range(16 * 1024 // 5 + 1):
        send_early_data(duel, 0)
    duel.assert_refused(*TOO_MUCH[stage])


@pytest.mark.rfc("8446", "4.2.10")
@STAGES
def test_server_skips_nothing_when_its_bound_is_zero(stage: Stage) -> None:
    duel = offering(stage, skipped=0)
    send_early_data(duel, 17)
    duel.assert_refused(*TOO_MUCH[stage])


@pytest.mark.rfc("8446", "5.2")
def test_server_skips_nothing_when_none_was_offered() -> None:
    duel = offering(Stage.FLIGHT, early_data=None)
    send_early_data(duel, 17)
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "5")
def test_server_skips_nothing_after_retry_when_none_was_offered() -> None:
    duel = offering(Stage.RETRIED, early_data=None)
    send_early_data(duel, 17)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "4.2.10")
@pytest.mark.parametrize("content_type", [0, 19, 24, 255])
@STAGES
def test_server_skips_records_of_no_other_type(stage: Stage, content_type: int) -> None:
    duel = offering(stage)
    duel.client.send_record(content_type, bytes(40), protected=False)
    duel.assert_refused(UnexpectedMessage, UNEXPECTED)


@pytest.mark.rfc("8446", "5.2")
def test_server_skips_nothing_after_the_first_record_that_it_can_open() -> None:
    duel = offering(Stage.FLIGHT)
    send_early_data(duel, 100)
    duel.client.send_message(duel.client.finished()[:10])
    send_early_data(duel, 100)
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "5.2")
def test_server_skips_nothing_after_finished() -> None:
    duel = offering(Stage.FLIGHT)
    duel.client.finish()
    send_early_data(duel, 100)
    duel.assert_refused(BadRecordMAC, BAD_MAC)


@pytest.mark.rfc("8446", "4.2.10")
def test_server_skips_nothing_after_the_second_hello() -> None:
    """The second ClientHello offers none, so a record that cannot be opened is not early data any more."""
    duel = offering(Stage.RETRIED)
    send_early_data(duel, 100)
    duel.client.send_hello(early_data=None)
    duel.pump()
    send_early_data(duel, 100)
    duel.assert_refused(BadRecordMAC, BAD_MAC)
