"""A launcher around any other one, so that the terminal shows the same of every sweep.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.hydra_launcher import failure_of
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.errors.messages import run_message
from mtl_runner.launch.prepared_jobs import directory_of_sweep
from mtl_runner.runs.sweep_report import SweepReport


class ReportedLauncher(Launcher):
    """A launcher that hands the jobs to another one and reports how they end.

    Args:
        launcher: The launcher that trains the jobs.
        config: The config of the sweep.

    Attributes:
        report: What the terminal shows of the sweep.

    Example:
        >>> config = OmegaConf.create({"hydra": {"sweep": {"dir": "sweep"}, "sweeper": {}}})
        >>> ReportedLauncher(None, config).report.state
        '0 of 0'
    """

    def __init__(self, launcher: Any, config: DictConfig) -> None:
        self.launcher = launcher
        # A sweeper such as Optuna's gives its jobs away in batches.
        trials = OmegaConf.select(config, "hydra.sweeper.n_trials")
        total = trials if is_whole_number(trials, 1) else 0
        self.report = SweepReport.current = SweepReport(directory_of_sweep(config), total)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Do nothing: the other launcher has been set up when it was made.

        Args:
            hydra_context: Hydra's config loader and callbacks.
            task_function: The function that trains one job.
            config: The config of the sweep.
        """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs.

        Args:
            job_overrides: The options of each job.
            initial_job_idx: The number of the first job.

        Returns:
            What the other launcher returns.
        """
        jobs = {initial_job_idx + i: overrides for i, overrides in enumerate(job_overrides)}
        with self.report.watching(jobs):
            returns: Sequence[JobReturn] = self.launcher.launch(job_overrides, initial_job_idx)
        for number, job in zip(jobs, returns, strict=False):
            failure = failure_of(job) if job.status == JobStatus.FAILED else None
            reason = "" if failure is None else run_message(failure)
            self.report.end_run(number, _directory_of(job), reason)
        return returns


def _directory_of(job: JobReturn) -> Path | None:
    """Return the run directory of a job that has ended."""
    hydra: Any = job.hydra_cfg
    directory = OmegaConf.select(hydra, "hydra.runtime.output_dir") if hydra else None
    return None if directory is None else Path(str(directory))
