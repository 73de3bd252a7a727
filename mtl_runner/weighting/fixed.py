"""Fixed weights: the baseline every other weighting has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, per_task
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Derivatives, Weighting


class Fixed(Weighting):
    r"""Weigh each loss by a constant: :math:`\sum_t w_t L_t`.

    Args:
        tasks: the tasks, in the order of the losses.
        weights: ``{task: weight}`` (missing tasks: 1), one number for all, or ``auto``: 1 over the training loss of the trivial
            predictor (train mean, class prior), computed once.
        normalize: ``none``, or rescale the weights of the active tasks to ``sum`` 1 or to ``mean`` 1.
        trivial_losses: training loss of the trivial predictor per task, needed for ``auto``; None where a task has none.

    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for unknown tasks, negative or all-zero weights.
    """

    replica_options = ("weights",)
    weights: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        weights: Any = None,
        normalize: str = "none",
        trivial_losses: Sequence[float | None] | None = None,
    ) -> None:
        super().__init__(tasks)
        choice(normalize, "weighting.normalize", ("none", "sum", "mean"))
        self.normalize = normalize
        values = (
            _inverse(tasks, trivial_losses)
            if weights == "auto"
            else per_task({} if weights is None else weights, tasks, 1.0, "weighting.weights")
        )
        if any(not 0 <= value < float("inf") for value in values) or not any(values):
            raise ConfigError(
                f"weighting.weights must be finite, not negative and not all 0; found {values}."
            )
        self.values = values
        self.register_buffer("weights", torch.tensor(values, dtype=torch.get_default_dtype()))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        return (self._normalized(active) * losses).sum()

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """The constants themselves: the derivative of a weighted sum needs no autograd."""
        weights = self._normalized(active)
        return torch.dot(weights, losses), weights, ()

    def _normalized(self, active: Active | None) -> Tensor:
        weights = (
            self.weights if active is None else self.weights[active.index(self.weights.device)]
        )
        if self.normalize == "none":
            return weights
        if active is not None and not any(self.values[i] for i in active.tasks):
            names = ", ".join(self.tasks[i].name for i in active.tasks)
            raise ConfigError(
                f"weighting.weights are 0 for all active tasks ({names}), which normalize={self.normalize} cannot rescale."
            )
        return weights / (weights.sum() if self.normalize == "sum" else weights.mean())


def _inverse(tasks: Sequence[Task], trivial_losses: Sequence[float | None] | None) -> list[float]:
    losses = trivial_losses or [None] * len(tasks)
    for task, loss in zip(tasks, losses, strict=True):
        if not loss:
            raise ConfigError(
                f"weighting.weights=auto needs the loss of a trivial predictor, which task {task.name!r} has not; give numbers."
            )
    return [1 / loss for loss in losses if loss]
