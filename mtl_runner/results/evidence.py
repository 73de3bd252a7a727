"""What the runs of a sweep or study say about its strategies: values per seed, failures, cost. Every verdict is drawn from this alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtl_runner.results.read import Run
from mtl_runner.results.roles import RunRole, jobs
from mtl_runner.results.strategies import Label
from mtl_runner.results.task_metrics import TaskMetrics

Values = dict[str, dict[str, float]]  # {task: {metric: value}}


@dataclass(frozen=True)
class StrategyEvidence:
    """One strategy on one data set. A replicate is a seed (and fold): ``"seed=3"``."""

    name: str
    role: str  # single_task | equal | fixed | strategy | twin
    of: str  # the strategy that a twin belongs to, else empty
    values: dict[
        str, Values
    ]  # {replicate: {task: {metric: value}}} of the usable runs, at `Evidence.at` and on `Evidence.split`
    relative_loss: dict[
        str, float
    ]  # {replicate: mean over tasks of the loss over the trivial predictor's}, where known
    monitor: dict[
        str, float
    ]  # {replicate: trainer.monitor}, on validation: what a choice between strategies may look at
    best_monitor: dict[
        str, float
    ]  # {replicate: the same at the run's best epoch}, whatever `Evidence.at` is
    validation: dict[
        str, dict[str, float]
    ]  # {replicate: {task: loss on validation}}: the same, per task
    failures: dict[
        str, str
    ]  # {replicate: reason} of runs that failed or ended without a number for a task
    unfinished: tuple[
        str, ...
    ]  # replicates that were killed or are still running: no evidence of anything
    seconds: dict[str, float]  # {replicate: training time}
    backward_passes: float | None  # per step; None where summary.json does not tell
    tuning: dict[
        float, float
    ]  # {learning rate: best monitor of the tuning runs with it, over the other knob}
    grid: tuple[
        float, ...
    ] = ()  # the learning rates of a study's first phase, before it refines and widens
    trials: int = 0  # of a strategy that a study gave up, as no tuning run ended with a number: how many there were, else 0

    def mean_monitor(self) -> float:
        """Mean of the monitor over the replicates, lower is better; infinite without one."""
        known = [value for value in self.monitor.values() if math.isfinite(value)]
        return sum(known) / len(known) if known else math.inf

    def mean_validation(self, task: str) -> float:
        """Mean validation loss of a task; infinite without one."""
        known = [
            losses[task]
            for losses in self.validation.values()
            if math.isfinite(losses.get(task, math.nan))
        ]
        return sum(known) / len(known) if known else math.inf

    def mean_values(self) -> Values:
        """Mean over the replicates of every metric; what is not finite is left out."""
        pooled: dict[str, dict[str, list[float]]] = {}
        for tasks in self.values.values():
            for task, metrics in tasks.items():
                for metric, value in metrics.items():
                    if math.isfinite(value):
                        pooled.setdefault(task, {}).setdefault(metric, []).append(value)
        return {
            task: {m: sum(v) / len(v) for m, v in metrics.items()}
            for task, metrics in pooled.items()
        }


@dataclass(frozen=True)
class DatasetEvidence:
    """All strategies on one data set, with its tasks and what each is measured by."""

    name: str
    tasks: dict[str, TaskMetrics]
    strategies: tuple[StrategyEvidence, ...]
    margin: float | None = None  # that of the study that made the runs, where it says one

    @cached_property
    def has_relative_loss(self) -> bool:
        """Whether all runs have a positive mean relative loss, so that strategies can be judged by it."""
        shared = [s for s in self.strategies if s.role != "single_task"]
        return all(s.relative_loss.get(r, 0.0) > 0 for s in shared for r in s.values)

    def main(self, task: str) -> str:
        """The task's main metric."""
        return self.tasks[task].main

    def of_role(self, *roles: str) -> list[StrategyEvidence]:
        return [s for s in self.strategies if s.role in roles]

    @cached_property
    def equal(self) -> StrategyEvidence | None:
        """The tuned equal-weight baseline: of several, the best one by the monitor (on validation)."""
        return min(
            (s for s in self.of_role("equal") if s.values),
            key=StrategyEvidence.mean_monitor,
            default=None,
        )

    @cached_property
    def best_fixed(self) -> StrategyEvidence | None:
        """The best fixed weights by the monitor, equal ones included; None without a fixed-weight sweep.

        They are chosen among runs that are evidence too, which flatters them: the burden of proof is on the methods.
        """
        if not any(s.values for s in self.of_role("fixed")):
            return None
        return min(
            (s for s in self.of_role("fixed", "equal") if s.values),
            key=StrategyEvidence.mean_monitor,
        )

    def twin(self, strategy: str) -> StrategyEvidence | None:
        """The strategy's frozen twin: fixed weights at its own average."""
        return next((s for s in self.of_role("twin") if s.of == strategy and s.values), None)

    @cached_property
    def single_task(self) -> Values | None:
        """The tuned single-task runs' mean metrics, of every task from its own best runs; None unless all tasks have some."""
        found: Values = {}
        for task in self.tasks:
            candidates = [
                s
                for s in self.of_role("single_task")
                if any(task in values for values in s.values.values())
            ]
            if not candidates:
                return None
            found[task] = (
                min(candidates, key=lambda s: s.mean_validation(task)).mean_values().get(task, {})
            )
        return found


