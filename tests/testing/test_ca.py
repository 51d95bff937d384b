"""LocalCA: what it issues is accepted by `cryptography`, OpenSSL and `ssl`, and has the promised profile."""

import datetime as dt
import ipaddress
import os
import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from aiotls.errors import BadCertificateStatus, CertificateRevoked
from aiotls.testing.ca import AuthorityKeyType, CertificateStatus, IssuedCertificate, KeyType, LocalCA
from aiotls.trust.revocation import CRLs, check_staple, must_staple

AUTHORITY_KEY_TYPES: tuple[AuthorityKeyType, ...] = get_args(AuthorityKeyType)
KEY_TYPES: tuple[KeyType, ...] = (*AUTHORITY_KEY_TYPES, "ed25519")
NOW = dt.datetime(2026, 5, 17, 12, 30, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


def chain_of(issued: IssuedCertificate) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(issued.chain_pem)


def root_of(ca: LocalCA) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ca.certificate_pem)


def verify(ca: LocalCA, issued: IssuedCertificate, subject: x509.verification.Subject) -> list[x509.Certificate]:
    leaf, *intermediates = chain_of(issued)
    builder = PolicyBuilder().store(Store([root_of(ca)]))
    return builder.build_server_verifier(subject).verify(leaf, intermediates)


