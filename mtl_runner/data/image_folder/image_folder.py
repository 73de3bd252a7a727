"""A folder of image files as a multi-task problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.config.extras import import_extra
from mtl_runner.data.image_folder.files import (
    FILE,
    LABEL,
    SPLIT,
    check_files,
    list_images,
    read_labels,
    without_broken,
)
from mtl_runner.data.image_folder.items import ImageItems
from mtl_runner.data.image_folder.masks import MaskTarget, read_mask_target
from mtl_runner.data.image_folder.options import (
    LOOKED_AT,
    augmentation,
    check_on_error,
    image_reader,
)
from mtl_runner.data.image_folder.reader import PURPOSE
from mtl_runner.data.table.splits import split_frame
from mtl_runner.data.table.table import DEFAULT_SPLIT
from mtl_runner.data.table.targets import Target, read_targets
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.errors.checks import flag, whole_number

if TYPE_CHECKING:
    import pandas as pd


class ImageFolder:
    """Image files, and targets from a table, from the names of their folders, or from other images.

    Images are read when they are needed, so a folder may be larger than memory. Of a training
    image, crop, flip and the like are drawn at random; a mask is cut and turned like its image.

    Args:
        path: The folder of the images.
        labels: A CSV or Parquet file, in the working directory or in the folder, with a row per
            image; None: the class of an image is the name of its folder.
        targets: As in ``data=table``: ``{name: kind}``, a list of names, or of ``{name, column,
            kind, ...}``. An entry ``{kind: segmentation, folder: masks}``, or ``kind: depth``, has
            its labels in image files of the same names; None means the class.
        files: The column that names the files, below the folder.
        size: Height and width of the inputs: a number, ``[height, width]``, or ``auto``: that of
            the first images if all have the same, of at most 224 pixels, else 224.
        augment: What is drawn at random in training: a list of ``crop``, ``flip``,
            ``vertical_flip``, ``rotate``, ``color``, ``gray``, ``blur``, alone or as ``{name:
            strength}``, and of transforms of torchvision; ``auto``: ``[crop, flip]``; None:
            nothing.
        normalize: ``imagenet`` (its mean and standard deviation by channel), None (values in
            [0, 1]), or ``{mean: [...], std: [...]}``.
        channels: 3 (colour) or 1 (gray).
        split: As in ``data=table``; folders ``train``, ``val`` and ``test`` are splits already.
        scale_targets: Whether numeric targets get mean 0 and standard deviation 1.
        on_error: ``raise``: a file that cannot be read ends the run, named; ``skip``: all files are
            decoded once before the training, and such are left out and counted.
        read: How a text file is written, as in ``data=table``.
        seed: Seed of the split.

    Shape:
        Inputs ``[N, channels, height, width]``; targets ``[N, ...]``, ``[N, height, width]`` of
        classes and ``[N, 1, height, width]`` of depths.

    Raises:
        ConfigError: If an option is impossible, or torchvision is not installed.
        DataError: If a file or column is missing, or a split is empty.

    Example:
        >>> from mtl_runner.data import ImageFolder
        >>> data = ImageFolder("photos", "labels.csv", {"age": "regression"})  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | None,
        labels: str | None = None,
        targets: Mapping[str, Any] | Sequence[Any] | None = None,
        files: str = FILE,
        size: Any = "auto",
        augment: Any = "auto",
        normalize: Any = "imagenet",
        channels: int = 3,
        split: Mapping[str, Any] = DEFAULT_SPLIT,
        scale_targets: bool = True,
        on_error: str = "raise",
        read: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        import_extra("torchvision", "images", "data=image_folder")
        flag(scale_targets, "data.scale_targets")
        whole_number(seed, "data.seed", 0)
        skip = check_on_error(on_error) == "skip"
        folder, frame = list_images(path, labels, files, read)
        if labels is not None and not targets:
            raise ConfigError(
                "data=image_folder with data.labels needs data.targets, e.g. data.targets='{species: classification, age: regression}'."
            )
        in_table, masks = parted_targets(targets or [LABEL], folder)
        frame = _without_mask_files(frame, folder, masks)
        if labels is None:
            frame, in_table = _named_label(frame, in_table)
        reader = image_reader(size, channels, normalize, lambda: sizes_of(frame, folder))
        split = dict(split or DEFAULT_SPLIT)
        if labels is None and SPLIT in frame and split == DEFAULT_SPLIT:
            split = {"column": SPLIT}
        read_rows = partial(read_labels, folder=folder, column=files, read=read, key="data.split")
        frames = split_frame(frame, split, seed, read_rows)
        # A mistyped option is told before the files are looked at, which may take minutes.
        unfitted = unfitted_targets(in_table, frames)
        changes = augmentation(augment, reader.size)
        if skip:
            frames = without_broken(frames, folder, reader)
        else:
            check_files(frames, folder)
        fitted = [target.fit(frames, scale_targets) for target in unfitted]
        self.tasks = [target.task for target in fitted]
        masks = [_sized(target, frames, folder) for target in masks]
        self.tasks += [target.task for target in masks]
        self.splits = {
            name: ImageItems(
                [str(folder / file) for file in rows[FILE]],
                reader,
                {target.task.name: target.values(rows) for target in fitted},
                [(target, _mask_files(target, rows, folder)) for target in masks],
                changes if name == "train" else None,
            )
            for name, rows in frames.items()
        }
        self.preprocessing = {"images": reader.state()}
        has_table = labels is not None
        self._row_ids: dict[str, dict[str, Sequence[Any]]] = {
            name: {**({"row": rows.index.tolist()} if has_table else {}), FILE: rows[FILE].tolist()}
            for name, rows in frames.items()
        }

    def row_ids(self, split: str) -> dict[str, Sequence[Any]]:
        """Return the row of the labels, if a table holds them, and the file of each image.

        Args:
            split: The split.
        """
        return self._row_ids[split]


