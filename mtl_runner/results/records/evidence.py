"""The numbers of a data set's runs at one epoch on one split; every statistic rests on these."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mtl_runner.errors.option_keys import COMPUTATION, is_among
from mtl_runner.results.records.dataset import DatasetRuns, Records, Strategy
from mtl_runner.results.records.run import Run
from mtl_runner.results.records.summary import Metrics
from mtl_runner.results.records.task_metrics import TaskMetrics

Values = Mapping[str, Metrics]  # {task: {metric: value}}

FINISHED = 0.8  # the share of its runs that a reference must have finished
# Options of a run that are no setting beside the strategy: the strategy, the data, the replicate,
# and how it is computed and recorded.
_NO_SETTING = re.compile(
    r"^(weighting|update|schedule|likelihood|hydra)(\W|$)|^data(?!\.batch_size$)(\.|$)"
    r"|^debug$|(^|\.)(seed|fold)$"
)


@dataclass(frozen=True)
class StrategyEvidence:
    """The numbers of one strategy. A replicate is a seed (and fold): ``"seed=3"``.

    Attributes:
        name: The strategy, with its settings that vary.
        role: ``single_task``, ``equal``, ``fixed``, ``strategy`` or ``twin``.
        twin_of: The strategy that a twin belongs to, else empty.
        values: ``{replicate: {task: {metric: value}}}`` of the usable runs.
        recorded: The same of all finished runs, those included that lack a number for a task.
        relative_loss: ``{replicate: mean over tasks of the relative loss}``, where known.
        monitor: ``{replicate: trainer.monitor}`` on validation, for choices between strategies.
        best_monitor: The same at each run's best epoch, whichever epoch is judged.
        validation: ``{replicate: {task: loss on validation}}``.
        failures: ``{replicate: reason}`` of runs that failed or have no number for a task.
        refused: ``{replicate: reason}`` of runs whose options do not fit the problem: no evidence.
        unfinished: Replicates that were killed or still run: no evidence of anything.
        seconds: ``{replicate: training time}``.
        backward_passes: Backward passes per step; NaN where they are not recorded.
        tuning: ``{learning rate: best monitor of the trials with it, over the other settings}``.
        tuned: The monitor of the best trial of a study's tuning, averaged over its seeds, at the
            epoch that is judged; infinite without one.
        grid: The learning rates of a study's first phase, before it refines and widens.
        trials: The number of trials of a strategy that a study gave up, because none ended with a
            number; else 0.
        is_optimizer: Whether it gives every task an optimizer of its own (``update=per_task``).
        settings: The settings beside the strategy, as the learning rate; of a study, which tunes
            them for every strategy, its folder.
    """

    name: str
    role: str
    twin_of: str = ""
    values: Mapping[str, Values] = field(default_factory=dict)
    recorded: Mapping[str, Values] = field(default_factory=dict)
    relative_loss: Mapping[str, float] = field(default_factory=dict)
    monitor: Mapping[str, float] = field(default_factory=dict)
    best_monitor: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, Metrics] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    backward_passes: float = math.nan
    tuning: Mapping[float, float] = field(default_factory=dict)
    tuned: float = math.inf
    grid: tuple[float, ...] = ()
    trials: int = 0
    settings: tuple[tuple[str, str], ...] = ()
    is_optimizer: bool = False

    @property
    def is_reference(self) -> bool:
        """Whether enough of its runs finished: else one would compare with its survivors."""
        ended = len(self.values) + len(self.failures)
        return bool(self.values) and len(self.values) >= FINISHED * ended

    @property
    def is_applicable(self) -> bool:
        """Whether it can run on this problem at all: not every run that ended was refused."""
        return not self.refused or bool(self.values or self.failures)

    @cached_property
    def mean_monitor(self) -> float:
        """Mean of the monitor over the replicates, lower is better; infinite without one."""
        return finite_mean(self.monitor.values(), default=math.inf)

    def mean_validation(self, task: str) -> float:
        """Return the mean validation loss of a task; infinite without one."""
        losses = [losses.get(task, math.nan) for losses in self.validation.values()]
        return finite_mean(losses, default=math.inf)

    def metric(self, task: str, metric: str) -> list[float]:
        """Return a metric's value of every finished replicate; NaN where it has none."""
        return [v.get(task, {}).get(metric, math.nan) for v in self.recorded.values()]

    @cached_property
    def mean_values(self) -> dict[str, dict[str, float]]:
        """Mean over the replicates of every metric that was recorded; NaN without a number."""
        columns: dict[str, dict[str, list[float]]] = {}
        for values in self.recorded.values():
            for task, metrics in values.items():
                for metric, value in metrics.items():
                    columns.setdefault(task, {}).setdefault(metric, []).append(value)
        return {
            task: {metric: finite_mean(values) for metric, values in metrics.items()}
            for task, metrics in columns.items()
        }


