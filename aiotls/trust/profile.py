"""Which certificates we accept in a chain: the profile of RFC 5280 §4.2, as far as private authorities keep to it.

`cryptography` verifies chains (RFC 5280 §6.1); what each extension must say is ours to tell it.  Its own defaults are
the CA/Browser Forum's rules, and refuse what `openssl req -x509`, trustme and company authorities make.  From them
we depart where the departure gives nobody a power that the issuer did not give:

- criticality: whether an extension that we understand is marked critical is no reason to refuse it;
- AuthorityKeyIdentifier may lack: it only helps to find the issuer;
- an authority may lack KeyUsage, but when it has it, it must say keyCertSign (RFC 5280 §4.2.1.3); BasicConstraints
  with cA it must have (§4.2.1.9);
- a peer's own certificate may be an authority's: a self-signed certificate that is trusted itself often is;
- certificatePolicies and inhibitAnyPolicy may be critical: with any policy acceptable, as here, they decide nothing
  (RFC 5280 §6.1.1 (c)); a critical policyConstraints is refused, because it may decide.

Stricter than those defaults we are with the peer's KeyUsage, which must say digitalSignature (RFC 8446 §4.4.2.2), with
wildcards right below a top-level domain, and with name constraints on subjects, which `cryptography` leaves out.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy

from aiotls.errors import UntrustedCertificate
from aiotls.trust.fields import whom
from aiotls.trust.names import ServerName
from aiotls.trust.statements import details

__all__ = [
    "allows_purpose",
    "authority_policy",
    "check_subjects",
    "client_policy",
    "has_name_constraints",
    "is_for",
    "server_policy",
]

_EITHER = Criticality.AGNOSTIC
_ANY_PURPOSE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

_RDN: TypeAlias = frozenset[tuple[x509.ObjectIdentifier, str | bytes]]
_UsageCheck: TypeAlias = Callable[[Policy, x509.Certificate, x509.KeyUsage | None], None]


def allows_purpose(usage: x509.ExtendedKeyUsage | None, purpose: x509.ObjectIdentifier) -> bool:
    """Whether a certificate is for *purpose*: it says so, or says nothing, or says any (RFC 5280 §4.2.1.12)."""
    return usage is None or purpose in usage or _ANY_PURPOSE in usage


def authority_policy() -> ExtensionPolicy:
    """For every issuer in a chain, the root included."""
    policy = _common(ExtensionPolicy.webpki_defaults_ca(), _check_authority_usage)
    return policy.require_present(x509.BasicConstraints, _EITHER, _check_authority)


def server_policy() -> ExtensionPolicy:
    """For a server's own certificate.

    `cryptography` compares the name with subjectAltName itself, which must therefore be there (RFC 9525 §6.1: the
    common name is not looked at).
    """
    return _own(require_names=True)


def client_policy() -> ExtensionPolicy:
    """For a client's own certificate, which may have nothing but a subject."""
    return _own(require_names=False)


def _own(*, require_names: bool) -> ExtensionPolicy:
    policy = _common(ExtensionPolicy.webpki_defaults_ee(), _check_own_usage)
    policy = policy.may_be_present(x509.BasicConstraints, _EITHER, None)
    policy = policy.may_be_present(x509.TLSFeature, _EITHER, None)
    if require_names:
        return policy.require_present(x509.SubjectAlternativeName, _EITHER, None)
    return policy.may_be_present(x509.SubjectAlternativeName, _EITHER, None)


def _common(policy: ExtensionPolicy, check_usage: _UsageCheck) -> ExtensionPolicy:
    policy = policy.may_be_present(x509.KeyUsage, _EITHER, check_usage)
    policy = policy.may_be_present(x509.ExtendedKeyUsage, _EITHER, _check_purpose)
    for harmless in (
        x509.AuthorityInformationAccess,
        x509.AuthorityKeyIdentifier,
        x509.CertificatePolicies,
        x509.InhibitAnyPolicy,
        x509.SubjectKeyIdentifier,
    ):
        policy = policy.may_be_present(harmless, _EITHER, None)
    return policy


