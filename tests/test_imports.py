"""The house rules on imports, read from the source: who may import whom, and who may touch the outside world.

The rooms are the packages and single modules right under aiotls/.  An import counts wherever it stands: at
the top, in a function, under TYPE_CHECKING, or as a literal given to ``importlib.import_module``.  The last
part of this file feeds the rules small sources that break them: a rule that cannot fail holds nothing.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "aiotls"

FRONT_ENDS = {"asyncio", "trio", "anyio"}

# Room -> the rooms, or single modules of rooms, that it may import; besides them its own room and `errors`.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "keylog": set(),
    "blocking": set(),
    "wire": set(),
    "crypto": {"wire.registries"},
    "trust": {"wire", "crypto", "blocking"},
    "sessions": {"wire", "crypto"},
    "policy": {"crypto", "wire.registries"},
    "record": {"crypto", "wire.registries"},
    "negotiated": {"crypto", "trust", "wire.registries"},
    # It computes what depends on it alone.
    "config": {"policy", "sessions", "trust", "crypto", "wire", "keylog", "negotiated"},
    "handshake": {"wire", "crypto", "sessions", "trust", "config", "blocking", "negotiated", "keylog"},
    "events": {"negotiated"},
    # It hands keys across.
    "engine": {"handshake", "record", "events", "config", "crypto", "negotiated", "trust", "wire.registries"},
    "connection": {"engine", "handshake", "record", "config", "trust", "wire.registries"},
    "ssl_object": {"connection", "events", "trust"},
    # Between the engine and the streams of an event loop, of which it knows none.
    "pump": {"connection", "config", "events", "blocking"},
    "asyncio": {"connection", "config", "events", "trust", "blocking", "ssl_object"},
    "trio": {"pump", "connection", "config", "events", "trust", "ssl_object"},
    "anyio": {"pump", "connection", "config", "events", "trust", "ssl_object"},
    "sslcompat": {"connection", "config", "events", "trust"},
    "asgi": {"asyncio", "trio"},
    "cli": {"asgi", "asyncio"},
    "__main__": {"cli"},
}
# These two may import every room; nobody, and so not the first of them, may import `testing`.
ROOT_ROOM, TESTING = "aiotls", "testing"

ENGINE_ROOMS = {"wire", "crypto", "record", "handshake", "engine", "connection", "events", "policy"}
ENGINE_MODULES = {"aiotls.sessions.session"}
CRYPTOGRAPHERS = {"crypto", "trust", TESTING}
IO_ROOMS = FRONT_ENDS | {"asgi", "cli", TESTING}
IO_MODULES = {"aiotls.sessions.redis"}
IO_LIBRARIES = {"socket", "asyncio", "trio", "anyio"}
# Of `os` and `datetime` the engine may use the rest.
CLOCKS_AND_RANDOMNESS = {
    "time",
    "random",
    "secrets",
    "os.urandom",
    "os.getrandom",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
}


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, what it imports, and what it reaches through an import."""

    name: str
    imports: frozenset[str]
    uses: frozenset[str]

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    """The room of ``aiotls.wire.codec`` is ``wire``; that of ``aiotls`` itself is ``aiotls``."""
    return name.split(".")[1] if "." in name else name


def is_within(name: str, ancestors: set[str]) -> bool:
    """Whether a dotted name is one of *ancestors* or lies below one."""
    return any(name == ancestor or name.startswith(ancestor + ".") for ancestor in ancestors)


# Reading the source


def read_package(root: Path) -> dict[str, str]:
    """The source of each file, by its path inside the package."""
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))}


def parse(sources: Mapping[str, str]) -> list[Module]:
    """What each file of ``{"wire/codec.py": source}`` imports."""
    names = {path: dotted_name(path) for path in sources}
    known = set(names.values())
    return [read_module(names[path], path, source, known) for path, source in sources.items()]


