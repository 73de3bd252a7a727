"""What a report shows, before it is HTML: its title, groups, strategies with their colours, and the data of its figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtl_runner.results.evidence import Evidence, gather
from mtl_runner.results.groups import Group, Strategy, group_runs
from mtl_runner.results.read import Run
from mtl_runner.results.report_curves import (
    OVERALL,
    averaged,
    curves_of,
    lines_for,
    points_for,
    rounded,
)
from mtl_runner.results.roles import RunRole, jobs, read_study
from mtl_runner.results.spread import Spread, spread
from mtl_runner.results.strategies import Label, label, settings_of

CLOUD = 60  # resampled means of a strategy in the plane of two tasks
DRAWN = 8  # strategies that the curves show at first: as many as there are colours
RATE = "optimizer.lr"


@dataclass(frozen=True)
class Line:
    """A strategy in the figures: strategies of one family, which differ in numbers only, share a colour."""

    name: str
    family: str
    colour: int
    drawn: bool
    curves: bool
    runs: list[Run]

    @property
    def finished(self) -> bool:
        return any(run.finished for run in self.runs)


@dataclass(frozen=True)
class Section:
    """One data set: the table's group and the lines of the figures."""

    group: Group
    lines: list[Line]
    jobs: list[RunRole]  # of all runs on this data set, also those that only chose settings


@dataclass(frozen=True)
class Content:
    """All that a report tells."""

    title: str
    at: str
    runs: list[Run]
    jobs: list[RunRole]
    sections: list[Section]
    study: Mapping[str, Any] | None

    @classmethod
    def of(cls, runs: Sequence[Run], at: str) -> Content:
        """Sort the runs into sections. A run that a study made counts by its part in it."""
        study = read_study(runs)
        found = jobs(runs, label(runs), study)
        families = _families(found)
        colours = {
            name: i for i, name in enumerate(dict.fromkeys(families[id(job)] for job in found))
        }
        sections = []
        tested = {job.data for job in found if job.final}
        shown = [
            job for job in found if job.final or job.data not in tested
        ]  # of a study that still tunes, its trials
        groups = group_runs(
            [job.run for job in shown],
            [Label(job.data, job.strategy, job.replicate) for job in shown],
        )
        for group in groups:
            mine = [job for job in found if job.data == group.data]
            drawn = _drawn(group, mine, families, at)
            best_first = sorted(
                group.strategies, key=lambda s: (s.name not in drawn, _least_first(s, at))
            )
            room = {s.name for s in best_first[: lines_for(len(group.tasks) or 1)]}
            lines = []
            for strategy in group.strategies:
                members = [
                    job for job in shown if job.data == group.data and job.strategy == strategy.name
                ]
                family = families[id(members[0])]
                # What failed is no part of a mean; where nothing finished, the fragments are better than nothing.
                used = strategy.runs or list({job.replicate: job.run for job in members}.values())
                lines.append(
                    Line(
                        strategy.name,
                        family,
                        colours[family],
                        strategy.name in drawn,
                        strategy.name in room,
                        used,
                    )
                )
            sections.append(Section(group, lines, mine))
        return cls(_title(runs, groups), at, list(runs), found, sections, study)

    @property
    def settings(self) -> list[dict[str, str]]:
        """Per run its options, as far as any run changes them."""
        return [settings_of(run, self.runs) for run in self.runs]

    @cached_property
    def evidence(self) -> Evidence:
        """What the validation split says."""
        return gather(self.runs, label(self.runs), self.study, self.at, "val")

    def spreads(self, section: Section) -> list[tuple[str, int, Spread]]:
        """Name, colour and spreads of the methods, the references and the best fixed weights."""
        data = next((each for each in self.evidence.sets if each.name == section.group.data), None)
        if data is None:
            return []
        colours = {line.name: line.colour for line in section.lines}
        shown = [
            s
            for s in data.strategies
            if s.values and (s.role not in ("fixed", "twin") or s is data.best_fixed)
        ]
        return [(s.name, colours.get(s.name, 0), spread(s)) for s in shown]

    def figures(self) -> list[dict[str, Any]]:
        """The data of the figures, one entry per section: plain lists and numbers."""
        curves = sum(
            3 * sum(line.curves for line in section.lines) * (len(section.group.tasks) + 1)
            for section in self.sections
        )
        return [self._figures_of(section, points_for(curves)) for section in self.sections]

    def _figures_of(self, section: Section, points: int) -> dict[str, Any]:
        strategies = []
        for line in section.lines:
            row: dict[str, Any] = {
                "name": line.name,
                "colour": line.colour,
                "drawn": line.drawn,
                "seeds": len(line.runs),
            }
            row |= averaged(curves_of(line.runs), points) if line.curves else {}
            if not line.finished:
                row["unfinished"] = True
            strategies.append(row)
        return {
            "tasks": list(section.group.tasks),
            "overall": OVERALL,
            "strategies": strategies,
            "rates": self._rates(section),
            "front": self._front(section),
        }

    def _rates(self, section: Section) -> list[dict[str, Any]]:
        """Per family the monitor over learning rates, of the best of its other settings at each, with its range over seeds."""
        tuning = [job for job in section.jobs if not job.final] or section.jobs
        families = _families(self.jobs)
        colours = {line.family: line.colour for line in section.lines}
        trials: dict[tuple[str, float], dict[tuple[Any, ...], list[float]]] = {}
        failed: Counter[tuple[str, float]] = Counter()
        for job in tuning:
            rate = _number(job.run.overrides.get(RATE))
            if not rate > 0:
                continue
            family = families[id(job)]
            monitor = (
                _number(job.run.summary.get("monitor", {}).get(self.at))
                if job.run.finished
                else math.nan
            )
            if math.isfinite(monitor):
                others = tuple(
                    sorted(
                        (k, v)
                        for k, v in job.run.overrides.items()
                        if k != RATE and not k.endswith(("seed", "fold"))
                    )
                )
                trials.setdefault((family, rate), {}).setdefault(others, []).append(monitor)
            else:
                failed[family, rate] += 1
        found = []
        for family in dict.fromkeys(name for name, _ in [*trials, *failed]):
            rates = sorted({rate for name, rate in [*trials, *failed] if name == family})
            if len(rates) < 2:
                continue
            best = [
                min(trials.get((family, r), {}).values(), key=lambda v: sum(v) / len(v), default=[])
                for r in rates
            ]
            found.append(
                {
                    "name": family,
                    "colour": colours.get(family, len(colours)),
                    "x": rates,
                    "mean": [rounded(sum(v) / len(v)) if v else None for v in best],
                    "low": [rounded(min(v)) if v else None for v in best],
                    "high": [rounded(max(v)) if v else None for v in best],
                    "failed": [failed[family, r] for r in rates],
                }
            )
        return found

    def _front(self, section: Section) -> dict[str, Any] | None:
        """Two tasks' plane: per strategy the mean, means of resampled seeds, and each seed. Less is better on both axes."""
        if len(section.group.tasks) != 2:
            return None
        from mtl_runner.results.pareto import front

        data = next((each for each in self.evidence.sets if each.name == section.group.data), None)
        found = front(data, resamples=200) if data is not None else None
        if data is None or found is None:
            return None
        points = []
        for strategy in data.strategies:
            if strategy.name not in found.means:
                continue
            seeds = [
                [rounded(v.get(t, {}).get(found.metric, math.nan)) for t in found.tasks]
                for v in strategy.values.values()
            ]
            cloud = [
                [rounded(v) for v in pair] for pair in found.clouds.get(strategy.name, [])[:CLOUD]
            ]
            mean = [rounded(v) for v in found.means[strategy.name]]
            points.append({"name": strategy.name, "mean": mean, "seeds": seeds, "cloud": cloud})
        return {
            "tasks": list(found.tasks),
            "metric": found.metric,
            "points": points,
            "front": found.front,
        }


