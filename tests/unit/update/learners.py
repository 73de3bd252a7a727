"""Learners on any update, and a model with parameters of every kind of owner, for the tests of this room."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.learner import Learner
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update import Update
from mtl_runner.weighting import Weighting
from tests.support.builders import INPUTS, Adam, make_learner

Optimizer = Callable[..., torch.optim.Optimizer]
KINDS_OF = {"a": "regression", "b": "classification", "c": "multilabel"}
PATTERNS = [(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]


class Pairs(nn.Module):
    """A trunk for three tasks, a layer that a and b share, one that b and c share, and a head each."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names = [task.name for task in tasks]
        self.trunk, self.left, self.right = nn.Linear(INPUTS, 6), nn.Linear(6, 4), nn.Linear(6, 4)
        self.heads = nn.ModuleList(nn.Linear(4, task.size) for task in tasks)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs).tanh()
        left, right = self.left(features).tanh(), self.right(features).tanh()
        return dict(
            zip(
                self.names,
                (head(x) for head, x in zip(self.heads, (left, left + right, right), strict=True)),
                strict=True,
            )
        )


def learner_with(
    update: Callable[..., Update],
    tasks: Sequence[Task],
    split: Split,
    *,
    model: nn.Module | None = None,
    weighting: Weighting | None = None,
    optimizer: Optimizer = Adam,
    **options: Any,
) -> Learner:
    """As :func:`make_learner`, for every update: all of them take the tasks."""
    learner = make_learner(tasks, split, model=model, weighting=weighting, optimizer=optimizer)
    learner.update = update(learner.update.parameters, optimizer, tasks=tasks, **options)
    return learner


def only(*active: int, of: int = 3) -> Active:
    """Some of the tasks."""
    return Active(tuple(float(t in active) for t in range(of)))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state as a checkpoint gives it back: tensors and plain values, nothing that could run code."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def projector() -> Any:
    """TorchJD's projector on the dual cone with the thresholds that are ours."""
    from torchjd.linalg import QuadprogProjector

    return QuadprogProjector(norm_eps=1e-12, reg_eps=1e-7)
