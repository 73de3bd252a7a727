"""Classification and segmentation of the same digits: one loss falls fast, the other slowly."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import random_splits
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, is_whole
from mtl_runner.tasks.task import Task

INK = 8  # of 16 grey levels: from here on a pixel is ink
TARGETS = ("digit", "ink")


class SpeedMismatch:
    """scikit-learn's 8x8 digits with a class per image, ``digit``, and a class per pixel, ``pixels``.

    ``segment=digit`` asks for the digit where there is ink and for an eleventh class elsewhere: background and ink are told apart at once,
    but ten classes per pixel come long after the one per image, so that ``digit`` is all but solved when ``pixels`` begins to fall.
    ``segment=ink`` asks only whether a pixel is ink, which its own grey value answers: both losses fall fast.

    Args:
        segment: ``digit`` or ``ink``. ink: from which grey level (1 to 16) on a pixel is ink. val, test: fractions of the rows.
        seed: of the split.

    Shape: inputs ``[N, 1, 8, 8]`` in [0, 1]; targets ``digit`` ``[N]``, ``pixels`` ``[N, 8, 8]``. Raises ``ConfigError`` for another ``segment``
    or ``ink``.
    """

    def __init__(
        self,
        segment: str = "digit",
        ink: int = INK,
        val: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
    ) -> None:
        from sklearn.datasets import load_digits  # 1.2 s to import: only for those who use it

        choice(segment, "data.segment", TARGETS)
        if not is_whole(ink, 1) or ink > 16:
            raise ConfigError(
                f"data.ink must be a grey level, a whole number from 1 to 16; found {ink!r}."
            )
        bunch = load_digits()
        grey = torch.as_tensor(bunch.images, dtype=torch.get_default_dtype())
        digit = torch.as_tensor(bunch.target)
        names: tuple[str, ...] = tuple(str(d) for d in range(10))
        inked = grey >= ink
        classes, pixels = (
            (*names, "background"),
            torch.where(inked, digit.view(-1, 1, 1), len(names)),
        )
        if segment == "ink":
            classes, pixels = ("background", "ink"), inked.long()
        self.tasks = [
            Task("digit", "classification", classes=names),
            Task("pixels", "classification", classes=classes, metrics=("miou", "pixel_accuracy")),
        ]
        self.splits = random_splits(
            grey.unsqueeze(1) / 16, {"digit": digit, "pixels": pixels}, val, test, seed
        )
