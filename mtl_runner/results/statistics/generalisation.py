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

Trajectory = Sequence[tuple[float, float]]  # (training loss, validation loss) per evaluation


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
    joint = evidence.of_role("equal")
    if len(joint) != 1 or len(data.tasks) < 2:
        return []
    curves: dict[int, RecordedCurves] = {}
    gaps = []
    for task in data.tasks:
        single = evidence.best_single_task(task)
        if single is None:
            continue
        pairs = [
            [trajectory(_curves(curves, run), run, task, at) for run in pair]
            for pair in _pairs(runs.get(joint[0].name, {}), runs.get(single.name, {}))
        ]
        harms = [_log_ratio(pair[0][-1][1], pair[1][-1][1]) for pair in pairs if all(pair)]
        equal = [at_equal_training_loss(*pair) for pair in pairs]
        gap = Gap(
            task,
            percentage(paired(harms, tested=False)),
            percentage(paired(equal, tested=False)),
        )
        if gap.at_equal_loss.count:
            gaps.append(gap)
    return gaps


def trajectory(curves: RecordedCurves, run: Run, task: str, at: str) -> list[tuple[float, float]]:
    """Return training and validation loss of a task at every evaluation up to the judged one.

    Args:
        curves: The curves of the run.
        run: The run.
        task: The task.
        at: ``final`` or ``best``.
    """
    train, validation = (curves.curve(split, task, "loss") for split in ("train", "val"))
    best = run.summary.monitor.best_epoch
    epoch = best.get(task) if isinstance(best, Mapping) else best
    judged = math.inf if at == "final" or epoch is None else epoch
    epochs = sorted(e for e in train.keys() & validation.keys() if e <= judged)
    return [(train[e], validation[e]) for e in epochs]


def at_equal_training_loss(joint: Trajectory, single: Trajectory) -> float:
    """Return the log ratio of the validation losses where the training losses are first the same.

    It is the lowest training loss that both have reached; between evaluations both losses are
    interpolated linearly.

    Args:
        joint: Training and validation loss per evaluation of one run.
        single: The same of the other run.

    Returns:
        The logarithm of joint over single; NaN where one was below that training loss at its first
        evaluation already, or a loss is not positive.

    Example:
        >>> joint = [(1.0, 1.2), (0.5, 0.6)]
        >>> single = [(1.0, 1.0), (0.2, 0.2)]
        >>> round(math.exp(at_equal_training_loss(joint, single)), 6)
        1.2
    """
    if not joint or not single:
        return math.nan
    level = max(min(train for train, _ in run) for run in (joint, single))
    return _log_ratio(_validation_at(joint, level), _validation_at(single, level))


def _validation_at(run: Trajectory, level: float) -> float:
    """Return the validation loss where the training loss first falls to a level."""
    train, validation = run[0]
    if train <= level:
        return validation if train == level else math.nan
    for (before, above), (after, below) in itertools.pairwise(run):
        if after <= level:
            share = (before - level) / (before - after)
            return above + share * (below - above)
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
    return math.log(loss / base) if loss > 0 and base > 0 and loss < math.inf else math.nan
