"""What an epoch's steps add up to: losses and weights gather on the device and come off it once per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mtl_runner.errors import DivergedError
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

FLUSH = 256  # steps whose small tensors are kept before they are copied into the buffer


@dataclass(frozen=True)
class EpochMeans:
    """Means over an epoch's steps: loss over the steps with labels, weight, share of steps active, objective, further fields."""

    loss: list[float]
    weight: list[float]
    active: list[float]
    objective: float
    further: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochRecord:
    """All steps of one epoch on the host: a row per step of T losses, T weights, the objective and further fields; and who was active."""

    table: Tensor
    actives: list[Active]
    tasks: int
    fields: Mapping[str, int] = field(default_factory=dict)

    @property
    def objective(self) -> float:
        """Mean objective."""
        return self.table[:, 2 * self.tasks].double().mean().item()

    def means(self) -> EpochMeans:
        """Worked out only for epochs that are written down."""
        count = self.tasks
        table = self.table.double()
        active = torch.tensor([a.values for a in self.actives], dtype=torch.float64)
        known = torch.tensor([a.labelled or (True,) * count for a in self.actives], dtype=torch.float64)
        loss = (table[:, :count] * known).sum(0) / known.sum(0)
        weights = table[:, count : 2 * count].mean(0)
        further, at = {}, 2 * count + 1
        for name, width in self.fields.items():
            values = table[:, at : at + width]
            if name == "nll":  # exactly 0 where there is no label, which is no measurement
                values = torch.where(known > 0, values, torch.nan)
            further[name] = values.nanmean(0).tolist()
            at += width
        return EpochMeans(loss.tolist(), weights.tolist(), active.mean(0).tolist(), self.objective, further)


class EpochTotals:
    """Collects what the steps return. Nothing here waits for the device before :meth:`take`.

    The buffer has a row per step of an epoch: T losses, T weights, the objective, and ``fields``: names and widths.
    """

    def __init__(self, tasks: list[Task], steps: int, device: torch.device, fields: Mapping[str, int] | None = None) -> None:
        self.tasks = tasks
        self.fields = dict(fields or {})
        widths = [len(tasks), len(tasks), 0, *self.fields.values()]  # 0: a scalar
        self.ends = torch.tensor([max(1, width) for width in widths]).cumsum(0).tolist()
        self.buffer = torch.zeros(steps, self.ends[-1], dtype=torch.get_default_dtype(), device=device)
        # What a step without any label returns: of the further fields, nothing was measured.
        self.nothing = tuple(
            torch.full((width,) if width else (), 0.0 if i < 3 else torch.nan, device=device) for i, width in enumerate(widths)
        )
        self.rows: list[Tensor] = []
        self.actives: list[Active] = []
        self.stored = 0

    def add(self, values: tuple[Tensor, ...], active: Active) -> None:
        """Keep what one step returned."""
        self.rows += values
        self.actives.append(active)
        if len(self.rows) == len(self.ends) * FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            columns = len(self.ends)
            count = len(self.rows) // columns
            target = self.buffer[self.stored : self.stored + count]
            for i, end in enumerate(self.ends):
                values = torch.stack(self.rows[i::columns])
                target[:, end - (values[0].numel()) : end] = values.reshape(count, -1)
            self.stored += count
            self.rows.clear()

    def take(self, epoch: int, first_step: int) -> EpochRecord:
        """The epoch's record; empties the collection. Raises ``DivergedError`` naming the first task that is not finite."""
        self._flush()
        record = EpochRecord(self.buffer[: self.stored].cpu().clone(), self.actives, len(self.tasks), self.fields)
        self.actives, self.stored = [], 0
        check_finite(record, self.tasks, epoch, first_step)
        return record


def check_finite(record: EpochRecord, tasks: Sequence[Task], epoch: int, first_step: int) -> None:
    """Raise ``DivergedError`` naming the first task whose loss or weight is not finite."""
    width = len(tasks)
    trained = record.table[:, : 2 * width + 1]
    finite = trained.isfinite().all(1, keepdim=True)
    if not bool(finite.all()):
        if "nll" in record.fields:  # the last field, and what was trained: it can be NaN where the standard loss is not
            _raise(torch.where(finite, 0.0, record.table[:, -width:]), tasks, epoch, first_step)
        _raise(trained, tasks, epoch, first_step)


def _raise(table: Tensor, tasks: Sequence[Task], epoch: int, first_step: int) -> None:
    if bool(table.isfinite().all()):
        return
    row = int((~table.isfinite().all(1)).nonzero()[0])
    where = f"in epoch {epoch}, step {first_step + row}"
    for index, task in enumerate(tasks):
        value = float(table[row, index])
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss of task {task.name!r} became {value} {where}; lower optimizer.lr, set trainer.clip or scale the target."
            )
    name = next((t.name for i, t in enumerate(tasks) if not bool(table[row, len(tasks) + i].isfinite())), "the objective")
    raise DivergedError(f"The weight of {name!r} became NaN or infinite {where}; check the options of the weighting.")
