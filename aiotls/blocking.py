"""Work that waits for nothing but the processor or the disk: verifying a chain, an RSA signature, reading a file.

A handshake that needs such work gives it out as `pending`.  A front end runs it in a thread and goes on with its other
connections; an owner that knows nothing of this awaits it like anything else, and then it runs in place.
"""

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar, final

__all__ = ["Blocking"]

T = TypeVar("T")


@final
class Blocking(Generic[T]):
    """A call that may run in another thread; what awaits it gets its result.

    Any of the functions that a config takes may return one instead of an awaitable of its own.
    """

    __slots__ = ("run",)

    def __init__(self, run: Callable[[], T]) -> None:
        self.run = run
        """Does the work, and returns what came of it."""

    def __await__(self) -> Generator[Any, Any, T]:
        """Do the work here and now."""
        return self.run()
        yield  # what makes this a generator
