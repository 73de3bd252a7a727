"""Two of scikit-learn's real digits on one canvas: the smallest honest MultiMNIST, with nothing to fetch."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import Split, cut
from mtl_runner.data.images.multi_mnist import check_rows, draw_pairs, overlay
from mtl_runner.tasks.task import Task

SHIFT = 4  # from 8x8 to 12x12: a quarter of each digit lies under or over the other
BRIGHTEST = 16


class MultiDigits:
    """Two 8x8 digits on 12x12 pixels, one upper left, one lower right: two classifications, ``left`` and ``right``.

    The overlap is the pixelwise maximum, as in Sener & Koltun (NeurIPS 2018); see :class:`~mtl_runner.data.images.multi_mnist.MultiMNIST`.
    The 1797 digits are cut into the three splits first and paired then, so that no digit stands in two splits.

    Args:
        rows: training pairs; there are about 1.6 million. Validation and test have as many per digit of theirs.
        val, test: shares of the digits. seed: of the splits and of the pairs.
        reconstruct: add the regressions ``left_image`` and ``right_image``, the two digits without the other, 64 pixels each.

    Shape: inputs ``[N, 1, 12, 12]`` in [0, 1]; targets ``[N]`` and ``[N, 64]``. Raises ``ConfigError`` for options that cannot be.
    """

    def __init__(
        self,
        rows: int = 5000,
        val: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        reconstruct: bool = False,
    ) -> None:
        from sklearn.datasets import load_digits  # 1.2 s to import: only for those who use it

        check_rows(rows)
        bunch = load_digits()
        images = torch.as_tensor(bunch.images, dtype=torch.get_default_dtype()) / BRIGHTEST
        labels = torch.as_tensor(bunch.target)
        names = tuple(str(digit) for digit in range(10))
        self.tasks = [Task(name, "classification", classes=names) for name in ("left", "right")]
        if reconstruct:
            self.tasks += [Task(f"{task.name}_image", "regression") for task in self.tasks]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(images), generator=generator)
        slices = cut(
            len(images), val, test
        )  # train stands last: its size changes nothing in the others
        per_digit = rows / (slices["train"].stop - slices["train"].start)
        self.splits = {}
        for name, part in slices.items():
            mine = order[part]
            pairs = rows if name == "train" else max(1, round(per_digit * len(mine)))
            first, second = draw_pairs(len(mine), len(mine), pairs, generator, same=True)
            left, right = mine[first], mine[second]
            targets = {"left": labels[left], "right": labels[right]}
            if reconstruct:
                targets |= {
                    "left_image": images[left].flatten(1),
                    "right_image": images[right].flatten(1),
                }
            self.splits[name] = Split(overlay(images[left], images[right], SHIFT), targets)
