"""What all tests share: the Hypothesis profiles, and what becomes of a test whose outside program is missing.

A test marked ``peer("openssl")`` talks to that program.  On a developer's machine a missing program
deselects the test, and the summary says so; with CI=true it ends the session, because there a test that
silently did not run would count as one that passed.
"""

import os
import shutil
from collections import Counter

import hypothesis
import pytest

INSTALL = {
    "curl": "apt-get install curl",
    "gnutls-cli": "apt-get install gnutls-bin",
    "gnutls-serv": "apt-get install gnutls-bin",
    "nginx": "apt-get install nginx",
    "node": "apt-get install nodejs",
    "openssl": "apt-get install openssl",
}
"""How to get each program that a test may name."""

IN_CI = os.environ.get("CI") == "true"

missing_peers = pytest.StashKey[Counter[str]]()

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


@pytest.hookimpl(trylast=True)  # after -k and -m: a test that nobody asked for needs no program
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests whose program is not on PATH, or refuse to run without it in CI."""
    missing: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        absent = {name for name in peers_of(item) if shutil.which(name) is None}
        missing.update(absent)
        (deselected if absent else kept).append(item)
    if missing and IN_CI:
        raise pytest.UsageError("; ".join(describe(missing)))
    config.stash[missing_peers] = missing
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which programs were missing, one line each."""
    for line in describe(config.stash.get(missing_peers, Counter())):
        terminalreporter.write_line(line, yellow=True)


def peers_of(item: pytest.Item) -> list[str]:
    """The programs that a test is marked to need."""
    names = [name for marker in item.iter_markers("peer") for name in marker.args]
    for name in names:
        if name not in INSTALL:
            raise pytest.UsageError(f"{item.nodeid}: peer({name!r}) is not in the table INSTALL of tests/conftest.py")
    return names


def describe(missing: Counter[str]) -> list[str]:
    """One line for each missing program."""
    return [
        f"{name} is not on PATH: {count} test(s) cannot run; install it with: {INSTALL[name]}"
        for name, count in sorted(missing.items())
    ]
