"""The Hydra launcher ``stacked``: jobs that differ only in numbers train together.

Free of torch until it launches.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.hydra_launcher import BasicLauncher
from mtl_runner.config.working_directory import search_in_run, working_directory_searched
from mtl_runner.errors import ConfigError
from mtl_runner.errors.words import counted
from mtl_runner.launch.prepared_jobs import PreparingLauncher, directory_of_sweep
from mtl_runner.launch.slurm_launcher import SlurmLauncher
from mtl_runner.train.terminal import say

# A line about jobs that run one by one lists so many of them.
LISTED_JOBS = 6


class StackedLauncher(PreparingLauncher):
    """A launcher that trains the jobs of a sweep in stacks.

    Jobs that cannot be stacked go to the basic launcher, and the reason is printed.

    Args:
        memory: The memory in bytes that a stack may take.
        over: ``"slurm"``: every stack trains in a job of a cluster.
        slurm: The options of those jobs, as of :class:`SlurmLauncher`.

    Raises:
        ConfigError: If an option is wrong, or there is no Slurm.

    Example:
        >>> StackedLauncher(memory="4e9").memory
        4000000000.0
    """

    # Hydra takes plugins from this package only, wherever their file lies.
    __module__ = "hydra_plugins.mtl_runner"

    def __init__(
        self,
        memory: float = 2e9,
        over: str | None = None,
        slurm: Mapping[str, Any] | None = None,
    ) -> None:
        self.memory = float(memory)
        self.basic = BasicLauncher()
        if over not in (None, "slurm"):
            raise ConfigError(f"hydra.launcher.over must be null or slurm; found {over!r}.")
        if slurm and over is None:
            raise ConfigError(
                "hydra.launcher.slurm has no effect without hydra.launcher.over=slurm; add that."
            )
        self.cluster = (
            SlurmLauncher(prefix="hydra.launcher.slurm.", **(slurm or {})) if over else None
        )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives a launcher before the sweep.

        Args:
            hydra_context: Hydra's config loader and callbacks.
            task_function: The function that trains one job.
            config: The config of the sweep.
        """
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
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
        if self.cluster is not None:
            return self._launch_over(self.cluster, job_overrides, initial_job_idx)
        search_in_run()
        requests, returns = self.prepare(job_overrides, initial_job_idx)
        from mtl_runner.runs.stacked import StackedRuns

        # Imported modules and the jobs stay to the end: the collector need not look at them.
        gc.freeze()
        gc.enable()
        runs = StackedRuns(requests, self.memory)
        runs.run()
        self._print_reasons(runs.not_stacked, len(requests))
        for number, request in requests.items():
            if number in runs.not_stacked:
                overrides = job_overrides[number - initial_job_idx]
                (returns[number],) = self.basic.launch([overrides], number)
            else:
                outcome = runs.refused.get(number) or runs.outcomes[number]
                self.complete(returns[number], request, outcome)
        return list(returns.values())

    def _launch_over(
        self, cluster: SlurmLauncher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train each stack in a job of a cluster, and every other job in one of its own."""
        from mtl_runner.runs.stacked import max_replicas
        from mtl_runner.train.stack.eligibility import config_key

        requests, returns = self.prepare(job_overrides, initial_job_idx)
        groups: dict[str, list[int]] = {}
        # The config may name a user's own classes.
        with working_directory_searched():
            for number, request in requests.items():
                config: Any = OmegaConf.to_container(request.config, resolve=True)
                groups.setdefault(config_key(config), []).append(number)
        size = max_replicas()
        stacks = [
            members[start : start + size]
            for members in groups.values()
            for start in range(0, len(members), size)
        ]
        outcomes = cluster.train(requests, directory_of_sweep(self.config), stacks, self.memory)
        for number, request in requests.items():
            self.complete(returns[number], request, outcomes[number])
        return list(returns.values())

    @staticmethod
    def _print_reasons(reasons: dict[int, str], jobs: int) -> None:
        """Print a line per reason why jobs run one by one."""
        for reason in dict.fromkeys(reasons.values()):
            numbers = [number for number in reasons if reasons[number] == reason]
            listed = ", ".join(map(str, numbers[:LISTED_JOBS]))
            listed += ", ..." if len(numbers) > LISTED_JOBS else ""
            run = "runs" if len(numbers) == 1 else "run"
            say(f"{len(numbers)} of {counted(jobs, 'job')} {run} one by one ({listed}): {reason}.")
