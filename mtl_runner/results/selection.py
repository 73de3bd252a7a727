"""Which strategies and metrics of a data set a table or a picture shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from mtl_runner.errors import ConfigError
from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.records.evidence import (
    DatasetEvidence,
    StrategyEvidence,
    Values,
    relative_losses,
)
from mtl_runner.results.text import number

SINGLE_TASK = "single_task"
OVERALL = {  # columns that are no metric of a task, and what stands above them
    "relative_loss": "relative_loss",
    "rank": "mean rank",
    "delta_m": "delta-m %",
    "delta_m_task": "delta-m % (tasks)",
}
_HIDDEN = {  # what is left out, by its role: one, and several
    "fixed": ("set of fixed weights", "sets of fixed weights"),
    "twin": ("frozen twin", "frozen twins"),
}
_OTHER = ("other setting", "other settings")


@dataclass(frozen=True)
class Selection:
    """The strategies, metrics and split that a reader wants to see.

    Attributes:
        split: ``val`` or ``test``; None: the split of the verdicts (test for a study, validation
            for a sweep).
        strategies: Names of strategies, or of their weightings, ``*`` standing for anything;
            empty: those that were asked for, and the baselines.
        metrics: ``accuracy`` (of every task that has it), ``digit.accuracy`` or one of
            ``relative_loss``, ``rank``, ``delta_m`` and ``delta_m_task``; empty: the main metric of
            every task, and these.
        everything: Whether frozen twins, all fixed weights and all points of grids are shown.
    """

    split: str | None = None
    strategies: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    everything: bool = False

    def check(self, records: Records, metrics: Mapping[str, Sequence[str]]) -> None:
        """Check that every name fits a strategy or a metric of some data set.

        Args:
            records: The runs by data set and strategy.
            metrics: ``{task: the metrics that any run recorded}`` of all data sets.

        Raises:
            ConfigError: If one fits none; the sentence lists what there is.
        """
        names = dict.fromkeys(s.name for data in records.datasets for s in data.shown)
        for pattern in self.strategies:
            if pattern != SINGLE_TASK and not any(_fits(pattern, name) for name in names):
                raise ConfigError(
                    f"--strategies: {pattern!r} is no strategy of this comparison; there are {'; '.join(names)}."
                )
        columns = [f"{task}.{metric}" for task, of_task in metrics.items() for metric in of_task]
        known = dict.fromkeys([*OVERALL, *(m for of_task in metrics.values() for m in of_task)])
        for pattern in self.metrics:
            if pattern not in known and not any(fnmatchcase(name, pattern) for name in columns):
                example = f", or of one task as {columns[0]}" if columns else ""
                raise ConfigError(
                    f"--metrics: {pattern!r} is no metric of this comparison; there are {', '.join(known)}{example}."
                )

    def metric_columns(self, evidence: DatasetEvidence) -> list[tuple[str, str]]:
        """Return the (task, metric) pairs to show, task by task."""
        if not self.metrics:
            return [(task, evidence.main_metric(task)) for task in evidence.tasks]
        chosen = [
            (task, metric)
            for task, names in evidence.recorded_metrics.items()
            for pattern in self.metrics
            for metric in names
            if pattern not in OVERALL
            and (metric == pattern or fnmatchcase(f"{task}.{metric}", pattern))
        ]
        return list(dict.fromkeys(chosen))

    def shows(self, column: str) -> bool:
        """Return whether a column of ``OVERALL`` is shown."""
        return not self.metrics or column in self.metrics


@dataclass(frozen=True)
class Shown:
    """The strategies to show of one data set.

    Attributes:
        strategies: Their numbers on the split that is shown, in order.
        notes: What was chosen or left out, a sentence each.
        sources: ``{task: the single-task runs that it is taken from}``, where these are several.
    """

    strategies: tuple[StrategyEvidence, ...]
    notes: tuple[str, ...]
    sources: Mapping[str, str] = field(default_factory=dict)


def select(
    data: DatasetRuns,
    validation: DatasetEvidence,
    evidence: DatasetEvidence,
    selection: Selection,
) -> Shown:
    """Return the strategies to show, with their numbers on a split.

    By default these are equal weights, the best fixed ones, the single-task baseline (each task
    from the setting that is best for it) and every method; of the points of a grid the best one.
    All that is chosen is chosen on validation. Where nothing but a grid was trained, all its points
    are shown.

    Args:
        data: The data set.
        validation: Its numbers on validation.
        evidence: Its numbers on the split that is shown.
        selection: What the reader asked for.
    """
    names = [s.name for s in data.shown]
    everything = [evidence.by_name[name] for name in names]
    if selection.everything:
        return Shown(tuple(_named(everything, everything, selection)), ())
    grids: dict[tuple[str, str], list[StrategyEvidence]] = {}
    for name in names:
        strategy = validation.by_name[name]
        if strategy.role not in ("twin", SINGLE_TASK):
            grids.setdefault(grid_of(strategy), []).append(strategy)
    of_grids = {
        min(points, key=_goodness).name: _of_grid(points)
        for points in grids.values()
        if _has_best(points)
    }
    if len(grids) == 1 and len(grids) == len({s.role for s in everything}):
        grids = {(name, ""): [validation.by_name[name]] for name in names}
    best = {min(points, key=_goodness).name for points in grids.values()}
    shown = [s for s in everything if s.name in best]
    single, notes, sources = _single_task(validation, evidence, names)
    place = next((i for i, s in enumerate(everything) if s.role == SINGLE_TASK), 0)
    if single is not None:
        before = sum(s.name in best for s in everything[:place])
        shown.insert(before, single)
    rows = _named(shown, everything, selection)
    shown_names = {s.name for s in rows}
    notes = notes if SINGLE_TASK in shown_names else []
    notes += [note for name, note in of_grids.items() if name in shown_names]
    if not selection.strategies and (left_out := _left_out(everything, shown)):
        notes.append(left_out)
    return Shown(tuple(rows), tuple(notes), sources)


def grid_of(strategy: StrategyEvidence) -> tuple[str, str]:
    """Return what the points of a grid have in common: the role, and the name without numbers.

    All fixed weights are one grid.

    Example:
        >>> grid_of(StrategyEvidence("dwa, lr=0.1, form=soft", "strategy"))
        ('strategy', 'dwa, form=soft')
    """
    if strategy.role == "fixed":
        return "fixed", ""
    first, *settings = strategy.name.split(", ")
    return strategy.role, ", ".join([first, *(s for s in settings if not _is_number(s))])


def _is_number(setting: str) -> bool:
    key, _, value = setting.partition("=")
    try:
        float(value or key)
    except ValueError:
        return value == "default"
    return True


def _goodness(strategy: StrategyEvidence) -> tuple[bool, float]:
    """Return a key that sorts strategies, the best first; survivors of many failures come last.

    Of a study it is the monitor that its tuning chose by, as in its verdicts.
    """
    return not strategy.is_reference, _chosen_by(strategy)


def _chosen_by(strategy: StrategyEvidence) -> float:
    return strategy.tuned if math.isfinite(strategy.tuned) else strategy.mean_monitor


def _fits(pattern: str, name: str) -> bool:
    return name == pattern or name.split(", ")[0] == pattern or fnmatchcase(name, pattern)


def _named(
    shown: Sequence[StrategyEvidence],
    everything: Sequence[StrategyEvidence],
    selection: Selection,
) -> list[StrategyEvidence]:
    """Return the strategies that were asked for by name, in the order of the names."""
    if not selection.strategies:
        return list(shown)
    rows: dict[str, StrategyEvidence] = {}
    for pattern in selection.strategies:
        exact = [s for s in everything if s.name == pattern]
        fitting = exact or [s for s in shown if _fits(pattern, s.name)]
        fitting = fitting or [s for s in everything if _fits(pattern, s.name)]
        rows |= {s.name: s for s in fitting}
    return list(rows.values())


def _single_task(
    validation: DatasetEvidence, evidence: DatasetEvidence, names: Sequence[str]
) -> tuple[StrategyEvidence | None, list[str], dict[str, str]]:
    """Return the single-task baseline as one strategy, and a note on where its tasks come from.

    The last part is ``{task: the strategy it is taken from}``, empty for a single one.
    """
    candidates = [
        s for s in validation.of_role(SINGLE_TASK) if s.name in names and s.recorded
    ] or validation.of_role(SINGLE_TASK)
    if len(candidates) < 2:
        return (evidence.by_name[candidates[0].name] if candidates else None), [], {}
    source = {
        task: min(having, key=lambda s: s.mean_validation(task))
        for task in validation.tasks
        if (having := [s for s in candidates if any(task in v for v in s.values.values())])
    }
    parts = {task: evidence.by_name[s.name] for task, s in source.items()}
    recorded: dict[str, dict[str, Mapping[str, float]]] = {}
    for task, part in parts.items():
        for replicate, values in part.recorded.items():
            if task in values:
                recorded.setdefault(replicate, {})[task] = values[task]
    complete: dict[str, Values] = {r: v for r, v in recorded.items() if len(v) == len(parts)}
    merged = replace(
        candidates[0],
        name=SINGLE_TASK,
        recorded=recorded,
        values=complete,
        relative_loss=relative_losses(complete),
        monitor={},
        failures={},
        unfinished=(),
    )
    origin = ", ".join(f"{task} from {_setting(s.name) or s.name}" for task, s in source.items())
    note = f"single_task takes each task at its best setting on validation: {origin}."
    return merged, [note], {task: s.name for task, s in source.items()}


def _setting(name: str) -> str:
    return ", ".join(name.split(", ")[1:])


def _has_best(points: Sequence[StrategyEvidence]) -> bool:
    return len(points) > 1 and any(math.isfinite(s.mean_monitor) for s in points)


def _of_grid(points: Sequence[StrategyEvidence]) -> str:
    """Return a sentence about the best point of a grid, and whether it lies on the edge."""
    best = min(points, key=_goodness)
    if best.role == "fixed":
        return f"Of {len(points)} fixed weights, {best.name} are the best on validation ({number(_chosen_by(best))})."
    _, method = grid_of(best)
    setting = ", ".join(part for part in best.name.split(", ") if part not in method.split(", "))
    edge = _edge(best.name, [s.name for s in points])
    return f"Of {len(points)} settings of {method}, {setting or best.name} is the best on validation ({number(best.mean_monitor)}){edge}."


def _edge(best: str, names: Sequence[str]) -> str:
    """Return whether a number is the smallest or the largest of three or more that were tried."""
    for setting in best.split(", ")[1:]:
        key, _, value = setting.partition("=")
        if not (value and _is_number(setting)) or value == "default":
            continue
        tried = {
            float(part.partition("=")[2])
            for name in names
            for part in name.split(", ")[1:]
            if part.partition("=")[0] == key and part != f"{key}=default" and _is_number(part)
        }
        if len(tried) > 2 and float(value) in (min(tried), max(tried)):
            which = "smallest" if float(value) == min(tried) else "largest"
            return f": {key}={value} is the {which} that was tried"
    return ""


def _left_out(everything: Sequence[StrategyEvidence], shown: Sequence[StrategyEvidence]) -> str:
    """Return a sentence about the strategies that are not shown; empty if all are."""
    names = {s.name for s in shown}
    is_merged = SINGLE_TASK in names
    counts = Counter(
        _HIDDEN.get(s.role, _OTHER)
        for s in everything
        if s.name not in names and not (is_merged and s.role == SINGLE_TASK)
    )
    words = [f"{count} {forms[count > 1]}" for forms, count in counts.items()]
    return f"Not shown: {', '.join(words)}; --all shows them." if words else ""
