"""The transcript hash, against hashes computed by hand (RFC 8446 §4.4.1)."""

import hashlib

import pytest

from aiotls.crypto.hashes import SHA256, SHA384, Hash
from aiotls.handshake.transcript import Transcript

EITHER = pytest.mark.parametrize("function", [SHA256, SHA384], ids=lambda function: function.name)

FIRST_HELLO = b"\x01\x00\x00\x03abc"
RETRY_REQUEST = b"\x02\x00\x00\x02de"
SECOND_HELLO = b"\x01\x00\x00\x01f"


@EITHER
def test_transcript_hashes_messages_in_their_order(function: Hash) -> None:
    transcript = Transcript(function)
    assert transcript.digest() == hashlib.new(function.name, b"").digest()
    transcript.add(FIRST_HELLO)
    transcript.add(RETRY_REQUEST)
    assert transcript.digest() == hashlib.new(function.name, FIRST_HELLO + RETRY_REQUEST).digest()


def test_transcript_goes_on_after_a_digest() -> None:
    transcript, other = Transcript(SHA256), Transcript(SHA256)
    for message in (FIRST_HELLO, RETRY_REQUEST, SECOND_HELLO):
        transcript.add(message)
        assert transcript.digest() == transcript.digest()
        other.add(message)
    assert transcript.digest() == other.digest()


@EITHER
@pytest.mark.rfc("8446", "4.4.1")
def test_message_hash_stands_for_the_first_hello_after_a_retry(function: Hash) -> None:
    transcript = Transcript(function)
    transcript.add(FIRST_HELLO)
    transcript.rewrite_for_retry()
    transcript.add(RETRY_REQUEST)
    transcript.add(SECOND_HELLO)
    first = hashlib.new(function.name, FIRST_HELLO).digest()
    synthetic = b"\xfe\x00\x00" + bytes((function.digest_size,)) + first
    expected = hashlib.new(function.name, synthetic + RETRY_REQUEST + SECOND_HELLO).digest()
    assert transcript.digest() == expected
