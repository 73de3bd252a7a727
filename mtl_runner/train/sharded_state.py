"""The state of a run whose model is sharded (``trainer.parallel=fsdp``), in its checkpoint.

``checkpoint.pt`` holds everything but the sharded tensors, in whose places it names them. They lie
in a folder of their own, into which every process has written its parts; a new one for every save,
so that a kill at any instant leaves the one that ``checkpoint.pt`` names.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_runner.config.kept_files import SHARDS
from mtl_runner.errors import RunDirectoryError
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.gradients.shards import Shards, empty_like_shards, full_tensor, is_sharded
from mtl_runner.write_group import sync_directory

# Key of the checkpoint with the folder of its sharded tensors and the checksums of its files.
FILES = "sharded"
# Key of what stands in the place of a sharded tensor.
MARK = "__sharded__"


def gathered(state: Any, keep: bool) -> Any:
    """Return a state with every sharded tensor put together; all processes make the call.

    Args:
        state: Tensors, numbers, texts, and lists and dictionaries of them.
        keep: Whether this process wants it; else it has None in those places.

    Example:
        >>> gathered({"a": [torch.ones(1), 2]}, keep=True)
        {'a': [tensor([1.]), 2]}
    """

    def gather(_: str, tensor: Tensor) -> Tensor | None:
        gathered_tensor = full_tensor(tensor.detach())
        return gathered_tensor.cpu() if keep else None

    return _mapped(state, gather)


def save(state: dict[str, Any], directory: Path, ranks: Ranks) -> dict[str, Any]:
    """Write the sharded tensors of a state, and return the rest of it, which names them.

    All processes make the call.

    Args:
        state: The state of the run.
        directory: Directory of the run.
        ranks: The processes.

    Returns:
        The state for ``checkpoint.pt``.

    Raises:
        OSError: If a file cannot be written.
    """
    from mtl_runner.compat.torch_checkpoints import save_sharded

    tensors: dict[str, Tensor] = {}

    def take_out(key: str, tensor: Tensor) -> dict[str, Any]:
        tensors[key] = tensor.detach()
        dtype = str(tensor.dtype).removeprefix("torch.")
        return {MARK: key, "shape": list(tensor.shape), "dtype": dtype}

    plain: dict[str, Any] = _mapped(state, take_out)
    name = ranks.objects(_new_name(directory / SHARDS, state["step"]))[0]
    folder = directory / SHARDS / name
    with ranks.in_words():
        save_sharded(folder, tensors)
    checksums = ranks.objects(_checksums(folder, ranks.rank))
    if ranks.writes:
        sync_directory(folder)
        sync_directory(directory / SHARDS)
    files = {file: checksum for of_rank in checksums for file, checksum in of_rank.items()}
    return {**plain, FILES: {"folder": name, "files": files}}


def put_back(
    state: dict[str, Any], directory: Path, shards: Shards | None, device: torch.device
) -> dict[str, Any]:
    """Return the state of a checkpoint with its sharded tensors, as far as it has such.

    The number of processes may have changed; all of them make the call.

    Args:
        state: The content of ``checkpoint.pt``.
        directory: Directory of the run.
        shards: The processes that have a part of each tensor; None: this one has all of them.
        device: Device for the tensors.

    Raises:
        RunDirectoryError: If their files cannot be read.
    """
    if FILES not in state:
        return state
    from mtl_runner.compat.torch_checkpoints import load_sharded

    tensors: dict[str, Tensor] = {}

    def fill_in(mark: Mapping[str, Any]) -> Tensor:
        shape, dtype = mark["shape"], getattr(torch, mark["dtype"])
        tensors[mark[MARK]] = tensor = (
            torch.empty(shape, dtype=dtype, device=device)
            if shards is None
            else empty_like_shards(shards, shape, dtype)
        )
        return tensor

    plain = {key: value for key, value in state.items() if key != FILES}
    filled: dict[str, Any] = _mapped(plain, lambda _, tensor: tensor, fill_in)
    folder = directory / SHARDS / str(state[FILES]["folder"])
    try:
        load_sharded(folder, tensors, is_alone=shards is None)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise RunDirectoryError(
            f"The sharded tensors of the checkpoint in {str(folder)!r} cannot be read; run again with mtl-run repeat={directory}."
        ) from error
    return {**filled, FILES: state[FILES]}


def keep_folders(directory: Path, names: set[str]) -> None:
    """Delete the sharded tensors of all saves but some, and their folder if none is left.

    Args:
        directory: Directory of the run.
        names: The folders that stay.
    """
    folders = list((directory / SHARDS).glob("*"))
    for folder in folders:
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
    if not names:
        with contextlib.suppress(OSError):
            (directory / SHARDS).rmdir()


def are_whole(state: Mapping[str, Any], directory: Path) -> bool:
    """Return whether the files with the sharded tensors of a checkpoint are what was written.

    Args:
        state: The content of ``checkpoint.pt``.
        directory: Directory of the run.
    """
    if FILES not in state:
        return True
    folder = directory / SHARDS / str(state[FILES]["folder"])
    return all(
        (folder / name).is_file() and _checksum(folder / name) == checksum
        for name, checksum in state[FILES]["files"].items()
    )


def _mapped(
    state: Any,
    change: Callable[[str, Tensor], Any],
    fill_in: Callable[[Mapping[str, Any]], Any] | None = None,
    key: str = "",
) -> Any:
    """Return a state with its sharded tensors, or what stands in their places, replaced."""
    if isinstance(state, Tensor):
        return change(key, state) if is_sharded(state) else state
    if isinstance(state, Mapping):
        if MARK in state and fill_in is not None:
            return fill_in(state)
        return {
            k: _mapped(v, change, fill_in, f"{key}.{k}" if key else str(k))
            for k, v in state.items()
        }
    if isinstance(state, list | tuple):
        entries = [_mapped(v, change, fill_in, f"{key}.{i}") for i, v in enumerate(state)]
        return entries if isinstance(state, list) else tuple(entries)
    return state


def _new_name(folder: Path, step: int) -> str:
    """Return a name for the folder of a save that no earlier one has."""
    taken = {path.name for path in folder.glob("*")}
    names = [str(step), *(f"{step}.{number}" for number in range(1, len(taken) + 1))]
    return next(name for name in names if name not in taken)


def _checksums(folder: Path, rank: int) -> dict[str, str]:
    """Return the checksums of the files that a process has written."""
    names = [f"__{rank}_*.distcp", *([".metadata"] if not rank else [])]
    return {path.name: _checksum(path) for name in names for path in sorted(folder.glob(name))}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
