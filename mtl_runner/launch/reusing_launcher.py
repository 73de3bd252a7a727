"""A launcher for sweeps that grow: runs that are there already are not made again.

Free of torch until it launches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from mtl_runner.compat.hydra_compose import FOLDER_KEY
from mtl_runner.errors.words import counted
from mtl_runner.launch.prepared_jobs import PreparingLauncher, directory_of_sweep
from mtl_runner.runs.records import judged_epoch, read_summary
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.sweep_report import SweepReport, varying_options
from mtl_runner.runs.sweep_runs import SweepRuns, is_finished
from mtl_runner.train.terminal import say


class ReusingLauncher(PreparingLauncher):
    """A launcher that hands only those jobs to another one whose runs have not finished.

    A finished run with the config of a job stands for it. A run that was stopped goes on in its
    own directory. All other jobs are new: where an interrupted sweep goes on they get the numbers
    that they would have had, in one that has grown numbers that no run has.

    Args:
        launcher: The launcher that trains, already set up.

    Attributes:
        folders: The name of the folder of each job so far, by the number that the sweeper gave it.
        reused: The number of runs that stood for a job.
        trained: The number of jobs that were handed on.
        keeps_numbers: Whether all jobs have the numbers of a sweep without interruption so far.

    Example:
        >>> from mtl_runner.compat.hydra_launcher import BasicLauncher
        >>> ReusingLauncher(BasicLauncher()).reused
        0
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.folders: dict[int, str] = {}
        self.reused = self.trained = 0
        self.keeps_numbers = True

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives a launcher before the sweep.

        Args:
            hydra_context: Hydra's config loader and callbacks.
            task_function: The function that trains one job.
            config: The config of the sweep.
        """
        # The other launcher may send its own context to other processes: it stays as it is.
        context = HydraContext(hydra_context.config_loader, hydra_context.callbacks)
        super().setup(hydra_context=context, task_function=task_function, config=config)
        self.directory = directory_of_sweep(config)
        self.runs = SweepRuns(self.directory)
        self.next_number = self.runs.next_number

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs whose runs are not there.

        Args:
            job_overrides: The options of each job.
            initial_job_idx: The number of the first job.

        Returns:
            What Hydra wants to know of each job, in their order.
        """
        if not self.next_number:
            self.trained += len(job_overrides)
            return self.launcher.launch(job_overrides, initial_job_idx)
        requests, returns = self.prepare(job_overrides, initial_job_idx)
        places: dict[int, Path] = {}
        for number, request in requests.items():
            if (folder := self.runs.take(request)) is not None:
                places[number] = folder
        finished = [number for number, folder in places.items() if is_finished(folder)]
        for number in finished:
            self._complete_reused(returns[number], requests[number], places[number])
        missing = [number for number in requests if number not in finished]
        failed = sum(
            read_summary(places[number]).get("status") == "failed"
            for number in missing
            if number in places
        )
        self._say(len(finished), len(missing), failed)
        self.keeps_numbers = self.keeps_numbers and self._can_keep_numbers(requests, places)
        if self.keeps_numbers:
            first = missing[0] if missing else 0
            self.next_number = max(self.next_number, initial_job_idx + len(requests))
        else:
            # New jobs come first, so that their numbers have no gaps.
            missing.sort(key=lambda number: number in places)
            first, self.next_number = self.next_number, self.next_number + len(requests)
            self.next_number -= len(places)
        overrides = [list(job_overrides[number - initial_job_idx]) for number in missing]
        natural, _ = self.prepare(overrides, first) if missing else ({}, {})
        for number, options, request in zip(missing, overrides, natural.values(), strict=True):
            usual = requests[number] if self.keeps_numbers else request
            places.setdefault(number, usual.directory)
            if request.directory != places[number]:
                options.append(f"++{FOLDER_KEY}={_quoted(self._name(places[number]))}")
        self.folders |= {number: self._name(folder) for number, folder in places.items()}
        report = SweepReport.current
        if report is not None:
            report.count_earlier(len(finished))
        if missing:
            with self._named(report, requests, dict(enumerate(missing, first))):
                returns |= dict(zip(missing, self.launcher.launch(overrides, first), strict=True))
        return list(returns.values())

    @contextlib.contextmanager
    def _named(
        self, report: SweepReport | None, requests: Mapping[int, Request], jobs: Mapping[int, int]
    ) -> Iterator[None]:
        """Name jobs by what varies among all runs of the sweep, not among those to do alone.

        Args:
            report: The report of the sweep.
            requests: All jobs.
            jobs: The jobs to do, by the numbers that the other launcher gives them.
        """
        if report is None:
            yield
            return
        names = report.names
        options = {number: request.overrides for number, request in requests.items()}
        known = {**varying_options(options, self.runs.options), **names}
        report.names = {new: known[number] for new, number in jobs.items()}
        try:
            yield
        finally:
            report.names = names

    def _can_keep_numbers(
        self, requests: Mapping[int, Request], places: Mapping[int, Path]
    ) -> bool:
        """Return whether every run lies where its job would put it, and no other is in the way."""
        return all(
            places[number] == request.directory
            if number in places
            else number not in self.runs.numbers
            for number, request in requests.items()
        )

    def _complete_reused(self, job: JobReturn, request: Request, folder: Path) -> None:
        """Tell Hydra how a run ended that was made before."""
        summary = read_summary(folder)
        hydra: Any = job.hydra_cfg
        with read_write(hydra.hydra.runtime), open_dict(hydra.hydra.runtime):
            hydra.hydra.runtime.output_dir = str(folder)
        monitor = summary["monitor"].get(judged_epoch(summary))
        outcome = Outcome(float("nan") if monitor is None else float(monitor))
        self.complete(job, request, outcome)

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self.directory).as_posix()

    def _say(self, reused: int, missing: int, failed: int) -> None:
        """Count and print how many runs were there, how many are missing or failed."""
        self.reused, self.trained = self.reused + reused, self.trained + missing
        again = f", {failed} of which failed before" if failed else ""
        say(f"reused {counted(reused, 'run')}, {missing} to do{again}")


def _quoted(name: str) -> str:
    """Return a name as a value of an option, whatever letters it has."""
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
