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
    ├── AlertReceived           the peer ended the connection with an alert
    └── TruncationError         the transport ended before the peer's close_notify
"""

import enum

__all__ = [
    "AlertDescription",
    "AlertReceived",
    "BadRecordMAC",
    "CallbackError",
    "CertificateError",
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
    "TLSError",
    "TruncationError",
    "UnexpectedMessage",
    "UnrecognizedName",
    "UnsupportedExtension",
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
    """A certificate or private key cannot be used; the text names the file or field, and the reason."""


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
    AlertReceived: None,  # RFC 8446 §6.2: after a fatal alert nothing more is sent
    TruncationError: None,  # there is nobody left to tell
}


def alert_for(error: TLSError) -> AlertDescription | None:
    """The alert that tells the peer of *error*, or None where the RFC wants silence."""
    for kind in type(error).__mro__:
        if kind in _ALERTS:
            return _ALERTS[kind]
    return AlertDescription.internal_error
