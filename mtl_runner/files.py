"""Writing files so that a kill or a full disk leaves the old file or the new one, never a part."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it to the disk, then rename it.

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
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


def _finite(value: Any) -> Any:
    """Return the value with None for every number that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
