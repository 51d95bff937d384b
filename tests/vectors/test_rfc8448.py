"""The traces of RFC 8448, reproduced byte for byte where it gives the keys and the randomness.

Sections 3 (simple 1-RTT), 5 (HelloRetryRequest) and 7 (compatibility mode); of section 4 what the resumption of section
3 comes from.  From the messages and the ephemeral keys alone, our key schedule must come to keys that open and seal
every record of the trace to the same bytes.  In sections 3 and 7 the engine itself says the server's whole first
flight.  Two things of the trace's server are put into it, for we say less or choose by chance: its EncryptedExtensions,
which list its groups and a record size limit, and its signature, whose salt is random.  In section 5 the trace's
server sends a cookie, which ours does not, so there the messages are ours to encode and the engine stays out.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from aiotls import ApplicationData, Credential, HandshakeComplete, PeerClosed, ServerConfig, ServerConnection
from aiotls.crypto.hashes import SHA256, HMACKey
from aiotls.crypto.schedule13 import EarlySecret, HandshakeSecret, MasterSecret, TrafficSecret
from aiotls.crypto.suites import SUITES
from aiotls.handshake.transcript import Transcript
from aiotls.record.protection import OpeningKey, SealingKey
from aiotls.wire.messages import (
    Certificate,
    CertificateVerify,
    ClientHello,
    EncryptedExtensions,
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
    share = ServerHello.parse(content(trace["server_hello_record"]), {43, 51}).key_share
    assert isinstance(share, tuple)
    private = trace["client_private_key"]
    if share[0] == NamedGroup.x25519:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(share[1]))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), share[1])
    return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()).exchange(ec.ECDH(), public)


class Schedule:
    """Our key schedule, run over a trace's messages."""

    def __init__(self, trace: Trace) -> None:
        self.transcript = transcript = Transcript(SHA256)
        transcript.add(content(trace["client_hello_record"]))
        if "hello_retry_request_record" in trace:
            transcript.rewrite_for_retry()
            transcript.add(content(trace["hello_retry_request_record"]))
            transcript.add(content(trace["second_client_hello_record"]))
        transcript.add(content(trace["server_hello_record"]))
        self.handshake: HandshakeSecret = EarlySecret.handshake_secret_without_psk(SHA256, shared_secret(trace))
        self.client_handshake = self.handshake.client_handshake_traffic(transcript.digest())
        self.server_handshake = self.handshake.server_handshake_traffic(transcript.digest())
        for message in ("encrypted_extensions", "certificate", "certificate_verify"):
            transcript.add(trace[message])
        self.server_finished = Finished(self.server_handshake.finished(transcript.digest())).encode()
        transcript.add(self.server_finished)
        self.master: MasterSecret = self.handshake.master_secret()
        self.client_application = self.master.client_application_traffic(transcript.digest())
        self.server_application = self.master.server_application_traffic(transcript.digest())
        self.client_finished = Finished(self.client_handshake.finished(transcript.digest())).encode()
        transcript.add(self.client_finished)


def assert_protects(secret: TrafficSecret, messages: list[tuple[ContentType, bytes]], expected: list[bytes]) -> None:
    """Sealed in their order, the messages are the trace's records; opened, those are the messages."""
    sealing, opening = SealingKey(SUITE, secret), OpeningKey(SUITE, secret)
    assert len(messages) == len(expected)
    for (content_type, message), record in zip(messages, expected, strict=True):
        assert sealing.seal(content_type, message) == record
        assert opening.open(record[:5], record[5:]) == (content_type, message)


@pytest.mark.rfc("8446", "7.1")
def test_schedule_comes_to_the_secrets_of_the_simple_handshake() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    assert schedule.handshake.value == trace["handshake_secret"]
    assert schedule.client_handshake.value == trace["client_handshake_traffic_secret"]
    assert schedule.server_handshake.value == trace["server_handshake_traffic_secret"]
    assert schedule.master.value == trace["master_secret"]


@pytest.mark.rfc("8446", "4.4.4")
@pytest.mark.parametrize("section", ["3", "5", "7"])
def test_schedule_and_records_reproduce_the_handshake(section: str) -> None:
    trace, schedule = TRACES[section], Schedule(TRACES[section])
    assert schedule.server_finished == trace["server_finished"]
    flight = (
        trace["encrypted_extensions"] + trace["certificate"] + trace["certificate_verify"] + schedule.server_finished
    )
    handshake = ContentType.handshake
    assert_protects(schedule.server_handshake, [(handshake, flight)], records(trace["server_flight_records"]))
    finished = records(trace["client_finished_records"])
    assert_protects(schedule.client_handshake, [(handshake, schedule.client_finished)], finished)


@pytest.mark.rfc("8446", "5.2")
def test_records_reproduce_the_data_of_the_simple_handshake() -> None:
    trace, schedule = TRACES["3"], Schedule(TRACES["3"])
    data, alert = (ContentType.application_data, trace["application_data"]), (ContentType.alert, CLOSE_NOTIFY)
    from_client = [trace["client_application_data_record"], trace["client_close_notify_record"]]
    assert_protects(schedule.client_application, [data, alert], from_client)
    ticket = OpeningKey(SUITE, schedule.server_application).open(
        trace["new_session_ticket_record"][:5], trace["new_session_ticket_record"][5:]
    )
    from_server = [
        trace["new_session_ticket_record"],
        trace["server_application_data_record"],
        trace["server_close_notify_record"],
    ]
    assert_protects(schedule.server_application, [(ContentType(ticket[0]), ticket[1]), data, alert], from_server)


