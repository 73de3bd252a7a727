"""Many runs, each in its own directory, that train together in stacks.

Each is claimed, logged, recorded and ended as a single run is, and fails by itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import OmegaConf

from mtl_runner.errors import MtlError, RunDirectoryError
from mtl_runner.errors.messages import out_of_memory, run_message
from mtl_runner.experiment.build import Experiment, build
from mtl_runner.experiment.dataset import Datasets, is_built_in
from mtl_runner.experiment.device import ALL_THREADS, SMALL_MODEL
from mtl_runner.runs.lifecycle import (
    begin,
    claimed_for,
    end,
    outcome_if_finished,
    record_failure,
    write_status,
)
from mtl_runner.runs.logs import RunLogs, logging_to_many
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import (
    StoppedBySignal,
    graceful_interruption,
    in_words,
    signal_of,
)
from mtl_runner.train.position import Position
from mtl_runner.train.progress import ProgressBar
from mtl_runner.train.stack.eligibility import (
    config_key,
    experiment_key,
    reason_in_batches,
    reason_not_to_stack,
    replica_bytes,
)
from mtl_runner.train.stack.stack_trainer import StackTrainer
from mtl_runner.train.stack.stacked_optimizer import optimizer_key
from mtl_runner.train.stack.stacked_step import CannotStackError
from mtl_runner.train.terminal import say
from mtl_runner.train.trainer import Trainer
from mtl_runner.write_group import WriteGroup, written_together

log = logging.getLogger("mtl_runner")

# Each replica of a stack holds a lock on its directory, and systems allow 256 or 1024 open files,
# of which the process itself needs some.
MAX_REPLICAS = 256
OTHER_FILES = 64
# So many runs of a stack write the files of their end at once.
ENDED_TOGETHER = 32
# The reason of a run that was set up and trains later: the process may end before.
WAITS = "it was to train after others"


@dataclass
class StackedRuns:
    """Many runs, of which those that differ only in numbers train together in stacks.

    After :meth:`run` every run is in exactly one of ``outcomes``, ``refused`` and ``not_stacked``.

    Attributes:
        requests: The runs, by their number.
        memory: The memory in bytes that a stack may take.
        outcomes: How the stacked runs ended, and those that were finished before.
        refused: The error of each run whose directory holds something else.
        not_stacked: The reason why each of the other runs has to train by itself.
        logs: The handler that sends messages to the run.log of their run.
        datasets: The datasets that were built, shared by the runs.

    Example:
        >>> runs = StackedRuns({}, memory=2e9)
        >>> runs.run()
        >>> runs.outcomes, runs.not_stacked
        ({}, {})
    """

    requests: Mapping[int, Request]
    memory: float
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    refused: dict[int, MtlError] = field(default_factory=dict)
    not_stacked: dict[int, str] = field(default_factory=dict)
    logs: RunLogs = field(default_factory=RunLogs)
    datasets: Datasets = field(default_factory=dict)

    def run(self) -> None:
        """Train all runs that can be stacked.

        Raises:
            StoppedBySignal: After Ctrl-C or SIGTERM, when everything is saved.
        """
        groups: dict[str, list[int]] = {}
        for index, request in self.requests.items():
            recorded = None
            with self._failures_of(index):
                recorded = outcome_if_finished(request)
            if recorded is not None:
                self.outcomes[index] = recorded
            elif index not in self.refused:
                config: Any = OmegaConf.to_container(request.config, resolve=True)
                groups.setdefault(config_key(config), []).append(index)
        with logging_to_many(self.logs):
            for group in groups.values():
                for members in self._by_position(group):
                    if len(members) == 1:
                        self.not_stacked[members[0]] = (
                            "no other run is like it but for numbers"
                            if len(group) == 1
                            else "the runs like it are at other epochs or steps"
                        )
                    else:
                        self._run_group(members)

    def _by_position(self, group: Sequence[int]) -> list[list[int]]:
        """Return the runs in groups that start at the same position.

        A run that was killed just after it had saved is put back to the position of the others.
        """
        saved: dict[int, list[Position]] = {}
        for index in group:
            request = self.requests[index]
            with self._failures_of(index):
                if checkpoint.is_damaged(request.directory):
                    with claimed_for(request):
                        checkpoint.go_back_if_damaged(request.directory)
                saved[index] = checkpoint.saved_positions(request.directory)
        counts = Counter(position for positions in saved.values() for position in positions)
        start = {
            index: max(positions, key=lambda position: (counts[position], position))
            for index, positions in saved.items()
        }
        for index, position in start.items():
            if position != saved[index][0]:
                with self._failures_of(index), claimed_for(self.requests[index]):
                    checkpoint.restore_previous(self.requests[index].directory)
        members = [index for index in start if index not in self.refused]
        return [
            [index for index in members if start[index] == position]
            for position in dict.fromkeys(start[index] for index in members)
        ]

    def _run_group(self, members: Sequence[int]) -> None:
        """Train runs whose configs differ in numbers only, as many at a time as memory holds."""
        experiment = self._build_one(members)
        if experiment is None:
            return
        reason = reason_not_to_stack(experiment)
        if reason:
            self.not_stacked |= dict.fromkeys(members, reason)
            return
        own_data = not is_built_in(self.requests[members[0]].config.data)
        size = int(min(max_replicas(), max(1, self.memory // replica_bytes(experiment, own_data))))
        del experiment
        for start in range(0, len(members), size):
            self._run_together(members[start : start + size])

    def _build_one(self, members: Sequence[int]) -> Experiment | None:
        """Return the experiment of the first run that can be built, else None.

        A run that cannot be built fails by itself when it begins.
        """
        reason = ""
        for index in members:
            try:
                return build(self.requests[index].config, self.datasets)
            except Exception as error:
                reason = reason or run_message(error).rstrip(".")
        self.not_stacked |= dict.fromkeys(members, f"none of them can be built ({reason})")
        return None

    def _run_together(self, members: Sequence[int]) -> None:
        """Train runs at once; in halves where they do not fit into memory."""
        try:
            with contextlib.ExitStack() as locks:
                stacks: dict[str, dict[int, Trainer]] = {}
                begun: list[int] = []
                try:
                    for index in self._claim(members, locks):
                        with self._failures_of(index):
                            begun.append(index)
                            trainer = begin(self.requests[index], self.datasets)
                            epochs = trainer.settings.trainer.epochs
                            reason = reason_in_batches(trainer.batches, epochs, trainer.tasks)
                            if reason:
                                self._record_stop([index], WAITS)
                                self.not_stacked[index] = reason
                                continue
                            key = experiment_key(trainer.experiment)
                            stacks.setdefault(key, {})[index] = trainer
                    for trainers in stacks.values():
                        self._train(trainers)
                except KeyboardInterrupt as interrupt:
                    number = signal_of(interrupt)
                    self._record_stop(begun, f"stopped by {in_words(number)}")
                    raise StoppedBySignal(number) from None
                except _TooLargeError:
                    self._record_stop(begun, WAITS)
                    raise
        except _TooLargeError:
            if len(members) == 1:
                self.not_stacked[members[0]] = "there is not enough memory to stack it"
                return
            half = len(members) // 2
            say(
                f"Out of memory with a stack of {len(members)} runs; going on with {half} at a time."
            )
            for part in (members[:half], members[half:]):
                unfinished = [index for index in part if index not in self.outcomes]
                for group in self._by_position(unfinished):
                    self._run_together(group)

    def _record_stop(self, indices: Iterable[int], reason: str) -> None:
        """Record why runs that are locked here do not train, except those that have ended."""
        for index in indices:
            if index not in self.outcomes and index not in self.not_stacked:
                with self._failures_of(index):
                    write_status(self.requests[index], "interrupted", reason)

    def _claim(self, members: Sequence[int], locks: contextlib.ExitStack) -> list[int]:
        """Claim and lock the directories of runs; the locks are held until ``locks`` is closed.

        Returns:
            The runs that have their directory.
        """
        claimed: list[int] = []
        with written_together() as files:
            for index in members:
                with self._failures_of(index), files.owned_by(index):
                    locks.enter_context(claimed_for(self.requests[index]))
                    claimed.append(index)
        for index, error in self._unwritten(files):
            with self._failures_of(index):
                raise RunDirectoryError(run_message(error)) from error
        return [index for index in claimed if index not in files.failed]

    @staticmethod
    def _unwritten(files: WriteGroup) -> list[tuple[int, OSError]]:
        """Return the runs whose files could not be written, with the error of each."""
        return [(index, error) for index, error in files.failed.items() if isinstance(index, int)]

    def _train(self, trainers: Mapping[int, Trainer]) -> None:
        """Train runs with the same experiment key as one stack, to their end."""
        # Neighbours can share an optimizer.
        order = sorted(trainers, key=lambda index: _optimizer_keys(trainers[index]))
        first, threads = trainers[order[0]], torch.get_num_threads()
        steps = first.settings.trainer.epochs * first.batches.count
        compiled = (
            first.compiled
            if first.resumed
            else first.settings.trainer.should_compile(len(order), steps)
        )
        # On small tensors threads wait for each other, on a busy machine longer than they work.
        size = len(order) * sum(p.numel() for p in first.learner.model.parameters())
        if first.settings.trainer.threads == "auto" and size >= SMALL_MODEL:
            torch.set_num_threads(ALL_THREADS)
        stack = StackTrainer(
            [trainers[index] for index in order],
            compiled,
            on_replica=lambda k: self._log_to(order[k]),
        )
        try:
            with ProgressBar(stack, f"{len(order)} runs"), graceful_interruption(stack):
                stack.run()
        except CannotStackError as error:
            self._record_stop(order, WAITS)
            self.not_stacked |= dict.fromkeys(order, f"they cannot be stacked ({error})")
            return
        except Exception as error:
            if out_of_memory(error):
                raise _TooLargeError from error
            for index in order:
                with self._failures_of(index):
                    raise error
            return
        finally:
            torch.set_num_threads(threads)
        for start in range(0, len(order), ENDED_TOGETHER):
            self._end(
                {
                    index: stack.failed.get(k, trainers[index])
                    for k, index in enumerate(order)
                    if start <= k < start + ENDED_TOGETHER
                }
            )
        if stack.stop:
            raise StoppedBySignal(stack.stop_signal)

    def _end(self, ends: Mapping[int, Trainer | Exception]) -> None:
        """End runs, whose files wait for the disk together.

        Args:
            ends: The trainer of each run, or the error with which its training ended.
        """
        with written_together() as files:
            for index, trained in ends.items():
                with self._failures_of(index), files.owned_by(index):
                    if isinstance(trained, Exception):
                        raise trained
                    self.outcomes[index] = end(trained, self.requests[index])
        for index, error in self._unwritten(files):
            with self._failures_of(index):
                raise error

    @contextlib.contextmanager
    def _failures_of(self, index: int) -> Iterator[None]:
        """Record what is logged and raised inside as this run's.

        Running out of memory is no failure of a run: the stack is too large.
        """
        self._log_to(index)
        try:
            yield
        except RunDirectoryError as error:
            self.refused[index] = error
        except Exception as error:
            if out_of_memory(error):
                raise _TooLargeError from error
            self.outcomes[index] = record_failure(error, self.requests[index])
        finally:
            self.logs.directory = None

    def _log_to(self, index: int) -> None:
        """Send what is logged from now on to the run.log of this run."""
        self.logs.directory = self.requests[index].directory


class _TooLargeError(Exception):
    """The stack does not fit into memory."""


def max_replicas() -> int:
    """Return how many runs can train in one stack: fewer where few files may be open.

    Example:
        >>> 1 <= max_replicas() <= MAX_REPLICAS
        True
    """
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return MAX_REPLICAS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_REPLICAS
    return max(1, min(MAX_REPLICAS, limit - OTHER_FILES))


def _optimizer_keys(trainer: Trainer) -> list[str]:
    """Return the settings of a run's optimizers, in a form that sorts equal ones together."""
    learner = trainer.learner
    return [
        optimizer_key(optimizer)
        for optimizer in (*learner.update.optimizers, *learner.own_optimizers.optimizers)
    ]
