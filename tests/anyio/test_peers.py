"""anyio's front end over TCP, on both backends: opposite itself, and opposite anyio's own TLSStream over `ssl`."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import AnyByteStream, SocketAttribute
from anyio.streams.stapled import StapledObjectStream
from anyio.streams.tls import TLSAttribute
from anyio.streams.tls import TLSListener as SSLListener
from anyio.streams.tls import TLSStream as SSLStream

import aiotls.anyio
from aiotls import AlertReceived, CertificateError, ClientAuth, ClientConfig, Roots, ServerConfig, TruncationError
from aiotls.errors import CertificateNameMismatch
from aiotls.ssl_object import SSLObjectView
from aiotls.testing.ca import LocalCA
from tests.anyio.backends import on_both_backends
from tests.log import Log


async def echo(stream: aiotls.anyio.TLSStream | SSLStream) -> None:
    with anyio.fail_after(20):
        try:
            async for data in stream:
                await stream.send(data)
            await stream.send(b"bye")
        except anyio.BrokenResourceError:
            pass
        finally:
            if isinstance(stream, SSLStream):
                await anyio.aclose_forcefully(stream)
            else:
                await stream.aclose()


@asynccontextmanager
async def echo_server(
    config: ServerConfig | ssl.SSLContext, handshake_timeout: float | None = 20
) -> AsyncIterator[int]:
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listener: aiotls.anyio.TLSListener | SSLListener
    if isinstance(config, ssl.SSLContext):
        listener = SSLListener(tcp, config)
    else:
        listener = aiotls.anyio.TLSListener(tcp, config, handshake_timeout=handshake_timeout)
    port = tcp.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        yield port
        group.cancel_scope.cancel()


@pytest.fixture
def ssl_server(ca: LocalCA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("localhost").write(tmp_path_factory.mktemp("server")))
    return context


@on_both_backends
async def test_client_and_server_talk_and_half_close(client_config: ClientConfig, server_config: ServerConfig) -> None:
    async with echo_server(server_config) as port:
        stream = await aiotls.anyio.connect_tls("127.0.0.1", port, client_config, server_hostname="localhost")
        await stream.send(b"hello")
        await stream.send_eof()
        assert b"".join([data async for data in stream]) == b"hellobye"
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()


@on_both_backends
async def test_server_serves_ssl(ca: LocalCA, server_config: ServerConfig) -> None:
    context = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    async with echo_server(server_config) as port:
        stream = await anyio.connect_tcp("127.0.0.1", port, ssl_context=context, tls_hostname="localhost")
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        await anyio.aclose_forcefully(stream)


@on_both_backends
async def test_client_talks_to_ssl_and_sees_it_cut_off(client_config: ClientConfig, ssl_server: ssl.SSLContext) -> None:
    async with echo_server(ssl_server) as port:
        stream = await aiotls.anyio.connect_tls("127.0.0.1", port, client_config, server_hostname="localhost")
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        await stream.send_eof()
        assert await stream.receive() == b"bye"
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.receive()
        assert isinstance(caught.value.__cause__, TruncationError)
        await stream.aclose()


@on_both_backends
async def test_attributes_tell_what_anyio_programs_ask_for(
    ca: LocalCA, client_config: ClientConfig, server_config: ServerConfig
) -> None:
    async with echo_server(server_config) as port:
        stream = await aiotls.anyio.connect_tls("127.0.0.1", port, client_config, server_hostname="localhost")
        get = stream.extra
        assert get(TLSAttribute.alpn_protocol) == stream.negotiated.alpn == "h2"
        assert get(TLSAttribute.cipher) == ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)
        assert get(TLSAttribute.peer_certificate_binary) == stream.negotiated.peer_certificates[0]
        assert get(TLSAttribute.server_side) is False
        assert get(TLSAttribute.shared_ciphers) is None
        assert get(TLSAttribute.standard_compatible) is True
        assert get(TLSAttribute.tls_version) == "TLSv1.3"
        view: object = get(TLSAttribute.ssl_object)
        assert isinstance(view, SSLObjectView)
        assert get(SocketAttribute.remote_port) == port
        for missing in (TLSAttribute.channel_binding_tls_unique, TLSAttribute.peer_certificate):
            with pytest.raises(anyio.TypedAttributeLookupError):
                get(missing)
        assert stream.channel_binding() == stream.export_keying_material("EXPORTER-Channel-Binding", b"", 32)
        await stream.aclose()


@on_both_backends
async def test_stream_runs_over_another_tls_stream(client_config: ClientConfig, server_config: ServerConfig) -> None:
    left, right = anyio.create_memory_object_stream[bytes](10), anyio.create_memory_object_stream[bytes](10)
    ends: list[AnyByteStream] = [
        StapledObjectStream(left[0], right[1]),
        StapledObjectStream(right[0], left[1]),
    ]
    streams: dict[str, aiotls.anyio.TLSStream] = {}

    async def wrap(role: str, transport: AnyByteStream, config: ClientConfig | ServerConfig) -> None:
        name = "localhost" if role == "client" else None
        streams[role] = await aiotls.anyio.TLSStream.wrap(transport, config, server_hostname=name)

    for _ in range(2):
        async with anyio.create_task_group() as group:
            group.start_soon(wrap, "client", ends[0], client_config)
            group.start_soon(wrap, "server", ends[1], server_config)
        ends = [streams["client"], streams["server"]]
    await streams["client"].send(b"through both")
    assert await streams["server"].receive() == b"through both"
    assert streams["server"].extra(TLSAttribute.server_side) is True
    for stream in streams.values():
        await stream.aclose()


@on_both_backends
async def test_connect_tls_raises_why_the_handshake_failed(
    client_config: ClientConfig, server_config: ServerConfig, log: Log
) -> None:
    async with echo_server(server_config) as port:
        with pytest.raises(CertificateNameMismatch):
            await aiotls.anyio.connect_tls("127.0.0.1", port, client_config, server_hostname="elsewhere.example")
        stream = await aiotls.anyio.connect_tls("127.0.0.1", port, client_config)
        await stream.send(b"still there")
        assert await stream.receive() == b"still there"
        await stream.aclose()
        assert (await log.next()).startswith("TLS handshake with ('127.0.0.1', ")


@on_both_backends
async def test_server_ends_a_handshake_that_takes_too_long(server_config: ServerConfig, log: Log) -> None:
    async with echo_server(server_config, handshake_timeout=0.05) as port:
        tcp = await anyio.connect_tcp("127.0.0.1", port)
        assert (await tcp.receive())[:1] == b"\x15"  # an alert record
        with pytest.raises(anyio.EndOfStream):
            await tcp.receive()
        await tcp.aclose()
        assert (await log.next()).endswith("failed: no handshake within 0.05 seconds")


@on_both_backends
async def test_client_without_the_certificate_that_the_server_wants_is_told(
    ca: LocalCA, client_config: ClientConfig
) -> None:
    config = ServerConfig(
        credentials=ca.issue("localhost").credential(),
        client_auth=ClientAuth.REQUIRED,
        client_roots=Roots.from_bytes(ca.certificate_pem),
    )
    async with echo_server(config) as port:
        stream = await aiotls.anyio.connect_tls("127.0.0.1", port, client_config, server_hostname="localhost")
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.receive()
        assert isinstance(caught.value.__cause__, AlertReceived)
        await stream.aclose()


@on_both_backends
async def test_listener_closes_and_raises_what_is_not_about_one_connection(server_config: ServerConfig) -> None:
    closed: list[bool] = []

    class Transport(StapledObjectStream[bytes]):
        async def aclose(self) -> None:
            closed.append(True)
            await super().aclose()

    send, receive = anyio.create_memory_object_stream[bytes](1)
    transport = Transport(send, receive)
    with pytest.raises(ZeroDivisionError):
        await aiotls.anyio.TLSListener.handle_handshake_error(ZeroDivisionError(), transport)
    await aiotls.anyio.TLSListener.handle_handshake_error(CertificateError("no"), transport)
    assert closed == [True, True]


@on_both_backends
async def test_receive_refuses_a_bound_that_is_none(client_config: ClientConfig, server_config: ServerConfig) -> None:
    async with echo_server(server_config) as port:
        stream = await aiotls.anyio.connect_tls("127.0.0.1", port, client_config)
        with pytest.raises(ValueError, match="max_bytes"):
            await stream.receive(0)
        await stream.aclose()
