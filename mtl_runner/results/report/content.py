"""The content of a report before it is HTML: data sets, strategies with colours, figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.records.evidence import DatasetEvidence, Evidence, gather
from mtl_runner.results.records.families import (
    RATE,
    families_of_roles,
    family_colours,
    family_of_strategies,
)
from mtl_runner.results.records.labels import settings_of
from mtl_runner.results.records.roles import RunRole
from mtl_runner.results.records.run import Run
from mtl_runner.results.records.summary import as_float
from mtl_runner.results.report.curves import (
    OVERALL,
    averaged,
    curves_of,
    lines_for,
    points_for,
    rounded,
)
from mtl_runner.results.report.drawn import drawn_at_first, mean_monitor
from mtl_runner.results.statistics.spread import Spread, spread

CLOUD = 60  # resampled means of a strategy in the plane of two tasks
CLOUDS = 6000  # of all strategies together
POINTS = 200  # strategies in that plane: the best, and those that no other one beats
LINES = 200  # strategies with curves, which a table that is thinned can still choose


@dataclass(frozen=True)
class Line:
    """One strategy in the figures.

    Attributes:
        name: The strategy.
        family: Strategies of one family differ in numbers only and share a colour.
        colour: The number of the colour.
        drawn: Whether it is drawn before the reader chooses.
        has_curves: Whether the page holds its curves.
        runs: The runs that its curves are made of.
    """

    name: str
    family: str
    colour: int
    drawn: bool
    has_curves: bool
    runs: Sequence[Run]

    @property
    def finished(self) -> bool:
        """Whether any of its runs finished."""
        return any(run.finished for run in self.runs)


@dataclass(frozen=True)
class Section:
    """One data set and its strategies in the figures."""

    data: DatasetRuns
    lines: Sequence[Line]


@dataclass(frozen=True)
class Content:
    """The content of a report.

    Attributes:
        records: The runs by data set and strategy.
        at: The epoch, ``final`` or ``best``.
        sections: One per data set.
    """

    records: Records
    at: str
    sections: Sequence[Section]

    @classmethod
    def of(cls, records: Records, at: str) -> Content:
        """Sort the strategies of every data set into families and colours."""
        families = families_of_roles(records.roles)
        colours = family_colours(records.roles)
        return cls(
            records, at, [_section(data, families, colours, at) for data in records.datasets]
        )

    @property
    def title(self) -> str:
        """Data sets, strategies and runs in one line."""
        names = {s.name for data in self.records.datasets for s in data.shown}
        strategies = f"{len(names)} strategies, " if len(names) > 1 else ""
        runs = len(self.records.runs)
        data = ", ".join(_titles(self.records.datasets))
        return f"{data}: {strategies}{runs} run{'s' if runs != 1 else ''}"

    @property
    def colours(self) -> dict[str, dict[str, int]]:
        """``{data set: {strategy: the number of its colour}}``."""
        return {s.data.name: {line.name: line.colour for line in s.lines} for s in self.sections}

    @cached_property
    def settings(self) -> list[dict[str, str]]:
        """The options of every run, as far as any run changes them."""
        return settings_of(self.records.runs)

    @cached_property
    def evidence(self) -> Evidence:
        """The numbers of the validation split."""
        return gather(self.records, self.at, "val")

    def replicate(self, section: Section) -> str:
        """Return what the runs of a strategy differ in: ``seed``, ``fold`` or ``run``."""
        evidence = self._evidence_of(section)
        return evidence.replicate if evidence is not None else "seed"

    def spreads(self, section: Section) -> list[tuple[Line, Spread]]:
        """Return the spreads of the methods, the references and the best fixed weights."""
        evidence = self._evidence_of(section)
        if evidence is None:
            return []
        lines = {line.name: line for line in section.lines}
        return [
            (lines[s.name], spread(s))
            for s in evidence.strategies
            if s.values and (s.role not in ("fixed", "twin") or evidence.best_fixed_for(s) is s)
        ]

    def figures(self) -> list[dict[str, Any]]:
        """Return the data of the figures, one entry per section: plain lists and numbers."""
        curves = sum(
            3 * sum(line.has_curves for line in section.lines) * (len(section.data.tasks) + 1)
            for section in self.sections
        )
        return [self._figures_of(section, points_for(curves)) for section in self.sections]

    def _evidence_of(self, section: Section) -> DatasetEvidence | None:
        return next((d for d in self.evidence.datasets if d.name == section.data.name), None)

    def _figures_of(self, section: Section, points: int) -> dict[str, Any]:
        strategies = []
        for line in section.lines:
            entry: dict[str, Any] = {
                "name": line.name,
                "colour": line.colour,
                "drawn": line.drawn,
                "seeds": len(line.runs),
            }
            entry |= averaged(curves_of(line.runs), points) if line.has_curves else {}
            if not line.finished:
                entry["unfinished"] = True
            strategies.append(entry)
        return {
            "tasks": list(section.data.tasks),
            "overall": OVERALL,
            "strategies": strategies,
            "monitor": monitor_name(role.run for role in section.data.roles),
            "rates": self.rates(section),
            "front": self._front(section),
        }

    def rates(self, section: Section) -> list[dict[str, Any]]:
        """Return per family the monitor over learning rates, with its range over seeds.

        At each rate it is that of the best of the family's other settings.
        """
        trials = [role for role in section.data.roles if not role.final] or section.data.roles
        families = families_of_roles(self.records.roles)
        colours = {line.family: line.colour for line in section.lines}
        monitors: dict[tuple[str, float], dict[tuple[Any, ...], list[float]]] = {}
        failed: Counter[tuple[str, float]] = Counter()
        for role in trials:
            rate = as_float(role.run.overrides.get(RATE))
            if not rate > 0:
                continue
            key = families[id(role)], rate
            monitor = role.run.summary.monitor.at(self.at) if role.run.finished else math.nan
            if math.isfinite(monitor):
                monitors.setdefault(key, {}).setdefault(_other_settings(role), []).append(monitor)
            else:
                failed[key] += 1
        entries = []
        for family in dict.fromkeys(name for name, _ in [*monitors, *failed]):
            rates = sorted({rate for name, rate in [*monitors, *failed] if name == family})
            if len(rates) < 2:
                continue
            best = [
                min(monitors.get((family, r), {}).values(), key=_mean, default=[]) for r in rates
            ]
            entries.append(
                {
                    "name": family,
                    "colour": colours.get(family, len(colours)),
                    "x": rates,
                    "mean": [rounded(_mean(v)) if v else None for v in best],
                    "low": [rounded(min(v)) if v else None for v in best],
                    "high": [rounded(max(v)) if v else None for v in best],
                    "failed": [failed[family, r] for r in rates],
                }
            )
        return entries

    def _front(self, section: Section) -> dict[str, Any] | None:
        """Return the plane of two tasks: mean, resampled means and seeds of every strategy."""
        if len(section.data.tasks) != 2:
            return None
        from mtl_runner.results.statistics.pareto import front

        evidence = self._evidence_of(section)
        plane = front(evidence, resamples=200) if evidence is not None else None
        if evidence is None or plane is None:
            return None
        points = []
        room = min(CLOUD, CLOUDS // min(POINTS, max(1, len(plane.means))))
        best = sorted(evidence.strategies, key=lambda s: s.mean_monitor)[:POINTS]
        kept = {s.name for s in best} | set(plane.front)
        for strategy in evidence.strategies:
            if strategy.name not in plane.means or strategy.name not in kept:
                continue
            seeds = [
                [values.get(task, {}).get(plane.metric, math.nan) for task in plane.tasks]
                for values in strategy.values.values()
            ]
            cloud = plane.clouds.get(strategy.name, [])[:room]
            points.append(
                {
                    "name": strategy.name,
                    "mean": [rounded(v) for v in plane.means[strategy.name]],
                    "seeds": [[rounded(v) for v in pair] for pair in seeds],
                    "cloud": [[rounded(v) for v in pair] for pair in cloud],
                }
            )
        return {
            "tasks": list(plane.tasks),
            "metric": plane.metric,
            "points": points,
            "front": plane.front,
        }


def _section(
    data: DatasetRuns, families: Mapping[int, str], colours: Mapping[str, int], at: str
) -> Section:
    family_of = family_of_strategies(data, families)
    drawn = drawn_at_first(data, family_of, at)
    best_first = sorted(data.shown, key=lambda s: (s.name not in drawn, mean_monitor(s, at)))
    with_curves = {s.name for s in best_first[: min(LINES, lines_for(len(data.tasks) or 1))]}
    return Section(
        data,
        [
            Line(
                strategy.name,
                family_of[strategy.name],
                colours[family_of[strategy.name]],
                strategy.name in drawn,
                strategy.name in with_curves,
                # A failed run is no part of a mean; where none finished, fragments are better
                # than nothing.
                strategy.finished or list(strategy.runs.values()),
            )
            for strategy in data.shown
        ],
    )


def _titles(datasets: Sequence[DatasetRuns]) -> list[str]:
    """Return the data sets by their names, the levels of a study's factors together."""
    levels: dict[str, dict[str, dict[str, None]]] = {}
    for data in datasets:
        of_problem = levels.setdefault(data.problem if data.factors else data.name, {})
        for factor, level in data.factors:
            of_problem.setdefault(factor, {})[level] = None
    return [
        " ".join(
            [name, *(f"({factor} {', '.join(of_factor)})" for factor, of_factor in of.items())]
        )
        for name, of in levels.items()
    ]


def monitor_name(runs: Iterable[Run]) -> str:
    """Return the name of the number that judges some runs; ``monitor`` if they do not agree."""
    names = {run.summary.monitor.name for run in runs if run.finished}
    return names.pop() if len(names) == 1 else "monitor"


def _other_settings(role: RunRole) -> tuple[Any, ...]:
    overrides = role.run.overrides.items()
    return tuple(
        sorted(o for o in overrides if o[0] != RATE and not o[0].endswith(("seed", "fold")))
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
