"""The Hydra launcher ``stacked``: jobs that differ only in numbers train together. Free of torch until it launches."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mtl_runner.compat.hydra_compose import Composer
from mtl_runner.compat.hydra_launcher import BasicLauncher
from mtl_runner.launch.request import request_in
from mtl_runner.runs.request import Request

LISTED = 6  # jobs of a line that says why they run by themselves


class StackedLauncher(Launcher):
    """Trains the jobs of a sweep in stacks and hands those that cannot be stacked to the basic launcher, with the reason.

    Args:
        memory: bytes that a stack may take.
    """

    # Hydra takes plugins from this package only, whatever file they live in.
    __module__ = "hydra_plugins.mtl_runner"

    def __init__(self, memory: float = 2e9) -> None:
        self.memory = float(memory)
        self.basic = BasicLauncher()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's; also makes the sweeper's check of all configs quick."""
        hydra_context.config_loader = Composer(hydra_context.config_loader)  # type: ignore[assignment]
        self.context, self.task_function, self.config = hydra_context, task_function, config
        self.basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """All jobs, in order."""
        setup_globals()
        if self.config.hydra.runtime.cwd not in sys.path:
            sys.path.insert(0, self.config.hydra.runtime.cwd)
        jobs = {initial_job_idx + i: list(overrides) for i, overrides in enumerate(job_overrides)}
        requests, returns = {}, {}
        common = set.intersection(*(set(overrides) for overrides in jobs.values()))
        for number, overrides in jobs.items():
            request, returns[number] = self._job(number, overrides)
            differing = " ".join(
                override.lstrip("+") for override in overrides if override not in common
            )
            requests[number] = replace(
                request, job=f"{number}: {differing}" if differing else str(number)
            )
        from mtl_runner.runs.stacked import Stacker

        gc.freeze()  # the modules are there to stay, and so are the jobs
        gc.enable()
        stacker = Stacker(requests, self.memory)
        stacker.run()
        self._explain(stacker.alone, len(jobs))
        for number, job in returns.items():
            if number in stacker.alone:
                (returns[number],) = self.basic.launch([jobs[number]], number)
            elif number in stacker.refused:
                job.status, job.return_value = JobStatus.FAILED, stacker.refused[number]
            else:
                job.status, job.return_value = JobStatus.COMPLETED, stacker.outcomes[number].monitor
                self.context.callbacks.on_job_end(config=requests[number].config, job_return=job)
        return [returns[number] for number in jobs]

    def _job(self, number: int, overrides: list[str]) -> tuple[Request, JobReturn]:
        """What ``hydra.core.utils.run_job`` does before a job begins."""
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config.hydra):
            config.hydra.job.id = config.hydra.job.num = number
        request, hydra = request_in(config, _directory_in_sweep)
        name = hydra.hydra.job.name
        return request, JobReturn(
            overrides=overrides,
            cfg=config,
            hydra_cfg=hydra,
            working_dir=str(Path.cwd()),
            task_name=name,
        )

    @staticmethod
    def _explain(alone: dict[int, str], jobs: int) -> None:
        for reason in dict.fromkeys(alone.values()):
            numbers = [number for number, why in alone.items() if why == reason]
            shown = ", ".join(map(str, numbers[:LISTED])) + (
                ", ..." if len(numbers) > LISTED else ""
            )
            print(f"{len(numbers)} of {jobs} jobs run one by one ({shown}): {reason}.", flush=True)


def _directory_in_sweep(config: DictConfig) -> Path:
    return Path(str(OmegaConf.select(config, "hydra.sweep.dir"))) / str(
        OmegaConf.select(config, "hydra.sweep.subdir")
    )
