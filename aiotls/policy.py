"""Named preference lists: which versions, cipher suites, groups and signature schemes, most wanted first.

A policy is a starting point; a config may replace any of its lists.
"""

from dataclasses import dataclass

from aiotls.crypto.groups import GROUPS
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import SUITES
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme

__all__ = ["DEFAULT", "POLICIES", "Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What we are willing to negotiate, in our order of preference."""

    name: str
    versions: tuple[ProtocolVersion, ...]
    cipher_suites: tuple[CipherSuite, ...]
    groups: tuple[NamedGroup, ...]
    signature_schemes: tuple[SignatureScheme, ...]


DEFAULT = Policy(
    name="default",
    versions=(ProtocolVersion.TLSv1_3,),
    # AES-128-GCM first: with AES in hardware it is the cheapest, and no weaker in practice.
    cipher_suites=tuple(suite.code for suite in SUITES.values()),
    # Post-quantum first: what is recorded today may be read later.
    groups=tuple(group.code for group in GROUPS.values()),
    signature_schemes=tuple(scheme.code for scheme in SCHEMES.values() if scheme.handshake13),
)
"""TLS 1.3, everything that we have, post-quantum first."""

POLICIES = {policy.name: policy for policy in (DEFAULT,)}
"""The policies by name."""
