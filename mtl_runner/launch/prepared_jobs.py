"""The jobs of a sweep, composed before any of them runs.

For launchers whose jobs do not know Hydra. Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mtl_runner.compat.hydra_compose import Composer
from mtl_runner.launch.hydra_request import request_of_composed
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.sweep_report import SweepReport


class PreparingLauncher(Launcher):
    """A launcher that makes a request of every job of a sweep before the first one trains.

    Example:
        >>> issubclass(PreparingLauncher, Launcher)
        True
    """

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

    def prepare(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> tuple[dict[int, Request], dict[int, JobReturn]]:
        """Compose the jobs.

        Args:
            job_overrides: The options of each job.
            initial_job_idx: The number of the first job.

        Returns:
            The request of each job, labelled by the options that not all jobs share, and what
            Hydra wants to know of it, both by its number.
        """
        setup_globals()
        jobs = {initial_job_idx + i: list(overrides) for i, overrides in enumerate(job_overrides)}
        requests, returns = {}, {}
        shared = set.intersection(*(set(overrides) for overrides in jobs.values()))
        for number, overrides in jobs.items():
            request, returns[number] = self._prepare_job(number, overrides)
            label = " ".join(
                override.lstrip("+") for override in overrides if override not in shared
            )
            requests[number] = replace(request, job=f"{number}: {label}" if label else str(number))
        return requests, returns

    def complete(self, job: JobReturn, request: Request, outcome: Outcome | Exception) -> None:
        """Tell Hydra how a job ended.

        Args:
            job: What Hydra wants to know of it, changed in place.
            request: The job.
            outcome: How it ended; an exception if its directory could not be used.
        """
        if isinstance(outcome, Exception):
            job.status, job.return_value = JobStatus.FAILED, outcome
            return
        if outcome.error and SweepReport.current is not None:
            hydra: Any = job.hydra_cfg
            SweepReport.current.end_run(hydra.hydra.job.num, None, outcome.error)
        job.status, job.return_value = JobStatus.COMPLETED, outcome.monitor
        self.context.callbacks.on_job_end(config=request.config, job_return=job)

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


def directory_of_sweep(config: DictConfig) -> Path:
    """Return the directory of a sweep.

    Args:
        config: The config of the sweep, or of one of its jobs, with its ``hydra`` node.
    """
    return Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).absolute()


def _directory_in_sweep(config: DictConfig) -> Path:
    """Return the directory that Hydra's config gives a job of a sweep."""
    return directory_of_sweep(config) / str(OmegaConf.select(config, "hydra.sweep.subdir"))
