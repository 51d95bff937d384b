"""The name of the server that a client wants to reach: a DNS name or an IP address (RFC 9525 §3).

It is what the client sends as SNI (RFC 6066 §3: a DNS name without a trailing dot, never an address), and what the
server's certificate must be for.  So that the two agree, and that one server has one name, a name has one form here:
A-labels in lower case, and an address as the standard library writes it.

A certificate can only be for what RFC 5280 §4.2.1.6 calls the preferred name syntax: letters, digits and hyphens.  A
name with anything else in it, as an underscore, is refused before the connection is made: it could not be verified.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import final

from cryptography import x509

from aiotls.errors import LocalError

__all__ = ["ServerName"]

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LONGEST = 253
"""Characters of a DNS name (RFC 1034 §3.1: 255 octets on the wire)."""
_LONGEST_INPUT = 4096
"""Characters that are looked at; a name of U-labels that is longer has no A-labels within 253."""


@final
@dataclass(frozen=True, slots=True)
class ServerName:
    """Which server is meant; made by `of`.  Equal names are equal, whatever way they were written."""

    text: str
    """The DNS name in A-labels and lower case, without a trailing dot; or the IP address."""
    is_ip: bool
    """Whether it is an IP address, which is never sent as SNI (RFC 6066 §3)."""
    subject: x509.DNSName | x509.IPAddress = field(repr=False, compare=False)
    """The same as `cryptography` wants it."""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, text: str) -> "ServerName":
        """The name that *text* gives: ``example.com``, ``bücher.example``, ``192.0.2.1``, ``::1`` or ``[::1]``.

        U-labels need the extra `idna`.  The trailing dot of an absolute name and the zone of an IPv6 address are left
        out, for no certificate bears them.  LocalError says that it is neither a name nor an address.
        """
        if not isinstance(text, str):
            raise LocalError(f"the server name is a {type(text).__name__}; give a str")
        # A client mostly goes where it has been before; what a U-label is depends on whether `idna` is there.
        return _remembered(text) if text.isascii() else _read(text)


def _read(text: str) -> ServerName:
    address = _address(text)
    if address is not None:
        return ServerName(str(address), is_ip=True, subject=x509.IPAddress(address))
    name = _dns_name(text)
    return ServerName(name, is_ip=False, subject=x509.DNSName(name))


_remembered = functools.lru_cache(maxsize=1024)(_read)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    bracketed = text.startswith("[") and text.endswith("]")
    literal = text[1:-1] if bracketed else text
    try:
        if ":" in literal:
            return ipaddress.IPv6Address(literal.partition("%")[0])
        return None if bracketed else ipaddress.IPv4Address(literal)
    except ValueError:
        return None


def _dns_name(text: str) -> str:
    if not 0 < len(text) <= _LONGEST_INPUT:
        raise LocalError(f"the server name has {len(text)} characters; give a DNS name or an IP address")
    ascii_text = text.lower() if text.isascii() else _to_ascii(text)
    name = ascii_text.removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise LocalError(
            f"the server name {text[:_LONGEST]!r} is neither a DNS name nor an IP address; a DNS name has labels of"
            " 1 to 63 letters, digits and inner hyphens with dots between, 253 characters in all"
        )
    # RFC 1123 §2.1: the last label of a host name is alphabetic, so that 127.1 or 0x7f.1, which resolvers take for an
    # address, is not taken for a name here.
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise LocalError(f"the server name {text[:_LONGEST]!r} is no full IP address, and no DNS name ends in a number")
    return name


def _to_ascii(text: str) -> str:
    """The A-labels of a name (RFC 5891 §4), mapped as browsers do (UTS #46)."""
    try:
        idna = import_module("idna")
    except ImportError:
        raise LocalError(
            f"the server name {text[:_LONGEST]!r} is not ASCII; install aiotls[idna], or give its A-labels (xn--...)"
        ) from None
    try:
        encoded: bytes = idna.encode(text, uts46=True)
    except ValueError as error:  # IDNAError is one
        raise LocalError(f"the server name {text[:_LONGEST]!r} is no internationalised DNS name: {error}") from error
    return encoded.decode("ascii")
