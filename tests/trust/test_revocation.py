"""CRLs: which of them are believed, what becomes of every other one, and how they are read again."""

import datetime as dt
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotls.errors import (
    AlertDescription,
    CertificateError,
    CertificateRevoked,
    LocalError,
    RevocationUnknown,
    alert_for,
)
from aiotls.trust import revocation
from aiotls.trust.revocation import CRLs
from tests.trust.statements import (
    CA,
    CHAIN,
    DAY,
    ECDSA_SHA256,
    HOUR,
    LEAF,
    NOW,
    OTHER,
    ROOT,
    SECOND,
    SHA256,
    TOLERANCE,
    Clock,
    Extensions,
    Key,
    Party,
    authority,
    issue,
    mutated,
    new_key,
    tlv,
    usage,
)

SHARD = "http://crl.example.test/1.crl"


def crl(  # noqa: PLR0917 - the fields of a CRL
    issuer: Party = CA,
    revoked: tuple[x509.RevokedCertificate | Party, ...] = (),
    extensions: Extensions = (),
    since: dt.datetime = NOW - HOUR,
    until: dt.datetime = NOW + DAY,
    key: Key | None = None,
    digest: hashes.HashAlgorithm | None = SHA256,
    encoding: Encoding = Encoding.DER,
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(since).next_update(until)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for one in revoked:
        builder = builder.add_revoked_certificate(entry(one) if isinstance(one, Party) else one)
    key = key or issuer.key
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else digest)  # type: ignore[arg-type]
    return signed.public_bytes(encoding)


def entry(
    party: Party, *extensions: x509.ExtensionType, critical: bool = False, serial: int | None = None
) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial or party.certificate.serial_number)
    builder = builder.revocation_date(NOW - 2 * HOUR)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build()


def check(*lists: bytes, whole_chain: bool = False, now: dt.datetime = NOW) -> dt.datetime:
    return CRLs.from_bytes(*lists, whole_chain=whole_chain).check(CHAIN, now)


def unknown(*lists: bytes, now: dt.datetime = NOW) -> str:
    """The text of the RevocationUnknown that these lists lead to."""
    with pytest.raises(RevocationUnknown) as raised:
        check(*lists, now=now)
    assert alert_for(raised.value) is AlertDescription.certificate_unknown
    assert raised.value.subject == "CN=leaf"
    return str(raised.value)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


# CRLs


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_pass_certificate_that_is_not_on_the_list() -> None:
    assert check(crl(revoked=(OTHER,))) == NOW + DAY


@pytest.mark.rfc("5280", "5.3.1")
def test_crls_refuse_revoked_certificate_with_date_and_reason() -> None:
    stolen = entry(LEAF, x509.CRLReason(x509.ReasonFlags.key_compromise))
    with pytest.raises(CertificateRevoked, match=r"CN=leaf.*2026-05-17 10:30 UTC.*keyCompromise") as raised:
        check(crl(revoked=(OTHER, stolen)))
    assert alert_for(raised.value) is AlertDescription.certificate_revoked
    assert raised.value.subject == "CN=leaf"
    assert raised.value.not_after == NOW + 30 * DAY


@pytest.mark.rfc("5280", "5.3.1")
def test_crls_refuse_revoked_certificate_without_reason() -> None:
    with pytest.raises(CertificateRevoked, match="unspecified"):
        check(crl(revoked=(LEAF,)))


@pytest.mark.rfc("5280", "5.3.1")
def test_crls_pass_certificate_that_was_taken_off_the_list() -> None:
    released = entry(LEAF, x509.CRLReason(x509.ReasonFlags.remove_from_crl))
    assert check(crl(revoked=(released,))) > NOW


@pytest.mark.rfc("5280", "5.3.1")
@pytest.mark.parametrize("order", [1, -1])
def test_crls_refuse_certificate_that_is_on_the_list_twice_and_was_taken_off_once(order: int) -> None:
    released = entry(LEAF, x509.CRLReason(x509.ReasonFlags.remove_from_crl))
    held = entry(LEAF, x509.CRLReason(x509.ReasonFlags.certificate_hold))
    with pytest.raises(CertificateRevoked, match="certificateHold"):
        check(crl(revoked=(released, held)[::order]))


