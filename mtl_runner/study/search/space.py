"""The space of a search: every trial is a point of task weights and a learning rate, in logs.

Free of torch and Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mtl_runner.study.plan import Candidate, PlannedRun, fixed_overrides
from mtl_runner.study.search.options import Range

# The strategy that the best trial is in a comparison.
NAME = "fixed (search)"
RATE = "lr"
Point = Mapping[str, float]


class Space:
    """The settings that a search can try.

    Only ratios of weights are searched, since a common factor of all weights is a learning rate:
    the first task's weight is 1, those of the others are relative to it. All are taken of the losses
    divided by the trivial predictor's, as the fixed weights of a study are.

    Args:
        trivial: The loss of the trivial predictor per task, None where there is none; unless all
            are known, the weights are of the raw losses.
        weights: The least and the largest weight relative to the first task's.
        lr: The least and the largest learning rate.

    Attributes:
        ranges: The least and the largest value of each setting, by its name.

    Example:
        >>> space = Space({"depth": 4.0, "label": 1.0}, (0.01, 100), (0.001, 0.1))
        >>> space.ranges
        {'lr': (0.001, 0.1), 'weight of label': (0.01, 100)}
        >>> space.weights({"lr": 0.01, "weight of label": 1.0})
        {'depth': 0.4, 'label': 1.6}
    """

    def __init__(self, trivial: Mapping[str, float | None], weights: Range, lr: Range) -> None:
        self.tasks = list(trivial)
        known = [loss for loss in trivial.values() if loss]
        self.scales = known if len(known) == len(self.tasks) else [1.0] * len(self.tasks)
        self.ranges: dict[str, Range] = {RATE: lr}
        self.ranges |= {f"weight of {task}": weights for task in self.tasks[1:]}

    def weights(self, point: Point) -> dict[str, float]:
        """Return the weights of a trial, with mean 1.

        Args:
            point: Its settings, by their names.
        """
        relative = [1.0, *(point[f"weight of {task}"] for task in self.tasks[1:])]
        raw = [weight / scale for weight, scale in zip(relative, self.scales, strict=True)]
        mean = sum(raw) / len(raw)
        return {task: weight / mean for task, weight in zip(self.tasks, raw, strict=True)}

    def first_points(self, lr: float) -> list[dict[str, float]]:
        """Return the settings that a search begins with, so that its best one is no worse.

        They are the weights that make the trivial predictor's losses equal, and equal weights,
        where they lie in the ranges.

        Args:
            lr: Their learning rate, ``optimizer.lr``; one outside of the range is moved into it.
        """
        least, most = self.ranges[RATE]
        rate = min(max(lr, least), most)
        relative = [[1.0] * len(self.tasks), [scale / self.scales[0] for scale in self.scales]]
        points = [
            {RATE: rate} | dict(zip(list(self.ranges)[1:], row[1:], strict=True))
            for row in relative
        ]
        inside = [point for point in points if self.holds(point)]
        return [point for i, point in enumerate(inside) if point not in inside[:i]]

    def holds(self, point: object) -> bool:
        """Return whether something is a trial of this search: it may come from a file.

        Args:
            point: What may be settings by their names.
        """
        return (
            isinstance(point, Mapping)
            and list(point) == list(self.ranges)
            and all(
                isinstance(value, float)
                and math.isfinite(value)
                and self.ranges[name][0] <= value <= self.ranges[name][1]
                for name, value in point.items()
            )
        )

    def edges(self, point: Point) -> list[str]:
        """Return the settings that lie near an end of their range, in its last twentieth.

        Args:
            point: The settings of a trial.

        Example:
            >>> space = Space({"depth": 4.0, "label": 1.0}, (0.01, 100), (0.001, 0.1))
            >>> space.edges({"lr": 0.09, "weight of label": 1.0})
            ['lr']
        """
        near = []
        for name, (least, most) in self.ranges.items():
            place = math.log(point[name] / least) / math.log(most / least)
            if not 0.05 <= place <= 0.95:
                near.append(name)
        return near

    def run(self, point: Point, seed: int) -> PlannedRun:
        """Return the run of a trial.

        Args:
            point: Its settings.
            seed: The seed of all trials.
        """
        candidate = Candidate(NAME, "fixed", fixed_overrides(self.weights(point)))
        return PlannedRun(candidate, point[RATE], phase=6, seed=seed)

    def label(self, point: Point) -> str:
        """Return a trial in words.

        Args:
            point: Its settings.

        Example:
            >>> space = Space({"depth": 4.0, "label": 1.0}, (0.01, 100), (0.001, 0.1))
            >>> space.label({"lr": 0.01, "weight of label": 1.0})
            'lr=0.01 depth=0.4 label=1.6'
        """
        weights = self.weights(point).items()
        return " ".join(
            [f"lr={point[RATE]:.3g}", *(f"{task}={weight:.3g}" for task, weight in weights)]
        )
