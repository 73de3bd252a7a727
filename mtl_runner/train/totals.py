"""What an epoch's steps add up to: losses and weights gather on the device and come off it once per epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.step_record import RecordLayout, StepRecord
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

FLUSH = 256  # steps whose small tensors are kept before they are copied into the buffer


@dataclass(frozen=True)
class EpochMeans:
    """Means over an epoch's steps.

    Attributes:
        loss: Per task, over the steps with labels.
        weight: Per task.
        active: Per task, the share of steps that it was active in.
        objective: What the weighting made of the losses.
        further: What else the steps measured, by name.
    """

    loss: list[float]
    weight: list[float]
    active: list[float]
    objective: float
    further: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochRecord:
    """All steps of one epoch on the host.

    Attributes:
        table: A row per step, ``[steps, width]``.
        actives: Who was active in each step.
        layout: Where the fields of a step's record lie in a row.
    """

    table: Tensor
    actives: list[Active]
    layout: RecordLayout

    def of(self, name: str) -> Tensor:
        """One field of every step, ``[steps, width]``."""
        return self.layout.of(self.table, name)

    @property
    def objective(self) -> float:
        """Mean objective."""
        return self.of("objective").double().mean().item()

    def means(self) -> EpochMeans:
        """Worked out only for epochs that are written down."""
        count = self.layout.tasks
        active = torch.tensor([a.values for a in self.actives], dtype=torch.float64)
        known = torch.tensor(
            [a.labelled or (True,) * count for a in self.actives], dtype=torch.float64
        )
        loss = (self.of("loss").double() * known).sum(0) / known.sum(0)
        weights = self.of("weight").double().mean(0)
        further = {}
        for name in self.layout.measured:
            values = self.of(name).double()
            if name == "nll":  # exactly 0 where there is no label, which is no measurement
                values = torch.where(known > 0, values, torch.nan)
            further[name] = values.nanmean(0).tolist()
        return EpochMeans(
            loss.tolist(), weights.tolist(), active.mean(0).tolist(), self.objective, further
        )


class EpochTotals:
    """Collects the records of the steps. Nothing here waits for the device before :meth:`take`.

    Args:
        tasks: The tasks.
        steps: Of an epoch.
        device: Where the steps run.
        layout: The fields of their records; by default those that every step has.
    """

    def __init__(
        self,
        tasks: list[Task],
        steps: int,
        device: torch.device,
        layout: RecordLayout | None = None,
    ) -> None:
        self.tasks = tasks
        self.layout = layout or RecordLayout(len(tasks))
        self.buffer = torch.zeros(
            steps, self.layout.width, dtype=torch.get_default_dtype(), device=device
        )
        self.nothing = self.layout.nothing(device)
        self.records: list[StepRecord] = []
        self.actives: list[Active] = []
        self.stored = 0

    def add(self, record: StepRecord, active: Active) -> None:
        """Keep what one step returned."""
        self.records.append(record)
        self.actives.append(active)
        if len(self.records) == FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self.records:
            kept = [record.fields() for record in self.records]
            fields = {
                name: torch.stack([each[name] for each in kept]) for name in self.layout.slices
            }
            self.layout.put(self.buffer[self.stored : self.stored + len(kept)], fields)
            self.stored += len(kept)
            self.records.clear()

    def take(self, epoch: int, first_step: int) -> EpochRecord:
        """The epoch's record; empties the collection. Raises ``DivergedError`` naming the first task that is not finite."""
        self._flush()
        record = EpochRecord(self.buffer[: self.stored].cpu().clone(), self.actives, self.layout)
        self.actives, self.stored = [], 0
        check_finite(record, self.tasks, epoch, first_step)
        return record


def check_finite(record: EpochRecord, tasks: Sequence[Task], epoch: int, first_step: int) -> None:
    """Raise ``DivergedError`` naming the first task whose loss or weight is not finite."""
    trained = record.layout.trained(record.table).isfinite()
    if bool(trained.all()):
        return
    finite, loss, weight = trained.all(1), record.of("loss"), record.of("weight")
    if (
        "nll" in record.layout.measured
    ):  # what was trained: it can be NaN where the standard loss is not
        loss = torch.where(record.of("nll").isfinite(), loss, record.of("nll"))
    row = int((~finite).nonzero()[0])
    where = f"in epoch {epoch}, step {first_step + row}"
    for task, value in zip(tasks, loss[row].tolist(), strict=True):
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss of task {task.name!r} became {value} {where}; lower optimizer.lr, set trainer.clip or scale the target."
            )
    names = (
        task.name
        for task, value in zip(tasks, weight[row].tolist(), strict=True)
        if not math.isfinite(value)
    )
    raise DivergedError(
        f"The weight of {next(names, 'the objective')!r} became NaN or infinite {where}; check the options of the weighting."
    )
