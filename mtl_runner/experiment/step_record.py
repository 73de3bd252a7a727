"""The numbers of a training step, by name, and their places in a row."""

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
        measured: What update, likelihood and ``record.gradients`` measure: tensors of the widths of
            a :class:`RecordLayout`.
    """

    loss: Tensor
    weight: Tensor
    objective: Tensor
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    def fields(self) -> dict[str, Tensor]:
        """Return all numbers by name."""
        return {
            "loss": self.loss,
            "weight": self.weight,
            "objective": self.objective,
            **self.measured,
        }


class RecordLayout:
    """The place of each field of a step's record in a row of numbers.

    It is used wherever many steps are kept in one tensor.

    Args:
        tasks: Number of tasks T.
        measured: Names and widths of what a step measures beside loss, weight and objective.

    Attributes:
        slices: The columns of each field, by name.
        width: Number of columns of a row.

    Example:
        >>> layout = RecordLayout(tasks=2, measured={"norm_ratio": 1})
        >>> layout.width, layout.slices["objective"]
        (6, slice(4, 5, None))
        >>> layout.of(torch.arange(6).unsqueeze(0), "weight")
        tensor([[2, 3]])
    """

    def __init__(self, tasks: int, measured: Mapping[str, int] | None = None) -> None:
        self.tasks = tasks
        self.measured = dict(measured or {})
        self.widths = {"loss": tasks, "weight": tasks, "objective": 1, **self.measured}
        self.slices: dict[str, slice] = {}
        start = 0
        for name, width in self.widths.items():
            self.slices[name] = slice(start, start + width)
            start += width
        self.width = start

    def of(self, table: Tensor, name: str) -> Tensor:
        """Return one field of rows ``[..., width]``."""
        return table[..., self.slices[name]]

    def trained(self, table: Tensor) -> Tensor:
        """Return losses, weights and objective of rows ``[..., width]``.

        They must be finite for training to go on.
        """
        return table[..., : self.slices["objective"].stop]

    def put(self, table: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Write fields into rows.

        Args:
            table: The rows ``[n, width]``.
            fields: Tensors ``[n, ...]`` by name; a scalar field is ``[n]``.
        """
        for name, columns in self.slices.items():
            table[:, columns] = fields[name].reshape(len(table), -1)

    def nothing(self, device: torch.device) -> StepRecord:
        """Return the record of a step whose batch has no label at all.

        The step changes nothing, and what else would be measured is NaN.
        """
        zeros = torch.zeros(self.tasks, device=device)
        unknown = {
            name: torch.full((width,), torch.nan, device=device)
            for name, width in self.measured.items()
        }
        return StepRecord(zeros, zeros, torch.zeros((), device=device), unknown)
