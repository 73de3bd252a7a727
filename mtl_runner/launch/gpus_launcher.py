"""The Hydra launcher ``gpus``: one process per job, queued over the GPUs or cores of this machine.

Free of torch until it launches.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mtl_runner.errors import ConfigError, MtlError
from mtl_runner.errors.checks import is_whole_number, whole_number
from mtl_runner.errors.words import counted
from mtl_runner.launch.prepared_jobs import PreparingLauncher
from mtl_runner.launch.processes import RunProcesses, Work
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.stack_file import write_stack
from mtl_runner.train.terminal import say

# The folder in the sweep for the files that list the runs of stacks.
STACKS = "stacks"


class GpusLauncher(PreparingLauncher):
    """A launcher that trains each job in a process of its own.

    On a machine with GPUs every job gets one of them, or ``trainer.devices`` of them, by
    ``CUDA_VISIBLE_DEVICES``; elsewhere the jobs share the cores. A process that is killed loses its
    own job and no other.

    Args:
        jobs: The most jobs at a time; ``"auto"``: one per GPU, or per core.
        retries: How often a job whose process died starts again, where it stopped.
        prefix: What the keys of the options begin with, for errors.

    Raises:
        ConfigError: If a value is wrong.

    Example:
        >>> GpusLauncher(jobs=2).jobs
        2
        >>> GpusLauncher(jobs="all")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: hydra.launcher.jobs must be auto or a whole number of at
        least 1; found 'all'.
    """

    # Hydra takes plugins from this package only, wherever their file lies.
    __module__ = "hydra_plugins.mtl_runner"

    def __init__(
        self, jobs: int | str = "auto", retries: int = 0, prefix: str = "hydra.launcher."
    ) -> None:
        if jobs != "auto":
            whole_number(jobs, f"{prefix}jobs", 1, word="auto")
        whole_number(retries, f"{prefix}retries", 0)
        self.jobs, self.retries, self.prefix = jobs, retries, prefix

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs.

        Args:
            job_overrides: The options of each job.
            initial_job_idx: The number of the first job.

        Returns:
            What Hydra wants to know of each job, in their order.

        Raises:
            ConfigError: If a job asks for more GPUs than there are.
            StoppedBySignal: After Ctrl-C or SIGTERM, when the runs have saved.
        """
        requests, returns = self.prepare(job_overrides, initial_job_idx)
        outcomes = self.train(requests)
        for number, request in requests.items():
            self.complete(returns[number], request, outcomes[number])
        return list(returns.values())

    def at_a_time(self, requests: Sequence[Request]) -> int:
        """Return how many processes train at a time.

        Args:
            requests: The runs.

        Raises:
            ConfigError: If a run asks for a certain GPU.
        """
        return (len(_gpus(requests)) or usable_cores()) if self.jobs == "auto" else int(self.jobs)

    def train(
        self,
        requests: Mapping[int, Request],
        stacks: Sequence[Sequence[int]] = (),
        memory: float = 0.0,
    ) -> dict[int, Outcome | Exception]:
        """Train runs in processes, and wait for them.

        Args:
            requests: The runs, by their number.
            stacks: The numbers of runs that train together in one process; all others train alone.
            memory: The memory in bytes that a stack may take.

        Returns:
            How each run ended, by its number.

        Raises:
            ConfigError: If a job asks for more GPUs than there are.
            StoppedBySignal: After Ctrl-C or SIGTERM, when the runs have saved.
        """
        gpus, cores = _gpus(list(requests.values())), usable_cores()
        count = self.at_a_time(list(requests.values()))
        # Several jobs may share a GPU; a core is as good as any other.
        places = gpus * -(-count // len(gpus)) if gpus else [""] * count
        needs = {n: _devices(request, len(gpus), count) for n, request in requests.items()}
        ended = enqueue_all(requests)
        waiting = {number: requests[number] for number in requests if number not in ended}
        works: list[Work] = []
        # A run of several GPUs stacks with no other.
        stacks = [[n for n in members if needs[n] == 1] for members in stacks]
        stacked = {number for members in stacks for number in members}
        for members in [*stacks, *([number] for number in waiting if number not in stacked)]:
            left = tuple(number for number in members if number in waiting)
            if len(left) == 1:
                works.append(Work(left, requests[left[0]].directory, needs[left[0]]))
            elif left:
                runs = [requests[number] for number in left]
                path = write_stack(runs[0].directory.parent / STACKS, runs, memory)
                works.append(Work(left, path))
        if works:
            machine = counted(len(gpus), "GPU") if gpus else counted(cores, "core")
            need = min(work.places for work in works)
            at_a_time = min(len(works), count, max(1, len(places) // need))
            jobs = counted(len(works), "stack" if stacks else "job")
            say(f"{jobs}, {at_a_time} at a time on {machine}, each in a process of its own.")
        processes = RunProcesses(
            waiting,
            works,
            places,
            count,
            self.retries,
            threads=max(1, cores // count),
            prefix=self.prefix,
        )
        processes.run()
        return ended | processes.outcomes


def enqueue_all(requests: Mapping[int, Request]) -> dict[int, Outcome | Exception]:
    """Record the runs in their directories, where they wait for their processes.

    Args:
        requests: The runs, by their number.

    Returns:
        The outcome of those that were finished before, and the error of those whose directory
        holds something else.
    """
    from mtl_runner.runs.queued import enqueue

    ended: dict[int, Outcome | Exception] = {}
    for number, request in requests.items():
        try:
            outcome = enqueue(request)
        except MtlError as error:
            ended[number] = error
            continue
        if outcome is not None:
            ended[number] = outcome
    return ended


def usable_cores() -> int:
    """Return how many cores this process may use.

    Example:
        >>> usable_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(requests: Sequence[Request]) -> list[str]:
    """Return the GPUs that jobs may take, as ``CUDA_VISIBLE_DEVICES`` names them.

    Raises:
        ConfigError: If a job asks for a certain one.
    """
    devices = {str(OmegaConf.select(r.config, "trainer.device", default="auto")) for r in requests}
    for device in sorted(devices):
        if device.startswith("cuda:"):
            raise ConfigError(
                f"hydra/launcher=gpus chooses the GPU of every job itself; write trainer.device=cuda instead of {device}, and CUDA_VISIBLE_DEVICES before the command to choose among the GPUs."
            )
    if devices <= {"cpu"}:
        return []
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return names[:count]


def _devices(request: Request, gpus: int, places: int) -> int:
    """Return how many places a job takes.

    Raises:
        ConfigError: If it asks for more GPUs than there are.
    """
    devices = OmegaConf.select(request.config, "trainer.devices", default=1)
    if devices == "auto":
        return max(1, gpus)
    if not is_whole_number(devices, 1):
        # The run itself refuses it, in a sentence.
        return 1
    if gpus and devices > gpus:
        raise ConfigError(
            f"trainer.devices={devices} asks for more GPUs than this machine has ({gpus}); lower it."
        )
    return int(devices) if gpus else min(int(devices), places)
