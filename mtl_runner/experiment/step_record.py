"""What a training step says of itself, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class StepRecord:
    """One step's numbers, on the device.

    Attributes:
        loss: The unweighted standard losses ``[T]``.
        weight: d objective / d losses ``[T]``, times how active each task is; 0 for idle ones.
        objective: What the weighting made of the losses, a scalar.
        measured: What update, likelihood and ``record.gradients`` say beside: tensors of the widths of a :class:`RecordLayout`.
    """

    loss: Tensor
    weight: Tensor
    objective: Tensor
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    def fields(self) -> dict[str, Tensor]:
        """All of them by name."""
        return {
            "loss": self.loss,
            "weight": self.weight,
            "objective": self.objective,
            **self.measured,
        }


class RecordLayout:
    """Where each field of a step's record lies in a row of numbers, for all that keep many steps in one tensor.

    Args:
        tasks: Their number T.
        measured: Names and widths of what a step measures beside loss, weight and objective.
    """

    def __init__(self, tasks: int, measured: Mapping[str, int] | None = None) -> None:
        self.tasks = tasks
        self.measured = dict(measured or {})
        self.widths = {"loss": tasks, "weight": tasks, "objective": 1, **self.measured}
        self.slices: dict[str, slice] = {}
        at = 0
        for name, width in self.widths.items():
            self.slices[name] = slice(at, at + width)
            at += width
        self.width = at

    def of(self, table: Tensor, name: str) -> Tensor:
        """One field of rows ``[..., width]``."""
        return table[..., self.slices[name]]

    def trained(self, table: Tensor) -> Tensor:
        """Losses, weights and objective of rows ``[..., width]``: what must be finite for training to go on."""
        return table[..., : self.slices["objective"].stop]

    def put(self, table: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Write fields ``[n, width or nothing]`` into rows ``[n, width]``."""
        for name, place in self.slices.items():
            table[:, place] = fields[name].reshape(len(table), -1)

    def nothing(self, device: torch.device) -> StepRecord:
        """The record of a step whose batch has no label at all: it changes nothing, and nothing else was measured."""
        zeros = torch.zeros(self.tasks, device=device)
        unknown = {
            name: torch.full((width,), torch.nan, device=device)
            for name, width in self.measured.items()
        }
        return StepRecord(zeros, zeros, torch.zeros((), device=device), unknown)
