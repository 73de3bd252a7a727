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
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
# These flags are missing on Windows, where there is nothing that they would guard against.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it to the disk, then rename it.

    The temporary name is random and must not exist, so that no link that somebody has laid there is
    followed; a link at ``path`` itself is replaced, and what it points to stays as it is.

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
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a rename alone can be lost with the power.

    Raises:
        OSError: If the disk reports an error; a file system without this ability is no error.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder that may be written but not read, and every folder on Windows
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Remove what a killed :func:`write_atomic` left in a folder that nobody else writes now."""
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
