"""The driver of handshake coroutines: what suspends, what does not, and how failures come back."""

import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest

from aiotls.errors import CallbackError, DecodeError, TLSError, UnexpectedMessage, UnrecognizedName
from aiotls.handshake.effects import Expect, HandshakeDriver, ask, expect
from aiotls.wire.messages import ClientHello, EncryptedExtensions, EndOfEarlyData, Finished, KeyUpdate

FINISHED = Finished(b"m" * 32).encode()
KEY_UPDATE = KeyUpdate(0).encode()
END_OF_EARLY_DATA = EndOfEarlyData().encode()


class Promise:
    """An awaitable that the driver hands out and never awaits."""

    def __await__(self) -> NoReturn:
        raise AssertionError("there is no event loop here")


def drive(function: Callable[..., Any], *args: object) -> HandshakeDriver[Any]:
    """A driver over a handshake that asks *function* for all that it returns."""

    async def handshake() -> object:
        return await ask("the oracle", function, *args)

    return HandshakeDriver(handshake())


# --- Asking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [42, None, "text", b"", [], 0], ids=repr)
def test_plain_answer_does_not_suspend(answer: object) -> None:
    driver = drive(lambda given: given, answer)
    assert driver.pending is None

    async def handshake() -> tuple[object]:
        return (await ask("the oracle", lambda: answer),)

    assert HandshakeDriver(handshake()).result == (answer,)


def test_many_plain_answers_do_not_suspend() -> None:
    async def handshake() -> int:
        total = 0
        for number in range(100):
            total += await ask("the oracle", abs, number)
        return total

    assert HandshakeDriver(handshake()).result == sum(range(100))


def test_function_is_given_its_arguments() -> None:
    async def handshake() -> object:
        return await ask("the oracle", lambda *args, **kwargs: (args, kwargs), 1, 2, three=3)

    assert HandshakeDriver(handshake()).result == ((1, 2), {"three": 3})


def test_awaitable_answer_suspends_and_comes_out_as_pending() -> None:
    promise = Promise()
    driver = drive(lambda: promise)
    assert driver.pending is promise
    assert driver.result is None
    driver.resume("the answer")
    assert driver.result == "the answer"
    assert driver.pending is None


def test_coroutine_function_suspends_and_its_coroutine_is_not_started() -> None:
    started: list[bool] = []

    async def oracle() -> str:
        started.append(True)
        return "from a coroutine"

    driver = drive(oracle)
    assert started == []
    pending = driver.pending
    assert pending is not None
    with pytest.raises(StopIteration) as stop:
        pending.__await__().send(None)  # as an event loop would
    assert started == [True]
    driver.resume(stop.value.value)
    assert driver.result == "from a coroutine"


def test_handshake_may_wait_again_and_again() -> None:
    promises = [Promise() for _ in range(3)]
    remaining: list[Awaitable[object]] = [*promises]

    async def handshake() -> list[object]:
        return [await ask("the oracle", remaining.pop, 0) for _ in promises]

    driver = HandshakeDriver(handshake())
    for number, promise in enumerate(promises):
        assert driver.pending is promise
        driver.resume(number)
    assert driver.result == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError("no such name"), OSError(5, "disk"), StopAsyncIteration()], ids=repr)
def test_error_of_the_function_is_wrapped_with_its_cause(error: Exception) -> None:
    def fail() -> NoReturn:
        raise error

    with pytest.raises(CallbackError, match="the oracle failed") as caught:
        drive(fail)
    assert caught.value.__cause__ is error
    assert repr(error) in str(caught.value)


def test_error_of_the_awaitable_is_wrapped_with_its_cause() -> None:
    driver = drive(Promise)
    error = ConnectionError("database")
    with pytest.raises(CallbackError, match="the oracle failed") as caught:
        driver.fail(error)
    assert caught.value.__cause__ is error


def test_tls_error_of_the_function_passes_as_it_is() -> None:
    error = UnrecognizedName("nobody of that name")

    def fail() -> NoReturn:
        raise error

    with pytest.raises(UnrecognizedName) as caught:
        drive(fail)
    assert caught.value is error


def test_tls_error_of_the_awaitable_passes_as_it_is() -> None:
    driver = drive(Promise)
    error = UnrecognizedName("nobody of that name")
    with pytest.raises(UnrecognizedName) as caught:
        driver.fail(error)
    assert caught.value is error


# --- Expecting ---------------------------------------------------------------------------------------------------


async def one(*kinds: type[Any]) -> object:
    return await expect(*kinds)


def test_expected_message_is_delivered_parsed() -> None:
    driver = HandshakeDriver(one(Finished))
    assert (driver.pending, driver.result) == (None, None)
    driver.deliver(FINISHED)
    assert isinstance(driver.result, Finished)
    assert driver.result.verify_data == b"m" * 32
    assert driver.result.raw == FINISHED


