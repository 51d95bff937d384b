"""What a program decides once, for all its connections.

A config is frozen: it is checked when it is made, and all that depends on it alone is computed then, so that a
handshake finds it ready.  The engine has no clock and no randomness of its own: both are values here, which is what
makes a test deterministic.
"""

import enum
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import cast

from aiotls.crypto.groups import GROUPS, Group
from aiotls.crypto.suites import SUITES, Suite
from aiotls.errors import LocalError
from aiotls.keylog import KeyLog
from aiotls.policy import POLICIES, Policy
from aiotls.sessions.session import LONGEST_LIFETIME, usual_size
from aiotls.sessions.tickets import TicketKeys
from aiotls.trust.credentials import Credential, CredentialResolver
from aiotls.wire.codec import Writer
from aiotls.wire.messages import EncryptedExtensions, ServerHelloTemplate
from aiotls.wire.registries import CipherSuite, NamedGroup, SignatureScheme

__all__ = ["Preference", "ServerConfig"]

_LONGEST_PROTOCOL = 255


class Preference(enum.Enum):
    """Whose order decides where both sides have several things in common."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True)
class ServerConfig:
    """How a server negotiates; raises LocalError for a value that cannot be, naming the field."""

    _: KW_ONLY
    credentials: Credential | Sequence[Credential] | CredentialResolver
    """What the server proves its name with: one credential; several, of which the first is the default; or a function
    of the ClientHelloInfo that returns one, or None, or an awaitable of that."""
    policy: str | Policy = "default"
    """The lists below where they are not given."""
    cipher_suites: Sequence[CipherSuite] | None = None
    """Most wanted first; None takes the policy's."""
    groups: Sequence[NamedGroup] | None = None
    """Most wanted first; None takes the policy's."""
    signature_schemes: Sequence[SignatureScheme] | None = None
    """What the server may sign with, on top of what its key can do; None takes the policy's."""
    alpn: Sequence[str] = ()
    """Application protocols, most wanted first.  When both sides name some and share none, the handshake fails with
    no_application_protocol; when one side names none, none is chosen."""
    cipher_suite_preference: Preference = Preference.SERVER
    """Whose order of cipher suites decides."""
    group_preference: Preference = Preference.SERVER
    """Whose order of groups decides."""
    insist_on_preferred_group: bool = False
    """False takes the best group that the client sent a share for, and asks for another only when there is none.  True
    asks for the most wanted group that both support by HelloRetryRequest, at the price of a round trip."""
    require_server_name: bool = False
    """True refuses a client that names no server (missing_extension)."""
    max_handshake_message_size: int = 64 * 1024
    """Bytes, header included; a longer message is refused before it is buffered.  64 KiB, as in Rustls and Go."""
    max_records_per_key: int | None = None
    """Records after which a key is replaced by KeyUpdate; None is the cipher suite's limit (2^24 for AES-GCM)."""
    max_early_data_skipped: int = 16 * 1024
    """Bytes of early data that the server passes over, for it accepts none."""
    tickets: int = 2
    """Session tickets that a client gets after a full handshake, at most 8; after a resumed one it gets one, for that
    is what it has used up.  They are sent with the first application data.  0 switches resumption off, both ways.  A
    resumed handshake needs no credential, and so asks no resolver for one."""
    ticket_keys: TicketKeys | None = None
    """What seals the tickets; None makes keys that only this config has, a new one every 6 hours."""
    session_lifetime: float = 6 * 3600
    """Seconds after a full handshake in which its session may be resumed, at most 7 days; tickets that a resumed
    connection gets do not prolong it.  A ticket is also worthless once its key is gone."""
    key_log: KeyLog | None = None
    """Is given every traffic secret, for debugging; see `aiotls.KeyLogFile`."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    random: Callable[[int], bytes] = os.urandom
    """Random bytes, this many."""

    resolve: CredentialResolver | None = field(init=False, repr=False, compare=False)
    """The resolver, where `credentials` is one."""
    credential_list: tuple[Credential, ...] = field(init=False, repr=False, compare=False)
    """The credentials, where they are given as such."""
    suites: dict[int, Suite] = field(init=False, repr=False, compare=False)
    """The cipher suites by code point, in order of preference."""
    group_rows: dict[int, Group] = field(init=False, repr=False, compare=False)
    """The groups by code point, in order of preference."""
    schemes: frozenset[int] = field(init=False, repr=False, compare=False)
    """The signature schemes as code points."""
    protocols: dict[bytes, str] = field(init=False, repr=False, compare=False)
    """The application protocols by their bytes, in order of preference."""
    encrypted_extensions: dict[tuple[bool, bytes | None], bytes] = field(init=False, repr=False, compare=False)
    """The EncryptedExtensions by what they answer: whether a server was named, and the application protocol."""
    server_hellos: dict[tuple[int, int], ServerHelloTemplate] = field(init=False, repr=False, compare=False)
    """The ServerHellos by cipher suite and group."""
    scope: bytes = field(init=False, repr=False, compare=False)
    """What a session is bound to: a digest of the lists above, and of the certificates where they are known.  A session
    of another scope is not resumed, even if the ticket keys are the same."""
    sealing_keys: TicketKeys | None = field(init=False, repr=False, compare=False)
    """What seals the tickets; None when there are none."""
    session_size: int = field(init=False, repr=False, compare=False)
    """Bytes to which a session is filled up before it is sealed, that all tickets have one length."""

    def __post_init__(self) -> None:
        """Check every field, and compute what depends on the config alone."""
        policy = _policy(self.policy)
        suites = _codes("cipher_suites", self.cipher_suites, policy.cipher_suites, SUITES)
        groups = _codes("groups", self.groups, policy.groups, GROUPS)
        schemes = _codes(
            "signature_schemes", self.signature_schemes, policy.signature_schemes, policy.signature_schemes
        )
        self._check_kinds()
        self._check_limits()
        resolve, credentials = _credentials(self.credentials)
        protocols = _protocols(self.alpn)
        derived = {
            "resolve": resolve,
            "credential_list": credentials,
            "suites": {code: SUITES[code] for code in suites},
            "group_rows": {code: GROUPS[code] for code in groups},
            "schemes": frozenset(schemes),
            "protocols": protocols,
            "encrypted_extensions": _encrypted_extensions(protocols),
            "server_hellos": {
                (suite, group): ServerHelloTemplate(suite, group, GROUPS[group].server_share_length)
                for suite in suites
                for group in groups
            },
            "scope": _scope((suites, groups, schemes), protocols, credentials, self.require_server_name),
            "sealing_keys": self._sealing_keys(),
            "session_size": usual_size(max(map(len, protocols), default=0)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def _check_kinds(self) -> None:
        for name in ("cipher_suite_preference", "group_preference"):
            _check(name, isinstance(getattr(self, name), Preference), "Preference.SERVER or Preference.CLIENT")
        for name in ("insist_on_preferred_group", "require_server_name"):
            _check(name, isinstance(getattr(self, name), bool), "True or False")
        for name in ("clock", "random"):
            _check(name, callable(getattr(self, name)), "a function")
        _check("key_log", self.key_log is None or callable(self.key_log), "a function, such as an aiotls.KeyLogFile")
        keys: object = self.ticket_keys
        _check("ticket_keys", keys is None or isinstance(keys, TicketKeys), "TicketKeys, such as TicketKeys.rotating()")

    def _check_limits(self) -> None:
        _check_range("max_handshake_message_size", self.max_handshake_message_size, 4096, (1 << 24) - 1)
        _check_range("max_early_data_skipped", self.max_early_data_skipped, 0, 1 << 31)
        _check_range("tickets", self.tickets, 0, 8)
        if self.max_records_per_key is not None:  # the last record of a key is the KeyUpdate that replaces it
            _check_range("max_records_per_key", self.max_records_per_key, 2, 1 << 63)
        lifetime: object = self.session_lifetime
        within = isinstance(lifetime, int | float) and 1 <= lifetime <= LONGEST_LIFETIME  # RFC 8446 §4.6.1
        _check("session_lifetime", within, f"1 to {LONGEST_LIFETIME} seconds")

    def _sealing_keys(self) -> TicketKeys | None:
        if not self.tickets:
            return None
        return self.ticket_keys or TicketKeys.rotating(clock=self.clock, random=self.random)


def _check(name: str, holds: bool, wanted: str) -> None:  # noqa: FBT001 - what it checks
    if not holds:
        msg = f"ServerConfig.{name} must be {wanted}"
        raise LocalError(msg)


def _check_range(name: str, value: object, least: int, most: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _check(name, whole and least <= cast("int", value) <= most, f"a whole number within {least}..{most}")


def _policy(policy: object) -> Policy:
    if isinstance(policy, Policy):
        return policy
    named = POLICIES.get(policy) if isinstance(policy, str) else None
    if named is None:
        msg = f"ServerConfig.policy: there is no {policy!r}; there are: {', '.join(POLICIES)}"
        raise LocalError(msg)
    return named


def _codes(name: str, given: object, default: Sequence[int], known: Iterable[int]) -> tuple[int, ...]:
    """The code points of a list, as plain ints; each must be one that we can do, and there must be one."""
    codes: object = default if given is None else given
    if not isinstance(codes, Sequence) or isinstance(codes, str | bytes):
        msg = f"ServerConfig.{name} must be a list of code points, and not {codes!r}"
        raise LocalError(msg)
    supported = frozenset(known)
    for code in codes:
        if code not in supported:
            msg = f"ServerConfig.{name}: {code!r} is not supported"
            raise LocalError(msg)
    if not codes or len(set(codes)) != len(codes):
        msg = f"ServerConfig.{name} must name at least one, and none twice"
        raise LocalError(msg)
    return tuple(map(int, codes))


def _credentials(given: object) -> tuple[CredentialResolver | None, tuple[Credential, ...]]:
    if isinstance(given, Credential):
        return None, (given,)
    if callable(given):
        return given, ()
    credentials = tuple(given) if isinstance(given, Sequence) else ()
    if {type(credential) for credential in credentials} != {Credential}:
        msg = "ServerConfig.credentials must be a Credential, a list of them, or a function that returns one"
        raise LocalError(msg)
    return None, credentials


def _encrypted_extensions(protocols: Iterable[bytes]) -> dict[tuple[bool, bytes | None], bytes]:
    """Every EncryptedExtensions that there can be (RFC 8446 §4.3.1), encoded once."""
    return {
        (named, protocol): EncryptedExtensions(
            server_name=named or None,  # RFC 6066 §3: an empty extension says that the name was used
            application_layer_protocol_negotiation=protocol,
        ).encode()
        for named in (False, True)
        for protocol in (None, *protocols)
    }


def _scope(
    lists: Iterable[Iterable[int]],
    protocols: Iterable[bytes],
    credentials: Iterable[Credential],
    require_server_name: bool,  # noqa: FBT001 - it is one of the things that are digested
) -> bytes:
    """A digest of what a session is bound to, unambiguous by the lengths in it."""
    fields = Writer().uint8(require_server_name)
    for codes in lists:
        fields.opaque16(b"".join(code.to_bytes(2, "big") for code in codes))
    names = Writer()
    for protocol in protocols:
        names.opaque8(protocol)
    fields.opaque24(names.getvalue())
    for credential in credentials:
        fields.opaque24(credential.chain[0])
    return hashlib.sha256(b"aiotls session scope 1\0" + fields.getvalue()).digest()


def _protocols(alpn: object) -> dict[bytes, str]:
    if not isinstance(alpn, Sequence) or isinstance(alpn, str | bytes):
        msg = f'ServerConfig.alpn must be a list of names, such as ("http/1.1",), and not {alpn!r}'
        raise LocalError(msg)
    protocols = {}
    for name in alpn:
        encoded = name.encode("utf-8", "ignore") if isinstance(name, str) else b""
        if not 0 < len(encoded) <= _LONGEST_PROTOCOL or encoded.decode() != name:  # RFC 7301 §3.1
            msg = f"ServerConfig.alpn: {name!r} is not a name of 1 to {_LONGEST_PROTOCOL} bytes"
            raise LocalError(msg)
        protocols[encoded] = name
    return protocols