def dotted_name(path: str) -> str:
    parts = ["aiotls", *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_module(name: str, path: str, source: str, known: set[str]) -> Module:
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    tree = ast.parse(source, path)
    bound: dict[str, str] = {}  # the local name of each import -> what it stands for
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports.add(alias.name)
                top = alias.name.split(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(node, package)
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                # Of our own package: a submodule if there is one, else a name in the module itself.
                ours = is_within(origin, {"aiotls"})
                imports.add(full if full in known or not ours else origin)
                bound[alias.asname or alias.name] = full
    uses = set(imports)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (reached := resolve(node, bound)):
            uses.add(reached)
            imports.update(longest_known(reached, known))
        elif isinstance(node, ast.Call) and (target := dynamic_import(node, package)):
            imports.add(target)
            uses.add(target)
    return Module(name, frozenset(imports), frozenset(uses))


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that an import statement means, its leading dots resolved."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def resolve(node: ast.Attribute, bound: Mapping[str, str]) -> str | None:
    """What ``os.urandom`` or ``aiotls.wire.codec.Reader`` stands for, when its first name was imported."""
    attributes: list[str] = []
    value: ast.expr = node
    while isinstance(value, ast.Attribute):
        attributes.append(value.attr)
        value = value.value
    if not isinstance(value, ast.Name) or value.id not in bound:
        return None
    return ".".join([bound[value.id], *reversed(attributes)])


def longest_known(reached: str, known: set[str]) -> set[str]:
    """The module of ours that an attribute chain walks into: ``import aiotls`` may lead anywhere."""
    while reached and reached not in known:
        reached = reached.rpartition(".")[0]
    return {reached} if reached else set()


def dynamic_import(node: ast.Call, package: str) -> str | None:
    """The module that ``import_module("...")`` or ``__import__("...")`` names, if it is a literal."""
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called not in {"import_module", "__import__"} or not node.args:
        return None
    match node.args[0]:
        case ast.Constant(value=str(target)):
            level = len(target) - len(target.lstrip("."))
            return absolute(ast.ImportFrom(module=target.lstrip("."), names=[], level=level), package)
    return None


# The rules: each yields a line for everything that breaks it


def arrows(modules: list[Module]) -> Iterator[str]:
    """A room imports only the rooms that its arrows lead to."""
    for module in modules:
        if module.room in {ROOT_ROOM, TESTING}:
            continue
        if module.room not in ARROWS:
            yield f"{module.name} is in no room of the house"
            continue
        allowed = {f"aiotls.{room}" for room in ARROWS[module.room] | {module.room, "errors"}}
        for target in sorted(module.imports):
            if is_within(target, {"aiotls"}) and not is_within(target, allowed):
                yield f"{module.name} may not import {target}"


def nobody_imports_testing(modules: list[Module]) -> Iterator[str]:
    """Nobody imports `testing`."""
    for module in modules:
        if module.room != TESTING and any(is_within(target, {"aiotls.testing"}) for target in module.imports):
            yield f"{module.name} imports aiotls.testing"


def no_cycles(modules: list[Module]) -> Iterator[str]:
    """No two modules import each other, however long the way round."""
    known = {module.name for module in modules}
    try:
        TopologicalSorter({module.name: (module.imports & known) - {module.name} for module in modules}).prepare()
    except CycleError as error:
        yield "cycle: " + " <- ".join(error.args[1])


def cryptography_stays_inside(modules: list[Module]) -> Iterator[str]:
    """Only crypto/, trust/ and testing/ import `cryptography`."""
    for module in modules:
        if module.room not in CRYPTOGRAPHERS and any(is_within(n, {"cryptography"}) for n in module.imports):
            yield f"{module.name} imports cryptography"


def input_output_stays_outside(modules: list[Module]) -> Iterator[str]:
    """Sockets and event loops belong to front ends, asgi/, cli/, sessions/redis.py and testing/."""
    for module in modules:
        if module.room in IO_ROOMS or module.name in IO_MODULES:
            continue
        for target in sorted(module.imports):
            if is_within(target, IO_LIBRARIES):
                yield f"{module.name} imports {target}"


def ssl_only_in_sslcompat(modules: list[Module]) -> Iterator[str]:
    """`import ssl` stands in sslcompat.py and nowhere else."""
    for module in modules:
        if module.room != "sslcompat" and any(is_within(target, {"ssl", "_ssl"}) for target in module.imports):
            yield f"{module.name} imports ssl"


def wire_is_standard_library(modules: list[Module]) -> Iterator[str]:
    """wire/ imports the standard library, itself and `errors`; the arrows see to the last two."""
    for module in modules:
        for target in sorted(module.imports):
            top = target.split(".")[0]
            if module.room == "wire" and top != "aiotls" and top not in sys.stdlib_module_names:
                yield f"{module.name} imports {target}"


def engine_is_deterministic(modules: list[Module]) -> Iterator[str]:
    """The engine takes the clock and randomness from the config."""
    for module in modules:
        if module.room not in ENGINE_ROOMS and module.name not in ENGINE_MODULES:
            continue
        for target in sorted(module.uses):
            if is_within(target, CLOCKS_AND_RANDOMNESS):
                yield f"{module.name} uses {target}"


Rule = Callable[[list[Module]], Iterator[str]]
RULES: list[Rule] = [
    arrows,
    nobody_imports_testing,
    no_cycles,
    cryptography_stays_inside,
    input_output_stays_outside,
    ssl_only_in_sslcompat,
    wire_is_standard_library,
    engine_is_deterministic,
]


def findings(rule: Rule, sources: Mapping[str, str]) -> list[str]:
    return list(rule(parse(sources)))


# The tests


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_library_obeys_rule(rule: Rule) -> None:
    sources = read_package(PACKAGE)
    assert "wire/codec.py" in sources
    assert findings(rule, sources) == []


def test_arrows_lead_only_to_rooms_and_form_no_cycle() -> None:
    graph = {room: {target.split(".")[0] for target in targets} for room, targets in ARROWS.items()}
    assert set().union(*graph.values()) <= graph.keys()
    TopologicalSorter(graph).prepare()


BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    # Arrows, in every form that an import can take.
    (
        arrows,
        {"wire/a.py": "import aiotls.record.framing"},
        "aiotls.wire.a may not import aiotls.record.framing",
    ),
    (
        arrows,
        {"handshake/a.py": "from aiotls.record import protection", "record/protection.py": ""},
        "aiotls.handshake.a may not import aiotls.record.protection",
    ),
    (
        arrows,
        {"handshake/a.py": "from ..record.framing import x"},
        "aiotls.handshake.a may not import aiotls.record",
    ),
    (
        arrows,
        {"handshake/__init__.py": "from ..record import x"},
        "aiotls.handshake may not import aiotls.record",
    ),
    (
        arrows,
        {"handshake/a.py": "from .. import record", "record/__init__.py": ""},
        "may not import aiotls.record",
    ),
    (arrows, {"crypto/a.py": "from aiotls.wire.codec import Reader"}, "may not import aiotls.wire.codec"),
    (
        arrows,
        {"crypto/a.py": "from aiotls.wire import codec", "wire/codec.py": ""},
        "may not import aiotls.wire.codec",
    ),
    (arrows, {"crypto/a.py": "from aiotls.wire import Reader"}, "aiotls.crypto.a may not import aiotls.wire"),
    (
        arrows,
        {"record/a.py": "def f():\n    from aiotls.connection import x"},
        "may not import aiotls.connection",
    ),
    (arrows, {"policy.py": "import aiotls.config as c"}, "aiotls.policy may not import aiotls.config"),
    (
        arrows,
        {"trust/a.py": "import typing\nif typing.TYPE_CHECKING:\n    from aiotls.config import x"},
        "aiotls.trust.a may not import aiotls.config",
    ),
    (arrows, {"sessions/a.py": "from aiotls import ServerConfig"}, "aiotls.sessions.a may not import aiotls"),
    (
        arrows,
        {"sessions/a.py": "import aiotls.crypto.suites\naiotls.config.x", "config.py": ""},
        "aiotls.sessions.a may not import aiotls.config",
    ),
    (
        arrows,
        {"events.py": "import importlib\nimportlib.import_module('aiotls.connection')"},
        "aiotls.events may not import aiotls.connection",
    ),
    (
        arrows,
        {"record/a.py": "from importlib import import_module\nimport_module('..handshake', __package__)"},
        "aiotls.record.a may not import aiotls.handshake",
    ),
    (arrows, {"asyncio/a.py": "from aiotls.trio import x"}, "aiotls.asyncio.a may not import aiotls.trio"),
    (
        arrows,
        {"errors.py": "from aiotls.wire.registries import x"},
        "aiotls.errors may not import aiotls.wire.reg",
    ),
    (arrows, {"utils.py": ""}, "aiotls.utils is in no room of the house"),
    # Nobody imports testing, not even the package itself.
    (
        nobody_imports_testing,
        {"__init__.py": "from aiotls.testing import pipe"},
        "aiotls imports aiotls.testing",
    ),
    (
        nobody_imports_testing,
        {"__init__.py": "from . import testing", "testing/__init__.py": ""},
        "aiotls imports",
    ),
    (
        nobody_imports_testing,
        {"cli/a.py": "import aiotls.testing.pipe"},
        "aiotls.cli.a imports aiotls.testing",
    ),
    # Cycles, within a room and round a package's own __init__.
    (
        no_cycles,
        {"wire/a.py": "from aiotls.wire import b", "wire/b.py": "from .a import x"},
        "cycle: aiotls.wire.",
    ),
    (
        no_cycles,
        {
            "wire/a.py": "import aiotls.wire.b",
            "wire/b.py": "from . import c",
            "wire/c.py": "from .a import x",
        },
        "cycle: aiotls.wire.",
    ),
    (
        no_cycles,
        {"crypto/__init__.py": "from aiotls.crypto.a import f", "crypto/a.py": "from aiotls.crypto import f"},
        "cycle: aiotls.crypto",
    ),
    # The outside world.
    (
        cryptography_stays_inside,
        {"record/a.py": "from cryptography.hazmat.primitives import hashes"},
        "aiotls.record.a imports cryptography",
    ),
    (cryptography_stays_inside, {"config.py": "import cryptography"}, "aiotls.config imports cryptography"),
    (input_output_stays_outside, {"connection.py": "import asyncio"}, "aiotls.connection imports asyncio"),
    (
        input_output_stays_outside,
        {"sessions/store.py": "import socket"},
        "aiotls.sessions.store imports socket",
    ),
    (
        input_output_stays_outside,
        {"trust/a.py": "from trio.abc import X"},
        "aiotls.trust.a imports trio.abc.X",
    ),
    (input_output_stays_outside, {"sslcompat.py": "import anyio"}, "aiotls.sslcompat imports anyio"),
    (ssl_only_in_sslcompat, {"asyncio/a.py": "import ssl"}, "aiotls.asyncio.a imports ssl"),
    (ssl_only_in_sslcompat, {"testing/a.py": "from ssl import X"}, "aiotls.testing.a imports ssl"),
    (wire_is_standard_library, {"wire/a.py": "import attrs"}, "aiotls.wire.a imports attrs"),
    (
        wire_is_standard_library,
        {"wire/a.py": "from cryptography import x"},
        "aiotls.wire.a imports cryptography.x",
    ),
    # Clocks and randomness.
    (engine_is_deterministic, {"handshake/a.py": "import time"}, "aiotls.handshake.a uses time"),
    (
        engine_is_deterministic,
        {"connection.py": "from time import monotonic"},
        "aiotls.connection uses time.monoton",
    ),
    (engine_is_deterministic, {"record/a.py": "import random as r"}, "aiotls.record.a uses random"),
    (engine_is_deterministic, {"crypto/a.py": "import secrets"}, "aiotls.crypto.a uses secrets"),
    (engine_is_deterministic, {"policy.py": "from os import urandom as u"}, "aiotls.policy uses os.urandom"),
    (engine_is_deterministic, {"wire/a.py": "import os\nos.urandom(3)"}, "aiotls.wire.a uses os.urandom"),
    (
        engine_is_deterministic,
        {"events.py": "import os as o\nf = o.urandom"},
        "aiotls.events uses os.urandom",
    ),
    (
        engine_is_deterministic,
        {"sessions/session.py": "from datetime import datetime\ndatetime.now()"},
        "aiotls.sessions.session uses datetime.datetime.now",
    ),
]


@pytest.mark.parametrize(("rule", "sources", "expected"), BROKEN)
def test_rule_reports_source_that_breaks_it(rule: Rule, sources: dict[str, str], expected: str) -> None:
    found = findings(rule, sources)
    assert len(found) == 1
    assert expected in found[0]


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule.__name__ for rule, _, _ in BROKEN} == {rule.__name__ for rule in RULES}


