"""NYUv2 and Cityscapes as the MTAN, CAGrad, Nash-MTL and LibMTL papers use them: ``.npy`` files.

Every split is a folder with one folder per kind of array, each with the files ``0.npy``, ``1.npy``,
... They are read once into a few large files in the cache folder, which are memory-mapped from then
on: neither the images nor the targets have to fit into memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.data.pixel_metrics import DEPTH_METRICS, NORMAL_METRICS, SEGMENTATION_METRICS
from mtl_runner.data.scenes.npy_files import ArrayKind
from mtl_runner.data.scenes.packed_arrays import packed_folder, read_packed
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import whole_number
from mtl_runner.tasks.task import Task

# Where the preprocessed files of NYUv2 and Cityscapes are.
MTAN = "https://github.com/lorenmt/mtan"


class NpyFolders:
    """Scenes from folders of ``.npy`` files; the base of :class:`NYUv2` and :class:`Cityscapes`.

    The folder ``val`` of the files is the test split, as in the papers; validation is a share of
    their training images. (The papers choose nothing on a validation split, and report the best or
    the mean of the last epochs on test.)

    Args:
        path: The folder that holds ``train`` and ``val``.
        kinds: The kinds of arrays; one of them is the image.
        val: Share of the training images that is held back for validation.
        seed: Seed of that choice; every seed has packed files of its own.
        cache: Folder for the packed files; None: the user's cache folder.

    Raises:
        ConfigError: If an option is impossible.
        DataError: If something is missing or has another shape.
    """

    name: ClassVar[str]
    size: ClassVar[tuple[int, int]]

    def __init__(
        self,
        path: str | None,
        kinds: Sequence[ArrayKind],
        val: float,
        seed: int,
        cache: str | None,
    ) -> None:
        if path is None:
            raise ConfigError(
                f"data={self.name} needs data.path, the folder that holds train and val; {self._source_hint()}"
            )
        whole_number(seed, "data.seed", 0)
        if not 0 < val < 1:
            raise ConfigError(
                f"data.val must lie between 0 and 1, a share of the training images; found {val!r}."
            )
        folder = Path(path).expanduser()
        files = {split: self.find_files(folder, split, kinds) for split in ("train", "val")}
        packed = packed_folder(self.name, folder, files, kinds, seed, cache)
        arrays = {split: read_packed(packed, split) for split in files}
        rows = len(arrays["train"]["image"])
        n_val = round(val * rows)
        if not 0 < n_val < rows:
            raise DataError(
                f"data.val={val} of {rows} training images leaves a split empty; choose another share."
            )
        train = _split(arrays["train"], kinds)
        # Slices, which are no copies.
        self.splits = {"train": train.rows(slice(n_val, rows)), "val": train.rows(slice(0, n_val))}
        self.splits["test"] = _split(arrays["val"], kinds)

    @classmethod
    def find_files(
        cls, folder: Path, split: str, kinds: Sequence[ArrayKind]
    ) -> dict[str, list[Path]]:
        """Return the files of every kind of a split, in order of their numbers.

        Raises:
            DataError: If a folder or file is missing.
        """
        if not folder.is_dir():
            raise DataError(f"data.path={str(folder)!r} is not a folder; {cls._source_hint()}")
        if not (folder / split).is_dir():
            raise DataError(
                f"{str(folder)!r} has no folder {split!r}; it needs train and val; {cls._source_hint()}"
            )
        files = {kind.name: cls._files_of_kind(folder / split, kind) for kind in kinds}
        numbers = {name: [path.stem for path in paths] for name, paths in files.items()}
        for name, stems in numbers.items():
            if stems != numbers["image"]:
                odd = min(set(stems) ^ set(numbers["image"]), key=int)
                raise DataError(
                    f"In {str(folder / split)!r} there are {len(stems)} files of {name!r}, but {len(numbers['image'])} of 'image': "
                    f"{odd}.npy has no partner."
                )
        return files

    @classmethod
    def _files_of_kind(cls, folder: Path, kind: ArrayKind) -> list[Path]:
        existing = [name for name in kind.folders if (folder / name).is_dir()]
        if not existing:
            wanted = " or ".join(repr(name) for name in kind.folders)
            raise DataError(f"{str(folder)!r} has no folder {wanted}, which data={cls.name} needs.")
        numbered = [path for path in (folder / existing[0]).glob("*.npy") if path.stem.isdigit()]
        if not numbered:
            raise DataError(f"{str(folder / existing[0])!r} holds no file 0.npy, 1.npy, ...")
        return sorted(numbered, key=lambda path: int(path.stem))

    @classmethod
    def _source_hint(cls) -> str:
        return f"{MTAN} links its files, and scripts/fetch_data.py of the source checks them."


class NYUv2(NpyFolders):
    """NYUv2 (Silberman et al., ECCV 2012), preprocessed as for MTAN (Liu et al., CVPR 2019).

    795 training and 654 test images of 288x384 pixels. Tasks as there: ``segmentation`` of 13
    classes (-1: unknown), ``depth`` in metres (mean absolute error; 0: unknown) and ``normal`` (one
    less the cosine; 0: unknown). Folders: ``image``, ``label``, ``depth``, ``normal``.

    Args:
        path: The folder that holds ``train`` and ``val``; ``val`` is the test split.
        val: Share of the training images that is held back for validation.
        seed: Seed of that choice; every seed has packed files of its own.
        cache: Folder for the packed files; None: the user's cache folder.

    Shape:
        Inputs ``[N, 3, 288, 384]`` in [0, 1]; targets ``[N, 288, 384]`` of classes,
        ``[N, 1, 288, 384]`` and ``[N, 3, 288, 384]``.

    Raises:
        ConfigError: If an option is impossible.
        DataError: If something is missing or has another shape.

    Example:
        >>> from mtl_runner.data import NYUv2
        >>> data = NYUv2("data/nyuv2")  # doctest: +SKIP
    """

    name = "nyuv2"
    size = (288, 384)

    def __init__(
        self, path: str | None = None, val: float = 0.1, seed: int = 0, cache: str | None = None
    ) -> None:
        self.tasks = [
            Task("segmentation", "classification", size=13, metrics=SEGMENTATION_METRICS),
            Task("depth", "regression_l1", size=1, metrics=DEPTH_METRICS),
            Task("normal", "direction", size=3, metrics=NORMAL_METRICS),
        ]
        kinds = [
            ArrayKind(("image",), self.size, channels=3),
            ArrayKind(("label",), self.size, classes=13, task="segmentation"),
            ArrayKind(("depth",), self.size, channels=1, task="depth"),
            ArrayKind(("normal",), self.size, channels=3, task="normal"),
        ]
        super().__init__(path, kinds, val, seed, cache)


class Cityscapes(NpyFolders):
    """Cityscapes (Cordts et al., CVPR 2016), preprocessed as for MTAN (Liu et al., CVPR 2019).

    2975 training and 500 test images of 128x256 pixels. Tasks as there: ``segmentation`` of 7 or 19
    classes (-1: unknown) and ``depth``, which is inverse depth (mean absolute error; 0: unknown).
    Folders: ``image``, ``label_7`` or ``label_19`` (or ``label``), ``depth``.

    Args:
        path: The folder that holds ``train`` and ``val``; ``val`` is the test split.
        classes: 7 or 19.
        val: Share of the training images that is held back for validation.
        seed: Seed of that choice; every seed has packed files of its own.
        cache: Folder for the packed files; None: the user's cache folder.

    Shape:
        Inputs ``[N, 3, 128, 256]`` in [0, 1]; targets ``[N, 128, 256]`` of classes and
        ``[N, 1, 128, 256]``.

    Raises:
        ConfigError: If an option is impossible.
        DataError: If something is missing or has another shape.

    Example:
        >>> from mtl_runner.data import Cityscapes
        >>> data = Cityscapes("data/cityscapes", classes=19)  # doctest: +SKIP
    """

    name = "cityscapes"
    size = (128, 256)

    def __init__(
        self,
        path: str | None = None,
        classes: int = 7,
        val: float = 0.1,
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        if classes not in (7, 19):
            raise ConfigError(
                f"data.classes={classes!r} is unknown; {suggest(str(classes), ['7', '19'])}."
            )
        self.tasks = [
            Task("segmentation", "classification", size=classes, metrics=SEGMENTATION_METRICS),
            Task("depth", "regression_l1", size=1, metrics=DEPTH_METRICS),
        ]
        labels = (f"label_{classes}", "label")
        kinds = [
            ArrayKind(("image",), self.size, channels=3),
            ArrayKind(labels, self.size, classes=classes, task="segmentation"),
            ArrayKind(("depth",), self.size, channels=1, task="depth"),
        ]
        super().__init__(path, kinds, val, seed, cache)


def _split(arrays: Mapping[str, np.ndarray], kinds: Sequence[ArrayKind]) -> Split:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Split(tensors["image"], {kind.task: tensors[kind.task] for kind in kinds if kind.task})
