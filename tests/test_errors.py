"""The exception tree, and the one table from error to alert (RFC 8446 §6)."""

import ast
import copy
import inspect
import pickle
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import aiotls
from aiotls import errors
from aiotls.errors import AlertDescription, AlertReceived, TLSError, alert_for

PACKAGE = Path(aiotls.__file__).parent
A = AlertDescription

ALERTS: dict[type[TLSError], tuple[AlertDescription | None, str]] = {
    errors.TLSError: (A.internal_error, "6.2"),
    errors.LocalError: (A.internal_error, "6.2"),
    errors.CallbackError: (A.internal_error, "6.2"),
    errors.HandshakeTimeout: (A.user_canceled, "6.1"),
    errors.PeerMisbehaved: (A.illegal_parameter, "6.2"),
    errors.DecodeError: (A.decode_error, "6.2"),
    errors.UnexpectedMessage: (A.unexpected_message, "6.2"),
    errors.IllegalParameter: (A.illegal_parameter, "6.2"),
    errors.MissingExtension: (A.missing_extension, "9.2"),
    errors.UnsupportedExtension: (A.unsupported_extension, "4.2"),
    errors.BadRecordMAC: (A.bad_record_mac, "5.2"),
    errors.RecordOverflow: (A.record_overflow, "5.1"),
    errors.DecryptError: (A.decrypt_error, "4.4.4"),
    errors.PeerFlooding: (A.unexpected_message, "6.2"),
    errors.PeerIncompatible: (A.handshake_failure, "4.1.1"),
    errors.NoCommonVersion: (A.protocol_version, "4.2.1"),
    errors.NoCommonCipherSuite: (A.handshake_failure, "4.1.1"),
    errors.NoCommonGroup: (A.handshake_failure, "4.1.1"),
    errors.NoCommonSignatureScheme: (A.handshake_failure, "4.1.1"),
    errors.NoApplicationProtocol: (A.no_application_protocol, "6.2"),
    errors.UnrecognizedName: (A.unrecognized_name, "6.2"),
    errors.CertificateError: (A.bad_certificate, "6.2"),
    errors.UntrustedCertificate: (A.unknown_ca, "6.2"),
    errors.CertificateExpired: (A.certificate_expired, "6.2"),
    errors.CertificateNameMismatch: (A.bad_certificate, "6.2"),
    errors.UnsupportedCertificate: (A.unsupported_certificate, "6.2"),
    errors.CertificateRevoked: (A.certificate_revoked, "6.2"),
    errors.RevocationUnknown: (A.certificate_unknown, "6.2"),
    errors.BadCertificateStatus: (A.bad_certificate_status_response, "6.2"),
    errors.CertificateRequired: (A.certificate_required, "6.2"),
    errors.AccessDenied: (A.access_denied, "6.2"),
    errors.AlertReceived: (None, "6.2"),
    errors.TruncationError: (None, "6.1"),
}
"""What the peer is told of each error, and the section that says so."""

RFC8446 = {
    "close_notify": 0,
    "unexpected_message": 10,
    "bad_record_mac": 20,
    "record_overflow": 22,
    "handshake_failure": 40,
    "bad_certificate": 42,
    "unsupported_certificate": 43,
    "certificate_revoked": 44,
    "certificate_expired": 45,
    "certificate_unknown": 46,
    "illegal_parameter": 47,
    "unknown_ca": 48,
    "access_denied": 49,
    "decode_error": 50,
    "decrypt_error": 51,
    "protocol_version": 70,
    "insufficient_security": 71,
    "internal_error": 80,
    "inappropriate_fallback": 86,
    "user_canceled": 90,
    "missing_extension": 109,
    "unsupported_extension": 110,
    "unrecognized_name": 112,
    "bad_certificate_status_response": 113,
    "unknown_psk_identity": 115,
    "certificate_required": 116,
    "no_application_protocol": 120,
}
"""The alerts of RFC 8446 §6, copied from the RFC."""


def tree(root: type[TLSError]) -> set[type[TLSError]]:
    return {root}.union(*(tree(child) for child in root.__subclasses__() if child.__module__ == errors.__name__))


def make(kind: type[TLSError]) -> TLSError:
    return AlertReceived(A.access_denied) if kind is AlertReceived else kind("what was seen, what was wanted")


# --- The tree ----------------------------------------------------------------------------------------------------


def test_every_error_has_its_place_in_the_tree_of_the_docstring() -> None:
    drawn = errors.__doc__ or ""
    for kind in tree(TLSError):
        assert kind.__name__ in drawn


