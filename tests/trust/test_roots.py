"""Trust anchors: where they come from, that they are never none, and that an error says where it looked."""

import functools
import logging
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aiotls.errors import CertificateError, LocalError
from aiotls.trust import roots as module
from aiotls.trust.roots import Roots
from tests.trust.chains import INTERMEDIATE, OTHER_ROOT, ROOT, der
from tests.trust.statements import Party, split, tlv


def pem(*parties: Party) -> bytes:
    return b"".join(party.certificate.public_bytes(Encoding.PEM) for party in parties)


DAMAGED = b"-----BEGIN CERTIFICATE-----\nMIIBdamaged\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system that has nothing yet; what is read of it is forgotten afterwards."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setattr(module, "_FILES", (str(tmp_path / "first.pem"), str(tmp_path / "second.pem")))
    monkeypatch.setattr(module, "_DIRECTORIES", (str(tmp_path / "certs"),))
    monkeypatch.setattr("aiotls.trust.roots.sys.platform", "linux")
    monkeypatch.setattr(module, "_system", functools.lru_cache(module._system.__wrapped__))
    return tmp_path


# Explicit ones


def test_roots_from_bytes_are_each_once_in_pem_and_der() -> None:
    roots = Roots.from_bytes(pem(ROOT, OTHER_ROOT), *der(ROOT))
    assert roots.certificates == (ROOT.certificate, OTHER_ROOT.certificate)
    assert len(roots) == 2
    assert repr(roots) == "<Roots: 2 from bytes>"


@pytest.mark.rfc("8446", "4.2.4")
def test_roots_tell_their_subjects_in_der_each_once() -> None:
    same_name = ROOT.certificate.subject.public_bytes()
    assert Roots.from_bytes(pem(ROOT, INTERMEDIATE)).subjects == (
        same_name,
        INTERMEDIATE.certificate.subject.public_bytes(),
    )


def test_roots_digest_depends_on_certificates_and_not_on_order() -> None:
    assert Roots.from_bytes(pem(ROOT, OTHER_ROOT)).digest == Roots.from_bytes(pem(OTHER_ROOT, ROOT)).digest
    assert Roots.from_bytes(pem(ROOT)).digest != Roots.from_bytes(pem(OTHER_ROOT)).digest
    assert Roots.from_bytes(pem(ROOT)) == Roots.from_bytes(*der(ROOT))
    assert len({Roots.from_bytes(pem(ROOT)), Roots.from_bytes(*der(ROOT))}) == 1
    assert Roots.from_bytes(pem(ROOT)) != pem(ROOT)


def test_roots_united_trust_what_either_trusts() -> None:
    both = Roots.from_bytes(pem(ROOT)) | Roots.from_bytes(pem(OTHER_ROOT, ROOT))
    assert both == Roots.from_bytes(pem(ROOT, OTHER_ROOT))
    with pytest.raises(TypeError):
        _ = both | pem(ROOT)  # type: ignore[operator]


def test_roots_from_nothing_are_refused() -> None:
    with pytest.raises(LocalError, match="blobs is empty"):
        Roots.from_bytes()
    with pytest.raises(CertificateError, match="root certificate bytes 2: there is no certificate in it: it is empty"):
        Roots.from_bytes(pem(ROOT), b"")


@pytest.mark.parametrize("blob", [DAMAGED, pem(ROOT)[:-40], b"\x30\x03\x02\x01\x01", b"hello"])
def test_roots_from_damaged_bytes_are_refused_whole(blob: bytes) -> None:
    with pytest.raises(CertificateError, match="root certificate bytes 2"):
        Roots.from_bytes(pem(ROOT), blob)


def test_roots_from_file_read_pem_and_der(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(b"a comment\n" + pem(ROOT, OTHER_ROOT))
    (tmp_path / "a.der").write_bytes(*der(ROOT))
    assert len(Roots.from_file(tmp_path / "a.pem")) == 2
    assert Roots.from_file(str(tmp_path / "a.der")) == Roots.from_bytes(pem(ROOT))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"", "it is empty"),
        (pem(ROOT) + DAMAGED, "damaged or cut off"),
        (
            ROOT.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "are the certificate and the private key swapped",
        ),
    ],
)
def test_roots_from_file_that_cannot_be_used_name_it(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateError, match=reason) as caught:
        Roots.from_file(path)
    assert str(caught.value).startswith(str(path))


def test_roots_from_directory_read_its_certificates_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "a.pem").write_bytes(pem(ROOT))
    (folder / "0a1b2c3d.0").symlink_to(folder / "a.pem")
    (folder / "4e5f6a7b.1").write_bytes(pem(OTHER_ROOT))
    (folder / "B.CRT").write_bytes(*der(INTERMEDIATE))
    (folder / "README").write_text("not a certificate")
    (folder / "below.pem").mkdir()
    assert Roots.from_directory(folder) == Roots.from_bytes(pem(ROOT, OTHER_ROOT, INTERMEDIATE))


def test_roots_from_directory_name_the_file_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "good.pem").write_bytes(pem(ROOT))
    (tmp_path / "bad.pem").write_bytes(DAMAGED)
    with pytest.raises(CertificateError, match=r"bad\.pem"):
        Roots.from_directory(tmp_path)


