"""Evaluation of a split: standard losses, metrics in original units, and the one number that judges a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.meter import TaskMeter, can_vmap_metrics
from mtl_runner.tasks.task import Task

QUANTILES = {"sigma_q05": 0.05, "sigma_q50": 0.5, "sigma_q95": 0.95}
NOISE = ("nll", "sigma", *QUANTILES)  # what is known of the noise: no metric to choose a model by
QUANTILE_ENTRIES = 2**24  # the most that torch.quantile takes

Key = tuple[str, str]  # a task's name, and what is measured of it
Measured = dict[Key, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What one split says about a model.

    Attributes:
        values: Per task ``loss``, ``relative_loss`` (to the trivial predictor) and its metrics.
        noise: Per task ``nll`` and what is known of a predicted sigma, where the likelihood has a noise scale.
    """

    values: dict[str, dict[str, float]]
    noise: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def relative_loss(self) -> float:
        """Mean over tasks of loss over the trivial predictor's; over all losses if no task has such a predictor."""
        relative = [row["relative_loss"] for row in self.values.values() if "relative_loss" in row]
        values = relative or [row["loss"] for row in self.values.values()]
        return sum(values) / len(values)


class Evaluator:
    """Measures a split batch by batch; nothing waits for the device before the end.

    What adds up is added up, rows of metrics that are no sums are put one after another. A loss term may be any function of all
    rows, so its outputs are kept and it is computed once, of all of them.

    Args:
        tasks: The tasks.
        likelihood: Whose answers are judged, and whose exact likelihood and predicted noise are measured.
    """

    def __init__(self, tasks: Sequence[Task], likelihood: Likelihood) -> None:
        self.tasks, self.likelihood = list(tasks), likelihood
        self.meters = {task.name: TaskMeter(task) for task in tasks if task.has_target}
        self.terms = [task for task in tasks if task.loss_term is not None]
        self.together = can_vmap_metrics(tasks)

    def evaluate(self, forward: ForwardPass, split: Split, rows: int) -> Measured:
        """Everything that is measured, as scalar tensors, from ``rows`` rows at a time."""
        sums: Measured = {}
        parts: dict[Key, list[Tensor]] = {}
        kept: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []
        torchmetrics: dict[str, dict[str, Any]] = {}
        with forward.evaluating():
            for batch in split.batches(rows):
                outputs = forward.outputs(batch.inputs)
                of_batch, of_rows = self.of_batch(outputs, batch.targets)
                sums = (
                    {key: sums[key] + value for key, value in of_batch.items()}
                    if sums
                    else of_batch
                )
                for key, value in of_rows.items():
                    parts.setdefault(key, []).append(value)
                if self.terms:
                    kept.append((outputs, batch.targets))
                self._update_torchmetrics(torchmetrics, outputs, batch.targets)
            whole = {key: torch.cat(values) for key, values in parts.items()}
            return self.numbers(sums, whole | self.of_terms(*_together(kept)), torchmetrics)

    def of_batch(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
    ) -> tuple[Measured, Measured]:
        """Sums and rows of a batch, in pure tensor code."""
        answers = self.likelihood.answers(outputs)
        sums: Measured = {}
        rows: Measured = {}
        for task in self.tasks:
            if task.loss_term is None:
                mass = task.mass(targets[task.name])
                sums[task.name, "loss"] = torch.stack(
                    [task.loss(answers, targets).double() * mass, mass]
                )
            if task.has_target:
                of_task, of_rows = self.meters[task.name].of_batch(
                    answers[task.name], targets[task.name]
                )
                sums |= {(task.name, key): value for key, value in of_task.items()}
                rows |= {(task.name, key): value for key, value in of_rows.items()}
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

    def of_terms(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Measured:
        """Losses, likelihoods and metrics of the loss terms, from the outputs of a whole split."""
        found: Measured = {}
        if self.terms:
            answers = self.likelihood.answers(outputs)
            for task in self.terms:
                found[task.name, "loss"] = task.loss(answers, targets)
                found |= {
                    (task.name, name): metric(answers, targets)
                    for name, metric in task.term_metrics.items()
                }
        return found

    def numbers(
        self,
        sums: Measured,
        whole: Measured,
        torchmetrics: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Measured:
        """The numbers from the sums of all batches, and from rows and terms of a whole split, in the order of the records."""
        found: Measured = {}
        for task in self.tasks:
            loss = sums.get((task.name, "loss"))
            found[task.name, "loss"] = (
                whole[task.name, "loss"]
                if loss is None
                else loss[0] / torch.where(loss[1] > 0, loss[1], 1.0)
            )
            if task.has_target:
                meter = self.meters[task.name]
                of_task, rows = (
                    {k: v for (name, k), v in part.items() if name == task.name}
                    for part in (sums, whole)
                )
                metrics = meter.numbers(of_task, rows, (torchmetrics or {}).get(task.name, {}))
                found |= {(task.name, name): value for name, value in metrics.items()}
            found |= {(task.name, name): whole[task.name, name] for name in task.term_metrics}
        if self.likelihood.has_noise:
            for task in self.tasks:
                nll = sums.get((task.name, "nll"))
                found[task.name, "nll"] = (
                    found[task.name, "loss"] if nll is None else self.likelihood.nll_of_sums(nll)
                )
            for task in self.tasks:
                if (task.name, "sigma") in whole:
                    found |= _sigma_numbers(task.name, whole[task.name, "sigma"])
        return found

    def _update_torchmetrics(
        self,
        torchmetrics: dict[str, dict[str, Any]],
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> None:
        """Show the user's torchmetrics a batch."""
        if not self.together:
            answers = self.likelihood.answers(outputs)
            for name, meter in self.meters.items():
                copies = torchmetrics.setdefault(name, meter.begin(answers[name].device))
                meter.update_torchmetrics(copies, answers[name], targets[name])


def evaluate(
    forward: ForwardPass,
    tasks: Sequence[Task],
    split: Split,
    trivial: Sequence[float | None],
    rows: int,
) -> Evaluation:
    """Evaluate a split; everything is computed on the device and comes off it in one piece."""
    found = Evaluator(tasks, forward.likelihood).evaluate(forward, split, rows)
    return as_evaluation(
        list(found), torch.stack([value.double() for value in found.values()]).tolist(), trivial
    )


def as_evaluation(
    keys: Sequence[Key], numbers: Sequence[float], trivial: Sequence[float | None]
) -> Evaluation:
    """An evaluation from measured numbers, with the losses relative to the trivial predictor's (one per task, in order)."""
    values: dict[str, dict[str, float]] = {name: {} for name, _ in keys}
    noise: dict[str, dict[str, float]] = {name: {} for name, _ in keys}
    for (task, name), number in zip(keys, numbers, strict=True):
        (noise if name in NOISE else values)[task][name] = number
    for row, baseline in zip(values.values(), trivial, strict=True):
        if baseline is not None:
            row["relative_loss"] = row["loss"] / baseline
    return Evaluation(values, noise)


def sigma_statistics(forward: ForwardPass, split: Split, rows: int) -> dict[str, dict[str, float]]:
    """Mean and quantiles of the predicted sigma over a split, per task."""
    likelihood = forward.likelihood
    parts: dict[str, list[Tensor]] = {task.name: [] for task in likelihood.tasks}
    with forward.evaluating():
        for batch in split.batches(rows):
            outputs = forward.outputs(batch.inputs)
            for task in likelihood.tasks:
                sigma = likelihood.predicted_sigma(task, outputs)
                if sigma is not None:
                    parts[task.name].append(sigma.flatten())
    found = {
        name: _sigma_numbers(name, torch.cat(values)) for name, values in parts.items() if values
    }
    return {
        name: {column: float(v) for (_, column), v in found.get(name, {}).items()} for name in parts
    }


def _sigma_numbers(name: str, sigma: Tensor) -> Measured:
    entries = sigma[:QUANTILE_ENTRIES]
    return {
        (name, "sigma"): sigma.mean(),
        **{(name, q): entries.quantile(level) for q, level in QUANTILES.items()},
    }


def _together(
    parts: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and targets of all batches; where there is one batch, as they are (a point has no rows)."""
    if len(parts) < 2:
        return (dict(parts[0][0]), dict(parts[0][1])) if parts else ({}, {})
    outputs, targets = (
        {name: torch.cat([part[i][name] for part in parts]) for name in parts[0][i]} for i in (0, 1)
    )
    return outputs, targets


@dataclass(frozen=True)
class Monitor:
    """``trainer.monitor``: what judges a run, as a number of which less is better.

    Attributes:
        task: Whose column it is; None for the mean over all tasks.
        column: ``relative_loss``, ``loss`` or a metric.
        higher_is_better: Its direction.
    """

    task: str | None
    column: str
    higher_is_better: bool = False

    @classmethod
    def parse(cls, text: str, tasks: Sequence[Task]) -> Monitor:
        """``relative_loss``, or ``task.metric``. Raises ``ConfigError`` with what is allowed."""
        if text == "relative_loss":
            return cls(None, text)
        for task in tasks:
            column = text.removeprefix(f"{task.name}.")
            if column != text and column in task.directions:
                direction = task.directions[column]
                if direction is None:
                    raise ConfigError(
                        f"trainer.monitor={text!r}: nobody says whether a higher {column} is better; set the attribute "
                        f"`higher_is_better` of the callable that measures it to True or False."
                    )
                return cls(task.name, column, direction)
        columns = {
            task.name: [c for c in ("loss", *task.metric_names) if task.directions[c] is not None]
            for task in tasks
        }
        allowed = [
            "relative_loss",
            *(f"{name}.{column}" for name, found in columns.items() for column in found),
        ]
        raise ConfigError(f"trainer.monitor={text!r} is unknown; {suggest(text, allowed)}.")

    def value(self, evaluation: Evaluation, task: str | None = None) -> float:
        """The number; ``task`` asks for that task's share of ``relative_loss`` (models that share nothing)."""
        if self.task is None:
            row = evaluation.values[task] if task else None
            number = (
                evaluation.relative_loss if row is None else row.get("relative_loss", row["loss"])
            )
        elif (
            task and task != self.task
        ):  # a copy of another task, which this metric says nothing of
            return Monitor(None, "relative_loss").value(evaluation, task)
        else:
            number = evaluation.values[self.task][self.column]
        number = -number if self.higher_is_better else number
        return math.inf if math.isnan(number) else number
