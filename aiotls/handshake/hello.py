"""The first flight, which all versions share: the ClientHello and the choice of version."""

from aiotls.config import ServerConfig
from aiotls.handshake import negotiate
from aiotls.handshake.effects import Channel, expect
from aiotls.handshake.server13 import Outcome, server13
from aiotls.wire.messages import ClientHello

__all__ = ["serve"]


async def serve(config: ServerConfig, channel: Channel) -> Outcome:
    """A server's handshake, whatever version it comes to."""
    hello = await expect(ClientHello)
    negotiate.protocol_version(hello)
    return await server13(hello, config, channel)