def _title(runs: Sequence[Run], groups: Sequence[Group]) -> str:
    data = ", ".join(group.data for group in groups)
    strategies = len({strategy.name for group in groups for strategy in group.strategies})
    many = f"{strategies} strategies, " if strategies > 1 else ""
    return f"{data}: {many}{len(runs)} run{'s' if len(runs) != 1 else ''}"


def _families(found: Sequence[RunRole]) -> dict[int, str]:
    """Each job's family, by the job's id: what stays of the strategy when settings that are numbers are left out.

    ``dwa, lr=0.001`` and ``dwa, lr=0.003`` are ``dwa``, and so is its frozen twin; ``fixed y1=0.5 y2=1.5`` is ``fixed``. If then nothing varies any more, only the learning rate is left out, and
    if nothing varies even so, nothing.
    """

    def without(job: RunRole, drop: Any) -> str:
        head, *rest = (job.of or job.strategy).split(", ")
        head = (
            " ".join([word for word in head.split(" ") if job.role != "fixed" or not drop(word)])
            or head
        )
        return ", ".join([head, *(part for part in rest if not drop(part))])

    for drop in (
        lambda part: "=" in part,
        lambda part: part.startswith(("lr=", f"{RATE}=")),
        lambda _: False,
    ):
        names = {id(job): without(job, drop) for job in found}
        if len(set(names.values())) > 1:
            break
    return names


def _drawn(group: Group, mine: Sequence[RunRole], families: Mapping[int, str], at: str) -> set[str]:
    """The best strategy of each family by the monitor, and of those the best few."""
    family = {job.strategy: families[id(job)] for job in mine}
    twins = {job.strategy for job in mine if job.role == "twin"}
    best: dict[str, tuple[bool, float, str]] = {}
    for strategy in group.strategies:
        entry = (strategy.name in twins, _least_first(strategy, at), strategy.name)
        best[family[strategy.name]] = min(best.get(family[strategy.name], entry), entry)
    return {name for *_, name in sorted(best.values())[:DRAWN]}


def _least_first(strategy: Strategy, at: str) -> float:
    mean = strategy.monitor(at).mean if strategy.runs else math.nan
    return mean if math.isfinite(mean) else math.inf


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
