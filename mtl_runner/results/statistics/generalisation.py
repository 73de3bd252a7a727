"""Whether the harm of joint training is in optimisation or in generalisation.

Two runs are compared where their training losses are the same: what then differs on validation is
generalisation, and what differs only later is optimisation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_runner.results.records.curves import RecordedCurves, read_curves
from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import DatasetEvidence
from mtl_runner.results.records.run import Run
from mtl_runner.results.statistics.differences import percentage
from mtl_runner.results.statistics.paired import Paired, paired

Curve = Sequence[tuple[float, float]]  # (epoch, loss)


@dataclass(frozen=True)
class Trajectory:
    """The losses of one task in one run, up to the evaluation that judges it.

    Attributes:
        train: Training losses, each at the middle of the batches that it is the mean of: a run that
            learns fast has left that loss behind when the epoch ends.
        validation: Validation losses, each at its evaluation.
    """

    train: Curve
    validation: Curve


@dataclass(frozen=True)
class Gap:
    """Joint training (equal weights) beside single-task training, on one task.

    Relative changes of the validation loss over pairs of seeds; above 0 joint training is worse.

    Attributes:
        task: The task.
        harm: The change where each run is judged.
        at_equal_loss: The change at equal training loss.
    """

    task: str
    harm: Paired
    at_equal_loss: Paired


def generalisation_gaps(data: DatasetRuns, evidence: DatasetEvidence, at: str) -> list[Gap]:
    """Compare equal weights and single-task training at equal training loss, task by task.

    Args:
        data: The runs of a data set, whose curves are read.
        evidence: Its numbers, which tell the single-task runs that are best for each task.
        at: The epoch that judges, ``final`` or ``best``; what a run did later is left out.

    Returns:
        A gap per task that has pairs of runs; none without equal weights at one setting and
        single-task runs.
    """
    runs = {strategy.name: strategy.runs for strategy in data.strategies}
    equal_weights = evidence.of_role("equal")
    if len(equal_weights) != 1 or len(data.tasks) < 2:
        return []
    curves: dict[int, RecordedCurves] = {}
    gaps = []
    for task in data.tasks:
        best = evidence.best_single_task(task)
        if best is None:
            continue
        pairs = [
            tuple(trajectory(_curves(curves, run), run, task, at) for run in pair)
            for pair in _pairs(runs.get(equal_weights[0].name, {}), runs.get(best.name, {}))
        ]
        harms = [
            _log_ratio(joint.validation[-1][1], single.validation[-1][1])
            for joint, single in pairs
            if joint.validation and single.validation
        ]
        equal = [at_equal_training_loss(joint, single) for joint, single in pairs]
        gap = Gap(
            task,
            percentage(paired(harms, tested=False)),
            percentage(paired(equal, tested=False)),
        )
        if gap.at_equal_loss.count:
            gaps.append(gap)
    return gaps


def trajectory(curves: RecordedCurves, run: Run, task: str, at: str) -> Trajectory:
    """Return the losses of a task at every evaluation up to the judged one.

    Args:
        curves: The curves of the run.
        run: The run.
        task: The task.
        at: ``final`` or ``best``.
    """
    best = run.summary.monitor.best_epoch
    epoch = best.get(task) if isinstance(best, Mapping) else best
    judged = math.inf if at == "final" or epoch is None else epoch
    train, validation = (
        [(e, loss) for e, loss in sorted(curves.curve(split, task, "loss").items()) if e <= judged]
        for split in ("train", "val")
    )
    ends = [0.0, *(e for e, _ in train)]
    # A row is the mean over the batches since the row before, but not of an epoch before.
    begins = [max(before, math.ceil(end) - 1) for before, end in itertools.pairwise(ends)]
    middles = [((begin + end) / 2, loss) for begin, (end, loss) in zip(begins, train, strict=True)]
    return Trajectory(middles, validation)


def at_equal_training_loss(joint: Trajectory, single: Trajectory) -> float:
    """Return the log ratio of the validation losses where the training losses are first the same.

    It is the lowest training loss that both have reached. In between, losses are interpolated
    geometrically, as they fall.

    Args:
        joint: The losses of one run.
        single: Those of the other run.

    Returns:
        The logarithm of joint over single; NaN where one was below that training loss before its
        first evaluation, or a loss is not positive.

    Example:
        >>> joint = Trajectory([(0.5, 1.0), (1.5, 0.25)], [(1.0, 0.6), (2.0, 0.2)])
        >>> single = Trajectory([(0.5, 0.5), (1.5, 0.05)], [(0.5, 0.5), (1.5, 0.05)])
        >>> round(math.exp(at_equal_training_loss(joint, single)), 3)
        1.386
    """
    if not joint.train or not single.train:
        return math.nan
    level = max(min(loss for _, loss in run.train) for run in (joint, single))
    losses = [_at(run.validation, _first_at(run.train, level)) for run in (joint, single)]
    return _log_ratio(*losses)


def _first_at(curve: Curve, level: float) -> float:
    """Return when a curve first falls to a level; NaN where it begins below it."""
    if curve[0][1] == level:
        return curve[0][0]
    for (before, above), (after, below) in itertools.pairwise(curve):
        if below <= level < above:
            share = _log_ratio(level, above) / _log_ratio(below, above)
            return before + share * (after - before)
        if above < level:
            break
    return math.nan


def _at(curve: Curve, epoch: float) -> float:
    """Return the loss of a curve at an epoch; NaN outside of it."""
    for (before, first), (after, second) in itertools.pairwise(curve):
        if before <= epoch <= after:
            share = (epoch - before) / (after - before)
            return math.exp((1 - share) * _log(first) + share * _log(second))
    return math.nan


def _pairs(joint: Mapping[str, Run], single: Mapping[str, Run]) -> list[tuple[Run, Run]]:
    """Return the finished runs of both that have the same seed and fold."""
    return [
        (run, single[replicate])
        for replicate, run in joint.items()
        if replicate in single and run.finished and single[replicate].finished
    ]


def _curves(known: dict[int, RecordedCurves], run: Run) -> RecordedCurves:
    """Return the curves of a run, which is read once for all tasks."""
    if id(run) not in known:
        known[id(run)] = read_curves(run.directory)
    return known[id(run)]


def _log_ratio(loss: float, base: float) -> float:
    return _log(loss) - _log(base)


def _log(loss: float) -> float:
    """Return the logarithm of a loss; NaN where it is not positive or not finite."""
    return math.log(loss) if 0 < loss < math.inf else math.nan
