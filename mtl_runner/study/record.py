"""The record of a study on disk: ``study.json`` says of every run directory what it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from mtl_runner.errors.checks import is_number
from mtl_runner.errors.words import counted, duration
from mtl_runner.files import write_json
from mtl_runner.results.records.reading import UnreadableError, read_json
from mtl_runner.results.records.roles import group_name
from mtl_runner.results.records.summary import Summary
from mtl_runner.runs.records import read_summary
from mtl_runner.runs.sweep_report import SweepReport
from mtl_runner.runs.sweep_runs import run_folders
from mtl_runner.study.plan import Candidate, Levels, PlannedRun, Setting
from mtl_runner.train.terminal import say

# What the runs of each phase are for.
PURPOSES = {
    1: "tuning (learning rates)",
    2: "tuning (one more trial for each, as a best learning rate lies on the edge)",
    3: "tuning (last trials)",
    4: "final runs with fresh seeds",
    5: "frozen twins with the same seeds",
    6: "trials of weights and learning rates",
    7: "tuning of frozen twins (learning rates)",
    8: "tuning of frozen twins (last trials)",
    9: "tuning (regularisation)",
    10: "short runs",
    20: "tuning on the narrow model (weights and learning rates)",
    21: "tuning on the narrow model (one more trial for each, as a best learning rate lies on the edge)",
    22: "tuning on the wide model (learning rates)",
    23: "tuning on the wide model (one more trial for each, as a best learning rate lies on the edge)",
}


class StudyRecord:
    """The runs of a study and their directories, written to ``study.json``.

    Args:
        directory: The directory of the sweep.
        margin: The relative difference that matters to the user; None of a search, which compares
            nothing.
        kind: What lines on the terminal begin with, ``"study"``, ``"search"`` or ``"probe"``.

    Attributes:
        runs: The runs so far, each with the name of its directory.
        count: The number of runs so far, including those that were not launched.
        rounds: The number of rounds of each phase so far, in the present group.
        notes: Sentences about the tuning of each group, by its name.
        seconds_per_run: What the first run took where the budget is a time, NaN else. It is
            recorded, so that a study that goes on keeps its number of runs.

    Example:
        >>> import json, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> record = StudyRecord(Path(folder.name), margin=0.02)
        >>> record.begin_round([PlannedRun(Candidate("equal", "equal", ()), 0.01, 1, 0)], (4, 6))
        study: tuning (learning rates), 1 run; 4 to 6 more after it
        >>> record.write(["One note."])
        >>> json.loads((Path(folder.name) / "study.json").read_text())["notes"]
        ['One note.']
        >>> folder.cleanup()
    """

    def __init__(self, directory: Path, margin: float | None, kind: str = "study") -> None:
        self.directory, self.margin, self.kind = directory, margin, kind
        self.runs: list[tuple[PlannedRun, str]] = []
        self.count = 0
        self.rounds: Counter[int] = Counter()
        self.notes: dict[str, Sequence[str]] = {}
        self.seconds_per_run = math.nan

    def begin_round(
        self, runs: Sequence[PlannedRun], later: tuple[int, int], pace: float = math.nan
    ) -> None:
        """Count and announce runs that are about to be launched, and what is left then.

        Args:
            runs: The runs of the round.
            later: The least and the most runs that follow it.
            pace: The seconds per run so far; NaN if it is unknown.
        """
        self.count += len(runs)
        self.rounds[runs[0].phase] += 1
        group = group_name(runs[0].candidate.group)
        purpose = PURPOSES[runs[0].phase]
        purpose = f"{group}: {purpose}" if group else purpose
        words = [f"{self.kind}: {purpose}, {counted(len(runs), 'run')}"]
        least, most = later
        if most:
            span = f"{least} to {most}" if least < most else str(most)
            words.append(f"{span} more after {'it' if len(runs) == 1 else 'them'}")
        report = SweepReport.current
        if report is not None:
            # Runs that were there already are not reported.
            report.total = report.done + len(runs) + most
            first = self.count - len(runs)
            report.names = {first + place: run.label for place, run in enumerate(runs)}
        if not math.isnan(pace):
            words.append(f"at most about {duration(pace * (len(runs) + most))} left")
        say("; ".join(words))

    def end_round(
        self,
        runs: Sequence[PlannedRun],
        returns: Sequence[JobReturn],
        folders: Mapping[int, str] | None = None,
    ) -> None:
        """Remember the directory of each run of a round.

        If the round was stopped, only some runs have returned; the folders of the others are those
        that the launcher names, or begin with the number of the run.

        Args:
            runs: The runs of the round.
            returns: What the launcher returned, of the first of them or of all.
            folders: The folder of each run that the launcher knows, by the number of the run.
        """
        for i, run in enumerate(runs):
            number = self.count - len(runs) + i
            if i < len(returns):
                hydra_config: Any = returns[i].hydra_cfg
                folder = Path(str(OmegaConf.select(hydra_config, "hydra.runtime.output_dir")))
            elif number in (folders or {}):
                folder = self.directory / (folders or {})[number]
                if not folder.exists():
                    continue
            else:
                folder = next(self.directory.glob(f"{number}_*"), Path())
            if folder.name:
                self.runs.append((run, folder.name))

    def read_pace(self) -> None:
        """Take over how long the first run took, if a study in this directory has recorded it."""
        try:
            seconds: Any = read_json(self.directory / "study.json").get("seconds_per_run")
        except (FileNotFoundError, UnreadableError):
            return
        if is_number(seconds) and seconds > 0:
            self.seconds_per_run = float(seconds)

    def refusal(self, candidate: Candidate) -> str:
        """Return why no run of a candidate could begin; empty if one did.

        Raises:
            RunDirectoryError: If a newer version wrote a summary.
        """
        summaries = [
            read_summary(self.directory / name) for run, name in self.runs if _is_of(run, candidate)
        ]
        if summaries and all(summary.get("refused") is True for summary in summaries):
            return str(summaries[0].get("reason", ""))
        return ""

    def monitor(self, run: PlannedRun, job: JobReturn) -> float:
        """Return a run's monitor at the epoch where runs are judged; infinity if it failed.

        Raises:
            RunDirectoryError: If a newer version wrote its summary.
        """
        if job.status is not JobStatus.COMPLETED:
            return math.inf
        summary = self.summary(self._name_of(run))
        value = summary.monitor.at(summary.judge)
        return math.inf if math.isnan(value) else value

    def given_up_after(self, run: PlannedRun, job: JobReturn) -> int | None:
        """Return the epoch after which a run was given up; None if it failed or had its time.

        Raises:
            RunDirectoryError: If a newer version wrote its summary.
        """
        if job.status is not JobStatus.COMPLETED:
            return None
        summary = self.summary(self._name_of(run))
        return summary.epochs if summary.given_up else None

    def _name_of(self, run: PlannedRun) -> str:
        return next(name for recorded, name in reversed(self.runs) if recorded is run)

    def seconds_of(self, job: JobReturn) -> float:
        """Return the training time of a run that has just ended, NaN if it failed.

        Raises:
            RunDirectoryError: If a newer version wrote its summary.
        """
        hydra_config: Any = job.hydra_cfg
        folder = Path(str(OmegaConf.select(hydra_config, "hydra.runtime.output_dir")))
        return self.summary(folder.name).seconds

    def settings_per_task(self, candidate: Candidate) -> list[Setting]:
        """Return the settings that are best for a task of the single-task baseline.

        They are sorted, each once; the best ones have the least validation loss.

        Raises:
            RunDirectoryError: If a newer version wrote a summary.
        """
        losses: dict[str, dict[Setting, list[float]]] = {}
        for run, name in self.runs:
            if _is_of(run, candidate) and not run.final:
                summary = self.summary(name)
                setting = run.lr, run.extra_overrides
                for task, result in summary.tasks.items():
                    val = result.at(summary.judge, "val")
                    loss = val.get("relative_loss", val.get("loss", math.nan))
                    losses.setdefault(task, {}).setdefault(setting, []).append(loss)
        best = set()
        for by_setting in losses.values():
            # Settings at which a seed has no loss are none to choose.
            means = {s: sum(of_seeds) / len(of_seeds) for s, of_seeds in by_setting.items()}
            finite = {s: mean for s, mean in means.items() if math.isfinite(mean)}
            if finite:
                best.add(min(finite, key=lambda s: finite[s]))
        return sorted(best)

    def begin_group(self, levels: Levels, notes: Sequence[str]) -> None:
        """Begin with the runs of one combination of the levels of the study's factors.

        Args:
            levels: The factors and their levels; empty in a study without factors.
            notes: The sentences about its tuning, which may become more.
        """
        self.rounds.clear()
        self.notes[group_name(levels)] = notes

    def write(self, notes: Sequence[str] = ()) -> None:
        """Write ``study.json``.

        Args:
            notes: Sentences about the tuning, beside those of the groups.
        """
        rows = {
            name: {
                "phase": run.phase,
                "strategy": run.candidate.name,
                "role": run.candidate.role,
                "of": run.candidate.twin_of,
                "final": run.final,
                "lr": run.lr,
                "seed": run.seed,
                **({} if run.data_seed is None else {"data_seed": run.data_seed}),
                **({"factors": dict(run.candidate.group)} if run.candidate.group else {}),
            }
            for run, name in self.runs
        }
        content: dict[str, Any] = {
            "version": 1,
            "margin": self.margin,
            "notes": [*notes, *self.notes.get("", ())],
            "jobs": rows,
        }
        # Runs of a smaller study that this one does not need, such as twins at other weights.
        unused = sorted(path.name for path in run_folders(self.directory) if path.name not in rows)
        if unused:
            content["unused"] = unused
        group_notes = {name: list(of_group) for name, of_group in self.notes.items() if name}
        if group_notes:
            content["group_notes"] = group_notes
        if not math.isnan(self.seconds_per_run):
            content["seconds_per_run"] = self.seconds_per_run
        write_json(self.directory / "study.json", content)

    def summary(self, name: str) -> Summary:
        """Return the results of a run; what a damaged file does not tell is missing from them.

        Args:
            name: The name of its directory.
        """
        return Summary.of(read_summary(self.directory / name))

    def average_weights(self, candidate: Candidate) -> dict[str, float] | None:
        """Return a strategy's weights, averaged over the epochs and seeds of its final runs.

        None if they are unknown, not all finite and positive, or equal.
        """
        from mtl_runner.results.records.curves import read_curves

        sums: dict[str, list[float]] = {}
        for run, name in self.runs:
            if run.final and _is_of(run, candidate):
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


def _is_of(run: PlannedRun, candidate: Candidate) -> bool:
    """Return whether a run is one of a candidate's, in its group."""
    planned = run.candidate
    return (planned.name, planned.group) == (candidate.name, candidate.group)
