"""The traces of RFC 8448, reproduced byte for byte where it gives the keys and the randomness.

Sections 3 (simple 1-RTT), 4 (its resumption, with 0-RTT), 5 (HelloRetryRequest), 6 (client authentication) and 7
(compatibility mode).  From the messages and the ephemeral keys alone, our key schedule must come to keys that open and
seal every record of the trace to the same bytes; in section 3, which gives them all, each value on the way is compared.

In sections 3 and 7 the engine itself says the server's whole first flight.  Two things of the trace's server are put
into it, for we say less or choose by chance: its EncryptedExtensions, which list its groups, and its signature, whose
salt is random.  In the others the trace's server does what ours does not (it accepts 0-RTT, sends a cookie, lists its
groups), so there the messages and records are ours to make and the engine stays out.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from aiotls import ApplicationData, Credential, HandshakeComplete, PeerClosed, ServerConfig, ServerConnection
from aiotls.crypto.hashes import SHA256
from aiotls.crypto.schedule13 import EarlySecret, HandshakeSecret, MasterSecret, ResumptionSecret, TrafficSecret
from aiotls.crypto.signatures import verify
from aiotls.crypto.suites import SUITES
from aiotls.errors import DecryptError
from aiotls.handshake import server13
from aiotls.handshake.transcript import Transcript
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.testing.ca import LocalCA
from aiotls.wire.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    EncryptedExtensions,
    EndOfEarlyData,
    Finished,
    NewSessionTicket,
    ServerHello,
)
from aiotls.wire.registries import CipherSuite, ContentType, NamedGroup, SignatureScheme

Trace = dict[str, bytes]

TRACES: dict[str, Trace] = {
    section: {name: bytes.fromhex(value) for name, value in values.items()}
    for section, values in json.loads(Path(__file__).with_name("rfc8448.json").read_text(encoding="ascii")).items()
}
SUITE = SUITES[CipherSuite.TLS_AES_128_GCM_SHA256]
CLOSE_NOTIFY = bytes((1, 0))
OFFERED = {41, 43, 51}
"""pre_shared_key, supported_versions, key_share."""


def records(data: bytes) -> list[bytes]:
    """The records in *data*, without the change_cipher_spec of compatibility mode."""
    found = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:size])
        data = data[size:]
    return [record for record in found if record[0] != ContentType.change_cipher_spec]


def content(record: bytes) -> bytes:
    return record[5:]


def shared_secret(trace: Trace) -> bytes:
    """The (EC)DHE secret of the two ephemeral keys that the trace gives."""
    share = ServerHello.parse(content(trace["server_hello_record"]), OFFERED).key_share
    assert isinstance(share, tuple)
    private = trace["client_private_key"]
    if share[0] == NamedGroup.x25519:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(share[1]))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), share[1])
    return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()).exchange(ec.ECDH(), public)


class Schedule:
    """Our key schedule, run over a trace's messages."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.transcript = Transcript(SHA256)
        self.hashes: dict[str, bytes] = {}
        """The transcript hash up to each message, which is part of it."""
        self.early = EarlySecret(SHA256, trace.get("psk", bytes(SHA256.digest_size)))
        self._hellos()
        if "psk" in trace:
            self.handshake: HandshakeSecret = self.early.handshake_secret(shared_secret(trace))
        else:
            self.handshake = EarlySecret.handshake_secret_without_psk(SHA256, shared_secret(trace))
        self.client_handshake = self.handshake.client_handshake_traffic(self.hashes["server_hello"])
        self.server_handshake = self.handshake.server_handshake_traffic(self.hashes["server_hello"])
        self.server_flight = self._flight(
            self.server_handshake, "encrypted_extensions", "certificate_request", "certificate", "certificate_verify"
        )
        self.hashes["server_finished"] = self.transcript.digest()
        self.master: MasterSecret = self.handshake.master_secret()
        self.client_application = self.master.client_application_traffic(self.hashes["server_finished"])
        self.server_application = self.master.server_application_traffic(self.hashes["server_finished"])
        if "early_data" in trace:
            self.transcript.add(EndOfEarlyData().encode())
        self.client_flight = self._flight(self.client_handshake, "client_certificate", "client_certificate_verify")
        self.hashes["client_finished"] = self.transcript.digest()

    def _hellos(self) -> None:
        trace, transcript = self.trace, self.transcript
        transcript.add(content(trace["client_hello_record"]))
        self.hashes["client_hello"] = transcript.digest()
        if "hello_retry_request_record" in trace:
            transcript.rewrite_for_retry()
            transcript.add(content(trace["hello_retry_request_record"]))
            transcript.add(content(trace["second_client_hello_record"]))
        transcript.add(content(trace["server_hello_record"]))
        self.hashes["server_hello"] = transcript.digest()

    def _flight(self, secret: TrafficSecret, *names: str) -> bytes:
        """The messages of these names that the trace has, and our Finished behind them."""
        flight = b""
        for name in names:
            if name in self.trace:
                self.transcript.add(self.trace[name])
                self.hashes[name] = self.transcript.digest()
                flight += self.trace[name]
        finished = Finished(secret.finished(self.transcript.digest())).encode()
        self.transcript.add(finished)
        return flight + finished


