"""ClientHellos and other handshake messages that a server must refuse, each with its own error and its exact alert.

RFC 8446 §6.2 says which alert: decode_error where the bytes do not have the form, illegal_parameter where they have it
and say what they must not, missing_extension, and the incompatibilities, which are nobody's fault.  Every refusal
is one typed error, one alert, and a dead connection; `Duel.assert_refused` checks all three.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aiotls.errors import (
    AlertDescription,
    DecodeError,
    DecryptError,
    IllegalParameter,
    NoCommonVersion,
    TLSError,
    TruncationError,
)
from aiotls.testing.peer import encode_message, join_hello, split_hello
from aiotls.wire.extensions import OfferedPsks, PskIdentity
from aiotls.wire.messages import HEADER_LENGTH, ClientHello
from aiotls.wire.registries import ContentType, ExtensionType, HandshakeType
from tests.handshake.conftest import Duel, Stage

DECODE = AlertDescription.decode_error
ILLEGAL = AlertDescription.illegal_parameter


# --- A ClientHello with everything in it, and all its length fields ------------------------------------------------


def full_hello(duel: Duel) -> bytes:
    """A ClientHello with every extension that we know, and fixed bytes wherever there could be random ones."""
    share = duel.client.hello().key_share or {}
    return duel.client.hello(
        random=b"\xaa" * 32,
        legacy_session_id=b"\xbb" * 32,
        signature_algorithms_cert=(0x0403, 0x0804),
        application_layer_protocol_negotiation=(b"h2", b"http/1.1"),
        cookie=b"\xcc" * 9,
        key_share={**share, 0x0017: b"\x04" + b"\xdd" * 64},
        psk_key_exchange_modes=(1,),
        early_data=True,
        certificate_authorities=(b"\x30\x00", b"\x30\x01\x00"),
        post_handshake_auth=True,
        pre_shared_key=OfferedPsks(
            (PskIdentity(b"\xee" * 20, 7), PskIdentity(b"\xee" * 30, 7)), (b"\xee" * 32, b"\xee" * 48)
        ),
    ).encode()


@dataclass(frozen=True)
class Vector:
    """``element name<...>`` behind a length of *size* bytes; opaque without *element*."""

    name: str
    size: int
    element: tuple["int | Vector", ...] = ()


INTERIORS: dict[int, tuple[int | Vector, ...]] = {
    ExtensionType.server_name: (Vector("list", 2, (1, Vector("name", 2))),),
    ExtensionType.supported_groups: (Vector("list", 2),),
    ExtensionType.signature_algorithms: (Vector("list", 2),),
    ExtensionType.signature_algorithms_cert: (Vector("list", 2),),
    ExtensionType.application_layer_protocol_negotiation: (Vector("list", 2, (Vector("name", 1),)),),
    ExtensionType.supported_versions: (Vector("list", 1),),
    ExtensionType.cookie: (Vector("cookie", 2),),
    ExtensionType.key_share: (Vector("list", 2, (2, Vector("share", 2))),),
    ExtensionType.psk_key_exchange_modes: (Vector("list", 1),),
    ExtensionType.certificate_authorities: (Vector("list", 2, (Vector("name", 2),)),),
    ExtensionType.pre_shared_key: (
        Vector("identities", 2, (Vector("identity", 2), 4)),
        Vector("binders", 2, (Vector("binder", 1),)),
    ),
}
"""RFC 8446 §4.2, RFC 6066 §3, RFC 7301 §3.1, as far as there are lengths; a number is so many bytes without one."""

FRONT = (34, Vector("session_id", 1), Vector("cipher_suites", 2), Vector("compression_methods", 1))


@dataclass(frozen=True)
class LengthField:
    """Where a length stands, and what it says."""

    path: str
    offset: int
    size: int
    value: int

    def rewritten(self, raw: bytes, value: int) -> bytes:
        return raw[: self.offset] + value.to_bytes(self.size, "big") + raw[self.offset + self.size :]

    def wrong_values(self) -> Iterator[int]:
        """One too many, one too few, none, and as many as the field can say."""
        for value in (self.value + 1, self.value - 1, 0, (1 << 8 * self.size) - 1):
            if value != self.value and value >= 0:
                yield value


class Walker:
    """Walks through the bytes of a ClientHello, and notes every length field."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.position = HEADER_LENGTH
        self.found: list[LengthField] = []
        self.walk(FRONT, "")
        end = self.length("extensions", 2)
        while self.position < end:
            code = int.from_bytes(raw[self.position : self.position + 2], "big")
            self.position += 2
            name = ExtensionType(code).name
            self.length(name, 2)
            self.walk(INTERIORS.get(code, ()), f"{name}.")
        assert self.position == end == len(raw)

    def length(self, path: str, size: int) -> int:
        """Note a length field; where what it counts ends."""
        value = int.from_bytes(self.raw[self.position : self.position + size], "big")
        self.found.append(LengthField(path, self.position, size, value))
        self.position += size
        return self.position + value

    def walk(self, parts: tuple[int | Vector, ...], path: str) -> None:
        for part in parts:
            if isinstance(part, int):
                self.position += part
                continue
            end = self.length(path + part.name, part.size)
            while part.element and self.position < end:
                self.walk(part.element, f"{path}{part.name}.")
            self.position = end


def refuse_hello(raw: bytes, kind: type[TLSError], alert: AlertDescription, *, stage: Stage = Stage.START) -> str:
    """One ClientHello against a fresh server."""
    duel = Duel.at(stage)
    duel.client.send_message(raw)
    return duel.assert_refused(kind, alert)


def test_walker_finds_every_length_of_the_full_hello() -> None:
    found = Walker(full_hello(Duel())).found
    assert len(found) == 44
    assert {field.path.split(".")[0] for field in found} >= {ExtensionType(code).name for code in INTERIORS}


if __name__ == "__main__":
    import collections
    c = collections.Counter()
    raw0 = None
    for n, f in enumerate(Walker(full_hello(Duel())).found):
        for v in f.wrong_values():
            d = Duel()
            raw = full_hello(d)
            d.client.send_message(f.rewritten(raw, v))
            try:
                d.pump()
            except Exception as e:
                print("CLIENT", f, v, repr(e)); 
            if type(d.error) is not DecodeError:
                print(f, v, repr(d.error))
            c[type(d.error)] += 1
    print(len(Walker(full_hello(Duel())).found), c)
