"""Images and targets item by item: the splits of image data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl_runner.config.extras import import_extra
from mtl_runner.data.image_folder.masks import MaskTarget
from mtl_runner.data.image_folder.reader import PURPOSE, ImageReader


class ImageItems(torch.utils.data.Dataset[Any]):
    """The images of a split, with their targets.

    Args:
        images: Files; or a function from an index to an image of Pillow, with their number in
            ``count``.
        reader: How an image becomes the model's inputs.
        targets: The targets with one answer per image, by task.
        masks: The targets with an answer per pixel, and the file of each image; None where there
            is none.
        augmentation: Transforms of training images, and whether one of them crops to the size;
            None: as in evaluation.
        count: The number of images, if a function gives them.
    """

    def __init__(
        self,
        images: Sequence[str] | Callable[[int], Any],
        reader: ImageReader,
        targets: Mapping[str, np.ndarray],
        masks: Sequence[tuple[MaskTarget, Sequence[str | None]]] = (),
        augmentation: tuple[bool, Sequence[Callable[..., Any]]] | None = None,
        count: int | None = None,
    ) -> None:
        self.images, self.reader, self.masks = images, reader, list(masks)
        self.augmentation = augmentation
        self.count = len(images) if isinstance(images, Sequence) else int(count or 0)
        self._targets = {name: torch.as_tensor(values) for name, values in targets.items()}

    def __len__(self) -> int:
        return self.count

    def targets(self) -> dict[str, Tensor]:
        """Return all targets with one answer per image, by task."""
        return self._targets

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor | None]]:
        source = self.images(index) if callable(self.images) else self.images[index]
        tensors = import_extra("torchvision.tv_tensors", "images", PURPOSE)
        picture = tensors.Image(self.reader.decode(source))
        # A mask of another size than its image would be cut at another place.
        masks = {
            target.task.name: tensors.Mask(target.decode(file, tuple(picture.shape[-2:])))
            for target, files in self.masks
            if (file := files[index]) is not None
        }
        picture, masks = self._transformed(picture, masks)
        targets: dict[str, Tensor | None] = {
            name: values[index] for name, values in self._targets.items()
        }
        for target, _ in self.masks:
            mask = masks.get(target.task.name)
            targets[target.task.name] = (
                None if mask is None else target.values(torch.as_tensor(mask))
            )
        return self.reader.normalize(picture), targets

    def _transformed(self, picture: Any, masks: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        crops, transforms = self.augmentation or (False, ())
        if not crops:
            picture, masks = self._fit(picture, masks)
        for transform in transforms:
            picture, masks = transform(picture, masks)
        if tuple(picture.shape[-2:]) != self.reader.size:
            picture, masks = self._fit(picture, masks)
        return picture, masks

    def _fit(self, picture: Any, masks: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        fit = self.reader.fit
        return fit(picture), {name: fit(mask) for name, mask in masks.items()}
