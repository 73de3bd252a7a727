"""What an epoch's steps add up to: losses and weights gather on the device and come off it once per epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtl_runner.errors import DivergedError
from mtl_runner.task import Task
from mtl_runner.update import Active

FLUSH = 256  # steps whose small tensors are kept before they are copied into the buffer


@dataclass(frozen=True)
class EpochMeans:
    """Means over an epoch's steps: loss over the steps with labels, weight, share of steps active, objective."""

    loss: list[float]
    weight: list[float]
    active: list[float]
    objective: float


@dataclass(frozen=True)
class EpochRecord:
    """All steps of one epoch on the host: a row per step of T losses, T weights and the objective; and who was active."""

    table: Tensor
    actives: list[Active]

    @property
    def objective(self) -> float:
        """Mean objective."""
        return self.table[:, -1].double().mean().item()

    def means(self) -> EpochMeans:
        """Worked out only for epochs that are written down."""
        count = self.table.shape[1] // 2
        active = torch.tensor([a.values for a in self.actives], dtype=torch.float64)
        known = torch.tensor([a.labelled or (True,) * count for a in self.actives], dtype=torch.float64)
        loss = (self.table[:, :count].double() * known).sum(0) / known.sum(0)
        means = self.table[:, count:].double().mean(0).tolist()
        return EpochMeans(loss.tolist(), means[:-1], active.mean(0).tolist(), means[-1])


class EpochTotals:
    """Collects what the steps return. Nothing here waits for the device before :meth:`take`.

    The buffer has a row per step of an epoch: T losses, T weights, the objective.
    """

    def __init__(self, tasks: list[Task], steps: int, device: torch.device) -> None:
        self.tasks = tasks
        self.buffer = torch.zeros(steps, 2 * len(tasks) + 1, dtype=torch.get_default_dtype(), device=device)
        zeros = torch.zeros(len(tasks), device=device)
        self.nothing = (zeros, zeros, zeros.sum())  # what a step without any label returns
        self.rows: list[Tensor] = []
        self.actives: list[Active] = []
        self.stored = 0

    def add(self, losses: Tensor, weights: Tensor, objective: Tensor, active: Active) -> None:
        """Keep one step."""
        self.rows += (losses, weights, objective)
        self.actives.append(active)
        if len(self.rows) == 3 * FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            count, width = len(self.rows) // 3, len(self.tasks)
            target = self.buffer[self.stored : self.stored + count]
            target[:, :width] = torch.stack(self.rows[0::3])
            target[:, width:-1] = torch.stack(self.rows[1::3])
            target[:, -1] = torch.stack(self.rows[2::3])
            self.stored += count
            self.rows.clear()

    def take(self, epoch: int, first_step: int) -> EpochRecord:
        """The epoch's record; empties the collection. Raises ``DivergedError`` naming the first task that is not finite."""
        self._flush()
        record = EpochRecord(self.buffer[: self.stored].cpu().clone(), self.actives)
        self.actives, self.stored = [], 0
        if not bool(record.table.isfinite().all()):
            self._raise(record.table, epoch, first_step)
        return record

    def _raise(self, table: Tensor, epoch: int, first_step: int) -> None:
        row = int((~table.isfinite().all(1)).nonzero()[0])
        where = f"in epoch {epoch}, step {first_step + row}"
        for index, task in enumerate(self.tasks):
            value = float(table[row, index])
            if not torch.tensor(value).isfinite():
                raise DivergedError(
                    f"The loss of task {task.name!r} became {value} {where}; lower optimizer.lr, set trainer.clip or scale the target."
                )
        name = next(
            (t.name for i, t in enumerate(self.tasks) if not bool(table[row, len(self.tasks) + i].isfinite())),
            "the objective",
        )
        raise DivergedError(f"The weight of {name!r} became NaN or infinite {where}; check the options of the weighting.")
