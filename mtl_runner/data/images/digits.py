"""scikit-learn's 1797 real handwritten digits: four tasks on one image, whose losses differ by four orders of magnitude."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import random_splits
from mtl_runner.tasks.task import Task


class Digits:
    """8x8 images ``[N, 64]`` in [0, 1] with the digit, its parity, the amount of ink and the image itself as tasks.

    ``ink`` is the sum of the raw pixel values (0 to 16) less its mean over the data: its loss starts near 3000 where that of
    ``image`` starts near 0.2, so equal weights are not equal at all. Nothing is rescaled; that is the point.

    Args:
        val, test: fractions of the rows. seed: of the split.
    """

    def __init__(self, val: float = 0.15, test: float = 0.15, seed: int = 0) -> None:
        from sklearn.datasets import load_digits  # 1.2 s to import: only for those who use it

        bunch = load_digits()
        pixels = torch.as_tensor(bunch.data, dtype=torch.get_default_dtype())
        digit = torch.as_tensor(bunch.target)
        ink = pixels.sum(1)
        mean_ink = float(ink.double().mean())
        names = tuple(str(d) for d in range(10))
        self.tasks = [
            Task("digit", "classification", classes=names),
            Task("parity", "classification", classes=("even", "odd")),
            Task("ink", "regression", offset=mean_ink),
            Task("image", "regression"),
        ]
        images = pixels / 16
        targets = {"digit": digit, "parity": digit % 2, "ink": ink - mean_ink, "image": images}
        self.splits = random_splits(images, targets, val, test, seed)
