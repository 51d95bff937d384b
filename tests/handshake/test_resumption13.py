"""Resumption (RFC 8446 §2.2, §4.2.11, §4.6.1): with OpenSSL's client where it would do it, by hand where it would not.

What may not be resumed leads to a full handshake, and to no error; only a wrong binder is one.
"""

import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Unpack

import pytest

from aiotls import ServerConfig, ServerConnection, TicketKeys
from aiotls.crypto.schedule13 import EarlySecret
from aiotls.crypto.suites import SUITES
from aiotls.errors import AlertDescription, DecryptError, IllegalParameter, LocalError, MissingExtension
from aiotls.negotiated import Negotiated
from aiotls.sessions.session import Session
from aiotls.testing.ca import LocalCA
from aiotls.testing.peer import HelloFields, ScriptedClient
from aiotls.wire.extensions import OfferedPsks, PskIdentity
from aiotls.wire.messages import NewSessionTicket, ServerHello
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme
from tests.handshake.conftest import Duel, credential

START = 1_800_000_000.0
PSK_DHE_KE = (1,)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(clock: Clock) -> ServerConfig:
    return ServerConfig(credentials=credential(), alpn=("h2", "http/1.1"), clock=clock)


@pytest.fixture
def context() -> ssl.SSLContext:
    """A client that would resume whatever it is given: it has no idea of names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@dataclass
class Connected:
    """A connection that is complete and has carried data both ways."""

    client: ssl.SSLObject
    server: ServerConnection

    @property
    def session(self) -> ssl.SSLSession:
        session = self.client.session
        assert session is not None
        return session

    @property
    def negotiated(self) -> Negotiated:
        assert self.server.negotiated is not None
        return self.server.negotiated


def connect(
    context: ssl.SSLContext,
    config: ServerConfig,
    session: ssl.SSLSession | None = None,
    name: str | None = "localhost",
) -> Connected:
    """A handshake, and data both ways."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    server = ServerConnection(config)
    while server.negotiated is None:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.receive_data(outgoing.read())
        server.next_event()
        incoming.write(server.data_to_send())
    server.send_data(b"pong")
    incoming.write(server.data_to_send())
    assert client.read() == b"pong"
    client.write(b"ping")
    server.receive_data(outgoing.read())
    assert server.negotiated.resumed is client.session_reused
    return Connected(client, server)


def assert_full(again: Connected) -> None:
    """It was a full handshake, and nothing went wrong."""
    assert not again.negotiated.resumed
    assert again.negotiated.credential is credential()
    assert again.negotiated.signature_scheme is not None


# --- With OpenSSL's client ---------------------------------------------------------------------------------------


@pytest.mark.rfc("8446", "2.2")
def test_server_resumes_a_session(context: ssl.SSLContext, config: ServerConfig) -> None:
    first = connect(context, config)
    assert_full(first)
    again = connect(context, config, first.session)
    assert again.negotiated.resumed
    assert again.negotiated.credential is None
    assert again.negotiated.signature_scheme is None
    assert again.negotiated.group is NamedGroup.x25519
    assert again.negotiated.server_name == "localhost"
    assert again.negotiated.alpn == "h2"
    assert not again.negotiated.retried


@pytest.mark.parametrize("suite", [CipherSuite(code) for code in SUITES], ids=lambda suite: suite.name)
def test_server_resumes_a_session_of_each_suite(context: ssl.SSLContext, suite: CipherSuite) -> None:
    config = ServerConfig(credentials=credential(), cipher_suites=(suite,))
    again = connect(context, config, connect(context, config).session)
    assert again.negotiated.resumed
    assert again.negotiated.cipher_suite is suite


def test_server_resumes_a_session_without_name_and_protocol(config: ServerConfig) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    again = connect(context, config, connect(context, config, name=None).session, name=None)
    assert again.negotiated.resumed
    assert again.negotiated.server_name is None
    assert again.negotiated.alpn is None


