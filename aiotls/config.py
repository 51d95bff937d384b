"""What a program decides once, for all its connections.

A config is frozen: it is checked when it is made, and all that depends on it alone is computed then, so that a
handshake finds it ready.  The engine has no clock and no randomness of its own: both are values here, which is what
makes a test deterministic.
"""

import enum
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from aiotls.crypto.groups import GROUPS, Group
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import SUITES, Suite
from aiotls.errors import LocalError
from aiotls.keylog import KeyLog
from aiotls.negotiated import Negotiated
from aiotls.policy import POLICIES, Policy
from aiotls.sessions.session import LONGEST_LIFETIME, usual_size
from aiotls.sessions.tickets import TicketKeys
from aiotls.trust.compression import ALGORITHMS
from aiotls.trust.credentials import (
    CertificateRequestInfo,
    ClientHelloInfo,
    Credential,
    CredentialResolver,
)
from aiotls.trust.identity import PeerIdentity
from aiotls.trust.revocation import CRLs
from aiotls.trust.roots import Roots
from aiotls.trust.verify import Verifier
from aiotls.wire.codec import Writer
from aiotls.wire.extensions import SMALLEST_RECORD_SIZE_LIMIT, Carrier, serialise_extension
from aiotls.wire.messages import CertificateRequest, EncryptedExtensions, ServerHelloTemplate
from aiotls.wire.registries import (
    CertificateType,
    CipherSuite,
    ExtensionType,
    NamedGroup,
    ProtocolVersion,
    SignatureScheme,
)

__all__ = ["Authorisation", "ClientAuth", "ClientConfig", "Preference", "ServerConfig"]

_LONGEST_PROTOCOL = 255
_SIGNING = frozenset(code for code, row in SCHEMES.items() if row.handshake13)
_LARGEST_RECORD = 1 << 14
_PUBLIC_KEY_DIGEST = 32

CustomVerifier: TypeAlias = Callable[[PeerIdentity, str | None], bool | Awaitable[bool]]
"""Judges a peer instead of our own verification: what it shows, and the name that we want to reach (None for clients).
Only True accepts it; it may also raise a CertificateError that says why not."""
Authorisation: TypeAlias = Callable[[Negotiated], bool | Awaitable[bool]]
"""Says whether a peer that has proved who it is may go on; only True admits it."""
ConfigSelector: TypeAlias = "Callable[[ClientHelloInfo], ServerConfig | Awaitable[ServerConfig | None] | None]"
"""Chooses the config for a ClientHello; None keeps the one that asked."""
ClientCredentialResolver: TypeAlias = Callable[
    [CertificateRequestInfo], Credential | Awaitable[Credential | None] | None
]
"""Chooses what a client answers a CertificateRequest with; None shows no certificate."""


class Preference(enum.Enum):
    """Whose order decides where both sides have several things in common."""

    SERVER = "server"
    CLIENT = "client"


class ClientAuth(enum.Enum):
    """Whether a server asks its clients for a certificate (RFC 8446 §4.3.2)."""

    OFF = "off"
    OPTIONAL = "optional"
    """A client may come without one; one that it shows must verify."""
    REQUIRED = "required"


