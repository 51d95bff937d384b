"""TLS for trio: a HalfCloseableStream, a Listener, and what opens them.

    stream = aiotls.trio.TLSStream(tcp_stream, config, server_hostname="localhost")

Import it by its name (``import aiotls.trio``): ``import aiotls`` alone needs no trio.
"""

from aiotls.trio.client import open_tls_stream
from aiotls.trio.server import TLSListener, serve_tls
from aiotls.trio.stream import TLSStream

__all__ = ["TLSListener", "TLSStream", "open_tls_stream", "serve_tls"]
