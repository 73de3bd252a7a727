"""Four tasks on one real digit, whose losses differ by four orders of magnitude."""

from __future__ import annotations

from mtl_runner.data.dataset import random_splits
from mtl_runner.data.images.sklearn_digits import BRIGHTEST, DIGIT_NAMES, load_sklearn_digits
from mtl_runner.tasks.task import Task


class Digits:
    """scikit-learn's 8x8 digits with the tasks ``digit``, ``parity``, ``ink`` and ``image``.

    ``ink`` is the sum of the raw grey levels (0 to 16) less its mean over the data: its loss starts
    near 3000 where that of ``image``, the image itself, starts near 0.2, so equal weights are not
    equal at all. Nothing is rescaled; that is the point.

    Args:
        val: Fraction of the rows for validation.
        test: Fraction of the rows for the test split.
        seed: Seed of the split.

    Shape:
        Inputs ``[N, 64]`` in [0, 1]; targets ``[N]`` and, for ``image``, ``[N, 64]``.

    Raises:
        ConfigError: If the fractions leave no training part.

    Example:
        >>> from mtl_runner.data import Digits
        >>> data = Digits()
        >>> {name: len(split) for name, split in data.splits.items()}
        {'val': 270, 'test': 270, 'train': 1257}
        >>> [task.name for task in data.tasks]
        ['digit', 'parity', 'ink', 'image']
    """

    def __init__(self, val: float = 0.15, test: float = 0.15, seed: int = 0) -> None:
        images, digit = load_sklearn_digits()
        pixels = images.flatten(1)
        ink = pixels.sum(1)
        mean_ink = float(ink.double().mean())
        self.tasks = [
            Task("digit", "classification", classes=DIGIT_NAMES),
            Task("parity", "classification", classes=("even", "odd")),
            Task("ink", "regression", offset=mean_ink),
            Task("image", "regression"),
        ]
        inputs = pixels / BRIGHTEST
        targets = {"digit": digit, "parity": digit % 2, "ink": ink - mean_ink, "image": inputs}
        self.splits = random_splits(inputs, targets, val, test, seed)
