"""What the transport tells of its connection: `get_extra_info`, and the look of an `ssl.SSLObject`."""

from dataclasses import replace

import pytest

from aiotls import ServerConfig
from aiotls.errors import LocalError
from aiotls.negotiated import Negotiated
from aiotls.ssl_object import SSLObjectView
from aiotls.trust.identity import identify
from aiotls.trust.peercert import peercert
from tests.asyncio.support import Connected, Recorder, Wire


async def test_transport_tells_what_was_negotiated(wire: Wire, application: Recorder, config: ServerConfig) -> None:
    info = application.transport.get_extra_info
    tls = info("tls")
    assert isinstance(tls, Negotiated)
    assert (tls.alpn, tls.server_name, tls.credential) == ("h2", "localhost", config.credential_list[0])
    assert info("sslcontext") is config
    assert info("cipher") == ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)
    assert info("peername") == ("192.0.2.1", 4433)


async def test_transport_gives_the_default_for_what_is_not_known(wire: Wire, application: Recorder) -> None:
    info = application.transport.get_extra_info
    for name in ("peercert", "compression", "no such thing"):
        assert info(name) is None
        assert info(name, "default") == "default"


async def test_transport_gives_socket_and_addresses_of_tcp(connected: Connected) -> None:
    info = connected.transport.get_extra_info
    assert info("socket").getpeername() == info("peername") == connected.peer.writer.get_extra_info("sockname")
    assert info("sockname") == connected.peer.writer.get_extra_info("peername")


async def test_ssl_object_looks_like_one_of_ssl(wire: Wire, application: Recorder) -> None:
    view = application.transport.get_extra_info("ssl_object")
    assert (view.server_side, view.server_hostname, view.session_reused) == (True, "localhost", False)
    assert (view.version(), view.cipher()) == ("TLSv1.3", ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128))
    assert (view.selected_alpn_protocol(), view.compression()) == ("h2", None)
    assert view.getpeercert() is None
    assert view.getpeercert(True) is None  # noqa: FBT003 - as programs call it


@pytest.mark.rfc("9266", "2")
async def test_ssl_object_gives_the_channel_binding_of_tls13(wire: Wire, application: Recorder) -> None:
    view = application.transport.get_extra_info("ssl_object")
    ours = wire.script.export_keying_material("EXPORTER-Channel-Binding", b"", 32)
    assert view.get_channel_binding() == view.get_channel_binding("tls-exporter") == ours
    with pytest.raises(LocalError, match="tls-unique"):
        view.get_channel_binding("tls-unique")


async def test_ssl_object_gives_peer_certificate_in_both_forms(
    wire: Wire, application: Recorder, config: ServerConfig
) -> None:
    chain = config.credential_list[0].chain
    negotiated = replace(application.transport.get_extra_info("tls"), peer=identify(chain))
    view = SSLObjectView(wire.protocol.engine, negotiated)
    assert view.getpeercert(True) == chain[0]  # noqa: FBT003 - as programs call it
    assert view.getpeercert() == peercert(chain[0])


async def test_ssl_object_has_no_certificate_for_a_raw_public_key(
    wire: Wire, application: Recorder, config: ServerConfig
) -> None:
    peer = replace(identify(config.credential_list[0].chain), raw_public_key=True)
    view = SSLObjectView(wire.protocol.engine, replace(application.transport.get_extra_info("tls"), peer=peer))
    assert view.getpeercert() is None
    assert view.getpeercert(True) is None  # noqa: FBT003 - as programs call it