@pytest.mark.rfc("8446", "4.2.11.2")
def test_server_resumes_after_hello_retry_request(context: ssl.SSLContext, clock: Clock) -> None:
    config = ServerConfig(credentials=credential(), groups=(NamedGroup.secp384r1,), clock=clock)
    first = connect(context, config)
    assert first.negotiated.retried
    again = connect(context, config, first.session)
    assert again.negotiated.retried
    assert again.negotiated.resumed
    assert again.negotiated.group is NamedGroup.secp384r1


@pytest.mark.rfc("8446", "4.6.1")
def test_resumed_connections_give_tickets_that_do_not_prolong_the_session(
    context: ssl.SSLContext, config: ServerConfig, clock: Clock
) -> None:
    connection = connect(context, config)
    assert connection.session.ticket_lifetime_hint == 6 * 3600
    for hours in range(1, 6):
        clock.now = START + hours * 3600
        connection = connect(context, config, connection.session)
        assert connection.negotiated.resumed
        assert connection.session.ticket_lifetime_hint == (6 - hours) * 3600
    clock.now = START + 6 * 3600 + 1
    connection = connect(context, config, connection.session)
    assert_full(connection)
    assert connection.session.ticket_lifetime_hint == 6 * 3600


def test_server_does_not_resume_for_another_name(context: ssl.SSLContext, config: ServerConfig) -> None:
    session = connect(context, config).session
    assert_full(connect(context, config, session, name="other.test"))
    assert_full(connect(context, config, session, name=None))
    assert connect(context, config, session).negotiated.resumed


def test_server_does_not_resume_for_another_protocol(context: ssl.SSLContext, config: ServerConfig) -> None:
    session = connect(context, config).session
    context.set_alpn_protocols(["http/1.1"])
    again = connect(context, config, session)
    assert_full(again)
    assert again.negotiated.alpn == "http/1.1"


OTHERWISE: dict[str, dict[str, Any]] = {
    "alpn": {"alpn": ("h2",)},
    "cipher_suites": {"cipher_suites": (CipherSuite.TLS_AES_128_GCM_SHA256,)},
    "groups": {"groups": (NamedGroup.x25519,)},
    "signature_schemes": {"signature_schemes": (SignatureScheme.ecdsa_secp256r1_sha256,)},
    "require_server_name": {"require_server_name": True},
    "credentials": {"credentials": LocalCA().issue("localhost").credential()},
}


@pytest.mark.parametrize("changes", OTHERWISE.values(), ids=OTHERWISE)
def test_server_does_not_resume_across_configs_that_share_keys(
    context: ssl.SSLContext, clock: Clock, changes: dict[str, Any]
) -> None:
    keys = TicketKeys.rotating(clock=clock)
    config = ServerConfig(credentials=credential(), alpn=("h2", "http/1.1"), clock=clock, ticket_keys=keys)
    other = replace(config, **changes)
    assert other.scope != config.scope
    session = connect(context, config).session
    assert not connect(context, other, session).negotiated.resumed
    assert connect(context, config, session).negotiated.resumed


def test_server_resumes_across_configs_that_agree_and_share_keys(context: ssl.SSLContext, clock: Clock) -> None:
    keys = TicketKeys.rotating(clock=clock)
    config = ServerConfig(credentials=credential(), clock=clock, ticket_keys=keys)
    other = replace(config, max_early_data_skipped=0)
    assert connect(context, other, connect(context, config).session).negotiated.resumed


@pytest.mark.parametrize(("age", "resumed"), [(0, True), (3600, True), (3600.5, False), (-0.5, False)])
def test_server_resumes_within_the_lifetime_only(
    context: ssl.SSLContext, clock: Clock, *, age: float, resumed: bool
) -> None:
    config = ServerConfig(credentials=credential(), clock=clock, session_lifetime=3600)
    session = connect(context, config).session
    clock.now = START + age
    assert connect(context, config, session).negotiated.resumed is resumed


def test_lifetime_that_was_shortened_since_counts(context: ssl.SSLContext, clock: Clock) -> None:
    config = ServerConfig(credentials=credential(), clock=clock, ticket_keys=TicketKeys.rotating(clock=clock))
    session = connect(context, config).session
    clock.now += 61
    assert_full(connect(context, replace(config, session_lifetime=60), session))
    assert connect(context, config, session).negotiated.resumed