def test_crls_deny_certificate_of_issuer_without_list() -> None:
    assert "no CRL of its issuer" in unknown(crl(ROOT))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_look_up_whole_chain_only_if_told() -> None:
    lists = crl(), crl(ROOT, (CA,))
    assert check(*lists) == NOW + DAY
    with pytest.raises(CertificateRevoked, match="CN=intermediate"):
        check(*lists, whole_chain=True)


def test_crls_of_whole_chain_pass_it_without_a_list_for_the_root() -> None:
    assert check(crl(until=NOW + 2 * DAY), crl(ROOT), whole_chain=True) == NOW + DAY


def test_crls_of_whole_chain_deny_it_when_a_list_lacks() -> None:
    with pytest.raises(RevocationUnknown, match="CN=intermediate"):
        check(crl(), whole_chain=True)


def test_crls_believe_no_list_of_a_revoked_authority() -> None:
    with pytest.raises(CertificateRevoked, match="CN=intermediate"):
        check(crl(revoked=(LEAF,)), crl(ROOT, (CA,)), whole_chain=True)


@pytest.mark.parametrize("whole_chain", [False, True])
def test_crls_have_nothing_to_say_of_a_root(whole_chain: bool) -> None:  # noqa: FBT001 - a parameter of the test
    lists = CRLs.from_bytes(crl(ROOT, (ROOT,)), whole_chain=whole_chain)
    assert lists.check([ROOT.certificate], NOW) == dt.datetime.max.replace(tzinfo=dt.UTC)


def test_crls_refuse_empty_chain() -> None:
    with pytest.raises(LocalError, match="chain is empty"):
        CRLs.from_bytes(crl()).check([], NOW)


@pytest.mark.rfc("5280", "5.1.2.5")
def test_crls_deny_by_expired_list() -> None:
    assert check(crl(until=NOW + SECOND)) == NOW + SECOND
    assert "it was to be replaced by 2026-05-17 12:30 UTC" in unknown(crl(until=NOW))


@pytest.mark.rfc("5280", "5.1.2.4")
def test_crls_deny_by_list_for_a_time_to_come() -> None:
    assert check(crl(since=NOW + TOLERANCE)) > NOW
    assert "a time to come" in unknown(crl(since=NOW + TOLERANCE + SECOND))


@pytest.mark.rfc("5280", "5.1.2.5")
def test_crls_deny_by_list_without_next_update() -> None:
    # The builder insists on a nextUpdate, so it is cut out of what is then signed again.
    whole = x509.load_der_x509_crl(crl())
    tbs = whole.tbs_certlist_bytes
    date = b"\x17\x0d" + (NOW + DAY).strftime("%y%m%d%H%M%SZ").encode()
    assert tbs.count(date) == 1
    body = tbs[tbs.index(b"\x02\x01\x01") :].replace(date, b"")
    assert "until when" in unknown(signed(tlv(0x30, body), CA.key))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_take_the_list_that_holds_among_several() -> None:
    expired = crl(since=NOW - 2 * DAY, until=NOW - DAY, revoked=(LEAF,))
    assert check(expired, crl()) == NOW + DAY
    with pytest.raises(CertificateRevoked):
        check(expired, crl(), crl(revoked=(LEAF,)))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_deny_by_list_signed_with_another_key() -> None:
    assert "not signed by the issuer's key" in unknown(crl(key=new_key()))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_deny_by_list_signed_with_key_of_another_kind() -> None:
    assert "not signed" in unknown(crl(key=ed25519.Ed25519PrivateKey.generate()))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_deny_by_list_that_was_altered() -> None:
    serial = LEAF.certificate.serial_number.to_bytes(20, "big")
    der = crl(revoked=(LEAF,))
    assert der.count(serial) == 1
    assert "not signed" in unknown(der.replace(serial, OTHER.certificate.serial_number.to_bytes(20, "big")))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_deny_when_issuer_may_not_sign_lists() -> None:
    issuer = issue("no CRLs", ROOT, [(usage(key_cert_sign=True), True)])
    leaf = issue("leaf", issuer)
    with pytest.raises(RevocationUnknown, match="does not allow it to sign CRLs"):
        CRLs.from_bytes(crl(issuer)).check([leaf.certificate, issuer.certificate, ROOT.certificate], NOW)


