"""Splits that take a while to make, kept in one memory-mapped file per config."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mtl_runner.data.dataset import Split
from mtl_runner.files import atomic_file

Splits = dict[str, Split]


def default_directory() -> Path:
    """Return the cache folder: ``$XDG_CACHE_HOME/mtl_runner``, or ``~/.cache/mtl_runner``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mtl_runner"


def cached(
    name: str,
    config: Mapping[str, Any],
    make: Callable[[], Splits],
    directory: str | Path | None = None,
) -> Splits:
    """Return the splits that ``make`` returns, made once per config and mapped from its file after.

    A folder that cannot be written costs time, not the run.

    Args:
        name: Name of the dataset, with which the file's name begins.
        config: Everything that decides the tensors, as plain values.
        make: Makes the splits.
        directory: Folder for the file; None: :func:`default_directory`.

    Example:
        >>> import tempfile, torch
        >>> from mtl_runner.data import Split
        >>> def make():
        ...     print("made")
        ...     return {"train": Split(torch.ones(2, 3), {})}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for _ in range(2):
        ...         splits = cached("ones", {"rows": 2}, make, folder)
        made
    """
    text = json.dumps([config, str(torch.get_default_dtype())], sort_keys=True)
    folder = default_directory() if directory is None else Path(directory)
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pt"
    with contextlib.suppress(Exception):  # not there, or cut off by a full disk: made again
        return _read(path)
    splits = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            torch.save({key: (split.inputs, split.targets) for key, split in splits.items()}, file)
        return _read(path)
    except (OSError, RuntimeError):  # PyTorch's writer raises the latter on a full disk
        return splits


def _read(path: Path) -> Splits:
    stored = torch.load(path, mmap=True, weights_only=True)
    return {key: Split(inputs, targets) for key, (inputs, targets) in stored.items()}
