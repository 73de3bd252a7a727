"""The lock on a run directory: one process writes there at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mtl_runner.errors import RunDirectoryError

# How often a lock that another process holds is tried again, and after how many seconds.
LOCK_TRIES, LOCK_WAIT = 5, 0.05


# Locks that this process holds, as file descriptors.
_held_locks: set[int] = set()


def _let_locks_go() -> None:
    """Close the locks in a copy of this process: its data workers may outlive it when it is killed.

    The lock itself stays with the process that took it.
    """
    for lock in _held_locks:
        with contextlib.suppress(OSError):
            os.close(lock)
    _held_locks.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_locks_go)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes out of the directory while it is being written.

    The lock ends with the process, also when it is killed.

    Args:
        directory: The directory; it need not exist.

    Raises:
        RunDirectoryError: If another process holds the directory, or its records are a link.
    """
    folder = directory / ".hydra"
    if folder.is_symlink():
        # It may lead to the records of another run.
        raise RunDirectoryError(f"{str(folder)!r} is a link; remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl  # noqa: F401
    except ImportError:
        # Windows has no such locks.
        yield
        return
    # Nothing is written into the file, and a link that somebody has laid there is not followed.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    path = folder / "lock"
    try:
        lock = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RunDirectoryError(f"{str(path)!r} is a link; remove it.") from error
    _held_locks.add(lock)
    try:
        try:
            _take_lock(lock)
        except BlockingIOError:
            raise RunDirectoryError(
                f"{str(directory)!r} is being written by another process; wait for it, or choose another hydra.run.dir."
            ) from None
        except OSError as error:
            # A file system without locks is written without one.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield
    finally:
        if lock in _held_locks:  # else this is a copy of the process that took it
            _held_locks.remove(lock)
            os.close(lock)


def _take_lock(lock: int) -> None:
    """Take a lock; try again for a moment, since ``mtl-compare`` may just have looked at it."""
    import fcntl

    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(LOCK_WAIT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