@dataclass(frozen=True)
class DatasetEvidence:
    """The numbers of all strategies on one data set.

    Attributes:
        name: The data set.
        tasks: ``{task: the metrics it is measured by}``.
        strategies: The strategies, those included that a study gave up.
        margin: The margin of the study that made the runs; None where it names none.
        problem: The data set without the levels of the study's factors.
        factors: The factors of the study and their levels here, such as the optimizer.
    """

    name: str
    tasks: Mapping[str, TaskMetrics]
    strategies: tuple[StrategyEvidence, ...]
    margin: float | None = None
    problem: str = ""
    factors: tuple[tuple[str, str], ...] = ()

    @cached_property
    def has_relative_loss(self) -> bool:
        """Whether all runs have a positive mean relative loss, so that they can be judged by it."""
        joint = [s for s in self.strategies if s.role != "single_task"]
        return all(s.relative_loss.get(r, 0.0) > 0 for s in joint for r in s.values)

    @cached_property
    def replicate(self) -> str:
        """The unit of replication: ``seed``, ``fold``, ``split``, or ``run`` where several vary.

        A seed with a split of its own is a seed.
        """
        counts = self._replicates
        if counts["fold"] < 2:
            return "split" if counts["split"] > 1 and counts["seed"] < 2 else "seed"
        return "fold" if counts["seed"] < 2 else "run"

    @cached_property
    def splits(self) -> int:
        """The number of splits of the data that the runs have seen."""
        return max(1, self._replicates["split"]) * max(1, self._replicates["fold"])

    @cached_property
    def _replicates(self) -> Counter[str]:
        """How many seeds, splits and folds there are."""
        names = [r for s in self.strategies for r in [*s.recorded, *s.failures, *s.unfinished]]
        pairs = {tuple(part.split("=", 1)) for name in names for part in name.split(", ")}
        return Counter(pair[0] for pair in pairs)

    @cached_property
    def by_name(self) -> dict[str, StrategyEvidence]:
        """The strategies by their names."""
        return {strategy.name: strategy for strategy in self.strategies}

    @cached_property
    def recorded_metrics(self) -> dict[str, list[str]]:
        """The metrics of each task that any run recorded, in their order."""
        metrics: dict[str, dict[str, None]] = {task: {} for task in self.tasks}
        for strategy in self.strategies:
            for values in strategy.recorded.values():
                for task, row in values.items():
                    metrics.setdefault(task, {}).update(dict.fromkeys(row))
        return {task: list(names) for task, names in metrics.items()}

    def main_metric(self, task: str) -> str:
        """Return the task's main metric."""
        return self.tasks[task].main

    def of_role(self, *roles: str) -> list[StrategyEvidence]:
        """Return the strategies of these roles."""
        return [s for s in self.strategies if s.role in roles]

    @cached_property
    def has_several_settings(self) -> bool:
        """Whether equal weights were trained at several settings (several learning rates)."""
        return len({s.settings for s in self.of_role("equal")}) > 1

    def comparable(self, strategy: StrategyEvidence, *roles: str) -> list[StrategyEvidence]:
        """Return the strategies of these roles that a strategy may be compared with.

        These are all, unless equal weights were trained at several settings. Then they are those
        at the strategy's own settings: to choose the best of several by the runs that are judged
        would make every strategy look worse than equal weights.
        """
        members = self.of_role(*roles)
        if not self.has_several_settings:
            return members
        return [s for s in members if s.settings == strategy.settings]

    def equal_for(self, strategy: StrategyEvidence) -> StrategyEvidence | None:
        """Return the equal-weight baseline of a strategy; None if none of its runs finished."""
        return next((s for s in self.comparable(strategy, "equal") if s.values), None)

    def best_fixed_for(self, strategy: StrategyEvidence) -> StrategyEvidence | None:
        """Return the best fixed weights by the monitor, equal ones included.

        A study chooses them by its tuning runs. Without those, they are chosen among the runs that
        are judged, which flatters them: :meth:`fixed_choices` says of how many. Weights of which
        too many runs failed are left out.

        Returns:
            The best fixed weights; None without a sweep of fixed weights.
        """
        candidates = self._fixed_candidates(strategy)
        if not any(s.role == "fixed" for s in candidates):
            return None
        tuned = _all_tuned(candidates)
        return min(candidates, key=lambda s: s.tuned if tuned else s.mean_monitor)

    def fixed_choices(self, strategy: StrategyEvidence) -> int:
        """Return of how many weights the best fixed ones were chosen by the runs that are judged.

        Returns:
            The number; 1 where a study's tuning chose them.
        """
        candidates = self._fixed_candidates(strategy)
        return 1 if _all_tuned(candidates) else max(1, len(candidates))

    def _fixed_candidates(self, strategy: StrategyEvidence) -> list[StrategyEvidence]:
        return [s for s in self.comparable(strategy, "fixed", "equal") if s.is_reference]

    def twin(self, strategy: str) -> StrategyEvidence | None:
        """Return the strategy's frozen twin: fixed weights at its own average."""
        return next((s for s in self.of_role("twin") if s.twin_of == strategy), None)

    @cached_property
    def single_task_runs(self) -> StrategyEvidence | None:
        """The single-task baseline as one strategy that can be paired with others by seed.

        Each task is taken from the runs that are best for it on validation.

        Returns:
            The baseline; None unless every task has one.
        """
        best = {}
        for task in self.tasks:
            single = self.best_single_task(task)
            if single is None:
                return None
            best[task] = single
        if not best:
            return None
        common = set.intersection(*(set(s.values) for s in best.values()))
        values = {
            r: {task: s.values[r][task] for task, s in best.items()}
            for r in next(iter(best.values())).values
            if r in common and all(task in s.values[r] for task, s in best.items())
        }
        losses = relative_losses(values)
        if self.has_relative_loss:
            values = {r: v for r, v in values.items() if losses.get(r, 0.0) > 0}
        return StrategyEvidence(
            " and ".join(dict.fromkeys(s.name for s in best.values())),
            "single_task",
            values=values,
            recorded=values,
            relative_loss=losses,
            failures={r: why for s in best.values() for r, why in s.failures.items()},
        )

    @cached_property
    def single_task(self) -> Values | None:
        """The single-task baseline's mean metrics; None unless every task has one.

        Tasks that share nothing may be tuned one by one, so each task is taken from the runs that
        are best for it on validation.
        """
        values = {}
        for task in self.tasks:
            best = self.best_single_task(task)
            if best is None:
                return None
            values[task] = best.mean_values.get(task, {})
        return values

    def best_single_task(self, task: str) -> StrategyEvidence | None:
        """Return the single-task runs that are best for a task on validation; None without any."""
        members = self.of_role("single_task")
        able = [s for s in members if any(task in values for values in s.values.values())]
        return min(able, key=lambda s: s.mean_validation(task), default=None)


