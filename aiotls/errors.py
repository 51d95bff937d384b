"""What can go wrong, and what the peer is told of it: the Alert Protocol of RFC 8446 §6.

Nobody in this package sends an alert by hand.  Code that finds something wrong raises one of these errors, and
the engine derives the alert from the error by the one table at the end of this file.  An error says what was seen
and what was wanted; it never holds a secret.

    TLSError
    ├── LocalError              our caller, or something that the caller gave us, is wrong
    │   ├── CallbackError       a resolver, signer or another of the caller's functions failed
    │   └── HandshakeTimeout    the handshake took longer than the caller allows
    ├── PeerMisbehaved          the peer broke the protocol
    │   ├── DecodeError         its bytes do not parse
    │   ├── UnexpectedMessage   its message has no place here
    │   ├── IllegalParameter    its message parses, but contradicts the RFC or an earlier message
    │   ├── MissingExtension    an extension that the RFC demands is not there
    │   ├── UnsupportedExtension  it answered an extension that was never offered
    │   ├── BadRecordMAC        a record does not authenticate
    │   ├── RecordOverflow      a record is larger than the RFC allows
    │   ├── DecryptError        a signature, Finished or binder does not verify
    │   └── PeerFlooding        it sends what costs us work and brings nothing, beyond a limit
    ├── PeerIncompatible        the peer is honest, but we share nothing
    │   ├── NoCommonVersion, NoCommonCipherSuite, NoCommonGroup, NoCommonSignatureScheme
    │   ├── NoApplicationProtocol
    │   └── UnrecognizedName
    ├── CertificateError        a certificate or key cannot be used, with the reason
    │   ├── UntrustedCertificate  it leads to no root that we trust
    │   ├── CertificateExpired  it is expired, or not yet valid
    │   ├── CertificateNameMismatch  it is for another name
    │   ├── UnsupportedCertificate  its key is too weak or of another kind, or it is for another use
    │   ├── CertificateRevoked, RevocationUnknown, BadCertificateStatus
    │   └── CertificateRequired  the peer shows none, and must
    ├── AccessDenied            the peer is who it says, and the program refuses it
    ├── AlertReceived           the peer ended the connection with an alert
    └── TruncationError         the transport ended before the peer's close_notify
"""

import enum
from datetime import datetime

__all__ = [
    "AccessDenied",
    "AlertDescription",
    "AlertReceived",
    "BadCertificateStatus",
    "BadRecordMAC",
    "CallbackError",
    "CertificateError",
    "CertificateExpired",
    "CertificateNameMismatch",
    "CertificateRequired",
    "CertificateRevoked",
    "DecodeError",
    "DecryptError",
    "HandshakeTimeout",
    "IllegalParameter",
    "LocalError",
    "MissingExtension",
    "NoApplicationProtocol",
    "NoCommonCipherSuite",
    "NoCommonGroup",
    "NoCommonSignatureScheme",
    "NoCommonVersion",
    "PeerFlooding",
    "PeerIncompatible",
    "PeerMisbehaved",
    "RecordOverflow",
    "RevocationUnknown",
    "TLSError",
    "TruncationError",
    "UnexpectedMessage",
    "UnrecognizedName",
    "UnsupportedCertificate",
    "UnsupportedExtension",
    "UntrustedCertificate",
    "alert_for",
]


