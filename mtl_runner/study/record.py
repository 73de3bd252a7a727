"""The record of a study on disk: ``study.json`` says of every run directory what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from mtl_runner.errors.words import counted, duration
from mtl_runner.files import write_json
from mtl_runner.results.records.summary import Summary
from mtl_runner.runs.records import read_summary
from mtl_runner.runs.sweep_report import SweepReport
from mtl_runner.study.protocol import PHASES, Candidate, PlannedRun
from mtl_runner.train.terminal import say


class StudyRecord:
    """The runs of a study and their directories, written to ``study.json``.

    Attributes:
        directory: The directory of the sweep.
        margin: The relative difference that matters to the user.
        runs: The runs so far, each with the name of its directory.
        count: The number of runs so far, including those that were not launched.

    Example:
        >>> import json, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> record = StudyRecord(Path(folder.name), margin=0.02)
        >>> record.begin_round([PlannedRun(Candidate("equal", "equal", ()), 0.01, 1, 0)], after=3)
        study: tuning, learning rates: 1 run, then about 3 runs
        >>> record.write(["One note."])
        >>> json.loads((Path(folder.name) / "study.json").read_text())["notes"]
        ['One note.']
        >>> folder.cleanup()
    """

    def __init__(self, directory: Path, margin: float) -> None:
        self.directory, self.margin = directory, margin
        self.runs: list[tuple[PlannedRun, str]] = []
        self.count = 0

    def begin_round(self, runs: Sequence[PlannedRun], after: int) -> None:
        """Count and announce runs that are about to be launched, and what is left then.

        Args:
            runs: The runs of the round.
            after: About how many runs come after it.
        """
        self.count += len(runs)
        line = f"study: {PHASES[runs[0].phase]}: {counted(len(runs), 'run')}"
        line += f", then about {counted(after, 'run')}" if after else ", the last ones"
        report = SweepReport.current
        if report is not None:
            report.total = self.count + after
            first = self.count - len(runs)
            report.names = {first + place: run.label for place, run in enumerate(runs)}
            seconds = report.time_for(len(runs) + after)
            line += "" if seconds is None else f"; about {duration(seconds)} left"
        say(line)

    def end_round(self, runs: Sequence[PlannedRun], returns: Sequence[JobReturn]) -> None:
        """Remember the directory of each run of a round.

        If the round was stopped, only some runs have returned; the folders of the others are known
        by the number that they begin with.
        """
        for i, run in enumerate(runs):
            number = self.count - len(runs) + i
            if i < len(returns):
                hydra_config: Any = returns[i].hydra_cfg
                folder = Path(str(OmegaConf.select(hydra_config, "hydra.runtime.output_dir")))
            else:
                folder = next(self.directory.glob(f"{number}_*"), Path())
            if folder.name:
                self.runs.append((run, folder.name))

    def monitor(self, run: PlannedRun, job: JobReturn) -> float:
        """Return a run's monitor at the epoch where runs are judged; infinity if it failed.

        Raises:
            RunDirectoryError: If a newer version wrote its summary.
        """
        if job.status is not JobStatus.COMPLETED:
            return math.inf
        name = next(name for recorded, name in reversed(self.runs) if recorded is run)
        summary = self._summary(name)
        value = summary.monitor.at(summary.judge)
        return math.inf if math.isnan(value) else value

    def rates_per_task(self, candidate: Candidate) -> list[float]:
        """Return the learning rates that are best for a task of the single-task baseline.

        They are sorted, each once; the best one has the least validation loss.

        Raises:
            RunDirectoryError: If a newer version wrote a summary.
        """
        best: dict[str, tuple[float, float]] = {}
        for run, name in self.runs:
            if run.candidate.name == candidate.name and not run.final:
                summary = self._summary(name)
                for task, result in summary.tasks.items():
                    val = result.at(summary.judge, "val")
                    loss = val.get("relative_loss", val.get("loss", math.nan))
                    if loss < best.get(task, (math.inf, 0.0))[0]:
                        best[task] = (loss, run.lr)
        return sorted({lr for _, lr in best.values()})

    def write(self, notes: Sequence[str]) -> None:
        """Write ``study.json``."""
        rows = {
            name: {
                "phase": run.phase,
                "strategy": run.candidate.name,
                "role": run.candidate.role,
                "of": run.candidate.twin_of,
                "final": run.final,
                "lr": run.lr,
                "seed": run.seed,
            }
            for run, name in self.runs
        }
        write_json(
            self.directory / "study.json",
            {"version": 1, "margin": self.margin, "notes": list(notes), "jobs": rows},
        )

    def _summary(self, name: str) -> Summary:
        """Return the results of a run; what a damaged file does not tell is missing from them."""
        return Summary.of(read_summary(self.directory / name))

    def average_weights(self, candidate: Candidate) -> dict[str, float] | None:
        """Return a strategy's weights, averaged over the epochs and seeds of its final runs.

        None if they are unknown, not all finite and positive, or equal.
        """
        from mtl_runner.results.records.curves import read_curves

        sums: dict[str, list[float]] = {}
        for run, name in self.runs:
            if run.final and run.candidate.name == candidate.name:
                curves = read_curves(self.directory / name)
                for task in curves.tasks("train"):
                    weights = curves.curve("train", task, "weight").values()
                    sums.setdefault(task, []).extend(weights)
        sums = {task: weights for task, weights in sums.items() if weights}
        means = {task: sum(values) / len(values) for task, values in sums.items()}
        if not means or not all(math.isfinite(mean) and mean >= 0 for mean in means.values()):
            return None
        largest = max(means.values())
        return None if largest <= 0 or largest - min(means.values()) < 1e-6 * largest else means