def test_server_resumes_by_the_old_key_until_it_is_gone(context: ssl.SSLContext, clock: Clock) -> None:
    keys = TicketKeys.rotating(100, clock=clock)
    config = ServerConfig(credentials=credential(), clock=clock, ticket_keys=keys)
    session = connect(context, config).session
    clock.now = START + 199
    assert connect(context, config, session).negotiated.resumed
    clock.now = START + 200
    assert_full(connect(context, config, session))


def test_server_does_not_resume_by_keys_that_it_does_not_have(context: ssl.SSLContext, config: ServerConfig) -> None:
    session = connect(context, config).session
    assert_full(connect(context, replace(config, alpn=config.alpn), session))


def test_server_without_tickets_gives_none_and_resumes_none(context: ssl.SSLContext, config: ServerConfig) -> None:
    session = connect(context, config).session
    without = replace(config, tickets=0, ticket_keys=config.sealing_keys)
    assert without.scope == config.scope
    assert_full(connect(context, without, session))
    assert not connect(context, without).session.has_ticket


# --- The tickets themselves --------------------------------------------------------------------------------------


def ticketed(config: ServerConfig, **fields: Unpack[HelloFields]) -> Duel:
    """A complete handshake of a client that can use tickets."""
    fields.setdefault("psk_key_exchange_modes", PSK_DHE_KE)
    duel = Duel(config=config, **fields)
    duel.client.send_hello()
    duel.pump()
    duel.client.finish()
    duel.pump()
    assert duel.error is None
    return duel


def tickets_of(duel: Duel) -> list[NewSessionTicket]:
    duel.pump()
    return [message for message in duel.client.server_messages if isinstance(message, NewSessionTicket)]


@pytest.mark.rfc("8446", "4.6.1")
@pytest.mark.parametrize("number", range(9))
def test_tickets_ride_with_the_first_application_data(config: ServerConfig, number: int) -> None:
    duel = ticketed(replace(config, tickets=number))
    assert tickets_of(duel) == []
    duel.server.send_data(b"pong")
    sent = duel.server.data_to_send()
    duel.client.receive_data(bytes(sent))
    tickets = tickets_of(duel)
    assert len(tickets) == number
    assert len({ticket.ticket for ticket in tickets}) == number
    assert len({ticket.ticket_nonce for ticket in tickets}) == number
    assert len({ticket.ticket_age_add for ticket in tickets}) == number
    assert {ticket.ticket_lifetime for ticket in tickets} <= {6 * 3600}
    assert {ticket.early_data for ticket in tickets} <= {None}
    assert duel.client.data == b"pong"
    duel.server.send_data(b"again")
    assert len(tickets_of(duel)) == number


def test_tickets_have_one_length_whatever_was_agreed_on(config: ServerConfig) -> None:
    lengths = set()
    for suite in SUITES:
        for name in (None, "a.test", "a-much-longer-name.of-some-host.test"):
            for alpn in (None, (b"h2",), (b"http/1.1",)):
                duel = ticketed(
                    config,
                    cipher_suites=(suite,),
                    server_name=name,
                    application_layer_protocol_negotiation=alpn,
                )
                duel.server.send_tickets()
                lengths |= {len(ticket.ticket) for ticket in tickets_of(duel)}
    assert len(lengths) == 1


@pytest.mark.rfc("8446", "4.2.9")
@pytest.mark.parametrize("modes", [None, (0,)], ids=["none", "psk_ke"])
def test_client_that_could_not_use_tickets_gets_none(config: ServerConfig, modes: tuple[int, ...] | None) -> None:
    duel = ticketed(config, psk_key_exchange_modes=modes)
    duel.server.send_data(b"pong")
    duel.server.send_tickets()
    assert tickets_of(duel) == []
    assert duel.client.data == b"pong"


