"""Hold each module of the protocol's packages to its coverage floor.

Run after ``coverage json``: ``python tests/coverage_floors.py [coverage.json]``.  The figure is
coverage.py's own for lines and branches together.  A module that the report does not know is as bad as one
that no test runs.
"""

import ast
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("aiotls/wire", "aiotls/record", "aiotls/handshake")
FLOOR = 95.0
FLOORS: dict[str, float] = {}
"""Modules with a floor of their own, by path ("aiotls/wire/codec.py"), each with its reason."""


def modules(root: Path) -> list[str]:
    """Every module with something to run in the packages under *root*, as the report names it."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return [path.relative_to(root).as_posix() for path in paths if has_statements(path)]


def has_statements(path: Path) -> bool:
    """Whether there is more in a file than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def measured(report: dict[str, Any]) -> dict[str, float]:
    """The percentage of lines and branches together, by module; refuses a report without branches."""
    if not report["meta"]["branch_coverage"]:
        sys.exit("the coverage report has no branches: was it run with branch = true, and did it see aiotls?")
    return {
        name.replace("\\", "/"): float(entry["summary"]["percent_covered"]) for name, entry in report["files"].items()
    }


def check(root: Path, report: dict[str, Any]) -> list[str]:
    """Print the table, and return what is wrong."""
    found = measured(report)
    wrong = [f"{package}: no modules found" for package in PACKAGES if not any((root / package).rglob("*.py"))]
    names = modules(root)
    wrong += [f"{name}: has a floor, but there is no such module" for name in sorted(FLOORS.keys() - set(names))]
    print(f"{'module':<40} {'covered':>8} {'floor':>8}")
    for name in names:
        floor = FLOORS.get(name, FLOOR)
        covered = found.get(name)
        print(f"{name:<40} {'missing' if covered is None else f'{covered:.1f}%':>8} {floor:>7.1f}%")
        if covered is None:
            wrong.append(f"{name}: missing from the coverage report")
        elif covered < floor:
            wrong.append(f"{name}: {covered:.2f}% covered, below its floor of {floor:.1f}%")
    return wrong


def main(arguments: list[str]) -> int:
    """Check the report named on the command line, or the one where ``coverage json`` puts it."""
    path = Path(arguments[0]) if arguments else ROOT / "coverage.json"
    wrong = check(ROOT, json.loads(path.read_text(encoding="utf-8")))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
