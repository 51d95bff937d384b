"""OCSP stapling from end to end (RFC 6066 §8, RFC 8446 §4.4.2.1): where a staple comes from, what a client finds.

OpenSSL joins in memory here, and as a program in tests/interop.  What a response must be is in
tests/trust/test_check_staple.py, and when it is renewed in tests/trust/test_stapling.py.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

from aiotls import ClientConnection, Credential, ServerConfig, ServerConnection
from aiotls.blocking import Blocking
from aiotls.errors import AlertDescription, BadCertificateStatus, CertificateRevoked, TLSError
from aiotls.testing.ca import CertificateStatus, IssuedCertificate, LocalCA
from aiotls.testing.peer import ScriptedClient
from aiotls.testing.pipe import Pipe
from aiotls.testing.server_peer import ScriptedServer
from aiotls.trust.stapling import OCSPStaple
from aiotls.wire.messages import Certificate
from tests.handshake.joined import (
    CLIENT_NAME,
    Joined,
    Pause,
    authority,
    client_config,
    credential,
    issued,
    join,
    openssl_client,
    openssl_server,
    outcome,
    server_config,
    shake_hands,
)

BAD_STATUS = AlertDescription.bad_certificate_status_response
DAY = 24 * 3600
SHOWN = "localhost"

Fetch = Callable[[bytes, bytes], Any]


def shown() -> IssuedCertificate:
    return issued(intermediate=True)


@cache
def response(status: CertificateStatus = "good", *, days: int = 7) -> bytes:
    return authority().ocsp_response(shown(), status=status, days=days)


def stapling(staple: OCSPStaple, **options: Any) -> ServerConfig:
    """A server with a good certificate, and a staple of its own making."""
    return server_config(credentials=shown().credential().with_staple(staple), **options)


@dataclass
class Fixed:
    """A server's staple that nobody looked at before it was sent; it stands for servers that are not ours."""

    staple: bytes | None

    def current(self, *_: object) -> bytes | None:
        return self.staple


def showing(staple: bytes | None, leaf: IssuedCertificate | None = None) -> ServerConfig:
    """A server that staples this, whatever it is."""
    plain = (leaf or shown()).credential()
    return server_config(credentials=replace(plain, staple=Fixed(staple)))  # type: ignore[arg-type]


# --- Where it comes from ----------------------------------------------------------------------------------------------


@dataclass
class Responder:
    """Counts who asks, and for what."""

    asked: list[tuple[bytes, bytes]] = field(default_factory=list)

    def plain(self, leaf: bytes, issuer: bytes) -> bytes:
        self.asked.append((leaf, issuer))
        return response()

    async def awaited(self, leaf: bytes, issuer: bytes) -> bytes:
        await Pause()
        return self.plain(leaf, issuer)

    def blocking(self, leaf: bytes, issuer: bytes) -> Blocking[bytes]:
        return Blocking(lambda: self.plain(leaf, issuer))


KINDS = pytest.mark.parametrize(("kind", "pending"), [("plain", 0), ("awaited", 1), ("blocking", 1)])


@pytest.mark.rfc("8446", "4.4.2.1")
@KINDS
def test_server_fetches_the_staple_in_the_first_handshake_and_keeps_it(kind: str, pending: int) -> None:
    responder = Responder()
    config = stapling(OCSPStaple.from_callable(getattr(responder, kind)))
    insisting = client_config(require_staple=True)
    assert [join(insisting, config).answered for _ in range(3)] == [pending, 0, 0]
    assert responder.asked == [shown().credential().chain[:2]]


@pytest.mark.rfc("8446", "4.4.2.1")
def test_server_staples_what_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "staple.der"
    path.write_bytes(response())
    join(client_config(require_staple=True), stapling(OCSPStaple.from_file(path)))


def stapled_to(config: ServerConfig, *, status_request: bool | None) -> list[bytes | None]:
    """The staple of each entry of the server's Certificate."""
    client, server = ScriptedClient(), ServerConnection(config)
    pipe = Pipe(client, server)
    client.send_message(replace(client.hello(), status_request=status_request).encode())
    pipe.pump()
    (certificate,) = [message for message in client.server_messages if isinstance(message, Certificate)]
    return [entry.status_request for entry in certificate.certificate_list]


@pytest.mark.rfc("8446", "4.4.2.1")
def test_server_staples_to_who_asks_and_to_nobody_else() -> None:
    responder = Responder()
    config = stapling(OCSPStaple.from_callable(responder.plain))
    assert stapled_to(config, status_request=None) == [None, None]
    assert responder.asked == []
    assert stapled_to(config, status_request=True) == [response(), None]
    assert stapled_to(config, status_request=None) == [None, None]
    assert stapled_to(server_config(credentials=shown().credential()), status_request=True) == [None, None]