def assert_protects(secret: TrafficSecret, messages: list[tuple[ContentType, bytes]], expected: list[bytes]) -> None:
    """Sealed in their order, the messages are the trace's records; opened, those are the messages."""
    sealing, opening = SealingKey(SUITE, secret), OpeningKey(SUITE, secret)
    assert len(messages) == len(expected)
    for (content_type, message), record in zip(messages, expected, strict=True):
        assert sealing.seal(content_type, message) == record
        assert opening.open(record[:5], record[5:]) == (content_type, message)


@pytest.mark.rfc("8446", "7.1")
def test_schedule_comes_to_each_secret_of_the_simple_handshake() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    assert shared_secret(trace) == trace["shared_secret"]
    assert schedule.early.value == trace["early_secret"]
    assert schedule.handshake.value == trace["handshake_secret"]
    assert schedule.client_handshake.value == trace["client_handshake_traffic_secret"]
    assert schedule.server_handshake.value == trace["server_handshake_traffic_secret"]
    assert schedule.master.value == trace["master_secret"]
    assert schedule.client_application.value == trace["client_application_traffic_secret"]
    assert schedule.server_application.value == trace["server_application_traffic_secret"]
    assert schedule.master.exporter(schedule.hashes["server_finished"]) == trace["exporter_master_secret"]
    assert schedule.master.resumption(schedule.hashes["client_finished"]) == trace["resumption_master_secret"]


@pytest.mark.rfc("8446", "4.4.1")
def test_transcript_comes_to_each_hash_of_the_simple_handshake() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    for message in ("server_hello", "server_finished", "client_finished"):
        assert schedule.hashes[message] == trace[f"hash_to_{message}"]


@pytest.mark.rfc("8446", "7.3")
def test_schedule_comes_to_each_key_of_the_simple_handshake() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    for name, secret in (
        ("client_handshake", schedule.client_handshake),
        ("server_handshake", schedule.server_handshake),
        ("client_application", schedule.client_application),
        ("server_application", schedule.server_application),
    ):
        assert secret.key_and_iv(SUITE) == (trace[f"{name}_key"], trace[f"{name}_iv"])
    for side, secret in (("client", schedule.client_handshake), ("server", schedule.server_handshake)):
        assert secret.expand(b"finished", SHA256.digest_size) == trace[f"{side}_finished_key"]
    assert schedule.client_flight == trace["client_finished"]


@pytest.mark.rfc("8446", "4.4.4")
@pytest.mark.parametrize("section", ["3", "5", "6", "7"])
def test_schedule_and_records_reproduce_the_handshake(section: str) -> None:
    trace, schedule = TRACES[section], Schedule(TRACES[section])
    assert schedule.server_flight.endswith(trace["server_finished"])
    handshake = ContentType.handshake
    from_server = records(trace["server_flight_records"])
    assert_protects(schedule.server_handshake, [(handshake, schedule.server_flight)], from_server)
    from_client = records(trace["client_finished_records"])
    assert_protects(schedule.client_handshake, [(handshake, schedule.client_flight)], from_client)


@pytest.mark.rfc("8446", "2.3")
def test_schedule_and_records_reproduce_the_resumption_with_early_data() -> None:
    trace, schedule = TRACES["4"], Schedule(TRACES["4"])
    assert schedule.early.value == trace["early_secret"]
    assert schedule.server_flight == trace["encrypted_extensions"] + trace["server_finished"]
    handshake, application_data = ContentType.handshake, ContentType.application_data
    from_client = records(trace["client_finished_records"])
    assert_protects(
        schedule.early.client_early_traffic(schedule.hashes["client_hello"]),
        [(application_data, trace["early_data"]), (handshake, EndOfEarlyData().encode())],
        [trace["early_data_record"], from_client[0]],
    )
    from_server = records(trace["server_flight_records"])
    assert_protects(schedule.server_handshake, [(handshake, schedule.server_flight)], from_server)
    assert_protects(schedule.client_handshake, [(handshake, schedule.client_flight)], from_client[1:])
    messages = [(application_data, trace["application_data"]), (ContentType.alert, CLOSE_NOTIFY)]
    for side, secret in (("client", schedule.client_application), ("server", schedule.server_application)):
        expected = [trace[f"{side}_application_data_record"], trace[f"{side}_close_notify_record"]]
        assert_protects(secret, messages, expected)


