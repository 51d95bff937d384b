"""Key logging in the NSS format, which Wireshark and others read.

Whoever holds the log can decrypt the connections in it.  Nothing is logged unless a config asks for it.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from aiotls.errors import LocalError

__all__ = ["KeyLog", "KeyLogFile"]

KeyLog = Callable[[str, bytes, bytes], object]
"""Called with the label, the client's random, and the secret."""


class KeyLogFile:
    """Appends secrets to a file, one line each; a new file is readable by its owner only."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open *path* for appending; raises LocalError when that cannot be done."""
        self._path = Path(path)
        self._lock = threading.Lock()
        try:
            self._file: int | None = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            msg = f"the key log {os.fspath(self._path)!r} cannot be opened: {error.strerror}"
            raise LocalError(msg) from error

    @classmethod
    def from_environment(cls) -> Self | None:
        """The file that SSLKEYLOGFILE names, or None where it is not set."""
        path = os.environ.get("SSLKEYLOGFILE")
        return cls(path) if path else None

    def __call__(self, label: str, client_random: bytes, secret: bytes) -> None:
        """Append one line; raises LocalError when the file is closed."""
        line = f"{label} {client_random.hex()} {secret.hex()}\n".encode("ascii")
        with self._lock:
            if self._file is None:
                msg = f"the key log {os.fspath(self._path)!r} is closed"
                raise LocalError(msg)
            os.write(self._file, line)

    def close(self) -> None:
        """Close the file; no line may be written after that.  A second call does nothing."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
