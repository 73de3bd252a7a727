"""The Hydra launcher ``slurm``: the jobs of a sweep as an array of jobs of a cluster.

submitit writes the scripts and submits them. Free of torch until it launches.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_whole_number, whole_number
from mtl_runner.errors.words import counted
from mtl_runner.launch.gpus_launcher import enqueue_all
from mtl_runner.launch.prepared_jobs import PreparingLauncher, directory_of_sweep
from mtl_runner.launch.slurm_queue import (
    SlurmJobs,
    is_over,
    reason_of,
    states_of,
    was_cancelled,
)
from mtl_runner.runs.cluster_job import ClosingJob, ClusterJob
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.stack_file import write_stack
from mtl_runner.train.terminal import say

# Seconds between two looks at the records of the runs, and at the queue: at first, and at most.
LOOK_EVERY = 1.0
ASK_FIRST, ASK_LAST = 2.0, 30.0
# Seconds before the end of a job's time at which Slurm lets it know.
NOTICE_SECONDS = 90
# A run may need so many jobs, each of which goes on where the one before it saved.
MOST_TIMEOUTS = 1000
CLOSING_MINUTES = 30
# A notice that comes before Python takes it ends the step, with the number of the signal.
QUEUE_AGAIN = [
    "code=$?",
    # The number of one job of an array may be that of the whole array.
    "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
    'case $code in 10|138) scontrol requeue "${job:-$SLURM_JOB_ID}";; esac',
    "exit $code",
]


@dataclass(frozen=True)
class SlurmOptions:
    """The options of the jobs that a sweep submits to Slurm.

    Attributes:
        partition: The partition; None: the cluster's default.
        timeout: Minutes of a job; a run that needs more goes on in the next one.
        gpus: GPUs of a job; ``"auto"``: ``trainer.devices`` where the partition has GPUs, else
            none.
        cpus: Cores of a job; ``"auto"``: ``trainer.threads`` and ``data.loader.workers``.
        memory: Memory of a job, as ``"16G"``; None: the cluster's default.
        jobs: The most jobs at a time; None: as many as the cluster allows.
        setup: Lines of shell that run first, such as ``module load cuda``.
        retries: How often a job that died starts again, where its run stopped.
        sbatch: Any other options of ``sbatch``, without their dashes.
        prefix: What their keys begin with, for errors.

    Raises:
        ConfigError: If a value is wrong.

    Example:
        >>> SlurmOptions(timeout=30).gpus
        'auto'
        >>> SlurmOptions(timeout="1h")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: hydra.launcher.timeout must be a whole number of at least 1;
        found '1h'.
    """

    partition: str | None = None
    timeout: int = 240
    gpus: int | str = "auto"
    cpus: int | str = "auto"
    memory: str | None = None
    jobs: int | None = None
    setup: Sequence[str] = ()
    retries: int = 1
    sbatch: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = "hydra.launcher."

    def __post_init__(self) -> None:
        whole_number(self.timeout, f"{self.prefix}timeout", 1)
        whole_number(self.retries, f"{self.prefix}retries", 0)
        for key, value, least, default in (
            ("gpus", self.gpus, 0, "auto"),
            ("cpus", self.cpus, 1, "auto"),
            ("jobs", self.jobs, 1, None),
        ):
            if value != default:
                whole_number(value, f"{self.prefix}{key}", least, word=default or "null")
        if isinstance(self.setup, str) or not all(isinstance(line, str) for line in self.setup):
            raise ConfigError(
                f"{self.prefix}setup must be a list of lines of shell, as ['module load cuda']; found {self.setup!r}."
            )
        if not isinstance(self.sbatch, Mapping):
            raise ConfigError(
                f"{self.prefix}sbatch must be options of sbatch and their values, as {{account: my_group}}; found {self.sbatch!r}."
            )

    def parameters(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the parameters of submitit's executor for jobs that train these runs."""
        cpus = self.cpus if self.cpus != "auto" else max(map(_cores_of, requests), default=1)
        gpus = self.gpus
        if gpus == "auto":
            wanted = max(map(_gpus_of, requests), default=0)
            gpus = wanted if wanted and _partition_has_gpus(self.partition) else 0
        parameters: dict[str, Any] = {
            "time": self.timeout,
            "cpus_per_task": cpus,
            # Since 22.05 a step does not take it over from its job.
            "srun_args": [f"--cpus-per-task={cpus}"],
            "teardown": QUEUE_AGAIN,
        }
        if gpus:
            parameters["gpus_per_node"] = gpus
        if self.jobs is not None:
            parameters["array_parallelism"] = self.jobs
        return parameters | self.common()

    def common(self) -> dict[str, Any]:
        """Return the parameters that the closing job has, too."""
        more = {"requeue": True, **self.sbatch}
        if self.memory is not None:
            more["mem"] = self.memory
        parameters: dict[str, Any] = {
            "stderr_to_stdout": True,
            # A short job needs most of its time for the training.
            "signal_delay_s": min(NOTICE_SECONDS, 20 * self.timeout),
            "setup": list(self.setup),
            "additional_parameters": more,
        }
        if self.partition is not None:
            parameters["partition"] = self.partition
        return parameters


