"""Targets with an answer per pixel, from image files: segmentation masks and depth maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.image_folder.augmentation import MISSING
from mtl_runner.data.image_folder.reader import decode, in_threads
from mtl_runner.data.pixel_metrics import DEPTH_METRICS, SEGMENTATION_METRICS
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import is_number, is_whole_number
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task

log = logging.getLogger("mtl_runner")

# What the kinds of data.targets with a folder are called, and the kinds of tasks that they are.
KINDS = {
    "segmentation": "classification",
    "classification": "classification",
    "depth": "regression_l1",
    "regression": "regression",
    "regression_l1": "regression_l1",
}
OPTIONS = ("kind", "folder", "classes", "ignore", "scale", "missing")
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".pgm", ".webp", ".jpg", ".jpeg")
IGNORED = 255  # in masks usually: border, or unknown


@dataclass(frozen=True)
class MaskTarget:
    """A target whose labels are image files, one number per pixel.

    Attributes:
        task: The task.
        folder: Where the files lie, under the names of their images.
        has_classes: Whether the numbers are classes.
        left_out: Stored numbers that stand for a missing label.
        scale: Size of a stored number in the target's unit.
    """

    task: Task
    folder: Path
    has_classes: bool
    left_out: tuple[float, ...] = ()
    scale: float = 1.0

    def file_of(self, image: Path) -> str | None:
        """Return the file of an image, by its path in the folder of images; None: there is none."""
        for name in (image, Path(image.name)):
            for suffix in SUFFIXES:
                file = (self.folder / name).with_suffix(suffix)
                if file.is_file():
                    return str(file)
        return None

    def decode(self, file: str, size: tuple[int, int] | None = None) -> Tensor:
        """Return the stored numbers ``[1, H, W]``, in which -100 is a missing label.

        Args:
            file: The file.
            size: Height and width of its image.

        Raises:
            DataError: If it cannot be decoded, has several channels, or another size.
        """
        numbers = decode(file, "")
        if len(numbers) != 1:
            raise DataError(
                f"The file {file!r} of target {self.task.name!r} has {len(numbers)} channels; it must hold one number per pixel, as a gray or palette image."
            )
        if size is not None and tuple(numbers.shape[1:]) != size:
            raise DataError(
                f"The file {file!r} of target {self.task.name!r} has {numbers.shape[1]}x{numbers.shape[2]} pixels, its image {size[0]}x{size[1]}; both must have the same."
            )
        numbers = numbers if numbers.is_floating_point() else numbers.to(torch.int64)
        for number in self.left_out:
            numbers = torch.where(numbers == number, MISSING, numbers)
        return numbers.nan_to_num(MISSING) if numbers.is_floating_point() else numbers

    def values(self, numbers: Tensor) -> Tensor:
        """Return the target of stored numbers: classes ``[H, W]``, or floats ``[1, H, W]``."""
        missing = numbers == MISSING
        if self.has_classes:
            return torch.where(missing, MISSING_CLASS, numbers.to(torch.int64))[0]
        scaled = numbers.to(torch.get_default_dtype()) * self.scale
        return torch.where(missing, torch.nan, scaled)

    def with_classes(self, files: Sequence[str]) -> MaskTarget:
        """Return the target with the number of its classes, read off files if nobody gave it."""
        if not self.has_classes or self.task.size:
            return self
        log.info(
            "Target %r: reading %d masks for the number of its classes, once; classes: [names] or a number would save this.",
            self.task.name,
            len(files),
        )
        highest = max(in_threads(self._highest, files), default=-1)
        return replace(self, task=replace(self.task, size=max(2, int(highest) + 1)))

    def _highest(self, file: str) -> float:
        return float(self.decode(file).max())


def read_mask_target(name: str, options: Mapping[str, Any], folder: Path) -> MaskTarget:
    """Return the target that an entry of ``data.targets`` with a folder describes.

    Args:
        name: Name of the target.
        options: ``folder``; ``kind``: ``segmentation``, ``depth``, ``regression`` or
            ``regression_l1``; for classes ``classes`` (names, or their number) and ``ignore``
            (stored numbers without a label, 255 by default); for numbers ``scale`` (the unit of a
            stored number) and ``missing`` (a stored number without a label).
        folder: The folder of the images, below which the other one may lie.

    Raises:
        ConfigError: If an option is unknown or impossible.
        DataError: If there is no such folder.
    """
    for key in options:
        if key not in OPTIONS:
            raise ConfigError(
                f"Target {name!r} has the unknown option {key!r}; {suggest(str(key), OPTIONS)}."
            )
    kind = str(options.get("kind", "segmentation"))
    if kind not in KINDS:
        raise ConfigError(
            f"Target {name!r}, whose labels are images, has the unknown kind {kind!r}; {suggest(kind, KINDS)}."
        )
    places = [folder / str(options["folder"]), Path(str(options["folder"])).expanduser()]
    existing = next((place for place in places if place.is_dir()), None)
    if existing is None:
        raise DataError(
            f"Target {name!r}: there is no folder {options['folder']!r} (looked in {folder} and {Path.cwd()})."
        )
    if KINDS[kind] == "classification":
        return _classes(name, options, existing)
    scale, missing = options.get("scale", 1.0), options.get("missing")
    if not is_number(scale) or scale <= 0 or not (missing is None or is_number(missing)):
        raise ConfigError(
            f"Target {name!r}: scale must be a positive number, and missing a number or null; found scale={scale!r}, missing={missing!r}."
        )
    metrics = DEPTH_METRICS if kind == "depth" else ()
    left_out = () if missing is None else (float(missing),)
    return MaskTarget(
        Task(name, KINDS[kind], size=1, metrics=metrics), existing, False, left_out, float(scale)
    )


def _classes(name: str, options: Mapping[str, Any], folder: Path) -> MaskTarget:
    classes, ignored = options.get("classes"), options.get("ignore", IGNORED)
    ignored = [ignored] if is_whole_number(ignored) else ignored or []
    if not isinstance(ignored, list | tuple) or not all(map(is_whole_number, ignored)):
        raise ConfigError(
            f"Target {name!r}: ignore must be a stored number or a list of them; found {ignored!r}."
        )
    names = tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()
    if classes is not None and not names and not is_whole_number(classes, 2):
        raise ConfigError(
            f"Target {name!r}: classes must be a list of names or their number; found {classes!r}."
        )
    size = len(names) or int(classes or 0)
    task = Task(name, "classification", size=size, classes=names, metrics=SEGMENTATION_METRICS)
    return MaskTarget(task, folder, True, tuple(map(float, ignored)))