@dataclass(frozen=True)
class Evidence:
    """The evidence of all data sets, at the ``final`` or ``best`` epoch, on the ``val`` or ``test`` split."""

    at: str
    split: str
    sets: tuple[DatasetEvidence, ...]


def gather(
    runs: Sequence[Run],
    labels: Sequence[Label],
    study: Mapping[str, Any] | None,
    at: str = "final",
    split: str | None = None,
) -> Evidence:
    """Sort runs into evidence.

    Args:
        runs, labels: as ``find_runs`` and ``label`` give them.
        study: what ``study.json`` holds (``read_study``), or None: then every run counts and its role is inferred.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor).
        split: ``val`` or ``test``; by default ``test`` for a study, where only the final runs' results on it are used and nothing is
            chosen by them, and ``val`` for a sweep, which is looked at again and again while one chooses.
    """
    split = split or ("test" if study else "val")
    found = jobs(runs, labels, study)
    sets = []
    for data in dict.fromkeys(job.data for job in found):
        mine = [job for job in found if job.data == data]
        evidence = [job for job in mine if job.final]
        # What a failed run would have had is read off the others; single-task runs may hold one task each.
        tasks = {
            task: TaskMetrics.of(row)
            for job in evidence or mine
            for task, row in job.run.summary.get("tasks", {}).items()
        }
        names = dict.fromkeys(job.strategy for job in evidence)
        strategies = [
            _strategy([job for job in mine if job.strategy == name], tasks, at, split)
            for name in names
        ]
        if strategies:
            given_up = [
                [job for job in mine if job.strategy == name]
                for name in dict.fromkeys(j.strategy for j in mine)
            ]
            strategies += [
                _given_up(trials)
                for trials in given_up
                if not any(job.final or _ended(job) for job in trials)
            ]
            sets.append(DatasetEvidence(data, tasks, tuple(strategies), _margin(mine, study)))
    return Evidence(at, split, tuple(sets))


def _margin(mine: Sequence[RunRole], study: Mapping[str, Any] | None) -> float | None:
    studies = (study or {}).get("studies", {})
    margins = [
        studies[folder]["margin"]
        for folder in dict.fromkeys(job.study for job in mine if job.study)
    ]
    return min((margin for margin in margins if margin is not None), default=None)


def _ended(job: RunRole) -> bool:
    """Whether a tuning run ended with a number to choose by."""
    return job.run.finished and math.isfinite(
        _number(job.run.summary.get("monitor", {}).get("final"))
    )


