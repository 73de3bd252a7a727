"""Sharded tensors in a folder of files, by ``torch.distributed.checkpoint``.

torch describes the files in one called ``.metadata``, a pickle, which could run any code when it is
read. Here it is read by an unpickler that knows the few classes that belong there.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

DESCRIPTION = ".metadata"
# What torch's description of files is made of, beside the types of tensors.
CLASSES = {
    (metadata.__name__, name)
    for name in (
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    )
} | {
    (filesystem.__name__, "_StorageInfo"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in CLASSES:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong there")


class _Reader(filesystem.FileSystemReader):
    """Reads the files of a folder, and runs no code that they may name.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Here and not when torch asks, which would log an error and try something else.
        with (folder / DESCRIPTION).open("rb") as file:
            self.description = _Unpickler(file).load()

    def read_metadata(self, *_: Any, **__: Any) -> Any:
        """Return torch's description of the files."""
        if getattr(self.description, "storage_meta", None) is None:
            self.description.storage_meta = metadata.StorageMeta()
        self.description.storage_meta.load_id = self.load_id
        return self.description


def save_sharded(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write sharded tensors into a folder; each process writes its parts, and all make the call.

    Args:
        folder: The folder, which is made.
        tensors: The tensors by name, the same names in all processes.

    Raises:
        OSError: If a file cannot be written, in all processes.
    """
    writer = filesystem.FileSystemWriter(folder, sync_files=True)
    try:
        save(dict(tensors), storage_writer=writer)
    except CheckpointException as error:
        _raise_first(error)


def load_sharded(folder: Path, tensors: Mapping[str, Tensor], is_alone: bool) -> None:
    """Fill tensors from the files of a folder, whatever number of processes has written them.

    Args:
        folder: The folder.
        tensors: The tensors to fill: sharded ones, of which each process gets its part, or whole
            ones.
        is_alone: Whether this process reads alone; else all make the same call.

    Raises:
        pickle.UnpicklingError: If the description of the files names something foreign.
        Exception: If the files are not there, or hold something else.
    """
    try:
        with warnings.catch_warnings():
            # A process that reads alone is told that it does.
            warnings.simplefilter("ignore")
            load(
                cast("dict[str, Any]", dict(tensors)),
                storage_reader=_Reader(folder),
                no_dist=is_alone,
            )
    except CheckpointException as error:
        _raise_first(error)


def _raise_first(error: CheckpointException) -> NoReturn:
    """Raise the error of the first process that failed, without torch's wrapper."""
    for failure in error.failures.values():
        raise failure[0] from error
    raise error
