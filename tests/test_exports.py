"""The paved path is small on purpose: `aiotls.__all__` is the whole of it."""

import ast
import dataclasses
import enum
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import aiotls

SOURCE = Path(__file__).resolve().parent.parent / "aiotls" / "__init__.py"
LIMIT = 25


def own_docstring(value: object) -> str | None:
    """The docstring that somebody wrote for *value*: not inherited, and not made by dataclass or enum."""
    if not isinstance(value, type):
        return inspect.getdoc(value)
    text: str | None = vars(value).get("__doc__")
    if dataclasses.is_dataclass(value) and text is not None and text.startswith(f"{value.__name__}("):
        return None
    if issubclass(value, enum.Enum) and text in {"An enumeration.", enum.Enum.__doc__}:
        return None
    return text


def test_all_is_written_out_as_a_literal() -> None:
    values = [
        node.value
        for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and "__all__" in {ast.unparse(target) for target in node.targets}
    ]
    assert len(values) == 1
    assert ast.literal_eval(values[0]) == aiotls.__all__


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert list(aiotls.__all__) == sorted(set(aiotls.__all__))


def test_all_stays_small() -> None:
    assert len(aiotls.__all__) <= LIMIT


@pytest.mark.parametrize("name", aiotls.__all__)
def test_exported_name_resolves_to_something_documented(name: str) -> None:
    value = getattr(aiotls, name)
    assert not isinstance(value, ModuleType), "a module is imported by its own name"
    assert own_docstring(value), f"aiotls.{name} has no docstring of its own"


def test_package_shows_nothing_that_it_does_not_export() -> None:
    """Python itself puts imported submodules there; everything else was left lying about."""
    shown = {
        name: value for name, value in vars(aiotls).items() if not name.startswith("_") and name not in aiotls.__all__
    }
    own = {
        name for name, value in shown.items() if isinstance(value, ModuleType) and value.__name__ == f"aiotls.{name}"
    }
    assert shown.keys() - own == set()


class TestOwnDocstring:
    """The check above is only as good as this."""

    def test_own_docstring_is_none_for_an_undocumented_class(self) -> None:
        class Documented(Exception):
            """Documented."""

        class Inherits(Documented):
            pass

        assert own_docstring(Documented) == "Documented."
        assert own_docstring(Inherits) is None

    def test_own_docstring_is_none_for_the_text_that_dataclass_makes(self) -> None:
        @dataclasses.dataclass
        class Point:
            x: int

        assert own_docstring(Point) is None

    def test_own_docstring_is_none_for_an_undocumented_enum(self) -> None:
        class Colour(enum.Enum):
            RED = 1

        assert own_docstring(Colour) is None
