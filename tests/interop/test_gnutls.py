"""What GnuTLS speaks that the other peers do not: raw public keys and the record size limit, in both roles.

Also what its server alone prints or can be asked for: both channel bindings, and a KeyUpdate at each command.
"""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

import aiotls
from aiotls.errors import AlertReceived, UntrustedCertificate
from aiotls.testing.ca import KeyType
from aiotls.trust.stapling import OCSPStaple
from tests.interop.caller import call, trusting
from tests.interop.conftest import Prepare, Serve
from tests.interop.endpoint import ANSWER_HEAD, Endpoint
from tests.interop.identities import Identities, Identity
from tests.interop.peers import Result, gnutls_arguments, run
from tests.interop.servers import echo, gnutls

RAW_KEYS = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+CTYPE-SRV-RAWPK:+CTYPE-CLI-RAWPK"
LINE = b"x" * 4999 + b"\n"


def public_key(identity: Identity) -> bytes:
    """The SubjectPublicKeyInfo in DER."""
    key = load_pem_private_key(identity.keyfile.read_bytes(), password=None)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def raw_key_flags(identity: Identity, directory: Path) -> tuple[str, ...]:
    """Shows the bare key of *identity*, and takes one."""
    key = load_pem_private_key(identity.keyfile.read_bytes(), password=None)
    public = directory / "public.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return "--priority", RAW_KEYS, "--rawpkkeyfile", str(identity.keyfile), "--rawpkfile", str(public)


# Raw public keys


@pytest.mark.rfc("7250", "4")
@pytest.mark.peer("gnutls-serv")
async def test_client_knows_the_server_by_its_key(identities: Identities, prepare: Prepare, tmp_path: Path) -> None:
    identity = identities.server()
    config = aiotls.ClientConfig(trusted_public_keys=[public_key(identity)], alpn=("http/1.1",))
    options = prepare(identity, flags=raw_key_flags(identity, tmp_path))
    async with gnutls(options) as running, call(running, config) as ours:
        await running.see(r"^- Description: \(TLS1\.3-X\.509-Raw Public Key\)")
        assert ours.negotiated.peer is not None
        assert ours.negotiated.peer.raw_public_key
        assert ours.negotiated.peer.certificates == (public_key(identity),)
        assert await echo(ours.reader, ours.writer, b"hello\n") == b"hello\n"
        await ours.hang_up()


@pytest.mark.rfc("7250", "6")
@pytest.mark.peer("gnutls-serv")
async def test_client_refuses_server_with_another_key(identities: Identities, prepare: Prepare, tmp_path: Path) -> None:
    config = aiotls.ClientConfig(trusted_public_keys=[public_key(identities.client())])
    async with gnutls(prepare(identities.server(), flags=raw_key_flags(identities.server(), tmp_path))) as running:
        with pytest.raises(UntrustedCertificate):
            async with call(running, config):
                pass


@pytest.mark.rfc("7250", "4")
@pytest.mark.peer("gnutls-serv")
async def test_client_proves_by_its_key_who_it_is(identities: Identities, prepare: Prepare, tmp_path: Path) -> None:
    identity, client = identities.server(), identities.client()
    config = trusting(identity, credentials=aiotls.Credential.from_raw_public_key(client.keyfile))
    options = prepare(identity, client_auth="required", flags=raw_key_flags(identity, tmp_path))
    async with gnutls(options) as running, call(running, config) as ours:
        await running.see(r"^- Description: \(TLS1\.3-Raw Public Key-X\.509\)")
        shown = await running.see(r"^-----BEGIN PUBLIC KEY-----\n(?s:.+?)-----END PUBLIC KEY-----\n")
        await ours.hang_up()
    key = load_pem_private_key(client.keyfile.read_bytes(), password=None).public_key()
    assert shown[0] == key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.rfc("7250", "4")
@pytest.mark.peer("gnutls-cli")
async def test_server_and_client_know_each_other_by_their_keys(
    identities: Identities, serve: Serve, tmp_path: Path
) -> None:
    client = identities.client()
    endpoint = await serve(
        credentials=aiotls.Credential.from_raw_public_key(identities.server().keyfile),
        client_auth=aiotls.ClientAuth.REQUIRED,
        trusted_public_keys=[public_key(client)],
    )
    await ask(endpoint, b"hello", *raw_key_flags(client, tmp_path), "--insecure")
    seen = await endpoint.connection()
    assert seen.negotiated.peer is not None
    assert seen.negotiated.peer.certificates == (public_key(client),)
    assert seen.negotiated.peer.raw_public_key


async def ask(endpoint: Endpoint, body: bytes, *flags: str) -> Result:
    """One exchange, which succeeds."""
    result = await run(*gnutls_arguments(endpoint), *flags, "127.0.0.1", stdin=endpoint.request(body))
    assert result.succeeded, result.trace
    assert result.output == ANSWER_HEAD + endpoint.answer
    return result