@pytest.mark.rfc("5280", "4.2.1.3")
def test_crls_pass_when_issuer_has_no_key_usage() -> None:
    issuer = issue("old", ROOT)
    leaf = issue("leaf", issuer)
    assert CRLs.from_bytes(crl(issuer)).check([leaf.certificate, issuer.certificate, ROOT.certificate], NOW) > NOW


@pytest.mark.rfc("6194", "3")
def test_crls_deny_by_list_signed_with_sha1() -> None:
    """The builder refuses SHA-1, so the algorithm of a finished list is overwritten and it is signed again."""
    ecdsa_sha256, ecdsa_sha1 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06072a8648ce3d0401")
    tbs = x509.load_der_x509_crl(crl()).tbs_certlist_bytes
    tbs = tlv(0x30, tbs[tbs.index(b"\x02\x01\x01") :].replace(tlv(0x30, ecdsa_sha256), tlv(0x30, ecdsa_sha1)))
    assert isinstance(CA.key, ec.EllipticCurvePrivateKey)
    signature = CA.key.sign(tbs, ec.ECDSA(hashes.SHA1()))  # noqa: S303 - what is to be refused
    assert "too weak" in unknown(tlv(0x30, tbs, tlv(0x30, ecdsa_sha1), tlv(0x03, b"\0" + signature)))


@pytest.mark.parametrize("kind", ["rsa", "pss", "ed25519", "p384"])
def test_crls_of_every_kind_of_signature_are_believed(kind: str, rsa_key: rsa.RSAPrivateKey) -> None:
    keys: dict[str, Callable[[], Key]] = {
        "rsa": lambda: rsa_key,
        "pss": lambda: rsa_key,
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    issuer = authority("issuer", ROOT, keys[kind]())
    leaf = issue("leaf", issuer)
    if kind == "pss":
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
        builder = builder.last_update(NOW - HOUR).next_update(NOW + DAY)
        pss = padding.PSS(padding.MGF1(SHA256), 32)
        der = builder.sign(rsa_key, SHA256, rsa_padding=pss).public_bytes(Encoding.DER)
    else:
        der = crl(issuer)
    assert CRLs.from_bytes(der).check([leaf.certificate, issuer.certificate, ROOT.certificate], NOW) > NOW


def point(**fields: Any) -> Extensions:
    """A critical IssuingDistributionPoint."""
    every: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return [(x509.IssuingDistributionPoint(**every | fields), True)]


UNUSABLE: list[tuple[Extensions, str]] = [
    ([(x509.DeltaCRLIndicator(1), True)], "delta CRL"),
    (point(indirect_crl=True), "indirect CRL"),
    (point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})), "some of the reasons"),
    (point(only_contains_attribute_certs=True), "attribute certificates"),
    (
        point(relative_name=x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "x")])),
        "relative name",
    ),
    ([(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)], "1.2.3.4 is unknown"),
    (point(only_contains_ca_certs=True), "for other certificates"),
    (point(full_name=[x509.UniformResourceIdentifier(SHARD)]), "for other certificates"),
]


@pytest.mark.rfc("5280", "5.2")
@pytest.mark.parametrize(("extensions", "text"), UNUSABLE, ids=[text for _, text in UNUSABLE])
def test_crls_deny_by_list_that_is_not_complete(extensions: Extensions, text: str) -> None:
    assert text in unknown(crl(extensions=extensions))


