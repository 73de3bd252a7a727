"""The one model of a comparison: data sets, their strategies, and the runs of each strategy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mtl_runner.results.records.labels import Label, label_runs
from mtl_runner.results.records.roles import (
    RecordedStudies,
    RunRole,
    assign_roles,
    group_name,
    read_study,
    without_study,
)
from mtl_runner.results.records.run import Run, search
from mtl_runner.results.records.task_metrics import TaskMetrics

LOST_STUDY = "study.json is missing or not readable: tuning runs cannot be told from final ones."


@dataclass(frozen=True)
class Strategy:
    """One strategy on one data set.

    Attributes:
        name: The strategy, with its settings that vary.
        role: ``single_task``, ``equal``, ``fixed``, ``strategy`` or ``twin``.
        twin_of: The strategy that a twin belongs to, else empty.
        runs: ``{replicate: run}`` of the runs that count; a replicate is a seed (and fold).
        trials: The runs of a study that chose its settings.
    """

    name: str
    role: str
    twin_of: str = ""
    runs: Mapping[str, Run] = field(default_factory=dict)
    trials: tuple[RunRole, ...] = ()

    @property
    def finished(self) -> list[Run]:
        """The runs that trained to their end."""
        return [run for run in self.runs.values() if run.finished]

    @property
    def unfinished(self) -> int:
        """The number of runs that did not finish, and do not go on by themselves."""
        return sum(not run.finished and not run.under_way for run in self.runs.values())

    @property
    def given_up(self) -> bool:
        """Whether a study gave the strategy up, because no trial ended with a number."""
        return not self.runs


@dataclass(frozen=True)
class DatasetRuns:
    """All strategies on one data set.

    Attributes:
        name: The data set, with its settings that vary.
        tasks: ``{task: the metrics it is measured by}``.
        strategies: The strategies, in the order of their first runs.
        roles: All runs on this data set, also those that only chose settings.
        has_final_runs: Whether there are runs to judge by; a study that still tunes has none, and
            its strategies are its trials.
        margin: The relative difference that is of no interest to the study; None without one.
        notes: Remarks of the study about its tuning, and about what is lost of it.
        problem: The data set without the levels of the study's factors.
        factors: The factors of the study and their levels here, such as the optimizer.
    """

    name: str
    tasks: Mapping[str, TaskMetrics]
    strategies: tuple[Strategy, ...]
    roles: tuple[RunRole, ...]
    has_final_runs: bool = True
    margin: float | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    factors: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> list[Strategy]:
        """The strategies that have runs to show."""
        return [strategy for strategy in self.strategies if not strategy.given_up]

    @property
    def finished(self) -> bool:
        """Whether any run to show finished."""
        return any(strategy.finished for strategy in self.strategies)


@dataclass(frozen=True)
class Records:
    """All runs of a comparison, and the data sets they belong to.

    Attributes:
        runs: All runs, in order of their directories' names.
        labels: The place of each run.
        roles: The role of each run.
        study: The contents of the studies that made them; empty for an ordinary sweep.
        datasets: The runs by data set and strategy.
        foreign: Folders that look like runs, but are of another program.
    """

    runs: Sequence[Run]
    labels: Sequence[Label]
    roles: Sequence[RunRole]
    study: RecordedStudies
    datasets: tuple[DatasetRuns, ...]
    foreign: tuple[Path, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run], foreign: Iterable[Path] = ()) -> Records:
        """Sort runs into data sets and strategies."""
        study = read_study(runs)
        runs = study.needed(runs)
        labels = label_runs(runs)
        roles = assign_roles(runs, labels, study)
        lost = set(without_study(runs))
        names = dict.fromkeys(role.data for role in roles)
        members = [[role for role in roles if role.data == name] for name in names]
        datasets = tuple(_dataset(m, study, lost) for m in members)
        return cls(runs, labels, roles, study, datasets, tuple(foreign))

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Records:
        """Read all runs at or below the paths.

        Raises:
            RunDirectoryError: If a path does not exist or holds no run.
        """
        return cls.of(*search(paths))

    @cached_property
    def judges(self) -> Counter[str]:
        """How many finished runs recorded that they are judged at ``final`` or at ``best``."""
        return Counter(run.summary.judge for run in self.runs if run.finished)

    @property
    def at(self) -> str:
        """The epoch that the runs are judged at; ``final`` where they do not agree."""
        return next(iter(self.judges)) if len(self.judges) == 1 else "final"

    @cached_property
    def unfinished(self) -> list[Run]:
        """The runs that did not finish."""
        return [run for run in self.runs if not run.finished]

    @property
    def under_way(self) -> list[Run]:
        """The runs that train, or wait for their turn."""
        return [run for run in self.unfinished if run.under_way]

    @property
    def stopped(self) -> list[Run]:
        """The runs that did not finish, and do not go on by themselves."""
        return [run for run in self.unfinished if not run.under_way]


def _dataset(roles: Sequence[RunRole], study: RecordedStudies, lost: set[Path]) -> DatasetRuns:
    final = [role for role in roles if role.final]
    strategies = _final_strategies(roles, final) if final else _trial_strategies(roles)
    folders = dict.fromkeys(role.study for role in roles if role.study)
    margins = [study.folders[folder].margin for folder in folders]
    return DatasetRuns(
        roles[0].data,
        {
            task: result.metrics
            for role in final or roles
            for task, result in role.run.summary.tasks.items()
        },
        tuple(strategies),
        tuple(roles),
        bool(final),
        min((margin for margin in margins if margin is not None), default=None),
        _notes(roles, study, lost),
        roles[0].problem,
        roles[0].factors,
    )


def _final_strategies(roles: Sequence[RunRole], final: Sequence[RunRole]) -> list[Strategy]:
    strategies = []
    for name in dict.fromkeys(role.strategy for role in final):
        members = [role for role in final if role.strategy == name]
        trials = tuple(role for role in roles if role.strategy == name and not role.final)
        strategies.append(_strategy(name, members, trials))
    for name in dict.fromkeys(role.strategy for role in roles):
        trials = tuple(role for role in roles if role.strategy == name)
        if not any(role.final or _ended(role) for role in trials):
            first = trials[0]
            strategies.append(Strategy(name, first.role, first.twin_of, {}, trials))
    return strategies


def _trial_strategies(roles: Sequence[RunRole]) -> list[Strategy]:
    """Return the trials of a study that still tunes, each setting as a strategy of its own."""
    return [
        _strategy(name, [role for role in roles if role.trial == name])
        for name in dict.fromkeys(role.trial for role in roles)
    ]


def _strategy(name: str, members: Sequence[RunRole], trials: tuple[RunRole, ...] = ()) -> Strategy:
    # The same strategy with the same seed and fold is the same run again, not one more sample.
    counted = {role.replicate: role for role in members}
    first = next(iter(counted.values()))
    runs = {replicate: role.run for replicate, role in counted.items()}
    return Strategy(name, first.role, first.twin_of, runs, trials)


def _ended(role: RunRole) -> bool:
    """Return whether a trial ended with a number to choose by."""
    summary = role.run.summary
    return role.run.finished and math.isfinite(summary.monitor.at(summary.judge))


def _notes(roles: Sequence[RunRole], study: RecordedStudies, lost: set[Path]) -> tuple[str, ...]:
    notes: dict[str, None] = {}
    for role in roles:
        if role.study:
            folder = study.folders[role.study]
            of_group = folder.group_notes.get(group_name(role.factors), ())
            notes |= dict.fromkeys([*folder.notes, *of_group])
        if role.run.directory.resolve().parent in lost:
            notes[LOST_STUDY] = None
    return tuple(notes)
