"""Credentials: what they are made of, what is then known, and where their signatures come from."""

import copy
import dataclasses
import datetime as dt
import pickle
import subprocess
from collections.abc import Awaitable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from aiotls.blocking import Blocking
from aiotls.crypto import signatures
from aiotls.errors import CertificateError, LocalError
from aiotls.testing.ca import IssuedCertificate, KeyType, LocalCA
from aiotls.trust.credentials import UNKNOWN_SCHEME, Credential, PrivateKeySigner, SigningKey, ThreadedSigner
from aiotls.wire.messages import Certificate
from aiotls.wire.registries import SignatureScheme
from tests.trust.material import (
    NOW,
    PEM_OR_DER,
    SUBJECT_KEY,
    WEAK_BITS,
    AnyKey,
    Hash,
    IssuerKey,
    RemoteKey,
    credential_of,
    ders,
    key_bytes,
    private_key,
    recoded,
    self_signed,
    signed_by,
)

P256 = ec.generate_private_key(ec.SECP256R1())
SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
"""The OID of the signature, in DER."""


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


@pytest.fixture(scope="module")
def issued(ca: LocalCA) -> IssuedCertificate:
    return ca.issue("localhost", "WWW.Example.Test", "127.0.0.1", intermediate=True)


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

    async def test_threaded_signer_leaves_the_signature_to_who_runs_it(self, issued: IssuedCertificate) -> None:
        plain = PrivateKeySigner(private_key(issued.key_pem))
        threaded: SigningKey = ThreadedSigner(plain)
        assert threaded.schemes() == plain.schemes()
        assert "secp256r1" in repr(threaded)
        answer = threaded.sign(plain.schemes()[0], b"message")
        assert isinstance(answer, Blocking)
        signatures.verify(plain.public_key, plain.schemes()[0], answer.run(), b"message")
        assert await ThreadedSigner(plain).sign(plain.schemes()[0], b"message")

    def test_threaded_signer_raises_where_it_is_run(self, issued: IssuedCertificate) -> None:
        answer = ThreadedSigner(PrivateKeySigner(private_key(issued.key_pem))).sign(SignatureScheme.ed25519, b"")
        with pytest.raises(LocalError, match="does not sign with ed25519"):
            answer.run()

    def test_credential_signs_in_thread_with_rsa_if_asked(self, ca: LocalCA, tmp_path: Path) -> None:
        issued = ca.issue("localhost", key_type="rsa-2048")
        in_memory = Credential.from_bytes(issued.chain_pem, issued.key_pem, sign_in_thread=True)
        from_files = Credential.from_files(*issued.write(tmp_path), sign_in_thread=True)
        for credential in (in_memory, from_files):
            signature = credential.signing_key.sign(credential.schemes[0], b"message")
            assert isinstance(signature, Blocking)
            assert isinstance(signature.run(), bytes)
        assert isinstance(issued.credential().signing_key, PrivateKeySigner)

    def test_credential_signs_at_once_with_ecdsa_though_asked_to_sign_in_thread(
        self, issued: IssuedCertificate
    ) -> None:
        credential = Credential.from_bytes(issued.chain_pem, issued.key_pem, sign_in_thread=True)
        assert isinstance(credential.signing_key, PrivateKeySigner)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.rfc("8446", "4.2.3")
class TestChainSchemes:
    """How the certificates are signed that a peer has to check."""

    @pytest.mark.parametrize(
        ("key", "algorithm", "scheme"),
        [
            (P256, hashes.SHA256(), SignatureScheme.ecdsa_secp256r1_sha256),
            (P256, hashes.SHA384(), SignatureScheme.ecdsa_secp384r1_sha384),
            (P256, hashes.SHA512(), SignatureScheme.ecdsa_secp521r1_sha512),
            (P256, hashes.SHA224(), UNKNOWN_SCHEME),
            (ed25519.Ed25519PrivateKey.generate(), None, SignatureScheme.ed25519),
            (ed448.Ed448PrivateKey.generate(), None, SignatureScheme.ed448),
        ],
        ids=["sha256", "sha384", "sha512", "sha224", "ed25519", "ed448"],
    )
    def test_credential_knows_how_its_certificate_is_signed(
        self, key: IssuerKey, algorithm: Hash | None, scheme: int
    ) -> None:
        assert credential_of(signed_by(key, algorithm)).chain_schemes == {scheme}

    @pytest.mark.parametrize("bits", [256, 384, 512])
    @pytest.mark.parametrize(("pss", "kind"), [(False, "rsa_pkcs1"), (True, "rsa_pss_rsae")])
    def test_credential_knows_how_its_certificate_is_signed_with_rsa(
        self, rsa_key: rsa.RSAPrivateKey, bits: int, *, pss: bool, kind: str
    ) -> None:
        algorithms: dict[int, Hash] = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}
        scheme = SignatureScheme[f"{kind}_sha{bits}"]
        assert credential_of(signed_by(rsa_key, algorithms[bits], pss=pss)).chain_schemes == {scheme}

    def test_credential_does_not_know_a_pss_signature_with_another_hash(self, rsa_key: rsa.RSAPrivateKey) -> None:
        chain = signed_by(rsa_key, hashes.SHA224(), pss=True)
        assert credential_of(chain).chain_schemes == {UNKNOWN_SCHEME}

    def test_credential_knows_that_its_certificate_is_signed_with_sha1(self, rsa_key: rsa.RSAPrivateKey) -> None:
        der = signed_by(rsa_key, hashes.SHA256()).public_bytes(Encoding.DER)
        with_sha1 = der.replace(SHA256_WITH_RSA, SHA256_WITH_RSA[:-1] + b"\x05")
        credential = Credential.from_bytes(with_sha1, key_bytes(SUBJECT_KEY))
        assert credential.chain_schemes == {SignatureScheme.rsa_pkcs1_sha1}

    def test_credential_knows_how_the_whole_chain_is_signed_but_for_the_root(self, rsa_key: rsa.RSAPrivateKey) -> None:
        leaf = signed_by(P256, hashes.SHA256(), names=("localhost", "Lower CA"))
        lower = signed_by(rsa_key, hashes.SHA384(), names=("Lower CA", "Root CA"))
        root = signed_by(P256, hashes.SHA512(), names=("Root CA", "Root CA"))
        expected = {SignatureScheme.ecdsa_secp256r1_sha256, SignatureScheme.rsa_pkcs1_sha384}
        assert credential_of(leaf, lower, root).chain_schemes == expected
        assert credential_of(leaf, lower).chain_schemes == expected

    def test_self_signed_certificate_has_nothing_to_check(self) -> None:
        root = signed_by(P256, hashes.SHA256(), names=("localhost", "localhost"))
        assert credential_of(root).chain_schemes == frozenset()

    @pytest.mark.peer("openssl")
    def test_credential_tells_rsa_pss_pss_by_the_key_of_the_issuer(
        self, rsa_key: rsa.RSAPrivateKey, tmp_path: Path
    ) -> None:
        command = "openssl req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -days 2 -subj /CN=Test"
        command += f" -out {tmp_path / 'cert.pem'} -keyout {tmp_path / 'key.pem'}"
        subprocess.run(command.split(), check=True, capture_output=True)
        issuer = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
        leaf = signed_by(rsa_key, hashes.SHA256(), pss=True)
        assert credential_of(leaf, issuer).chain_schemes == {SignatureScheme.rsa_pss_pss_sha256}
