"""What `openssl s_client` shows that other peers do not: its trace, its exporter, its sessions, its KeyUpdates."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import aiotls
from aiotls.errors import (
    AlertDescription,
    AlertReceived,
    NoApplicationProtocol,
    NoCommonCipherSuite,
    NoCommonGroup,
    NoCommonSignatureScheme,
    NoCommonVersion,
)
from aiotls.testing.ca import KeyType
from aiotls.trust.stapling import OCSPStaple
from aiotls.wire.registries import CipherSuite, NamedGroup, SignatureScheme
from tests.interop.conftest import Serve
from tests.interop.endpoint import ANSWER_HEAD, PATIENCE, Endpoint, Seen
from tests.interop.identities import Identities
from tests.interop.peers import openssl_arguments, run

pytestmark = pytest.mark.peer("openssl")

MESSAGE = re.compile(r"^([<>])[<>]{2} TLS [\d.]+, (?:Handshake|Alert) \[length [0-9a-f]+\], (.+?)\r?$", re.MULTILINE)

CERTIFIED = ["< Certificate", "< CertificateVerify"]
CLOSED = ["< warning close_notify", "> warning close_notify"]


def messages(trace: str) -> list[str]:
    """The handshake messages and alerts of a ``-msg`` trace, ``<`` for what s_client received."""
    return [f"{direction} {name}" for direction, name in MESSAGE.findall(trace)]


async def ask(endpoint: Endpoint, *options: str) -> Seen:
    """One exchange, which succeeds; what the server saw of it."""
    result = await run(*openssl_arguments(endpoint), "-quiet", *options, stdin=endpoint.request(b"hello"))
    assert result.succeeded, result.trace
    assert result.output == ANSWER_HEAD
    seen = await endpoint.connection()
    assert (seen.error, seen.received) == (None, b"hello")
    return seen


# What is negotiated


@pytest.mark.parametrize(
    "suite",
    [
        CipherSuite.TLS_AES_128_GCM_SHA256,
        CipherSuite.TLS_AES_256_GCM_SHA384,
        CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
    ],
    ids=lambda suite: suite.name,
)
async def test_openssl_gets_the_cipher_suite_that_it_offers(suite: CipherSuite, serve: Serve) -> None:
    seen = await ask(await serve(), "-ciphersuites", suite.name)
    assert seen.negotiated.cipher_suite is suite


@pytest.mark.parametrize(
    ("name", "group"),
    [("X25519", NamedGroup.x25519), ("P-256", NamedGroup.secp256r1), ("P-384", NamedGroup.secp384r1)],
)
async def test_openssl_gets_the_group_that_it_offers(name: str, group: NamedGroup, serve: Serve) -> None:
    seen = await ask(await serve(), "-groups", name)
    assert seen.negotiated.group is group
    assert not seen.negotiated.retried


@pytest.mark.rfc("8446", "4.2.3")
@pytest.mark.parametrize(
    ("key_type", "scheme"),
    [
        ("ecdsa-p256", SignatureScheme.ecdsa_secp256r1_sha256),
        ("ecdsa-p384", SignatureScheme.ecdsa_secp384r1_sha384),
        ("ecdsa-p521", SignatureScheme.ecdsa_secp521r1_sha512),
        ("ed25519", SignatureScheme.ed25519),
        ("rsa-2048", SignatureScheme.rsa_pss_rsae_sha256),
    ],
)
async def test_openssl_verifies_key_type(key_type: KeyType, scheme: SignatureScheme, serve: Serve) -> None:
    seen = await ask(await serve(key_type=key_type))
    assert seen.negotiated.signature_scheme is scheme


@pytest.mark.rfc("8446", "4.2.3")
async def test_openssl_verifies_key_that_is_for_rsa_pss_only(serve: Serve, tmp_path: Path) -> None:
    certfile, keyfile = tmp_path / "pss.pem", tmp_path / "pss-key.pem"
    made = await run(
        *("openssl", "req", "-x509", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-noenc"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        *("-out", str(certfile), "-keyout", str(keyfile)),
    )
    assert made.succeeded, made.trace
    endpoint = await serve(credentials=aiotls.Credential.from_files(certfile, keyfile))
    endpoint.certificate_authority.write_bytes(certfile.read_bytes())
    seen = await ask(endpoint)
    assert seen.negotiated.signature_scheme is SignatureScheme.rsa_pss_pss_sha256


async def test_openssl_agrees_on_the_first_protocol_of_the_server(serve: Serve) -> None:
    seen = await ask(await serve(alpn=("h2", "http/1.1")), "-alpn", "spdy/3,http/1.1,h2")
    assert seen.negotiated.alpn == "h2"


@pytest.mark.parametrize(("options", "name"), [(["-servername", "LocalHost"], "localhost"), (["-noservername"], None)])
async def test_openssl_names_the_server(options: list[str], name: str | None, serve: Serve) -> None:
    seen = await named(await serve(), options)
    assert seen.negotiated.server_name == name


async def named(endpoint: Endpoint, options: list[str]) -> Seen:
    """As `ask`, without the name that is there otherwise: s_client takes one of the two options only."""
    arguments = openssl_arguments(endpoint)
    at = arguments.index("-servername")
    arguments[at : at + 2] = options
    result = await run(*arguments, "-quiet", stdin=endpoint.request(b""))
    assert result.succeeded, result.trace
    return await endpoint.connection()


@pytest.mark.rfc("8446", "4.4.2.1")
async def test_openssl_gets_the_stapled_ocsp_response(serve: Serve, identities: Identities) -> None:
    identity, staple = identities.stapled("good")
    endpoint = await serve(credentials=identity.credential.with_staple(OCSPStaple.from_file(staple)))
    endpoint.certificate_authority.write_bytes(identity.authority.read_bytes())
    result = await run(*openssl_arguments(endpoint), "-ign_eof", "-status", stdin=endpoint.request(b"hello"))
    assert result.succeeded, result.trace
    assert b"OCSP Response Status: successful (0x0)" in result.output
    assert re.search(rb"^ *Cert Status: good$", result.output, re.MULTILINE)
    await endpoint.connection()


# What goes over the wire


@dataclass(frozen=True)
class Flow:
    """A server, a client, and what goes between them."""

    name: str
    hellos: list[str]
    """The messages before the last ServerHello."""
    serve: dict[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    group: NamedGroup = NamedGroup.x25519

    def messages(self, *, resumed: bool) -> list[str]:
        tickets = ["< NewSessionTicket"] * (1 if resumed else 2)
        hellos = [*self.hellos, "< ServerHello", "< EncryptedExtensions"]
        return [*hellos, *([] if resumed else CERTIFIED), "< Finished", "> Finished", *tickets, *CLOSED]


RETRIED = ["> ClientHello", "< ServerHello", "> ClientHello"]

FLOWS = [
    Flow("one-round-trip", ["> ClientHello"], options=("-groups", "X25519:P-384")),
    Flow(
        "retry-for-the-only-common-group",
        RETRIED,
        {"groups": (NamedGroup.secp384r1,)},
        ("-groups", "X25519:P-384"),
        NamedGroup.secp384r1,
    ),
    Flow(
        "retry-for-the-preferred-group",
        RETRIED,
        {"groups": (NamedGroup.secp256r1, NamedGroup.x25519), "insist_on_preferred_group": True},
        ("-groups", "X25519:P-256"),
        NamedGroup.secp256r1,
    ),
    Flow("without-compatibility-mode", ["> ClientHello"], options=("-groups", "X25519", "-no_middlebox")),
    Flow(
        "retry-without-compatibility-mode",
        RETRIED,
        {"groups": (NamedGroup.secp256r1,)},
        ("-groups", "X25519:P-256", "-no_middlebox"),
        NamedGroup.secp256r1,
    ),
]


@pytest.mark.rfc("8446", "2")
@pytest.mark.rfc("8446", "4.1.4")
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
async def test_openssl_sees_the_messages_of_the_diagram(flow: Flow, serve: Serve, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    seen = await ask(await serve(**flow.serve), *flow.options, "-msg", "-msgfile", str(trace))
    assert seen.negotiated.group is flow.group
    assert seen.negotiated.retried is (flow.hellos == RETRIED)
    assert messages(trace.read_text()) == flow.messages(resumed=False)


@pytest.mark.rfc("8446", "2.2")
@pytest.mark.rfc("8446", "4.6.1")
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
async def test_openssl_resumes_its_session(flow: Flow, serve: Serve, tmp_path: Path) -> None:
    trace, session = tmp_path / "trace", tmp_path / "session.pem"
    endpoint = await serve(**flow.serve)
    first = await ask(endpoint, *flow.options, "-sess_out", str(session))
    assert not first.negotiated.resumed
    again = await ask(endpoint, *flow.options, "-sess_in", str(session), "-msg", "-msgfile", str(trace))
    assert again.negotiated.resumed
    assert again.negotiated.group is flow.group
    assert messages(trace.read_text()) == flow.messages(resumed=True)


async def test_openssl_gets_no_ticket_from_server_that_gives_none(serve: Serve, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    await ask(await serve(tickets=0), "-msg", "-msgfile", str(trace))
    assert "< NewSessionTicket" not in messages(trace.read_text())


@pytest.mark.rfc("8446", "7.5")
async def test_openssl_exports_the_same_keying_material(serve: Serve) -> None:
    endpoint = await serve()
    result = await run(
        *openssl_arguments(endpoint),
        *("-ign_eof", "-keymatexport", "EXPORTER-aiotls", "-keymatexportlen", "77"),
        stdin=endpoint.request(b"hello"),
    )
    assert result.succeeded, result.trace
    shown = re.search(rb"^ *Keying material: ([0-9A-F]+)$", result.output, re.MULTILINE)
    assert shown is not None
    seen = await endpoint.connection()
    assert seen.exporter("EXPORTER-aiotls", b"", 77).hex() == shown[1].decode().lower()


# KeyUpdate, asked for at the keyboard


@dataclass
class Keyboard:
    """An s_client that takes one line after the other."""

    process: asyncio.subprocess.Process
    read: int = 0
    screen: bytes = b""

    async def type(self, line: str, until: str) -> str:
        """What the screen shows after *line*, up to *until*."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        return await self.see(until)

    async def see(self, until: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while (found := re.compile(until.encode(), re.MULTILINE).search(self.screen, self.read)) is None:
                data = await self.process.stdout.read(1 << 16)
                assert data, self.screen.decode("latin-1")
                self.screen += data
        start, self.read = self.read, found.end()
        return self.screen[start : found.end()].decode("latin-1")


@pytest.fixture
async def keyboard(serve: Serve) -> AsyncIterator[tuple[Keyboard, Endpoint]]:
    endpoint = await serve(handler=lambda endpoint: endpoint.echo)
    process = await asyncio.create_subprocess_exec(
        *openssl_arguments(endpoint),
        "-msg",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Keyboard(process), endpoint
        async with asyncio.timeout(PATIENCE):
            await process.communicate(b"Q\n")
        assert (await endpoint.connection()).error is None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.parametrize(
    ("command", "expected"),
    [("K", ["> key update", "< key update"]), ("k", ["> key update"])],
    ids=["update_requested", "update_not_requested"],
)
async def test_openssl_updates_its_key_and_goes_on(
    command: str, expected: list[str], keyboard: tuple[Keyboard, Endpoint]
) -> None:
    client, _ = keyboard
    await client.type("first", "^first$")
    for _ in range(3):
        shown = await client.type(command, "> TLS 1.3, Handshake .*$")
        shown += await client.type("again", "^again$")
        assert [message.lower().replace("keyupdate", "key update") for message in messages(shown)] == expected


# What is refused


@dataclass(frozen=True)
class Refusal:
    """A client that shares too little with the server."""

    name: str
    error: type[aiotls.TLSError]
    alert: AlertDescription
    options: tuple[str, ...]
    serve: dict[str, Any] = field(default_factory=dict)


REFUSALS = [
    Refusal("tls-1.2-only", NoCommonVersion, AlertDescription.protocol_version, ("-tls1_2",)),
    Refusal("no-common-protocol", NoApplicationProtocol, AlertDescription.no_application_protocol, ("-alpn", "h3")),
    Refusal(
        "no-common-suite",
        NoCommonCipherSuite,
        AlertDescription.handshake_failure,
        ("-ciphersuites", "TLS_AES_128_GCM_SHA256"),
        {"cipher_suites": (CipherSuite.TLS_AES_256_GCM_SHA384,)},
    ),
    Refusal(
        "no-common-group",
        NoCommonGroup,
        AlertDescription.handshake_failure,
        ("-groups", "P-256"),
        {"groups": (NamedGroup.x25519,)},
    ),
    Refusal(
        "no-common-scheme",
        NoCommonSignatureScheme,
        AlertDescription.handshake_failure,
        ("-sigalgs", "rsa_pss_rsae_sha256"),
    ),
]


@pytest.mark.rfc("8446", "6.2")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
async def test_openssl_is_told_why_it_is_refused(refusal: Refusal, serve: Serve, tmp_path: Path) -> None:
    endpoint = await serve(**refusal.serve)
    trace = tmp_path / "trace"
    result = await run(*openssl_arguments(endpoint), "-quiet", *refusal.options, "-msg", "-msgfile", str(trace))
    assert not result.succeeded
    assert isinstance(await endpoint.end(), refusal.error)
    assert f"SSL alert number {refusal.alert:d}" in result.trace
    assert [message.split()[:2] for message in messages(trace.read_text())] == [[">", "ClientHello"], ["<", "fatal"]]


@pytest.mark.rfc("8446", "6.2")
async def test_openssl_refuses_certificate_for_another_name(serve: Serve) -> None:
    endpoint = await serve()
    result = await run(
        *openssl_arguments(endpoint), "-quiet", "-verify_hostname", "example.test", stdin=endpoint.request(b"")
    )
    assert not result.succeeded
    assert result.output == b""
    assert isinstance(await endpoint.end(), AlertReceived)
