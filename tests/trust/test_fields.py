"""Fields in the bytes of the certificate, and a stranger's text as it can stand in a log."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aiotls.trust.fields import is_rsa_pss_key, printable, spki_of, subject_name_of
from tests.trust.chains import PEER, ROOT, authority, named_rsa_pss, of_version_1, rsa_key, spki
from tests.trust.statements import Party


@pytest.mark.rfc("5280", "4.1")
@pytest.mark.parametrize("party", [PEER, ROOT, of_version_1(ROOT), authority("long " * 12)])
def test_fields_are_those_that_cryptography_reads(party: Party) -> None:
    public = party.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki_of(party.certificate) == public
    assert subject_name_of(party.certificate) == party.certificate.subject.public_bytes()


@pytest.mark.rfc("8446", "4.2.3")
def test_key_named_as_rsa_pss_is_told_from_others() -> None:
    plain = spki(rsa_key(2048))
    assert is_rsa_pss_key(named_rsa_pss(plain))
    assert not is_rsa_pss_key(plain)
    assert not is_rsa_pss_key(spki(PEER.key))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CN=bücher", "CN=bücher"),
        ("a\nb\x1b[0m\u202ec\x00", r"a\nb\x1b[0m\u202ec\x00"),
        ("a" * 200, "a" * 200),
        ("a" * 201, "a" * 200 + "..."),
    ],
)
def test_printable_text_is_on_one_line_and_not_long(text: str, shown: str) -> None:
    assert printable(text) == shown
