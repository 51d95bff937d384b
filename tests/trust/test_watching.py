"""FileWatch: which changes of files it sees, and how often it looks."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aiotls.errors import LocalError
from aiotls.trust.watching import FileWatch


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cert.pem"
    path.write_bytes(b"one")
    return path


def eager(*paths: str | Path) -> FileWatch:
    return FileWatch(paths, interval=0)


def replace(file: Path) -> None:
    """Put another file in its place, of the same size and times."""
    status = file.stat()
    other = file.with_suffix(".new")
    other.write_bytes(b"two")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)


def grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


def touch(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def protect(file: Path) -> None:
    file.chmod(0o600 if file.stat().st_mode & 0o077 else 0o644)
    # Between two changes of status within one tick of the kernel's clock the time is the same.
    while file.stat().st_ctime_ns == file.stat().st_mtime_ns:
        file.chmod(0o600)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("change", [replace, grow, touch, protect, remove])
def test_watch_sees_change_of_file_once(file: Path, change: Callable[[Path], None]) -> None:
    watch = eager(file)
    assert not watch.changed()
    change(file)
    assert watch.changed()
    assert not watch.changed()


def test_watch_sees_file_that_appears(tmp_path: Path) -> None:
    watch = eager(tmp_path / "later")
    assert not watch.changed()
    (tmp_path / "later").touch()
    assert watch.changed()


def test_watch_sees_change_of_any_of_its_files(tmp_path: Path, file: Path) -> None:
    second = tmp_path / "key.pem"
    second.write_bytes(b"key")
    watch = eager(file, str(second))
    grow(second)
    assert watch.changed()
    grow(file)
    assert watch.changed()
    assert watch.paths == (str(file), str(second))
    assert str(second) in repr(watch)


def test_watch_sees_swap_of_link_on_the_way_to_the_file(tmp_path: Path) -> None:
    """As Kubernetes updates a volume: tls.crt -> ..data/tls.crt, and ..data is swapped by a rename."""
    for generation in ("..2026_01", "..2026_02"):
        (tmp_path / generation).mkdir()
        (tmp_path / generation / "tls.crt").write_bytes(b"the same size")
        os.utime(tmp_path / generation / "tls.crt", ns=(0, 0))
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    watch = eager(tmp_path / "tls.crt")
    (tmp_path / "..data_tmp").symlink_to("..2026_02")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert watch.changed()


def test_watch_of_directory_sees_new_entry(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(0, 0))
    watch = eager(tmp_path)
    (tmp_path / "new.pem").touch()
    assert watch.changed()


def test_watch_looks_at_most_once_in_the_interval(file: Path) -> None:
    clock = Clock()
    watch = FileWatch([file], 1.0, clock)
    grow(file)
    clock.now += 0.999
    assert not watch.changed()
    clock.now += 0.001
    assert watch.changed()
    grow(file)
    assert not watch.changed()
    clock.now += 1.0
    assert watch.changed()


def test_watch_looks_when_clock_is_set_back(file: Path) -> None:
    clock = Clock()
    watch = FileWatch([file], 1.0, clock)
    grow(file)
    clock.now -= 500
    assert watch.changed()


def test_look_does_not_wait_for_the_interval(file: Path) -> None:
    watch = FileWatch([file], 1.0, Clock())
    grow(file)
    assert watch.look()
    assert not watch.look()


def test_watch_tells_one_of_many_threads(file: Path) -> None:
    watch = eager(file)
    answers: list[bool] = []
    barrier = threading.Barrier(4)

    def asking() -> None:
        barrier.wait()
        answers.extend(watch.changed() for _ in range(50))

    threads = [threading.Thread(target=asking) for _ in range(4)]
    grow(file)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answers) == 1


def test_watch_of_impossible_name_sees_no_file() -> None:
    watch = eager("a\0b")
    assert not watch.changed()


def test_watch_refuses_no_path() -> None:
    with pytest.raises(LocalError, match="paths is empty"):
        FileWatch([])


@pytest.mark.parametrize("interval", [-0.001, float("nan")])
def test_watch_refuses_interval_that_is_none(file: Path, interval: float) -> None:
    with pytest.raises(LocalError, match="interval is"):
        FileWatch([file], interval)
