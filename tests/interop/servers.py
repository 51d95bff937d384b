"""The peers as servers, one row each: how to start one, how to have it return what it gets, what it tells of us.

Each runs for one test, on a port of the loopback that the system chose, and is killed by its process id at the end.
Nobody waits by the clock: a server says when it listens.

What a server returns depends on its kind: `s_server -rev` returns each line reversed, nginx stores a file and gives it
back, all others echo.  `PeerServer.echo` hides that: what it returns is what was sent.  It takes lines of text, for
s_server and gnutls-serv know no other unit.
"""

import asyncio
import json
import os
import re
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

from aiotls.errors import AlertDescription
from aiotls.wire.registries import NamedGroup
from tests.interop.endpoint import PATIENCE
from tests.interop.identities import Identity
from tests.interop.peers import chain, files, row

NODE_SERVER = Path(__file__).with_name("tls_server.js")
PYOPENSSL_SERVER = Path(__file__).with_name("pyopenssl_server.py")
CHUNK = 1 << 16
ATTEMPTS = 5  # at a port that nobody has taken since it was found free

ClientAuthMode: TypeAlias = Literal["off", "optional", "required"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every server can be told."""

    identity: Identity
    """What the server shows for itself."""
    directory: Path
    """Where a server may leave its files."""
    client_auth: ClientAuthMode = "off"
    client_authority: Path | None = None
    """Whose certificates a client may show; without one gnutls-serv takes any, and the others none."""
    alpn: tuple[str, ...] = ("http/1.1",)
    group: NamedGroup | None = None
    """The only group that it has, where given."""
    staple: Path | None = None
    """An OCSP response in DER; not every server can."""
    flags: tuple[str, ...] = ()
    """More for the command line, where the server has one."""

    def as_json(self) -> str:
        """The same for a server that is a script."""
        return json.dumps(
            {
                "certfile": str(self.identity.certfile),
                "keyfile": str(self.identity.keyfile),
                "clientAuth": self.client_auth,
                "clientCA": str(self.client_authority) if self.client_authority else None,
                "alpn": self.alpn,
                "group": self.group.name if self.group else None,
                "staple": str(self.staple) if self.staple else None,
            }
        )


@dataclass
class Running:
    """A server that listens, and what it has said so far."""

    port: int = 0
    output: bytearray = field(default_factory=bytearray)
    process: asyncio.subprocess.Process | None = None
    _spoken: asyncio.Event = field(default_factory=asyncio.Event)
    _silent: bool = False
    _read: int = 0

    def hear(self, data: bytes) -> None:
        """Add to the output; no data is its end."""
        self.output += data
        self._silent = not data
        self._spoken.set()

    def say(self, **message: object) -> None:
        """What a server in this process adds to the output."""
        self.hear(json.dumps(message).encode() + b"\n")

    async def see(self, pattern: str) -> re.Match[bytes]:
        """The next place where the output matches, after the one that was seen last."""
        wanted = re.compile(pattern.encode(), re.MULTILINE)
        async with asyncio.timeout(PATIENCE):
            while (found := wanted.search(self.output, self._read)) is None:
                assert not self._silent, f"no {pattern!r} in: {self.output.decode('latin-1')}"
                self._spoken.clear()
                await self._spoken.wait()
        self._read = found.end()
        return found

    async def type(self, line: str) -> None:
        """Write a line to the program's standard input."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()


Start: TypeAlias = Callable[[Options], AbstractAsyncContextManager[Running]]
Echo: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class PeerServer:
    """A TLS server that is not ours."""

    name: str
    start: Start
    echo: Echo
    """Sends lines of text through a connection, and returns what the server understood of them."""
    met: str
    """What it prints of a client, with {} where the common name of its certificate belongs."""
    stranger: str
    """What it prints of a client that showed no certificate."""
    alert: Callable[[AlertDescription], str]
    """What it prints of an alert that it was sent."""
    program: str | None = None
    """What must be on PATH."""
    group: NamedGroup = NamedGroup.x25519
    """The group that it comes to with a client that has them all."""
    staples: bool = True
    """Whether it can be told to staple an OCSP response."""
    refuses_by: Literal["alert", "http", "reset"] = "alert"
    """How it ends the connection of a client whose certificate it does not like: by TLS, by HTTP, or without a word."""
    distrust: AlertDescription | None = AlertDescription.unknown_ca
    """The alert that it sends to a client that it does not trust; None where it closes TCP."""
    names_alerts_with: tuple[str, ...] = ()
    """The flags that make it print alerts."""
    closes_first: bool = False
    """Whether it closes after its answer, and does not wait for the client."""


# The programs


@asynccontextmanager
async def program(*argv: str, environment: Mapping[str, str] | None = None) -> AsyncGenerator[Running]:
    """A program that runs until the block ends; what it prints on either stream is its output."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    running = Running(process=process)
    listening = asyncio.create_task(listen(process, running))
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening


async def listen(process: asyncio.subprocess.Process, running: Running) -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(CHUNK):
        running.hear(data)
    running.hear(b"")


def openssl_arguments(options: Options) -> list[str]:
    """s_server on a port that it chooses and prints."""
    verify = {"off": [], "optional": ["-verify", "3"], "required": ["-Verify", "3"]}[options.client_auth]
    return [
        *("openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-alpn", ",".join(options.alpn)),
        *files(options.identity, "-cert", "-key"),
        *chain(options.identity),
        *([*verify, "-verify_return_error"] if verify else []),
        *(["-CAfile", str(options.client_authority)] if options.client_authority else []),
        *(["-groups", options.group.name] if options.group else []),
        *(["-status_file", str(options.staple)] if options.staple else []),
        *options.flags,
    ]


@asynccontextmanager
async def openssl(options: Options) -> AsyncGenerator[Running]:
    """s_server that returns each line reversed."""
    async with program(*openssl_arguments(options), "-rev") as running:
        running.port = int((await running.see(r"^ACCEPT 127\.0\.0\.1:(\d+)$"))[1])
        yield running


@asynccontextmanager
async def openssl_terminal(options: Options) -> AsyncGenerator[Running]:
    """s_server that shows what it gets and sends what is typed: a line with K, k or q alone is a command."""
    async with program(*openssl_arguments(options)) as running:
        running.port = int((await running.see(r"^ACCEPT 127\.0\.0\.1:(\d+)$"))[1])
        yield running


@asynccontextmanager
async def gnutls(options: Options) -> AsyncGenerator[Running]:
    """gnutls-serv, which cannot be told an interface and listens on all."""
    ask = {"off": ["--disable-client-cert"], "optional": [], "required": ["--require-client-cert"]}[options.client_auth]
    verify = ["--verify-client-cert", f"--x509cafile={options.client_authority}"] if options.client_authority else []
    groups = f":-GROUP-ALL:+GROUP-{options.group.name.upper()}" if options.group else ""
    arguments = [
        *("gnutls-serv", "--echo", "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS1.3{groups}"),
        *files(options.identity, "--x509certfile", "--x509keyfile"),
        *(*ask, *verify),
        *(f"--alpn={name}" for name in options.alpn),
        *([f"--ocsp-response={options.staple}"] if options.staple else []),
        *options.flags,
    ]
    outcome = r"on IPv4 0\.0\.0\.0 port \d+\.\.\.(?:(done)|bind\(\) failed)"
    async with on_free_port(lambda port: [*arguments, "--port", str(port)], outcome) as running:
        yield running


@asynccontextmanager
async def on_free_port(argv: Callable[[int], Sequence[str]], outcome: str) -> AsyncGenerator[Running]:
    """A program that chooses no port: it gets one that was free a moment ago, or another if that is taken by then.

    The group of *outcome* is there in what the program prints when it listens, and not when it could not bind.
    """
    for _ in range(ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with program(*argv(port)) as running:
            if (await running.see(outcome))[1] is not None:
                running.port = port
                yield running
                return
    raise AssertionError(f"no free port in {ATTEMPTS} attempts")


@asynccontextmanager
async def script(*argv: str, environment: Mapping[str, str] | None = None) -> AsyncGenerator[Running]:
    """A server of ours that stands on another's TLS."""
    async with program(*argv, environment=environment) as running:
        running.port = int((await running.see(r'^\{"port": ?(\d+)\}$'))[1])
        yield running


def node(options: Options) -> AbstractAsyncContextManager[Running]:
    return script("node", str(NODE_SERVER), options.as_json())


OPENSSL_CONF = """
openssl_conf = configuration
[configuration]
ssl_conf = contexts
[contexts]
system_default = every_context
[every_context]
Groups = {groups}
"""


def pyopenssl(options: Options) -> AbstractAsyncContextManager[Running]:
    environment = {}
    if options.group:
        conf = options.directory / "openssl.cnf"
        conf.write_text(OPENSSL_CONF.format(groups=options.group.name))
        environment["OPENSSL_CONF"] = str(conf)
    return script(sys.executable, str(PYOPENSSL_SERVER), options.as_json(), environment=environment)


NGINX_CONF = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr info;
events {{ worker_connections 64; }}
http {{
  log_format meeting 'met: $ssl_client_s_dn verified: $ssl_client_verify';
  access_log /dev/stdout meeting;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {options.identity.certfile};
    ssl_certificate_key {options.identity.keyfile};
    ssl_protocols TLSv1.3;
    {more}
    location / {{ root {directory}/files; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


@asynccontextmanager
async def nginx(options: Options) -> AsyncGenerator[Running]:
    """An nginx in one process, under the user who runs the tests; it keeps the files that it is sent."""
    verify = {"off": "off", "optional": "optional", "required": "on"}[options.client_auth]
    more = [f"ssl_verify_client {verify};"]
    more += [f"ssl_client_certificate {options.client_authority};"] if options.client_authority else []
    more += [f"ssl_ecdh_curve {options.group.name};"] if options.group else []
    more += [f"ssl_stapling on; ssl_stapling_file {options.staple};"] if options.staple else []
    conf = options.directory / "nginx.conf"

    def arguments(port: int) -> list[str]:
        settings = {"directory": options.directory, "port": port, "options": options, "more": "\n    ".join(more)}
        conf.write_text(NGINX_CONF.format(**settings))
        return ["nginx", "-p", str(options.directory), "-c", str(conf), "-e", "stderr"]

    async with on_free_port(arguments, r'(using the "\w+" event method)|bind\(\) to .* failed') as running:
        yield running


# Python's


def ssl_context(options: Options) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(options.identity.certfile, options.identity.keyfile)
    context.set_alpn_protocols(list(options.alpn))
    if options.client_auth != "off":
        context.verify_mode = ssl.CERT_REQUIRED if options.client_auth == "required" else ssl.CERT_OPTIONAL
        context.load_verify_locations(options.client_authority)
    if options.group:
        context.set_ecdh_curve(options.group.name)
    return context


@asynccontextmanager
async def ssl_asyncio(options: Options) -> AsyncGenerator[Running]:
    """The TLS of asyncio, one connection after the other."""
    running = Running()
    context = ssl_context(options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        running.port = listener.getsockname()[1]
        accepting = asyncio.create_task(accept(listener, context, running))
        try:
            yield running
        finally:
            accepting.cancel()
            with suppress(asyncio.CancelledError):
                await accepting


async def accept(listener: socket.socket, context: ssl.SSLContext, running: Running) -> None:
    """As `asyncio.start_server` does, which however tells nobody of a handshake that fails."""
    loop = asyncio.get_running_loop()
    while True:
        tcp, _ = await loop.sock_accept(listener)
        try:
            await serve(tcp, context, running)
        except OSError as error:
            running.say(error=str(error))


async def serve(tcp: socket.socket, context: ssl.SSLContext, running: Running) -> None:
    """Return what comes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, tcp, ssl=context)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    running.say(met=common_name(writer.get_extra_info("peercert")))
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def common_name(certificate: dict[str, tuple[tuple[tuple[str, str], ...], ...]] | None) -> str | None:
    """That of a certificate as `ssl` shows it."""
    names = [value for rdn in (certificate or {}).get("subject", ()) for key, value in rdn if key == "commonName"]
    return names[0] if names else None


# What they are asked to return


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: bytes) -> bytes:
    """Write while reading: a server does not read on while nobody takes what it returns."""

    async def write() -> None:
        writer.write(lines)
        await writer.drain()

    async with asyncio.timeout(PATIENCE):
        _, echoed = await asyncio.gather(write(), reader.readexactly(len(lines)))
    return echoed


async def echo_of_reversed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: bytes) -> bytes:
    return each_line(await echo(reader, writer, lines))


def each_line(lines: bytes) -> bytes:
    """Each line reversed, in its place."""
    return b"".join(line[::-1] + b"\n" for line in lines.splitlines())


async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: bytes) -> bytes:
    """Put a file, and get it back."""
    async with asyncio.timeout(PATIENCE):
        writer.write(b"PUT /it HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(lines), lines))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 204 ")), head
        # With closes in order; without one it does not answer a close_notify.
        writer.write(b"GET /it HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return await reader.readexactly(len(lines))


def openssl_alert(alert: AlertDescription) -> str:
    """As the text of OpenSSL's errors has it."""
    return f"alert {alert.name.replace('_', ' ')}"


SERVERS = [
    PeerServer(
        "openssl",
        openssl,
        echo_of_reversed,
        met=r"^Peer certificate: .*CN ?= ?{}$",
        stranger="^No peer certificate",
        alert=openssl_alert,
        program="openssl",
    ),
    PeerServer(
        "gnutls-serv",
        gnutls,
        echo,
        met=r"^\tSubject: CN={},",
        stranger="^- Channel bindings",
        alert=lambda alert: f"Alert\\[2\\|{alert:d}\\] .* was received",
        names_alerts_with=("--debug", "5"),
        program="gnutls-serv",
        distrust=AlertDescription.access_denied,
    ),
    PeerServer(
        "node",
        node,
        echo,
        distrust=None,
        met='"met":"{}","verified":true',
        stranger='"met":null,"verified":false',
        alert=openssl_alert,
        program="node",
    ),
    PeerServer(
        "nginx",
        nginx,
        store,
        met="^met: CN={},.* verified: SUCCESS$",
        stranger="^met: - verified: NONE$",
        alert=openssl_alert,
        program="nginx",
        refuses_by="http",
        closes_first=True,
    ),
    PeerServer(
        "ssl-asyncio",
        ssl_asyncio,
        echo,
        met='"met": "{}"',
        stranger='"met": null',
        alert=openssl_alert,
        staples=False,
        refuses_by="reset",
    ),
    PeerServer(
        "pyopenssl",
        pyopenssl,
        echo,
        met='"met": "{}"',
        stranger='"met": null',
        alert=openssl_alert,
        group=NamedGroup.X25519MLKEM768,
    ),
]

each_server = pytest.mark.parametrize("server", [row(server) for server in SERVERS])