class SlurmLauncher(PreparingLauncher):
    """A launcher that trains each job in a job of a Slurm cluster.

    A job that is preempted is queued again and goes on in the same directory. A job that depends
    on all others compares the sweep at their end, also if this command has ended.

    Args:
        prefix: What the keys of the options begin with, for errors.
        options: Those of :class:`SlurmOptions`.

    Raises:
        ConfigError: If a value is wrong, submitit is not installed, or there is no Slurm.

    Example:
        >>> issubclass(SlurmLauncher, PreparingLauncher)
        True
    """

    # Hydra takes plugins from this package only, wherever their file lies.
    __module__ = "hydra_plugins.mtl_runner"

    def __init__(self, prefix: str = "hydra.launcher.", **options: Any) -> None:
        known = [option.name for option in fields(SlurmOptions) if option.name != "prefix"]
        for key in options:
            if key not in known:
                raise ConfigError(
                    f"{prefix}{key} is not an option of hydra/launcher=slurm; {suggest(str(key), known)}."
                )
        plain: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in options.items()
        }
        self.options = SlurmOptions(**plain, prefix=prefix)
        # The signal that a run takes as a request to save; submitit reads it when it is imported.
        os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
        # The jobs that compare the sweep at its end.
        self.closing: list[Any] = []
        self.submitit: Any = import_extra("submitit", "slurm", "hydra/launcher=slurm")
        for command in ("sbatch", "srun", "squeue"):
            if shutil.which(command) is None:
                raise ConfigError(
                    f"hydra/launcher=slurm needs the command {command} of Slurm, which this machine does not have; start it on a login node of the cluster."
                )

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
            ConfigError: If Slurm refuses the jobs.
            StoppedBySignal: After Ctrl-C or SIGTERM; the jobs in the queue go on.
        """
        requests, returns = self.prepare(job_overrides, initial_job_idx)
        outcomes = self.train(requests, directory_of_sweep(self.config))
        for number, request in requests.items():
            self.complete(returns[number], request, outcomes[number])
        return list(returns.values())

    def train(
        self,
        requests: Mapping[int, Request],
        sweep: Path,
        stacks: Sequence[Sequence[int]] = (),
        memory: float = 0.0,
    ) -> dict[int, Outcome | Exception]:
        """Train runs as jobs of the cluster, and wait for them.

        Args:
            requests: The runs, by their number.
            sweep: The directory of the sweep.
            stacks: The numbers of runs that train together in one job; all others train alone.
            memory: The memory in bytes that a stack may take.

        Returns:
            How each run ended, by its number.

        Raises:
            ConfigError: If Slurm refuses the jobs.
            StoppedBySignal: After Ctrl-C or SIGTERM; the jobs in the queue go on.
        """
        from mtl_runner.runs.queued import dequeue

        queue = SlurmJobs(sweep)
        submit = partial(self._submit, stacks=stacks, memory=memory, queue=queue)
        states = states_of(queue.jobs.values())
        if states is None:
            raise ConfigError("Slurm does not answer (squeue failed); try again when it does.")
        # Another shell may have started them.
        jobs = {n: queue.job_of(request.directory) for n, request in requests.items()}
        waiting = {n: job for n, job in jobs.items() if job and not is_over(states[job])}
        if waiting:
            are = "is" if len(waiting) == 1 else "are"
            say(
                f"{counted(len(waiting), 'run')} of this sweep {are} in the queue of Slurm already."
            )
        ended = enqueue_all({n: r for n, r in requests.items() if n not in waiting})
        new = {n: r for n, r in requests.items() if n not in waiting and n not in ended}
        if new:
            try:
                waiting |= submit(new)
            except (ConfigError, OSError):
                for request in new.values():
                    dequeue(request)
                raise
        try:
            ended |= self._wait(requests, waiting, queue, submit)
        except KeyboardInterrupt:
            ids = " ".join(sorted({job.partition("_")[0] for job in waiting.values()}))
            say(
                f"The jobs go on in the queue of Slurm: mtl-compare {shlex.quote(str(sweep))} shows how far they are, scancel {ids} stops them."
            )
            raise
        for job in self.closing:
            # This command makes the comparison itself.
            job.cancel(check=False)
        self.closing.clear()
        return ended

    def _submit(
        self,
        requests: Mapping[int, Request],
        stacks: Sequence[Sequence[int]],
        memory: float,
        queue: SlurmJobs,
    ) -> dict[int, str]:
        """Submit jobs for runs, and one that compares them at the end; return the jobs' ids.

        Args:
            requests: The runs, by their number; they are recorded in their directories.
            stacks: The numbers of runs that train together.
            memory: The memory in bytes that a stack may take.
            queue: The record of the jobs, which are added to it.
        """
        options = self.options
        stacked = {number for members in stacks for number in members}
        groups = [[n for n in members if n in requests] for members in stacks]
        groups = [members for members in groups if members]
        groups += [[number] for number in requests if number not in stacked]
        executor = self.submitit.SlurmExecutor(queue.folder, max_num_timeout=MOST_TIMEOUTS)
        name = f"mtl-{queue.folder.parent.name}"
        executor.update_parameters(
            job_name=name, **options.parameters([requests[members[0]] for members in groups])
        )
        cluster_jobs = [
            self._job([requests[n] for n in members], memory, queue) for members in groups
        ]
        with self._refusals(), executor.batch():
            submitted = [executor.submit(job) for job in cluster_jobs]
        ids = {
            number: str(job.job_id)
            for members, job in zip(groups, submitted, strict=True)
            for number in members
        }
        queue.add({requests[number].directory: job for number, job in ids.items()})
        arrays = list(dict.fromkeys(job.partition("_")[0] for job in ids.values()))
        say(
            f"{counted(len(groups), 'job')} in the queue of Slurm (squeue -j {','.join(arrays)}); logs: {queue.folder}/{arrays[0]}*_log.out, and run.log of every run."
        )
        executor = self.submitit.SlurmExecutor(queue.folder)
        executor.update_parameters(
            job_name=f"{name}-compare",
            time=CLOSING_MINUTES,
            dependency=f"afterany:{':'.join(arrays)}",
            **options.common(),
        )
        try:
            with self._refusals():
                self.closing.append(executor.submit(ClosingJob(str(queue.folder.parent))))
        except ConfigError as error:
            say(
                f"No job could be queued that compares at the end ({str(error).rstrip('.')}); mtl-compare {queue.folder.parent} does so."
            )
        return ids

    def _job(self, requests: Sequence[Request], memory: float, queue: SlurmJobs) -> ClusterJob:
        """Return the job that trains these runs: one, or a stack."""
        retries = self.options.retries
        if len(requests) == 1:
            return ClusterJob(str(requests[0].directory), requests[0].job, retries)
        return ClusterJob(str(write_stack(queue.folder, requests, memory)), "", retries)

    def _wait(
        self,
        requests: Mapping[int, Request],
        waiting: dict[int, str],
        queue: SlurmJobs,
        submit: Callable[[Mapping[int, Request]], dict[int, str]],
    ) -> dict[int, Outcome]:
        """Wait until all runs have ended, and submit those again whose job died; return outcomes.

        Args:
            requests: All runs, by their number.
            waiting: The ids of the jobs to wait for, by the number of the run, changed in place.
            queue: The record of the jobs.
            submit: Submits jobs for runs, by their number, and returns the ids.
        """
        from mtl_runner.runs.queued import record_death, recorded_outcome, was_interrupted

        ended: dict[int, Outcome] = {}
        deaths: Counter[int] = Counter()
        gone_before: set[int] = set()
        asked, pause = time.monotonic(), ASK_FIRST
        while waiting:
            for number in list(waiting):
                request = requests[number]
                outcome = recorded_outcome(request)
                if outcome is not None and not was_interrupted(request.directory):
                    ended[number] = outcome
                    del waiting[number]
            if time.monotonic() - asked >= pause:
                states = states_of(waiting.values())
                asked, pause = time.monotonic(), min(ASK_LAST, 1.5 * pause)
                gone = {n for n, job in waiting.items() if states and is_over(states[job])}
                # What a job has written may be visible here a moment after its end.
                dead = gone & gone_before
                gone_before = gone
                pause = ASK_FIRST if gone else pause
                again = {}
                for number in dead:
                    request, job = requests[number], waiting.pop(number)
                    deaths[number] += 1
                    state = states[job] if states else ""
                    if deaths[number] <= self.options.retries and not was_cancelled(job, state):
                        say(f"[{request.job}] the job {job} ended before its run; queued again.")
                        again[number] = request
                        continue
                    reason = reason_of(job, state, queue.log_of(job))
                    ended[number] = record_death(request, reason)
                if again:
                    waiting |= submit(again)
            time.sleep(LOOK_EVERY)
        return ended

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Word the error of a job that Slurm does not take."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            # submitit prints what sbatch says, before it raises it.
            with contextlib.redirect_stderr(io.StringIO()):
                yield
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
            text = str(getattr(error, "stderr", "") or error)
            lines = [line for line in text.splitlines() if "error" in line.lower()]
            reason = (lines or text.split("\n"))[0].strip().removeprefix("sbatch: ")
            reason = reason.removeprefix("error: ").rstrip(".")
            raise ConfigError(
                f"Slurm refuses the jobs ({reason}); correct hydra.launcher.partition and the other options of the launcher."
            ) from error


def _cores_of(request: Request) -> int:
    """Return how many cores a run asks for."""
    threads = OmegaConf.select(request.config, "trainer.threads", default="auto")
    workers = OmegaConf.select(request.config, "data.loader.workers", default=0)
    cores = threads if is_whole_number(threads, 1) else 1
    return (cores + (workers if is_whole_number(workers, 0) else 0)) * max(1, _devices(request))


def _devices(request: Request) -> int:
    """Return how many devices a run asks for."""
    devices = OmegaConf.select(request.config, "trainer.devices", default=1)
    return int(devices) if is_whole_number(devices, 1) else 1


def _gpus_of(request: Request) -> int:
    """Return how many GPUs a run takes where there are some."""
    device = str(OmegaConf.select(request.config, "trainer.device", default="auto"))
    return 0 if device == "cpu" else _devices(request)


def _partition_has_gpus(partition: str | None) -> bool:
    """Return whether the nodes of a partition have GPUs, as far as Slurm tells."""
    command = ["sinfo", "-h", "-o", "%P %G", *(["-p", partition] if partition else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    lines = done.stdout.splitlines()
    # The default partition has a star.
    chosen = lines if partition else [line for line in lines if line.split(" ")[0].endswith("*")]
    return any("gpu" in line.partition(" ")[2] for line in chosen)