@dataclass(frozen=True)
class Evidence:
    """The numbers of all data sets that have runs to judge by.

    Attributes:
        at: The epoch, ``final`` or ``best``.
        split: The split, ``val`` or ``test``.
        datasets: One entry per data set.
    """

    at: str
    split: str
    datasets: tuple[DatasetEvidence, ...]


def gather(records: Records, at: str | None = None, split: str | None = None) -> Evidence:
    """Gather the evidence of all data sets.

    Args:
        records: The runs by data set and strategy.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor); None: the one
            that the runs recorded.
        split: ``val`` or ``test``. By default ``test`` for a study, where nothing is chosen by it,
            and ``val`` for a sweep, which is looked at again and again while one chooses.
    """
    split = split or ("test" if records.study else "val")
    judged = [data for data in records.datasets if data.has_final_runs]
    at = at or records.at
    return Evidence(at, split, tuple(evidence_of(data, at, split) for data in judged))


def evidence_of(data: DatasetRuns, at: str, split: str) -> DatasetEvidence:
    """Return the numbers of one data set at an epoch on a split."""
    studies = {role.run.directory: role.study for role in data.roles if role.study}
    strategies = [
        _given_up(s) if s.given_up else _strategy(s, data.tasks, at, split, studies)
        for s in data.strategies
    ]
    return DatasetEvidence(
        data.name, data.tasks, tuple(strategies), data.margin, data.problem, data.factors
    )


