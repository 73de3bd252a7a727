"""Two of scikit-learn's real digits on one canvas: the smallest honest MultiMNIST."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import Split, split_slices
from mtl_runner.data.images.multi_mnist import check_rows, draw_pairs, overlay
from mtl_runner.data.images.sklearn_digits import BRIGHTEST, DIGIT_NAMES, load_sklearn_digits
from mtl_runner.tasks.task import Task

SHIFT = 4  # pixels, from 8x8 to 12x12: a quarter of each digit lies under or over the other


class MultiDigits:
    """Two 8x8 digits on 12x12 pixels, with their classes as the tasks ``left`` and ``right``.

    One digit lies in the upper left corner, the other in the lower right; where they overlap the
    brighter pixel stands, as in Sener & Koltun (NeurIPS 2018), see
    :class:`~mtl_runner.data.images.multi_mnist.MultiMNIST`. The 1797 digits are cut into the three
    splits first and paired then, so that no digit stands in two splits. There is nothing to fetch.

    Args:
        rows: Number of training pairs; there are about 1.6 million. Validation and test have as
            many per digit of theirs.
        val: Share of the digits for validation.
        test: Share of the digits for the test split.
        seed: Seed of the splits and of the pairs.
        reconstruct: Whether to add the regressions ``left_image`` and ``right_image``: each digit
            without the other.

    Shape:
        Inputs ``[N, 1, 12, 12]`` in [0, 1]; targets ``[N]``, and ``[N, 64]`` of the images.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> from mtl_runner.data import MultiDigits
        >>> train = MultiDigits(rows=100, reconstruct=True).splits["train"]
        >>> tuple(train.inputs.shape), list(train.targets)
        ((100, 1, 12, 12), ['left', 'right', 'left_image', 'right_image'])
    """

    def __init__(
        self,
        rows: int = 5000,
        val: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        reconstruct: bool = False,
    ) -> None:
        check_rows(rows)
        grey_levels, labels = load_sklearn_digits()
        images = grey_levels / BRIGHTEST
        self.tasks = [
            Task(name, "classification", classes=DIGIT_NAMES) for name in ("left", "right")
        ]
        if reconstruct:
            self.tasks += [Task(f"{task.name}_image", "regression") for task in self.tasks]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(images), generator=generator)
        # Train stands last: its size changes nothing in the others.
        slices = split_slices(len(images), val, test)
        pairs_per_digit = rows / (slices["train"].stop - slices["train"].start)
        self.splits = {}
        for name, part in slices.items():
            digits = order[part]
            pairs = rows if name == "train" else max(1, round(pairs_per_digit * len(digits)))
            first, second = draw_pairs(len(digits), len(digits), pairs, generator, same=True)
            left, right = digits[first], digits[second]
            targets = {"left": labels[left], "right": labels[right]}
            if reconstruct:
                targets |= {
                    "left_image": images[left].flatten(1),
                    "right_image": images[right].flatten(1),
                }
            self.splits[name] = Split(overlay(images[left], images[right], SHIFT), targets)
