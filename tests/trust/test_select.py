"""Which of several credentials answers a ClientHello, or a CertificateRequest."""

import asyncio
from collections.abc import Awaitable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from aiotls.testing.ca import LocalCA
from aiotls.trust.credentials import (
    CertificateRequestInfo,
    ClientHelloInfo,
    Credential,
    CredentialResolver,
    select,
    select_for_request,
)
from aiotls.wire.registries import SignatureScheme
from tests.trust.material import credential_of, hello, signed_by

P256 = SignatureScheme.ecdsa_secp256r1_sha256
ED25519 = SignatureScheme.ed25519
RSA = SignatureScheme.rsa_pkcs1_sha256
PSS = SignatureScheme.rsa_pss_rsae_sha256


@pytest.fixture(scope="module")
def ca() -> LocalCA:
    return LocalCA()


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

    @pytest.mark.parametrize("name", ["www.example.test", "WWW.EXAMPLE.test", "example.test"])
    def test_select_takes_the_one_for_the_name_in_any_case(
        self, default: Credential, exact: Credential, name: str
    ) -> None:
        assert select([default, exact], hello(name, P256)) is exact

    @pytest.mark.parametrize("name", ["mail.example.test", "MAIL.Example.Test"])
    def test_select_takes_the_wildcard_for_one_label(
        self, default: Credential, wildcard: Credential, name: str
    ) -> None:
        assert select([default, wildcard], hello(name, P256)) is wildcard

    @pytest.mark.parametrize("name", ["example.test", "a.b.example.test", ".example.test", "badexample.test", "", "."])
    def test_select_takes_the_default_when_the_wildcard_does_not_cover_exactly_one_label(
        self, default: Credential, wildcard: Credential, name: str
    ) -> None:
        assert select([default, wildcard], hello(name, P256)) is default

    def test_select_takes_the_first_when_several_are_for_the_name(
        self, exact: Credential, wildcard: Credential
    ) -> None:
        info = hello("www.example.test", P256)
        assert select([wildcard, exact], info) is wildcard
        assert select([exact, wildcard], info) is exact

    def test_select_takes_the_one_for_the_name_that_shares_a_scheme(
        self, default: Credential, exact: Credential, edwards: Credential
    ) -> None:
        credentials = [default, exact, edwards]
        assert select(credentials, hello("www.example.test", ED25519)) is edwards
        assert select(credentials, hello("www.example.test", ED25519, P256)) is exact

    def test_select_takes_the_first_with_a_common_scheme_when_no_name_fits(
        self, default: Credential, exact: Credential, edwards: Credential
    ) -> None:
        credentials = [edwards, default, exact]
        assert select(credentials, hello("other.test", P256)) is default
        assert select(credentials, hello(None, P256)) is default
        assert select(credentials, hello(None, P256, ED25519)) is edwards

    def test_select_takes_another_name_rather_than_none_when_the_named_one_cannot_sign(
        self, default: Credential, edwards: Credential
    ) -> None:
        assert select([edwards, default], hello("www.example.test", P256)) is default

    def test_select_takes_none_when_no_scheme_is_common(self, default: Credential, edwards: Credential) -> None:
        assert select([default, edwards], hello("default.test", SignatureScheme.rsa_pss_rsae_sha256)) is None
        assert select([default, edwards], hello("default.test")) is None
        assert select([], hello("default.test", P256)) is None

    async def test_resolver_can_be_select_or_a_coroutine_function(self, default: Credential) -> None:
        async def later(info: ClientHelloInfo) -> Credential | None:
            await asyncio.sleep(0)
            return select([default], info)

        resolvers: list[CredentialResolver] = [lambda info: select([default], info), later]
        for resolver in resolvers:
            answer = resolver(hello(None, P256))
            assert (await answer if isinstance(answer, Awaitable) else answer) is default


