"""Certificate compression (RFC 8879): the codecs, and which of them we send with.

What is compressed is a Certificate message without its four-byte header (erratum 8753).  A credential is compressed
once, and every handshake saves the bytes, so we compress as hard as the codecs can.  Of a chain of two ECDSA
certificates, 1578 bytes, brotli leaves 1068, zstd 1110 and zlib 1123: in this order we prefer them.

What a peer sends is decompressed into as many bytes as it declares and no more: a bomb is refused at the first byte too
many.  The codecs' own memory is bounded by the windows that we take.  The declared length itself the caller bounds, by
its limit for messages, before it asks.

zlib is Python's own.  brotli needs the extra `brotli`, zstd before Python 3.14 the extra `zstd`; what lacks is not
offered.  They are imported at once and not when first wanted, for only so it is known what can be offered; the two cost
a millisecond.
"""

import zlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from importlib import import_module

from aiotls.errors import CertificateError, IllegalParameter, LocalError
from aiotls.wire.registries import CertificateCompressionAlgorithm, name_of

__all__ = ["ALGORITHMS", "Codec", "choose", "compress", "decompress"]

_LONGEST = (1 << 24) - 1
"""Bytes that uncompressed_length can declare."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One algorithm, as far as this process has it."""

    algorithm: CertificateCompressionAlgorithm
    compress: Callable[[bytes], bytes]
    """Compresses, as hard as it can."""
    decompress: Callable[[bytes, int], bytes]
    """Decompresses to exactly this many bytes, or raises CertificateError."""


def _exactly(
    algorithm: CertificateCompressionAlgorithm, output: bytes, length: int, *, ended: bool, surplus: bool
) -> bytes:
    """The output, once all that RFC 8879 §4 demands of it holds."""
    if len(output) > length:
        raise _wrong(algorithm, f"yields more than the {length} bytes that it declares")
    if not ended:
        raise _wrong(algorithm, "is cut short")
    if surplus:
        raise _wrong(algorithm, "has bytes after its end")
    if len(output) < length:
        raise _wrong(algorithm, f"yields {len(output)} bytes and declares {length}")
    return output


def _wrong(algorithm: CertificateCompressionAlgorithm, why: str) -> CertificateError:
    return CertificateError(f"the certificate compressed with {algorithm.name} {why} (RFC 8879 §4)")


def _zlib() -> Codec:
    algorithm = CertificateCompressionAlgorithm.zlib

    def compress(data: bytes) -> bytes:
        return zlib.compress(data, zlib.Z_BEST_COMPRESSION)

    def decompress(data: bytes, length: int) -> bytes:
        stream = zlib.decompressobj()
        try:
            output = stream.decompress(data, length + 1)
        except zlib.error:
            raise _wrong(algorithm, "does not decompress") from None
        return _exactly(algorithm, output, length, ended=stream.eof, surplus=bool(stream.unused_data))

    return Codec(algorithm, compress, decompress)


# RFC 7932 §9.1: the codes of windows of 8 and 16 MiB, in the low bits of a stream's first byte.
_BROTLI_LARGE_WINDOWS = (0b1101, 0b1111)
_BROTLI_USUAL_WINDOW = 1 << 22
"""Bytes; what encoders declare unless they are told otherwise, whatever they encode."""


def _brotli() -> Codec | None:
    algorithm = CertificateCompressionAlgorithm.brotli
    try:
        brotli = import_module("brotli")
    except ImportError:
        return None
    if not hasattr(brotli.Decompressor, "can_accept_more_data"):
        return None  # before 1.2 its output could not be bounded

    def compress(data: bytes) -> bytes:
        return bytes(brotli.compress(data))

    def decompress(data: bytes, length: int) -> bytes:
        # The decoder fills its window before it yields the first byte: 16 MiB, in 30 ms, for a bomb of 52 bytes.
        if length <= _BROTLI_USUAL_WINDOW and data and data[0] & 0b1111 in _BROTLI_LARGE_WINDOWS:
            raise _wrong(algorithm, f"has a window of more than {_BROTLI_USUAL_WINDOW} bytes")
        stream = brotli.Decompressor()
        # A limit of 1 stands for the smallest block that it fills, 32 KiB: by so much may the output exceed the length.
        output = bytearray()
        try:
            chunk = stream.process(data, output_buffer_limit=1)
            while chunk:
                output += chunk
                if len(output) > length:
                    break
                chunk = stream.process(b"", output_buffer_limit=1)
        except brotli.error:  # bytes after the end are an error of its own, too
            raise _wrong(algorithm, "does not decompress") from None
        return _exactly(algorithm, bytes(output), length, ended=stream.is_finished(), surplus=False)

    return Codec(algorithm, compress, decompress)


_ZSTD_LEVEL = 19
"""The highest that does not ask for memory beyond measure; those above gain nothing on certificates."""
_ZSTD_WINDOW_LOG = 23
"""A decoder should take windows of 8 MiB (RFC 8878 §3.1.1.1.2), which an encoder may declare whatever it encodes."""


def _zstd() -> Codec | None:
    algorithm = CertificateCompressionAlgorithm.zstd
    for name in ("compression.zstd", "backports.zstd"):  # one API: the second is the first for older Pythons
        try:
            zstd = import_module(name)
        except ImportError:
            continue
        break
    else:
        return None

    def compress(data: bytes) -> bytes:
        return bytes(zstd.compress(data, _ZSTD_LEVEL))

    def decompress(data: bytes, length: int) -> bytes:
        # A frame that declares its content's length has a window as large as that, up to 16 MiB.
        window_log = max(_ZSTD_WINDOW_LOG, length.bit_length())
        stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
        try:
            output = stream.decompress(data, length + 1)
        except zstd.ZstdError:
            raise _wrong(algorithm, "does not decompress") from None
        return _exactly(algorithm, output, length, ended=stream.eof, surplus=bool(stream.unused_data))

    return Codec(algorithm, compress, decompress)


ALGORITHMS: dict[int, Codec] = {codec.algorithm: codec for codec in (_brotli(), _zstd(), _zlib()) if codec is not None}
"""What this process can compress and decompress, in our order of preference."""


def choose(offered: Container[int]) -> int | None:
    """The algorithm to send with, of those that the peer *offered*; None when we have none of them."""
    return next((int(algorithm) for algorithm in ALGORITHMS if algorithm in offered), None)


def compress(algorithm: int, data: bytes) -> bytes:
    """Compress the body of a Certificate message; LocalError when this process lacks the algorithm."""
    codec = ALGORITHMS.get(algorithm)
    if codec is None:
        name = name_of(CertificateCompressionAlgorithm, algorithm)
        raise LocalError(f"algorithm: {name} is not available; pip install 'aiotls[brotli,zstd]' brings what there is")
    return codec.compress(data)


def decompress(algorithm: int, data: bytes, length: int) -> bytes:
    """Decompress a peer's *data*, of which it declares that it yields *length* bytes.

    *length* is 0..2^24-1, and what the caller is ready to hold.  Data that yields another number of bytes, is cut
    short, or has more after its end raises CertificateError (RFC 8879 §4); an algorithm that is not in ALGORITHMS, and
    so was not offered, IllegalParameter.
    """
    if not 0 <= length <= _LONGEST:
        raise LocalError(f"length must be within 0..{_LONGEST}, and is {length}")
    codec = ALGORITHMS.get(algorithm)
    if codec is None:
        name = name_of(CertificateCompressionAlgorithm, algorithm)
        raise IllegalParameter(f"the certificate is compressed with {name}, which was not offered (RFC 8879 §4)")
    return codec.decompress(data, length)
