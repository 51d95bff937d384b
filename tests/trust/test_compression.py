"""Certificate compression: each codec yields what went in, and nothing that a peer sends makes it yield more."""

import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiotls.errors import AlertDescription, CertificateError, IllegalParameter, LocalError, alert_for
from aiotls.testing.ca import LocalCA
from aiotls.trust import compression
from aiotls.trust.compression import ALGORITHMS, choose, compress, decompress
from aiotls.wire.messages import HEADER_LENGTH, Certificate, CertificateEntry
from aiotls.wire.registries import CertificateCompressionAlgorithm

brotli = import_module("brotli")
zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

ZLIB = CertificateCompressionAlgorithm.zlib
BROTLI = CertificateCompressionAlgorithm.brotli
ZSTD = CertificateCompressionAlgorithm.zstd
MIB = 1 << 20
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda code: ALGORITHMS[code].algorithm.name)
some_algorithm = st.sampled_from(list(ALGORITHMS))


@cache
def certificate() -> bytes:
    """The body of a Certificate message, as it is compressed."""
    chain = LocalCA().issue("localhost").credential().chain
    return Certificate(b"", tuple(CertificateEntry(each) for each in chain)).encode()[HEADER_LENGTH:]


def refused(algorithm: int, data: bytes, length: int, why: str) -> None:
    with pytest.raises(CertificateError, match=why) as caught:
        decompress(algorithm, data, length)
    assert type(caught.value) is CertificateError
    assert alert_for(caught.value) is AlertDescription.bad_certificate


# --- What we send ------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8879", "7.3")
def test_all_algorithms_of_the_rfc_are_available_in_our_order() -> None:
    assert list(ALGORITHMS) == [2, 3, 1]
    assert [codec.algorithm for codec in ALGORITHMS.values()] == [BROTLI, ZSTD, ZLIB]


@pytest.mark.rfc("8879", "3")
def test_choice_is_ours_among_what_the_peer_offers() -> None:
    assert choose((1, 2, 3)) == BROTLI
    assert choose((1, 3)) == ZSTD
    assert choose([ZLIB]) == ZLIB
    assert choose({0, 4, 0x0A0A}) is None
    assert choose(()) is None


@pytest.mark.rfc("8879", "4")
@every_algorithm
def test_certificate_comes_back(algorithm: int) -> None:
    compressed = compress(algorithm, certificate())
    assert decompress(algorithm, compressed, len(certificate())) == certificate()
    repeated = certificate() * 3
    assert len(compress(algorithm, repeated)) < len(repeated) / 2


@pytest.mark.rfc("8879", "4")
def test_libraries_themselves_read_what_we_send() -> None:
    assert zlib.decompress(compress(ZLIB, certificate())) == certificate()
    assert brotli.decompress(compress(BROTLI, certificate())) == certificate()
    assert zstd.decompress(compress(ZSTD, certificate())) == certificate()


@given(algorithm=some_algorithm, data=st.binary(max_size=2000))
@example(algorithm=1, data=b"")
@example(algorithm=2, data=b"")
@example(algorithm=3, data=b"")
def test_any_data_comes_back(algorithm: int, data: bytes) -> None:
    assert decompress(algorithm, compress(algorithm, data), len(data)) == data