def test_every_error_is_exported_and_documented() -> None:
    for kind in tree(TLSError):
        assert kind.__name__ in errors.__all__
        assert kind.__doc__


def test_the_local_and_the_peers_errors_are_told_apart() -> None:
    sides = (errors.LocalError, errors.PeerMisbehaved, errors.PeerIncompatible, errors.CertificateError)
    for kind in tree(TLSError) - {TLSError}:
        assert sum(issubclass(kind, side) for side in sides) <= 1


def constructed() -> set[str]:
    """The names of all that is called, or handed to a call, in the package, outside errors.py and testing/."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "errors.py" or "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                names |= {part.id for part in (node.func, *node.args) if isinstance(part, ast.Name)}
    return names


def test_every_error_that_is_no_mere_base_is_raised_somewhere() -> None:
    bases = {errors.TLSError, errors.PeerMisbehaved, errors.PeerIncompatible}
    assert {kind.__name__ for kind in tree(TLSError) - bases} - constructed() == set()


@pytest.mark.parametrize("kind", ALERTS, ids=attrgetter("__name__"))
def test_error_survives_copy_and_pickle(kind: type[TLSError]) -> None:
    error = make(kind)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - it is our own
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


# --- The table ---------------------------------------------------------------------------------------------------


def test_table_of_this_file_is_complete() -> None:
    assert set(ALERTS) == tree(TLSError)


@pytest.mark.parametrize(
    ("kind", "alert"),
    [
        pytest.param(kind, alert, marks=pytest.mark.rfc("8446", section), id=kind.__name__)
        for kind, (alert, section) in ALERTS.items()
    ],
)
def test_error_becomes_the_alert_that_the_rfc_wants(kind: type[TLSError], alert: AlertDescription | None) -> None:
    assert alert_for(make(kind)) is alert


def test_error_of_a_program_takes_the_alert_of_its_base() -> None:
    class Renewing(errors.CertificateError):
        """A program's own."""

    class Strange(TLSError):
        """Another."""

    assert alert_for(Renewing("just now")) is A.bad_certificate
    assert alert_for(Strange("what")) is A.internal_error


@pytest.mark.rfc("8446", "6.2")
def test_every_alert_of_the_table_is_fatal_or_says_farewell() -> None:
    for kind in ALERTS:
        assert alert_for(make(kind)) is not A.close_notify


def test_alerts_are_made_from_errors_and_nowhere_by_hand() -> None:
    """Only the engine names alerts, and of them only those that are no errors."""
    named: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name == "errors.py" or "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "AlertDescription":
                named.setdefault(path.relative_to(PACKAGE).as_posix(), set()).add(node.attr)
    assert named == {"engine.py": {"close_notify", "user_canceled"}}


# --- Alerts ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "6")
def test_alerts_have_the_rfcs_names_and_values() -> None:
    assert {alert.name: alert.value for alert in AlertDescription} == RFC8446


@pytest.mark.rfc("8446", "6")
def test_alert_that_is_not_known_survives() -> None:
    alert = AlertDescription(200)
    assert (alert, alert.name, alert.value) == (200, "unknown_200", 200)
    assert alert == AlertDescription(200)
    assert alert not in list(AlertDescription)
    assert "unknown_200" in str(AlertReceived(alert))


@pytest.mark.parametrize("value", [-1, 256, "close_notify", None, 1.5])
def test_what_is_no_byte_is_no_alert(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid AlertDescription"):
        AlertDescription(value)


def test_every_alert_value_has_a_name() -> None:
    names = [AlertDescription(value).name for value in range(256)]
    assert len(set(names)) == 256
    assert len(list(AlertDescription)) == len(RFC8446)  # none was entered


def test_alert_received_tells_which() -> None:
    error = AlertReceived(A.bad_certificate)
    assert error.description is A.bad_certificate
    assert str(error) == "the peer ended the connection with the alert bad_certificate"


def test_certificate_error_tells_about_the_certificate() -> None:
    begin, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    error = errors.CertificateExpired("it has expired", subject="CN=a", not_before=begin, not_after=end)
    assert str(error) == "it has expired"
    for twin in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - it is our own
        assert (twin.subject, twin.not_before, twin.not_after) == ("CN=a", begin, end)
    bare = errors.CertificateError("no certificate at all")
    assert (bare.subject, bare.not_before, bare.not_after) == (None, None, None)


def test_errors_are_plain_exceptions() -> None:
    for kind in tree(TLSError):
        assert issubclass(kind, Exception)
        assert not issubclass(kind, OSError)
        assert inspect.getmodule(kind) is errors