def test_rules_report_nothing_for_a_lawful_house() -> None:
    sources = {
        "__init__.py": "from aiotls.asyncio import start_server\nfrom aiotls.config import ServerConfig",
        "__main__.py": "from aiotls.cli import main",
        "errors.py": "import enum",
        "wire/__init__.py": "",
        "wire/registries.py": "import enum",
        "wire/codec.py": "from __future__ import annotations\nfrom ..errors import DecodeError",
        "crypto/suites.py": "import os, cryptography\nfrom aiotls.wire import registries\nos.fspath('')",
        "trust/verify.py": "import time\nfrom cryptography import x509\nfrom aiotls.crypto.suites import x",
        "sessions/session.py": "import datetime\nfrom aiotls.wire.codec import Reader\ndatetime.timedelta(0)",
        "sessions/tickets.py": "import time, secrets\nfrom .session import Session",
        "sessions/redis.py": "import asyncio",
        "policy.py": "from aiotls.wire.registries import x",
        "config.py": "import os, time, aiotls.wire.codec\nfrom aiotls import errors, policy\nos.urandom",
        "record/framing.py": "from aiotls.wire.registries import x",
        "negotiated.py": "from aiotls.trust.verify import x\nfrom aiotls.wire.registries import y",
        "handshake/effects.py": "from aiotls.config import x\nfrom aiotls.sessions.session import y",
        "events.py": "from aiotls.negotiated import x",
        "engine.py": "from aiotls.events import x\nfrom aiotls.record import framing",
        "connection.py": "from aiotls.engine import x",
        "asyncio/__init__.py": "import asyncio, socket\nfrom aiotls.connection import x",
        "sslcompat.py": "import ssl\nfrom aiotls.connection import x",
        "asgi/extension.py": "import anyio\nfrom aiotls.asyncio import x",
        "cli/__init__.py": "from aiotls.asgi import extension",
        "testing/pipe.py": "import aiotls, time, trio, cryptography\nfrom aiotls.wire.codec import Reader",
    }
    assert {rule.__name__: findings(rule, sources) for rule in RULES} == {rule.__name__: [] for rule in RULES}
