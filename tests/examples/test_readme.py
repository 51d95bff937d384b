"""What README.md shows is true: its code runs as it stands, over real sockets, and its tables are those of the code."""

import ast
import asyncio
import inspect
import re
import socket
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiotls
from aiotls import errors
from aiotls.errors import AccessDenied, AlertDescription, CertificateError, alert_for
from aiotls.testing.ca import LocalCA
from tests.asyncio.support import port_of
from tests.examples.support import PATIENCE, ROOT, line_of, program

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    heading: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for heading, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
}
CODE = {heading: snippets for heading, snippets in SECTIONS.items() if snippets}

# Has the server tell its port, which is 8443 in what is read and a free one in what is run.
ANNOUNCING = """
import aiotls
start_server = aiotls.start_server

async def announcing(*arguments, **options):
    server = await start_server(*arguments, **options)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    return server

aiotls.start_server = announcing
"""


async def run(snippet: str, names: dict[str, Any] | None = None, port: int = 0) -> dict[str, Any]:
    """The names that a snippet leaves behind, run as ``python -m asyncio`` does it, with another port."""
    names = {"aiotls": aiotls} if names is None else names
    code = compile(snippet.replace("8443", str(port)), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = types.FunctionType(code, names)()
    if inspect.iscoroutine(result):
        await result
    return names


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("tls").peer
    writer.write(repr(peer and peer.dns_names).encode())
    writer.close()


async def answer(server_config: aiotls.ServerConfig, client_config: aiotls.ClientConfig) -> str:
    """What a server with the one config says to a client with the other."""
    async with await aiotls.start_server(greet, "127.0.0.1", 0, ssl=server_config) as server:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await aiotls.open_connection("localhost", port_of(server), ssl=client_config)
            try:
                return (await reader.read()).decode()
            finally:
                writer.close()


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the certificates that the first snippet makes, where the others run."""
    monkeypatch.chdir(tmp_path)
    await run(CODE["A server"][0])
    return tmp_path


@pytest.fixture
def trusting(here: Path) -> aiotls.ClientConfig:
    return aiotls.ClientConfig(roots=aiotls.Roots.from_file(here / "ca.pem"))


@pytest.fixture
async def port(here: Path) -> AsyncIterator[int]:
    """That of the server of ten lines, run as a program."""
    async with program("-c", ANNOUNCING + CODE["A server"][1].replace("8443", "0"), cwd=here) as process:
        yield int((await line_of(process.stdout, "port ")).split()[1])


def test_readme_has_no_code_that_is_not_run_here() -> None:
    counts = {heading: len(snippets) for heading, snippets in CODE.items()}
    assert counts == {"A server": 2, "A client": 1, "Mutual TLS": 1, "Live credentials": 1, "The engine": 1}
    assert README.count("```python") == 6


def test_readme_shows_a_short_server_and_a_short_client() -> None:
    server, client = (CODE[heading][-1].strip().splitlines() for heading in ("A server", "A client"))
    assert sum(bool(line.strip()) for line in server) <= 11
    assert len([line for line in client if line.strip()]) <= 6


async def test_readme_client_reads_what_the_readme_server_says(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        names = await run(CODE["A client"][0], port=port)
    assert capsys.readouterr().out.endswith("\\r\\n\\r\\nhello\\n'\n")
    assert names["writer"].get_extra_info("tls").peer.dns_names == ("localhost",)


@pytest.mark.peer("curl")
async def test_readme_server_answers_curl(here: Path, port: int) -> None:
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--cacert", here / "ca.pem", f"https://localhost:{port}/"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        assert await curl.communicate() == (b"hello\n", b"")


async def test_readme_mutual_tls_admits_alice_alone(here: Path, trusting: aiotls.ClientConfig) -> None:
    names = await run(CODE["Mutual TLS"][0])
    assert await answer(names["server_config"], names["client_config"]) == "('alice.example',)"
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    not_alice = aiotls.ClientConfig(
        roots=trusting.roots, credentials=aiotls.Credential.from_files(here / "cert.pem", here / "key.pem")
    )
    for config, alert in ((not_alice, "access_denied"), (trusting, "certificate_required")):
        with pytest.raises(aiotls.AlertReceived) as refused:
            await answer(names["server_config"], config)
        assert refused.value.description is AlertDescription[alert]


async def test_readme_live_credentials_follow_their_files(here: Path, trusting: aiotls.ClientConfig) -> None:
    names = await run(CODE["Live credentials"][0])
    assert names["credentials"].names == {"localhost", "alice.example"}
    assert await answer(names["config"], trusting) == "None"
    await run(CODE["A server"][0])  # another authority, whose certificates take the place of the old ones
    names["credentials"].reload()
    with pytest.raises(CertificateError):
        await answer(names["config"], trusting)
    new = aiotls.ClientConfig(roots=aiotls.Roots.from_file(here / "ca.pem"))
    assert await answer(names["config"], new) == "None"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def test_readme_engine_greets_over_a_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    names = await run(CODE["The engine"][0])
    authority = LocalCA()
    config = aiotls.ServerConfig(credentials=authority.issue("localhost").credential())
    serving = asyncio.create_task(asyncio.to_thread(names["greet"], ours, config))
    client = aiotls.ClientConfig(roots=aiotls.Roots.from_bytes(authority.certificate_pem))
    async with asyncio.timeout(PATIENCE):
        reader, writer = await aiotls.open_connection(sock=theirs, ssl=client, server_hostname="localhost")
        assert await reader.read() == b"hello"
        writer.close()
        await serving


# --- Tables, commands and links --------------------------------------------------------------------------------------


def test_readme_table_has_the_alert_of_each_error_about_certificates() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `(\w+)` \|$", README, re.MULTILINE)
    told = [vars(errors)[name] for name in errors.__all__ if inspect.isclass(vars(errors)[name])]
    kinds = [kind for kind in told if issubclass(kind, CertificateError | AccessDenied)]
    alerts = {kind.__name__: alert_for(kind("")) for kind in kinds}
    assert dict(rows) == {name: alert.name for name, alert in alerts.items() if alert is not None}
    assert len(rows) == len(kinds)


def test_readme_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\$ make (\w+)", README, re.MULTILINE))
    assert targets
    assert targets <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert all((ROOT / path).is_file() for path in re.findall(r"^\$ python (\S+)", README, re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_documents_link_to_what_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_say_how_they_are_run(example: Path) -> None:
    text = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    assert f"    python examples/{example.name}" in text
