"""The preprocessed scenes that the MTAN, CAGrad, Nash-MTL and LibMTL papers use: NYUv2 and Cityscapes as folders of ``.npy`` files.

Every split is a folder with one folder per kind of array, each with the files ``0.npy``, ``1.npy``, ... They are read once into a few
large files in the cache folder, which are memory-mapped from then on: neither the images nor the targets have to fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from mtl_runner.data.cache import default_directory
from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import whole
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task

VERSION = 1  # of the files in the cache
Array = np.ndarray


@dataclass(frozen=True)
class Field:
    """One kind of array: the folders that may hold it (the first one there counts), its channels (0: a class per pixel), and its task."""

    folders: tuple[str, ...]
    channels: int
    task: str = ""  # empty: the image


class NpyFolders:
    """Scenes from folders of ``.npy`` files.

    The folder ``val`` of the files is the test split, as in the papers; validation is a share of their training images. (The papers choose
    nothing on a validation split, and report the best or the mean of the last epochs on test.)

    Args:
        path: the folder that holds ``train`` and ``val``. val: the share of the training images that is held back for validation.
        seed: of that choice; every one has packed files of its own. cache: folder for them; None: the user's cache folder.

    Raises ``DataError`` for what is missing or has another shape, ``ConfigError`` for options that cannot be.
    """

    name: ClassVar[str]
    size: ClassVar[tuple[int, int]]

    def __init__(
        self,
        path: str | None,
        fields: Sequence[Field],
        classes: int,
        val: float,
        seed: int,
        cache: str | None,
    ) -> None:
        if path is None:
            raise ConfigError(
                f"data={self.name} needs data.path, the folder that holds train and val; {self._where()}"
            )
        whole(seed, "data.seed", 0)
        if not 0 < val < 1:
            raise ConfigError(
                f"data.val must lie between 0 and 1, a share of the training images; found {val!r}."
            )
        folder = Path(path).expanduser()
        found = {split: self.find(folder, split, fields) for split in ("train", "val")}
        packed = _Packed.of(self, folder, found, fields, classes, seed, cache)
        arrays = {split: packed.read(split) for split in found}
        rows = len(arrays["train"]["image"])
        held = round(val * rows)
        if not 0 < held < rows:
            raise DataError(
                f"data.val={val} of {rows} training images leaves a split empty; choose another share."
            )
        train = _split(arrays["train"], fields)
        # Slices, which are no copies.
        self.splits = {"train": train.rows(slice(held, rows)), "val": train.rows(slice(0, held))}
        self.splits["test"] = _split(arrays["val"], fields)

    @classmethod
    def find(cls, folder: Path, split: str, fields: Sequence[Field]) -> dict[str, list[Path]]:
        """The files of every field of a split, in order. Raises ``DataError`` for what is missing."""
        if not folder.is_dir():
            raise DataError(f"data.path={str(folder)!r} is not a folder; {cls._where()}")
        if not (folder / split).is_dir():
            raise DataError(
                f"{str(folder)!r} has no folder {split!r}; it needs train and val. {cls._where().capitalize()}"
            )
        found: dict[str, list[Path]] = {}
        for field in fields:
            there = [name for name in field.folders if (folder / split / name).is_dir()]
            if not there:
                wanted = " or ".join(repr(name) for name in field.folders)
                raise DataError(
                    f"{str(folder / split)!r} has no folder {wanted}, which data={cls.name} needs."
                )
            files = [
                path for path in (folder / split / there[0]).glob("*.npy") if path.stem.isdigit()
            ]
            if not files:
                raise DataError(
                    f"{str(folder / split / there[0])!r} holds no file 0.npy, 1.npy, ..."
                )
            found[field.task or "image"] = sorted(files, key=lambda path: int(path.stem))
        stems = {name: [path.stem for path in files] for name, files in found.items()}
        for name, numbers in stems.items():
            if numbers != stems["image"]:
                odd = min(set(numbers) ^ set(stems["image"]), key=int)
                raise DataError(
                    f"In {str(folder / split)!r} there are {len(numbers)} files of {name!r}, but {len(stems['image'])} of 'image': "
                    f"{odd}.npy has no partner."
                )
        return found

    @classmethod
    def _where(cls) -> str:
        return f"python scripts/fetch_data.py {cls.name} says where to get it."


class NYUv2(NpyFolders):
    """NYUv2 (Silberman et al., ECCV 2012) as preprocessed by Liu, Johns & Davison (MTAN, CVPR 2019): 288x384, 795 + 654 images.

    Tasks as there: ``segmentation`` of 13 classes (-1: unknown), ``depth`` in metres (mean absolute error; 0: unknown) and ``normal``
    (one less the cosine; 0: unknown). Folders: ``image``, ``label``, ``depth``, ``normal``. Arguments: see :class:`NpyFolders`.
    """

    name = "nyuv2"
    size = (288, 384)

    def __init__(
        self, path: str | None = None, val: float = 0.1, seed: int = 0, cache: str | None = None
    ) -> None:
        self.tasks = [
            Task("segmentation", "classification", size=13, metrics=("miou", "pixel_accuracy")),
            Task("depth", "regression_l1", size=1, metrics=("abs_err", "rel_err")),
            Task(
                "normal",
                "direction",
                size=3,
                metrics=("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
            ),
        ]
        fields = [
            Field(("image",), 3),
            Field(("label",), 0, "segmentation"),
            Field(("depth",), 1, "depth"),
            Field(("normal",), 3, "normal"),
        ]
        super().__init__(path, fields, 13, val, seed, cache)


class Cityscapes(NpyFolders):
    """Cityscapes (Cordts et al., CVPR 2016) as preprocessed by Liu, Johns & Davison (MTAN, CVPR 2019): 128x256, 2975 + 500 images.

    Tasks as there: ``segmentation`` of 7 or 19 classes (-1: unknown) and ``depth``, which is inverse depth (mean absolute error; 0:
    unknown). Folders: ``image``, ``label_7`` or ``label_19`` (or ``label``), ``depth``.

    Args:
        classes: 7 or 19. Others: see :class:`NpyFolders`.
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
            Task(
                "segmentation", "classification", size=classes, metrics=("miou", "pixel_accuracy")
            ),
            Task("depth", "regression_l1", size=1, metrics=("abs_err", "rel_err")),
        ]
        fields = [
            Field(("image",), 3),
            Field((f"label_{classes}", "label"), 0, "segmentation"),
            Field(("depth",), 1, "depth"),
        ]
        super().__init__(path, fields, classes, val, seed, cache)


