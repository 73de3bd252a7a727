"""How the strategies of a comparison are drawn: names, colours, dots and mean curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_runner.results.names import short_names
from mtl_runner.results.pictures.charts import Chart, DotChart, Dots, Series, log_axis_helps
from mtl_runner.results.pictures.style import COLOURS
from mtl_runner.results.records.curves import RecordedCurves
from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence
from mtl_runner.results.records.families import (
    families_of_roles,
    family_colours,
    family_of_strategies,
)
from mtl_runner.results.records.roles import RunRole
from mtl_runner.results.selection import SINGLE_TASK
from mtl_runner.results.statistics.intervals import interval

SPLIT_WORDS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Look:
    """How one strategy is drawn.

    Attributes:
        label: Its short name.
        colour: The number of its colour, that of its family in the report.
        dash: The number of its dashes: which of the drawn strategies of this colour it is.
    """

    label: str
    colour: int
    dash: int = 0


def looks_of(
    roles: Sequence[RunRole], data: DatasetRuns, strategies: Sequence[StrategyEvidence]
) -> dict[str, Look]:
    """Return how each strategy of a data set is drawn.

    Args:
        roles: All runs of the comparison, by which the report chooses the colours.
        data: The data set.
        strategies: The strategies that are drawn.
    """
    colours = family_colours(roles)
    families = family_of_strategies(data, families_of_roles(roles))
    baseline = next((s.name for s in data.strategies if s.role == SINGLE_TASK), "")
    drawn: Counter[int] = Counter()
    looks = {}
    for name, label in short_names(strategies).items():
        family = families.get(name) or families.get(baseline, "")
        colour = colours.get(family, len(colours))
        slot = colour % len(COLOURS)
        looks[name] = Look(label, colour, drawn[slot])
        drawn[slot] += 1
    return looks


def metric_chart(
    evidence: DatasetEvidence,
    task: str,
    title: str,
    looks: Mapping[str, Look],
    split: str = "val",
) -> DotChart:
    """Return the main metric of a task on a split: values, means and intervals."""
    metric = evidence.main_metric(task)
    rows = [
        dots_of(looks[strategy.name], strategy.metric(task, metric))
        for strategy in evidence.strategies
        if strategy.name in looks
    ]
    direction = "higher" if evidence.tasks[task].higher_is_better(metric) else "lower"
    return DotChart(title, f"{SPLIT_WORDS[split]} {metric} ({direction} is better)", rows)


def dots_of(look: Look, values: Sequence[float]) -> Dots:
    """Return the values of a strategy with their mean and its 95 % interval."""
    mean = interval(values)
    return Dots(look.label, look.colour, values, mean.mean, mean.low, mean.high, look.dash)


def curve_chart(
    curves: Mapping[str, Sequence[RecordedCurves]],
    task: str,
    looks: Mapping[str, Look],
    column: tuple[str, str] = ("val", "loss"),
    label: str = "validation loss (mean, range)",
    has_legend: bool = False,
) -> Chart:
    """Return a column over the epochs that all runs of a strategy have: mean and range.

    Args:
        curves: The curves of every run of the strategies.
        task: The task.
        looks: How the strategies are drawn.
        column: The split and the column of metrics.csv.
        label: The vertical axis.
        has_legend: Whether the curves are named.
    """
    series = []
    for name, runs in curves.items():
        values = [curve for run in runs if (curve := run.curve(column[0], task, column[1]))]
        epochs = sorted(set.intersection(*(set(curve) for curve in values))) if values else []
        if not epochs:
            continue
        table = np.array([[curve[epoch] for epoch in epochs] for curve in values])
        several = len(table) > 1
        series.append(
            Series(
                epochs,
                table.mean(0).tolist(),
                looks[name].colour,
                looks[name].label if has_legend else "",
                low=table.min(0).tolist() if several else (),
                high=table.max(0).tolist() if several else (),
                dash=looks[name].dash,
            )
        )
    means = [value for curve in series for value in curve.y]
    return Chart("", label, series, has_log_axis=log_axis_helps(means))
