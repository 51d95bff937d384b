"""The first flight, which all versions share: the ClientHello, and the choice of version that answers it."""

from aiotls.config import ClientConfig, ServerConfig
from aiotls.errors import CallbackError
from aiotls.handshake import negotiate
from aiotls.handshake.client13 import client13
from aiotls.handshake.effects import Channel, ask, expect
from aiotls.handshake.offer import Offer
from aiotls.handshake.outcome import Outcome
from aiotls.handshake.server13 import server13
from aiotls.trust.names import ServerName
from aiotls.wire.messages import ClientHello, ServerHello

__all__ = ["connect", "serve"]


async def serve(config: ServerConfig, channel: Channel) -> Outcome:
    """A server's handshake, whatever version it comes to."""
    hello = await expect(ClientHello)
    if config.select_config is not None:
        selected = await ask("select_config", config.select_config, negotiate.client_hello_info(hello))
        if isinstance(selected, ServerConfig):
            config = selected
            channel.configure(config)
        elif selected is not None:
            msg = f"select_config returned a {type(selected).__name__}, and no ServerConfig"
            raise CallbackError(msg)
    negotiate.protocol_version(hello)
    return await server13(hello, config, channel)


async def connect(config: ClientConfig, server_name: ServerName | None, channel: Channel) -> Outcome:
    """A client's handshake, whatever version it comes to."""
    offer = Offer.make(config, server_name)
    channel.send(offer.raw)
    answer = await expect(ServerHello, offered=offer.answerable)
    negotiate.check_server_version(answer)
    return await client13(offer, answer, config, server_name, channel)
