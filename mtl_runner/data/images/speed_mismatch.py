"""Classification and segmentation of the same digits: one loss falls fast, the other slowly."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import random_splits
from mtl_runner.data.images.sklearn_digits import BRIGHTEST, DIGIT_NAMES, load_sklearn_digits
from mtl_runner.data.pixel_metrics import SEGMENTATION_METRICS
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, is_whole_number
from mtl_runner.tasks.task import Task

INK_LEVEL = 8  # of 16: from this grey level on a pixel is ink
SEGMENTATIONS = ("digit", "ink")


class SpeedMismatch:
    """scikit-learn's 8x8 digits with a class per image, ``digit``, and one per pixel, ``pixels``.

    ``segment=digit`` asks for the digit where there is ink and for an eleventh class elsewhere:
    background and ink are told apart at once, but ten classes per pixel come long after the one per
    image, so that ``digit`` is all but solved when ``pixels`` begins to fall. ``segment=ink`` asks
    only whether a pixel is ink, which its own grey value answers: both losses fall fast.

    Args:
        segment: ``"digit"`` or ``"ink"``.
        ink: The grey level (1 to 16) from which on a pixel is ink.
        val: Fraction of the rows for validation.
        test: Fraction of the rows for the test split.
        seed: Seed of the split.

    Shape:
        Inputs ``[N, 1, 8, 8]`` in [0, 1]; targets ``digit`` ``[N]`` and ``pixels`` ``[N, 8, 8]``.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> from mtl_runner.data import SpeedMismatch
        >>> train = SpeedMismatch(segment="ink").splits["train"]
        >>> tuple(train.targets["digit"].shape), tuple(train.targets["pixels"].shape)
        ((1257,), (1257, 8, 8))
    """

    def __init__(
        self,
        segment: str = "digit",
        ink: int = INK_LEVEL,
        val: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
    ) -> None:
        choice(segment, "data.segment", SEGMENTATIONS)
        if not is_whole_number(ink, 1) or ink > BRIGHTEST:
            raise ConfigError(
                f"data.ink must be a grey level, a whole number from 1 to {BRIGHTEST}; found {ink!r}."
            )
        images, digit = load_sklearn_digits()
        is_ink = images >= ink
        if segment == "ink":
            classes: tuple[str, ...] = ("background", "ink")
            pixels = is_ink.long()
        else:
            classes = (*DIGIT_NAMES, "background")
            pixels = torch.where(is_ink, digit.view(-1, 1, 1), len(DIGIT_NAMES))
        self.tasks = [
            Task("digit", "classification", classes=DIGIT_NAMES),
            Task("pixels", "classification", classes=classes, metrics=SEGMENTATION_METRICS),
        ]
        inputs = images.unsqueeze(1) / BRIGHTEST
        targets = {"digit": digit, "pixels": pixels}
        self.splits = random_splits(inputs, targets, val, test, seed)
