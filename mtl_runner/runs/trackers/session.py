"""The trackers of one run: what metrics.csv gets is handed on to them, once, and in order.

``metrics.csv`` is what they are told from, after the checkpoint that knows of its rows: a resumed
run repeats no step that a tracker knows, and makes up for those that it does not.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import random
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from omegaconf import OmegaConf

from mtl_runner.config.instantiate import make
from mtl_runner.errors import ConfigError
from mtl_runner.files import open_regular, write_json
from mtl_runner.results.records.reading import UnreadableError, read_json
from mtl_runner.runs.records import TRACKERS
from mtl_runner.runs.request import Request
from mtl_runner.runs.trackers.base import TrackedRun, Tracker

log = logging.getLogger("mtl_runner")

KEY_COLUMNS = ("epoch", "step", "split", "task")
Result = TypeVar("Result")

# The trackers of the runs that this process trains, by run directory.
_open: dict[Path, Trackers] = {}


@dataclass(frozen=True)
class TrackedEvaluation:
    """One evaluation as metrics.csv has it.

    Attributes:
        step: Number of training steps before it.
        is_test: Whether it is the one of the test split, at the end.
        values: ``{"val/depth/loss": 0.5, ...}``, and the epoch.
    """

    step: int
    is_test: bool
    values: Mapping[str, float]


class Trackers:
    """The trackers that the config of a run names.

    Args:
        request: The run.

    Raises:
        ConfigError: If a tracker cannot be made, or the package that it needs is not installed.

    Example:
        >>> request = Request(OmegaConf.create({"seed": 0}), Path("outputs/run"))
        >>> Trackers(request).trackers
        {}
    """

    def __init__(self, request: Request) -> None:
        self.directory = request.directory
        config: Any = OmegaConf.to_container(request.config, resolve=True)
        self.config: dict[str, Any] = config
        self.group = request.directory.parent.name if request.job else ""
        self.trackers = {
            name: make_tracker(node, key) for name, (key, node) in _nodes(config).items()
        }
        self.id = ""
        self.last_steps: dict[str, int] = {}
        self.rows_read = 0
        self.test: TrackedEvaluation | None = None

    def start(self) -> None:
        """Start all trackers, and tell them what there is in metrics.csv that they do not know."""
        if not self.trackers:
            return
        note = read_note(self.directory)
        self.id = str(note.get("id") or uuid.uuid4().hex[:12])
        steps = note.get("last_steps") or {}
        self.last_steps = {name: int(steps.get(name, 0)) for name in self.trackers}
        self._write_note(ended=False)
        _open[self.directory] = self
        for name, tracker in list(self.trackers.items()):
            run = TrackedRun(
                self.id,
                self.directory.name,
                self.directory,
                self.config,
                self.group,
                self.last_steps[name],
            )
            last_step = self._guarded(name, tracker.start, run)
            if last_step is not None:
                self.last_steps[name] = last_step
                if tracker.place:
                    log.info("%s: %s", name, tracker.place)
        self.follow()

    def follow(self) -> None:
        """Hand on what metrics.csv has got since the last time."""
        if not self.trackers:
            return
        for evaluation in self._new_evaluations():
            if evaluation.is_test:
                self.test = evaluation
                continue
            step = evaluation.step
            names = [name for name in self.trackers if step > self.last_steps[name]]
            if not names:
                continue
            # Noted first: a tracker that cannot tell what it knows is not told twice.
            self.last_steps |= dict.fromkeys(names, step)
            self._write_note(ended=False)
            for name in names:
                self._guarded(name, self.trackers[name].log, step, dict(evaluation.values))

    def end(self, status: str) -> None:
        """End all trackers.

        Args:
            status: ``"finished"``, ``"failed"`` or ``"interrupted"``.
        """
        _open.pop(self.directory, None)
        if not self.trackers:
            return
        self.follow()
        pictures = sorted(self.directory.glob("*.png")) if status == "finished" else []
        test = self.test if status == "finished" else None
        for name, tracker in list(self.trackers.items()):
            step = test.step if test else self.last_steps[name]
            values = dict(test.values) if test else {}
            # The evaluation at this step has told it.
            values.pop("epoch", None)
            self._guarded(name, tracker.end, status, step, values, pictures)
        self._write_note(ended=status == "finished")
        self.trackers = {}

    def _new_evaluations(self) -> list[TrackedEvaluation]:
        """Return the evaluations of metrics.csv that were not read before."""
        with contextlib.suppress(OSError):
            descriptor = open_regular(self.directory / "metrics.csv")
            with os.fdopen(descriptor, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            new, self.rows_read = rows[self.rows_read :], len(rows)
            return list(evaluations_of(new))
        return []

    def _write_note(self, ended: bool) -> None:
        """Write down what the trackers were told, for a process that resumes the run."""
        # A full disk stops the run elsewhere.
        with contextlib.suppress(OSError):
            write_json(
                self.directory / TRACKERS,
                {"id": self.id, "last_steps": self.last_steps, "ended": ended},
            )

    def _guarded(self, name: str, method: Callable[..., Result], *values: Any) -> Result | None:
        """Call a method of a tracker; if it fails, leave it out from then on, with one warning."""
        try:
            with _kept_random_states():
                return method(*values)
        except Exception as error:
            self.trackers.pop(name, None)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning(
                "The tracker %s failed and is left out from here on (%s); the run is not affected.",
                name,
                reason.rstrip("."),
            )
            trace = "".join(traceback.format_exception(error))
            logging.getLogger("mtl_runner.file").info("%s", trace)
            return None


def end_trackers(directory: Path, status: str) -> None:
    """End the trackers of a run, if this process has any open.

    Args:
        directory: The run directory.
        status: ``"finished"``, ``"failed"`` or ``"interrupted"``.
    """
    trackers = _open.get(directory)
    if trackers is not None:
        trackers.end(status)


def catch_up(request: Request) -> None:
    """End the trackers of a finished run that was killed before it could.

    Args:
        request: The run.
    """
    if read_note(request.directory).get("ended") is False:
        trackers = Trackers(request)
        trackers.start()
        trackers.end("finished")


def make_tracker(node: Any, key: str) -> Tracker:
    """Return the tracker that a config node describes.

    Args:
        node: A mapping with ``_target_`` and options.
        key: The key of the node in the config, for the errors.

    Raises:
        ConfigError: If it makes no tracker.
    """
    tracker = make(node, key)
    if not isinstance(tracker, Tracker):
        raise ConfigError(
            f"{key}._target_ made a {type(tracker).__name__}; it must make a mtl_runner.Tracker."
        )
    return tracker


def read_note(directory: Path) -> dict[str, Any]:
    """Return what is noted of the trackers of a run; empty if there is no such note.

    Args:
        directory: The run directory.
    """
    try:
        return read_json(directory / TRACKERS)
    except (FileNotFoundError, UnreadableError):
        return {}


def evaluations_of(rows: Iterable[Mapping[str, str]]) -> Iterator[TrackedEvaluation]:
    """Yield the evaluations that rows of metrics.csv are about.

    Args:
        rows: Cells by the name of their column.

    Example:
        >>> row = {"epoch": "1", "step": "5", "split": "val", "task": "depth", "loss": "0.5"}
        >>> next(evaluations_of([row])).values
        {'val/depth/loss': 0.5, 'epoch': 1.0}
    """

    def evaluation(row: Mapping[str, str]) -> tuple[int, float, bool]:
        return int(row["step"]), float(row["epoch"]), row["split"] == "test"

    for (step, epoch, is_test), group in groupby(rows, evaluation):
        values = {
            f"{row['split']}/{row['task']}/{column}": float(cell)
            for row in group
            for column, cell in row.items()
            if cell and column not in KEY_COLUMNS
        }
        yield TrackedEvaluation(step, is_test, {**values, "epoch": epoch})


def _nodes(config: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return the key and the node of each tracker by its name; one without a name is ``tracker``.

    Raises:
        ConfigError: If the config's ``tracker`` is a text.
    """
    node = config.get("tracker") or {}
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"tracker={node!r} cannot be added here; a run that is resumed by resume= keeps the trackers it has."
        )
    if "_target_" in node:
        return {"tracker": ("tracker", node)}
    return {str(name): (f"tracker.{name}", entry) for name, entry in node.items()}


@contextlib.contextmanager
def _kept_random_states() -> Iterator[None]:
    """Keep the random states of Python and NumPy, from which a dataset may draw."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
