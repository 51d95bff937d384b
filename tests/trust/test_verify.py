"""The verifier: good chains, how much it looks at, and what is asked beside the chain: pins, CRLs, staples."""

import dataclasses
import time
from typing import Any

import pytest
from cryptography import x509

from aiotls.errors import (
    AlertDescription,
    BadCertificateStatus,
    CertificateError,
    CertificateRevoked,
    LocalError,
    RevocationUnknown,
    UntrustedCertificate,
    alert_for,
)
from aiotls.trust import diagnosis, profile
from aiotls.trust import verify as module
from aiotls.trust.verify import PeerIdentity, Verifier
from tests.trust.chains import (
    CLIENT,
    DAY,
    INTERMEDIATE,
    MUST_STAPLE,
    NAME,
    NOW,
    OTHER_ROOT,
    PEER,
    REVOKED,
    ROOT,
    SENT,
    WWW,
    authority,
    crls,
    der,
    directory,
    issue,
    leaf,
    pin,
    staple,
    trusting,
    verifier,
)
from tests.trust.statements import Party, new_key, tlv

AT = AlertDescription

# Good chains


@pytest.mark.rfc("5280", "6.1")
def test_verifier_tells_who_the_server_is() -> None:
    peer = leaf(INTERMEDIATE, [NAME, "192.0.2.7", "mail:a@example.test", "uri:spiffe://example.test/a"])
    identity = verifier().verify_server(der(peer, INTERMEDIATE), WWW)
    assert identity == PeerIdentity(
        certificates=tuple(der(peer, INTERMEDIATE)),
        verified_chain=tuple(der(peer, INTERMEDIATE, ROOT)),
        subject="CN=peer",
        dns_names=(NAME,),
        ip_addresses=("192.0.2.7",),
        email_addresses=("a@example.test",),
        uris=("spiffe://example.test/a",),
        spki_sha256=pin(peer),
        not_before=peer.certificate.not_valid_before_utc,
        not_after=peer.certificate.not_valid_after_utc,
        public_key=identity.public_key,
    )
    assert identity.public_key == peer.key.public_key()
    assert ", public_key=" not in repr(identity)


def test_verifier_tells_who_the_client_is_by_subject_alone() -> None:
    peer = leaf(ROOT, [], subject=directory("alice", organisation="Company"), purposes=[CLIENT])
    identity = verifier().verify_client(der(peer))
    assert (identity.subject, identity.dns_names) == ("CN=alice,O=Company", ())
    assert identity.verified_chain == tuple(der(peer, ROOT))


def test_identity_cannot_be_changed() -> None:
    identity = verifier().verify_server(SENT, WWW)
    with pytest.raises(dataclasses.FrozenInstanceError):
        identity.subject = "another"  # type: ignore[misc]


# Bounds


def test_verifier_takes_as_many_certificates_as_it_may_and_not_one_more() -> None:
    sixteen = SENT + der(*(issue(f"{at}", OTHER_ROOT) for at in range(14)))
    assert len(verifier().verify_server(sixteen, WWW).certificates) == 16
    with pytest.raises(CertificateError, match="17 certificates"):
        verifier().verify_server(sixteen + SENT[:1], WWW)


def test_verifier_takes_as_many_bytes_as_it_may_and_not_one_more() -> None:
    def padded(size: int) -> list[bytes]:
        padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.3"), bytes(size))
        return der(leaf(ROOT, extra=[(padding, False)]))

    base = padded(70_000)
    # An ECDSA signature varies by a few bytes, so the size is met by trying.
    for _ in range(200):
        exact = padded(70_000 + 102_400 - len(base[0]))
        if len(exact[0]) == 102_400:
            break
    assert verifier().verify_server(exact, WWW).certificates == tuple(exact)
    with pytest.raises(CertificateError, match="102401 bytes"):
        verifier().verify_server([*exact, b"\0"], WWW)