@pytest.mark.rfc("5280", "5.2")
def test_crls_use_list_with_extensions_that_are_known_or_not_critical() -> None:
    uncritical = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    extensions: Extensions = [
        (x509.CRLNumber(7), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(CA.certificate.public_key()), False),  # type: ignore[arg-type]
        (uncritical, False),
    ]
    assert check(crl(extensions=extensions)) > NOW


@pytest.mark.rfc("5280", "5.2.5")
def test_crls_use_list_for_the_kind_of_certificate() -> None:
    users, authorities = point(only_contains_user_certs=True), point(only_contains_ca_certs=True)
    assert check(crl(extensions=users), crl(ROOT, extensions=authorities), whole_chain=True) > NOW
    with pytest.raises(RevocationUnknown, match="CN=intermediate"):
        check(crl(extensions=users), crl(ROOT, extensions=users), whole_chain=True)


def distribution(**fields: Any) -> x509.DistributionPoint:
    every: dict[str, Any] = {"full_name": None, "relative_name": None, "reasons": None, "crl_issuer": None}
    return x509.DistributionPoint(**every | fields)


SHARDS: list[tuple[x509.DistributionPoint, bool]] = [
    (distribution(full_name=[x509.UniformResourceIdentifier(SHARD)]), True),
    (distribution(full_name=[x509.UniformResourceIdentifier("ldap://x"), x509.UniformResourceIdentifier(SHARD)]), True),
    (distribution(full_name=[x509.UniformResourceIdentifier("http://crl.example.test/2.crl")]), False),
    (
        distribution(
            full_name=[x509.UniformResourceIdentifier(SHARD)], reasons=frozenset({x509.ReasonFlags.key_compromise})
        ),
        False,
    ),
    (
        distribution(
            full_name=[x509.UniformResourceIdentifier(SHARD)],
            crl_issuer=[x509.DirectoryName(ROOT.certificate.subject)],
        ),
        False,
    ),
    (distribution(crl_issuer=[x509.DirectoryName(ROOT.certificate.subject)]), False),
]


@pytest.mark.rfc("5280", "6.3.3")
@pytest.mark.parametrize(("where", "found"), SHARDS)
def test_crls_use_part_of_a_list_for_certificates_that_name_it(where: x509.DistributionPoint, found: bool) -> None:  # noqa: FBT001 - as above
    leaf = issue("leaf", CA, [(x509.CRLDistributionPoints([where]), False)])
    lists = CRLs.from_bytes(crl(extensions=point(full_name=[x509.UniformResourceIdentifier(SHARD)])))
    chain = [leaf.certificate, *CHAIN[1:]]
    if found:
        assert lists.check(chain, NOW) == NOW + DAY
    else:
        with pytest.raises(RevocationUnknown, match="other certificates of the same issuer"):
            lists.check(chain, NOW)


@pytest.mark.rfc("5280", "5.3")
def test_crls_deny_by_list_whose_entry_has_critical_extension() -> None:
    """Also when the entry is another's, and whatever is critical in the list itself."""
    someone = x509.CertificateIssuer([x509.DirectoryName(ROOT.certificate.subject)])
    for extensions in ([], point(only_contains_user_certs=True)):
        der = crl(revoked=(entry(OTHER, someone, critical=True),), extensions=extensions)
        assert "one of its entries has a critical extension" in unknown(der)


@pytest.mark.rfc("5280", "5.3")
def test_crls_are_not_misled_by_serial_number_that_looks_like_a_critical_extension() -> None:
    assert check(crl(revoked=(entry(OTHER, serial=0x7F0101FF0101FF),))) > NOW


def test_crls_refuse_revoked_certificate_whose_entry_extensions_are_unreadable() -> None:
    reason = x509.UnrecognizedExtension(CRLEntryExtensionOID.CRL_REASON, b"\x0a\x01\x63")
    with pytest.raises(CertificateRevoked, match="unspecified"):
        check(crl(revoked=(entry(LEAF, reason),)))


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_deny_when_issuer_has_key_of_unknown_kind() -> None:
    issuer = issue("intermediate", ROOT, key=ed448.Ed448PrivateKey.generate())  # type: ignore[arg-type]
    with pytest.raises(RevocationUnknown, match="the issuer's key is of a kind that is unknown"):
        CRLs.from_bytes(crl()).check([LEAF.certificate, issuer.certificate], NOW)