@dataclass(frozen=True)
class _Packed:
    """The files of a dataset as one large array per field and split."""

    folder: Path

    @classmethod
    def of(
        cls,
        dataset: NpyFolders,
        source: Path,
        found: Mapping[str, Mapping[str, list[Path]]],
        fields: Sequence[Field],
        classes: int,
        seed: int,
        cache: str | None,
    ) -> _Packed:
        """Those in the cache, made first if they are not there; the training images in a random order.

        The time stamps of the files are part of the key.
        """
        stamps = {
            split: {
                name: [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
                for name, files in kinds.items()
            }
            for split, kinds in found.items()
        }
        key = json.dumps(
            [str(source.resolve()), classes, seed, stamps, VERSION, str(torch.get_default_dtype())]
        )
        base = default_directory() if cache is None else Path(cache)
        folder = base / f"{dataset.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if not folder.is_dir():
            building = base / f".{folder.name}.{os.getpid()}"
            shutil.rmtree(building, ignore_errors=True)  # of a run that was killed
            building.mkdir(parents=True)
            try:
                for split, kinds in found.items():
                    order = np.arange(len(kinds["image"]))
                    if split == "train":
                        np.random.default_rng(seed).shuffle(order)
                    for field in fields:
                        files = [kinds[field.task or "image"][i] for i in order]
                        _pack(
                            building / f"{split}.{field.task or 'image'}.npy",
                            files,
                            field,
                            dataset.size,
                            classes,
                        )
                building.replace(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another run was faster
                    raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
        return cls(folder)

    def read(self, split: str) -> dict[str, Array]:
        """Memory-mapped, and never written back."""
        files = sorted(self.folder.glob(f"{split}.*.npy"))
        return {path.name.split(".")[1]: np.load(path, mmap_mode="c") for path in files}


def _pack(
    path: Path, files: Sequence[Path], field: Field, size: tuple[int, int], classes: int
) -> None:
    shape = (field.channels, *size) if field.channels else size
    kind: Any = (
        np.int64
        if not field.channels
        else np.dtype(str(torch.get_default_dtype()).removeprefix("torch."))
    )
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
        "fortran_order": False,
        "shape": (len(files), *shape),
    }
    with path.open(
        "wb"
    ) as packed:  # not through a memory map: on a full disk that is killed, not told
        np.lib.format.write_array_header_1_0(packed, header)
        for file in files:
            packed.write(
                np.ascontiguousarray(_read(file, field, size, classes), dtype=kind).tobytes()
            )


def _read(file: Path, field: Field, size: tuple[int, int], classes: int) -> Array:
    """One file as ``[H, W]`` of classes or ``[channels, H, W]`` of numbers, with what is unknown marked."""
    try:
        with file.open("rb") as opened:  # np.load would take archives, too
            array = np.lib.format.read_array(opened, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(
            f"{str(file)!r} is not a whole .npy file ({error}); get it again."
        ) from None
    wanted = (*size, field.channels) if field.channels else size
    squeezed = array.reshape(size) if array.shape == (*size, 1) and field.channels <= 1 else array
    if squeezed.shape != wanted and not (field.channels == 1 and squeezed.shape == size):
        raise DataError(
            f"{str(file)!r} has shape {array.shape}; it must have {wanted} (height, width{', channels' * bool(field.channels)})."
        )
    if not np.issubdtype(array.dtype, np.number):
        raise DataError(f"{str(file)!r} holds {array.dtype}; it must hold numbers.")
    if not field.channels:
        labels = squeezed.astype(np.float64)
        labels = np.where(np.isnan(labels) | (labels < 0) | (labels == 255), MISSING_CLASS, labels)
        if labels.max() >= classes or (labels != labels.round()).any():
            raise DataError(
                f"{str(file)!r} holds class {labels.max():g}; the classes are 0 to {classes - 1}, and -1 where unknown."
            )
        return np.asarray(labels, dtype=np.int64)
    numbers = squeezed.reshape(*size, field.channels).transpose(2, 0, 1)
    if not field.task:
        return np.asarray(numbers / 255 if array.dtype == np.uint8 else numbers)
    unknown = (numbers == 0).all(0) | np.isnan(numbers).any(0)
    return np.where(unknown, np.nan, numbers)


def _split(arrays: Mapping[str, Array], fields: Sequence[Field]) -> Split:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Split(
        tensors["image"], {field.task: tensors[field.task] for field in fields if field.task}
    )