def test_roots_from_directory_without_certificates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="give at least one root"):
        Roots.from_directory(tmp_path)
    with pytest.raises(CertificateError, match="the directory cannot be read"):
        Roots.from_directory(tmp_path / "none")


# The system's


def test_system_roots_are_the_first_bundle_that_is_there(system: Path) -> None:
    (system / "second.pem").write_bytes(pem(ROOT))
    assert Roots.system() == Roots.from_bytes(pem(ROOT))


def test_system_roots_are_read_once(system: Path) -> None:
    (system / "first.pem").write_bytes(pem(ROOT))
    roots = Roots.system()
    (system / "first.pem").write_bytes(pem(OTHER_ROOT))
    assert Roots.system() is roots


def test_system_roots_come_from_directory_where_there_is_no_bundle(system: Path) -> None:
    (system / "certs").mkdir()
    (system / "certs" / "0a1b2c3d.0").write_bytes(pem(ROOT))
    assert Roots.system() == Roots.from_bytes(pem(ROOT))


def test_system_roots_that_are_nowhere_are_an_error_that_says_where_it_looked(system: Path) -> None:
    with pytest.raises(CertificateError) as caught:
        Roots.system()
    for place in ("first.pem", "second.pem", "certs"):
        assert str(system / place) in str(caught.value)
    assert "SSL_CERT_FILE" in str(caught.value)


def test_system_roots_appear_after_an_error_without_a_new_process(system: Path) -> None:
    with pytest.raises(CertificateError):
        Roots.system()
    (system / "first.pem").write_bytes(pem(ROOT))
    assert len(Roots.system()) == 1


def test_system_roots_leave_out_what_is_damaged_and_log_it(system: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = system / "first.pem"
    bundle.write_bytes(pem(ROOT) + DAMAGED + pem(OTHER_ROOT))
    with caplog.at_level(logging.WARNING, "aiotls.trust"):
        assert Roots.system() == Roots.from_bytes(pem(ROOT, OTHER_ROOT))
    assert f"{bundle}, certificate 2" in caplog.text


def test_system_roots_that_are_all_damaged_are_none(system: Path) -> None:
    (system / "first.pem").write_bytes(DAMAGED)
    with pytest.raises(CertificateError, match="the system has no roots"):
        Roots.system()


def test_system_roots_take_a_root_with_the_serial_number_zero_in_silence(system: Path) -> None:
    outer = split(der(ROOT)[0])
    fields = split(outer[0])
    fields[1] = tlv(0x02, b"\0")
    (system / "first.pem").write_bytes(tlv(0x30, tlv(0x30, *fields), *outer[1:]))
    assert len(Roots.system()) == 1


@pytest.mark.parametrize(("platform", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("ios", "iOS")])
def test_system_roots_without_files_are_an_error_that_names_a_bundle(
    monkeypatch: pytest.MonkeyPatch, platform: str, name: str
) -> None:
    monkeypatch.setattr("aiotls.trust.roots.sys.platform", platform)
    with pytest.raises(CertificateError, match=rf"{name} .* Roots.from_file\(certifi.where\(\)\)"):
        Roots.system()


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_system_roots_are_those_of_ssl_cert_file_and_no_others(
    monkeypatch: pytest.MonkeyPatch, system: Path, platform: str
) -> None:
    monkeypatch.setattr("aiotls.trust.roots.sys.platform", platform)
    (system / "first.pem").write_bytes(pem(ROOT))
    (system / "mine.pem").write_bytes(pem(OTHER_ROOT))
    monkeypatch.setenv("SSL_CERT_FILE", str(system / "mine.pem"))
    assert Roots.system() == Roots.from_bytes(pem(OTHER_ROOT))


def test_system_roots_are_those_of_every_directory_in_ssl_cert_dir(
    monkeypatch: pytest.MonkeyPatch, system: Path
) -> None:
    for name, party in {"a": ROOT, "b": OTHER_ROOT}.items():
        (system / name).mkdir()
        (system / name / "root.pem").write_bytes(pem(party))
    (system / "mine.pem").write_bytes(pem(INTERMEDIATE))
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join((str(system / "a"), str(system / "none"), str(system / "b"))))
    assert Roots.system() == Roots.from_bytes(pem(ROOT, OTHER_ROOT))
    monkeypatch.setenv("SSL_CERT_FILE", str(system / "mine.pem"))
    assert len(Roots.system()) == 3


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_system_roots_of_a_variable_that_leads_nowhere_are_an_error_and_not_the_systems(
    monkeypatch: pytest.MonkeyPatch, system: Path, variable: str
) -> None:
    (system / "first.pem").write_bytes(pem(ROOT))
    monkeypatch.setenv(variable, str(system / "none"))
    with pytest.raises(CertificateError, match=f"{variable}={system / 'none'}"):
        Roots.system()


def test_system_roots_ignore_a_variable_that_is_empty(monkeypatch: pytest.MonkeyPatch, system: Path) -> None:
    (system / "first.pem").write_bytes(pem(ROOT))
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert Roots.system() == Roots.from_bytes(pem(ROOT))