@pytest.fixture(scope="module")
def under_rsa() -> Credential:
    """A P-256 key whose certificate an RSA key has signed."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return credential_of(signed_by(key, hashes.SHA256()))


@pytest.fixture(scope="module")
def under_ecdsa() -> Credential:
    return credential_of(signed_by(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()))


@pytest.mark.rfc("8446", "4.4.2.2")
class TestChainSignatures:
    """Among the credentials that can sign, those come first whose chain the peer says that it can check."""

    def test_select_takes_the_one_whose_chain_is_acceptable(
        self, under_rsa: Credential, under_ecdsa: Credential
    ) -> None:
        credentials = [under_rsa, under_ecdsa]
        assert select(credentials, hello(None, P256, cert=(P256,))) is under_ecdsa
        assert select(credentials, hello(None, P256, cert=(RSA, ED25519))) is under_rsa
        assert select(credentials, hello(None, P256, cert=(P256, RSA))) is under_rsa

    def test_select_takes_the_first_when_no_chain_is_acceptable(
        self, under_rsa: Credential, under_ecdsa: Credential
    ) -> None:
        assert select([under_rsa, under_ecdsa], hello(None, P256, cert=(ED25519,))) is under_rsa

    def test_select_takes_the_first_when_the_client_says_nothing_of_chains(
        self, under_rsa: Credential, under_ecdsa: Credential
    ) -> None:
        assert select([under_rsa, under_ecdsa], hello(None, P256)) is under_rsa

    def test_select_takes_the_one_that_can_sign_rather_than_the_one_whose_chain_is_acceptable(
        self, under_rsa: Credential, edwards: Credential
    ) -> None:
        assert select([edwards, under_rsa], hello(None, P256, cert=(P256,))) is under_rsa

    def test_select_takes_the_one_for_the_name_though_only_the_chain_of_another_is_acceptable(
        self, exact: Credential, under_rsa: Credential
    ) -> None:
        assert select([under_rsa, exact], hello("www.example.test", P256, cert=(RSA,))) is exact


def request(
    *authorities: bytes, cert: tuple[int, ...] = (), schemes: tuple[int, ...] = (P256,)
) -> CertificateRequestInfo:
    return CertificateRequestInfo(
        server_name="server.test",
        signature_schemes=schemes,
        signature_schemes_cert=cert,
        authorities=authorities,
        oid_filters=(),
    )


def issuer_of(credential: Credential) -> bytes:
    return x509.load_der_x509_certificate(credential.chain[-1]).issuer.public_bytes()


@pytest.mark.rfc("8446", "4.4.2.3")
class TestSelectForRequest:
    """Which credential a client shows."""

    def test_select_takes_the_one_that_is_issued_under_a_named_authority(
        self, under_rsa: Credential, exact: Credential
    ) -> None:
        assert select_for_request([exact, under_rsa], request(issuer_of(under_rsa))) is under_rsa
        assert select_for_request([under_rsa, exact], request(b"another", issuer_of(exact))) is exact

    def test_select_takes_the_one_whose_chain_is_acceptable(
        self, under_rsa: Credential, under_ecdsa: Credential
    ) -> None:
        authority = issuer_of(under_rsa)
        assert authority == issuer_of(under_ecdsa)
        assert select_for_request([under_rsa, under_ecdsa], request(authority, cert=(P256,))) is under_ecdsa

    def test_select_takes_the_first_that_can_sign_when_no_authority_fits(
        self, edwards: Credential, exact: Credential
    ) -> None:
        for info in (request(), request(b"another")):
            assert select_for_request([edwards, exact], info) is exact

    def test_select_takes_one_that_can_sign_rather_than_one_of_a_named_authority(
        self, edwards: Credential, under_rsa: Credential
    ) -> None:
        assert select_for_request([edwards, under_rsa], request(issuer_of(edwards))) is under_rsa

    def test_select_takes_none_when_none_can_sign(self, edwards: Credential, exact: Credential) -> None:
        assert select_for_request([edwards, exact], request(schemes=(PSS,))) is None
        assert select_for_request([], request()) is None
