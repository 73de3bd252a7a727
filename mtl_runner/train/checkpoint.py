"""Checkpoints: one file holds the whole state of a run.

Files are loaded with ``weights_only=True``, so a checkpoint cannot run code.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import write_atomic

FILES = ("checkpoint.pt", "best.pt")
PREVIOUS = ".previous"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state to a file, all of it or nothing.

    The state is serialised in memory first: if the disk is full, that is an ``OSError`` and the old
    file stays.

    Args:
        path: The file.
        state: Tensors, numbers, texts, and lists and dictionaries of them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "checkpoint.pt"
        ...     save(path, {"epoch": 3})
        ...     load(path)
        {'epoch': 3}
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the state in a file that :func:`save` wrote.

    Args:
        path: The file.
        device: Device for its tensors.

    Raises:
        RunDirectoryError: If there is no such file, or it is not a checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise RunDirectoryError(f"There is no {path.name} in {str(path.parent)!r}.") from None
    except Exception as error:
        raise RunDirectoryError(
            f"{str(path)!r} cannot be read as a checkpoint; run again with mtl-run repeat={path.parent}."
        ) from error
    return state


def keep_previous(directory: Path) -> None:
    """Copy checkpoint and best model of a run into ``.previous`` before new ones are written."""
    if (directory / "checkpoint.pt").exists():
        folder = directory / PREVIOUS
        folder.mkdir(exist_ok=True)
        for name in FILES:
            if (directory / name).exists():
                write_atomic(folder / name, (directory / name).read_bytes())


def delete_previous(directory: Path) -> None:
    """Delete the copies that :func:`keep_previous` made."""
    for name in FILES:
        (directory / PREVIOUS / name).unlink(missing_ok=True)
    if (directory / PREVIOUS).is_dir():
        (directory / PREVIOUS).rmdir()


def saved_epochs(directory: Path) -> list[int]:
    """Return the epochs from which a run can go on.

    Returns:
        The epoch of the checkpoint, then that of the previous one, as far as there are any; ``[0]``
        if the run has to start anew.
    """
    paths = [
        path
        for path in (directory / "checkpoint.pt", directory / PREVIOUS / "checkpoint.pt")
        if path.exists()
    ]
    return [load(path)["epoch"] for path in paths] or [0]


def restore_previous(directory: Path) -> None:
    """Replace checkpoint and best model by the copies that :func:`keep_previous` made."""
    # The checkpoint comes last: it says to which epoch the other file belongs.
    for name in reversed(FILES):
        if (directory / PREVIOUS / name).exists():
            (directory / PREVIOUS / name).replace(directory / name)
    delete_previous(directory)
