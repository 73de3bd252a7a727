"""Data, models and weightings whose worth is known beforehand, as a user's own file.

``tests/cli/test_planted_answers.py`` copies it into a user's folder and names its classes by
``_target_``. All problems are linear, so that what a study shall find out has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.data import Related
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.step_memory import StepMemory


class Halves(nn.Module):
    """A linear model per task, each of which sees its own part of the inputs alone.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
    """

    def __init__(self, tasks: Sequence[Task], input_shape: Sequence[int]) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.width = input_shape[0] // len(tasks)
        self.parts = nn.ModuleList(nn.Linear(self.width, 1) for _ in tasks)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, 1]``."""
        columns = inputs.split(self.width, dim=1)
        return {
            name: part(columns[index])
            for index, (name, part) in enumerate(zip(self.names, self.parts, strict=True))
        }


class LinearTrunk(nn.Module):
    """A linear trunk that all tasks share, with one linear head per task.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        width: The rank of all tasks together.
    """

    def __init__(self, tasks: Sequence[Task], input_shape: Sequence[int], width: int = 1) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.trunk = nn.Linear(input_shape[0], width)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in tasks)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, 1]``."""
        features = self.trunk(inputs)
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}


class Spoiled(Related):
    """Related linear tasks, some of whose training rows have targets that are far off.

    Validation and test are clean.

    Args:
        share: The share of spoiled training rows.
        size: What is added to their targets, or subtracted.
        **options: Those of ``data=related``.
    """

    def __init__(self, share: float = 0.04, size: float = 5.0, **options: Any) -> None:
        super().__init__(**options)
        generator = torch.Generator().manual_seed(int(options.get("seed", 0)))
        targets = self.splits["train"].targets
        rows = len(next(iter(targets.values())))
        bad = torch.rand(rows, generator=generator) < share
        for target in targets.values():
            signs = 2.0 * (torch.rand(rows, generator=generator) < 0.5) - 1.0
            target += size * bad * signs


class Robust(StepMemory):
    """Weights that ignore the batches whose losses are large, which no constant weights can.

    Args:
        tasks: The tasks.
        scale: The loss at which a weight is half of what it can be.
        seed: The run's seed.
        unstable: On seeds that leave so many as their remainder by ``of``, or less, weights grow
            without a bound, until nothing is finite.
        of: See ``unstable``.
    """

    replica_options = ("seed",)
    growth: Tensor
    factor: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        scale: float = 0.3,
        seed: int = 0,
        unstable: int = 0,
        of: int = 8,
    ) -> None:
        super().__init__(tasks)
        self.scale = scale
        grows = 0 < seed % of <= unstable
        self.register_buffer("growth", torch.ones(len(tasks)))
        self.register_buffer("factor", torch.full((len(tasks),), 2.0 if grows else 1.0))

    def weights(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weights ``[k]``."""
        return self.of_active(self.growth, active) * self.scale / (losses + self.scale)

    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        """Return the factor of the next step."""
        del losses, weights, active
        return {"growth": self.growth * self.factor}
