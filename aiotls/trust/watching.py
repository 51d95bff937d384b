"""Whether files have changed since they were last read: what live credentials, CRLs and staples are reloaded by.

There is no event loop here and no thread, so nothing is told of a change: the one who uses the files asks, as often as
it likes.  Between two looks at the file system the answer costs one reading of the clock, so that it can be asked for
in every handshake.

A file is known by its device, inode, size and times (POSIX.1-2017, <sys/stat.h>), not by its content.  Symbolic links
are followed: where a Kubernetes volume swaps its link ``..data``, the path leads to another inode.  The time of
the last change of status is among them, because it tells of a ``chmod`` that makes an unreadable file readable.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeAlias, final

from aiotls.errors import LocalError

__all__ = ["FileWatch"]

_Signature: TypeAlias = tuple[int, int, int, int, int] | None
"""Device, inode, size, and the times of the last change of content and of status; None for no file."""


@final
class FileWatch:
    """Tells whether *paths* have changed, with a look at them at most every *interval* seconds of *clock*.

    Make it before the files are read: what changes while they are being read is then seen by the next look.  A path may
    be a directory, which changes when an entry is added, renamed or removed (not when a file in it is written to), and
    may lead nowhere: that it appears is a change, too.  LocalError says that *interval* is negative or that there
    is no path.
    """

    __slots__ = ("_clock", "_interval", "_looked", "_looking", "_seen", "paths")

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.paths = tuple(os.fspath(path) for path in paths)
        """What is watched."""
        if not self.paths:
            raise LocalError("paths is empty; name at least one file to watch")
        if not interval >= 0:
            raise LocalError(f"interval is {interval}; give the seconds between two looks at the files, 0 or more")
        self._interval = interval
        self._clock = clock
        self._looking = threading.Lock()
        self._looked = clock()
        self._seen = self._signatures()

    def __repr__(self) -> str:
        return f"<FileWatch {', '.join(self.paths)}>"

    def changed(self) -> bool:
        """Whether a look is due and finds a change since the last one: True once for each change.

        Of several threads that ask at the same time, one gets the answer True.
        """
        # A clock that was set back must not keep us from looking until it is where it was.
        return not 0 <= self._clock() - self._looked < self._interval and self.look()

    def look(self) -> bool:
        """The same without waiting for the interval; call it before files are read again for another reason."""
        if not self._looking.acquire(blocking=False):
            return False  # another thread is looking, and will act on what it finds
        try:
            self._looked = self._clock()
            seen, self._seen = self._seen, self._signatures()
            return seen != self._seen
        finally:
            self._looking.release()

    def _signatures(self) -> tuple[_Signature, ...]:
        return tuple(_signature(path) for path in self.paths)


def _signature(path: str) -> _Signature:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path object for each look would cost as much as the look
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