def test_verifier_counts_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(certificates: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(module, "parse", parse)
    with pytest.raises(CertificateError, match="100 certificates"):
        verifier().verify_server(SENT * 50, WWW)


def test_verifier_ends_soon_among_authorities_that_all_signed_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every certificate could be every other one's issuer: 15! ways, none of which leads to a root.  That this test ends
    # shows that `cryptography` gives up; what is checked for the diagnosis is counted.
    key = new_key()
    origin = authority("cross", key=key)
    crosses = [authority("cross", origin, key=key) for _ in range(15)]
    checks: list[x509.Certificate] = []
    is_signed_by = diagnosis._is_signed_by

    def counting(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        checks.append(issuer)
        return is_signed_by(certificate, issuer)

    monkeypatch.setattr(diagnosis, "_is_signed_by", counting)
    with pytest.raises(UntrustedCertificate):
        verifier().verify_server(der(leaf(origin), *crosses), WWW)
    assert len(checks) <= 17


def test_verifier_finds_the_way_among_many_authorities_of_one_name() -> None:
    decoys = [authority("test intermediate", OTHER_ROOT) for _ in range(14)]
    assert len(verifier().verify_server(der(PEER, *decoys, INTERMEDIATE), WWW).verified_chain) == 3


# Pins


@pytest.mark.rfc("7469", "2.6")
@pytest.mark.parametrize("pinned", [PEER, INTERMEDIATE, ROOT])
def test_verifier_accepts_chain_with_a_pinned_key_at_any_level(pinned: Party) -> None:
    pins = frozenset({pin(pinned), bytes(32)})
    identity = verifier(pins=pins).verify_server(SENT, WWW)
    assert identity.spki_sha256 == pin(PEER)


def test_verifier_refuses_chain_without_a_pinned_key() -> None:
    with pytest.raises(UntrustedCertificate, match=rf"is pinned; its own has the SHA-256 hash {pin(PEER).hex()}"):
        verifier(pins=frozenset({pin(OTHER_ROOT)})).verify_server(SENT, WWW)


def test_verifier_does_not_take_a_pinned_certificate_beside_the_chain_for_one_in_it() -> None:
    with pytest.raises(UntrustedCertificate):
        verifier(pins=frozenset({pin(OTHER_ROOT)})).verify_server([*SENT, *der(OTHER_ROOT)], WWW)


def test_verifier_trusts_no_root_because_it_is_pinned() -> None:
    with pytest.raises(UntrustedCertificate):
        verifier(pins=frozenset({pin(OTHER_ROOT)})).verify_server(der(leaf(OTHER_ROOT), OTHER_ROOT), WWW)


# Revocation


@pytest.mark.rfc("5280", "6.3")
def test_verifier_asks_crls() -> None:
    verifier(crls=crls()).verify_server(SENT, WWW)
    with pytest.raises(CertificateRevoked):
        verifier(crls=crls(PEER)).verify_client(SENT)
    with pytest.raises(RevocationUnknown):
        verifier(crls=crls(issuer=ROOT)).verify_server(SENT, WWW)


@pytest.mark.rfc("6066", "8")
def test_verifier_checks_a_staple_where_there_is_one() -> None:
    verifier().verify_server(SENT, WWW, staple())
    with pytest.raises(BadCertificateStatus):
        verifier().verify_server(SENT, WWW, b"\x30\x00")
    with pytest.raises(BadCertificateStatus):
        verifier().verify_client(SENT, b"")


def test_verifier_refuses_a_server_that_its_staple_revokes() -> None:
    with pytest.raises(CertificateRevoked):
        verifier().verify_server(SENT, WWW, staple(status=REVOKED))


def test_verifier_requires_a_staple_of_servers_where_asked() -> None:
    strict = verifier(require_staple=True)
    with pytest.raises(BadCertificateStatus, match="which we require") as caught:
        strict.verify_server(SENT, WWW)
    assert alert_for(caught.value) is AT.bad_certificate_status_response
    strict.verify_server(SENT, WWW, staple())
    strict.verify_client(SENT)


@pytest.mark.rfc("7633", "4")
def test_verifier_requires_a_staple_that_the_certificate_promises() -> None:
    peer = leaf(INTERMEDIATE, extra=MUST_STAPLE)
    sent = der(peer, INTERMEDIATE)
    with pytest.raises(BadCertificateStatus):
        verifier().verify_server(sent, WWW)
    verifier().verify_server(sent, WWW, staple(leaf=peer))
    verifier().verify_client(sent)


def test_verifier_asks_no_issuer_about_a_certificate_that_is_trusted_itself() -> None:
    strict = verifier(PEER, require_staple=True, crls=crls(PEER))
    assert strict.verify_server(SENT, WWW).verified_chain == tuple(SENT[:1])


# Arguments


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pins": frozenset({b"short"})}, "pins has b'short'"),
        ({"pins": frozenset({"a" * 32})}, "pins has 'a"),
        ({"cache_size": -1}, "cache_size is -1"),
        ({"cache_size": 1}, "cache_size is 1"),
        ({"cache_lifetime": 0}, "cache_lifetime is 0"),
        ({"cache_lifetime": float("nan")}, "cache_lifetime is nan"),
    ],
)
def test_verifier_refuses_wrong_argument_and_names_it(options: dict[str, Any], text: str) -> None:
    with pytest.raises(LocalError, match=text):
        verifier(**options)