def seen_by_ssl(ca: LocalCA, issued: IssuedCertificate, directory: Path, name: str) -> str | None:
    """The version that the two ends of `ssl` agree on, both with the certificate and verifying the other's."""
    certfile, keyfile = issued.write(directory)
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ca.certificate_pem.decode())
    client_context = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    for context in (server_context, client_context):
        context.load_cert_chain(certfile, keyfile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_context.verify_mode = ssl.CERT_REQUIRED
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def serve() -> None:
            with server_context.wrap_socket(theirs, server_side=True) as served:
                served.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        with client_context.wrap_socket(ours, server_hostname=name) as client:
            assert client.recv(5) == b"hello"
            version = client.version()
        thread.join()
    return version


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_verifier_accepts_certificate_of_every_key_type(ca: LocalCA, key_type: KeyType) -> None:
    issued = ca.issue("localhost", key_type=key_type)
    assert verify(ca, issued, x509.DNSName("localhost"))[-1] == root_of(ca)


@pytest.mark.parametrize("key_type", AUTHORITY_KEY_TYPES)
def test_verifier_accepts_certificate_from_authority_of_every_key_type(key_type: AuthorityKeyType) -> None:
    ca = LocalCA(key_type=key_type)
    issued = ca.issue("localhost", intermediate=key_type.startswith("ecdsa"))
    assert verify(ca, issued, x509.DNSName("localhost"))[-1] == root_of(ca)


def test_verifier_accepts_chain_with_intermediate(ca: LocalCA) -> None:
    issued = ca.issue("localhost", intermediate=True)
    leaf, intermediate = chain_of(issued)
    assert verify(ca, issued, x509.DNSName("localhost")) == [leaf, intermediate, root_of(ca)]
    assert leaf.issuer == intermediate.subject
    assert intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_verifier_refuses_chain_when_the_intermediate_is_missing(ca: LocalCA) -> None:
    leaf = chain_of(ca.issue("localhost", intermediate=True))[0]
    verifier = PolicyBuilder().store(Store([root_of(ca)])).build_server_verifier(x509.DNSName("localhost"))
    with pytest.raises(VerificationError):
        verifier.verify(leaf, [])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_verifier_accepts_ip_address(ca: LocalCA, address: str) -> None:
    issued = ca.issue("localhost", "127.0.0.1", "::1")
    assert verify(ca, issued, x509.IPAddress(ipaddress.ip_address(address)))


def test_verifier_accepts_name_under_wildcard(ca: LocalCA) -> None:
    assert verify(ca, ca.issue("*.example.test"), x509.DNSName("www.example.test"))


def test_verifier_refuses_another_name(ca: LocalCA) -> None:
    with pytest.raises(VerificationError):
        verify(ca, ca.issue("localhost"), x509.DNSName("example.test"))


def test_verifier_refuses_certificate_of_another_authority_of_the_same_name(ca: LocalCA) -> None:
    with pytest.raises(VerificationError):
        verify(LocalCA(), ca.issue("localhost"), x509.DNSName("localhost"))


def test_client_verifier_accepts_certificate(ca: LocalCA) -> None:
    issued = ca.issue("client.test")
    verified = PolicyBuilder().store(Store([root_of(ca)])).build_client_verifier().verify(chain_of(issued)[0], [])
    assert verified.subjects == [x509.DNSName("client.test")]


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"])
@pytest.mark.parametrize("intermediate", [False, True])
def test_ssl_accepts_certificate_on_both_sides(
    ca: LocalCA, key_type: KeyType, tmp_path: Path, *, intermediate: bool
) -> None:
    issued = ca.issue("localhost", key_type=key_type, intermediate=intermediate)
    assert seen_by_ssl(ca, issued, tmp_path, "localhost") == "TLSv1.3"


def test_ssl_accepts_ip_address(ca: LocalCA, tmp_path: Path) -> None:
    assert seen_by_ssl(ca, ca.issue("127.0.0.1"), tmp_path, "127.0.0.1") == "TLSv1.3"


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_chain_for_both_purposes(ca: LocalCA, purpose: str, tmp_path: Path) -> None:
    certfile, _ = ca.issue("localhost", intermediate=True).write(tmp_path)
    cafile = tmp_path / "ca.pem"
    cafile.write_bytes(ca.certificate_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", "localhost"]
    command += ["-CAfile", str(cafile), "-untrusted", str(certfile), str(certfile)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_authority_has_the_promised_extensions(ca: LocalCA) -> None:
    root = root_of(ca)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert constraints.value.ca
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert not root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).critical
    assert root.version is x509.Version.v3


def test_certificate_has_the_promised_extensions(ca: LocalCA) -> None:
    leaf = chain_of(ca.issue("localhost"))[0]
    root_id = root_of(ca).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert not leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == root_id
    assert not leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).critical
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not purposes.critical
    assert set(purposes.value) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert usage.digital_signature
    assert not usage.key_cert_sign


def test_certificate_names_hosts_and_addresses_each_as_what_they_are(ca: LocalCA) -> None:
    leaf = chain_of(ca.issue("localhost", "127.0.0.1", "*.example.test", "fe80::1"))[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["localhost", "*.example.test"]
    assert [str(ip) for ip in san.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "fe80::1"]


def test_certificate_is_valid_from_an_hour_ago_for_the_days_asked() -> None:
    leaf = chain_of(LocalCA(clock=lambda: NOW).issue("localhost", days=30))[0]
    assert leaf.not_valid_before_utc == NOW - dt.timedelta(hours=1)
    assert leaf.not_valid_after_utc == NOW + dt.timedelta(days=30)


def test_certificate_is_never_valid_for_more_than_397_days() -> None:
    leaf = chain_of(LocalCA(clock=lambda: NOW).issue("localhost", days=397))[0]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == dt.timedelta(days=397)


def test_intermediate_does_not_outlive_the_root() -> None:
    times = iter([NOW, NOW + dt.timedelta(days=1000), NOW + dt.timedelta(days=1000)])
    ca = LocalCA(clock=lambda: next(times))
    intermediate = chain_of(ca.issue("localhost", intermediate=True))[1]
    assert intermediate.not_valid_after_utc == root_of(ca).not_valid_after_utc


def test_intermediate_is_the_same_for_all_certificates(ca: LocalCA) -> None:
    first, second = (ca.issue(name, intermediate=True) for name in ("a.test", "b.test"))
    assert chain_of(first)[1] == chain_of(second)[1]


def test_certificate_has_a_new_key_each_time(ca: LocalCA) -> None:
    assert ca.issue("localhost").key_pem != ca.issue("localhost").key_pem


@pytest.mark.parametrize(
    ("key_type", "kind", "size"),
    [
        ("ecdsa-p256", ec.EllipticCurvePrivateKey, 256),
        ("ecdsa-p384", ec.EllipticCurvePrivateKey, 384),
        ("ecdsa-p521", ec.EllipticCurvePrivateKey, 521),
        ("ed25519", ed25519.Ed25519PrivateKey, None),
        ("rsa-2048", rsa.RSAPrivateKey, 2048),
        ("rsa-3072", rsa.RSAPrivateKey, 3072),
    ],
)
def test_key_is_of_the_kind_asked_for(ca: LocalCA, key_type: KeyType, kind: type, size: int | None) -> None:
    issued = ca.issue("localhost", key_type=key_type)
    key = load_pem_private_key(issued.key_pem, None)
    assert isinstance(key, kind)
    assert getattr(key, "key_size", None) == size
    assert issued.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_name_longer_than_a_common_name_is_in_the_san_alone(ca: LocalCA) -> None:
    name = ".".join(["label" * 4] * 4)
    issued = ca.issue(name)
    assert verify(ca, issued, x509.DNSName(name))
    assert "CN=" not in chain_of(issued)[0].subject.rfc4514_string()


def test_credential_has_the_chain_and_the_names(ca: LocalCA) -> None:
    issued = ca.issue("localhost", "www.example.test", intermediate=True)
    credential = issued.credential()
    assert credential.names == ("localhost", "www.example.test")
    assert len(credential.chain) == 2


def test_write_gives_files_that_only_the_owner_can_read_the_key_of(ca: LocalCA, tmp_path: Path) -> None:
    issued = ca.issue("localhost")
    certfile, keyfile = issued.write(tmp_path / "new" / "folder")
    assert (certfile.read_bytes(), keyfile.read_bytes()) == (issued.chain_pem, issued.key_pem)
    assert (certfile.name, keyfile.name) == ("cert.pem", "key.pem")
    if os.name == "posix":
        assert stat.S_IMODE(keyfile.stat().st_mode) == 0o600


def test_write_narrows_the_mode_of_a_key_file_that_was_there(ca: LocalCA, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("old")
    (tmp_path / "key.pem").chmod(0o644)
    issued = ca.issue("localhost")
    _, keyfile = issued.write(str(tmp_path))
    assert keyfile.read_bytes() == issued.key_pem
    if os.name == "posix":
        assert stat.S_IMODE(keyfile.stat().st_mode) == 0o600


def test_write_does_not_follow_a_link_in_place_of_the_key_file(ca: LocalCA, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "key.pem").symlink_to(elsewhere)
    ca.issue("localhost").write(tmp_path)
    assert elsewhere.read_text() == "untouched"


def test_reprs_hold_no_key(ca: LocalCA) -> None:
    issued = ca.issue("localhost")
    assert "PRIVATE KEY" not in repr(issued)
    assert repr(ca) == "<LocalCA 'aiotls local CA' (ecdsa-p256)>"


def test_authority_bears_the_common_name_that_it_was_given() -> None:
    assert root_of(LocalCA(common_name="Our CA")).subject.rfc4514_string() == "CN=Our CA"


def test_issue_refuses_to_make_a_certificate_for_nobody(ca: LocalCA) -> None:
    with pytest.raises(ValueError, match="at least one DNS name or IP address"):
        ca.issue()


@pytest.mark.parametrize("name", ["", "bücher.test", "two words", "https://localhost", "localhost:8443", "a@b.test"])
def test_issue_refuses_what_is_no_name(ca: LocalCA, name: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name in ASCII"):
        ca.issue(name)


@pytest.mark.parametrize("days", [-1, 0, 398])
def test_issue_refuses_lifetime_that_browsers_would_refuse(ca: LocalCA, days: int) -> None:
    with pytest.raises(ValueError, match=f"days is {days}; .* 1 to 397"):
        ca.issue("localhost", days=days)


def test_issue_refuses_unknown_key_type_and_names_those_it_knows(ca: LocalCA) -> None:
    with pytest.raises(ValueError, match=r"'dsa'; it can be ecdsa-p256, .*, ed25519"):
        ca.issue("localhost", key_type="dsa")  # type: ignore[arg-type]


def test_authority_refuses_ed25519_because_browsers_do() -> None:
    with pytest.raises(ValueError, match="'ed25519'; an authority's can be ecdsa-p256"):
        LocalCA(key_type="ed25519")  # type: ignore[arg-type]


# Revocation


def whole_chain(ca: LocalCA, issued: IssuedCertificate) -> list[x509.Certificate]:
    return [*chain_of(issued), root_of(ca)]


@pytest.mark.parametrize("intermediate", [False, True])
@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def test_crl_tells_revoked_certificate_from_good_one(key_type: AuthorityKeyType, *, intermediate: bool) -> None:
    ca = LocalCA(key_type=key_type)
    good, stolen = (ca.issue("localhost", intermediate=intermediate) for _ in range(2))
    crls = CRLs.from_bytes(ca.crl(stolen, intermediate=intermediate))
    now = dt.datetime.now(dt.UTC)
    assert crls.check(whole_chain(ca, good), now) > now + dt.timedelta(days=6)
    with pytest.raises(CertificateRevoked, match="keyCompromise"):
        crls.check(whole_chain(ca, stolen), now)


def test_crls_of_both_authorities_serve_the_whole_chain(ca: LocalCA) -> None:
    issued = ca.issue("localhost", intermediate=True)
    now = dt.datetime.now(dt.UTC)
    crls = CRLs.from_bytes(ca.crl(), ca.crl(intermediate=True, days=2), whole_chain=True)
    assert crls.check(whole_chain(ca, issued), now) < now + dt.timedelta(days=3)


def test_crl_is_numbered_and_holds_for_the_days_asked_for() -> None:
    ca = LocalCA(clock=lambda: NOW)
    crl = x509.load_pem_x509_crl(ca.crl(days=3))
    assert crl.next_update_utc == NOW + dt.timedelta(days=3)
    assert crl.last_update_utc < NOW
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > 0


@pytest.mark.parametrize("intermediate", [False, True])
def test_crl_refuses_certificate_of_another_authority(ca: LocalCA, *, intermediate: bool) -> None:
    for issued in (LocalCA().issue("localhost"), ca.issue("localhost", intermediate=not intermediate)):
        with pytest.raises(ValueError, match="issued by another authority"):
            ca.crl(issued, intermediate=intermediate)


@pytest.mark.peer("openssl")
def test_openssl_refuses_certificate_on_crl(ca: LocalCA, tmp_path: Path) -> None:
    good, stolen = ca.issue("localhost"), ca.issue("localhost")
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    (tmp_path / "ca.crl").write_bytes(ca.crl(stolen))
    command: list[str | Path] = [
        "openssl",
        "verify",
        "-CAfile",
        tmp_path / "ca.pem",
        "-crl_check",
        "-CRLfile",
        tmp_path / "ca.crl",
    ]
    assert (
        subprocess.run([*command, good.write(tmp_path / "good")[0]], check=False, capture_output=True).returncode == 0
    )
    refused = subprocess.run([*command, stolen.write(tmp_path / "stolen")[0]], check=False, capture_output=True)
    assert b"certificate revoked" in refused.stderr


@pytest.mark.parametrize("intermediate", [False, True])
def test_ocsp_response_has_the_status_asked_for(ca: LocalCA, *, intermediate: bool) -> None:
    issued = ca.issue("localhost", intermediate=intermediate)
    leaf, issuer = whole_chain(ca, issued)[:2]
    now = dt.datetime.now(dt.UTC)
    assert check_staple(ca.ocsp_response(issued), leaf, issuer, now) > now + dt.timedelta(days=6)
    with pytest.raises(CertificateRevoked, match="keyCompromise"):
        check_staple(ca.ocsp_response(issued, status="revoked"), leaf, issuer, now)
    with pytest.raises(BadCertificateStatus, match="does not know"):
        check_staple(ca.ocsp_response(issued, status="unknown"), leaf, issuer, now)


@pytest.mark.parametrize("status", get_args(CertificateStatus))
@pytest.mark.peer("openssl")
def test_openssl_reads_ocsp_response(ca: LocalCA, tmp_path: Path, status: CertificateStatus) -> None:
    issued = ca.issue("localhost")
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    (tmp_path / "ocsp.der").write_bytes(ca.ocsp_response(issued, status=status))
    certfile, _ = issued.write(tmp_path)
    command: list[str | Path] = [
        "openssl",
        "ocsp",
        "-respin",
        "ocsp.der",
        "-issuer",
        "ca.pem",
        "-CAfile",
        "ca.pem",
        "-cert",
        certfile,
    ]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert b"Response verify OK" in done.stderr
    assert f"cert.pem: {status}".encode() in done.stdout


def test_ocsp_response_refuses_certificate_of_another_authority(ca: LocalCA) -> None:
    ca.issue("localhost", intermediate=True)
    for issued in (LocalCA().issue("localhost"), LocalCA().issue("localhost", intermediate=True)):
        with pytest.raises(ValueError, match="issued by another authority"):
            ca.ocsp_response(issued)


def test_ocsp_response_refuses_unknown_status(ca: LocalCA) -> None:
    with pytest.raises(ValueError, match="it can be good, revoked, unknown"):
        ca.ocsp_response(ca.issue("localhost"), status="fine")  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [0, 398])
def test_revocation_refuses_impossible_lifetime(ca: LocalCA, days: int) -> None:
    with pytest.raises(ValueError, match=f"days is {days}; .* 1 to 397"):
        ca.crl(days=days)
    with pytest.raises(ValueError, match=f"days is {days}; .* 1 to 397"):
        ca.ocsp_response(ca.issue("localhost"), days=days)


@pytest.mark.rfc("7633", "4")
@pytest.mark.parametrize("wanted", [False, True])
def test_certificate_is_must_staple_only_if_asked_for(ca: LocalCA, *, wanted: bool) -> None:
    [leaf] = chain_of(ca.issue("localhost", must_staple=wanted))
    assert must_staple(leaf) is wanted
    assert verify(ca, ca.issue("localhost", must_staple=wanted), x509.DNSName("localhost"))
