"""The forest plot of a report: intervals against equal weights and the best fixed ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_runner.results.names import short_names
from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence
from mtl_runner.results.statistics.differences import percentage, relative_changes
from mtl_runner.results.statistics.paired import Paired, paired
from mtl_runner.results.text import number
from mtl_runner.results.verdict.verdict import HURTS, METRICS, NOT_APPLICABLE, Verdict
from mtl_runner.results.verdict.wording import against, interval_words, same_words

# The most important to a reader come first.
MARKS = {
    "helps": "▲",
    "hurts": "▼",
    "static weights suffice": "◆",
    "better than equal weights": "△",
    "undecided": "?",
    "no difference": "=",
    "not applicable": "∅",
}
BASELINE = "baseline"  # in the place of a verdict
SHORT = {"better than equal weights": "better", "static weights suffice": "static suffices"}
# Relative changes that an axis may name.
TICKS: tuple[float, ...] = (-0.99, -0.9, -0.7, -0.5, -0.3, -0.2, -0.1, -0.05, -0.02, -0.01)
TICKS += (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 9.0, 99.0)
ROWS = 40  # beyond these only the best setting of each strategy is shown
LONG = 13  # of so many rows and more, each is low
APART, APART_IN_TWO = 12, 26  # between two of them, in percent of a wide axis and of one of two
Axis = tuple[float, float]  # the log ratios at its ends


@dataclass(frozen=True)
class Bar:
    """One interval of a forest plot.

    Attributes:
        style: Its places on the axis in percent, as properties of a style.
        mean: The mean difference, as short as can be.
        words: Mean and interval in words.
        settled: Whether the interval lies on one side of the margin.
    """

    style: str
    mean: str
    words: str
    settled: bool


@dataclass(frozen=True)
class ForestRow:
    """One strategy in a forest plot.

    Attributes:
        name: The strategy.
        short: Its name beside the row, as in the figures for a paper.
        colour: The number of its colour.
        kind: The kind of its verdict, ``baseline`` without one.
        label: The kind in a word or two.
        mark: A sign for the kind.
        equal: The difference to equal weights; None where there is no number.
        fixed: The difference to the best fixed weights.
        note: Why there is no number; empty where there is one.
        failed: The number of its failed runs, where there is a number all the same.
    """

    name: str
    short: str
    colour: int
    kind: str
    label: str
    mark: str
    equal: Bar | None
    fixed: Bar | None
    note: str
    failed: int


@dataclass(frozen=True)
class Tick:
    """A number under an axis, and its place in percent."""

    text: str
    place: str


@dataclass(frozen=True)
class Forest:
    """A forest plot of all strategies that were asked for.

    Attributes:
        rows: One per strategy, the best first; without a number last.
        ticks: The numbers under the axis.
        style: The places of no difference and of the ends of the margin, as properties of a style.
        unlisted: The number of strategies that are left out: beaten settings of those shown.
        has_fixed: Whether there are fixed weights to compare with.
    """

    rows: Sequence[ForestRow]
    ticks: Sequence[Tick]
    style: str
    unlisted: int
    has_fixed: bool

    @property
    def is_long(self) -> bool:
        """Whether its rows have to be low to leave room for the table below."""
        return len(self.rows) > LONG


@dataclass(frozen=True)
class _Compared:
    name: str
    kind: str
    equal: Paired | None
    fixed: Paired | None
    verdict: Verdict | None


def forest_of(
    data: DatasetEvidence, verdicts: Sequence[Verdict], colours: Mapping[str, int]
) -> Forest:
    """Return the forest plot of the judged strategies and of single-task training.

    Args:
        data: The numbers of the data set.
        verdicts: The verdicts on its strategies.
        colours: ``{strategy: number of its colour}``.
    """
    compared = [_Compared(v.strategy, v.kind, v.versus_equal, v.versus_fixed, v) for v in verdicts]
    compared += _single_task(data)
    compared.sort(key=lambda c: _mean(c.equal))
    every, compared = len(compared), _thinned(compared, colours)
    margin = max((v.margin for v in verdicts), default=0.0)
    axis = _axis([p for c in compared for p in (c.equal, c.fixed) if p is not None], margin)
    unit = "error" if any(v.quantity == METRICS for v in verdicts) else "loss"
    short = short_names([data.by_name[c.name] for c in compared if c.name in data.by_name])
    rows = [
        ForestRow(
            name=c.name,
            short=short.get(c.name, c.name),
            colour=colours.get(c.name, 7),
            kind=c.kind,
            label=SHORT.get(c.kind, c.kind),
            mark=MARKS.get(c.kind, "·"),
            equal=_bar(c.equal, axis, margin, unit, "equal weights"),
            fixed=_bar(c.fixed, axis, margin, unit, "the best fixed weights"),
            note=_note(c),
            failed=0 if _note(c) or c.verdict is None else c.verdict.failed,
        )
        for c in compared
    ]
    has_fixed = any(row.fixed for row in rows)
    apart = APART_IN_TWO if has_fixed else APART
    return Forest(
        rows,
        _ticks(axis, apart),
        _style(axis, z=0.0, a=-margin, b=margin) if axis else "",
        every - len(compared),
        has_fixed,
    )


def log_ratio(change: float) -> float:
    """Return the log ratio of a relative difference.

    Example:
        >>> round(log_ratio(1.0), 3), round(log_ratio(-0.5), 3)
        (0.693, -0.693)
    """
    return math.log1p(max(change, -0.9999))


def _single_task(data: DatasetEvidence) -> list[_Compared]:
    """Return single-task training beside equal and the best fixed weights, as no method."""
    alone = data.single_task_runs
    references = [s for s in data.of_role("equal") if s.is_reference]
    if alone is None or not alone.values or not references:
        return []
    equal = min(references, key=lambda s: s.mean_monitor)
    fixed = data.best_fixed_for(equal)
    return [
        _Compared(
            alone.name,
            BASELINE,
            _versus(data, alone, equal),
            None if fixed is None else _versus(data, alone, fixed),
            None,
        )
    ]


def _versus(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence
) -> Paired:
    return percentage(paired(relative_changes(data, strategy, reference).values()))


def _thinned(compared: Sequence[_Compared], colours: Mapping[str, int]) -> list[_Compared]:
    """Return the best setting of every strategy, which share a colour, and the next best ones."""
    best: dict[int | str, str] = {}
    for entry in compared:
        best.setdefault(colours.get(entry.name, entry.name), entry.name)
    kept = set(best.values())
    for entry in compared:
        if len(kept) < ROWS:
            kept.add(entry.name)
    return [entry for entry in compared if entry.name in kept]


def _mean(versus: Paired | None) -> float:
    return versus.mean if versus is not None and math.isfinite(versus.mean) else math.inf


def _note(compared: _Compared) -> str:
    verdict = compared.verdict
    if math.isfinite(_mean(compared.equal)) or verdict is None:
        return ""
    if verdict.kind == NOT_APPLICABLE:
        return verdict.reason
    if verdict.failed:
        ended = verdict.trials or verdict.seeds + verdict.failed
        why = f": {verdict.reason}" if verdict.kind == HURTS or not verdict.seeds else ""
        return f"{verdict.failed} of {ended} runs failed{why}"
    if verdict.seeds:
        return f"no finished pair with equal weights on {same_words(verdict.replicate)}"
    return f"{verdict.unfinished} not finished"


def _bar(
    versus: Paired | None, axis: Axis | None, margin: float, unit: str, whom: str
) -> Bar | None:
    """Return an interval on a log scale: half the loss lies as far left as twice it lies right."""
    if versus is None or not math.isfinite(versus.mean) or axis is None:
        return None
    ends = (versus.low, versus.high) if versus.known else (versus.mean, versus.mean)
    return Bar(
        style=_style(axis, m=versus.mean, l=ends[0], h=ends[1]),
        mean=_short(versus.mean),
        words=f"{against(versus, unit)} {whom} ({interval_words(versus, unit)})",
        settled=versus.known and (ends[1] < -margin or ends[0] > margin),
    )


def _place(change: float, axis: Axis) -> float:
    return 100 * max(0.0, min(1.0, (log_ratio(change) - axis[0]) / (axis[1] - axis[0])))


def _style(axis: Axis, **changes: float) -> str:
    return ";".join(f"--{name}:{_place(change, axis):.1f}" for name, change in changes.items())


def _short(change: float) -> str:
    """Return a change in two digits: 8 % less, 17 % more, 3.2 times as much."""
    if change >= 1:
        return f"\u00d7{number(1 + change, 2)}"
    percent = 100 * change
    digits = 3 if abs(percent) >= 99 else 2
    sign = "\u2212" if percent < 0 else "+"
    return "0 %" if abs(percent) < 0.05 else f"{sign}{number(abs(percent), digits)} %"


def _ticks(axis: Axis | None, apart: float) -> list[Tick]:
    """Return 0 and the round changes that have room beside each other, the largest first."""
    if axis is None:
        return []
    places = {0.0: _place(0.0, axis)}
    for tick in sorted(TICKS, key=abs, reverse=True):
        place = _place(tick, axis)
        if 5 < place < 95 and all(abs(place - taken) >= apart for taken in places.values()):
            places[tick] = place
    return [Tick(_short(t) if t else "0", f"{places[t]:.1f}") for t in sorted(places)]


def _axis(compared: Sequence[Paired], margin: float) -> Axis | None:
    """Return the log ratios at the ends of the axis; None where there is nothing to show.

    They are those of the widest intervals, but an interval of few seeds may be far wider than all
    else: it is cut at three times the largest mean difference.
    """
    finite = [versus for versus in compared if math.isfinite(versus.mean)]
    if not finite:
        return None
    band = 2 * log_ratio(margin)
    most = max(band, 3 * max(abs(log_ratio(versus.mean)) for versus in finite))
    ends = [
        log_ratio(end)
        for versus in finite
        for end in ((versus.low, versus.high) if versus.known else (versus.mean,))
    ]
    low, high = min(-band, max(-most, min(ends))), max(band, min(most, max(ends)))
    room = 0.03 * (high - low)
    return low - room, high + room