class AlertDescription(enum.IntEnum):
    """The alerts of RFC 8446 §6; a value that is not among them survives as ``unknown_N``."""

    close_notify = 0
    unexpected_message = 10
    bad_record_mac = 20
    record_overflow = 22
    handshake_failure = 40
    bad_certificate = 42
    unsupported_certificate = 43
    certificate_revoked = 44
    certificate_expired = 45
    certificate_unknown = 46
    illegal_parameter = 47
    unknown_ca = 48
    access_denied = 49
    decode_error = 50
    decrypt_error = 51
    protocol_version = 70
    insufficient_security = 71
    internal_error = 80
    inappropriate_fallback = 86
    user_canceled = 90
    missing_extension = 109
    unsupported_extension = 110
    unrecognized_name = 112
    bad_certificate_status_response = 113
    unknown_psk_identity = 115
    certificate_required = 116
    no_application_protocol = 120

    @classmethod
    def _missing_(cls, value: object) -> "AlertDescription | None":
        """Keep a value that the registry gained after this table was written."""
        if not isinstance(value, int) or not 0 <= value <= 0xFF:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"unknown_{value}"
        member._value_ = value
        return member


class TLSError(Exception):
    """The root of everything that this package raises about a connection."""


class LocalError(TLSError):
    """The calling program asked for something that cannot be done; the text says what to do instead."""


class CallbackError(LocalError):
    """A function that the caller supplied (resolver, signer, ...) raised; its exception is the ``__cause__``."""


class HandshakeTimeout(LocalError):
    """The handshake was not complete within the time that the caller allows."""


class PeerMisbehaved(TLSError):
    """The peer broke the protocol."""


class DecodeError(PeerMisbehaved):
    """A message does not parse: a length is wrong, something is missing or left over (RFC 8446 §6.2)."""


class UnexpectedMessage(PeerMisbehaved):
    """A message or record arrived where the RFC has no place for it (RFC 8446 §6.2)."""


class IllegalParameter(PeerMisbehaved):
    """A field has a value that the RFC forbids, or one that contradicts another message (RFC 8446 §6.2)."""


class MissingExtension(PeerMisbehaved):
    """An extension that is mandatory for what the peer wants is absent (RFC 8446 §9.2)."""


class UnsupportedExtension(PeerMisbehaved):
    """The peer answered an extension that we did not offer (RFC 8446 §4.2)."""


class BadRecordMAC(PeerMisbehaved):
    """A record does not authenticate under the current key (RFC 8446 §5.2)."""


class RecordOverflow(PeerMisbehaved):
    """A record is longer than RFC 8446 §5.1 and §5.2 allow."""


class DecryptError(PeerMisbehaved):
    """A handshake signature, Finished or binder does not verify (RFC 8446 §6.2)."""


class PeerFlooding(PeerMisbehaved):
    """The peer sends something legal so often that only a limit protects us; the text names the limit."""


class PeerIncompatible(TLSError):
    """The peer is honest, but we have nothing in common."""


class NoCommonVersion(PeerIncompatible):
    """No protocol version is acceptable to both sides (RFC 8446 §4.2.1)."""


class NoCommonCipherSuite(PeerIncompatible):
    """No cipher suite is acceptable to both sides (RFC 8446 §4.1.1)."""


class NoCommonGroup(PeerIncompatible):
    """No key exchange group is acceptable to both sides (RFC 8446 §4.1.1)."""


class NoCommonSignatureScheme(PeerIncompatible):
    """No credential of ours can sign with a scheme that the peer accepts (RFC 8446 §4.4.2.2)."""


class NoApplicationProtocol(PeerIncompatible):
    """Both sides name application protocols, and none is on both lists (RFC 7301 §3.2)."""


class UnrecognizedName(PeerIncompatible):
    """There is no credential for the server name that the client asked for (RFC 6066 §3)."""