def test_owner_can_send_the_tickets_at_once(config: ServerConfig) -> None:
    duel = ticketed(config)
    duel.server.send_tickets()
    assert len(tickets_of(duel)) == 2
    duel.server.send_tickets()
    duel.server.send_data(b"pong")
    assert len(tickets_of(duel)) == 2
    duel.assert_in_order()


def test_connection_that_writes_nothing_gives_no_tickets(config: ServerConfig) -> None:
    duel = ticketed(config)
    duel.server.send_data(b"")
    duel.server.close()
    assert tickets_of(duel) == []
    with pytest.raises(LocalError):
        duel.server.send_tickets()


def test_tickets_cannot_be_sent_before_the_handshake_is_complete(config: ServerConfig) -> None:
    with pytest.raises(LocalError):
        ServerConnection(config).send_tickets()


def test_resumption_secret_is_gone_once_the_tickets_are_made(config: ServerConfig) -> None:
    duel = ticketed(config)
    outcome = duel.server._outcome
    assert outcome is not None
    assert outcome.resumption_secret
    duel.server.send_tickets()
    assert duel.server._outcome is not None
    assert duel.server._outcome.resumption_secret == b""


@pytest.mark.parametrize("failed", [False, True], ids=["closed", "failed"])
def test_resumption_secret_is_gone_once_the_connection_has_ended(config: ServerConfig, *, failed: bool) -> None:
    duel = ticketed(config)
    if failed:
        duel.server.receive_eof()
    else:
        duel.server.close()
    assert duel.server._outcome is not None
    assert duel.server._outcome.resumption_secret == b""


def test_tickets_come_under_a_new_key_when_the_old_one_has_served(config: ServerConfig) -> None:
    duel = ticketed(replace(config, max_records_per_key=2))
    duel.server.send_data(b"pong")
    assert len(tickets_of(duel)) == 2
    duel.assert_in_order()


def test_server_gives_no_tickets_when_the_session_has_ended_already(config: ServerConfig, clock: Clock) -> None:
    duel = ticketed(config)
    outcome = duel.server._outcome
    assert outcome is not None
    duel.server._outcome = replace(outcome, session_created=int(START) - 6 * 3600)
    duel.server.send_data(b"pong")
    assert tickets_of(duel) == []


# --- By hand -----------------------------------------------------------------------------------------------------


@pytest.fixture
def session(config: ServerConfig) -> Session:
    """What a ticket of this config would hold."""
    return Session(
        version=ProtocolVersion.TLSv1_3,
        cipher_suite=CipherSuite.TLS_AES_128_GCM_SHA256,
        psk=b"\xaa" * 32,
        created=int(START),
        lifetime=3600,
        ticket_age_add=0,
        server_name="localhost",
        alpn=None,
        scope=config.scope,
    )


def ticket_of(session: Session, config: ServerConfig) -> bytes:
    assert config.sealing_keys is not None
    return config.sealing_keys.seal(session.encode())


def binder_of(truncated: bytes, session: Session) -> bytes:
    """The binder of a first ClientHello (RFC 8446 §4.2.11.2)."""
    function = SUITES[session.cipher_suite].hash
    return EarlySecret(function, session.psk).binder_key(b"res binder").finished(function.new(truncated).digest())


def offering(
    tickets: Sequence[bytes], session: Session, binder: bytes | None = None, **fields: Unpack[HelloFields]
) -> bytes:
    """A ClientHello that offers these tickets; the binders are right for *session*, if none is given."""
    identities = tuple(PskIdentity(ticket, 0) for ticket in tickets)
    empty = OfferedPsks(identities, (bytes(SUITES[session.cipher_suite].hash.digest_size),) * len(tickets))
    fields.setdefault("supported_groups", (NamedGroup.x25519,))
    fields.setdefault("psk_key_exchange_modes", PSK_DHE_KE)
    client = ScriptedClient(shares=(NamedGroup.x25519,), **fields)
    hello = client.hello(pre_shared_key=empty)
    if binder is None:
        binder = binder_of(hello.encode()[: -empty.binders_length], session)
    return replace(hello, pre_shared_key=OfferedPsks(identities, (binder,) * len(tickets))).encode()


