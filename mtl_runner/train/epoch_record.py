"""The record of an epoch: losses, weights and activity of its steps, and their means.

The numbers of the steps gather on the device and come off it once per epoch, so that no step waits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.step_record import RecordLayout, StepRecord
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.protocols import KeepsLosses

FLUSH_STEPS = 256  # steps whose small tensors are kept before they are copied into the buffer


@dataclass(frozen=True)
class EpochMeans:
    """Means over the steps of an epoch; a row of ``metrics.csv`` per task is made of them.

    Attributes:
        loss: The standard loss of each task, over the steps whose batch has a label of it, ``[T]``.
        weight: The weight of each task, ``[T]``.
        active: The share of steps in which each task was active, ``[T]``, 0 to 1.
        objective: The objective that the weighting made of the losses.
        measured: Means of whatever else the steps measured, by name (:attr:`StepRecord.measured`).

    Example:
        >>> EpochMeans(loss=[0.5, 2.0], weight=[1.0, 1.0], active=[1.0, 0.5], objective=1.5).loss
        [0.5, 2.0]
    """

    loss: list[float]
    weight: list[float]
    active: list[float]
    objective: float
    measured: dict[str, list[float]] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Return the means as a checkpoint holds them."""
        state = dict(vars(self))
        # The name of this entry in every checkpoint so far.
        state["further"] = state.pop("measured")
        return state

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> EpochMeans:
        """Return the means that :meth:`state_dict` was made of."""
        state = dict(state)
        return cls(measured=state.pop("further"), **state)


@dataclass(frozen=True)
class EpochRecord:
    """The records of all steps of an epoch, on the host.

    Attributes:
        table: A row per step, ``[steps, width]``.
        actives: The tasks that were active in each step.
        layout: The place of each field in a row.

    Example:
        >>> table = torch.tensor([[1.0, 1.0, 1.0], [3.0, 1.0, 3.0]])
        >>> record = EpochRecord(table, [Active((1.0,))] * 2, RecordLayout(1))
        >>> record.of("loss").flatten().tolist(), record.means().loss
        ([1.0, 3.0], [2.0])
    """

    table: Tensor
    actives: list[Active]
    layout: RecordLayout

    def of(self, name: str) -> Tensor:
        """Return one field of every step, ``[steps, width of the field]``."""
        return self.layout.of(self.table, name)

    @property
    def objective(self) -> float:
        """The mean objective of the steps."""
        return self.of("objective").double().mean().item()

    def without_first(self, steps: int) -> EpochRecord:
        """Return the record of the other steps.

        Args:
            steps: Number of the first steps that are left out.
        """
        return EpochRecord(self.table[steps:], self.actives[steps:], self.layout)

    def means(self) -> EpochMeans:
        """Return the means over the steps, for an epoch that is written down."""
        count = self.layout.tasks
        active = torch.tensor([a.values for a in self.actives], dtype=torch.float64)
        labelled = torch.tensor(
            [a.labelled or (True,) * count for a in self.actives], dtype=torch.float64
        )
        loss = (self.of("loss").double() * labelled).sum(0) / labelled.sum(0)
        weights = self.of("weight").double().mean(0)
        measured = {}
        for name in self.layout.measured:
            values = self.of(name).double()
            # A step without a label of the task recorded 0, which is no measurement.
            if name == "nll":
                values = torch.where(labelled > 0, values, torch.nan)
            measured[name] = values.nanmean(0).tolist()
        return EpochMeans(
            loss.tolist(), weights.tolist(), active.mean(0).tolist(), self.objective, measured
        )


