"""Named preference lists: which versions, cipher suites, groups and signature schemes, most wanted first.

A policy is a starting point; a config may replace any of its lists.

Each of them puts post-quantum key exchange first, for what is recorded today may be read later.
"""

from dataclasses import dataclass

from aiotls.crypto.fips import fips_mode, module_version
from aiotls.crypto.groups import GROUPS
from aiotls.crypto.signatures import SCHEMES
from aiotls.crypto.suites import SUITES
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme

__all__ = ["DEFAULT", "FIPS", "MODERN", "POLICIES", "Policy", "fips_mode"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What we are willing to negotiate, in our order of preference."""

    name: str
    versions: tuple[ProtocolVersion, ...]
    cipher_suites: tuple[CipherSuite, ...]
    groups: tuple[NamedGroup, ...]
    signature_schemes: tuple[SignatureScheme, ...]
    fips: bool = False
    """Whether approved algorithms only are the purpose; then the description tells of the modules that compute them."""

    def describe(self) -> str:
        """What the policy holds, for people: one line for each list.

        That of a FIPS policy says as well whether the underlying modules are in FIPS mode now, for approved algorithms
        alone do not make a validated module.
        """
        lists = {
            "versions": self.versions,
            "cipher suites": self.cipher_suites,
            "groups": self.groups,
            "signature schemes": self.signature_schemes,
        }
        lines = [f"policy {self.name}"]
        lines += [f"{title}: {', '.join(code.name for code in codes)}" for title, codes in lists.items()]
        if self.fips:
            lines.append(f"FIPS mode: {'on' if fips_mode() else 'off'} ({module_version()})")
        return "\n".join(lines)

    def __str__(self) -> str:
        """The description."""
        return self.describe()


_HANDSHAKE_SCHEMES = tuple(scheme.code for scheme in SCHEMES.values() if scheme.handshake13)

DEFAULT = Policy(
    name="default",
    versions=(ProtocolVersion.TLSv1_3,),
    # AES-128-GCM first: with AES in hardware it is the cheapest, and no weaker in practice.
    cipher_suites=tuple(suite.code for suite in SUITES.values()),
    groups=tuple(group.code for group in GROUPS.values()),
    signature_schemes=_HANDSHAKE_SCHEMES,
)
"""TLS 1.3, everything that we have, post-quantum first."""

MODERN = Policy(
    name="modern",
    versions=(ProtocolVersion.TLSv1_3,),
    # 256-bit keys first: a search by Grover's algorithm halves the bits of a key.
    cipher_suites=(
        CipherSuite.TLS_AES_256_GCM_SHA384,
        CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
        CipherSuite.TLS_AES_128_GCM_SHA256,
    ),
    groups=(
        NamedGroup.X25519MLKEM768,
        NamedGroup.SecP256r1MLKEM768,
        NamedGroup.x25519,
        NamedGroup.secp256r1,
        NamedGroup.secp384r1,
    ),
    signature_schemes=_HANDSHAKE_SCHEMES,
)
"""TLS 1.3 and nothing older, 256-bit keys and post-quantum first."""

FIPS = Policy(
    name="fips",
    versions=(ProtocolVersion.TLSv1_3,),
    # AES-GCM is in SP 800-38D; ChaCha20-Poly1305 is in no publication of NIST's.
    cipher_suites=(CipherSuite.TLS_AES_256_GCM_SHA384, CipherSuite.TLS_AES_128_GCM_SHA256),
    # ECDH over the NIST curves is in SP 800-56A, ML-KEM in FIPS 203.  X25519 is in neither.  X25519MLKEM768 could be
    # argued for by its other half (SP 800-56C), but here both halves need no argument.
    groups=(NamedGroup.SecP256r1MLKEM768, NamedGroup.secp256r1, NamedGroup.secp384r1),
    # FIPS 186-5: ECDSA over the NIST curves, RSA-PSS with 2048 bits and more (no policy takes fewer), and Ed25519.  A
    # module validated for FIPS 186-4 only lacks the last, but it is older than ML-KEM, and so than what we stand on.
    signature_schemes=(
        SignatureScheme.ecdsa_secp256r1_sha256,
        SignatureScheme.ecdsa_secp384r1_sha384,
        SignatureScheme.ecdsa_secp521r1_sha512,
        SignatureScheme.ed25519,
        SignatureScheme.rsa_pss_rsae_sha256,
        SignatureScheme.rsa_pss_rsae_sha384,
        SignatureScheme.rsa_pss_rsae_sha512,
        SignatureScheme.rsa_pss_pss_sha256,
        SignatureScheme.rsa_pss_pss_sha384,
        SignatureScheme.rsa_pss_pss_sha512,
    ),
    fips=True,
)
"""TLS 1.3 with algorithms approved by NIST only.

Whether validated modules compute them is not for a policy to say, but for `fips_mode`; and HKDF, of which the key
schedule is made, is put together in this package out of their SHA-2.
"""

POLICIES = {policy.name: policy for policy in (DEFAULT, MODERN, FIPS)}
"""The policies by name."""