@pytest.mark.rfc("8446", "4.4.3")
@pytest.mark.parametrize(
    ("section", "prefix", "context"),
    [
        ("3", "", "server"),
        ("5", "", "server"),
        ("6", "", "server"),
        ("6", "client_", "client"),
        ("7", "", "server"),
    ],
)
def test_signatures_of_the_traces_verify(section: str, prefix: str, context: str) -> None:
    trace, schedule = TRACES[section], Schedule(TRACES[section])
    (entry,) = Certificate.parse(trace[f"{prefix}certificate"]).certificate_list
    key = x509.load_der_x509_certificate(entry.cert_data).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    proof = CertificateVerify.parse(trace[f"{prefix}certificate_verify"])
    signed = b" " * 64 + f"TLS 1.3, {context} CertificateVerify".encode() + b"\0"
    verify(key, proof.algorithm, proof.signature, signed + schedule.hashes[f"{prefix}certificate"])
    with pytest.raises(DecryptError):
        verify(key, proof.algorithm, proof.signature, signed + schedule.hashes[f"{prefix}certificate_verify"])


@pytest.mark.rfc("8446", "5.2")
def test_records_reproduce_the_data_of_the_simple_handshake() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    data, alert = (ContentType.application_data, trace["application_data"]), (ContentType.alert, CLOSE_NOTIFY)
    ticket = (ContentType.handshake, trace["new_session_ticket"])
    from_client = [trace["client_application_data_record"], trace["client_close_notify_record"]]
    assert_protects(schedule.client_application, [data, alert], from_client)
    from_server = [
        trace["new_session_ticket_record"],
        trace["server_application_data_record"],
        trace["server_close_notify_record"],
    ]
    assert_protects(schedule.server_application, [ticket, data, alert], from_server)


@pytest.mark.rfc("8446", "5.2")
@pytest.mark.parametrize("section", ["5", "6", "7"])
def test_records_reproduce_the_close(section: str) -> None:
    trace, schedule = TRACES[section], Schedule(TRACES[section])
    alert = [(ContentType.alert, CLOSE_NOTIFY)]
    assert_protects(schedule.client_application, alert, [trace["client_close_notify_record"]])
    assert_protects(schedule.server_application, alert, [trace["server_close_notify_record"]])


@pytest.mark.rfc("8446", "4.6.1")
def test_ticket_comes_to_the_pre_shared_key_of_the_resumption() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    ticket = NewSessionTicket.parse(trace["new_session_ticket"])
    assert ticket.encode() == trace["new_session_ticket"]
    assert (ticket.ticket_lifetime, ticket.early_data) == (30, 1024)
    resumption = ResumptionSecret(SHA256, schedule.master.resumption(schedule.hashes["client_finished"]))
    assert resumption.psk(ticket.ticket_nonce) == TRACES["4"]["psk"]
    hello = ClientHello.parse(content(TRACES["4"]["client_hello_record"]))
    assert hello.pre_shared_key is not None
    (identity,) = hello.pre_shared_key.identities
    assert identity.identity == ticket.ticket
    assert identity.obfuscated_ticket_age - ticket.ticket_age_add == 6  # milliseconds


@pytest.mark.rfc("8446", "4.2.11.2")
def test_schedule_comes_to_the_binder_of_the_resumption() -> None:
    trace = TRACES["4"]
    hello = ClientHello.parse(content(trace["client_hello_record"]))
    assert hello.pre_shared_key is not None
    assert hello.pre_shared_key.binders == (trace["binder"],)
    assert SHA256.new(hello.without_binders()).digest() == trace["binder_hash"]
    binder_key = EarlySecret(SHA256, trace["psk"]).binder_key(b"res binder")
    assert binder_key.value == trace["binder_key"]
    assert binder_key.expand(b"finished", SHA256.digest_size) == trace["binder_finished_key"]
    assert binder_key.finished(trace["binder_hash"]) == trace["binder"]


