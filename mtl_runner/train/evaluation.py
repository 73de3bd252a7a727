"""Evaluation of a split: standard losses, metrics in original units, and the one number that judges a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.likelihood import Likelihood
from mtl_runner.results.metric_names import higher_is_better
from mtl_runner.tasks.task import Task

QUANTILES = {"sigma_q05": 0.05, "sigma_q50": 0.5, "sigma_q95": 0.95}
NOISE = ("nll", "sigma", *QUANTILES)  # what is known of the noise: no metric to choose a model by
QUANTILE_ENTRIES = 2**24  # the most that torch.quantile takes


@dataclass(frozen=True)
class Evaluation:
    """What one split says about a model: per task ``loss``, ``relative_loss`` (to the trivial predictor) and its metrics.

    ``noise``: per task ``nll`` and what is known of a predicted sigma, where the likelihood has a noise scale.
    """

    values: dict[str, dict[str, float]]
    noise: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def relative_loss(self) -> float:
        """Mean over tasks of loss over the trivial predictor's; over all losses if no task has such a predictor."""
        relative = [row["relative_loss"] for row in self.values.values() if "relative_loss" in row]
        values = relative or [row["loss"] for row in self.values.values()]
        return sum(values) / len(values)


@torch.no_grad()
def predict(model: nn.Module, split: Split, rows: int) -> dict[str, Tensor]:
    """Outputs for all rows, in eval mode, ``rows`` at a time."""
    training = model.training
    model.eval()
    parts = [model(batch.inputs) for batch in split.batches(rows)]
    model.train(training)
    return {name: torch.cat([part[name] for part in parts]) if len(parts) > 1 else parts[0][name] for name in parts[0]}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    tasks: Sequence[Task],
    split: Split,
    trivial: Sequence[float | None],
    rows: int,
    likelihood: Likelihood | None = None,
) -> Evaluation:
    """Evaluate a split; everything is computed on the device and comes off it in one piece."""
    adds_up = all(task.measure is not None and task.loss_term is None for task in tasks)
    if adds_up and (likelihood is None or not likelihood.has_noise):
        found = _measured_in_parts(model, tasks, split, rows)
    else:
        found = measurements(predict(model, split, rows), split.targets, tasks, likelihood)
    return as_evaluation(list(found), torch.stack([value.double() for value in found.values()]).tolist(), trivial)


def measurements(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], tasks: Sequence[Task], likelihood: Likelihood | None = None
) -> dict[tuple[str, str], Tensor]:
    """Everything an evaluation measures, as scalar tensors by task and name, without waiting for the device."""
    answers = likelihood.answers(outputs) if likelihood is not None else outputs
    found: dict[tuple[str, str], Tensor] = {}
    for task in tasks:
        found[task.name, "loss"] = task.loss(answers, targets)
        metrics = task.metrics(answers[task.name], targets[task.name]) if task.has_target else {}
        metrics |= task.term_metrics(answers, targets)
        found |= {(task.name, name): value for name, value in metrics.items()}
    if likelihood is not None and likelihood.has_noise:
        nlls = likelihood.negative_log_likelihoods(outputs, targets)
        found |= {(task.name, "nll"): nll for task, nll in zip(tasks, nlls.unbind(), strict=True)}
        found |= _predicted_sigmas(likelihood, outputs)
    return found


def _measured_in_parts(model: nn.Module, tasks: Sequence[Task], split: Split, rows: int) -> dict[tuple[str, str], Tensor]:
    """:func:`measurements` of images, of which never more than ``rows`` are looked at together."""
    losses: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    masses: dict[str, Tensor] = {}
    training = model.training
    model.eval()
    for batch in split.batches(rows):
        outputs = model(batch.inputs)
        for task in tasks:
            assert task.measure is not None
            mass = task.mass(batch.targets[task.name])
            found = task.measure.parts(outputs[task.name], batch.targets[task.name], task)
            losses[task.name] = losses.get(task.name, 0.0) + task.loss(outputs, batch.targets).double() * mass
            masses[task.name] = masses.get(task.name, 0.0) + mass
            parts[task.name] = parts.get(task.name, 0.0) + found
    model.train(training)
    measured: dict[tuple[str, str], Tensor] = {}
    for task in tasks:
        assert task.measure is not None
        measured[task.name, "loss"] = losses[task.name] / torch.where(masses[task.name] > 0, masses[task.name], 1.0)
        metrics = task.measure.finish(parts[task.name], task)
        measured |= {(task.name, name): value for name, value in metrics.items()}
    return measured


def as_evaluation(keys: Sequence[tuple[str, str]], numbers: Sequence[float], trivial: Sequence[float | None]) -> Evaluation:
    """An evaluation from measured numbers, with the losses relative to the trivial predictor's (one per task, in order)."""
    values: dict[str, dict[str, float]] = {name: {} for name, _ in keys}
    noise: dict[str, dict[str, float]] = {name: {} for name, _ in keys}
    for (task, name), number in zip(keys, numbers, strict=True):
        (noise if name in NOISE else values)[task][name] = number
    for row, baseline in zip(values.values(), trivial, strict=True):
        if baseline is not None:
            row["relative_loss"] = row["loss"] / baseline
    return Evaluation(values, noise)


@torch.no_grad()
def sigma_statistics(model: nn.Module, likelihood: Likelihood, split: Split, rows: int) -> dict[str, dict[str, float]]:
    """Mean and quantiles of the predicted sigma over a split, per task."""
    found = _predicted_sigmas(likelihood, predict(model, split, rows))
    statistics: dict[str, dict[str, float]] = {task.name: {} for task in likelihood.tasks}
    for (task, name), value in found.items():
        statistics[task][name] = float(value)
    return statistics


def _predicted_sigmas(likelihood: Likelihood, outputs: dict[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    found: dict[tuple[str, str], Tensor] = {}
    for task in likelihood.tasks:
        sigma = likelihood.predicted_sigma(task, outputs)
        if sigma is not None:
            found[task.name, "sigma"] = sigma.mean()
            entries = sigma.flatten()[:QUANTILE_ENTRIES]
            found |= {(task.name, name): entries.quantile(level) for name, level in QUANTILES.items()}
    return found


@dataclass(frozen=True)
class Monitor:
    """``trainer.monitor``: what judges a run, as a number of which less is better."""

    task: str | None
    column: str

    @classmethod
    def parse(cls, text: str, tasks: Sequence[Task]) -> Monitor:
        """``relative_loss``, or ``task.metric``. Raises ``ConfigError`` with what is allowed."""
        if text == "relative_loss":
            return cls(None, text)
        for task in tasks:
            column = text.removeprefix(f"{task.name}.")
            if column != text and column in ("loss", "relative_loss", *task.metric_names):
                return cls(task.name, column)
        allowed = ["relative_loss", *(f"{t.name}.{column}" for t in tasks for column in ("loss", *t.metric_names))]
        raise ConfigError(f"trainer.monitor={text!r} is unknown; {suggest(text, allowed)}.")

    def value(self, evaluation: Evaluation, task: str | None = None) -> float:
        """The number; ``task`` asks for that task's share of ``relative_loss`` (models that share nothing)."""
        if self.task is None:
            row = evaluation.values[task] if task else None
            number = evaluation.relative_loss if row is None else row.get("relative_loss", row["loss"])
        elif task and task != self.task:  # a copy of another task, which this metric says nothing of
            return Monitor(None, "relative_loss").value(evaluation, task)
        else:
            number = evaluation.values[self.task][self.column]
        number = -number if higher_is_better(self.column) else number
        return math.inf if math.isnan(number) else number
