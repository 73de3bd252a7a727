"""Datasets that are read item by item, with everything that can draw at random."""

from __future__ import annotations

import os
import random
import signal
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


def _item(index: int) -> Any:
    """Return an item with which nothing is wrong."""
    return torch.ones(3) * index, {"y": float(index % 7), "c": index % 2}


def _divide(index: int) -> Any:
    return 1 / 0 if index == 33 else _item(index)


def _end_worker(index: int) -> Any:
    if torch.utils.data.get_worker_info() is not None and index == 50:
        os.kill(os.getpid(), signal.SIGKILL)
    return _item(index)


ONES = torch.ones(3)

#: What is wrong with an item, as a function of its index, or with the training split.
FLAWS: dict[str, Any] = {
    "another shape": lambda i: (torch.ones(3 + (i == 40)), {"y": 1.0, "c": i % 2}),
    "text": lambda _: (ONES, {"y": "a", "c": 0}),
    "half a class": lambda i: (ONES, {"y": 1.0, "c": 0.5 if i == 30 else i % 2}),
    "a negative class": lambda i: (ONES, {"y": 1.0, "c": -i}),
    "an error": _divide,
    "not a number": lambda i: (ONES * (torch.nan if i == 20 else 1), {"y": 1.0, "c": i % 2}),
    "nothing": lambda i: None if i == 9 else _item(i),
    "one target": lambda _: (ONES, 1.0),
    "no target": lambda _: (ONES, {"y": 1.0}),
    "no label": lambda i: (ONES, {"y": None, "c": i % 2}),
    "infinity": lambda i: (ONES, {"y": torch.inf, "c": i % 2}),
    "a killed worker": _end_worker,
    "complex numbers": lambda i: (ONES.to(torch.complex64), {"y": 1.0 * i, "c": i % 2}),
    "a number as input": lambda i: (1.0 * i, {"y": 1.0 * i, "c": i % 2}),
    "whole numbers": lambda i: (ONES.long(), {"y": 1.0 * i, "c": i % 2}),
    "objects": lambda _: (np.array([None]), {"y": 1.0, "c": 0}),
}


class Items(torch.utils.data.Dataset[Any]):
    """Items that a function makes.

    Args:
        make: From an index to an item.
        n: Number of items.
    """

    def __init__(self, make: Any, n: int) -> None:
        self.make, self.n = make, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class Flawed:
    """A dataset with one of the :data:`FLAWS`, or a training split that is no dataset.

    Args:
        flaw: Name of the flaw.
    """

    def __init__(self, flaw: str) -> None:
        self.tasks = [Task("y"), Task("c", "classification")]
        make = FLAWS.get(flaw, _item)
        self.splits: dict[str, Any] = {
            "train": Items(make, 60),
            "val": Items(make, 20),
            "test": Items(make, 20),
        }
        if flaw == "a loader":
            self.splits["train"] = torch.utils.data.DataLoader(Items(_item, 9))
        if flaw == "a generator":
            self.splits["train"] = (_item(i) for i in range(9))
        if flaw == "an empty split":
            self.splits["val"] = Items(_item, 0)