@pytest.mark.rfc("8446", "4.1.4")
def test_hello_retry_request_is_encoded_as_in_the_trace() -> None:
    message = content(TRACES["5"]["hello_retry_request_record"])
    retry = ServerHello.parse(message, OFFERED)
    assert retry.is_hello_retry_request
    assert retry.key_share == NamedGroup.secp256r1
    assert replace(retry, raw=b"").encode() == message


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize("section", TRACES)
def test_messages_are_encoded_as_in_the_trace(section: str) -> None:
    trace = TRACES[section]
    hello = content(trace["server_hello_record"])
    # Of the extensions' order only that of key_share and supported_versions is ours as well; the resumption's
    # pre_shared_key stands before them in the trace, where the RFC leaves the order free (§4.2).
    if section != "4":
        assert ServerHello.parse(hello, OFFERED).encode() == hello
    for name, message in (
        ("certificate_request", CertificateRequest),
        ("certificate", Certificate),
        ("certificate_verify", CertificateVerify),
        ("server_finished", Finished),
        ("client_certificate", Certificate),
        ("client_certificate_verify", CertificateVerify),
    ):
        if name in trace:
            assert message.parse(trace[name]).encode() == trace[name]
    extensions = EncryptedExtensions.parse(trace["encrypted_extensions"], {0, 10, 28, 42})
    assert extensions.supported_groups is not None
    client_hello = ClientHello.parse(content(trace["client_hello_record"]))
    assert client_hello.random == trace["client_random"]
    assert client_hello.record_size_limit == extensions.record_size_limit == 0x4001
    assert ServerHello.parse(hello, OFFERED).random == trace["server_random"]


class TraceKey:
    """Signs as the trace's server did."""

    def __init__(self, trace: Trace) -> None:
        self._signature = CertificateVerify.parse(trace["certificate_verify"]).signature

    def schemes(self) -> tuple[int, ...]:
        return (SignatureScheme.rsa_pss_rsae_sha256,)

    def sign(self, scheme: int, message: bytes) -> bytes:
        assert scheme == SignatureScheme.rsa_pss_rsae_sha256
        assert message.startswith(b" " * 64)
        return self._signature


def trace_server(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> ServerConnection:
    """Our engine with the trace's keys, randomness, certificate and EncryptedExtensions."""
    chain = tuple(entry.cert_data for entry in Certificate.parse(trace["certificate"]).certificate_list)
    key, moment = TraceKey(trace), datetime(2016, 7, 30, tzinfo=UTC)
    credential = Credential(
        chain=chain,
        schemes=key.schemes(),
        signing_key=key,
        names=(),
        not_before=moment,
        not_after=moment,
        subject="CN=rsa",
        key_type="RSA-1024",
        issuers=frozenset(),
    )
    config = ServerConfig(credentials=credential, tickets=0, random=lambda count: trace["server_random"][:count])
    # The trace's server also names its groups, which ours does not.
    monkeypatch.setattr(server13, "encrypted_extensions", lambda *_: trace["encrypted_extensions"])
    private = X25519PrivateKey.from_private_bytes(trace["server_private_key"])

    def respond(share: bytes) -> tuple[bytes, bytes]:
        return private.public_key().public_bytes_raw(), private.exchange(X25519PublicKey.from_public_bytes(share))

    config.group_rows[NamedGroup.x25519] = replace(config.group_rows[NamedGroup.x25519], respond=respond)
    return ServerConnection(config)


@pytest.mark.rfc("8446", "2")
@pytest.mark.parametrize("section", ["3", "7"])
def test_server_says_the_first_flight_of_the_trace(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TRACES[section]
    server = trace_server(trace, monkeypatch)
    server.receive_data(trace["client_hello_record"])
    assert server.data_to_send() == trace["server_hello_record"] + trace["server_flight_records"]
    server.receive_data(trace["client_finished_records"])
    assert isinstance(server.next_event(), HandshakeComplete)


@pytest.mark.rfc("8446", "6.1")
def test_server_closes_as_in_the_trace_of_compatibility_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TRACES["7"]
    server = trace_server(trace, monkeypatch)
    server.receive_data(trace["client_hello_record"])
    server.data_to_send()
    server.receive_data(trace["client_finished_records"] + trace["client_close_notify_record"])
    assert isinstance(server.next_event(), HandshakeComplete)
    assert isinstance(server.next_event(), PeerClosed)
    server.close()
    assert server.data_to_send() == trace["server_close_notify_record"]


@pytest.mark.rfc("8446", "5.2")
def test_server_reads_the_data_of_the_simple_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TRACES["3"]
    server = trace_server(trace, monkeypatch)
    for record in ("client_hello_record", "client_finished_records", "client_application_data_record"):
        server.receive_data(trace[record])
    assert isinstance(server.next_event(), HandshakeComplete)
    assert server.next_event() == ApplicationData(trace["application_data"])


@pytest.mark.rfc("8449", "4")
def test_server_answers_the_record_size_limit_of_the_trace() -> None:
    """With its own EncryptedExtensions, which the client of the trace would take."""
    hello = ClientHello.parse(content(TRACES["3"]["client_hello_record"]))
    config = ServerConfig(credentials=LocalCA().issue("server").credential())
    answer = EncryptedExtensions.parse(server13.encrypted_extensions(hello, None, None, config), set(hello.extensions))
    assert (answer.record_size_limit, answer.server_name) == (0x4001, True)
