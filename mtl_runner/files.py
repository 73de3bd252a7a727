"""Files that are written whole or not at all, and read without waiting.

A kill or a full disk leaves the old file or the new one, never a part, and nothing that lies where
a file is to be written or read (a symbolic link, a pipe, a device) leads anywhere else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mtl_runner.write_group import current_group, sync_directory

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
# These flags are missing on Windows, where there is nothing that they would guard against.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file, all of it or nothing, as :func:`atomic_file` does.

    Args:
        path: The file; an existing one is replaced.
        data: The whole content.

    Raises:
        OSError: If the file cannot be written; then no temporary file is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomic(Path(folder) / "a.txt", b"one")
        ...     write_atomic(Path(folder) / "a.txt", b"two")
        ...     (Path(folder) / "a.txt").read_text(), len(os.listdir(folder))
        ('two', 1)
    """
    with atomic_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write under a temporary name; at the end sync it to the disk, and rename it.

    In :func:`mtl_runner.write_group.written_together` both happen when that ends.

    The temporary name is random and must not exist, so that no link that somebody has laid there is
    followed; a link at ``path`` itself is replaced, and what it points to stays as it is.

    Args:
        path: The file; an existing one is replaced, unless something is raised in the context.

    Raises:
        OSError: If the file cannot be written; then no temporary file is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder) / "a.txt") as file:
        ...         _ = file.write(b"one ")
        ...         _ = file.write(b"two")
        ...     (Path(folder) / "a.txt").read_text()
        'one two'
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    group = current_group()
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            if group is None:
                os.fsync(file.fileno())
        if group is None:
            temporary.replace(path)
        else:
            group.rename_later(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise
    if group is None:
        sync_directory(path.parent)


def remove_temporary_files(folder: Path) -> None:
    """Remove what a killed :func:`atomic_file` left in a folder that nobody else writes now."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def open_regular(path: Path) -> int:
    """Open a file for reading, without waiting for a pipe or touching a device.

    Returns:
        The file's descriptor, which the caller closes.

    Raises:
        OSError: If it cannot be opened, or is no regular file.

    Example:
        >>> try:
        ...     open_regular(Path("/dev/null"))
        ... except OSError as error:
        ...     print(error.strerror)
        It is no regular file
    """
    # A look before opening, too: to open a device may already do something.
    _check_regular(path.stat(), path)
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT)
    try:
        _check_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_to_append(path: Path) -> int:
    """Open a file to write at its end; it is made if there is none.

    Returns:
        The file's descriptor, which the caller closes.

    Raises:
        OSError: If it cannot be opened, or is no regular file: a link is not followed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for text in ("one ", "two"):
        ...         with os.fdopen(open_to_append(Path(folder) / "a.txt"), "a") as file:
        ...             _ = file.write(text)
        ...     (Path(folder) / "a.txt").read_text()
        'one two'
    """
    with contextlib.suppress(FileNotFoundError):
        _check_regular(path.lstat(), path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK | _NO_WAIT
    descriptor = os.open(path, flags, 0o666)
    try:
        _check_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock on a file.

    The file is locked itself for a moment, so a process that wants the lock may have to try twice.

    Args:
        path: The file; it need not exist.

    Example:
        >>> is_locked(Path("no/such/file"))
        False
    """
    try:
        import fcntl

        descriptor = open_regular(path)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # A file system without locks does not tell.
        return False
    finally:
        os.close(descriptor)
    return False


def make_way(path: Path) -> None:
    """Remove what lies where somebody else will write a file, unless it is a regular file.

    A link would lead the writing elsewhere, and a pipe would wait for a reader.

    Raises:
        OSError: If it cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        limit: The most bytes that it may have.

    Raises:
        OSError: If it cannot be read, is no regular file, or is larger than the limit.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"It is larger than {limit >> 10} KiB", str(path))
    return data


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with ``null`` for NaN and infinity.

    Args:
        path: The file; an existing one is replaced.
        content: Mappings with string keys, lists, tuples and plain values.

    Raises:
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "a.json", {"loss": math.nan})
        ...     json.loads((Path(folder) / "a.json").read_text())
        {'loss': None}
    """
    write_atomic(path, (json.dumps(_finite(content), indent=2) + "\n").encode())


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "It is no regular file", str(path))


def _finite(value: Any) -> Any:
    """Return the value with None for every number that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