class CertificateError(TLSError):
    """A certificate or private key cannot be used; the text names the file or field, and the reason.

    Where it is about one certificate of a peer's, that one's ``subject`` (as in RFC 4514), ``not_before`` and
    ``not_after`` (in UTC) are there to be read; otherwise they are None.
    """

    def __init__(
        self,
        message: str,
        *,
        subject: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.subject = subject
        self.not_before = not_before
        self.not_after = not_after


class UntrustedCertificate(CertificateError):
    """No chain leads from the certificate to a root that we trust (RFC 5280 §6.1), or to none of the keys pinned.

    A chain that is too long, or that an authority's name constraints forbid, does not lead there.
    """


class CertificateExpired(CertificateError):
    """A certificate of the chain is not valid now: it is expired, or does not begin yet (RFC 5280 §4.1.2.5)."""


class CertificateNameMismatch(CertificateError):
    """The certificate is for other names than the one that we want to reach (RFC 9525 §6)."""


class UnsupportedCertificate(CertificateError):
    """The certificate's key is too weak or of a kind that we do not take, or it is for another use."""


class CertificateRevoked(CertificateError):
    """The issuer has revoked the certificate (RFC 5280 §5, RFC 6960)."""


class RevocationUnknown(CertificateError):
    """Whether the certificate is revoked cannot be told, and has to be known: CRLs lack, or are out of date."""


class BadCertificateStatus(CertificateError):
    """The stapled OCSP response is missing where it must be there, or cannot be trusted (RFC 6066 §8, RFC 7633)."""


class CertificateRequired(CertificateError):
    """The peer shows no certificate, and is admitted only with one (RFC 8446 §6.2)."""


class AccessDenied(TLSError):
    """The peer has proved who it is, and the program's authorisation refuses it (RFC 8446 §6.2)."""


class AlertReceived(TLSError):
    """The peer ended the connection with an alert (RFC 8446 §6).

    ``description`` is the :class:`AlertDescription` that it sent.
    """

    def __init__(self, description: AlertDescription) -> None:
        super().__init__(description)
        self.description = description

    def __str__(self) -> str:
        """The alert's name."""
        return f"the peer ended the connection with the alert {self.description.name}"


class TruncationError(TLSError):
    """The transport ended without close_notify: data may have been cut off (RFC 8446 §6.1)."""


# The table.  An error that is not listed takes the row of its nearest base class.
_ALERTS: dict[type[TLSError], AlertDescription | None] = {
    TLSError: AlertDescription.internal_error,
    LocalError: AlertDescription.internal_error,
    HandshakeTimeout: AlertDescription.user_canceled,
    PeerMisbehaved: AlertDescription.illegal_parameter,
    DecodeError: AlertDescription.decode_error,
    UnexpectedMessage: AlertDescription.unexpected_message,
    IllegalParameter: AlertDescription.illegal_parameter,
    MissingExtension: AlertDescription.missing_extension,
    UnsupportedExtension: AlertDescription.unsupported_extension,
    BadRecordMAC: AlertDescription.bad_record_mac,
    RecordOverflow: AlertDescription.record_overflow,
    DecryptError: AlertDescription.decrypt_error,
    PeerFlooding: AlertDescription.unexpected_message,
    PeerIncompatible: AlertDescription.handshake_failure,
    NoCommonVersion: AlertDescription.protocol_version,
    NoApplicationProtocol: AlertDescription.no_application_protocol,
    UnrecognizedName: AlertDescription.unrecognized_name,
    CertificateError: AlertDescription.bad_certificate,
    UntrustedCertificate: AlertDescription.unknown_ca,
    CertificateExpired: AlertDescription.certificate_expired,
    UnsupportedCertificate: AlertDescription.unsupported_certificate,
    CertificateRevoked: AlertDescription.certificate_revoked,
    RevocationUnknown: AlertDescription.certificate_unknown,
    BadCertificateStatus: AlertDescription.bad_certificate_status_response,
    CertificateRequired: AlertDescription.certificate_required,
    AccessDenied: AlertDescription.access_denied,
    AlertReceived: None,  # RFC 8446 §6.2: after a fatal alert nothing more is sent
    TruncationError: None,  # there is nobody left to tell
}


def alert_for(error: TLSError) -> AlertDescription | None:
    """The alert that tells the peer of *error*, or None where the RFC wants silence."""
    for kind in type(error).__mro__:
        if kind in _ALERTS:
            return _ALERTS[kind]
    return AlertDescription.internal_error
