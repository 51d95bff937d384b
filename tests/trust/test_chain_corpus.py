"""A corpus of chains, each judged by `ssl` and by us: we agree, or the case says why not, and then we must differ.

`ssl` judges by a real handshake in memory, with the flag X509_V_FLAG_PARTIAL_CHAIN, as `create_default_context` sets it
since Python 3.13, and without X509_V_FLAG_X509_STRICT.
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aiotls.errors import CertificateError
from aiotls.trust.names import ServerName
from aiotls.trust.roots import Roots
from aiotls.trust.verify import Verifier
from tests.trust.chains import (
    ANY,
    CERTIFY,
    CLIENT,
    DAY,
    ECDSA_SHA1,
    FUTURE,
    INTERMEDIATE,
    NAME,
    NOW,
    OTHER_ROOT,
    PAST,
    PEER,
    ROOT,
    SERVER,
    SHA1,
    authority,
    directory,
    issue,
    key_of,
    leaf,
    network,
    of_version_1,
    rsa_key,
    signed_anew,
)
from tests.trust.statements import Extensions, Party, new_key, usage

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


@dataclass(frozen=True)
class Chain:
    """What a peer sends, and what its verifier knows."""

    sent: Sequence[Party]
    trusted: Sequence[Party] = (ROOT,)
    name: str = NAME
    accepted: bool = True
    why_we_differ: str = ""
    """Why `ssl` judges otherwise than we do; empty where it must agree."""
    client: bool = False

    @property
    def roots(self) -> Roots:
        return Roots.from_bytes(*(party.certificate.public_bytes(Encoding.DER) for party in self.trusted))


CASES: dict[str, Callable[[], Chain]] = {}


def case(make: Callable[[], Chain]) -> Callable[[], Chain]:
    CASES[make.__name__] = make
    return make


def table(prefix: str, chains: dict[str, Callable[[], Chain]]) -> None:
    CASES.update({f"{prefix}_{name}": make for name, make in chains.items()})


def below(issuer: Party = ROOT, *, accepted: bool = True, why: str = "", name: str = NAME, **fields: Any) -> Chain:
    """A leaf that *issuer* has issued, alone."""
    sent = [leaf(issuer, **fields)]
    return Chain(sent, name=name, accepted=accepted, why_we_differ=why)


def under(intermediate: Party, *, accepted: bool = True, why: str = "", name: str = NAME, **fields: Any) -> Chain:
    """A leaf, and the intermediate authority that has issued it."""
    sent = [leaf(intermediate, **fields), intermediate]
    return Chain(sent, name=name, accepted=accepted, why_we_differ=why)


def rooted(root: Party, *, accepted: bool = True, why: str = "") -> Chain:
    return Chain([leaf(root)], trusted=[root], accepted=accepted, why_we_differ=why)


def ladder(rungs: int) -> list[Party]:
    """A leaf with so many authorities between it and the root."""
    parties = [ROOT]
    for at in range(rungs):
        parties.append(authority(f"rung {at}", parties[-1]))
    return [leaf(parties[-1]), *reversed(parties[1:])]


def junk(count: int) -> list[Party]:
    return [issue(f"junk {at}", OTHER_ROOT) for at in range(count)]


def refused(sent: Sequence[Party], trusted: Sequence[Party] = (ROOT,), why: str = "") -> Chain:
    return Chain(sent, trusted, accepted=False, why_we_differ=why)


# What is sent, and in which order

table(
    "sent",
    {
        "leaf_alone": below,
        "leaf_and_intermediate": lambda: Chain([PEER, INTERMEDIATE]),
        "leaf_and_intermediate_and_root": lambda: Chain([PEER, INTERMEDIATE, ROOT]),
        "intermediates_in_wrong_order": lambda: Chain([*(chain := ladder(3))[:1], *reversed(chain[1:])]),
        "an_unrelated_certificate_too": lambda: Chain([PEER, OTHER_ROOT, INTERMEDIATE]),
        "the_intermediate_twice": lambda: Chain([PEER, INTERMEDIATE, INTERMEDIATE]),
        "no_intermediate": lambda: refused([PEER]),
        "a_leaf_of_a_root_that_is_not_trusted": lambda: refused([leaf(OTHER_ROOT), OTHER_ROOT]),
        "eight_intermediates": lambda: Chain(ladder(8)),
        "nine_intermediates": lambda: refused(ladder(9), why="we follow eight intermediates, OpenSSL a hundred"),
        "sixteen_certificates": lambda: Chain([PEER, INTERMEDIATE, *junk(14)]),
        "seventeen_certificates": lambda: refused(
            [PEER, INTERMEDIATE, *junk(15)], why="we read sixteen certificates, OpenSSL what fits in 100 KB"
        ),
    },
)


@case
def sent_cross_signed_intermediate_with_unknown_root() -> Chain:
    key = new_key()
    ours, theirs = authority("bridge", ROOT, key=key), authority("bridge", OTHER_ROOT, key=key)
    return Chain([leaf(ours), ours, theirs])


@case
def sent_cross_signed_intermediate_with_unknown_root_first() -> Chain:
    key = new_key()
    ours, theirs = authority("bridge", ROOT, key=key), authority("bridge", OTHER_ROOT, key=key)
    why = "both ways up are tried; OpenSSL follows the first of what is sent, and does not come back"
    return Chain([leaf(ours), theirs, ours], why_we_differ=why)


@case
def sent_intermediates_that_signed_each_other() -> Chain:
    first = authority("first of a loop")
    second = authority("second of a loop", first)
    back = authority("first of a loop", second, key=first.key)
    return refused([leaf(back), back, second])


@case
def sent_expired_intermediate_beside_a_valid_one() -> Chain:
    key = new_key()
    old = authority("renewed", ROOT, key=key, since=NOW - 9 * DAY, until=NOW - DAY)
    new = authority("renewed", ROOT, key=key)
    return Chain([leaf(new), old, new])


@case
def sent_root_of_same_name_and_another_key() -> Chain:
    return refused([leaf(ROOT)], [authority("test root")])


# Dates

table(
    "date",
    {
        "expired_leaf": lambda: below(accepted=False, **PAST),
        "leaf_not_yet_valid": lambda: below(accepted=False, **FUTURE),
        "expired_intermediate": lambda: under(authority("old", ROOT, **PAST), accepted=False),
        "intermediate_not_yet_valid": lambda: under(authority("new", ROOT, **FUTURE), accepted=False),
        "expired_root": lambda: rooted(authority("old", **PAST), accepted=False),
        "leaf_of_a_hundred_years": lambda: below(until=NOW + 36500 * DAY),
    },
)

# Names

table(
    "name",
    {
        "other": lambda: below(names=["other.example.test"], accepted=False),
        "second_of_three": lambda: below(names=["a.test", NAME, "b.test"]),
        "in_upper_case": lambda: below(names=["WWW.Example.TEST"]),
        "wildcard": lambda: below(names=["*.example.test"]),
        "wildcard_for_two_labels": lambda: below(names=["*.test"], accepted=False),
        "wildcard_for_the_domain_itself": lambda: below(names=["*.www.example.test"], accepted=False),
        "wildcard_below_top_level": lambda: below(names=["*.test"], name="example.test", accepted=False),
        "wildcard_for_all": lambda: below(names=["*"], name="localhost", accepted=False),
        "wildcard_within_label": lambda: below(names=["w*.example.test"], accepted=False),
        "wildcard_in_the_middle": lambda: below(names=["www.*.test"], accepted=False),
        "localhost": lambda: below(names=["localhost"], name="localhost"),
        "only_in_common_name": lambda: below(
            names=[], subject=NAME, accepted=False, why="RFC 9525 §6.1: we never look at the common name"
        ),
        "in_common_name_beside_another": lambda: below(names=["other.test"], subject=NAME, accepted=False),
        "none": lambda: below(names=[], accepted=False),
        "as_uri": lambda: below(names=[f"uri:https://{NAME}/"], accepted=False),
        "beside_one_with_underscore": lambda: below(names=["a_b.example.test", NAME]),
        "with_trailing_dot": lambda: below(names=[f"{NAME}."], accepted=False),
        "ipv4": lambda: below(names=["192.0.2.7"], name="192.0.2.7"),
        "ipv6": lambda: below(names=["2001:db8::7"], name="2001:db8::7"),
        "other_ip": lambda: below(names=["192.0.2.8"], name="192.0.2.7", accepted=False),
        "ip_for_dns_name": lambda: below(names=["192.0.2.7"], accepted=False),
        "critical": lambda: below(critical_names=True),
        "critical_and_no_subject": lambda: below(critical_names=True, subject=x509.Name([])),
        "not_critical_and_no_subject": lambda: below(subject=x509.Name([])),
    },
)


@case
def name_is_ip_that_stands_as_dns_name() -> Chain:
    name = x509.SubjectAlternativeName([x509.DNSName("192.0.2.7")])
    return Chain([issue("peer", ROOT, [(name, False)])], name="192.0.2.7", accepted=False)


# Trusted without a root above

SELF_SIGNED = leaf(None)
LIKE_OPENSSL_REQ = leaf(
    None, purposes=None, key_usage=None, extra=[(x509.BasicConstraints(ca=True, path_length=None), True)]
)
table(
    "anchor",
    {
        "is_self_signed_leaf": lambda: Chain([SELF_SIGNED], [SELF_SIGNED]),
        "is_leaf_of_openssl_req": lambda: Chain([LIKE_OPENSSL_REQ], [LIKE_OPENSSL_REQ]),
        "is_issued_leaf": lambda: Chain([PEER], [PEER]),
        "is_intermediate": lambda: Chain([PEER], [INTERMEDIATE]),
        "is_intermediate_that_is_sent": lambda: Chain([PEER, INTERMEDIATE], [INTERMEDIATE]),
        "is_expired_leaf": lambda: refused([old := leaf(None, **PAST)], [old]),
        "is_another_self_signed_leaf": lambda: refused([leaf(None)], [SELF_SIGNED]),
        "is_not_the_self_signed_leaf": lambda: refused([SELF_SIGNED]),
    },
)

# What the leaf is for

table(
    "purpose",
    {
        "server": lambda: below(purposes=[SERVER]),
        "client": lambda: below(purposes=[CLIENT], accepted=False),
        "not_told": lambda: below(purposes=None),
        "critical": lambda: below(critical_purposes=True),
        "any": lambda: below(
            purposes=[ANY], why="RFC 5280 §4.2.1.12: any purpose includes ours; OpenSSL wants it by name"
        ),
        "code_signing": lambda: below(purposes=[x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")], accepted=False),
    },
)
NO_SIGNATURE = "RFC 8446 §4.4.2.2: the key must be for signatures; OpenSSL takes what RSA key exchange needed"
table(
    "usage",
    {
        "not_told": lambda: below(key_usage=None),
        "of_rsa_key_exchange_too": lambda: below(key_usage=usage(digital_signature=True, key_encipherment=True)),
        "of_rsa_key_exchange": lambda: below(
            key_usage=usage(key_encipherment=True), accepted=False, why=NO_SIGNATURE, key=rsa_key(2048)
        ),
        "of_certifying_only": lambda: below(key_usage=CERTIFY, accepted=False),
        "of_certifying_and_signing": lambda: below(key_usage=usage(digital_signature=True, key_cert_sign=True)),
    },
)

# What an authority may do

NOT_CA = x509.BasicConstraints(ca=False, path_length=None)
table(
    "authority",
    {
        "is_none": lambda: under(authority("i", ROOT, constraints=NOT_CA), accepted=False),
        "is_another_leaf": lambda: under(leaf(ROOT), accepted=False),
        "does_not_certify": lambda: under(authority("i", ROOT, key_usage=usage(crl_sign=True)), accepted=False),
        "without_key_usage": lambda: under(authority("i", ROOT, key_usage=None)),
        "with_nothing_critical": lambda: under(authority("i", ROOT, critical=False)),
        "root_is_none": lambda: rooted(authority("r", constraints=NOT_CA), accepted=False),
        "root_without_key_usage": lambda: rooted(authority("r", key_usage=None)),
        "root_with_nothing_critical": lambda: rooted(authority("r", critical=False)),
        "root_does_not_certify": lambda: rooted(authority("r", key_usage=usage(crl_sign=True)), accepted=False),
        "root_without_constraints": lambda: rooted(issue("r", None), accepted=False),
        "root_of_version_1": lambda: rooted(
            of_version_1(authority("r")), accepted=False, why="RFC 5280 §6.1.4 (k); OpenSSL takes such a root"
        ),
        "for_servers": lambda: under(with_purposes(SERVER)),
        "for_clients": lambda: under(with_purposes(CLIENT), accepted=False),
        "for_any_purpose": lambda: under(
            with_purposes(ANY), why="RFC 5280 §4.2.1.12: any purpose includes ours; OpenSSL wants it by name"
        ),
    },
)


def with_purposes(*purposes: x509.ObjectIdentifier) -> Party:
    return authority("i", ROOT, extra=[(x509.ExtendedKeyUsage(purposes), False)])


@case
def path_length_of_root_is_kept() -> Chain:
    root = authority("r", path_length=1)
    intermediate = authority("i", root, path_length=0)
    return Chain([leaf(intermediate), intermediate], [root])


@case
def path_length_of_root_is_exceeded() -> Chain:
    root = authority("r", path_length=0)
    intermediate = authority("i", root)
    return refused([leaf(intermediate), intermediate], [root])


@case
def path_length_of_intermediate_is_exceeded() -> Chain:
    first = authority("i", ROOT, path_length=0)
    second = authority("j", first)
    return refused([leaf(second), second, first])


@case
def path_length_with_self_issued_intermediate() -> Chain:
    first = authority("i", ROOT, path_length=0)
    renewed = authority("i", first)
    why = "RFC 5280 §6.1.4 (l) does not count self-issued certificates; `cryptography` counts all, which is stricter"
    return refused([leaf(renewed), renewed, first], why=why)


# Name constraints

OURS = x509.DNSName("example.test")
COMPANY = x509.DirectoryName(directory("peer", organisation="Company"))


NO_DIRECTORIES = "`cryptography` refuses critical constraints on directory names, as it does not evaluate them"


def constrained(extra: Extensions) -> Party:
    return authority("i", ROOT, extra=extra)


def permitting(*names: x509.GeneralName, critical: bool = True) -> Party:
    return constrained([(x509.NameConstraints(names, None), critical)])


def excluding(*names: x509.GeneralName, critical: bool = True) -> Party:
    return constrained([(x509.NameConstraints(None, names), critical)])


table(
    "constraint",
    {
        "permits_dns": lambda: under(permitting(OURS)),
        "permits_other_dns": lambda: under(permitting(x509.DNSName("other.test")), accepted=False),
        "permits_similar_dns": lambda: under(permitting(x509.DNSName("ple.test")), accepted=False),
        "permits_one_of_two_names": lambda: under(permitting(OURS), names=[NAME, "other.test"], accepted=False),
        "excludes_dns": lambda: under(excluding(OURS), accepted=False),
        "excludes_other_dns": lambda: under(excluding(x509.DNSName("other.test"))),
        "excludes_what_a_wildcard_covers": lambda: under(
            excluding(x509.DNSName("bad.example.test")),
            names=["*.example.test"],
            accepted=False,
            why="`cryptography` refuses a wildcard that overlaps with what is excluded; OpenSSL compares it as a text",
        ),
        "permits_ip": lambda: under(permitting(network("192.0.2.0/24")), names=["192.0.2.7"], name="192.0.2.7"),
        "permits_other_ip": lambda: under(
            permitting(network("198.51.100.0/24")), names=["192.0.2.7"], name="192.0.2.7", accepted=False
        ),
        "excludes_ip": lambda: under(
            excluding(network("192.0.2.0/24")), names=["192.0.2.7"], name="192.0.2.7", accepted=False
        ),
        "permits_ip_for_dns": lambda: under(permitting(network("192.0.2.0/24"))),
        "permits_subject": lambda: under(permitting(COMPANY, critical=False), subject=COMPANY.value),
        "permits_other_subject": lambda: under(permitting(COMPANY, critical=False), accepted=False),
        "excludes_subject": lambda: under(excluding(COMPANY, critical=False), subject=COMPANY.value, accepted=False),
        "excludes_subject_in_other_case": lambda: under(
            excluding(COMPANY, critical=False),
            subject=directory("PEER", organisation="COMPANY"),
            accepted=False,
        ),
        "excludes_other_subject": lambda: under(excluding(COMPANY, critical=False)),
        "permits_subject_and_is_critical": lambda: under(
            permitting(COMPANY), subject=COMPANY.value, accepted=False, why=NO_DIRECTORIES
        ),
        "excludes_other_subject_and_is_critical": lambda: under(excluding(COMPANY), accepted=False, why=NO_DIRECTORIES),
        "excludes_mailbox_in_subject": lambda: under(
            excluding(x509.RFC822Name("example.test")), subject=directory("p", email="a@example.test"), accepted=False
        ),
    },
)

# Keys and signatures

table(
    "key",
    {
        "rsa_2048": lambda: below(key=rsa_key(2048)),
        "rsa_1024": lambda: below(key=rsa_key(1024), accepted=False),
        "p384": lambda: below(key=ec.generate_private_key(ec.SECP384R1())),
        "p521": lambda: below(key=ec.generate_private_key(ec.SECP521R1())),
        "ed25519": lambda: below(key=ed25519.Ed25519PrivateKey.generate()),
        "secp256k1": lambda: below(key=ec.generate_private_key(ec.SECP256K1()), accepted=False),
        "rsa_2048_of_authority": lambda: under(authority("i", ROOT, key=rsa_key(2048))),
        "rsa_1024_of_authority": lambda: under(authority("i", ROOT, key=rsa_key(1024)), accepted=False),
        "p384_of_authority": lambda: under(authority("i", ROOT, key=ec.generate_private_key(ec.SECP384R1()))),
        "ed25519_of_authority": lambda: under(
            authority("i", ROOT, key=ed25519.Ed25519PrivateKey.generate()),
            accepted=False,
            why="`cryptography` takes no Ed25519 signature in a chain, as the CA/Browser Forum does not",
        ),
        "secp256k1_of_authority": lambda: under(
            authority("i", ROOT, key=ec.generate_private_key(ec.SECP256K1())),
            accepted=False,
            why="RFC 8422 §5.1.1 has left this curve out, and so have we; OpenSSL takes it in chains",
        ),
    },
)
table(
    "signature",
    {
        "by_another_key": lambda: refused([signed_anew(leaf(ROOT), new_key())]),
        "of_intermediate_by_another_key": lambda: refused([PEER, signed_anew(INTERMEDIATE, new_key())]),
        "sha1": lambda: refused([signed_anew(leaf(ROOT), key_of(ROOT), ECDSA_SHA1, SHA1)]),
        "sha1_of_intermediate": lambda: refused([PEER, signed_anew(INTERMEDIATE, key_of(ROOT), ECDSA_SHA1, SHA1)]),
        "sha1_of_root": lambda: rooted(signed_anew(old := authority("r"), key_of(old), ECDSA_SHA1, SHA1)),
        "sha512_with_p256": lambda: below(digest=hashes.SHA512()),
        "rsa_pss": lambda: under(authority("i", ROOT, key=rsa_key(2048)), pss=True),
    },
)


# Other extensions

POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), None)])
table(
    "extension",
    {
        "unknown": lambda: below(extra=[(UNKNOWN, False)]),
        "unknown_and_critical": lambda: below(extra=[(UNKNOWN, True)], accepted=False),
        "unknown_and_critical_of_intermediate": lambda: under(constrained([(UNKNOWN, True)]), accepted=False),
        "no_key_identifiers": lambda: below(aki=None, ski=False),
        "key_identifier_of_another_issuer": lambda: below(
            aki=b"another",
            why="RFC 5280 §4.2.1.1: it helps to find the issuer, who has signed; OpenSSL goes by it alone",
        ),
        "critical_policies": lambda: under(constrained([(POLICIES, True)]), extra=[(POLICIES, True)]),
        "critical_inhibit_any_policy": lambda: under(constrained([(x509.InhibitAnyPolicy(0), True)])),
        "critical_policy_constraints": lambda: under(
            constrained([(x509.PolicyConstraints(0, None), True)]),
            accepted=False,
            why="RFC 5280 §4.2.1.11: it wants policies checked, which neither does; OpenSSL goes on all the same",
        ),
        "must_staple_without_staple": lambda: below(
            extra=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)],
            accepted=False,
            why="RFC 7633 §4: the certificate promises a stapled response; OpenSSL does not know the extension",
        ),
    },
)

# Clients

table(
    "client",
    {
        "with_both_purposes": lambda: Chain([PEER, INTERMEDIATE], client=True),
        "with_subject_alone": lambda: Chain([leaf(ROOT, [])], client=True),
        "with_mailbox": lambda: Chain([leaf(ROOT, ["mail:a@example.test"])], client=True),
        "for_clients": lambda: Chain([leaf(ROOT, purposes=[CLIENT])], client=True),
        "for_servers": lambda: Chain([leaf(ROOT, purposes=[SERVER])], client=True, accepted=False),
        "without_purpose": lambda: Chain([leaf(ROOT, purposes=None)], client=True),
        "expired": lambda: Chain([leaf(ROOT, **PAST)], client=True, accepted=False),
        "of_another_root": lambda: Chain([leaf(OTHER_ROOT)], client=True, accepted=False),
        "self_signed_and_trusted": lambda: Chain([SELF_SIGNED], [SELF_SIGNED], client=True),
        "of_authority_for_servers": lambda: Chain(
            [leaf(only := with_purposes(SERVER)), only], client=True, accepted=False
        ),
        "with_subject_not_permitted": lambda: Chain(
            [leaf(narrow := permitting(COMPANY, critical=False), []), narrow], client=True, accepted=False
        ),
        "with_subject_permitted": lambda: Chain(
            [leaf(narrow := permitting(COMPANY, critical=False), [], subject=COMPANY.value), narrow], client=True
        ),
    },
)


# The two judges


def judged_by_us(chain: Chain) -> bool:
    verifier = Verifier(chain.roots, cache_size=0)
    sent = [party.certificate.public_bytes(Encoding.DER) for party in chain.sent]
    try:
        if chain.client:
            verifier.verify_client(sent)
        else:
            verifier.verify_server(sent, ServerName.of(chain.name))
    except CertificateError:
        return False
    return True


def pump(*ends: tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]) -> Iterator[Exception]:
    """Shake hands until nothing moves any more; yields what each end fails with."""
    failed: set[int] = set()
    for _ in range(8):
        for at, (tls, _, outgoing) in enumerate(ends):
            if at in failed:
                continue
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                failed.add(at)
                yield error
            ends[1 - at][1].write(outgoing.read())
    # In TLS 1.3 the client is done before the server has judged it.
    for tls, _, _ in ends:
        try:
            tls.read(1)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            yield error


def judged_by_ssl(chain: Chain, directory: Path) -> bool:
    """Whether a handshake succeeds in which the peer shows the chain."""
    verifying = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if chain.client else ssl.PROTOCOL_TLS_CLIENT)
    verifying.verify_mode = ssl.CERT_REQUIRED
    verifying.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    verifying.load_verify_locations(cadata=pem(chain.trusted))
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if chain.client else ssl.PROTOCOL_TLS_SERVER)
    shown.check_hostname = False
    shown.verify_mode = ssl.CERT_NONE
    shown.set_ciphers("DEFAULT:@SECLEVEL=0")  # it may show what is weak: the other one judges
    load(shown, chain.sent, directory)
    if chain.client:
        load(verifying, [SELF_SIGNED], directory)
    server, client = (verifying, shown) if chain.client else (shown, verifying)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = None if chain.client else chain.name
    ends = (client.wrap_bio(down, up, server_hostname=name), down, up), (server.wrap_bio(up, down, True), up, down)  # noqa: FBT003
    return not list(pump(*ends))


def pem(parties: Sequence[Party]) -> str:
    return b"".join(party.certificate.public_bytes(Encoding.PEM) for party in parties).decode()


def load(context: ssl.SSLContext, parties: Sequence[Party], directory: Path) -> None:
    key = parties[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = directory / "credential.pem"
    file.write_text(pem(parties) + key)
    context.load_cert_chain(file)


@pytest.mark.rfc("5280", "6.1")
@pytest.mark.parametrize("name", CASES)
def test_verifier_judges_chain_as_ssl_does_or_says_why_not(name: str, tmp_path: Path) -> None:
    chain = CASES[name]()
    assert judged_by_us(chain) is chain.accepted
    assert judged_by_ssl(chain, tmp_path) is (chain.accepted if not chain.why_we_differ else not chain.accepted)


def test_corpus_is_large_and_both_verdicts_are_in_it() -> None:
    verdicts = [make().accepted for make in CASES.values()]
    assert len(verdicts) >= 60
    assert min(verdicts.count(True), verdicts.count(False)) >= 30