def test_one_of_several_expected_messages_is_delivered() -> None:
    for raw, kind in ((FINISHED, Finished), (END_OF_EARLY_DATA, EndOfEarlyData)):
        driver = HandshakeDriver(one(Finished, EndOfEarlyData))
        driver.deliver(raw)
        assert type(driver.result) is kind


@pytest.mark.rfc("8446", "4")
def test_unexpected_message_is_refused_by_name() -> None:
    driver = HandshakeDriver(one(Finished))
    with pytest.raises(UnexpectedMessage, match="the peer sent key_update, where Finished had to come"):
        driver.deliver(KEY_UPDATE)


@pytest.mark.rfc("8446", "4")
def test_unexpected_message_is_refused_with_all_that_were_wanted() -> None:
    driver = HandshakeDriver(one(Finished, EndOfEarlyData))
    with pytest.raises(UnexpectedMessage, match="where Finished or EndOfEarlyData had to come"):
        driver.deliver(KEY_UPDATE)


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize("handshake_type", [0, 3, 67, 255])
def test_message_of_unknown_type_is_refused_by_number(handshake_type: int) -> None:
    driver = HandshakeDriver(one(ClientHello))
    with pytest.raises(UnexpectedMessage, match=f"unknown_0x{handshake_type:02x}, where ClientHello had to come"):
        driver.deliver(bytes((handshake_type, 0, 0, 0)))


def test_unexpected_message_is_refused_before_it_is_parsed() -> None:
    driver = HandshakeDriver(one(Finished))
    with pytest.raises(UnexpectedMessage):
        driver.deliver(b"\x18\x00\x00\x05wrong")  # a KeyUpdate that would not parse either


@pytest.mark.rfc("8446", "6.2")
def test_expected_message_that_does_not_parse_is_a_decode_error() -> None:
    driver = HandshakeDriver(one(EndOfEarlyData))
    with pytest.raises(DecodeError):
        driver.deliver(END_OF_EARLY_DATA[:3] + b"\x01x")


@pytest.mark.rfc("8446", "4.2")
def test_expectation_passes_on_what_was_offered() -> None:
    answer = EncryptedExtensions(application_layer_protocol_negotiation=b"h2").encode()
    assert Expect(EncryptedExtensions, offered={16}).parse(answer).application_layer_protocol_negotiation == b"h2"
    with pytest.raises(TLSError, match="which was not offered"):
        Expect(EncryptedExtensions).parse(answer)


def test_message_that_comes_while_an_answer_is_awaited_is_refused() -> None:
    driver = drive(Promise)
    with pytest.raises(UnexpectedMessage, match="while the handshake waits for an answer"):
        driver.deliver(FINISHED)
    driver.resume("the answer")  # which changes nothing for the handshake
    assert driver.result == "the answer"


# --- The end of a handshake --------------------------------------------------------------------------------------


class Secret:
    """Something in the handshake's frame."""


def keeper(secrets: list["weakref.ref[Secret]"], wait: Callable[[], Awaitable[object]]) -> HandshakeDriver[object]:
    async def handshake() -> str:
        secret = Secret()
        secrets.append(weakref.ref(secret))
        await wait()
        return "done"

    return HandshakeDriver(handshake())


def test_frame_is_gone_when_the_handshake_has_returned() -> None:
    secrets: list[weakref.ref[Secret]] = []
    driver = keeper(secrets, lambda: ask("the oracle", Promise))
    assert secrets[0]() is not None
    driver.resume(None)
    assert driver.result == "done"
    assert secrets[0]() is None


def test_frame_is_gone_when_the_handshake_is_abandoned() -> None:
    secrets: list[weakref.ref[Secret]] = []
    waits: list[Callable[[], Awaitable[object]]] = [lambda: ask("the oracle", Promise), lambda: expect(Finished)]
    for wait in waits:
        driver = keeper(secrets, wait)
        driver.close()
        assert driver.pending is None
        assert driver.result is None
    gc.collect()
    assert [secret() for secret in secrets] == [None, None]


def test_frame_is_gone_when_the_handshake_failed_and_its_traceback_is_dropped() -> None:
    secrets: list[weakref.ref[Secret]] = []
    driver = keeper(secrets, lambda: ask("the oracle", Promise))
    error = UnrecognizedName("nobody of that name")
    with pytest.raises(UnrecognizedName):
        driver.fail(error)
    error.__traceback__ = None
    driver.close()
    gc.collect()
    assert secrets[0]() is None


def test_second_close_does_nothing() -> None:
    driver = drive(Promise)
    driver.close()
    driver.close()
    assert driver.pending is None