def raising(_leaf: bytes, _issuer: bytes) -> bytes:
    raise OSError("the responder is down")


async def raising_later(_leaf: bytes, _issuer: bytes) -> bytes:
    await Pause()
    raise OSError("the responder is down")


NOTHING: dict[str, Fetch] = {
    "raises": raising,
    "raises_later": raising_later,
    "raises_in_thread": lambda leaf, issuer: Blocking(lambda: raising(leaf, issuer)),
    "gives_none": lambda _leaf, _issuer: None,
    "gives_rubbish": lambda _leaf, _issuer: b"rubbish",
    "says_revoked": lambda _leaf, _issuer: response("revoked"),
    "says_unknown": lambda _leaf, _issuer: response("unknown"),
}


@pytest.mark.parametrize("fetch", NOTHING.values(), ids=NOTHING)
def test_server_that_gets_no_good_staple_goes_on_without(fetch: Fetch, caplog: pytest.LogCaptureFixture) -> None:
    config = stapling(OCSPStaple.from_callable(fetch))
    join(client_config(), config)
    assert "no new OCSP response for" in caplog.text
    joined = Joined(client_config(require_staple=True), config)
    joined.refused_by_client(BadCertificateStatus, BAD_STATUS)


@dataclass
class Week:
    """A server with its authority, its responder, and a clock that is set."""

    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    up: bool = True
    asked: int = 0

    def __post_init__(self) -> None:
        self._started = self.now
        self._ca = LocalCA(clock=lambda: self.now)
        self._leaf = self._ca.issue(SHOWN, intermediate=True)
        staple = OCSPStaple.from_callable(self._fetch)
        shown = self._leaf.credential().with_staple(staple)
        self._config = server_config(credentials=shown, clock=self._clock)

    def _clock(self) -> float:
        return self.now.timestamp()

    def _fetch(self, _leaf: bytes, _issuer: bytes) -> bytes:
        self.asked += 1
        if not self.up:
            raise OSError("the responder is down")
        return self._ca.ocsp_response(self._leaf, days=4)

    def staple(self, day: float, *, up: bool = True) -> bytes | None:
        """What is stapled in a handshake on that *day*."""
        self.now, self.up = self._started + dt.timedelta(days=day), up
        return stapled_to(self._config, status_request=True)[0]


def test_server_staples_anew_before_the_old_response_ends_and_none_that_has_ended() -> None:
    """All by the config's clock: no handshake sees a response that a client would refuse."""
    week = Week()
    first = week.staple(0)
    assert first is not None
    assert (week.staple(1), week.asked) == (first, 1)
    second = week.staple(2.1)
    assert second not in (first, None)
    assert (week.staple(3, up=False), week.asked) == (second, 2)
    assert (week.staple(5, up=False), week.asked) == (second, 3)
    assert (week.staple(6.2, up=False), week.asked) == (None, 4)
    assert week.staple(7) not in (first, second, None)


# --- What a client finds ----------------------------------------------------------------------------------------------


def refused(config: ServerConfig, kind: type[TLSError], alert: AlertDescription, **options: Any) -> None:
    Joined(client_config(**options), config).refused_by_client(kind, alert)