@pytest.mark.rfc("5280", "6.3.3")
def test_crls_deny_certificate_whose_extensions_are_unreadable() -> None:
    points = x509.UnrecognizedExtension(x509.CRLDistributionPoints.oid, b"\x05\x00")
    leaf = issue("leaf", CA, [(points, False)])
    lists = CRLs.from_bytes(crl(extensions=point(full_name=[x509.UniformResourceIdentifier(SHARD)])))
    with pytest.raises(RevocationUnknown, match="a certificate cannot be read"):
        lists.check([leaf.certificate, *CHAIN[1:]], NOW)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])
def test_crls_come_from_files(tmp_path: Path, encoding: Encoding) -> None:
    (tmp_path / "a.crl").write_bytes(crl(encoding=encoding))
    (tmp_path / "b.crl").write_bytes(crl(ROOT, encoding=encoding))
    lists = CRLs.from_files(tmp_path / "a.crl", str(tmp_path / "b.crl"), whole_chain=True)
    assert lists.check(CHAIN, NOW) > NOW
    assert repr(lists) == f"<CRLs from {tmp_path}/a.crl, {tmp_path}/b.crl for the whole chain>"


def test_crls_come_several_from_one_file_among_other_things() -> None:
    pem = crl(encoding=Encoding.PEM) + CA.certificate.public_bytes(Encoding.PEM) + crl(ROOT, encoding=Encoding.PEM)
    lists = CRLs.from_bytes(b"a list:\n" + pem, whole_chain=True)
    assert lists.check(CHAIN, NOW) > NOW
    assert repr(lists) == "<CRLs from bytes for the whole chain>"


PEM = crl(encoding=Encoding.PEM)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        CA.certificate.public_bytes(Encoding.PEM),
        CA.certificate.public_bytes(Encoding.DER),
        PEM[:-10],
        PEM + PEM[:-10],
        PEM.replace(b"M", b"A", 1),
        PEM.replace(b"\n", b"\n!", 2),
        crl()[:-1],
        crl() + b"\0",
    ],
)
def test_crls_refuse_damaged_file_with_its_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.crl").write_bytes(data)
    with pytest.raises(CertificateError, match=r"bad\.crl: there is no CRL in it"):
        CRLs.from_files(tmp_path / "bad.crl")


def test_crls_refuse_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"gone\.crl: there is no such file"):
        CRLs.from_files(tmp_path / "gone.crl")


def test_crls_refuse_to_be_made_of_nothing() -> None:
    with pytest.raises(LocalError, match="paths is empty"):
        CRLs.from_files()
    with pytest.raises(LocalError, match="blobs is empty"):
        CRLs.from_bytes()


def test_crls_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    clock = Clock()
    file = tmp_path / "ca.crl"
    file.write_bytes(crl())
    lists = CRLs.from_files(file, clock=clock)
    before = lists.digest
    file.write_bytes(crl(revoked=(LEAF,)))
    assert lists.digest == before
    assert lists.check(CHAIN, NOW) > NOW
    clock.now += 1
    with pytest.raises(CertificateRevoked):
        lists.check(CHAIN, NOW)
    assert lists.digest != before


def test_digest_tells_of_changed_file_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "ca.crl"
    file.write_bytes(crl())
    lists = CRLs.from_files(file, interval=0)
    before = lists.digest
    file.write_bytes(crl(revoked=(LEAF,)))
    assert lists.digest != before


def test_digest_is_of_the_lists_and_not_of_their_order() -> None:
    one, two = crl(), crl(ROOT)
    assert CRLs.from_bytes(one, two).digest == CRLs.from_bytes(two, one, one).digest != CRLs.from_bytes(one).digest


