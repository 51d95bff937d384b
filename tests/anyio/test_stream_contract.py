"""The streams of trio's and of anyio's front end under the one contract, in both roles; anyio's on both backends."""

import socket

import anyio
import pytest
import trio
from anyio.abc import UNIXSocketStream
from trio.testing import trio_test

import aiotls.anyio
import aiotls.trio
from aiotls import ClientConfig, ServerConfig
from aiotls.testing.stream_contract import STREAM_CONTRACT, Bench, Check, End, Role
from tests.anyio.backends import on_both_backends

contract = pytest.mark.parametrize("check", STREAM_CONTRACT, ids=lambda check: check.__name__)
roles = pytest.mark.parametrize("role", ["client", "server"])


class AnyioEnd:
    """An anyio stream in the contract's words."""

    def __init__(self, stream: aiotls.anyio.TLSStream) -> None:
        self.stream = stream
        self.send, self.send_eof, self.aclose = stream.send, stream.send_eof, stream.aclose

    async def receive(self, max_bytes: int) -> bytes:
        try:
            return await self.stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""


class TrioEnd:
    """A trio stream in the contract's words."""

    def __init__(self, stream: aiotls.trio.TLSStream) -> None:
        self.send, self.send_eof, self.aclose = stream.send_all, stream.send_eof, stream.aclose
        self.receive = stream.receive_some


async def open_anyio(sock: socket.socket, config: ClientConfig | ServerConfig, name: str | None) -> End:
    transport = await UNIXSocketStream.from_socket(sock)
    return AnyioEnd(await aiotls.anyio.TLSStream.wrap(transport, config, server_hostname=name))


async def open_trio(sock: socket.socket, config: ClientConfig | ServerConfig, name: str | None) -> End:
    transport = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    return TrioEnd(aiotls.trio.TLSStream(transport, config, server_hostname=name))


@contract
@roles
@on_both_backends
async def test_anyio_stream_keeps_the_contract(check: Check, role: Role) -> None:
    await check(Bench(open_anyio, role))


@contract
@roles
@trio_test
async def test_trio_stream_keeps_the_contract(check: Check, role: Role) -> None:
    await check(Bench(open_trio, role))