def signed_by_stranger() -> bytes:
    """A good response, by an authority that bears the same name as ours."""
    stranger = LocalCA()
    signer = stranger._authority("aiotls local CA intermediate", stranger._root)
    leaf, issuer = x509.load_pem_x509_certificates(shown().chain_pem)
    now = dt.datetime.now(dt.UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf,
        issuer=issuer,
        algorithm=hashes.SHA1(),  # noqa: S303 - it identifies, and protects nothing
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=now,
        next_update=now + dt.timedelta(days=1),
        revocation_time=None,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def with_signature_changed() -> bytes:
    """A good response but for one bit."""
    good = response()
    signature = ocsp.load_der_ocsp_response(good).signature
    changed = signature[:-1] + bytes((signature[-1] ^ 1,))
    return good.replace(signature, changed)


@pytest.mark.rfc("6960", "3.2")
@pytest.mark.parametrize("forge", [signed_by_stranger, with_signature_changed])
def test_client_refuses_response_that_the_authority_did_not_sign(forge: Callable[[], bytes]) -> None:
    refused(showing(forge()), BadCertificateStatus, BAD_STATUS)


@pytest.mark.rfc("6960", "3.2")
def test_client_refuses_response_that_is_out_of_date_or_not_yet_valid() -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    for away, good in ((6 * DAY, True), (8 * DAY, False), (0, True), (-DAY // 48, True)):
        options = {"clock": lambda away=away: now + away}
        if good:
            join(client_config(**options), showing(response()))
        else:
            refused(showing(response()), BadCertificateStatus, BAD_STATUS, **options)
    ca = LocalCA(clock=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    ca._root, ca._intermediate = authority()._root, authority()._intermediate
    refused(showing(ca.ocsp_response(shown())), BadCertificateStatus, BAD_STATUS)


@pytest.mark.rfc("7633", "4")
def test_client_takes_must_staple_at_its_word() -> None:
    promising = authority().issue(SHOWN, intermediate=True, must_staple=True)
    good = authority().ocsp_response(promising)
    join(client_config(), showing(good, promising))
    refused(showing(None, promising), BadCertificateStatus, BAD_STATUS)
    refused(showing(response(), promising), BadCertificateStatus, BAD_STATUS)  # it is for another certificate


@pytest.mark.rfc("6960", "3.2")
def test_client_remembers_no_verdict_beyond_the_staple_that_it_came_from() -> None:
    config = client_config()
    join(config, showing(response()))
    joined = Joined(config, showing(response("revoked")))
    joined.refused_by_client(CertificateRevoked, AlertDescription.certificate_revoked)
    join(config, showing(response()))
    join(config, showing(None))
    insisting = client_config(require_staple=True)
    join(insisting, showing(response()))
    Joined(insisting, showing(None)).refused_by_client(BadCertificateStatus, BAD_STATUS)


@pytest.mark.rfc("6960", "3.2")
def test_client_remembers_no_verdict_longer_than_the_response_is_valid() -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    config = client_config(clock=lambda: now, verification_cache_lifetime=DAY)
    server = showing(response(days=1))
    join(config, server)
    now += DAY - 60
    join(config, server)
    now += 120
    Joined(config, server).refused_by_client(BadCertificateStatus, BAD_STATUS)


def test_client_with_a_verifier_of_its_own_asks_for_no_staple() -> None:
    """It would not look at one."""
    responder = Responder()
    join(client_config(verifier=lambda *_: True), stapling(OCSPStaple.from_callable(responder.plain)))
    assert responder.asked == []


# --- A client's own ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.parametrize("asked", [True, None], ids=["asked", "not_asked"])
def test_client_staples_to_a_server_that_asks(*, asked: bool | None) -> None:
    leaf = issued(CLIENT_NAME, intermediate=True)
    good = authority().ocsp_response(leaf)
    ours: Credential = leaf.credential().with_staple(OCSPStaple.from_callable(lambda _leaf, _issuer: good))
    server = ScriptedServer(credential())
    pipe = Pipe(server, ClientConnection(client_config(credentials=ours), SHOWN))
    pipe.pump()
    server.send_server_hello()
    server.send(server.encrypted_extensions())
    server.send(server.certificate_request(status_request=asked))
    server.send(server.certificate())
    server.send(server.certificate_verify())
    server.finish()
    pipe.pump()
    assert server.client_finished
    (certificate,) = [message for message in server.client_messages if isinstance(message, Certificate)]
    staples = [entry.status_request for entry in certificate.certificate_list]
    assert staples == ([good, None] if asked else [None, None])


# --- OpenSSL ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "4.4.2.1")
@KINDS
def test_openssl_gets_the_staple_that_it_asks_for(kind: str, pending: int) -> None:
    del pending
    seen: list[bytes] = []

    def look(_connection: SSL.Connection, staple: bytes, _data: object) -> bool:
        seen.append(staple)
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_ocsp_client_callback(look)
    config = stapling(OCSPStaple.from_callable(getattr(Responder(), kind)))
    for asks in (True, False):
        client, server = openssl_client(context), Answering(config)
        if asks:
            client.request_ocsp()
        shake_hands(client, server)
        assert server.negotiated is not None
    assert seen == [response()]  # OpenSSL calls nobody back where it did not ask


class Answering(ServerConnection):
    """A server that does in place what it waits for."""

    def receive_data(self, data: Any) -> None:
        super().receive_data(data)
        while (pending := self.pending) is not None:
            self.resume(outcome(pending))


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.parametrize("status", ["good", "revoked"])
def test_client_looks_at_the_staple_of_openssl(status: CertificateStatus) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_ocsp_server_callback(lambda *_: response(status))
    theirs = openssl_server(shown(), context)
    ours = ClientConnection(client_config(require_staple=True), SHOWN)
    if status == "good":
        shake_hands(theirs, ours)
        assert ours.negotiated is not None
        return
    with pytest.raises(SSL.Error) as told:
        shake_hands(theirs, ours)
    assert "certificate revoked" in str(told.value)
    with pytest.raises(CertificateRevoked):
        ours.next_event()