@pytest.mark.rfc("8446", "5.2")
@pytest.mark.parametrize("section", ["5", "7"])
def test_records_reproduce_the_close(section: str) -> None:
    trace, schedule = TRACES[section], Schedule(TRACES[section])
    alert = [(ContentType.alert, CLOSE_NOTIFY)]
    assert_protects(schedule.client_application, alert, [trace["client_close_notify_record"]])
    assert_protects(schedule.server_application, alert, [trace["server_close_notify_record"]])


@pytest.mark.rfc("8446", "4.6.1")
def test_ticket_comes_to_the_pre_shared_key_of_the_resumption() -> None:
    schedule = Schedule(TRACES["3"])
    record = TRACES["3"]["new_session_ticket_record"]
    _, message = OpeningKey(SUITE, schedule.server_application).open(record[:5], record[5:])
    ticket = NewSessionTicket.parse(message)
    assert ticket.encode() == message
    resumption = HMACKey(SHA256, schedule.master.resumption(schedule.transcript.digest()))
    label = b"tls13 resumption"
    info = b"\0\x20" + bytes((len(label),)) + label + bytes((len(ticket.ticket_nonce),)) + ticket.ticket_nonce + b"\x01"
    assert resumption.digest(info) == TRACES["4"]["psk"]


@pytest.mark.rfc("8446", "4.2.11.2")
def test_schedule_comes_to_the_binder_of_the_resumption() -> None:
    hello = ClientHello.parse(content(TRACES["4"]["client_hello_record"]))
    assert hello.pre_shared_key is not None
    binder_key = EarlySecret(SHA256, TRACES["4"]["psk"]).binder_key(b"res binder")
    transcript_hash = SHA256.new(hello.without_binders()).digest()
    assert hello.pre_shared_key.binders == (binder_key.finished(transcript_hash),)


@pytest.mark.rfc("8446", "4.1.4")
def test_hello_retry_request_is_encoded_as_in_the_trace() -> None:
    message = content(TRACES["5"]["hello_retry_request_record"])
    retry = ServerHello.parse(message, {43, 51})
    assert retry.is_hello_retry_request
    assert retry.key_share == NamedGroup.secp256r1
    assert replace(retry, raw=b"").encode() == message


@pytest.mark.rfc("8446", "4")
@pytest.mark.parametrize("section", ["3", "5", "7"])
def test_messages_are_encoded_as_in_the_trace(section: str) -> None:
    trace = TRACES[section]
    hello = content(trace["server_hello_record"])
    assert ServerHello.parse(hello, {43, 51}).encode() == hello
    assert Certificate.parse(trace["certificate"]).encode() == trace["certificate"]
    assert CertificateVerify.parse(trace["certificate_verify"]).encode() == trace["certificate_verify"]
    assert EncryptedExtensions.parse(trace["encrypted_extensions"], {0, 10, 28}).supported_groups is not None


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


def trace_server(trace: Trace) -> ServerConnection:
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
    )
    config = ServerConfig(credentials=credential, tickets=0, random=lambda count: trace["server_random"][:count])
    config.encrypted_extensions[True, None] = trace["encrypted_extensions"]
    private = X25519PrivateKey.from_private_bytes(trace["server_private_key"])

    def respond(share: bytes) -> tuple[bytes, bytes]:
        return private.public_key().public_bytes_raw(), private.exchange(X25519PublicKey.from_public_bytes(share))

    config.group_rows[NamedGroup.x25519] = replace(config.group_rows[NamedGroup.x25519], respond=respond)
    return ServerConnection(config)


@pytest.mark.rfc("8446", "2")
@pytest.mark.parametrize("section", ["3", "7"])
def test_server_says_the_first_flight_of_the_trace(section: str) -> None:
    trace = TRACES[section]
    server = trace_server(trace)
    server.receive_data(trace["client_hello_record"])
    assert server.data_to_send() == trace["server_hello_record"] + trace["server_flight_records"]
    server.receive_data(trace["client_finished_records"])
    assert isinstance(server.next_event(), HandshakeComplete)


@pytest.mark.rfc("8446", "6.1")
def test_server_closes_as_in_the_trace_of_compatibility_mode() -> None:
    trace = TRACES["7"]
    server = trace_server(trace)
    server.receive_data(trace["client_hello_record"])
    server.data_to_send()
    server.receive_data(trace["client_finished_records"] + trace["client_close_notify_record"])
    assert isinstance(server.next_event(), HandshakeComplete)
    assert isinstance(server.next_event(), PeerClosed)
    server.close()
    assert server.data_to_send() == trace["server_close_notify_record"]


@pytest.mark.rfc("8446", "5.2")
def test_server_reads_the_data_of_the_simple_handshake() -> None:
    trace = TRACES["3"]
    server = trace_server(trace)
    for record in ("client_hello_record", "client_finished_records", "client_application_data_record"):
        server.receive_data(trace[record])
    assert isinstance(server.next_event(), HandshakeComplete)
    assert server.next_event() == ApplicationData(trace["application_data"])
