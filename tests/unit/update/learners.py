"""Learners on any update, and a model whose parameters have every kind of owner."""

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
# Powers of two by which the losses of three tasks are multiplied.
EXPONENTS = [(0, 20, -20), (-20, 13, 0), (5, -7, 1), (-3, -3, -3), (20, 20, 1)]
PATTERNS = [(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]


def every_transition() -> list[tuple[int, ...]]:
    """Return 50 sets of active tasks in a row, in which each set follows each set once."""
    following = {pattern: list(PATTERNS) for pattern in PATTERNS}
    open_path, tour = [PATTERNS[0]], []
    while open_path:  # Hierholzer's way to an Eulerian circuit
        if following[open_path[-1]]:
            open_path.append(following[open_path[-1]].pop())
        else:
            tour.append(open_path.pop())
    return tour[::-1]


class Pairs(nn.Module):
    """A trunk for three tasks, a layer for a and b, one for b and c, and a head for each task."""

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
    """Return a learner as :func:`make_learner` does, for any update; all of them take the tasks."""
    learner = make_learner(tasks, split, model=model, weighting=weighting, optimizer=optimizer)
    learner.update = update(learner.update.parameters, optimizer, tasks=tasks, **options)
    return learner


def only(*active: int, of: int = 3) -> Active:
    """Return an activity in which only these tasks take part."""
    return Active(tuple(float(t in active) for t in range(of)))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as a checkpoint gives it back; it may hold tensors and plain values only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def projector() -> Any:
    """Return TorchJD's projector onto the dual cone with our thresholds."""
    from torchjd.linalg import QuadprogProjector

    return QuadprogProjector(norm_eps=1e-12, reg_eps=1e-7)