@pytest.mark.rfc("7250", "6")
@pytest.mark.peer("gnutls-cli")
async def test_server_refuses_client_with_another_key(identities: Identities, serve: Serve, tmp_path: Path) -> None:
    endpoint = await serve(
        credentials=aiotls.Credential.from_raw_public_key(identities.server().keyfile),
        client_auth=aiotls.ClientAuth.REQUIRED,
        trusted_public_keys=[public_key(identities.server())],
    )
    flags = (*raw_key_flags(identities.client(), tmp_path), "--insecure")
    result = await run(*gnutls_arguments(endpoint), *flags, "127.0.0.1", stdin=endpoint.request(b"hello"))
    assert not result.succeeded
    assert isinstance(await endpoint.end(), UntrustedCertificate)


# Stapled OCSP responses, which gnutls-cli insists on where the certificate does


@pytest.mark.rfc("8446", "4.4.2.1")
@pytest.mark.rfc("7633", "4.2.3.1")
@pytest.mark.peer("gnutls-cli")
@pytest.mark.parametrize("stapled", [True, False], ids=["stapled", "not_stapled"])
async def test_client_insists_on_the_staple(*, stapled: bool, identities: Identities, serve: Serve) -> None:
    identity, staple = identities.stapled("good")
    credential = identity.credential
    endpoint = await serve(credentials=credential.with_staple(OCSPStaple.from_file(staple)) if stapled else credential)
    endpoint.certificate_authority.write_bytes(identity.authority.read_bytes())
    if stapled:
        await ask(endpoint, b"hello")
        await endpoint.connection()
        return
    result = await run(*gnutls_arguments(endpoint), "127.0.0.1", stdin=endpoint.request(b"hello"))
    assert not result.succeeded
    assert isinstance(await endpoint.end(), AlertReceived)


# The record size limit

OURS, THEIRS = 600, 1000
SEALED = 16
"""Bytes that the AEAD adds to a record."""
TYPE = 1
"""The byte of its content type, which our option counts (as RFC 8449 does) and theirs does not."""
HEADER = 5
"""Bytes of its header, which GnuTLS counts in what it sends."""


def longest(trace: str) -> dict[str, int]:
    """The longest records with data that GnuTLS tells of."""
    sent = re.findall(r"Sent Packet\[\d+\] Application Data\(23\) in epoch \d+ and length: (\d+)", trace)
    received = re.findall(r"Received Packet Application Data\(23\) with length: (\d+)", trace)
    return {"sent": max(map(int, sent)), "received": max(map(int, received))}


LONGEST = {"sent": OURS + SEALED + HEADER, "received": THEIRS + TYPE + SEALED}


@pytest.mark.rfc("8449", "4")
@pytest.mark.peer("gnutls-serv")
async def test_client_and_server_keep_to_the_size_of_records(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    options = prepare(identity, flags=("--debug", "5", "--recordsize", str(THEIRS)))
    async with (
        gnutls(options) as running,
        call(running, trusting(identity, record_size_limit=OURS)) as ours,
    ):
        assert await echo(ours.reader, ours.writer, LINE) == LINE
        await ours.hang_up()
    assert longest(running.output.decode("latin-1")) == LONGEST


@pytest.mark.rfc("8449", "4")
@pytest.mark.peer("gnutls-cli")
async def test_server_keeps_to_the_size_of_records_that_the_client_wants(serve: Serve) -> None:
    endpoint = await serve()
    endpoint.answer = LINE
    result = await ask(endpoint, b"", "--debug", "5", "--recordsize", str(THEIRS))
    await endpoint.connection()
    assert longest(result.trace)["received"] == LONGEST["received"]


# What the server prints, and what it can be asked for


@pytest.mark.rfc("5929", "4")
@pytest.mark.rfc("9266", "2")
@pytest.mark.peer("gnutls-serv")
@pytest.mark.parametrize("key_type", ["ecdsa-p256", "rsa-2048"])
async def test_client_binds_the_channel_as_the_server_does(
    key_type: KeyType, identities: Identities, prepare: Prepare
) -> None:
    identity = identities.server(key_type)
    async with gnutls(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        for name in ("tls-server-end-point", "tls-exporter"):
            theirs = (await running.see(f"^ - '{name}': ([0-9a-f]+)$"))[1]
            assert ours.transport.channel_binding(name).hex() == theirs.decode()


@pytest.mark.rfc("8446", "4.6.3")
@pytest.mark.peer("gnutls-serv")
async def test_client_follows_the_new_key_of_the_server(identities: Identities, prepare: Prepare) -> None:
    identity = identities.server()
    async with gnutls(prepare(identity)) as running, call(running, trusting(identity)) as ours:
        for number in range(3):
            ours.writer.write(b"**REHANDSHAKE**\n")
            await running.see("Sending rehandshake request")
            assert await ours.reader.readline() == b"Successfully executed command\n"
            line = b"line %d\n" % number
            assert await echo(ours.reader, ours.writer, line) == line
        await ours.hang_up()