def finite_mean(values: Iterable[float], default: float = math.nan) -> float:
    """Return the mean of the values that are finite; the default without any."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else default


def _strategy(
    strategy: Strategy,
    tasks: Mapping[str, TaskMetrics],
    at: str,
    split: str,
    studies: Mapping[Path, str],
) -> StrategyEvidence:
    recorded = {r: _values(run, at, split) for r, run in strategy.runs.items() if run.finished}
    values: dict[str, Values] = {}
    failures: dict[str, str] = {}
    refused: dict[str, str] = {}
    unfinished = []
    for replicate, run in strategy.runs.items():
        if run.refused:
            refused[replicate] = run.reason
        elif run.status == "failed":
            failures[replicate] = run.reason or "failed"
        elif not run.finished:
            unfinished.append(replicate)
        elif reason := _missing(run, strategy, tasks, at, split):
            failures[replicate] = reason
        else:
            values[replicate] = recorded[replicate]
    summaries = {replicate: strategy.runs[replicate].summary for replicate in values}
    grid = {role.learning_rate for role in strategy.trials if role.phase == 1}
    return StrategyEvidence(
        name=strategy.name,
        role=strategy.role,
        twin_of=strategy.twin_of,
        values=values,
        recorded=recorded,
        relative_loss=relative_losses(values),
        monitor={r: summary.monitor.at(at) for r, summary in summaries.items()},
        best_monitor={r: summary.monitor.best for r, summary in summaries.items()},
        validation={r: _losses(strategy.runs[r], at) for r in values},
        failures=failures,
        refused=refused,
        unfinished=tuple(unfinished),
        seconds={r: s.seconds for r, s in summaries.items() if math.isfinite(s.seconds)},
        backward_passes=finite_mean(s.backward_passes for s in summaries.values()),
        tuning=_tuning(strategy),
        tuned=_tuned(strategy, at),
        grid=tuple(sorted(rate for rate in grid if math.isfinite(rate))),
        settings=_settings(strategy, studies),
        is_optimizer=any(run.choices.get("update") == "per_task" for run in strategy.runs.values()),
    )


def _settings(strategy: Strategy, studies: Mapping[Path, str]) -> tuple[tuple[str, str], ...]:
    """Return the settings beside the strategy, those that the config groups choose included."""
    # A run that was killed before it recorded its choices tells less than the others.
    run = max(strategy.runs.values(), key=lambda run: len(run.choices))
    if study := studies.get(run.directory):
        return (("study", study),)
    settings = {**run.overrides, **run.choices}
    return tuple(
        sorted(
            item
            for item in settings.items()
            if not _NO_SETTING.search(item[0]) and not is_among(item[0], COMPUTATION)
        )
    )


def _given_up(strategy: Strategy) -> StrategyEvidence:
    """Return the evidence of a strategy of which a study has trials only, all without a number."""
    refused = {r.run.directory.name: r.run.reason for r in strategy.trials if r.run.refused}
    failures = {
        role.run.directory.name: role.run.reason
        or ("no number to choose by" if role.run.finished else "failed")
        for role in strategy.trials
        if not role.run.refused and (role.run.finished or role.run.status == "failed")
    }
    names = [role.run.directory.name for role in strategy.trials]
    return StrategyEvidence(
        strategy.name,
        strategy.role,
        strategy.twin_of,
        failures=failures,
        refused=refused,
        unfinished=tuple(name for name in names if name not in {**failures, **refused}),
        trials=len(strategy.trials),
        settings=(("study", strategy.trials[0].study),),
    )


def _missing(
    run: Run, strategy: Strategy, tasks: Mapping[str, TaskMetrics], at: str, split: str
) -> str:
    """Return why a finished run is no evidence: a task without a finite main metric."""
    values = _values(run, at, split)
    # A single-task run may hold one task only.
    expected = [task for task in tasks if task in values or strategy.role != "single_task"]
    lost = [
        task
        for task in expected
        if not math.isfinite(values.get(task, {}).get(tasks[task].main, math.nan))
    ]
    if lost:
        return f"no {split} value of {', '.join(lost)}"
    return "" if values else "no task"


def _values(run: Run, at: str, split: str) -> Values:
    return {task: result.at(at, split) for task, result in run.summary.tasks.items()}


def _losses(run: Run, at: str) -> Metrics:
    return {task: v.get("loss", math.nan) for task, v in _values(run, at, "val").items()}


def relative_losses(values: Mapping[str, Values]) -> dict[str, float]:
    """Return ``{replicate: mean over tasks of the relative loss}`` where every task has one."""
    means = {}
    for replicate, tasks in values.items():
        losses = [metrics.get("relative_loss", math.nan) for metrics in tasks.values()]
        if all(map(math.isfinite, losses)):
            means[replicate] = sum(losses) / len(losses)
    return means


def _all_tuned(strategies: Sequence[StrategyEvidence]) -> bool:
    """Return whether a study has tuned all of them, so that they can be chosen by that."""
    return all(math.isfinite(s.tuned) for s in strategies)


def _tuning(strategy: Strategy) -> dict[float, float]:
    """Return the best monitor of the trials per learning rate, at each run's best epoch."""
    curve: dict[float, float] = {}
    for (rate, _), values in sorted(_trials(strategy, "best").items()):
        if math.isfinite(rate):
            curve[rate] = min(curve.get(rate, math.inf), sum(values) / len(values))
    return curve


def _tuned(strategy: Strategy, at: str) -> float:
    """Return the mean monitor of the best trial; infinite without one whose runs all finished."""
    trials = _trials(strategy, at).values()
    most = max(map(len, trials), default=0)
    return min((sum(t) / len(t) for t in trials if len(t) == most), default=math.inf)


def _trials(strategy: Strategy, at: str) -> dict[tuple[float, str], list[float]]:
    """Return the monitors of the finished runs of every trial, by learning rate and options."""
    monitors: dict[tuple[float, str], list[float]] = {}
    for role in strategy.trials:
        monitor = role.run.summary.monitor.at(at) if role.run.finished else math.nan
        if math.isfinite(monitor):
            monitors.setdefault((role.learning_rate, role.trial), []).append(monitor)
    return monitors
