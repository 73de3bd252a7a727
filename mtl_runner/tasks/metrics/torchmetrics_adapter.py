"""A ``torchmetrics.Metric`` of the user's, as a metric of a task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def is_torchmetric(made: object) -> bool:
    """Whether an object has the methods of a ``torchmetrics.Metric``; the package itself is not needed to tell."""
    return all(
        callable(getattr(made, name, None)) for name in ("update", "compute", "reset", "clone")
    )


@dataclass(frozen=True, eq=False)
class TorchMetric:
    """A ``torchmetrics.Metric`` that is told every batch of an evaluation.

    It is given what the kind of the task calls predictions and labels (:meth:`~mtl_runner.tasks.kinds.Kind.predictions`): numbers
    in the target's own units, or probabilities and classes; rows with a missing label are left out.

    Args:
        prototype: The metric; every evaluation takes a fresh copy.
        name: The column of ``metrics.csv``; by default the name of its class in snake case.

    Attributes:
        higher_is_better: The direction that it knows itself; None where it does not.
    """

    prototype: Any
    name: str = ""
    in_delta_m: bool = False

    def __post_init__(self) -> None:
        plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self.prototype).__name__).lower()
        object.__setattr__(self, "name", self.name or plain)

    @property
    def higher_is_better(self) -> bool | None:
        direction: bool | None = getattr(self.prototype, "higher_is_better", None)
        return direction

    def begin(self, device: torch.device) -> Any:
        """A fresh copy on a device."""
        copy = self.prototype.clone().to(device)
        copy.reset()
        return copy

    @staticmethod
    def number(copy: Any) -> Tensor:
        """What a copy has computed, as a scalar in float64."""
        return torch.as_tensor(copy.compute()).double().mean()
