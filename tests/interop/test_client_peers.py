"""Our client against real servers: every row of the table of servers through every row of the table of features."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import aiotls
from aiotls.errors import (
    AlertDescription,
    BadCertificateStatus,
    CertificateExpired,
    CertificateNameMismatch,
    CertificateRevoked,
    TruncationError,
    UntrustedCertificate,
    alert_for,
)
from aiotls.testing.ca import KeyType
from aiotls.trust.identity import PeerIdentity
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme
from tests.interop.caller import call, trusting
from tests.interop.conftest import Prepare
from tests.interop.endpoint import digest
from tests.interop.identities import Identities, Identity
from tests.interop.peers import row, run
from tests.interop.servers import (
    SERVERS,
    PeerServer,
    each_line,
    each_server,
    node,
    openssl,
    openssl_terminal,
    pyopenssl,
)

MIB = 1 << 20


def text(size: int) -> bytes:
    """So many bytes in lines of 64."""
    return b"".join(b"%063x\n" % number for number in range(size // 64))


# What every server can


@dataclass(frozen=True)
class Feature:
    """A client that every server can talk to."""

    name: str
    client: dict[str, Any] = field(default_factory=dict)
    """Options of our config."""
    server: dict[str, Any] = field(default_factory=dict)
    """Options of the server."""
    identity: dict[str, Any] = field(default_factory=dict)
    """What the server's certificate is to be."""
    negotiated: dict[str, object] = field(default_factory=dict)
    """What must come of them."""
    size: int = 1024
    """Bytes each way, in lines of 64."""


