"""What the library logs, for a test to wait for and to read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

__all__ = ["Log", "listening"]


class Log(logging.Handler):
    """The lines of the logger ``aiotls`` that nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: list[str] = []
        self._more: anyio.Event | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.unread.append(record.getMessage())
        if self._more is not None:
            self._more.set()

    async def next(self) -> str:
        """Wait for a line; there must be one, and no second."""
        while not self.unread:
            self._more = anyio.Event()
            await self._more.wait()
        [line] = self.unread
        self.unread.clear()
        return line


@contextmanager
def listening() -> Iterator[Log]:
    """Listen while a test runs, which has to read each line."""
    log = Log()
    logger = logging.getLogger("aiotls")
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
    assert log.unread == []