def answer_to(hello: bytes, config: ServerConfig) -> ServerHello:
    """The ServerHello, in the first record of what the server says."""
    server = ServerConnection(config)
    server.receive_data(bytes((22, 3, 1)) + len(hello).to_bytes(2, "big") + hello)
    assert server.next_event() is None
    sent = bytes(server.data_to_send())
    return ServerHello.parse(sent[5 : 5 + int.from_bytes(sent[3:5], "big")], range(1 << 16))


def refusal_of(hello: bytes, config: ServerConfig) -> Duel:
    """The duel in which the server was sent this."""
    duel = Duel(config=config)
    duel.client.send_message(hello)
    return duel


def test_server_selects_the_session_by_its_identity(config: ServerConfig, session: Session) -> None:
    hello = offering([b"not ours", b"x" * 200, ticket_of(session, config)], session)
    assert answer_to(hello, config).pre_shared_key == 2


def test_server_tries_no_more_than_four_identities(config: ServerConfig, session: Session) -> None:
    ticket = ticket_of(session, config)
    assert answer_to(offering([b"not ours"] * 3 + [ticket], session), config).pre_shared_key == 3
    assert answer_to(offering([b"not ours"] * 4 + [ticket], session), config).pre_shared_key is None


def test_server_prefers_the_suite_of_the_session(config: ServerConfig, session: Session) -> None:
    session = replace(session, cipher_suite=CipherSuite.TLS_CHACHA20_POLY1305_SHA256)
    answer = answer_to(offering([ticket_of(session, config)], session), config)
    assert answer.cipher_suite == CipherSuite.TLS_CHACHA20_POLY1305_SHA256
    assert answer.pre_shared_key == 0


@pytest.mark.rfc("8446", "4.2.11")
@pytest.mark.parametrize(
    ("suite", "resumed"),
    [(CipherSuite.TLS_CHACHA20_POLY1305_SHA256, True), (CipherSuite.TLS_AES_256_GCM_SHA384, False)],
    ids=["same-hash", "other-hash"],
)
def test_server_resumes_under_another_suite_if_the_hash_is_the_same(
    config: ServerConfig, session: Session, suite: CipherSuite, *, resumed: bool
) -> None:
    answer = answer_to(offering([ticket_of(session, config)], session, cipher_suites=(suite,)), config)
    assert answer.cipher_suite == suite
    assert (answer.pre_shared_key == 0) is resumed


UNFIT: dict[str, dict[str, Any]] = {
    "version": {"version": ProtocolVersion.TLSv1_2},
    "suite": {"cipher_suite": 0x1399},
    "created": {"created": int(START) + 1},
    "expired": {"created": int(START) - 3601},
    "name": {"server_name": "other.test"},
    "no-name": {"server_name": None},
    "alpn": {"alpn": b"h2"},
    "scope": {"scope": bytes(32)},
    "short-scope": {"scope": bytes(16)},
}


@pytest.mark.parametrize("changes", UNFIT.values(), ids=UNFIT)
def test_server_makes_a_full_handshake_where_the_session_does_not_fit(
    config: ServerConfig, session: Session, changes: dict[str, Any]
) -> None:
    unfit = ticket_of(replace(session, **changes), config)
    assert answer_to(offering([unfit], session), config).pre_shared_key is None
    assert answer_to(offering([ticket_of(session, config)], session), config).pre_shared_key == 0


def forged(ticket: bytes) -> Iterable[bytes]:
    for place in (0, 16, 28, len(ticket) - 1):
        yield ticket[:place] + bytes((ticket[place] ^ 1,)) + ticket[place + 1 :]
    yield ticket[:-1]
    yield ticket[:20]
    yield ticket + b"\0"


def test_server_makes_a_full_handshake_for_a_forged_ticket(config: ServerConfig, session: Session) -> None:
    for ticket in forged(ticket_of(session, config)):
        assert answer_to(offering([ticket], session), config).pre_shared_key is None


