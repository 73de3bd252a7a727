"""An adapter that makes a ``torchmetrics.Metric`` a metric of a task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def is_torchmetric(candidate: object) -> bool:
    """Return whether an object has the methods of a ``torchmetrics.Metric``.

    The package itself is not needed to tell.

    Example:
        >>> is_torchmetric("accuracy")
        False
    """
    return all(
        callable(getattr(candidate, name, None)) for name in ("update", "compute", "reset", "clone")
    )


@dataclass(frozen=True, eq=False)
class TorchMetric:
    """A ``torchmetrics.Metric`` that is updated with every batch of an evaluation.

    It is updated with the predictions and labels of the task's kind
    (:meth:`Kind.predictions <mtl_runner.tasks.kinds.Kind.predictions>`): numbers in the target's
    own units, or probabilities and classes. Rows with a missing label are left out.

    Args:
        prototype: The torchmetric; every evaluation takes a fresh copy.
        name: Name of the column of ``metrics.csv``; by default its class's name in snake case.
        in_delta_m: Whether relative differences of the metric make sense.

    Example:
        >>> import torchmetrics
        >>> metric = TorchMetric(torchmetrics.MeanSquaredError())
        >>> metric.name, metric.higher_is_better
        ('mean_squared_error', False)
    """

    prototype: Any
    name: str = ""
    in_delta_m: bool = False

    def __post_init__(self) -> None:
        snake_case = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self.prototype).__name__).lower()
        object.__setattr__(self, "name", self.name or snake_case)

    @property
    def higher_is_better(self) -> bool | None:
        """The direction that the torchmetric knows itself; None if it does not."""
        direction: bool | None = getattr(self.prototype, "higher_is_better", None)
        return direction

    def fresh_copy(self, device: torch.device) -> Any:
        """Return a copy of the torchmetric without any data, on a device."""
        copy = self.prototype.clone().to(device)
        copy.reset()
        return copy

    @staticmethod
    def compute(updated: Any) -> Tensor:
        """Return the value of an updated copy as a scalar in float64."""
        return torch.as_tensor(updated.compute()).double().mean()