@pytest.mark.parametrize("broken", [b"", PEM[:-10], None], ids=["empty", "cut off", "gone"])
def test_crls_stay_when_the_new_file_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: bytes | None
) -> None:
    file = tmp_path / "ca.crl"
    file.write_bytes(crl())
    lists = CRLs.from_files(file, interval=0)
    before = lists.digest
    file.unlink() if broken is None else file.write_bytes(broken)
    with caplog.at_level(logging.INFO, "aiotls.trust"):
        assert lists.check(CHAIN, NOW) > NOW
        assert lists.check(CHAIN, NOW) > NOW
        [record] = caplog.records
        assert record.levelno == logging.ERROR
        assert str(file) in record.getMessage()
        with pytest.raises(CertificateError, match=r"ca\.crl"):
            lists.reload()
        assert lists.digest == before
        file.write_bytes(crl(revoked=(LEAF,)))
        with pytest.raises(CertificateRevoked):
            lists.check(CHAIN, NOW)
    assert caplog.records[-1].levelno == logging.INFO


def test_crls_are_read_again_at_once_if_told(tmp_path: Path) -> None:
    file = tmp_path / "ca.crl"
    file.write_bytes(crl())
    lists = CRLs.from_files(file, clock=Clock())
    file.write_bytes(crl(revoked=(LEAF,)))
    lists.reload()
    with pytest.raises(CertificateRevoked):
        lists.check(CHAIN, NOW)


def test_crls_from_bytes_cannot_be_read_again() -> None:
    with pytest.raises(LocalError, match="made from bytes"):
        CRLs.from_bytes(crl()).reload()


def test_crls_check_each_signature_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[x509.Certificate] = []
    check_signature = revocation._RevocationList._check_signature

    def counting(self: revocation._RevocationList, issuer: x509.Certificate) -> str:
        checked.append(issuer)
        return check_signature(self, issuer)

    monkeypatch.setattr(revocation._RevocationList, "_check_signature", counting)
    lists = CRLs.from_bytes(crl())
    twin = authority("intermediate", ROOT)
    for _ in range(3):
        assert lists.check(CHAIN, NOW) > NOW
        with pytest.raises(RevocationUnknown, match="not signed"):
            lists.check([LEAF.certificate, twin.certificate, ROOT.certificate], NOW)
    assert checked == [CA.certificate, twin.certificate]


def test_crls_remember_a_bounded_number_of_signers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_SIGNERS", 2)
    crls = CRLs.from_bytes(crl())
    for issuer in (CA, ROOT, authority("intermediate", ROOT, CA.key)):
        try:
            crls.check([LEAF.certificate, issuer.certificate], NOW)
        except RevocationUnknown:
            assert issuer is ROOT
    [[crl_held]] = crls._snapshot._by_issuer.values()
    assert len(crl_held._signers) == 1


def test_crls_look_up_serial_number_in_constant_work() -> None:
    many = tuple(entry(OTHER, serial=n) for n in range(1, 2001))
    lists = CRLs.from_bytes(crl(revoked=many))
    lists.check(CHAIN, NOW)

    calls = 0

    def count(frame: Any, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        lists.check(CHAIN, NOW)
    finally:
        sys.setprofile(None)
    assert calls < 500


@given(st.data())
@settings(max_examples=150)
def test_crls_raise_nothing_but_our_errors_for_mutated_list(data: st.DataObject) -> None:
    der = mutated(data, MUTABLE_CRL)
    try:
        CRLs.from_bytes(der).check(CHAIN, NOW)
    except (RevocationUnknown, CertificateError):
        return
    assert der == MUTABLE_CRL


MUTABLE_CRL = crl(
    revoked=(entry(OTHER, x509.CRLReason(x509.ReasonFlags.key_compromise)),),
    extensions=[(x509.CRLNumber(7), False), *point(only_contains_user_certs=True)],
)


# For what the builder refuses to make


def signed(tbs: bytes, key: Key) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return tlv(0x30, tbs, ECDSA_SHA256, tlv(0x03, b"\0" + key.sign(tbs, ec.ECDSA(SHA256))))