def test_server_makes_a_full_handshake_for_a_ticket_that_holds_no_session(
    config: ServerConfig, session: Session
) -> None:
    assert config.sealing_keys is not None
    for content in (b"", b"\x01", session.encode()[:40], b"\x02" + session.encode()[1:]):
        ticket = config.sealing_keys.seal(content)
        assert answer_to(offering([ticket], session), config).pre_shared_key is None


@pytest.mark.rfc("8446", "4.2.9")
def test_server_makes_a_full_handshake_where_psk_dhe_ke_is_not_offered(config: ServerConfig, session: Session) -> None:
    hello = offering([ticket_of(session, config)], session, psk_key_exchange_modes=(0, 7))
    assert answer_to(hello, config).pre_shared_key is None


@pytest.mark.rfc("8446", "4.2.11.2")
@pytest.mark.parametrize("binder", [bytes(32), bytes(48)], ids=["wrong", "of-another-length"])
def test_server_refuses_a_wrong_binder(config: ServerConfig, session: Session, binder: bytes) -> None:
    duel = refusal_of(offering([ticket_of(session, config)], session, binder), config)
    assert "binder" in duel.assert_refused(DecryptError, AlertDescription.decrypt_error)


@pytest.mark.rfc("8446", "4.2.11.2")
def test_server_refuses_a_hello_that_was_changed_under_the_binder(config: ServerConfig, session: Session) -> None:
    hello = offering([ticket_of(session, config)], session)
    duel = refusal_of(hello[:6] + bytes((hello[6] ^ 1,)) + hello[7:], config)
    duel.assert_refused(DecryptError, AlertDescription.decrypt_error)


@pytest.mark.rfc("8446", "4.2.3")
def test_resuming_client_may_leave_signature_algorithms_out(config: ServerConfig, session: Session) -> None:
    hello = offering([ticket_of(session, config)], session, signature_algorithms=None)
    assert answer_to(hello, config).pre_shared_key == 0


@pytest.mark.rfc("8446", "9.2")
def test_client_without_signature_algorithms_is_refused_where_its_session_is_not_resumed(
    config: ServerConfig, session: Session
) -> None:
    duel = refusal_of(offering([b"not ours"], session, signature_algorithms=None), config)
    duel.assert_refused(MissingExtension, AlertDescription.missing_extension)


@pytest.mark.rfc("8446", "4.1.2")
def test_second_hello_must_not_offer_what_the_first_did_not(config: ServerConfig, session: Session) -> None:
    duel = Duel(config=config, shares=(), psk_key_exchange_modes=PSK_DHE_KE)
    duel.client.send_hello()
    duel.pump()
    offered = OfferedPsks((PskIdentity(ticket_of(session, config), 0),), (bytes(32),))
    duel.client.send_hello(pre_shared_key=offered)
    duel.assert_refused(IllegalParameter, AlertDescription.illegal_parameter)


@pytest.mark.rfc("8446", "4.2.11.2")
def test_server_refuses_a_binder_that_leaves_the_retry_out(config: ServerConfig, session: Session) -> None:
    """It must cover the first ClientHello and the HelloRetryRequest too."""
    duel = Duel(config=config, shares=(), psk_key_exchange_modes=PSK_DHE_KE, supported_groups=(NamedGroup.x25519,))
    identity = (PskIdentity(ticket_of(session, config), 0),)
    empty = OfferedPsks(identity, (bytes(32),))
    duel.client.send_hello(pre_shared_key=empty)
    duel.pump()
    hello = duel.client.hello(pre_shared_key=empty)
    binder = binder_of(hello.encode()[: -empty.binders_length], session)
    duel.client.send_message(replace(hello, pre_shared_key=OfferedPsks(identity, (binder,))).encode())
    duel.assert_refused(DecryptError, AlertDescription.decrypt_error)


# --- The config --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"tickets": -1},
        {"tickets": 9},
        {"session_lifetime": 0},
        {"session_lifetime": 7 * 24 * 3600 + 1},
        {"session_lifetime": float("nan")},
        {"ticket_keys": b"secret"},
    ],
    ids=str,
)
def test_config_refuses_what_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(LocalError, match=next(iter(fields))):
        ServerConfig(credentials=credential(), **fields)
