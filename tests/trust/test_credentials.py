"""Credentials: what they are made of, the text of every error that a wrong file earns, and which one is selected."""

import asyncio
import copy
import dataclasses
import datetime as dt
import os
import pickle
import subprocess
import warnings
from collections.abc import Awaitable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from aiotls.crypto import signatures
from aiotls.errors import CertificateError, LocalError
from aiotls.testing.ca import IssuedCertificate, KeyType, LocalCA
from aiotls.trust.credentials import (
    ClientHelloInfo,
    Credential,
    CredentialResolver,
    PrivateKeySigner,
    SigningKey,
    select,
)
from aiotls.wire.messages import Certificate
from aiotls.wire.registries import SignatureScheme

WEAK_BITS = 1024
EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
"""The OID that names the kind of key in a SubjectPublicKeyInfo, in DER."""
NOW = dt.datetime(2026, 5, 17, 12, 30, tzinfo=dt.UTC)
PEM_OR_DER = pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])

AnyKey = (
    ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
    | x25519.X25519PrivateKey
)


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def issued(ca: LocalCA) -> IssuedCertificate:
    return ca.issue("localhost", "WWW.Example.Test", "127.0.0.1", intermediate=True)


def ders(pem: bytes) -> list[bytes]:
    return [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)]


def key_bytes(
    key: AnyKey,
    encoding: Encoding = Encoding.PEM,
    private_format: PrivateFormat = PrivateFormat.PKCS8,
    password: bytes | None = None,
) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(encoding, private_format, encryption)


def recoded(pem: bytes, encoding: Encoding, password: bytes | None = None) -> bytes:
    """The private key in *pem* in another encoding."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)
    return key_bytes(key, encoding, password=password)


def self_signed(key: AnyKey, *, san: Sequence[str] | None = ("localhost",), subject: str = "Test") -> bytes:
    """A certificate for any kind of key, in PEM; signed by another key where this one is unable to."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + dt.timedelta(days=1))
    )
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in san]), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


def error_of(certfile: Path, keyfile: Path | None = None, password: str | bytes | None = None) -> str:
    """The text of the error that reading these files earns."""
    with pytest.raises(CertificateError) as caught:
        Credential.from_files(certfile, keyfile, password=password)
    return str(caught.value)


class RemoteKey:
    """A SigningKey that answers later, as one in a KMS does."""

    def __init__(self, key_pem: bytes, schemes: Sequence[int]) -> None:
        self._signer = PrivateKeySigner(private_key(key_pem))
        self._schemes = schemes

    def schemes(self) -> Sequence[int]:
        return self._schemes

    async def sign(self, scheme: int, message: bytes) -> bytes:
        await asyncio.sleep(0)
        return self._signer.sign(scheme, message)


def private_key(pem: bytes) -> signatures.PrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, signatures.PrivateKey)
    return key


