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
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.words import counted
from mtl_runner.launch.gpus_launcher import GpusLauncher
from mtl_runner.launch.prepared_jobs import PreparingLauncher, directory_of_sweep
from mtl_runner.launch.slurm_launcher import SlurmLauncher
from mtl_runner.runs.request import Request
from mtl_runner.train.terminal import say

# A line about jobs that run one by one lists so many of them.
LISTED_JOBS = 6


class StackedLauncher(PreparingLauncher):
    """A launcher that trains the jobs of a sweep in stacks.

    Jobs that cannot be stacked go to the basic launcher, and the reason is printed.

    Args:
        memory: The memory in bytes that a stack may take.
        over: ``"gpus"``: every stack trains in a process of its own, on a GPU or a core of this
            machine; ``"slurm"``: in a job of a cluster.
        gpus: The options of those processes, as of :class:`GpusLauncher`.
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
        gpus: Mapping[str, Any] | None = None,
        slurm: Mapping[str, Any] | None = None,
    ) -> None:
        self.memory = float(memory)
        self.basic = BasicLauncher()
        options = {"gpus": dict(gpus or {}), "slurm": dict(slurm or {})}
        if over is not None and over not in options:
            raise ConfigError(f"hydra.launcher.over must be null, gpus or slurm; found {over!r}.")
        for name, given in options.items():
            if given and name != over:
                raise ConfigError(
                    f"hydra.launcher.{name} has no effect without hydra.launcher.over={name}; add that."
                )
        self.over: GpusLauncher | SlurmLauncher | None = None
        if over == "gpus":
            self.over = _gpus_launcher(options["gpus"])
        elif over == "slurm":
            self.over = SlurmLauncher(prefix="hydra.launcher.slurm.", **options["slurm"])

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
        if self.over is not None:
            return self._launch_over(self.over, job_overrides, initial_job_idx)
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
        self,
        over: GpusLauncher | SlurmLauncher,
        job_overrides: Sequence[Sequence[str]],
        initial_job_idx: int,
    ) -> Sequence[JobReturn]:
        """Train each stack, and every other job, in a process or a job of the cluster."""
        requests, returns = self.prepare(job_overrides, initial_job_idx)
        if isinstance(over, GpusLauncher):
            at_a_time = over.at_a_time(list(requests.values()))
            stacks = _stacks(requests, at_a_time)
            outcomes = over.train(requests, stacks, self.memory)
        else:
            sweep = directory_of_sweep(self.config)
            outcomes = over.train(requests, sweep, _stacks(requests), self.memory)
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


def _stacks(requests: Mapping[int, Request], at_least: int = 1) -> list[list[int]]:
    """Return the numbers of the runs that may train together.

    Args:
        requests: The runs, by their number.
        at_least: Into how many stacks to share them out, so that no place is idle.
    """
    from mtl_runner.runs.stacked import max_replicas
    from mtl_runner.train.stack.eligibility import config_key

    groups: dict[str, list[int]] = {}
    # The config may name a user's own classes.
    with working_directory_searched():
        for number, request in requests.items():
            config: Any = OmegaConf.to_container(request.config, resolve=True)
            groups.setdefault(config_key(config), []).append(number)
    parts = -(-at_least // len(groups))
    stacks = []
    for members in groups.values():
        size = min(max_replicas(), -(-len(members) // parts))
        stacks += [members[start : start + size] for start in range(0, len(members), size)]
    return stacks


def _gpus_launcher(options: Mapping[str, Any]) -> GpusLauncher:
    """Return the launcher of the processes for stacks.

    Raises:
        ConfigError: If it has no such option.
    """
    known = ("jobs", "retries")
    for key in options:
        if key not in known:
            raise ConfigError(
                f"hydra.launcher.gpus.{key} is not an option of hydra/launcher=gpus; {suggest(str(key), known)}."
            )
    return GpusLauncher(prefix="hydra.launcher.gpus.", **options)