FEATURES = [
    Feature("4-MiB-each-way", size=4 * MIB),
    Feature(
        "retry",
        {"groups": (NamedGroup.x25519, NamedGroup.secp384r1)},
        {"group": NamedGroup.secp384r1},
        negotiated={"group": NamedGroup.secp384r1, "retried": True},
    ),
    Feature("key-updates", {"max_records_per_key": 12}, size=MIB // 2),  # at each `s_server -rev` sleeps for a second
    Feature("no-alpn", {"alpn": ()}, negotiated={"alpn": None}),
    Feature("intermediate", identity={"intermediate": True}),
    *(
        Feature(suite.name, {"cipher_suites": (suite,)}, negotiated={"cipher_suite": suite}, size=128 * 1024)
        for suite in (
            CipherSuite.TLS_AES_128_GCM_SHA256,
            CipherSuite.TLS_AES_256_GCM_SHA384,
            CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
        )
    ),
    *(
        Feature(key_type, identity={"key_type": key_type}, negotiated={"signature_scheme": scheme})
        for key_type, scheme in (
            ("rsa-2048", SignatureScheme.rsa_pss_rsae_sha256),
            ("ecdsa-p384", SignatureScheme.ecdsa_secp384r1_sha384),
            ("ed25519", SignatureScheme.ed25519),
        )
    ),
]


@pytest.mark.rfc("8446", "2")
@pytest.mark.rfc("8446", "6.1")
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@each_server
async def test_client_verifies_server_exchanges_data_and_closes(
    server: PeerServer, feature: Feature, identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server(**feature.identity)
    lines = text(feature.size)
    async with (
        server.start(prepare(identity, **feature.server)) as running,
        call(running, trusting(identity, **feature.client)) as ours,
    ):
        assert digest(await server.echo(ours.reader, ours.writer, lines)) == digest(lines)
        await ours.hang_up(first=not server.closes_first)

    expected = {
        "version": ProtocolVersion.TLSv1_3,
        "group": server.group,
        "alpn": "http/1.1",
        "server_name": "localhost",
        "resumed": False,
        "retried": False,
        **feature.negotiated,
    }
    assert {name: getattr(ours.negotiated, name) for name in expected} == expected
    assert_is(ours.negotiated.peer, identity)


def assert_is(peer: PeerIdentity | None, identity: Identity) -> None:
    """What the application reads of the server is what its certificate says."""
    assert peer is not None
    assert peer.dns_names == ("localhost",)
    assert peer.ip_addresses == ("127.0.0.1",)
    assert peer.verified_chain[: len(identity.credential.chain)] == identity.credential.chain
    assert len(peer.verified_chain) == len(identity.credential.chain) + 1
    assert (peer.subject, peer.not_after) == (identity.credential.subject, identity.credential.not_after)


# What is refused


@dataclass(frozen=True)
class Refusal:
    """A server that does not prove its name."""

    name: str
    error: type[aiotls.CertificateError]

    def identity(self, identities: Identities) -> Identity:
        if self.error is CertificateExpired:
            return identities.expired
        return identities.elsewhere if self.error is CertificateNameMismatch else identities.server()

    def trusted(self, identities: Identities) -> Identity:
        return identities.stranger if self.error is UntrustedCertificate else self.identity(identities)


REFUSALS = [
    Refusal("wrong-name", CertificateNameMismatch),
    Refusal("unknown-authority", UntrustedCertificate),
    Refusal("expired", CertificateExpired),
]


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@each_server
async def test_client_refuses_server_and_tells_it_why(
    server: PeerServer, refusal: Refusal, identities: Identities, prepare: Prepare
) -> None:
    identity = refusal.identity(identities)
    async with server.start(prepare(identity, flags=server.names_alerts_with)) as running:
        with pytest.raises(refusal.error) as caught:
            async with call(running, trusting(refusal.trusted(identities))):
                pass
        alert = alert_for(caught.value)
        assert alert is not None
        await running.see(server.alert(alert))


@pytest.mark.rfc("7301", "3.2")
@pytest.mark.peer("openssl")
async def test_client_with_no_common_protocol_is_refused(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with openssl(prepare(identity, alpn=("h3",))) as running:
        with pytest.raises(aiotls.AlertReceived) as caught:
            async with call(running, trusting(identity)):
                pass
        assert caught.value.description is AlertDescription.no_application_protocol


@pytest.mark.peer("openssl")
async def test_client_reaches_server_by_address_and_names_it_not(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with (
        openssl_terminal(prepare(identity, flags=("-tlsextdebug",))) as running,
        call(running, trusting(identity), name="127.0.0.1") as ours,
    ):
        await running.see("^CIPHER is ")
        assert b'"server name"' not in running.output
        assert b'"supported versions"' in running.output
        assert_is(ours.negotiated.peer, identity)


@pytest.mark.peer("openssl")
async def test_client_refuses_server_by_address_that_is_not_its(identities: Identities, prepare: Prepare) -> None:
    identity = identities.elsewhere
    async with openssl(prepare(identity)) as running:
        with pytest.raises(CertificateNameMismatch):
            async with call(running, trusting(identity), name="127.0.0.1"):
                pass


# Groups, and what leads to a second ClientHello


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("group", [NamedGroup.x25519, NamedGroup.secp256r1, NamedGroup.secp384r1])
async def test_client_comes_to_the_group_that_it_offers(
    group: NamedGroup, identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server()
    async with openssl(prepare(identity)) as running, call(running, trusting(identity, groups=(group,))) as ours:
        assert (ours.negotiated.group, ours.negotiated.retried) == (group, False)
        await ours.hang_up()


@pytest.mark.parametrize("group", [NamedGroup.X25519MLKEM768, NamedGroup.SecP256r1MLKEM768])
async def test_client_comes_to_the_hybrid_group(group: NamedGroup, identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with (
        pyopenssl(prepare(identity, group=group)) as running,
        call(running, trusting(identity, groups=(group,))) as ours,
    ):
        assert (ours.negotiated.group, ours.negotiated.retried) == (group, False)
        await running.see(f'"group": "{group.name}"')
        await ours.hang_up()


@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("group", [NamedGroup.SecP256r1MLKEM768, NamedGroup.secp256r1, NamedGroup.secp384r1])
async def test_client_is_led_to_the_only_group_of_the_server(
    group: NamedGroup, identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server()
    async with pyopenssl(prepare(identity, group=group)) as running, call(running, trusting(identity)) as ours:
        assert (ours.negotiated.group, ours.negotiated.retried) == (group, True)
        assert await SERVERS[-1].echo(ours.reader, ours.writer, text(64)) == text(64)
        await ours.hang_up()


@pytest.mark.peer("openssl")
async def test_client_with_no_common_group_is_refused(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with openssl(prepare(identity, group=NamedGroup.secp384r1)) as running:
        with pytest.raises(aiotls.AlertReceived) as caught:
            async with call(running, trusting(identity, groups=(NamedGroup.x25519,))):
                pass
        assert caught.value.description is AlertDescription.handshake_failure


# Keys and certificates


@pytest.mark.rfc("8446", "4.2.3")
@pytest.mark.peer("openssl")
@pytest.mark.parametrize(
    ("key_type", "scheme"),
    [
        ("ecdsa-p521", SignatureScheme.ecdsa_secp521r1_sha512),
        ("rsa-3072", SignatureScheme.rsa_pss_rsae_sha256),
    ],
)
async def test_client_verifies_key_type(
    key_type: KeyType, scheme: SignatureScheme, identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server(key_type)
    async with openssl(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        assert ours.negotiated.signature_scheme is scheme
        await ours.hang_up()


@pytest.mark.rfc("8446", "4.2.3")
@pytest.mark.peer("openssl")
async def test_client_verifies_key_that_is_for_rsa_pss_only(prepare: Prepare, tmp_path: Path) -> None:
    identity = await self_signed(tmp_path, "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048")
    async with openssl(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        assert ours.negotiated.signature_scheme is SignatureScheme.rsa_pss_pss_sha256
        await ours.hang_up()


async def self_signed(directory: Path, *key: str) -> Identity:
    """As `openssl req -x509` makes it."""
    identity = Identity(directory / "cert.pem", directory / "key.pem", Path(os.devnull), directory / "cert.pem")
    made = await run(
        *("openssl", "req", "-x509", "-noenc", *key, "-out", str(identity.certfile), "-keyout", str(identity.keyfile)),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
    )
    assert made.succeeded, made.trace
    return identity


# Stapled OCSP responses

STAPLERS = pytest.mark.parametrize("server", [row(server) for server in SERVERS if server.staples])


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.rfc("7633", "4.2.3.1")
@STAPLERS
async def test_client_takes_staple_where_the_certificate_wants_one(
    server: PeerServer, identities: Identities, prepare: Prepare
) -> None:
    identity, staple = identities.stapled("good")
    async with server.start(prepare(identity, staple=staple)) as running, call(running, trusting(identity)) as ours:
        assert await server.echo(ours.reader, ours.writer, text(64)) == text(64)


@pytest.mark.rfc("7633", "4.2.3.1")
@each_server
async def test_client_refuses_server_that_lacks_the_staple(
    server: PeerServer, identities: Identities, prepare: Prepare
) -> None:
    identity, _ = identities.stapled("good")
    async with server.start(prepare(identity)) as running:
        with pytest.raises(BadCertificateStatus):
            async with call(running, trusting(identity)):
                pass


@pytest.mark.rfc("6960", "2.2")
@pytest.mark.peer("openssl")
async def test_client_refuses_server_whose_staple_says_that_it_is_revoked(
    identities: Identities, prepare: Prepare
) -> None:
    identity, staple = identities.stapled("revoked")
    async with openssl(prepare(identity, staple=staple)) as running:
        with pytest.raises(CertificateRevoked):
            async with call(running, trusting(identity)):
                pass
        await running.see(SERVERS[0].alert(AlertDescription.certificate_revoked))


# KeyUpdate, and the end of a connection


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.peer("openssl")
@pytest.mark.parametrize(
    ("command", "expected"),
    [("K", [b">>>", b"<<<"]), ("k", [b">>>"])],
    ids=["update_requested", "update_not_requested"],
)
async def test_client_follows_the_new_key_of_openssl(
    command: str, expected: list[bytes], identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server()
    async with (
        openssl_terminal(prepare(identity, flags=("-msg",))) as running,
        call(running, trusting(identity)) as ours,
    ):
        await running.see("^CIPHER is ")
        for _ in range(3):
            seen = len(running.output)
            await running.type(command)
            await running.see("^>>> TLS 1.3, Handshake .*KeyUpdate")
            await running.type("again")
            assert await ours.reader.readuntil(b"\n") == b"again\n"
            ours.writer.write(b"and back\n")
            await running.see("^and back$")
            updates = re.findall(rb"^(>>>|<<<) TLS 1.3, Handshake .*KeyUpdate", running.output[seen:], re.MULTILINE)
            assert updates == expected
        await ours.hang_up()


@pytest.mark.rfc("8446", "6.1")
@pytest.mark.peer("openssl")
async def test_client_notices_that_close_notify_is_missing(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with openssl_terminal(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        await running.see("^CIPHER is ")
        await running.type("q")
        with pytest.raises(TruncationError):
            await ours.reader.read()


@pytest.mark.rfc("8446", "6.1")
@pytest.mark.peer("openssl")
async def test_client_reads_the_end_where_the_server_closes_first(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with openssl(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        ours.writer.write(b"the last line\nCLOSE\n")
        assert await ours.reader.read() == each_line(b"the last line\n")


@pytest.mark.rfc("8446", "6.1")
@pytest.mark.peer("node")
async def test_client_reads_on_after_its_own_close_notify(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    lines = text(MIB)
    async with node(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        ours.writer.write(lines)
        ours.writer.write_eof()
        assert digest(await ours.reader.read()) == digest(lines)


@pytest.mark.rfc("8446", "6.1")
async def test_client_writes_on_after_the_server_has_closed(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with pyopenssl(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        ours.writer.write(b"close\n")
        assert await ours.reader.read() == b""
        ours.writer.write(text(MIB))
        await ours.writer.drain()
        ours.writer.write_eof()
        await running.see(f'"counted": {MIB}')


# Exporters


@pytest.mark.rfc("8446", "7.5")
@pytest.mark.peer("openssl")
async def test_client_exports_what_openssl_exports(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    options = prepare(identity, flags=("-keymatexport", "EXPORTER-aiotls", "-keymatexportlen", "77"))
    async with openssl_terminal(options) as running, call(running, trusting(identity)) as ours:
        theirs = (await running.see("^ *Keying material: ([0-9A-F]+)$"))[1]
        assert ours.transport.export_keying_material("EXPORTER-aiotls", b"", 77).hex() == theirs.decode().lower()


@pytest.mark.rfc("8446", "7.5")
@pytest.mark.parametrize("server", [row(server) for server in SERVERS if server.name in ("node", "pyopenssl")])
async def test_client_exports_with_context_what_the_server_exports(
    server: PeerServer, identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server()
    async with server.start(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        theirs = (await running.see('"exported": ?"([0-9a-f]+)"'))[1]
        assert ours.transport.export_keying_material("EXPORTER-aiotls", b"context", 77).hex() == theirs.decode()
