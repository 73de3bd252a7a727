"""Datasets that are read item by item, with everything that can draw at random."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from mtl_runner import Task


class Pictures(torch.utils.data.Dataset[Any]):
    """Small pictures with a random crop, flip and noise, each from another library's generator.

    Every seventh ``y`` and every fifth ``c`` is missing.

    Args:
        n: Number of items.
        first: Number of the first picture: splits with other pictures.
        augmented: Whether an item is drawn at random.
    """

    def __init__(self, n: int, first: int, augmented: bool) -> None:
        self.n, self.first, self.augmented = n, first, augmented

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        generator = torch.Generator().manual_seed(self.first + index)
        picture = torch.rand(1, 8, 8, generator=generator)
        y, c = float(picture.mean()), int(picture[0, :4].mean() > picture[0, 4:].mean())
        left = random.randrange(0, 3) if self.augmented else 1
        picture = picture[:, :, left : left + 6]
        if self.augmented:
            picture = picture.flip(-1) if torch.rand(()) < 0.5 else picture
            picture = picture + torch.from_numpy(np.random.normal(0, 0.1, picture.shape)).float()
        return picture, {"y": y if index % 7 else None, "c": c if index % 5 else None}


class AugmentedPictures:
    """A dataset of :class:`Pictures`; only the training split is drawn at random."""

    def __init__(self, n: int = 100) -> None:
        self.tasks = [Task("y"), Task("c", "classification")]
        self.splits = {
            "train": Pictures(n, 0, augmented=True),
            "val": Pictures(40, 10**6, augmented=False),
            "test": Pictures(40, 2 * 10**6, augmented=False),
        }
