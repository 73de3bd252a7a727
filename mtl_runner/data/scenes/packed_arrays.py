"""Thousands of ``.npy`` files as one large memory-mapped file per kind and split."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mtl_runner.data.cache import default_directory
from mtl_runner.data.scenes.npy_files import ArrayKind, read_array

VERSION = 1  # of the packed files

FilesOfSplits = Mapping[str, Mapping[str, list[Path]]]


def packed_folder(
    name: str,
    source: Path,
    files: FilesOfSplits,
    kinds: Sequence[ArrayKind],
    seed: int,
    cache: str | None,
) -> Path:
    """Return the folder of a dataset's packed files, which are made first if they are not there.

    The training images are packed in a random order. Sizes and time stamps of the files are part of
    the folder's name, so that changed files are packed anew.

    Args:
        name: Name of the dataset.
        source: The folder that the files come from.
        files: The files by split and kind, in order.
        kinds: The kinds of arrays.
        seed: Seed of the order.
        cache: Folder for the packed files; None: the user's cache folder.

    Raises:
        DataError: If a file is wrong.
    """
    stamps = {
        split: {
            kind: [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
            for kind, paths in files_of_kinds.items()
        }
        for split, files_of_kinds in files.items()
    }
    classes = max(kind.classes for kind in kinds)
    key = json.dumps(
        [str(source.resolve()), classes, seed, stamps, VERSION, str(torch.get_default_dtype())]
    )
    base = default_directory() if cache is None else Path(cache)
    folder = base / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        _pack(folder, files, kinds, seed)
    return folder


def read_packed(folder: Path, split: str) -> dict[str, np.ndarray]:
    """Return the arrays of a split by kind, memory-mapped; changes are never written back."""
    files = sorted(folder.glob(f"{split}.*.npy"))
    return {path.name.split(".")[1]: np.load(path, mmap_mode="c") for path in files}


def _pack(folder: Path, files: FilesOfSplits, kinds: Sequence[ArrayKind], seed: int) -> None:
    """Write the packed files into another folder, which then takes the place of this one."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    temporary.mkdir(parents=True)
    try:
        for split, files_of_kinds in files.items():
            order = np.arange(len(files_of_kinds["image"]))
            if split == "train":
                np.random.default_rng(seed).shuffle(order)
            for kind in kinds:
                paths = [files_of_kinds[kind.name][i] for i in order]
                _write(temporary / f"{split}.{kind.name}.npy", paths, kind)
        temporary.replace(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another run was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, files: Sequence[Path], kind: ArrayKind) -> None:
    precision = str(torch.get_default_dtype()).removeprefix("torch.")
    dtype = np.dtype(precision) if kind.channels else np.dtype(np.int64)
    shape = (kind.channels, *kind.size) if kind.channels else kind.size
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (len(files), *shape),
    }
    # Not through a memory map: on a full disk that is killed, not told.
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for file in files:
            stream.write(np.ascontiguousarray(read_array(file, kind), dtype=dtype).tobytes())
