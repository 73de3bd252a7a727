"""The protocol of a tracker: it is started, gets the numbers of every evaluation, and is ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_runner.runs.records import flat

# How a run can end: to its last epoch, by an error, or by a signal, after which it can go on.
ENDS = ("finished", "failed", "interrupted")


@dataclass(frozen=True)
class TrackedRun:
    """A run as its trackers know it.

    Attributes:
        id: A name of the run that no other one has; it stays the same when the run is resumed.
        name: The name of the run directory.
        directory: The run directory.
        config: The config of the run, as plain values.
        group: The name of the sweep's directory; empty for a single run.
        last_step: The last step whose evaluation the tracker was given before; 0 for none.
    """

    id: str
    name: str
    directory: Path
    config: Mapping[str, Any]
    group: str = ""
    last_step: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the config by their dotted keys, without the trackers' own.

        Example:
            >>> TrackedRun("1", "run", Path("run"), {"seed": 0, "optimizer": {"lr": 0.1}}).settings
            {'seed': 0, 'optimizer.lr': 0.1}
        """
        return {key: value for key, value in flat(self.config) if not key.startswith("tracker.")}


class Tracker(ABC):
    """Base class of all trackers, also of your own (``_target_: my_module.MyTracker``).

    A tracker that raises an error is left out from then on, with a warning; the run goes on.

    Attributes:
        place: Where its record can be looked at, for a line in the log; empty to say nothing.

    Example:
        >>> class Printer(Tracker):
        ...     def log(self, step, values):
        ...         print(step, values)
        >>> printer = Printer()
        >>> printer.start(TrackedRun("1", "run", Path("run"), {}))
        0
        >>> printer.log(5, {"epoch": 1.0, "val/depth/loss": 0.25})
        5 {'epoch': 1.0, 'val/depth/loss': 0.25}
    """

    place: str = ""

    def start(self, run: TrackedRun) -> int:
        """Begin the record of a run, or go on with it after the run was resumed.

        Args:
            run: The run.

        Returns:
            The last step whose evaluation is on the record: the tracker gets the later ones,
            also those from before a resume. By default the last one that it was given.
        """
        return run.last_step

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of an evaluation; the steps increase.

        Args:
            step: Number of training steps before it.
            values: What ``metrics.csv`` gets, as ``{"val/depth/rmse": 0.5, ...}``, and the epoch.
        """

    def end(  # noqa: B027  # most trackers have something to end, but none has to
        self, status: str, step: int, values: Mapping[str, float], pictures: Sequence[Path]
    ) -> None:
        """End the record, for now or for good.

        Args:
            status: ``"finished"``, ``"failed"``, or ``"interrupted"``: then it may go on.
            step: The step of the model that is judged.
            values: The numbers of the test split, as in :meth:`log`; empty if it did not finish.
            pictures: The paths of the pictures that the run drew.
        """