def _given_up(trials: Sequence[RunRole]) -> StrategyEvidence:
    """A strategy of a study that has final runs of others, but of this one only tuning runs, and none that ended with a number."""
    first = trials[0]
    failures = {
        job.run.directory.name: job.run.reason
        or ("no number to choose by" if job.run.finished else "failed")
        for job in trials
        if job.run.finished or job.run.status == "failed"
    }
    return StrategyEvidence(
        name=first.strategy,
        role=first.role,
        of=first.of,
        values={},
        relative_loss={},
        monitor={},
        best_monitor={},
        validation={},
        failures=failures,
        unfinished=tuple(
            job.run.directory.name for job in trials if job.run.directory.name not in failures
        ),
        seconds={},
        backward_passes=None,
        tuning={},
        trials=len(trials),
    )


def _strategy(
    mine: Sequence[RunRole], tasks: Mapping[str, TaskMetrics], at: str, split: str
) -> StrategyEvidence:
    # The same strategy with the same seed and fold is the same run again, not one more sample: the last one counts.
    final = {job.replicate: job for job in mine if job.final}
    first = next(iter(final.values()))
    values, failures, unfinished = {}, {}, []
    for replicate, job in final.items():
        if job.run.status == "failed":
            failures[replicate] = job.run.reason or "failed"
        elif not job.run.finished:
            unfinished.append(replicate)
        else:
            found = _values(job.run, at, split)
            wanted = [task for task in tasks if task in found or job.role != "single_task"]
            lost = [
                task
                for task in wanted
                if not math.isfinite(found.get(task, {}).get(tasks[task].main, math.nan))
            ]
            if lost or not found:
                failures[replicate] = (
                    f"no {split} value of {', '.join(lost)}" if lost else "no task"
                )
            else:
                values[replicate] = found
    summaries = {replicate: final[replicate].run.summary for replicate in values}
    passes = [
        s["time"]["backward_passes"]
        for s in summaries.values()
        if s.get("time", {}).get("backward_passes") is not None
    ]
    return StrategyEvidence(
        name=first.strategy,
        role=first.role,
        of=first.of,
        values=values,
        relative_loss=_relative_losses(values),
        monitor={
            replicate: _number(s.get("monitor", {}).get(at)) for replicate, s in summaries.items()
        },
        best_monitor={
            replicate: _number(s.get("monitor", {}).get("best"))
            for replicate, s in summaries.items()
        },
        validation={r: _validation(final[r].run, at) for r in values},
        failures=failures,
        unfinished=tuple(unfinished),
        seconds={
            r: float(s["time"]["seconds"])
            for r, s in summaries.items()
            if s.get("time", {}).get("seconds") is not None
        },
        backward_passes=sum(passes) / len(passes) if passes else None,
        tuning=_tuning([job for job in mine if not job.final]),
        grid=tuple(
            sorted({job.rate for job in mine if job.phase == 1 and math.isfinite(job.rate)})
        ),
    )


def _values(run: Run, at: str, split: str) -> Values:
    rows = run.summary.get("tasks", {})
    return {
        task: {m: _number(v) for m, v in row.get(at, {}).get(split, {}).items()}
        for task, row in rows.items()
    }


def _validation(run: Run, at: str) -> dict[str, float]:
    return {
        task: metrics.get("loss", math.nan) for task, metrics in _values(run, at, "val").items()
    }


def _relative_losses(values: Mapping[str, Values]) -> dict[str, float]:
    found = {}
    for replicate, tasks in values.items():
        losses = [metrics.get("relative_loss", math.nan) for metrics in tasks.values()]
        if all(map(math.isfinite, losses)):
            found[replicate] = sum(losses) / len(losses)
    return found


def _tuning(mine: Sequence[RunRole]) -> dict[float, float]:
    """Of the runs that chose the settings: the best monitor per learning rate. Its best epoch's, whatever epoch is judged."""
    trials: dict[tuple[float, str], list[float]] = {}
    for job in mine:
        value = (
            _number(job.run.summary.get("monitor", {}).get("best"))
            if job.run.finished
            else math.nan
        )
        if math.isfinite(job.rate) and math.isfinite(value):
            trials.setdefault((job.rate, job.trial), []).append(value)
    curve: dict[float, float] = {}
    for (rate, _), found in sorted(trials.items()):
        curve[rate] = min(curve.get(rate, math.inf), sum(found) / len(found))
    return curve


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
