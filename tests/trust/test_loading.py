"""The text of every error that a wrong certificate or key file earns."""

import os
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PublicFormat,
    pkcs12,
)

from aiotls.errors import CertificateError
from aiotls.testing.ca import IssuedCertificate, LocalCA
from aiotls.trust.credentials import (
    Credential,
)
from aiotls.wire.registries import SignatureScheme
from tests.trust.material import (
    EC_PUBLIC_KEY,
    NOW,
    PEM_OR_DER,
    WEAK_BITS,
    AnyKey,
    RemoteKey,
    ders,
    key_bytes,
    private_key,
    recoded,
    self_signed,
)


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def issued(ca: LocalCA) -> IssuedCertificate:
    return ca.issue("localhost", "WWW.Example.Test", "127.0.0.1", intermediate=True)


def error_of(certfile: Path, keyfile: Path | None = None, password: str | bytes | None = None) -> str:
    """The text of the error that reading these files earns."""
    with pytest.raises(CertificateError) as caught:
        Credential.from_files(certfile, keyfile, password=password)
    return str(caught.value)


class TestFileErrors:
    """Each names the file that is wrong, what is wrong with it, and what to do."""

    @pytest.fixture
    def files(self, issued: IssuedCertificate, tmp_path: Path) -> tuple[Path, Path]:
        return issued.write(tmp_path)

    @pytest.mark.parametrize("which", [0, 1])
    def test_file_that_is_missing(self, files: tuple[Path, Path], which: int) -> None:
        files[which].unlink()
        assert error_of(*files).startswith(f"{files[which]}: there is no such file")

    @pytest.mark.parametrize("which", [0, 1])
    def test_file_that_is_a_directory(self, files: tuple[Path, Path], which: int) -> None:
        files[which].unlink()
        files[which].mkdir()
        assert error_of(*files).startswith(f"{files[which]}: this is a directory")

    @pytest.mark.parametrize("which", [0, 1])
    def test_file_that_may_not_be_read(
        self, files: tuple[Path, Path], which: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = Path.read_bytes

        def refuse(self: Path) -> bytes:
            if self == files[which]:
                raise PermissionError(13, "Permission denied", str(self))
            return read(self)

        monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
        text = error_of(*files)
        assert text.startswith(f"{files[which]}: permission denied")
        assert "let this process's user read the file" in text

    def test_file_whose_name_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(CertificateError, match=r"a.x00b.*cannot be read.*null"):
            Credential.from_files(os.fspath(tmp_path / "a\0b"))

    def test_path_that_leads_through_a_file(self, files: tuple[Path, Path]) -> None:
        assert "cannot be read" in error_of(files[0] / "cert.pem")

    @pytest.mark.parametrize(("which", "wanted"), [(0, "certificate"), (1, "private key")])
    def test_file_that_is_empty(self, files: tuple[Path, Path], which: int, wanted: str) -> None:
        files[which].write_bytes(b"")
        text = error_of(*files)
        assert text.startswith(f"{files[which]}: there is no {wanted} in it: it is empty")

    @pytest.mark.parametrize(("which", "wanted"), [(0, "certificate"), (1, "private key")])
    @pytest.mark.parametrize("garbage", [b"garbage\n", b"\x30\x03\x02\x01\x00", bytes(300)])
    def test_file_that_is_garbage(self, files: tuple[Path, Path], which: int, wanted: str, garbage: bytes) -> None:
        files[which].write_bytes(garbage)
        text = error_of(*files)
        assert text.startswith(f"{files[which]}: there is no {wanted} in it")
        assert "neither PEM nor DER" in text

    @PEM_OR_DER
    def test_files_that_are_swapped(
        self, files: tuple[Path, Path], issued: IssuedCertificate, encoding: Encoding
    ) -> None:
        certfile, keyfile = files
        certfile.write_bytes(x509.load_pem_x509_certificate(issued.chain_pem).public_bytes(encoding))
        keyfile.write_bytes(recoded(issued.key_pem, encoding))
        text = error_of(keyfile, certfile)
        assert text.startswith(f"{keyfile}: there is no certificate in it, but PRIVATE KEY; ")
        assert "swapped" in text

    def test_certificate_file_that_is_an_encrypted_key_in_der(
        self, files: tuple[Path, Path], issued: IssuedCertificate
    ) -> None:
        files[0].write_bytes(recoded(issued.key_pem, Encoding.DER, b"geheim"))
        assert "but ENCRYPTED PRIVATE KEY; are the certificate" in error_of(*files)

    @PEM_OR_DER
    def test_key_file_that_is_a_certificate(
        self, files: tuple[Path, Path], issued: IssuedCertificate, encoding: Encoding
    ) -> None:
        certfile, keyfile = files
        keyfile.write_bytes(x509.load_pem_x509_certificate(issued.chain_pem).public_bytes(encoding))
        text = error_of(certfile, keyfile)
        assert text.startswith(f"{keyfile}: there is no private key in it, but CERTIFICATE; give the private key")

    def test_certificate_file_without_a_key_when_no_key_file_is_named(self, files: tuple[Path, Path]) -> None:
        assert error_of(files[0]).startswith(f"{files[0]}: there is no private key in it, but CERTIFICATE; ")

    def test_key_file_that_is_a_public_key(self, files: tuple[Path, Path], issued: IssuedCertificate) -> None:
        public_key = private_key(issued.key_pem).public_key()
        files[1].write_bytes(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        assert "there is no private key in it, but PUBLIC KEY" in error_of(*files)

    def test_certificate_file_that_is_a_request(self, files: tuple[Path, Path]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        files[0].write_bytes(request.public_bytes(Encoding.PEM))
        text = error_of(*files)
        assert "there is no certificate in it, but CERTIFICATE REQUEST; " in text
        assert "give the certificate that the CA issued" in text

    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("password", [None, b"geheim"])
    def test_file_that_is_pkcs12(
        self, files: tuple[Path, Path], issued: IssuedCertificate, which: int, password: bytes | None
    ) -> None:
        key = private_key(issued.key_pem)
        certificate = x509.load_pem_x509_certificate(issued.chain_pem)
        data = pkcs12.serialize_key_and_certificates(b"a", key, certificate, None, NoEncryption())
        files[which].write_bytes(data)
        text = error_of(*files, password=password if which else None)
        assert text.startswith(f"{files[which]}: ")
        assert "PKCS#12; convert it to PEM with `openssl pkcs12" in text

    @pytest.mark.parametrize("cut", [-10, -200])
    def test_certificate_file_that_is_cut_off(
        self, files: tuple[Path, Path], issued: IssuedCertificate, cut: int
    ) -> None:
        files[0].write_bytes(issued.chain_pem[:cut])
        assert error_of(*files).startswith(f"{files[0]}: a certificate in it is damaged or cut off")

    def test_certificate_file_whose_base64_is_damaged(
        self, files: tuple[Path, Path], issued: IssuedCertificate
    ) -> None:
        files[0].write_bytes(issued.chain_pem.replace(b"\nM", b"\n*"))
        assert error_of(*files).startswith(f"{files[0]}: a certificate in it is damaged or cut off")

    def test_key_file_that_is_cut_off(self, files: tuple[Path, Path], issued: IssuedCertificate) -> None:
        files[1].write_bytes(issued.key_pem[:-60])
        assert error_of(*files).startswith(f"{files[1]}: the private key is damaged")

    @PEM_OR_DER
    @pytest.mark.parametrize("password", [None, "", b""])
    def test_key_that_is_encrypted_when_no_password_is_given(
        self, files: tuple[Path, Path], issued: IssuedCertificate, encoding: Encoding, password: str | bytes | None
    ) -> None:
        files[1].write_bytes(recoded(issued.key_pem, encoding, b"geheim"))
        text = error_of(*files, password=password)
        assert text == f"{files[1]}: the private key is encrypted; give its password"

    @PEM_OR_DER
    def test_key_that_is_encrypted_when_the_password_is_wrong(
        self, files: tuple[Path, Path], issued: IssuedCertificate, encoding: Encoding
    ) -> None:
        files[1].write_bytes(recoded(issued.key_pem, encoding, b"geheim"))
        text = error_of(*files, password="offen")
        assert text.startswith(f"{files[1]}: the password is wrong")
        assert "offen" not in text

    @PEM_OR_DER
    def test_key_that_is_not_encrypted_when_a_password_is_given(
        self, files: tuple[Path, Path], issued: IssuedCertificate, encoding: Encoding
    ) -> None:
        files[1].write_bytes(recoded(issued.key_pem, encoding))
        text = error_of(*files, password="geheim")
        assert text == f"{files[1]}: the private key is not encrypted; leave the password out"


class TestContentErrors:
    """The files can be read, but TLS cannot use them, or not together."""

    def test_key_that_belongs_to_another_certificate(self, ca: LocalCA, tmp_path: Path) -> None:
        ours, other = ca.issue("ours.test"), ca.issue("other.test")
        certfile, keyfile = ours.write(tmp_path)
        keyfile.write_bytes(other.key_pem)
        text = error_of(certfile, keyfile)
        assert text.startswith(f"{keyfile}: the private key does not belong to the first certificate in {certfile}")
        assert "CN=ours.test" in text

    def test_key_of_another_kind_than_the_certificate(self, ca: LocalCA) -> None:
        chain, key = ca.issue("a.test").chain_pem, ca.issue("a.test", key_type="ed25519").key_pem
        with pytest.raises(CertificateError, match=r"the key bytes: the private key does not belong"):
            Credential.from_bytes(chain, key)

    def test_chain_whose_order_is_wrong(self, issued: IssuedCertificate, tmp_path: Path) -> None:
        certfile, keyfile = issued.write(tmp_path)
        leaf, intermediate = x509.load_pem_x509_certificates(issued.chain_pem)
        certfile.write_bytes(intermediate.public_bytes(Encoding.PEM) + leaf.public_bytes(Encoding.PEM))
        text = error_of(certfile, keyfile)
        assert text.startswith(f"{certfile}: the certificates are in the wrong order")
        assert f"the private key in {keyfile} belongs to number 2" in text
        assert "CN=localhost" in text
        assert "must be the first" in text

    def test_chain_of_der_whose_order_is_wrong(self, issued: IssuedCertificate) -> None:
        with pytest.raises(CertificateError, match=r"^the certificate chain: .* wrong order: .* number 2"):
            Credential.from_bytes(ders(issued.chain_pem)[::-1], issued.key_pem)

    def test_chain_of_which_one_certificate_is_garbage(self, issued: IssuedCertificate) -> None:
        with pytest.raises(CertificateError, match=r"^certificate 2 of the chain: there is no certificate in it"):
            Credential.from_bytes([ders(issued.chain_pem)[0], b"garbage"], issued.key_pem)

    def test_chain_that_is_empty(self, issued: IssuedCertificate) -> None:
        with pytest.raises(CertificateError, match=r"the certificate chain is empty"):
            Credential.from_bytes([], issued.key_pem)

    def test_bytes_that_are_empty(self, issued: IssuedCertificate) -> None:
        with pytest.raises(CertificateError, match=r"the certificate bytes: .* empty"):
            Credential.from_bytes(b"", issued.key_pem)
        with pytest.raises(CertificateError, match=r"the key bytes: .* empty"):
            Credential.from_bytes(issued.chain_pem, b"")

    @PEM_OR_DER
    def test_rsa_key_that_is_too_small(self, encoding: Encoding, tmp_path: Path) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=WEAK_BITS)
        certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
        certfile.write_bytes(self_signed(key))
        keyfile.write_bytes(key_bytes(key, encoding))
        text = error_of(certfile, keyfile)
        assert text.startswith(f"{keyfile}: an RSA key of 1024 bits is too weak; use a key of EC P-256")

    @pytest.mark.parametrize(
        ("key", "described"),
        [
            (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
            (ec.generate_private_key(ec.BrainpoolP256R1()), "brainpoolP256r1"),
            (ed448.Ed448PrivateKey.generate(), "Ed448"),
            (x25519.X25519PrivateKey.generate(), "X25519"),
        ],
        ids=["secp256k1", "brainpool", "ed448", "x25519"],
    )
    def test_key_that_tls_cannot_sign_with(self, key: AnyKey, described: str, tmp_path: Path) -> None:
        certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
        certfile.write_bytes(self_signed(key))
        keyfile.write_bytes(key_bytes(key))
        text = error_of(certfile, keyfile)
        assert text.startswith(f"{keyfile}: TLS cannot sign with a key of the kind {described}; use a key of")

    def test_key_that_is_dsa(self, issued: IssuedCertificate) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = key_bytes(dsa.generate_private_key(2048))
        with pytest.raises(CertificateError, match=r"the key bytes: .* of the kind DSA; use"):
            Credential.from_bytes(issued.chain_pem, key)

    def test_rsa_key_whose_numbers_do_not_fit(self, ca: LocalCA) -> None:
        issued = ca.issue("localhost", key_type="rsa-2048")
        der = bytearray(recoded(issued.key_pem, Encoding.DER))
        der[-20] ^= 1  # in the CRT coefficient
        with pytest.raises(CertificateError, match=r"the key bytes: "):
            Credential.from_bytes(issued.chain_pem, bytes(der))

    def test_certificate_whose_key_is_of_a_kind_that_nobody_knows(self, issued: IssuedCertificate) -> None:
        unknown = [der.replace(EC_PUBLIC_KEY, EC_PUBLIC_KEY[:-1] + b"\x09") for der in ders(issued.chain_pem)]
        with pytest.raises(CertificateError, match=r"^the key bytes: the private key does not belong"):
            Credential.from_bytes(unknown, issued.key_pem)
        key = RemoteKey(issued.key_pem, list(SignatureScheme))
        with pytest.raises(CertificateError, match=r"^the certificate bytes: .* kind 1\.2\.840\.10045\.2\.9; use"):
            Credential.from_signing_key(unknown[0], key)

    def test_certificate_whose_extensions_are_malformed(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([])
        bad = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05garbage")
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW)
            .add_extension(bad, critical=False)
            .sign(key, hashes.SHA256())
        )
        with pytest.raises(CertificateError, match=r"the certificate bytes: the extensions .* malformed"):
            Credential.from_bytes(certificate.public_bytes(Encoding.DER), key_bytes(key))
