"""TLS for anyio, on each of its backends: a ByteStream, a Listener, and what connects.

    stream = await aiotls.anyio.TLSStream.wrap(tcp_stream, config, server_hostname="localhost")

Import it by its name (``import aiotls.anyio``): ``import aiotls`` alone needs no anyio.
"""

from aiotls.anyio.client import connect_tls
from aiotls.anyio.server import TLSListener
from aiotls.anyio.stream import TLSStream

__all__ = ["TLSListener", "TLSStream", "connect_tls"]
