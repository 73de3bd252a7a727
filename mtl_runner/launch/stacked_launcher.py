"""The Hydra launcher ``stacked``: jobs that differ only in numbers train together.

Free of torch until it launches.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mtl_runner.compat.hydra_compose import Composer
from mtl_runner.compat.hydra_launcher import BasicLauncher
from mtl_runner.config.working_directory import search_in_run
from mtl_runner.launch.hydra_request import request_of_composed
from mtl_runner.runs.request import Request

# A line about jobs that run one by one lists so many of them.
LISTED_JOBS = 6


class StackedLauncher(Launcher):
    """A launcher that trains the jobs of a sweep in stacks.

    Jobs that cannot be stacked go to the basic launcher, and the reason is printed.

    Args:
        memory: The memory in bytes that a stack may take.

    Example:
        >>> StackedLauncher(memory="4e9").memory
        4000000000.0
    """

    # Hydra takes plugins from this package only, wherever their file lies.
    __module__ = "hydra_plugins.mtl_runner"

    def __init__(self, memory: float = 2e9) -> None:
        self.memory = float(memory)
        self.basic = BasicLauncher()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives a launcher before the sweep.

        Args:
            hydra_context: Hydra's config loader, made faster here for all jobs, and callbacks.
            task_function: The function that trains one job.
            config: The config of the sweep.
        """
        loader: Any = Composer(hydra_context.config_loader)
        hydra_context.config_loader = loader
        self.context, self.task_function, self.config = hydra_context, task_function, config
        self.basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs.

        Args:
            job_overrides: The options of each job.
            initial_job_idx: The number of the first job.

        Returns:
            What Hydra wants to know of each job, in their order.
        """
        setup_globals()
        search_in_run()
        jobs = {initial_job_idx + i: list(overrides) for i, overrides in enumerate(job_overrides)}
        requests, returns = {}, {}
        shared = set.intersection(*(set(overrides) for overrides in jobs.values()))
        for number, overrides in jobs.items():
            request, returns[number] = self._prepare_job(number, overrides)
            label = " ".join(
                override.lstrip("+") for override in overrides if override not in shared
            )
            requests[number] = replace(request, job=f"{number}: {label}" if label else str(number))
        from mtl_runner.runs.stacked import StackedRuns

        # Imported modules and the jobs stay to the end: the collector need not look at them.
        gc.freeze()
        gc.enable()
        runs = StackedRuns(requests, self.memory)
        runs.run()
        self._print_reasons(runs.not_stacked, len(jobs))
        for number, job in returns.items():
            if number in runs.not_stacked:
                (returns[number],) = self.basic.launch([jobs[number]], number)
            elif number in runs.refused:
                job.status, job.return_value = JobStatus.FAILED, runs.refused[number]
            else:
                job.status, job.return_value = JobStatus.COMPLETED, runs.outcomes[number].monitor
                self.context.callbacks.on_job_end(config=requests[number].config, job_return=job)
        return [returns[number] for number in jobs]

    def _prepare_job(self, number: int, overrides: list[str]) -> tuple[Request, JobReturn]:
        """Compose a job, as ``hydra.core.utils.run_job`` does before it begins."""
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config.hydra):
            config.hydra.job.id = config.hydra.job.num = number
        request, hydra = request_of_composed(config, _directory_in_sweep)
        return request, JobReturn(
            overrides=overrides,
            cfg=config,
            hydra_cfg=hydra,
            working_dir=str(Path.cwd()),
            task_name=hydra.hydra.job.name,
        )

    @staticmethod
    def _print_reasons(reasons: dict[int, str], jobs: int) -> None:
        """Print a line per reason why jobs run one by one."""
        for reason in dict.fromkeys(reasons.values()):
            numbers = [number for number in reasons if reasons[number] == reason]
            listed = ", ".join(map(str, numbers[:LISTED_JOBS]))
            listed += ", ..." if len(numbers) > LISTED_JOBS else ""
            print(f"{len(numbers)} of {jobs} jobs run one by one ({listed}): {reason}.", flush=True)


def _directory_in_sweep(config: DictConfig) -> Path:
    """Return the directory that Hydra's config gives a job of a sweep."""
    return Path(str(OmegaConf.select(config, "hydra.sweep.dir"))) / str(
        OmegaConf.select(config, "hydra.sweep.subdir")
    )
