"""Tasks with an answer at every pixel, random images for them, and a model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.data.prepare import prepare
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from tests.support.builders import Data

CLASSES, HEIGHT, WIDTH = 5, 4, 3
SEGMENTATION = Task(
    "s", "classification", size=CLASSES, metrics=("miou", "pixel_accuracy"), missing=True
)
DEPTH = Task(
    "d",
    "regression_l1",
    size=1,
    offset=3.0,
    scale=2.5,
    metrics=("abs_err", "rel_err"),
    missing=True,
)
OFFSETS = Task(
    "o", "regression_l1", size=2, offset=1.0, scale=4.0, metrics=("instance_error",), missing=True
)
NORMALS = Task(
    "n",
    "direction",
    size=3,
    metrics=("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
    missing=True,
)
PIXEL_TASKS = [SEGMENTATION, DEPTH, OFFSETS, NORMALS]
HIGHER_IS_BETTER = {"miou", "pixel_accuracy", "within_11", "within_22", "within_30"}
WEIGHTED = Task(
    "w",
    "classification",
    size=CLASSES,
    metrics=("miou", "pixel_accuracy"),
    missing=True,
    class_weights=(1, 0, 5, 0.2, 2),
)
PIXEL_KINDS = ("regression", "regression_l1", "multilabel", "direction", "classification")


def random_units(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Return random unit vectors along axis 1 of an image."""
    vectors = random.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_pixels(
    task: Task, seed: int, rows: int = 5, gap: float = 0.3, blank: int = 0
) -> tuple[Tensor, Tensor]:
    """Return a random output and target, without any label in the first ``blank`` images."""
    random = np.random.default_rng(seed)
    output = random.normal(size=(rows, task.size, HEIGHT, WIDTH))
    unknown = random.random((rows, HEIGHT, WIDTH)) < gap
    unknown[blank, 0, 0] = False
    unknown[:blank] = True
    if task is SEGMENTATION:
        labels = random.integers(0, CLASSES, unknown.shape)
        return torch.tensor(output), torch.tensor(np.where(unknown, MISSING_CLASS, labels))
    target = (
        random_units(random, *output.shape) if task is NORMALS else random.normal(size=output.shape)
    )
    return torch.tensor(output), torch.tensor(np.where(unknown[:, None], np.nan, target))


class LinearPixels(nn.Module):
    """A linear map at every pixel that remembers the largest number of rows it was given."""

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.maps = {task.name: torch.randn(task.size, 2, generator=generator) for task in tasks}
        self.most_rows = 0

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        assert not self.training
        self.most_rows = max(self.most_rows, len(inputs))
        return {
            name: torch.einsum("tc,nchw->nthw", matrix, inputs)
            for name, matrix in self.maps.items()
        }


def pixel_split(
    tasks: list[Task], rows: int = 7, seed: int = 3, gap: float = 0.4, blank: int = 2
) -> Split:
    """Return random images with targets for the tasks."""
    inputs = torch.randn(rows, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    targets = {}
    for i, task in enumerate(tasks):
        twin = next(pixel for pixel in PIXEL_TASKS if pixel.main_metric == task.main_metric)
        targets[task.name] = random_pixels(twin, seed + i, rows, gap, blank)[1]
    return Split(inputs, targets)


def prepared_task(task: Task, target: Tensor) -> Task:
    """Return the task as the data complete it."""
    split = Split(torch.zeros(len(target), 1, *target.shape[-2:]), {task.name: target})
    return prepare(Data.of([task], train=split)).tasks[0]


def pixel_target(kind: str, gap: float = 0.3) -> Tensor:
    """Return a random target of images of a kind, with gaps."""
    random = np.random.default_rng(4)
    unknown = random.random((5, HEIGHT, WIDTH)) < gap
    if kind == "classification":
        return torch.tensor(
            np.where(unknown, MISSING_CLASS, random.choice(3, unknown.shape, p=[0.6, 0.3, 0.1]))
        )
    shape = (5, 3, HEIGHT, WIDTH)
    values = {
        "multilabel": (random.random(shape) < np.array([0.1, 0.5, 0.8])[:, None, None]).astype(
            float
        ),
        "direction": random_units(random, *shape) / 2 + np.array([0.3, 0.4, -0.2])[:, None, None],
    }.get(kind, random.gamma(1.0, size=shape) * np.array([1.0, 10.0, 0.1])[:, None, None])
    if kind == "direction":
        values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return torch.tensor(np.where(unknown[:, None], np.nan, values))