# What these raise, `cryptography` turns into a refusal; why it was refused is found out afterwards.


def _check_authority(policy: Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    del policy, certificate
    if not constraints.ca:
        raise ValueError("an issuer is no certification authority (RFC 5280 §4.2.1.9)")


def _check_authority_usage(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    del policy, certificate
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer's key is not for signing certificates (RFC 5280 §4.2.1.3)")


def _check_own_usage(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    del policy, certificate
    if usage is not None and not usage.digital_signature:
        raise ValueError("the key is not for signing handshakes (RFC 8446 §4.4.2.2)")


def _check_purpose(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    del certificate
    if not allows_purpose(usage, policy.extended_key_usage):
        raise ValueError("the certificate is for another purpose (RFC 5280 §4.2.1.12)")


# Names


def is_for(dns_names: Sequence[str], ip_addresses: Sequence[str], name: ServerName) -> bool:
    """Whether a certificate with these names is for *name* (RFC 9525 §6.3).

    A wildcard stands for one whole label, the leftmost, and not right below a top-level domain: nobody has all names
    in one, and OpenSSL says the same.
    """
    if name.is_ip:
        return name.text in ip_addresses
    _, _, parent = name.text.partition(".")
    wildcard = f"*.{parent}" if "." in parent else None
    return any(dns_name.lower() in {name.text, wildcard} for dns_name in dns_names)


_NAME_CONSTRAINTS = bytes.fromhex("0603551d1e")


def has_name_constraints(certificate: x509.Certificate) -> bool:
    """Whether there may be name constraints in it: the OID is there, and seldom by chance."""
    return _NAME_CONSTRAINTS in certificate.tbs_certificate_bytes


def check_subjects(chain: Sequence[x509.Certificate]) -> None:
    """Hold the subjects in a verified chain, from the peer's own to the root, to name constraints (RFC 5280 §4.2.1.10).

    `cryptography` applies them to subjectAltName only.  UntrustedCertificate names the authority that does not allow a
    subject below it.
    """
    for at, authority in enumerate(chain):
        if not at or not has_name_constraints(authority):
            continue
        try:
            constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            continue
        for below, certificate in enumerate(chain[:at]):
            # RFC 5280 §6.1.3 (b): not to self-issued certificates, save the last one.
            if below and certificate.subject == certificate.issuer:
                continue
            if not _allows_subject(constraints, certificate.subject):
                raise UntrustedCertificate(
                    f"the authority {whom(authority)} may not certify the subject {whom(certificate)}"
                    " (name constraints, RFC 5280 §4.2.1.10)",
                    **details(certificate),
                )


def _allows_subject(constraints: x509.NameConstraints, subject: x509.Name) -> bool:
    rdns = _canonical(subject)
    if not rdns:
        return True
    permitted = _directories(constraints.permitted_subtrees)
    if permitted and not any(rdns[: len(base)] == base for base in permitted):
        return False
    if any(rdns[: len(base)] == base for base in _directories(constraints.excluded_subtrees)):
        return False
    # A mailbox in the subject is subject to constraints on mailboxes, too; where there are any, we allow none there.
    everything = [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]
    constrained = any(isinstance(name, x509.RFC822Name) for name in everything)
    return not (constrained and subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS))


def _directories(names: Sequence[x509.GeneralName] | None) -> list[list[_RDN]]:
    return [_canonical(name.value) for name in names or () if isinstance(name, x509.DirectoryName)]


def _canonical(name: x509.Name) -> list[_RDN]:
    """A Name for comparison: case and runs of spaces make no difference (RFC 5280 §7.1)."""
    return [frozenset((attribute.oid, _folded(attribute.value)) for attribute in rdn) for rdn in name.rdns]


def _folded(value: str | bytes) -> str | bytes:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value
