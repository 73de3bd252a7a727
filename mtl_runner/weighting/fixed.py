"""Fixed weights: the baseline that every other weighting has to beat."""

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
    r"""Weigh each loss by a constant.

    .. math:: \sum_t w_t L_t

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`w_t` is its weight, by default 1.

    **When it helps:** always, as the baseline. Well-chosen constants are hard to beat.

    **When not:** the losses have different units and nobody has time to choose the weights: with
    equal weights the largest loss wins. ``weights: auto`` is then a first choice.

    Args:
        tasks: The tasks, in the order of the losses.
        weights: ``{task: weight}`` (1 for tasks that are left out), or one number for all, or
            ``"auto"``: 1 over the training loss of the trivial predictor (train mean, class prior),
            computed once.
        normalize: ``"none"``, or rescale the weights of the active tasks to ``"sum"`` 1 or to
            ``"mean"`` 1.
        trivial_losses: The training loss of the trivial predictor per task, None for a task that
            has none; needed for ``"auto"``.

    Raises:
        ConfigError: If ``weights`` names an unknown task, or if a weight is negative or not finite,
            or if all weights are 0.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Fixed
        >>> weighting = Fixed([Task("depth"), Task("normals")], {"depth": 3.0}, normalize="sum")
        >>> weighting.weigh(torch.tensor([4.0, 2.0]))
        (tensor([0.7500, 0.2500]), tensor(3.5000))
    """

    replica_options = ("weights",)
    needs_losses = False
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
        """Return the weighted sum of the active tasks' losses ``[k]``, a scalar."""
        return (self._normalized(active) * losses).sum()

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return the objective and the constants: a weighted sum needs no autograd."""
        weights = self._normalized(active)
        return torch.dot(weights, losses), weights, ()

    def _normalized(self, active: Active | None) -> Tensor:
        """Return the weights of the active tasks, rescaled as ``normalize`` says."""
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
    """Return 1 over each task's trivial loss, for ``weights: auto``."""
    losses = trivial_losses or [None] * len(tasks)
    for task, loss in zip(tasks, losses, strict=True):
        if not loss:
            raise ConfigError(
                f"weighting.weights=auto needs the loss of a trivial predictor, which task {task.name!r} has not; give numbers."
            )
    return [1 / loss for loss in losses if loss]
