"""The ClientHello that we send (RFC 8446 §4.1.2): what a client offers, and what a server may therefore answer.

What it holds follows from the config, and is encoded when that is made.  New every time are its random values, its
key shares, and the order of its extensions, which is shuffled so that no server comes to rely on one.  With GREASE (RFC
8701) it also holds reserved values, one in each list, which a server must pass over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from aiotls.config import ClientConfig
from aiotls.crypto.groups import KeyShare
from aiotls.errors import IllegalParameter
from aiotls.trust.names import ServerName
from aiotls.wire.extensions import Carrier, serialise_extension
from aiotls.wire.messages import ClientHello
from aiotls.wire.registries import ExtensionType

__all__ = ["Offer"]

_RANDOM_LENGTH: Final = 32
_LARGEST_BLOCK: Final = 0xFFFF  # bytes of extensions
_GREASE: Final = tuple(0x0A0A + 0x1010 * number for number in range(16))  # RFC 8701 §2
_COOKIE: Final = int(ExtensionType.cookie)
_KEY_SHARE: Final = int(ExtensionType.key_share)
_SERVER_NAME: Final = int(ExtensionType.server_name)


@dataclass(frozen=True, slots=True)
class Offer:
    """A ClientHello of ours, with the private halves of its key shares."""

    hello: ClientHello
    """The message but for its extensions, which are below."""
    extensions: Mapping[int, bytes] = field(repr=False)
    """Every extension in its place, type and length included."""
    shares: Mapping[int, KeyShare] = field(repr=False)
    raw: bytes = field(repr=False)
    """The encoded message."""

    @classmethod
    def make(cls, config: ClientConfig, server_name: ServerName | None) -> "Offer":
        """The first ClientHello of a connection."""
        random = config.random
        shares = {code: config.group_rows[code].generate() for code in config.predicted_groups}
        extensions = dict(config.client_extensions)
        extensions[_KEY_SHARE] = _key_share(shares)
        if server_name is not None and not server_name.is_ip and config.send_server_name:  # RFC 6066 §3
            extensions[_SERVER_NAME] = serialise_extension(_SERVER_NAME, Carrier.CH, server_name.text)
        hello = ClientHello(
            random=random(_RANDOM_LENGTH),
            legacy_session_id=random(_RANDOM_LENGTH),  # compatibility mode (RFC 8446 §D.4)
            cipher_suites=tuple(config.suites),
        )
        extensions = _shuffled(extensions, random)
        if config.grease:
            hello, extensions = _greased(hello, extensions, shares, config)
        return cls(hello, extensions, shares, hello.encode(b"".join(extensions.values())))

    @property
    def answerable(self) -> frozenset[int]:
        """The extensions that a server may answer."""
        return frozenset(self.extensions).difference(_GREASE)

    def again(self, config: ClientConfig, group: int | None, cookie: bytes | None) -> "Offer":
        """The second ClientHello, as a HelloRetryRequest wants it; all else stays (RFC 8446 §4.1.2)."""
        extensions, shares = dict(self.extensions), self.shares
        if group is not None:
            shares = {group: config.group_rows[group].generate()}
            extensions[_KEY_SHARE] = _key_share(shares)
        if cookie is not None:
            if len(cookie) > _LARGEST_BLOCK - 6 - sum(map(len, extensions.values())):
                msg = f"a cookie of {len(cookie)} bytes leaves no room for it in the ClientHello (RFC 8446 §4.2.2)"
                raise IllegalParameter(msg)
            extensions = {_COOKIE: serialise_extension(_COOKIE, Carrier.CH, cookie), **extensions}
        return Offer(self.hello, extensions, shares, self.hello.encode(b"".join(extensions.values())))


def _key_share(shares: Mapping[int, KeyShare]) -> bytes:
    return serialise_extension(_KEY_SHARE, Carrier.CH, {code: share.public for code, share in shares.items()})


def _shuffled(extensions: dict[int, bytes], random: Callable[[int], bytes]) -> dict[int, bytes]:
    """The extensions in an order of chance: a Fisher-Yates shuffle, whose slight bias harms nobody here."""
    codes = list(extensions)
    dice = random(len(codes))
    for last in range(len(codes) - 1, 0, -1):
        other = dice[last] % (last + 1)
        codes[last], codes[other] = codes[other], codes[last]
    return {code: extensions[code] for code in codes}


def _greased(
    hello: ClientHello, extensions: Mapping[int, bytes], shares: Mapping[int, KeyShare], config: ClientConfig
) -> tuple[ClientHello, dict[int, bytes]]:
    """The hello with reserved values in its lists, and an extension of that kind at each end (RFC 8701 §3.1)."""
    suite, group, version, scheme, first, last = (_GREASE[byte & 15] for byte in config.random(6))
    if first == last:  # an extension may not come twice
        last ^= 0x1010
    lists: dict[ExtensionType, object] = {
        ExtensionType.supported_groups: (group, *config.group_rows),
        ExtensionType.key_share: {group: b"\0", **{code: share.public for code, share in shares.items()}},
        ExtensionType.supported_versions: (version, *config.versions),
        ExtensionType.signature_algorithms: (*config.schemes, scheme),
    }
    greased = {
        first: first.to_bytes(2, "big") + b"\0\0",
        **extensions,
        **{int(code): serialise_extension(code, Carrier.CH, value) for code, value in lists.items()},
        last: last.to_bytes(2, "big") + b"\0\1\0",
    }
    return replace(hello, cipher_suites=(suite, *hello.cipher_suites)), greased
