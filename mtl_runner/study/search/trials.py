"""The trials of a search, and their record on disk: ``search.json``, and ``study.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from mtl_runner.errors.words import counted
from mtl_runner.files import write_json
from mtl_runner.results.records.reading import UnreadableError, read_json
from mtl_runner.study.plan import PlannedRun
from mtl_runner.study.record import StudyRecord
from mtl_runner.study.search.options import SearchOptions
from mtl_runner.study.search.proposals import propose
from mtl_runner.study.search.pruning import Limits, median_limits, read_limits
from mtl_runner.study.search.space import NAME, Space


@dataclass
class Search:
    """A search in its directory: the trials so far, what they cost, and their results.

    Attributes:
        space: The settings that it can try.
        options: The user's options.
        seed: The seed of all trials.
        record: The runs of the trials and their directories, for comparisons.
        points: The settings of all trials that were asked for, whether or not they have run.
        limits: The limits of each of these trials (``trainer.give_up``), in the same order.
        monitors: The results of those that have run, in the same order, where less is better.
        given_up: ``{number of a trial: the epoch after which it was given up}``.

    Example:
        >>> space = Space({"depth": 4.0, "label": 1.0}, (0.01, 100), (0.001, 0.1))
        >>> options = SearchOptions(40, 8, 0, (0.01, 100), (0.001, 0.1), True)
        >>> Search(space, options, 0, StudyRecord(Path("sweep"), None, "search")).best
    """

    space: Space
    options: SearchOptions
    seed: int
    record: StudyRecord
    points: list[dict[str, float]] = field(default_factory=list)
    limits: list[Limits] = field(default_factory=list)
    monitors: list[float] = field(default_factory=list)
    given_up: dict[int, int] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The record of what was asked for."""
        return self.record.directory / "search.json"

    @property
    def best(self) -> int | None:
        """The number of the best trial; None without any that ended with a number.

        One that was given up is the best only if all were.
        """
        finite = [place for place, value in enumerate(self.monitors) if math.isfinite(value)]
        candidates = [place for place in finite if place not in self.given_up] or finite
        return min(candidates, key=self.monitors.__getitem__, default=None)

    def read_points(self) -> None:
        """Take over the trials that a search in this directory has asked for, and their limits.

        The first one that does not belong to this search, and all after it, are asked for anew.
        """
        try:
            recorded: Any = read_json(self.file)
        except (FileNotFoundError, UnreadableError):
            return
        points = recorded.get("trials")
        points = points if isinstance(points, list) else []
        # Searches of earlier versions gave no trial up.
        given = recorded.get("give_up", [{}] * len(points))
        for point, given_limits in zip(
            points, given if isinstance(given, list) else [], strict=False
        ):
            limits = read_limits(given_limits)
            if limits is None or not self.space.holds(point):
                return
            if len(self.points) == self.options.trials:
                return
            self.points.append(point)
            self.limits.append(limits)

    def next_batch(self, lr: float) -> list[dict[str, float]]:
        """Return the settings of the next trials, and record them.

        Trials that were asked for before come first, all full batches of them at once.

        Args:
            lr: The learning rate of the first trials.
        """
        done, batch = len(self.monitors), self.options.batch
        known = (len(self.points) - done) // batch * batch
        count = min(max(known, batch), self.options.trials - done)
        if len(self.points) < done + count:
            results = list(zip(self.points, self.monitors, strict=False))
            first = self.space.first_points(lr)
            asked = propose(
                self.space.ranges, results, first, count, self.options.seed, self.given_up
            )
            self.points += asked[len(self.points) - done :]
            limits = self.next_limits()
            self.limits += [limits] * (len(self.points) - len(self.limits))
            # Whoever goes on trains these, whatever a later version of Optuna would ask for.
            record = {"version": 1, "trials": self.points, "give_up": self.limits}
            write_json(self.file, record)
        return self.points[done : done + count]

    def next_limits(self) -> dict[int, float]:
        """Return how good the next trials have to be by some epochs; empty if that is free."""
        if not self.options.prune:
            return {}
        directory, record = self.record.directory, self.record
        complete = [
            (directory / name, record.summary(name))
            for number, (_, name) in enumerate(record.runs[: len(self.monitors)])
            if math.isfinite(self.monitors[number]) and number not in self.given_up
        ]
        return median_limits(complete)

    def add_results(self, runs: Sequence[PlannedRun], returns: Sequence[JobReturn]) -> None:
        """Take up how trials have ended.

        Args:
            runs: The trials, in the order in which they were asked for.
            returns: What the launcher returned, of the first of them or of all.
        """
        for run, job in zip(runs, returns, strict=False):
            epoch = self.record.given_up_after(run, job)
            if epoch is not None:
                self.given_up[len(self.monitors)] = epoch
            self.monitors.append(self.record.monitor(run, job))

    def write(self) -> None:
        """Write for comparisons which run is the best one; all others are trials."""
        best, notes = self.best, []
        if best is not None:
            notes.append(
                f"{NAME} is the best of {counted(len(self.monitors), 'trial')} by the monitor on validation, with the seed of the trials: its validation numbers flatter it."
            )
        runs = self.record.runs
        self.record.runs = [(replace(r, final=i == best), name) for i, (r, name) in enumerate(runs)]
        self.record.write(notes)
