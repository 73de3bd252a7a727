"""Evaluation of a split: standard losses, metrics in original units, and the learned noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.dataset import ROW_GROUPS, Split
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.data.prepare import AnySplit
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.term_points import Points, points_for_evaluation
from mtl_runner.gradients.part import WHOLE, Part
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.meter import TaskMeter, metrics_can_be_vmapped
from mtl_runner.tasks.metrics.base import pair, ratio
from mtl_runner.tasks.task import Task, term_key

QUANTILES = {"sigma_q05": 0.05, "sigma_q50": 0.5, "sigma_q95": 0.95}
NOISE_COLUMNS = ("nll", "sigma", *QUANTILES)  # they describe the noise: no metric to judge a run by
MAX_QUANTILE_ENTRIES = 2**24  # the most that torch.quantile takes

MeasurementKey = tuple[str, str]  # name of a task, and of a loss, a metric or a column of the noise
Measurements = dict[MeasurementKey, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Losses and metrics of a model on one split.

    Attributes:
        values: Per task ``loss``, ``relative_loss`` (to the loss of the trivial predictor) and its
            metrics.
        noise: Per task ``nll`` and mean and quantiles of a predicted sigma, where the likelihood
            has a noise scale.

    Example:
        >>> values = {"depth": {"loss": 2.0, "relative_loss": 0.5}, "label": {"loss": 0.9}}
        >>> Evaluation(values).relative_loss
        0.5
    """

    values: dict[str, dict[str, float]]
    noise: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def relative_loss(self) -> float:
        """The mean over tasks of loss over the trivial predictor's loss.

        Tasks without a trivial predictor do not count; if no task has one, it is the mean of the
        losses.
        """
        relative = [row["relative_loss"] for row in self.values.values() if "relative_loss" in row]
        values = relative or [row["loss"] for row in self.values.values()]
        return sum(values) / len(values)


