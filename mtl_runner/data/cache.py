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

Splits = dict[str, Split]


def default_directory() -> Path:
    """``$XDG_CACHE_HOME/mtl_runner``, or ``~/.cache/mtl_runner``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mtl_runner"


def cached(
    name: str,
    config: Mapping[str, Any],
    make: Callable[[], Splits],
    directory: str | Path | None = None,
) -> Splits:
    """The splits that ``make`` returns: made once for a config, then mapped from its file.

    Args:
        name: of the dataset, and beginning of the file's name. config: everything that decides the tensors, as plain values.
        directory: where the file lies; None: :func:`default_directory`. A directory that cannot be written costs time, not the run.
    """
    text = json.dumps([config, str(torch.get_default_dtype())], sort_keys=True)
    folder = default_directory() if directory is None else Path(directory)
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pt"
    with contextlib.suppress(Exception):  # not there, or cut off by a full disk: made again
        return _read(path)
    splits = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save(
                {key: (split.inputs, split.targets) for key, split in splits.items()}, temporary
            )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return _read(path)
    except (OSError, RuntimeError):  # PyTorch's writer raises the latter on a full disk
        return splits


def _read(path: Path) -> Splits:
    stored = torch.load(path, mmap=True, weights_only=True)
    return {key: Split(inputs, targets) for key, (inputs, targets) in stored.items()}