@dataclass(frozen=True, kw_only=True)
class _Config:
    """What both roles decide."""

    policy: str | Policy = "default"
    """The lists below where they are not given; those of "fips" can be shortened or reordered, and not extended."""
    cipher_suites: Sequence[CipherSuite] | None = None
    """Most wanted first; None takes the policy's."""
    groups: Sequence[NamedGroup] | None = None
    """Most wanted first; None takes the policy's."""
    signature_schemes: Sequence[SignatureScheme] | None = None
    """What may sign a handshake, ours (on top of what our key can do) and the peer's; None takes the policy's."""
    certificate_signature_schemes: Sequence[SignatureScheme] | None = None
    """What may sign the peer's certificates, as we tell it (RFC 8446 §4.2.3); None is all that we know."""
    alpn: Sequence[str] = ()
    """Application protocols, most wanted first.  When both sides name some and share none, the handshake fails with
    no_application_protocol; when one side names none, none is chosen."""
    verifier: CustomVerifier | None = None
    """Judges the peer's certificate instead of our own verification; that the peer holds its key is checked always."""
    crls: CRLs | None = None
    """Revocation lists; with them a peer whose status they do not tell is refused."""
    trusted_public_keys: Collection[bytes] = ()
    """Peers that show a raw public key (RFC 7250) are trusted if it is one of these, a SubjectPublicKeyInfo in DER."""
    authorise: Authorisation | None = None
    """Is asked about each connection once the peer has proved who it is, with all that was negotiated; what is not True
    ends the handshake with access_denied.  `Negotiated.peer` is None for a client that showed no certificate, and where
    a session was resumed."""
    verify_in_thread: bool = False
    """True verifies chains in a thread, so that other connections go on meanwhile."""
    verification_cache_size: int = 1024
    """Verified chains that are remembered, from 2; 0 remembers none."""
    verification_cache_lifetime: float = 300.0
    """Seconds for which a verified chain is remembered."""
    certificate_compression: bool = True
    """Whether certificates may be sent compressed (RFC 8879), either way."""
    record_size_limit: int | None = None
    """Bytes of plaintext, its type and padding included, that the peer may put into a record (RFC 8449); 64 to 16385.
    None asks for no limit.  The peer's limit is kept in any case."""
    max_fragment: int = _LARGEST_RECORD
    """Bytes of data that we put into a record ourselves; smaller ones let a peer on a slow path begin sooner."""
    record_padding: int | Callable[[int], int] = 0
    """Hides the length of what is sent (RFC 8446 §5.4): pads each record to a multiple of so many bytes, or by as many
    zeros as the function gives for the length of the content; as far as the record's limit allows."""
    traffic_key_export: bool = False
    """Whether a connection gives its traffic keys out (`export_traffic_keys`), for kernel TLS or a capture."""
    max_handshake_message_size: int = 64 * 1024
    """Bytes, header included; a longer message is refused before it is buffered.  64 KiB, as in Rustls and Go."""
    max_records_per_key: int | None = None
    """Records after which a key is replaced by KeyUpdate; None is the cipher suite's limit (2^24 for AES-GCM)."""
    key_log: KeyLog | None = None
    """Is given every traffic secret, for debugging; see `aiotls.KeyLogFile`."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    random: Callable[[int], bytes] = os.urandom
    """Random bytes, this many."""

    suites: dict[int, Suite] = field(init=False, repr=False, compare=False)
    """The cipher suites by code point, in order of preference."""
    group_rows: dict[int, Group] = field(init=False, repr=False, compare=False)
    """The groups by code point, in order of preference."""
    schemes: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The signature schemes as code points, in order of preference."""
    schemes_cert: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The signature schemes for certificates as code points."""
    protocols: dict[bytes, str] = field(init=False, repr=False, compare=False)
    """The application protocols by their bytes, in order of preference."""
    verification: Verifier | None = field(init=False, repr=False, compare=False)
    """Our own verification; None where a peer's certificate is not to be verified by a chain."""
    compression_algorithms: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The algorithms of RFC 8879 by code point, most wanted first; empty when certificates are not compressed."""
    public_keys: frozenset[bytes] = field(init=False, repr=False, compare=False)
    """SHA-256 of the raw public keys that are trusted."""

    def __post_init__(self) -> None:
        """Check every field, and compute what depends on the config alone."""
        self._check_kinds()
        self._check_limits()
        for name, value in {**self._derive_lists(), **self._derive_trust()}.items():
            object.__setattr__(self, name, value)
        for name, value in self._derive().items():
            object.__setattr__(self, name, value)

    def _derive_lists(self) -> dict[str, object]:
        policy = self._policy()
        suites = self._codes("cipher_suites", policy.cipher_suites, policy.cipher_suites if policy.fips else SUITES)
        groups = self._codes("groups", policy.groups, policy.groups if policy.fips else GROUPS)
        signing = policy.signature_schemes if policy.fips else _SIGNING
        schemes = self._codes("signature_schemes", policy.signature_schemes, signing)
        return {
            "suites": {code: SUITES[code] for code in suites},
            "group_rows": {code: GROUPS[code] for code in groups},
            "schemes": schemes,
            "schemes_cert": self._codes("certificate_signature_schemes", tuple(SCHEMES), SCHEMES),
            "protocols": self._protocols(),
            "compression_algorithms": tuple(ALGORITHMS) if self.certificate_compression else (),
        }

    def _derive_trust(self) -> dict[str, object]:
        keys: object = self.trusted_public_keys
        usable = not isinstance(keys, bytes | str) and isinstance(keys, Collection)
        self._check("trusted_public_keys", usable, "a list of SubjectPublicKeyInfo, in DER")
        each: Collection[object] = self.trusted_public_keys
        in_der = all(isinstance(key, bytes) and key[:1] == b"0" for key in each)
        self._check("trusted_public_keys", in_der, "a list of SubjectPublicKeyInfo, in DER")
        return {"public_keys": frozenset(hashlib.sha256(key).digest() for key in self.trusted_public_keys)}

    def _derive(self) -> dict[str, object]:
        """What depends on the role as well."""
        raise NotImplementedError

    def _check(self, name: str, holds: bool, wanted: str) -> None:  # noqa: FBT001 - what it checks
        if not holds:
            msg = f"{type(self).__name__}.{name} must be {wanted}"
            raise LocalError(msg)

    def _check_type(self, name: str, kind: type, wanted: str) -> None:
        value = getattr(self, name)
        self._check(name, value is None or isinstance(value, kind), wanted)

    def _check_kinds(self) -> None:
        for name in ("verify_in_thread", "certificate_compression", "traffic_key_export"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        for name in ("clock", "random"):
            self._check(name, callable(getattr(self, name)), "a function")
        for name in ("verifier", "authorise"):
            self._check(name, getattr(self, name) is None or callable(getattr(self, name)), "a function, or None")
        log: object = self.key_log
        self._check("key_log", log is None or callable(log), "a function, such as an aiotls.KeyLogFile")
        self._check_type("crls", CRLs, "CRLs, such as aiotls.trust.revocation.CRLs.from_files('ca.crl')")

    def _check_limits(self) -> None:
        self._check_range("max_handshake_message_size", self.max_handshake_message_size, 4096, (1 << 24) - 1)
        self._check_range("max_fragment", self.max_fragment, SMALLEST_RECORD_SIZE_LIMIT, _LARGEST_RECORD)
        self._check_range("verification_cache_size", self.verification_cache_size, 0, 1 << 24)
        self._check("verification_cache_size", self.verification_cache_size != 1, "0, or 2 and more")
        self._check_seconds("verification_cache_lifetime", self.verification_cache_lifetime, 1, 24 * 3600)
        if self.record_size_limit is not None:  # RFC 8449 §4: the content type is counted
            self._check_range(
                "record_size_limit", self.record_size_limit, SMALLEST_RECORD_SIZE_LIMIT, _LARGEST_RECORD + 1
            )
        if not callable(self.record_padding):
            self._check_range("record_padding", self.record_padding, 0, _LARGEST_RECORD)
        if self.max_records_per_key is not None:  # the last record of a key is the KeyUpdate that replaces it
            self._check_range("max_records_per_key", self.max_records_per_key, 2, 1 << 63)

    def _check_range(self, name: str, value: object, least: int, most: int) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        self._check(name, whole and least <= cast("int", value) <= most, f"a whole number within {least}..{most}")

    def _check_seconds(self, name: str, value: object, least: float, most: float) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        self._check(name, number and least <= cast("float", value) <= most, f"{least} to {most} seconds")

    def _policy(self) -> Policy:
        policy: object = self.policy
        if isinstance(policy, Policy):
            return policy
        named = POLICIES.get(policy) if isinstance(policy, str) else None
        if named is None:
            msg = f"{type(self).__name__}.policy: there is no {policy!r}; there are: {', '.join(POLICIES)}"
            raise LocalError(msg)
        return named

    def _codes(self, name: str, default: Sequence[int], known: Iterable[int]) -> tuple[int, ...]:
        """The code points of a list, as plain ints; each must be one that we can do, and there must be one."""
        given = getattr(self, name)
        codes: object = default if given is None else given
        where = f"{type(self).__name__}.{name}"
        if not isinstance(codes, Sequence) or isinstance(codes, str | bytes):
            msg = f"{where} must be a list of code points, and not {codes!r}"
            raise LocalError(msg)
        supported = frozenset(known)
        for code in codes:
            if not isinstance(code, int) or code not in supported:
                msg = f"{where}: {code!r} is not supported"
                raise LocalError(msg)
        if not codes or len(set(codes)) != len(codes):
            msg = f"{where} must name at least one, and none twice"
            raise LocalError(msg)
        return tuple(map(int, codes))

    def _protocols(self) -> dict[bytes, str]:
        alpn: object = self.alpn
        where = f"{type(self).__name__}.alpn"
        if not isinstance(alpn, Sequence) or isinstance(alpn, str | bytes):
            msg = f'{where} must be a list of names, such as ("http/1.1",), and not {alpn!r}'
            raise LocalError(msg)
        protocols = {}
        for name in alpn:
            encoded = name.encode("utf-8", "ignore") if isinstance(name, str) else b""
            if not 0 < len(encoded) <= _LONGEST_PROTOCOL or encoded.decode() != name:  # RFC 7301 §3.1
                msg = f"{where}: {name!r} is not a name of 1 to {_LONGEST_PROTOCOL} bytes"
                raise LocalError(msg)
            protocols[encoded] = name
        return protocols

    def _credential_list(self) -> tuple[Credential, ...]:
        """The credentials, where they are given as such."""
        given: object = self.credentials  # type: ignore[attr-defined]  # each role has its own
        if isinstance(given, Credential):
            return (given,)
        if given is None or callable(given):
            return ()
        credentials = tuple(given) if isinstance(given, Sequence) else ()
        if {type(credential) for credential in credentials} != {Credential}:
            where = f"{type(self).__name__}.credentials"
            msg = f"{where} must be a Credential, a list of them, or a function that returns one"
            raise LocalError(msg)
        return credentials

    def _make_verifier(self, roots: Roots, **options: Any) -> Verifier:  # noqa: ANN401 - the Verifier's own
        return Verifier(
            roots,
            clock=self.clock,
            crls=self.crls,
            cache_size=self.verification_cache_size,
            cache_lifetime=self.verification_cache_lifetime,
            **options,
        )


@dataclass(frozen=True, kw_only=True)
class ServerConfig(_Config):
    """How a server negotiates; raises LocalError for a value that cannot be, naming the field."""

    credentials: Credential | Sequence[Credential] | CredentialResolver
    """What the server proves its name with: one credential; several, of which the first is the default; or a function
    of the ClientHelloInfo that returns one, or None, or an awaitable of that."""
    client_auth: ClientAuth = ClientAuth.OFF
    """Whether clients are asked for a certificate.  Where they are, no session is resumed."""
    client_roots: Roots | None = None
    """What the clients' certificates must lead to; there is no default."""
    client_authorities: bool = True
    """Whether clients are told the names of the roots, that they can choose a certificate by them."""
    select_config: "ConfigSelector | None" = None
    """Chooses another config once the ClientHello is there: virtual hosts can differ in anything."""
    fingerprint: bool = False
    """Whether the JA4 fingerprint of each ClientHello is computed, as `Negotiated.ja4`."""
    cipher_suite_preference: Preference = Preference.SERVER
    """Whose order of cipher suites decides."""
    group_preference: Preference = Preference.SERVER
    """Whose order of groups decides."""
    insist_on_preferred_group: bool = False
    """False takes the best group that the client sent a share for, and asks for another only when there is none.  True
    asks for the most wanted group that both support by HelloRetryRequest, at the price of a round trip."""
    require_server_name: bool = False
    """True refuses a client that names no server (missing_extension)."""
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

    resolve: CredentialResolver | None = field(init=False, repr=False, compare=False)
    """The resolver, where `credentials` is one."""
    credential_list: tuple[Credential, ...] = field(init=False, repr=False, compare=False)
    """The credentials, where they are given as such."""
    encrypted_extensions: dict[tuple[bool, bytes | None], bytes] = field(init=False, repr=False, compare=False)
    """The EncryptedExtensions by what they answer: whether a server was named, and the application protocol."""
    server_hellos: dict[tuple[int, int], ServerHelloTemplate] = field(init=False, repr=False, compare=False)
    """The ServerHellos by cipher suite and group."""
    certificate_request: bytes | None = field(init=False, repr=False, compare=False)
    """The encoded CertificateRequest; None when clients are not asked."""
    scope: bytes = field(init=False, repr=False, compare=False)
    """What a session is bound to: a digest of the lists above, and of the certificates where they are known.  A session
    of another scope is not resumed, even if the ticket keys are the same."""
    sealing_keys: TicketKeys | None = field(init=False, repr=False, compare=False)
    """What seals the tickets; None when there are none."""
    session_size: int = field(init=False, repr=False, compare=False)
    """Bytes to which a session is filled up before it is sealed, that all tickets have one length."""

    def _derive(self) -> dict[str, object]:
        given: object = self.credentials
        self._check("credentials", given is not None, "a Credential, a list of them, or a function that returns one")
        credentials = self._credential_list()
        lists = (tuple(self.suites), tuple(self.group_rows), self.schemes)
        return {
            "resolve": None if credentials else given,
            "credential_list": credentials,
            "encrypted_extensions": _encrypted_extensions(self.protocols),
            "server_hellos": {
                (suite, group): ServerHelloTemplate(suite, group, row.server_share_length)
                for suite in self.suites
                for group, row in self.group_rows.items()
            },
            "verification": self._verification(),
            "certificate_request": self._certificate_request(),
            "scope": _scope(lists, self.protocols, credentials, self.require_server_name),
            "sealing_keys": self._sealing_keys(),
            "session_size": usual_size(max(map(len, self.protocols), default=0)),
        }

    def _verification(self) -> Verifier | None:
        if self.client_roots is None or self.verifier is not None:
            unused = self.crls is None and self.client_roots is None
            self._check("client_roots", unused, "None, as must crls, where something else verifies, or nothing does")
            return None
        return self._make_verifier(self.client_roots)

    def _certificate_request(self) -> bytes | None:
        if self.client_auth is ClientAuth.OFF:
            unused = self.client_roots is None and self.verifier is None and not self.public_keys
            self._check("client_auth", unused, "OPTIONAL or REQUIRED where there is something to verify clients by")
            return None
        known = self.client_roots is not None or self.verifier is not None or bool(self.public_keys)
        self._check("client_roots", known, "given with client_auth, or a verifier, or trusted_public_keys")
        subjects = self.client_roots.subjects if self.client_roots is not None and self.client_authorities else ()
        return CertificateRequest(
            signature_algorithms=self.schemes,
            signature_algorithms_cert=self.schemes_cert,
            certificate_authorities=subjects or None,
            compress_certificate=self.compression_algorithms or None,
        ).encode()

    def _check_kinds(self) -> None:
        super()._check_kinds()
        for name in ("cipher_suite_preference", "group_preference"):
            self._check(name, isinstance(getattr(self, name), Preference), "Preference.SERVER or Preference.CLIENT")
        for name in ("insist_on_preferred_group", "require_server_name", "client_authorities", "fingerprint"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        self._check("client_auth", isinstance(self.client_auth, ClientAuth), "ClientAuth.OFF, OPTIONAL or REQUIRED")
        self._check_type("client_roots", Roots, "Roots, such as Roots.from_file('ca.pem')")
        selector: object = self.select_config
        self._check("select_config", selector is None or callable(selector), "a function, or None")
        keys: object = self.ticket_keys
        self._check(
            "ticket_keys", keys is None or isinstance(keys, TicketKeys), "TicketKeys, such as TicketKeys.rotating()"
        )

    def _check_limits(self) -> None:
        super()._check_limits()
        self._check_range("max_early_data_skipped", self.max_early_data_skipped, 0, 1 << 31)
        self._check_range("tickets", self.tickets, 0, 8)
        self._check_seconds("session_lifetime", self.session_lifetime, 1, LONGEST_LIFETIME)  # RFC 8446 §4.6.1

    def _sealing_keys(self) -> TicketKeys | None:
        # A ticket does not hold who the client is, and so a resumed client could not be authorised.
        if not self.tickets or self.client_auth is not ClientAuth.OFF:
            return None
        return self.ticket_keys or TicketKeys.rotating(clock=self.clock, random=self.random)


@dataclass(frozen=True, kw_only=True)
class ClientConfig(_Config):
    """How a client negotiates; raises LocalError for a value that cannot be, naming the field.

    A server is verified by its certificate chain, up to *roots* (the system's by default), and by the name that the
    connection is for.  Only a `verifier` of the program's own, or `trusted_public_keys`, replaces that.
    """

    roots: Roots | None = None
    """What a server's certificate must lead to; None takes the system's."""
    pins: Collection[bytes] = ()
    """SHA-256 digests of SubjectPublicKeyInfo, one of which must be in a server's verified chain; none pins nothing."""
    require_staple: bool = False
    """True refuses a server that staples no OCSP response; one that is stapled is always checked."""
    credentials: Credential | Sequence[Credential] | ClientCredentialResolver | None = None
    """What the client proves itself with if it is asked: one credential; several; or a function of the
    CertificateRequestInfo that returns one, or None, or an awaitable of that."""
    key_shares: Sequence[NamedGroup] | None = None
    """The groups that the ClientHello holds a share for, which may be none; None takes the most wanted group, and if
    that is a hybrid, the most wanted of the others beside it."""
    send_server_name: bool = True
    """Whether the server is told which name is wanted (RFC 6066 §3); an IP address never is."""
    grease: bool = False
    """Whether the ClientHello holds reserved values at random (RFC 8701), so that servers stay tolerant."""

    resolve: ClientCredentialResolver | None = field(init=False, repr=False, compare=False)
    """The resolver, where `credentials` is one."""
    credential_list: tuple[Credential, ...] = field(init=False, repr=False, compare=False)
    """The credentials, where they are given as such."""
    predicted_groups: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The groups that the ClientHello holds a share for."""
    versions: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The protocol versions, most wanted first."""
    server_certificate_types: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """What we can verify, if it is not certificates alone (RFC 7250 §4.1); else empty."""
    client_certificate_types: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """What we can show, if it is not certificates alone (RFC 7250 §4.1); else empty."""
    client_extensions: dict[int, bytes] = field(init=False, repr=False, compare=False)
    """The extensions of every ClientHello, encoded: all but its key shares and the server's name."""

    def _derive(self) -> dict[str, object]:
        credentials = self._credential_list()
        verification = self._verification()
        certificates = verification is not None or self.verifier is not None
        verifiable = (CertificateType.raw_public_key, *((CertificateType.x509,) if certificates else ()))
        showable = tuple(dict.fromkeys(credential.certificate_type for credential in credentials))
        derived: dict[str, object] = {
            "resolve": None if credentials else self.credentials,
            "credential_list": credentials,
            "predicted_groups": self._predicted_groups(),
            "verification": verification,
            "versions": (int(ProtocolVersion.TLSv1_3),),
            "server_certificate_types": verifiable if self.public_keys else (),
            "client_certificate_types": showable if CertificateType.raw_public_key in showable else (),
        }
        return {**derived, "client_extensions": self._client_extensions(derived)}

    def _client_extensions(self, derived: Mapping[str, object]) -> dict[int, bytes]:
        values: dict[ExtensionType, object] = {
            ExtensionType.supported_groups: tuple(self.group_rows),
            ExtensionType.signature_algorithms: self.schemes,
            ExtensionType.signature_algorithms_cert: self.schemes_cert,
            ExtensionType.application_layer_protocol_negotiation: tuple(self.protocols),
            ExtensionType.supported_versions: derived["versions"],
            ExtensionType.status_request: derived["verification"] is not None,
            ExtensionType.compress_certificate: self.compression_algorithms,
            ExtensionType.record_size_limit: self.record_size_limit,
            ExtensionType.server_certificate_type: derived["server_certificate_types"],
            ExtensionType.client_certificate_type: derived["client_certificate_types"],
        }
        return {int(code): serialise_extension(code, Carrier.CH, value) for code, value in values.items() if value}

    def _verification(self) -> Verifier | None:
        pins = frozenset(self.pins)
        if self.verifier is not None or (self.public_keys and self.roots is None):
            unused = self.roots is None and not pins and self.crls is None and not self.require_staple
            self._check("roots", unused, "None, as must pins, crls and require_staple, where something else verifies")
            return None
        roots = Roots.system() if self.roots is None else self.roots
        return self._make_verifier(roots, pins=pins, require_staple=self.require_staple)

    def _predicted_groups(self) -> tuple[int, ...]:
        if self.key_shares is not None:
            none = isinstance(self.key_shares, list | tuple) and not self.key_shares
            return () if none else self._codes("key_shares", (), self.group_rows)
        first, *others = self.group_rows.values()
        classical = (group for group in others if not group.hybrid)
        return tuple(int(group.code) for group in (first, next(classical, None) if first.hybrid else None) if group)

    def _check_kinds(self) -> None:
        super()._check_kinds()
        for name in ("require_staple", "send_server_name", "grease"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        self._check_type("roots", Roots, "Roots, such as Roots.from_file('ca.pem')")
        pins: object = self.pins
        usable = isinstance(pins, Collection) and not isinstance(pins, bytes | str)
        wanted = f"a list of digests of {_PUBLIC_KEY_DIGEST} bytes"
        self._check("pins", usable, wanted)
        each: Collection[object] = self.pins
        self._check("pins", all(isinstance(pin, bytes) and len(pin) == _PUBLIC_KEY_DIGEST for pin in each), wanted)


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