class Evaluator:
    """Measures a split batch by batch; nothing waits for the device before the end.

    What adds up is added up; rows of metrics that are no sums are concatenated. A loss term may be
    any function of all rows, so its outputs are kept and it is computed once, on all of them. One
    that sees the model is computed once on its own points, or averaged over the batches.

    Args:
        tasks: The tasks.
        likelihood: The likelihood, whose answers are judged, and whose exact likelihood and
            predicted noise are measured.

    Example:
        >>> from mtl_runner.data import Split
        >>> from mtl_runner.likelihood import Standard
        >>> tasks = [Task("depth")]
        >>> model = torch.nn.Module()
        >>> model.forward = lambda inputs: {"depth": inputs}
        >>> split = Split(torch.tensor([[1.0], [2.0]]), {"depth": torch.tensor([[1.0], [4.0]])})
        >>> likelihood = Standard(tasks)
        >>> evaluator = Evaluator(tasks, likelihood)
        >>> measurements = evaluator.evaluate(ForwardPass(model, likelihood), split, batch_rows=1)
        >>> measurements["depth", "loss"], measurements["depth", "mae"]
        (tensor(2., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """

    def __init__(self, tasks: Sequence[Task], likelihood: Likelihood) -> None:
        self.tasks, self.likelihood = list(tasks), likelihood
        self.meters = {task.name: TaskMeter(task) for task in tasks if task.has_target}
        self.terms = [task for task in tasks if task.loss_term is not None and not task.sees_model]
        self.model_terms = [task for task in tasks if task.sees_model]
        self.has_torchmetrics = not metrics_can_be_vmapped(tasks)

    def evaluate(
        self,
        forward: ForwardPass,
        split: AnySplit,
        batch_rows: int,
        ranks: Ranks | None = None,
    ) -> Measurements:
        """Return everything that is measured on a split, as scalar tensors.

        Args:
            forward: The forward pass of the model.
            split: The split.
            batch_rows: Rows that go through the model at once.
            ranks: The processes that share the rows out among them; None: this one has them all.
                Loss terms and torchmetrics, which are no sums, are measured on all rows by every
                process.
        """
        ranks = sharing_ranks(self.tasks, ranks)
        part = WHOLE if ranks is None else ranks.part
        batches = MeasuredBatches(self)
        passes_left = -(-len(split) // (batch_rows * part.count))
        with forward.evaluating():
            at_points: Measurements = {}
            if self.model_terms:
                points = points_for_evaluation(self.model_terms, forward.device)
                at_points = self.measure_at_points(forward, points)
            for batch in batches_of_part(split, batch_rows, part):
                passes_left -= 1
                term_sums = at_points | self.measure_model_terms(forward, batch)
                batches.add(forward.outputs(batch.inputs), batch.targets, term_sums)
            if ranks is not None:
                sums, all_rows = batches.sums, batches.rows()
                # Where the model is sharded, all processes call it equally often.
                for _ in range(passes_left):
                    row = split.rows(slice(0, 1))
                    outputs = forward.outputs(row.inputs)
                    if not sums:  # fewer rows than processes
                        sums, all_rows = self.measure_batch(outputs, row.targets)
                        sums = {key: torch.zeros_like(value) for key, value in sums.items()}
                        all_rows = {key: value[:0] for key, value in all_rows.items()}
                sums = dict(zip(sums, ranks.sum_together(list(sums.values())), strict=True))
                all_rows = {key: ranks.gathered(value) for key, value in all_rows.items()}
                return self.compute(sums, all_rows | batches.terms(), batches.torchmetrics)
            return batches.compute()

    def measure_at_points(self, forward: ForwardPass, points: Points) -> Measurements:
        """Return :meth:`measure_model_terms` of the terms that have points of their own.

        Args:
            forward: The forward pass.
            points: The points by term.
        """
        a_row = Split(torch.zeros(1), {}, points=points)
        return self.measure_model_terms(forward, a_row) if points else {}

    def measure_model_terms(self, forward: ForwardPass, batch: Split) -> Measurements:
        """Return losses and metrics of the loss terms that see the model, as sums over rows.

        Args:
            forward: The forward pass.
            batch: A row and the points of the terms that have some; or rows, without points, for
                the terms that have none.

        Returns:
            The value times the number of rows, and that number, ``[2]``, in float64.
        """
        measured: Measurements = {}
        for task in self.model_terms:
            if (task.points is not None) == bool(batch.points):
                # A term may ask autograd for derivatives.
                with torch.enable_grad():
                    values = forward.term_values(task, batch)
                for name, value in values.items():
                    total = value.detach().double() * len(batch)
                    measured[task.name, name] = pair(total, torch.ones_like(total) * len(batch))
        return measured

    def measure_batch(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        term_sums: Measurements | None = None,
    ) -> tuple[Measurements, Measurements]:
        """Return the sums of a batch and its rows, in pure tensor code.

        Args:
            outputs: The outputs of all tasks.
            targets: The targets of all tasks, in training units.
            term_sums: Those of the loss terms that see the model, which are added to the sums.

        Returns:
            What is to be added up over the batches, and what is to be concatenated, ``[n]`` or
            ``[n, ...]``.
        """
        sums: Measurements = dict(term_sums or {})
        outputs = dict(outputs)
        for task in self.model_terms:
            outputs[term_key(task.name)] = ratio(sums[task.name, "loss"], task)
        answers = self.likelihood.tempered_outputs(outputs)
        rows: Measurements = {}
        for task in self.tasks:
            if task.loss_term is None:
                denominator = task.loss_denominator(targets[task.name])
                sums[task.name, "loss"] = torch.stack(
                    [task.loss(answers, targets).double() * denominator, denominator]
                )
            if task.has_target:
                task_sums, task_rows = self.meters[task.name].measure_batch(
                    answers[task.name], targets[task.name], targets.get(ROW_GROUPS)
                )
                sums |= {(task.name, key): value for key, value in task_sums.items()}
                rows |= {(task.name, key): value for key, value in task_rows.items()}
        if self.likelihood.has_noise:
            sums |= {
                (name, "nll"): value
                for name, value in self.likelihood.nll_sums(outputs, targets).items()
            }
            for task in self.tasks:
                sigma = self.likelihood.predicted_sigma(task, outputs)
                if sigma is not None:
                    rows[task.name, "sigma"] = sigma.flatten()
        return sums, rows

    def measure_terms(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
    ) -> Measurements:
        """Return losses and metrics of the loss terms, from outputs and targets of all rows."""
        measurements: Measurements = {}
        if self.terms:
            answers = self.likelihood.tempered_outputs(outputs)
            for task in self.terms:
                measurements[task.name, "loss"] = task.loss(answers, targets)
                measurements |= {
                    (task.name, name): metric(answers, targets)
                    for name, metric in task.term_metrics.items()
                }
        return measurements

    def compute(
        self,
        sums: Measurements,
        rows_and_terms: Measurements,
        torchmetrics: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Measurements:
        """Return losses, metrics and noise of a split as scalar tensors, task by task.

        Args:
            sums: What :meth:`measure_batch` returned to be added up, over all batches.
            rows_and_terms: The rows of all batches, and what :meth:`measure_terms` returned.
            torchmetrics: The user's torchmetrics by task and name, updated with all batches.
        """
        measurements: Measurements = {}
        for task in self.tasks:
            loss_and_denominator = sums.get((task.name, "loss"))
            if loss_and_denominator is None:
                loss = rows_and_terms[task.name, "loss"]
            else:
                loss, denominator = loss_and_denominator
                loss = loss / torch.where(denominator > 0, denominator, 1.0)
            measurements[task.name, "loss"] = loss
            if task.has_target:
                meter = self.meters[task.name]
                task_sums, task_rows = (
                    {key: value for (name, key), value in part.items() if name == task.name}
                    for part in (sums, rows_and_terms)
                )
                metrics = meter.compute(
                    task_sums, task_rows, (torchmetrics or {}).get(task.name, {})
                )
                measurements |= {(task.name, name): value for name, value in metrics.items()}
            measurements |= {
                (task.name, name): ratio(sums[task.name, name], task)
                if task.sees_model
                else rows_and_terms[task.name, name]
                for name in task.term_metrics
            }
        if self.likelihood.has_noise:
            for task in self.tasks:
                nll = sums.get((task.name, "nll"))
                measurements[task.name, "nll"] = (
                    measurements[task.name, "loss"]
                    if nll is None
                    else self.likelihood.nll_of_sums(nll)
                )
            for task in self.tasks:
                if (task.name, "sigma") in rows_and_terms:
                    sigma = rows_and_terms[task.name, "sigma"]
                    measurements |= _sigma_measurements(task.name, sigma)
        return measurements

    def update_torchmetrics(
        self,
        torchmetrics: dict[str, dict[str, Any]],
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> None:
        """Update the user's torchmetrics with a batch.

        Args:
            torchmetrics: The torchmetrics by task and name; empty before the first batch.
            outputs: The outputs of all tasks.
            targets: The targets of all tasks, in training units.
        """
        if self.has_torchmetrics:
            answers = self.likelihood.tempered_outputs(outputs)
            for name, meter in self.meters.items():
                copies = torchmetrics.setdefault(
                    name, meter.fresh_torchmetrics(answers[name].device)
                )
                meter.update_torchmetrics(copies, answers[name], targets[name])


class MeasuredBatches:
    """The batches of a split as they are measured, one after another.

    Args:
        evaluator: Measures each batch.

    Attributes:
        sums: What adds up, over all batches so far; empty before the first one.
        torchmetrics: The user's torchmetrics by task and name, updated with all batches.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> tasks = [Task("depth", metrics=("mae",))]
        >>> batches = MeasuredBatches(Evaluator(tasks, Standard(tasks)))
        >>> for target in (1.0, 4.0):
        ...     batches.add({"depth": torch.zeros(1, 1)}, {"depth": torch.tensor([[target]])})
        >>> {name: value.item() for (_, name), value in batches.compute().items()}
        {'loss': 8.5, 'mae': 2.5}
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.sums: Measurements = {}
        self.torchmetrics: dict[str, dict[str, Any]] = {}
        self._rows: dict[MeasurementKey, list[Tensor]] = {}
        self._term_batches: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []

    def add(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        term_sums: Measurements | None = None,
    ) -> None:
        """Measure one more batch.

        Args:
            outputs: The outputs of all tasks.
            targets: The targets of all tasks, in training units.
            term_sums: What :meth:`Evaluator.measure_model_terms` returned.
        """
        sums, rows = self.evaluator.measure_batch(outputs, targets, term_sums)
        self.sums = (
            {key: self.sums[key] + value for key, value in sums.items()} if self.sums else sums
        )
        for key, value in rows.items():
            self._rows.setdefault(key, []).append(value)
        if self.evaluator.terms:
            self._term_batches.append((outputs, targets))
        self.evaluator.update_torchmetrics(self.torchmetrics, outputs, targets)

    def rows(self) -> Measurements:
        """Return what does not add up: the rows of all batches, concatenated."""
        return {key: torch.cat(parts) for key, parts in self._rows.items()}

    def terms(self) -> Measurements:
        """Return losses and metrics of the loss terms, on all rows."""
        return self.evaluator.measure_terms(*_concatenate(self._term_batches))

    def compute(self) -> Measurements:
        """Return losses, metrics and noise of all batches as scalar tensors, task by task."""
        return self.evaluator.compute(self.sums, self.rows() | self.terms(), self.torchmetrics)


def evaluate(
    forward: ForwardPass,
    tasks: Sequence[Task],
    split: AnySplit,
    trivial_losses: Sequence[float | None],
    batch_rows: int,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Evaluate a model on a split.

    Everything is computed on the device, and comes off it in one piece.

    Args:
        forward: The forward pass of the model.
        tasks: The tasks.
        split: The split.
        trivial_losses: The trivial predictor's loss of each task on this split; None where there is
            none.
        batch_rows: Rows that go through the model at once.
        ranks: The processes that share the rows out among them; None: this one alone.
    """
    evaluator = Evaluator(tasks, forward.likelihood)
    measurements = evaluator.evaluate(forward, split, batch_rows, ranks)
    numbers = torch.stack([value.double() for value in measurements.values()])
    if ranks is not None:
        # What is decided by them (patience, schedules) is decided alike.
        numbers = ranks.from_first(numbers)
    return make_evaluation(list(measurements), numbers.tolist(), trivial_losses)


def sharing_ranks(tasks: Sequence[Task], ranks: Ranks | None) -> Ranks | None:
    """Return the processes if they can share an evaluation out among them, else None.

    Loss terms and torchmetrics are no sums: every process measures them on all rows.

    Args:
        tasks: The tasks.
        ranks: The processes that train together; None: this one alone.
    """
    adds_up = metrics_can_be_vmapped(tasks) and all(task.loss_term is None for task in tasks)
    return ranks if adds_up else None


def open_for_evaluation(
    split: AnySplit, tasks: Sequence[Task], rows: int, ranks: Ranks | None
) -> None:
    """Start the workers that will read a split for :func:`evaluate`, if it has any.

    Args:
        split: The split.
        tasks: The tasks.
        rows: Rows that go through the model at once.
        ranks: The processes that train together; None: this one alone.
    """
    if isinstance(split, LoadedSplit):
        sharing = sharing_ranks(tasks, ranks)
        part = WHOLE if sharing is None else sharing.part
        split.open(rows * part.count, part)


def batches_of_part(split: AnySplit, rows: int, part: Part) -> Iterator[Split]:
    """Yield the rows of a split that one of several processes measures.

    Args:
        split: The split.
        rows: Rows that go through the model at once.
        part: The part of the rows.
    """
    if isinstance(split, LoadedSplit):
        yield from split.batches(rows * part.count, part)
    elif part.is_all:
        yield from split.batches(rows)
    else:
        for batch in split.batches(rows * part.count):
            batch_part = batch.rows(part.slice_of(len(batch)))
            if len(batch_part):
                yield batch_part


def make_evaluation(
    keys: Sequence[MeasurementKey],
    numbers: Sequence[float],
    trivial_losses: Sequence[float | None],
) -> Evaluation:
    """Return an evaluation made of measured numbers.

    Args:
        keys: Task and name of each number.
        numbers: The numbers, in the same order.
        trivial_losses: The trivial predictor's loss of each task, in the order of the tasks; None
            where there is none.

    Example:
        >>> keys = [("depth", "loss"), ("depth", "nll")]
        >>> make_evaluation(keys, numbers=[2.0, 1.5], trivial_losses=[4.0]).values
        {'depth': {'loss': 2.0, 'relative_loss': 0.5}}
    """
    values: dict[str, dict[str, float]] = {name: {} for name, _ in keys}
    noise: dict[str, dict[str, float]] = {name: {} for name, _ in keys}
    for (task, name), number in zip(keys, numbers, strict=True):
        (noise if name in NOISE_COLUMNS else values)[task][name] = number
    for row, trivial_loss in zip(values.values(), trivial_losses, strict=True):
        if trivial_loss is not None:
            row["relative_loss"] = row["loss"] / trivial_loss
    return Evaluation(values, noise)


def sigma_statistics(
    forward: ForwardPass, split: AnySplit, batch_rows: int
) -> dict[str, dict[str, float]]:
    """Return mean and quantiles of the predicted sigma over a split.

    Args:
        forward: The forward pass of the model.
        split: The split.
        batch_rows: Rows that go through the model at once.

    Returns:
        ``sigma`` and its quantiles per task, in units of the original target; empty for a task
        whose sigma is not predicted.
    """
    likelihood = forward.likelihood
    parts: dict[str, list[Tensor]] = {task.name: [] for task in likelihood.tasks}
    with forward.evaluating():
        for batch in split.batches(batch_rows):
            outputs = forward.outputs(batch.inputs)
            for task in likelihood.tasks:
                sigma = likelihood.predicted_sigma(task, outputs)
                if sigma is not None:
                    parts[task.name].append(sigma.flatten())
    measurements = {
        name: _sigma_measurements(name, torch.cat(values))
        for name, values in parts.items()
        if values
    }
    return {
        name: {column: float(value) for (_, column), value in measurements.get(name, {}).items()}
        for name in parts
    }


def _sigma_measurements(name: str, sigma: Tensor) -> Measurements:
    """Return mean and quantiles of a task's predicted sigma ``[n]``."""
    entries = sigma[:MAX_QUANTILE_ENTRIES]
    return {
        (name, "sigma"): sigma.mean(),
        **{(name, column): entries.quantile(level) for column, level in QUANTILES.items()},
    }


def _concatenate(
    batches: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return outputs and targets of all batches; those of a single batch as they are.

    Outputs without rows, such as a point, always come as a single batch.
    """
    if len(batches) < 2:
        return (dict(batches[0][0]), dict(batches[0][1])) if batches else ({}, {})
    outputs, targets = (
        {name: torch.cat([batch[i][name] for batch in batches]) for name in batches[0][i]}
        for i in (0, 1)
    )
    return outputs, targets
