"""Random problems of every kind, and how the tests of this room measure them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.tasks.kinds import KINDS, MISSING_CLASS
from mtl_runner.tasks.task import Task
from tests.support.builders import evaluate_split

ROWS = 40

seeds = st.integers(0, 10_000)
gaps = st.sampled_from([0.0, 0.3, 0.9])
batch_sizes = st.integers(1, ROWS + 5)


def measured(task: Task, output: Tensor, target: Tensor) -> dict[str, float]:
    """Return all metrics of a task as numbers."""
    return {name: value.item() for name, value in task.measure(output, target).items()}


class FixedOutputs(nn.Module):
    """A model whose outputs are given, one tensor per task."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.outputs = outputs
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: output[inputs[:, 0].long()] for name, output in self.outputs.items()}


def values_in_batches(task: Task, output: Tensor, target: Tensor, batch: int) -> dict[str, float]:
    """Return the loss and metrics of an evaluation in batches of a size."""
    split = Split(torch.arange(len(target)).unsqueeze(1), {task.name: target})
    return evaluate_split(FixedOutputs({task.name: output}), [task], split, rows=batch).values[
        task.name
    ]


def metric_names_of(kind: str, *names: str) -> tuple[str, ...]:
    """Return the names of the usual metrics of a kind, and more names."""
    return (*(metric.name for metric in KINDS[kind].metrics), *names)


def regression_problem(
    seed: int, gap: float, rows: int, size: int
) -> tuple[Task, np.ndarray, np.ndarray, np.ndarray]:
    """Return a task with units, a random output, a target with gaps, and the trivial output."""
    random = np.random.default_rng(seed)
    target, output = random.normal(size=(2, rows, size)) * 10.0 ** random.uniform(-2, 2)
    missing = random.random((rows, size)) < gap
    missing[:3] = False
    target[missing] = np.nan
    trivial = np.nanmean(target, axis=0)
    task = Task(
        "a",
        "regression",
        size=size,
        offset=-7.5,
        scale=float(random.uniform(0.1, 50)),
        trivial=tuple(trivial),
    )
    return task, output, target, trivial


def classification_problem(
    seed: int, gap: float, rows: int, size: int, used: int
) -> tuple[Tensor, Tensor]:
    """Return logits and classes with gaps, of which only the first ``used`` occur."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, size, generator=random)
    target = torch.randint(used, (rows,), generator=random)
    target[torch.rand(rows, generator=random) < gap] = MISSING_CLASS
    target[0] = 0
    return logits, target


def multilabel_problem(seed: int, gap: float, rows: int, size: int) -> tuple[Tensor, Tensor]:
    """Return logits and labels with gaps; some rows have no true, predicted or known label."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, size, generator=random) + torch.randn(rows, 1, generator=random)
    target = (
        torch.rand(rows, size, generator=random) < torch.rand(rows, 1, generator=random)
    ).double()
    target[torch.rand(rows, size, generator=random) < gap] = torch.nan
    target[0, 0] = 1.0
    return logits, target
