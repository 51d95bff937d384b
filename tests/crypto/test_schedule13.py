"""The key schedule of TLS 1.3 against HKDF as RFC 5869 writes it down, label by label."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from aiotls.crypto.hashes import SHA256, SHA384, Hash
from aiotls.crypto.schedule13 import (
    EarlySecret,
    HandshakeSecret,
    MasterSecret,
    ResumptionSecret,
    Secret,
    TrafficSecret,
    export,
)
from aiotls.crypto.suites import SUITES, Suite

either_hash = pytest.mark.parametrize("function", [SHA256, SHA384], ids=lambda function: function.name)
every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.code.name)
ALGORITHMS: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}


# --- RFC 8446 §7.1, as it stands there ---------------------------------------------------------------------------


def hkdf_extract(function: Hash, salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt, key, function.name)


def hkdf_expand_label(function: Hash, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(label),)) + label + bytes((len(context),)) + context
    return HKDFExpand(ALGORITHMS[function.name], length, info).derive(secret)


def derive_secret(function: Hash, secret: bytes, label: bytes, messages: bytes) -> bytes:
    return hkdf_expand_label(function, secret, label, digest(function, messages), function.digest_size)


def digest(function: Hash, messages: bytes) -> bytes:
    return hashlib.new(function.name, messages).digest()


# --- The diagram -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "7.1")
@either_hash
@given(psk=st.binary(min_size=1, max_size=64), shared=st.binary(min_size=1, max_size=200), messages=st.binary())
def test_secrets_come_out_as_the_diagram_says(function: Hash, psk: bytes, shared: bytes, messages: bytes) -> None:
    seen, zeros = digest(function, messages), bytes(function.digest_size)

    early, expected = EarlySecret(function, psk), hkdf_extract(function, zeros, psk)
    assert early.value == expected
    for label in (b"res binder", b"ext binder"):
        assert early.binder_key(label).value == derive_secret(function, expected, label, b"")
    assert early.client_early_traffic(seen).value == derive_secret(function, expected, b"c e traffic", messages)

    handshake = early.handshake_secret(shared)
    expected = hkdf_extract(function, derive_secret(function, expected, b"derived", b""), shared)
    assert handshake.value == expected
    for traffic, label in (
        (handshake.client_handshake_traffic(seen), b"c hs traffic"),
        (handshake.server_handshake_traffic(seen), b"s hs traffic"),
    ):
        assert traffic.value == derive_secret(function, expected, label, messages)

    master = handshake.master_secret()
    expected = hkdf_extract(function, derive_secret(function, expected, b"derived", b""), zeros)
    assert master.value == expected
    for value, label in (
        (master.client_application_traffic(seen).value, b"c ap traffic"),
        (master.server_application_traffic(seen).value, b"s ap traffic"),
        (master.exporter(seen), b"exp master"),
        (master.resumption(seen), b"res master"),
    ):
        assert value == derive_secret(function, expected, label, messages)


@pytest.mark.rfc("8446", "7.1")
@either_hash
def test_handshake_without_psk_starts_from_zeros(function: Hash) -> None:
    shared = b"the shared secret"
    expected = EarlySecret(function, bytes(function.digest_size)).handshake_secret(shared)
    for _ in range(2):  # the second time from the cached salt
        assert EarlySecret.handshake_secret_without_psk(function, shared).value == expected.value


@pytest.mark.rfc("8446", "7.3")
@every_suite
@given(data=st.data())
def test_traffic_secret_gives_keys_finished_and_its_successor(suite: Suite, data: st.DataObject) -> None:
    function = suite.hash
    size = function.digest_size
    value = data.draw(st.binary(min_size=size, max_size=size))
    seen = digest(function, data.draw(st.binary()))
    secret = TrafficSecret(function, value)
    assert secret.key_and_iv(suite) == (
        hkdf_expand_label(function, value, b"key", b"", suite.key_length),
        hkdf_expand_label(function, value, b"iv", b"", 12),
    )
    finished_key = hkdf_expand_label(function, value, b"finished", b"", size)
    assert secret.finished(seen) == hmac.digest(finished_key, seen, function.name)
    successor = secret.updated()
    assert successor.value == hkdf_expand_label(function, value, b"traffic upd", b"", size)
    assert successor.updated().value == hkdf_expand_label(function, successor.value, b"traffic upd", b"", size)


@pytest.mark.rfc("8446", "4.6.1")
@either_hash
@pytest.mark.parametrize("nonce", [b"", b"\0", b"\0\1", bytes(range(255))], ids=len)
def test_each_ticket_has_a_psk_of_its_own(function: Hash, nonce: bytes) -> None:
    value = bytes(range(function.digest_size))
    expected = hkdf_expand_label(function, value, b"resumption", nonce, function.digest_size)
    assert ResumptionSecret(function, value).psk(nonce) == expected


@pytest.mark.rfc("8446", "7.5")
@either_hash
@given(
    label=st.binary(min_size=1, max_size=249),
    context=st.binary(max_size=300),
    length=st.one_of(st.integers(1, 200), st.sampled_from([32, 33, 48, 49, 64, 255 * 32])),
)
def test_exporter_is_that_of_the_rfc(function: Hash, label: bytes, context: bytes, length: int) -> None:
    exporter_secret = bytes(reversed(range(function.digest_size)))
    derived = derive_secret(function, exporter_secret, label, b"")
    expected = hkdf_expand_label(function, derived, b"exporter", digest(function, context), length)
    assert export(exporter_secret, function, label, context, length) == expected


@either_hash
def test_exporter_gives_up_to_255_digests(function: Hash) -> None:
    longest = 255 * function.digest_size
    assert len(export(b"secret", function, b"label", b"", longest)) == longest
    assert export(b"secret", function, b"label", b"", 0) == b""


@either_hash
def test_secret_is_not_shown(function: Hash) -> None:
    value = b"never to be seen in a log"
    for kind in (Secret, TrafficSecret, HandshakeSecret, MasterSecret, ResumptionSecret):
        secret = kind(function, value)
        assert value.decode() not in repr(secret)
        assert value.hex() not in repr(secret)
        assert repr(secret) == f"<{kind.__name__}, {function.name}>"