class TestMaking:
    """What is read, and what is then known."""

    def test_credential_knows_its_certificate_when_read_from_files(
        self, issued: IssuedCertificate, tmp_path: Path
    ) -> None:
        certfile, keyfile = issued.write(tmp_path)
        credential = Credential.from_files(certfile, keyfile)
        leaf = x509.load_pem_x509_certificate(issued.chain_pem)
        assert credential.chain == tuple(ders(issued.chain_pem))
        assert credential.names == ("localhost", "www.example.test")
        assert credential.not_before == leaf.not_valid_before_utc
        assert credential.not_after == leaf.not_valid_after_utc
        assert credential.not_after.tzinfo is not None
        assert credential.schemes == (SignatureScheme.ecdsa_secp256r1_sha256,)
        assert "CN=localhost" in credential.subject
        assert credential.key_type == "secp256r1"

    def test_files_can_be_named_by_str_and_by_path(self, issued: IssuedCertificate, tmp_path: Path) -> None:
        certfile, keyfile = issued.write(tmp_path)
        assert (
            Credential.from_files(str(certfile), str(keyfile)).chain == Credential.from_files(certfile, keyfile).chain
        )

    @pytest.mark.parametrize("key_first", [False, True])
    def test_key_is_found_in_the_certificate_file_when_no_key_file_is_named(
        self, issued: IssuedCertificate, tmp_path: Path, *, key_first: bool
    ) -> None:
        parts = [issued.chain_pem, issued.key_pem]
        both = tmp_path / "both.pem"
        both.write_bytes(b"".join(reversed(parts) if key_first else parts))
        assert Credential.from_files(both).chain == tuple(ders(issued.chain_pem))

    def test_key_is_found_behind_the_parameters_that_openssl_writes_before_it(
        self, issued: IssuedCertificate, tmp_path: Path
    ) -> None:
        certfile, keyfile = issued.write(tmp_path)
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        keyfile.write_bytes(parameters + issued.key_pem)
        assert Credential.from_files(certfile, keyfile).names

    @PEM_OR_DER
    @pytest.mark.parametrize("key_type", ["ecdsa-p256", "ed25519", "rsa-2048"])
    def test_files_can_be_pem_or_der(self, ca: LocalCA, key_type: KeyType, encoding: Encoding, tmp_path: Path) -> None:
        issued = ca.issue("localhost", key_type=key_type)
        certfile, keyfile = tmp_path / "certificate", tmp_path / "key"
        certfile.write_bytes(x509.load_pem_x509_certificate(issued.chain_pem).public_bytes(encoding))
        keyfile.write_bytes(recoded(issued.key_pem, encoding))
        assert Credential.from_files(certfile, keyfile).chain == tuple(ders(issued.chain_pem))

    @pytest.mark.parametrize("junk", [b"\xef\xbb\xbf", b"subject=CN = localhost\nissuer=CN = Test\n\n"])
    def test_text_before_the_first_certificate_is_skipped(self, issued: IssuedCertificate, junk: bytes) -> None:
        assert Credential.from_bytes(junk + issued.chain_pem, issued.key_pem).names

    def test_windows_line_ends_are_read(self, issued: IssuedCertificate) -> None:
        chain, key = (pem.replace(b"\n", b"\r\n") for pem in (issued.chain_pem, issued.key_pem))
        assert Credential.from_bytes(chain, key).names

    def test_chain_can_be_a_sequence_of_der(self, issued: IssuedCertificate) -> None:
        chain = ders(issued.chain_pem)
        assert Credential.from_bytes(chain, issued.key_pem).chain == tuple(chain)

    @PEM_OR_DER
    @pytest.mark.parametrize("password", ["geheim", b"geheim"])
    def test_encrypted_key_is_read_with_its_password(
        self, issued: IssuedCertificate, encoding: Encoding, password: str | bytes
    ) -> None:
        key = recoded(issued.key_pem, encoding, b"geheim")
        assert Credential.from_bytes(issued.chain_pem, key, password=password).names

    @pytest.mark.parametrize("password", [None, b"geheim"])
    def test_key_in_the_format_of_old_openssl_is_read(self, issued: IssuedCertificate, password: bytes | None) -> None:
        key = private_key(issued.key_pem)
        old = key_bytes(key, private_format=PrivateFormat.TraditionalOpenSSL, password=password)
        assert Credential.from_bytes(issued.chain_pem, old, password=password).names

    @pytest.mark.parametrize(
        ("key_type", "schemes", "described"),
        [
            ("ecdsa-p256", ["ecdsa_secp256r1_sha256"], "secp256r1"),
            ("ecdsa-p384", ["ecdsa_secp384r1_sha384"], "secp384r1"),
            ("ecdsa-p521", ["ecdsa_secp521r1_sha512"], "secp521r1"),
            ("ed25519", ["ed25519"], "Ed25519"),
            ("rsa-2048", ["rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512"], "RSA-2048"),
        ],
    )
    def test_credential_signs_with_the_schemes_of_its_key(
        self, ca: LocalCA, key_type: KeyType, schemes: list[str], described: str
    ) -> None:
        credential = ca.issue("localhost", key_type=key_type).credential()
        public_key = x509.load_der_x509_certificate(credential.chain[0]).public_key()
        assert isinstance(public_key, signatures.PublicKey)
        assert [SignatureScheme(scheme).name for scheme in credential.schemes] == schemes
        assert credential.key_type == described
        for scheme in credential.schemes:
            signature = credential.signing_key.sign(scheme, b"message")
            assert isinstance(signature, bytes)
            signatures.verify(public_key, scheme, signature, b"message")

    @pytest.mark.peer("openssl")
    def test_credential_signs_with_rsa_pss_pss_when_the_certificate_says_rsassa_pss(self, tmp_path: Path) -> None:
        certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
        command = "openssl req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -days 2 -subj /CN=localhost"
        command += f" -addext subjectAltName=DNS:localhost -out {certfile} -keyout {keyfile}"
        subprocess.run(command.split(), check=True, capture_output=True)
        credential = Credential.from_files(certfile, keyfile)
        names = [SignatureScheme(scheme).name for scheme in credential.schemes]
        assert names == ["rsa_pss_pss_sha256", "rsa_pss_pss_sha384", "rsa_pss_pss_sha512"]
        assert credential.signing_key.sign(credential.schemes[0], b"message")

    def test_certificate_message_is_that_of_the_chain(self, issued: IssuedCertificate) -> None:
        credential = issued.credential()
        message = Certificate.parse(credential.certificate_message)
        assert message.certificate_request_context == b""
        assert tuple(entry.cert_data for entry in message.certificate_list) == credential.chain

    def test_certificate_that_has_expired_is_taken(self) -> None:
        ca = LocalCA(clock=lambda: dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        assert ca.issue("localhost").credential().not_after.year == 2020

    @pytest.mark.parametrize("san", [None, ()])
    def test_certificate_without_names_is_taken(self, san: Sequence[str] | None) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        credential = Credential.from_bytes(self_signed(key, san=san), key_bytes(key))
        assert credential.names == ()

    def test_credential_cannot_be_changed(self, issued: IssuedCertificate) -> None:
        credential = issued.credential()
        with pytest.raises(dataclasses.FrozenInstanceError):
            credential.names = ()  # type: ignore[misc]
        with pytest.raises((AttributeError, TypeError)):
            credential.other = 1  # type: ignore[attr-defined]

    def test_credential_is_equal_to_itself_alone(self, issued: IssuedCertificate) -> None:
        first, second = issued.credential(), issued.credential()
        assert first != second
        assert len({first, second, first}) == 2
        assert copy.copy(first).chain == first.chain

    def test_credential_does_not_let_its_key_be_pickled(self, issued: IssuedCertificate) -> None:
        with pytest.raises(TypeError):
            pickle.dumps(issued.credential())

    def test_repr_tells_names_key_and_end_but_no_secret(self, ca: LocalCA) -> None:
        issued = LocalCA(clock=lambda: NOW).issue("localhost", "example.test", days=10)
        credential = issued.credential()
        expected = "<Credential localhost, example.test (secp256r1), valid until 2026-05-27 12:30 UTC>"
        assert repr(credential) == expected
        assert repr(credential.signing_key) == "<PrivateKeySigner secp256r1>"

    def test_repr_tells_the_subject_when_there_are_no_names(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        credential = Credential.from_bytes(self_signed(key, san=None, subject="Somebody"), key_bytes(key))
        assert "CN=Somebody" in repr(credential)
        nobody = Credential.from_bytes(self_signed(key, san=None, subject=""), key_bytes(key))
        assert "no subject" in repr(nobody)


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


class TestSigningKeys:
    """A key that is elsewhere."""

    async def test_credential_signs_through_an_asynchronous_key(self, issued: IssuedCertificate) -> None:
        key: SigningKey = RemoteKey(issued.key_pem, [SignatureScheme.ecdsa_secp256r1_sha256])
        credential = Credential.from_signing_key(issued.chain_pem, key)
        answer = credential.signing_key.sign(credential.schemes[0], b"message")
        assert isinstance(answer, Awaitable)
        public_key = private_key(issued.key_pem).public_key()
        signatures.verify(public_key, credential.schemes[0], await answer, b"message")

    def test_credential_uses_of_the_keys_schemes_those_that_suit_the_certificate(self, ca: LocalCA) -> None:
        issued = ca.issue("localhost", key_type="rsa-2048")
        wanted = (SignatureScheme.rsa_pss_rsae_sha512, SignatureScheme.rsa_pss_rsae_sha256)
        others = [SignatureScheme.rsa_pkcs1_sha256, SignatureScheme.ed25519, SignatureScheme.rsa_pss_pss_sha256]
        key = RemoteKey(issued.key_pem, [others[0], *wanted, *others[1:]])
        assert Credential.from_signing_key(ders(issued.chain_pem), key).schemes == wanted

    @pytest.mark.parametrize("schemes", [[], [SignatureScheme.ed25519]])
    def test_credential_is_refused_when_no_scheme_of_the_key_suits(
        self, issued: IssuedCertificate, schemes: list[int]
    ) -> None:
        with pytest.raises(CertificateError, match=r"the certificate bytes: the signing key .* secp256r1"):
            Credential.from_signing_key(issued.chain_pem, RemoteKey(issued.key_pem, schemes))

    @pytest.mark.parametrize(
        ("key", "cause"),
        [
            (rsa.generate_private_key(public_exponent=65537, key_size=WEAK_BITS), "1024 bits is too weak"),
            (ec.generate_private_key(ec.SECP256K1()), "of the kind secp256k1"),
            (ed448.Ed448PrivateKey.generate(), "of the kind Ed448"),
        ],
        ids=["rsa-1024", "secp256k1", "ed448"],
    )
    def test_certificate_is_refused_when_its_key_cannot_be_used(
        self, issued: IssuedCertificate, key: AnyKey, cause: str
    ) -> None:
        remote = RemoteKey(issued.key_pem, list(SignatureScheme))
        with pytest.raises(CertificateError, match=f"the certificate bytes: .*{cause}"):
            Credential.from_signing_key(self_signed(key), remote)

    def test_signer_refuses_scheme_of_another_kind_of_key(self, issued: IssuedCertificate) -> None:
        with pytest.raises(LocalError, match=r"does not sign with ed25519"):
            PrivateKeySigner(private_key(issued.key_pem)).sign(SignatureScheme.ed25519, b"message")


@pytest.fixture(scope="module")
def default(ca: LocalCA) -> Credential:
    return ca.issue("default.test").credential()


@pytest.fixture(scope="module")
def exact(ca: LocalCA) -> Credential:
    return ca.issue("www.example.test", "Example.TEST").credential()


@pytest.fixture(scope="module")
def wildcard(ca: LocalCA) -> Credential:
    return ca.issue("*.example.test").credential()


@pytest.fixture(scope="module")
def edwards(ca: LocalCA) -> Credential:
    return ca.issue("www.example.test", key_type="ed25519").credential()


class TestSelect:
    """Which of several credentials answers a ClientHello."""

    P256 = SignatureScheme.ecdsa_secp256r1_sha256
    ED25519 = SignatureScheme.ed25519

    @staticmethod
    def info(name: str | None, *schemes: int) -> ClientHelloInfo:
        return ClientHelloInfo(
            server_name=name, alpn=(), signature_schemes=schemes, cipher_suites=(0x1301,), groups=(0x001D,)
        )

    @pytest.mark.parametrize("name", ["www.example.test", "WWW.EXAMPLE.test", "example.test"])
    def test_select_takes_the_one_for_the_name_in_any_case(
        self, default: Credential, exact: Credential, name: str
    ) -> None:
        assert select([default, exact], self.info(name, self.P256)) is exact

    @pytest.mark.parametrize("name", ["mail.example.test", "MAIL.Example.Test"])
    def test_select_takes_the_wildcard_for_one_label(
        self, default: Credential, wildcard: Credential, name: str
    ) -> None:
        assert select([default, wildcard], self.info(name, self.P256)) is wildcard

    @pytest.mark.parametrize("name", ["example.test", "a.b.example.test", ".example.test", "badexample.test", "", "."])
    def test_select_takes_the_default_when_the_wildcard_does_not_cover_exactly_one_label(
        self, default: Credential, wildcard: Credential, name: str
    ) -> None:
        assert select([default, wildcard], self.info(name, self.P256)) is default

    def test_select_takes_the_first_when_several_are_for_the_name(
        self, exact: Credential, wildcard: Credential
    ) -> None:
        info = self.info("www.example.test", self.P256)
        assert select([wildcard, exact], info) is wildcard
        assert select([exact, wildcard], info) is exact

    def test_select_takes_the_one_for_the_name_that_shares_a_scheme(
        self, default: Credential, exact: Credential, edwards: Credential
    ) -> None:
        credentials = [default, exact, edwards]
        assert select(credentials, self.info("www.example.test", self.ED25519)) is edwards
        assert select(credentials, self.info("www.example.test", self.ED25519, self.P256)) is exact

    def test_select_takes_the_first_with_a_common_scheme_when_no_name_fits(
        self, default: Credential, exact: Credential, edwards: Credential
    ) -> None:
        credentials = [edwards, default, exact]
        assert select(credentials, self.info("other.test", self.P256)) is default
        assert select(credentials, self.info(None, self.P256)) is default
        assert select(credentials, self.info(None, self.P256, self.ED25519)) is edwards

    def test_select_takes_another_name_rather_than_none_when_the_named_one_cannot_sign(
        self, default: Credential, edwards: Credential
    ) -> None:
        assert select([edwards, default], self.info("www.example.test", self.P256)) is default

    def test_select_takes_none_when_no_scheme_is_common(self, default: Credential, edwards: Credential) -> None:
        assert select([default, edwards], self.info("default.test", SignatureScheme.rsa_pss_rsae_sha256)) is None
        assert select([default, edwards], self.info("default.test")) is None
        assert select([], self.info("default.test", self.P256)) is None

    async def test_resolver_can_be_select_or_a_coroutine_function(self, default: Credential) -> None:
        async def later(info: ClientHelloInfo) -> Credential | None:
            await asyncio.sleep(0)
            return select([default], info)

        resolvers: list[CredentialResolver] = [lambda info: select([default], info), later]
        for resolver in resolvers:
            answer = resolver(self.info(None, self.P256))
            assert (await answer if isinstance(answer, Awaitable) else answer) is default
