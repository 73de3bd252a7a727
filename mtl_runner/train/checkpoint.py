"""One file holds the whole state of a run; loaded with ``weights_only=True``, so a checkpoint cannot run code."""

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
    """Serialise in memory, then write in one piece: a full disk is an ``OSError`` and the old file stays."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load a state. Raises ``RunDirectoryError`` if the file is not a checkpoint of ours."""
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
    """Keep the checkpoint and the best model as they are, under ``.previous``, while new ones are written."""
    if (directory / "checkpoint.pt").exists():
        folder = directory / PREVIOUS
        folder.mkdir(exist_ok=True)
        for name in FILES:
            if (directory / name).exists():
                write_atomic(folder / name, (directory / name).read_bytes())


def forget_previous(directory: Path) -> None:
    """Remove what :func:`keep_previous` kept."""
    for name in FILES:
        (directory / PREVIOUS / name).unlink(missing_ok=True)
    if (directory / PREVIOUS).is_dir():
        (directory / PREVIOUS).rmdir()


def epochs(directory: Path) -> list[int]:
    """The epochs of the checkpoint and of the previous one, where there are any; 0 if the run has to start anew."""
    paths = [
        path
        for path in (directory / "checkpoint.pt", directory / PREVIOUS / "checkpoint.pt")
        if path.exists()
    ]
    return [load(path)["epoch"] for path in paths] or [0]


def go_back(directory: Path) -> None:
    """Make the previous checkpoint and best model the present ones."""
    for name in reversed(FILES):  # the checkpoint last
        if (directory / PREVIOUS / name).exists():
            (directory / PREVIOUS / name).replace(directory / name)
    forget_previous(directory)
