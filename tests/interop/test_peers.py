"""Real clients against our server: every row of the table of peers through every row of the table of features."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aiotls.errors import AlertReceived, NoApplicationProtocol, TruncationError
from aiotls.testing.ca import LocalCA
from aiotls.wire.registries import CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme
from tests.interop.conftest import Serve
from tests.interop.endpoint import ANSWER_HEAD, digest
from tests.interop.peers import PEERS, Peer, each_peer, row

MIB = 1 << 20
NOISE = random.Random(8446).randbytes(20 * MIB)


@dataclass(frozen=True)
class Feature:
    """A server that every peer can talk to."""

    name: str
    serve: dict[str, Any] = field(default_factory=dict)
    """Options of the server."""
    negotiated: dict[str, object] = field(default_factory=dict)
    """What must come of them."""
    size: int = 1000
    """Bytes each way."""


FEATURES = [
    Feature("10-MiB-each-way", size=10 * MIB),
    Feature("retry", {"groups": (NamedGroup.secp384r1,)}, {"group": NamedGroup.secp384r1, "retried": True}),
    Feature("key-updates", {"max_records_per_key": 16}, size=MIB),
    Feature("no-alpn", {"alpn": ()}, {"alpn": None}),
    Feature("intermediate", {"intermediate": True}),
    *(
        Feature(suite.name, {"cipher_suites": (suite,)}, {"cipher_suite": suite}, size=100_000)
        for suite in (
            CipherSuite.TLS_AES_128_GCM_SHA256,
            CipherSuite.TLS_AES_256_GCM_SHA384,
            CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
        )
    ),
    *(
        Feature(key_type, {"key_type": key_type}, {"signature_scheme": scheme})
        for key_type, scheme in (
            ("rsa-2048", SignatureScheme.rsa_pss_rsae_sha256),
            ("ecdsa-p384", SignatureScheme.ecdsa_secp384r1_sha384),
            ("ed25519", SignatureScheme.ed25519),
        )
    ),
]


def key_log_lines(path: Path) -> set[str]:
    """The secrets of a handshake; OpenSSL logs those of later updates too, as ``_SECRET_N``."""
    lines = path.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#") and "_SECRET_N " not in line}


@pytest.mark.rfc("8446", "6.1")
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@each_peer
async def test_peer_exchanges_data_and_closes(peer: Peer, feature: Feature, serve: Serve) -> None:
    endpoint = await serve(**feature.serve)
    body = NOISE[: feature.size]
    endpoint.answer = NOISE[-feature.size :]

    result = await peer.talk(endpoint, body)
    assert result.succeeded, result.trace
    assert digest(result.output) == digest(ANSWER_HEAD + endpoint.answer)

    seen = await endpoint.connection()
    assert seen.error is None or (not peer.answers_close_notify and isinstance(seen.error, TruncationError))
    assert digest(seen.received) == digest(body)
    expected = {
        "version": ProtocolVersion.TLSv1_3,
        "alpn": "http/1.1",
        "server_name": "localhost",
        **({"group": peer.group} if peer.group else {}),
        **feature.negotiated,
    }
    assert {name: getattr(seen.negotiated, name) for name in expected} == expected
    assert key_log_lines(endpoint.client_key_log) == key_log_lines(endpoint.server_key_log)


@pytest.mark.rfc("7301", "3.2")
@each_peer
async def test_peer_with_no_common_protocol_is_refused(peer: Peer, serve: Serve) -> None:
    endpoint = await serve(alpn=("none-of-theirs",))
    result = await peer.talk(endpoint, b"hello")
    assert not result.succeeded
    assert isinstance(await endpoint.end(), NoApplicationProtocol)


@each_peer
async def test_peer_refuses_server_of_unknown_authority(peer: Peer, serve: Serve) -> None:
    endpoint = await serve()
    endpoint.certificate_authority.write_bytes(LocalCA().certificate_pem)
    result = await peer.talk(endpoint, b"hello")
    assert not result.succeeded
    assert result.output == b""
    end = await endpoint.end()
    if peer.distrust is not None:
        assert isinstance(end, AlertReceived), end
        assert end.description is peer.distrust


@pytest.mark.parametrize("peer", [row(peer) for peer in PEERS if peer.notices_truncation])
async def test_peer_notices_that_close_notify_is_missing(peer: Peer, serve: Serve) -> None:
    endpoint = await serve(handler=lambda endpoint: endpoint.truncate)
    result = await peer.talk(endpoint, b"hello")
    assert not result.succeeded
    await endpoint.connection()
