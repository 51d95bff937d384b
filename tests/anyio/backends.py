"""Runs a test on each of anyio's backends; anyio's own pytest plugin and pytest-asyncio would both want it."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

__all__ = ["on_both_backends"]


def on_both_backends(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test as a plain function with one more parameter, the backend; its fixtures are made outside the loop."""

    def run(backend: str, **arguments: Any) -> None:
        anyio.run(functools.partial(test, **arguments), backend=backend)

    functools.update_wrapper(run, test)
    del run.__dict__["__wrapped__"]
    backend = inspect.Parameter("backend", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__dict__["__signature__"] = inspect.Signature([backend, *inspect.signature(test).parameters.values()])
    parametrized: Callable[..., None] = pytest.mark.parametrize("backend", ["asyncio", "trio"])(run)
    return parametrized