@every_algorithm
@pytest.mark.parametrize("size", [32751, 32752, 32753, 65504, 200_000])  # the first are whole blocks of brotli's output
def test_data_of_several_blocks_comes_back(algorithm: int, size: int) -> None:
    data = (certificate() * (size // len(certificate()) + 1))[:size]
    compressed = compress(algorithm, data)
    assert decompress(algorithm, compressed, size) == data
    refused(algorithm, compressed, size - 1, "yields more than")
    refused(algorithm, compressed, size + 1, f"yields {size} bytes and declares {size + 1}")
    refused(algorithm, compressed[:-1], size, "is cut short")
    refused(algorithm, compressed + b"\0", size, "after its end|does not decompress")


# --- What we are sent --------------------------------------------------------------------------------------------


@pytest.mark.rfc("8879", "4")
@every_algorithm
@pytest.mark.parametrize("declared", [0, 1, 99])
def test_more_than_declared_is_refused(algorithm: int, declared: int) -> None:
    refused(algorithm, compress(algorithm, bytes(100)), declared, f"yields more than the {declared} bytes")


@pytest.mark.rfc("8879", "4")
@every_algorithm
@pytest.mark.parametrize("declared", [101, 65536, (1 << 24) - 1])
def test_less_than_declared_is_refused(algorithm: int, declared: int) -> None:
    refused(algorithm, compress(algorithm, bytes(100)), declared, f"yields 100 bytes and declares {declared} ")


@every_algorithm
def test_data_that_is_cut_anywhere_is_refused(algorithm: int) -> None:
    compressed = compress(algorithm, certificate())
    for end in range(len(compressed)):
        refused(algorithm, compressed[:end], len(certificate()), "is cut short|does not decompress")


@every_algorithm
@pytest.mark.parametrize("surplus", [b"\0", b"\xff", b"once more"])
def test_bytes_after_the_end_are_refused(algorithm: int, surplus: bytes) -> None:
    compressed = compress(algorithm, certificate())
    refused(algorithm, compressed + surplus, len(certificate()), "after its end|does not decompress")


@every_algorithm
def test_second_stream_is_refused(algorithm: int) -> None:
    half = len(certificate()) // 2
    both = compress(algorithm, certificate()[:half]) + compress(algorithm, certificate()[half:])
    refused(algorithm, both, len(certificate()), "after its end|does not decompress")


def refused_or_as_declared(algorithm: int, data: bytes, length: int) -> None:
    with suppress(CertificateError):
        assert len(decompress(algorithm, data, length)) == length


@given(algorithm=some_algorithm, data=st.binary(max_size=300), length=st.integers(0, 1000))
def test_garbage_is_refused(algorithm: int, data: bytes, length: int) -> None:
    refused_or_as_declared(algorithm, data, length)


@given(algorithm=some_algorithm, position=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_damaged_data_is_refused_or_has_the_declared_length(algorithm: int, position: float, change: int) -> None:
    compressed = bytearray(compress(algorithm, certificate()))
    compressed[int(position * len(compressed))] ^= change
    refused_or_as_declared(algorithm, bytes(compressed), len(certificate()))


def test_zlib_forms_that_the_rfc_does_not_mean_are_refused() -> None:
    for wbits in (-15, 31):  # bare deflate, gzip
        stream = zlib.compressobj(wbits=wbits)
        refused(ZLIB, stream.compress(certificate()) + stream.flush(), len(certificate()), "does not decompress")
    primed = zlib.compressobj(zdict=certificate())
    refused(ZLIB, primed.compress(certificate()) + primed.flush(), len(certificate()), "does not decompress")
    wrong_sum = bytearray(compress(ZLIB, certificate()))
    wrong_sum[-1] ^= 1
    refused(ZLIB, bytes(wrong_sum), len(certificate()), "does not decompress")


# --- Bombs -------------------------------------------------------------------------------------------------------


def zlib_bomb(mebibytes: int) -> bytes:
    """The same flushed block again and again."""
    stream = zlib.compressobj()
    first = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    final = zlib.compressobj(wbits=-15).flush()
    checksum = (mebibytes * MIB % 65521) << 16 | 1  # Adler-32 of so many zeros
    return first + block * (mebibytes - 1) + final + checksum.to_bytes(4, "big")


def brotli_bomb(mebibytes: int) -> bytes:
    """The same flushed block again and again."""
    stream = brotli.Compressor(quality=1)
    first = stream.process(bytes(MIB)) + stream.flush()
    block = stream.process(bytes(MIB)) + stream.flush()
    return bytes(first + block * (mebibytes - 1) + stream.finish())


def zstd_bomb(mebibytes: int, window_log: int = 17) -> bytes:
    """Blocks of 128 KiB that repeat one byte, four bytes each (RFC 8878 §3.1.1)."""
    header = bytes.fromhex("28b52ffd00") + bytes(((window_log - 10) << 3,))
    size_and_kind = (128 << 10) << 3 | 1 << 1
    block = size_and_kind.to_bytes(3, "little") + b"\0"
    last = (size_and_kind | 1).to_bytes(3, "little") + b"\0"
    return header + block * (8 * mebibytes - 1) + last


every_bomb = pytest.mark.parametrize(
    ("algorithm", "bomb"), [(ZLIB, zlib_bomb), (BROTLI, brotli_bomb), (ZSTD, zstd_bomb)], ids=["zlib", "brotli", "zstd"]
)


@every_bomb
def test_bomb_is_well_made(algorithm: int, bomb: Callable[[int], bytes]) -> None:
    """What the next test refuses would decompress if it declared the truth."""
    assert decompress(algorithm, bomb(4), 4 * MIB) == bytes(4 * MIB)


@pytest.mark.rfc("8879", "4")
@every_bomb
@pytest.mark.parametrize("declared", [0, 1 << 16, 1 << 20])
def test_bomb_of_a_gibibyte_takes_no_more_memory_than_it_declares(
    algorithm: int, bomb: Callable[[int], bytes], declared: int
) -> None:
    data = bomb(1024)
    tracemalloc.start()
    try:
        refused(algorithm, data, declared, f"yields more than the {declared} bytes")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Blocks of output and their concatenation; zlib keeps the input that it has not read as well.
    assert peak < 2 * declared + len(data) + (256 << 10)


@pytest.mark.rfc("7932", "9.1")
@pytest.mark.parametrize("window_log", range(10, 25))
def test_brotli_window_beyond_4_mib_is_refused(window_log: int) -> None:
    compressed = brotli.compress(certificate(), lgwin=window_log)
    if window_log <= 22:
        assert decompress(BROTLI, compressed, len(certificate())) == certificate()
    else:
        refused(BROTLI, compressed, len(certificate()), "has a window of more than 4194304 bytes")


@pytest.mark.parametrize(("size", "taken"), [(4 * MIB, False), (4 * MIB + 1, True), ((1 << 24) - 1, True)])
def test_brotli_window_may_be_as_large_as_the_message_needs(*, size: int, taken: bool) -> None:
    data = bytes(size)
    compressed = brotli.compress(data, quality=1, lgwin=24)
    if taken:
        assert decompress(BROTLI, compressed, size) == data
    else:
        refused(BROTLI, compressed, size, "has a window of more than 4194304 bytes")


def test_zstd_window_beyond_8_mib_is_refused() -> None:
    assert decompress(ZSTD, zstd_bomb(1, window_log=23), MIB) == bytes(MIB)
    for window_log in (24, 27, 31):
        refused(ZSTD, zstd_bomb(1, window_log=window_log), MIB, "does not decompress")


def test_zstd_frame_of_the_largest_message_is_read() -> None:
    """It is its own window, and so larger than 8 MiB."""
    data = bytes((1 << 24) - 1)
    assert decompress(ZSTD, zstd.compress(data, 1), len(data)) == data


# --- What this process lacks -------------------------------------------------------------------------------------


@pytest.mark.rfc("8879", "4")
@pytest.mark.parametrize("algorithm", [0, 4, 0x0A0A, 0xFFFF])
def test_algorithm_that_was_not_offered_is_refused(algorithm: int) -> None:
    with pytest.raises(IllegalParameter, match="was not offered"):
        decompress(algorithm, b"data", 4)
    with pytest.raises(LocalError, match=r"algorithm: unknown_0x.* is not available; pip install"):
        compress(algorithm, b"data")


@pytest.mark.parametrize("length", [-1, 1 << 24])
def test_length_that_no_message_declares_is_the_callers_mistake(length: int) -> None:
    with pytest.raises(LocalError, match="length must be within"):
        decompress(ZLIB, b"data", length)


@pytest.mark.parametrize(
    ("missing", "make"),
    [(("brotli",), compression._brotli), (("compression.zstd", "backports.zstd"), compression._zstd)],
)
def test_library_that_is_not_installed_is_done_without(
    monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], make: Callable[[], object]
) -> None:
    assert make() is not None
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert make() is None


def test_brotli_that_cannot_bound_its_output_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(Decompressor=SimpleNamespace(process=None, is_finished=None), error=brotli.error)
    monkeypatch.setitem(sys.modules, "brotli", old)
    assert compression._brotli() is None