def parted_targets(targets: Any, folder: Path) -> tuple[list[Any], list[MaskTarget]]:
    """Return the entries of ``data.targets`` that columns are for, and the targets in other images.

    Args:
        targets: ``data.targets``.
        folder: The folder of the images.

    Raises:
        ConfigError: If an entry is not understood.
    """
    if isinstance(targets, str) or not isinstance(targets, Mapping | Sequence):
        raise ConfigError(
            f"data.targets={targets!r} must be a mapping {{name: kind}} or a list, e.g. '[{targets}]'."
        )
    entries = (
        [
            {
                "name": name,
                **(
                    kind if isinstance(kind, Mapping) and "_target_" not in kind else {"kind": kind}
                ),
            }
            for name, kind in targets.items()
        ]
        if isinstance(targets, Mapping)
        else list(targets)
    )
    in_table, masks = [], []
    for entry in entries:
        if isinstance(entry, Mapping) and "folder" in entry:
            options = {key: value for key, value in entry.items() if key != "name"}
            masks.append(read_mask_target(str(entry.get("name", "")), options, folder))
        else:
            in_table.append(entry)
    return in_table, masks


def unfitted_targets(entries: Sequence[Any], frames: Mapping[str, pd.DataFrame]) -> list[Target]:
    """Return the targets of a table's columns, whose names and kinds are checked.

    Args:
        entries: Entries of ``data.targets``.
        frames: The rows of each split.

    Raises:
        ConfigError: If an entry is not understood.
        DataError: If a column is missing, or holds text alone where its kind needs numbers.
    """
    unfitted = read_targets(list(entries), frames) if entries else []
    for name, frame in frames.items():
        for column in (column for target in unfitted for column in target.columns):
            if column not in frame.columns:
                raise DataError(f"The {name} table has no column {column!r}, a target.")
    for target in unfitted:
        target.check(frames["train"])
    return unfitted


def sizes_of(frame: pd.DataFrame, folder: Path) -> list[tuple[int, int]]:
    """Return height and width of the first images that can be opened, read off their headers."""
    image_module = import_extra("PIL.Image", "images", PURPOSE)
    ops = import_extra("PIL.ImageOps", "images", PURPOSE)
    sizes = []
    for file in frame[FILE].iloc[:LOOKED_AT]:
        try:
            with image_module.open(folder / file) as image:
                width, height = ops.exif_transpose(image).size
        except Exception:  # whoever reads the file says what is wrong
            continue
        sizes.append((height, width))
    return sizes


def _without_mask_files(
    frame: pd.DataFrame, folder: Path, masks: Sequence[MaskTarget]
) -> pd.DataFrame:
    """Return the images without those that are masks themselves, in folders below."""
    inside = [
        f"{target.folder.relative_to(folder).as_posix()}/"
        for target in masks
        if target.folder.is_relative_to(folder)
    ]
    keep = [not str(file).startswith(tuple(inside)) for file in frame[FILE]]
    return frame[keep].reset_index(drop=True)


def _named_label(frame: pd.DataFrame, entries: list[Any]) -> tuple[pd.DataFrame, list[Any]]:
    """Return the table and targets with the class of the folder under the name of its target."""
    if not entries:
        return frame, entries
    if len(entries) > 1:
        raise ConfigError(
            "Without data.labels there is one target, the class that a folder is named after; give a table for others."
        )
    entry = dict(entries[0]) if isinstance(entries[0], Mapping) else {"name": str(entries[0])}
    if frame[LABEL].isna().all():
        raise DataError(
            "The images lie in no folders that are named after classes; set data.labels to the table of their labels."
        )
    return frame, [{"column": LABEL, "kind": "classification", **entry}]


def _mask_files(target: MaskTarget, rows: pd.DataFrame, folder: Path) -> list[str | None]:
    """Return the file of labels of each image; None where there is none.

    Raises:
        DataError: If no image has one.
    """
    files = [target.file_of(Path(file)) for file in rows[FILE]]
    if not any(files):
        raise DataError(
            f"Target {target.task.name!r}: no file in {str(target.folder)!r} has the name of an image in {str(folder)!r}, such as {Path(rows[FILE].iloc[0]).with_suffix('.png')}."
        )
    return files


def _sized(target: MaskTarget, frames: Mapping[str, pd.DataFrame], folder: Path) -> MaskTarget:
    files = [file for rows in frames.values() for file in _mask_files(target, rows, folder) if file]
    return target.with_classes(files)
