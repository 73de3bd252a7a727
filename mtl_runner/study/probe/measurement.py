"""The results of a probe's short runs: gradients, losses and monitors. Free of torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtl_runner.results.records.curves import RecordedCurves, read_curves
from mtl_runner.results.records.summary import Summary
from mtl_runner.runs.records import read_summary

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ShortRuns:
    """The results of short runs, averaged over their seeds; tasks are in one order throughout.

    Attributes:
        tasks: The names of the tasks.
        rows: The number of training rows.
        parameters: The number of parameters that are trained.
        scales: The loss of the trivial predictor of each task; where there is none, its training
            loss in the first epoch.
        norms: The gradient norm of each task's loss over the shared parameters, in the first epoch
            and in the last one.
        cosines: The cosines of these gradients, ``[T, T]``, in the first epoch and in the last one;
            NaN where a gradient is 0.
        relative_losses: The loss of each task over the trivial predictor's, on validation, at the
            end of the run with equal weights; NaN where there is none.
        monitors: ``{strategy: the monitor of each learning rate and seed}``, where less is better;
            infinite for a run that failed.

    Example:
        >>> measurement = ShortRuns(
        ...     ("depth", "label"),
        ...     rows=100,
        ...     parameters=1000,
        ...     scales=(4.0, 1.0),
        ...     norms=((8.0, 1.0), (2.0, 0.5)),
        ...     cosines=(((1.0, 0.5), (0.5, 1.0)), ((1.0, 0.1), (0.1, 1.0))),
        ...     relative_losses=(0.5, 0.6),
        ...     monitors={"equal": ((0.55, 0.57), (0.6, 0.6))},
        ... )
        >>> ShortRuns.of(measurement.as_json()) == measurement
        True
    """

    tasks: tuple[str, ...]
    rows: int
    parameters: int
    scales: tuple[float, ...]
    norms: tuple[tuple[float, ...], tuple[float, ...]]
    cosines: tuple[Matrix, Matrix]
    relative_losses: tuple[float, ...]
    monitors: Mapping[str, tuple[tuple[float, ...], ...]]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ShortRuns:
        """Return what :meth:`as_json` has written, where numbers that are not finite are null.

        Args:
            content: The fields.
        """
        fields = {name: _tuples(content[name]) for name in cls.__dataclass_fields__}
        monitors = {
            name: tuple(tuple(math.inf if math.isnan(m) else m for m in rate) for rate in rates)
            for name, rates in fields["monitors"].items()
        }
        return cls(**{**fields, "monitors": monitors})


def gradients_of(directory: Path, tasks: Sequence[str]) -> tuple[Any, Any]:
    """Return norms and cosines of a run, as :class:`ShortRuns` has them.

    Args:
        directory: The run directory.
        tasks: The names of the tasks.

    Returns:
        The norms and the cosines; a norm is NaN where none was recorded.
    """
    curves = read_curves(directory)
    norms, cosines = [], []
    for pick in (min, max):
        norms.append([_at(curves, task, "gradient_norm", pick) for task in tasks])
        cosines.append(
            [[1.0 if a == b else _at(curves, a, f"cosine_{b}", pick) for b in tasks] for a in tasks]
        )
    return norms, cosines


def has_gradients(directory: Path, tasks: Sequence[str]) -> bool:
    """Return whether a run has recorded a gradient of every task.

    Args:
        directory: The run directory.
        tasks: The names of the tasks.
    """
    norms, _ = gradients_of(directory, tasks)
    return all(math.isfinite(norm) and norm > 0 for norm in norms[0])


def measure(
    tasks: Sequence[str],
    rows: int,
    trivial: Mapping[str, float | None],
    equal: Sequence[Path],
    monitors: Mapping[str, Sequence[Sequence[float]]],
) -> ShortRuns:
    """Return what the short runs have measured.

    Args:
        tasks: The names of the tasks.
        rows: The number of training rows.
        trivial: The loss of the trivial predictor per task, None where there is none.
        equal: The directories of the runs of equal weights that recorded gradients.
        monitors: ``{strategy: the monitor of each learning rate and seed}``.
    """
    gradients = [gradients_of(directory, tasks) for directory in equal]
    curves = [read_curves(directory) for directory in equal]
    contents = [read_summary(directory) for directory in equal]
    summaries = [Summary.of(content) for content in contents]
    first_losses = {
        task: _mean(_at(curve, task, "loss", min) for curve in curves) for task in tasks
    }
    norms = [
        tuple(_mean(norms[end][t] for norms, _ in gradients) for t in range(len(tasks)))
        for end in (0, 1)
    ]
    cosines = [
        tuple(
            tuple(_mean(cosines[end][a][b] for _, cosines in gradients) for b in range(len(tasks)))
            for a in range(len(tasks))
        )
        for end in (0, 1)
    ]
    return ShortRuns(
        tasks=tuple(tasks),
        rows=rows,
        parameters=int(contents[0]["parameters"]["trained"]),
        scales=tuple(trivial.get(task) or first_losses[task] for task in tasks),
        norms=(norms[0], norms[1]),
        cosines=(cosines[0], cosines[1]),
        relative_losses=tuple(
            _mean(_relative_loss(summary, task) for summary in summaries) for task in tasks
        ),
        monitors={name: tuple(map(tuple, rates)) for name, rates in monitors.items()},
    )


def _relative_loss(summary: Summary, task: str) -> float:
    result = summary.tasks.get(task)
    if result is None:
        return math.nan
    return result.at(summary.judge, "val").get("relative_loss", math.nan)


def _at(curves: RecordedCurves, task: str, column: str, pick: Any) -> float:
    """Return a number of the first (min) or last (max) recorded epoch of training."""
    curve = curves.curve("train", task, column)
    return curve[pick(curve)] if curve else math.nan


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else math.nan


def _tuples(value: Any) -> Any:
    """Return a value from JSON with tuples for lists and NaN for null."""
    if isinstance(value, list | tuple):
        return tuple(map(_tuples, value))
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return math.nan if value is None else value