@dataclass(frozen=True)
class UnfinishedEpoch:
    """The steps of an epoch in which a run stopped, for its checkpoint.

    Attributes:
        table: A row per step that was taken, ``[steps, width]``, on the host.
        actives: The tasks that were active in each of them.
        kept_losses: The training losses ``[n, T]`` of the last n of them that the weighting has
            still to be given: a stack gives it all losses at the end of an epoch; None for none.

    Example:
        >>> epoch = UnfinishedEpoch(torch.ones(1, 3), [Active((1.0,))])
        >>> UnfinishedEpoch.from_state_dict(epoch.state_dict()).actives
        [Active(values=(1.0,), labelled=None)]
    """

    table: Tensor
    actives: list[Active]
    kept_losses: Tensor | None = None

    @property
    def steps(self) -> int:
        """Number of the steps that were taken."""
        return len(self.actives)

    def with_actives(self) -> list[tuple[Active, Tensor]]:
        """Return the losses ``[T]`` that are kept, each with the active tasks of its step."""
        losses = [] if self.kept_losses is None else list(self.kept_losses)
        return list(zip(self.actives[self.steps - len(losses) :], losses, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the steps as a checkpoint holds them."""
        labelled = [active.labelled for active in self.actives]
        return {
            "table": self.table,
            "active": torch.tensor([a.values for a in self.actives], dtype=torch.float64),
            "labelled": None if None in labelled else torch.tensor(labelled),
            "kept_losses": self.kept_losses,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> UnfinishedEpoch:
        """Return the steps that :meth:`state_dict` was made of."""
        values, labelled = state["active"].tolist(), state["labelled"]
        known = [None] * len(values) if labelled is None else map(tuple, labelled.tolist())
        actives = [Active(tuple(v), k) for v, k in zip(values, known, strict=True)]
        return cls(state["table"].cpu(), actives, state["kept_losses"])


@torch.no_grad()
def give_losses(weighting: KeepsLosses, kept: Iterable[tuple[Active, Tensor]]) -> None:
    """Give a weighting the losses of several steps, at once where the same tasks were active.

    Args:
        weighting: The weighting, which keeps losses.
        kept: The active tasks and the losses ``[T]`` of each step.
    """
    for active, steps in groupby(kept, key=lambda step: step[0]):
        losses = torch.stack([values for _, values in steps])[:, list(active.tasks)]
        weighting.accumulate(losses, active.none_if_all)


class EpochBuffer:
    """Collects the records of an epoch's steps on the device, which :meth:`take` waits for.

    Args:
        tasks: The tasks.
        steps: Number of steps in an epoch.
        device: Device on which the steps run.
        layout: The fields of a step's record; by default those that every step has.
        dtype: The type of the records; None: torch's default.

    Attributes:
        empty_record: The record of a step whose batch has no label at all.

    Example:
        >>> buffer = EpochBuffer([Task("depth")], steps=2, device=torch.device("cpu"))
        >>> for loss in (1.0, 3.0):
        ...     record = StepRecord(torch.tensor([loss]), torch.ones(1), torch.tensor(loss))
        ...     buffer.add(record, Active((1.0,)))
        >>> buffer.take(epoch=1, first_step=1).objective
        2.0
    """

    def __init__(
        self,
        tasks: list[Task],
        steps: int,
        device: torch.device,
        layout: RecordLayout | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.tasks = tasks
        self.layout = layout or RecordLayout(len(tasks))
        self.buffer = torch.zeros(
            steps, self.layout.width, dtype=dtype or torch.get_default_dtype(), device=device
        )
        self.empty_record = self.layout.nothing(device)
        self.records: list[StepRecord] = []
        self.actives: list[Active] = []
        self.stored = 0

    def add(self, record: StepRecord, active: Active) -> None:
        """Keep the record of a step.

        Args:
            record: What the step returned.
            active: The tasks that were active in it.
        """
        self.records.append(record)
        self.actives.append(active)
        if len(self.records) == FLUSH_STEPS:
            self._flush()

    def _flush(self) -> None:
        """Copy the records that are kept into the buffer."""
        if self.records:
            steps = [record.fields() for record in self.records]
            fields = {
                name: torch.stack([step[name] for step in steps]) for name in self.layout.slices
            }
            self.layout.put(self.buffer[self.stored : self.stored + len(steps)], fields)
            self.stored += len(steps)
            self.records.clear()

    def so_far(self, epoch: int, first_step: int) -> EpochRecord:
        """Return the record of the steps so far; the epoch goes on.

        Args:
            epoch: Number of the epoch, counted from 1; for the error alone.
            first_step: Number of its first step in the run, counted from 1; for the error alone.

        Raises:
            DivergedError: If a loss, a weight or the objective is not finite.
        """
        self._flush()
        table = self.buffer[: self.stored].cpu().clone()
        record = EpochRecord(table, list(self.actives), self.layout)
        check_finite(record, self.tasks, epoch, first_step)
        return record

    def unfinished(self) -> UnfinishedEpoch:
        """Return the steps so far, of an epoch that stops here."""
        self._flush()
        return UnfinishedEpoch(self.buffer[: self.stored].cpu().clone(), list(self.actives))

    def go_on(self, epoch: UnfinishedEpoch) -> None:
        """Go on with an epoch that stopped.

        Args:
            epoch: Its steps so far.
        """
        self.buffer[: epoch.steps] = epoch.table.to(self.buffer.device)
        self.actives, self.stored = list(epoch.actives), epoch.steps

    def take(self, epoch: int, first_step: int) -> EpochRecord:
        """Return the record of the epoch, and empty the buffer for the next one.

        Args:
            epoch: Number of the epoch, counted from 1; for the error alone.
            first_step: Number of its first step in the run, counted from 1; for the error alone.

        Raises:
            DivergedError: If a loss, a weight or the objective is not finite.
        """
        try:
            return self.so_far(epoch, first_step)
        finally:
            self.actives, self.stored = [], 0


def check_finite(record: EpochRecord, tasks: Sequence[Task], epoch: int, first_step: int) -> None:
    """Check that losses, weights and objective of every step are finite.

    Args:
        record: The record of the epoch.
        tasks: The tasks.
        epoch: Number of the epoch, counted from 1.
        first_step: Number of its first step in the run, counted from 1.

    Raises:
        DivergedError: Naming the first task whose loss or weight is not finite, and the step.
    """
    finite = record.layout.trained(record.table).isfinite()
    if bool(finite.all()):
        return
    loss, weight = record.of("loss"), record.of("weight")
    # A likelihood that is trained can be NaN where the standard loss beside it is finite.
    if "nll" in record.layout.measured:
        loss = torch.where(record.of("nll").isfinite(), loss, record.of("nll"))
    row = int((~finite.all(1)).nonzero()[0])
    place = f"in epoch {epoch}, step {first_step + row}"
    for task, value in zip(tasks, loss[row].tolist(), strict=True):
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss of task {task.name!r} became {value} {place}; lower optimizer.lr, set trainer.clip or scale the target."
            )
    names = (
        task.name
        for task, value in zip(tasks, weight[row].tolist(), strict=True)
        if not math.isfinite(value)
    )
    raise DivergedError(
        f"The weight of {next(names, 'the objective')!r} became NaN or infinite {place}; check the options of the weighting."
    )