def test_verifier_wants_roots() -> None:
    with pytest.raises(LocalError, match=r"roots is a list; give aiotls\.Roots"):
        Verifier([ROOT.certificate])  # type: ignore[arg-type]


def test_verifier_reads_the_systems_clock_by_default() -> None:
    assert Verifier(trusting(ROOT)).verify_server(SENT, WWW).not_after is not None
    assert abs(time.time() - NOW.timestamp()) < DAY.total_seconds()
    assert repr(Verifier(trusting(ROOT))) == "<Verifier with <Roots: 1 from bytes>>"


# Name constraints on subjects, which are our own to check


@pytest.mark.rfc("5280", "4.2.1.10")
def test_verifier_takes_what_only_looks_like_name_constraints() -> None:
    by_chance = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.4"), bytes.fromhex("0603551d1e"))
    intermediate = authority("i", ROOT, extra=[(by_chance, False)])
    verifier().verify_server(der(leaf(intermediate), intermediate), WWW)


@pytest.mark.rfc("5280", "6.1.3")
def test_verifier_holds_self_issued_authorities_to_no_constraints_on_subjects() -> None:
    company = x509.DirectoryName(directory("peer", organisation="Company"))
    narrow = authority("narrow", ROOT, extra=[(x509.NameConstraints([company], None), False)])
    renewed = authority("narrow", narrow)
    named = leaf(renewed, subject=company.value)
    verifier().verify_server(der(named, renewed, narrow), WWW)
    with pytest.raises(UntrustedCertificate, match="may not certify the subject CN=peer"):
        verifier().verify_server(der(leaf(renewed), renewed, narrow), WWW)
    verifier().verify_server(der(leaf(narrow, subject=x509.Name([]), critical_names=True), narrow), WWW)


@pytest.mark.rfc("5280", "4.2.1.10")
def test_verifier_refuses_name_constraints_that_it_cannot_read() -> None:
    x400 = tlv(0x30, tlv(0xA0, tlv(0x30, tlv(0xA3, b""))))
    constraints = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), x400)
    intermediate = authority("i", ROOT, extra=[(constraints, False)])
    with pytest.raises(CertificateError) as caught:
        verifier().verify_server(der(leaf(intermediate), intermediate), WWW)
    assert alert_for(caught.value) is AT.bad_certificate


@pytest.mark.rfc("5280", "4.2.1.9")
def test_policy_for_authorities_refuses_one_that_is_none_itself() -> None:
    # `cryptography` refuses it before it asks; should it leave that to the policy one day, this is what holds.
    policy: Any = None
    with pytest.raises(ValueError, match="no certification authority"):
        profile._check_authority(policy, ROOT.certificate, x509.BasicConstraints(ca=False, path_length=None))
