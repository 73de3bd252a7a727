"""Many runs in their own directories, trained in stacks: claims, logs, failures and ends as for one run."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import OmegaConf

from mtl_runner.errors import MtlError, RunDirectoryError
from mtl_runner.errors.wording import out_of_memory, run_message
from mtl_runner.experiment.build import (
    ALL_THREADS,
    SMALL_MODEL,
    Datasets,
    Experiment,
    build,
    is_ours,
)
from mtl_runner.runs import directory as run_directory
from mtl_runner.runs.lifecycle import begin, end, outcome_if_finished, record_failure, write_status
from mtl_runner.runs.logs import RunLogs, logging_to_many
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.summary import verdict
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import Interrupted, gracefully
from mtl_runner.train.progress import Progress
from mtl_runner.train.stack.eligibility import config_key, reason_against, replica_bytes, signature
from mtl_runner.train.stack.loop import Stack
from mtl_runner.train.stack.optimizers import settings_of
from mtl_runner.train.stack.step import CannotStackError
from mtl_runner.train.trainer import Trainer

log = logging.getLogger("mtl_runner")

MOST = 256  # replicas of a stack: each holds a lock on its directory, and systems allow 1024 open files
STOPPED = "stopped by Ctrl-C"


@dataclass
class Stacker:
    """Trains in stacks those of many runs that can be.

    Args:
        requests: the runs, by their number. memory: bytes that a stack may take.

    Attributes:
        outcomes: how each run ended that was stacked, or is finished already. refused: what is wrong with a run's directory.
        alone: why each of the others has to run by itself.
    """

    requests: Mapping[int, Request]
    memory: float
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    refused: dict[int, MtlError] = field(default_factory=dict)
    alone: dict[int, str] = field(default_factory=dict)
    files: RunLogs = field(default_factory=RunLogs)
    datasets: Datasets = field(default_factory=dict)

    def run(self) -> None:
        """Train them all. Raises ``KeyboardInterrupt`` after Ctrl-C, when everything is saved."""
        groups: dict[str, list[int]] = {}
        for index, request in self.requests.items():
            done = outcome_if_finished(request)
            if done is not None:
                self.outcomes[index] = done
                self._say(index, "finished already")
            else:
                config: Any = OmegaConf.to_container(request.config, resolve=True)
                groups.setdefault(config_key(config), []).append(index)
        with logging_to_many(self.files):
            for group in groups.values():
                for members in self._by_epoch(group):
                    if len(members) == 1:
                        self.alone[members[0]] = (
                            "no other run is like it but for numbers"
                            if len(group) == 1
                            else "the runs like it are at other epochs"
                        )
                    else:
                        self._run(members)

    def _by_epoch(self, group: Sequence[int]) -> list[list[int]]:
        """The runs that start at the same epoch, together; a run that was killed just after it had saved goes back to the others'."""
        saved = {index: checkpoint.epochs(self.requests[index].directory) for index in group}
        common = Counter(epoch for epochs in saved.values() for epoch in epochs)
        start = {
            index: max(epochs, key=lambda epoch: (common[epoch], epoch))
            for index, epochs in saved.items()
        }
        for index, epoch in start.items():
            if epoch != saved[index][0]:
                checkpoint.go_back(self.requests[index].directory)
        return [
            [index for index in group if start[index] == epoch]
            for epoch in dict.fromkeys(start.values())
        ]

    def _run(self, members: Sequence[int]) -> None:
        """Runs with alike configs at the same epoch: as many at a time as fit."""
        first = self._first(members)
        if first is None:
            return
        reason = reason_against(first)
        if reason:
            self.alone |= dict.fromkeys(members, reason)
            return
        own_data = not is_ours(self.requests[members[0]].config.data)
        most = int(min(MOST, max(1, self.memory // replica_bytes(first, own_data))))
        del first
        for at in range(0, len(members), most):
            self._run_together(members[at : at + most])

    def _first(self, members: Sequence[int]) -> Experiment | None:
        """What the first of them that can be built is; those that cannot say it themselves when they begin."""
        reason = ""
        for index in members:
            try:
                return build(self.requests[index].config, self.datasets)
            except Exception as error:
                reason = reason or run_message(error).rstrip(".")
        self.alone |= dict.fromkeys(members, f"none of them can be built ({reason})")
        return None

    def _run_together(self, members: Sequence[int]) -> None:
        try:
            with contextlib.ExitStack() as locks:
                kinds: dict[str, dict[int, Trainer]] = {}
                for index in members:
                    with self._of(index):
                        trainer = self._begin(index, locks)
                        kinds.setdefault(signature(trainer.experiment), {})[index] = trainer
                for trainers in kinds.values():
                    self._train(trainers)
        except _TooLargeError:
            if len(members) == 1:
                self.alone[members[0]] = "there is not enough memory to stack it"
                return
            half = len(members) // 2
            print(
                f"Out of memory with a stack of {len(members)} runs; going on with {half} at a time.",
                flush=True,
            )
            for part in (members[:half], members[half:]):
                for again in self._by_epoch(
                    [index for index in part if index not in self.outcomes]
                ):
                    self._run_together(again)

    def _begin(self, index: int, locks: contextlib.ExitStack) -> Trainer:
        request = self.requests[index]
        try:
            run_directory.claim(
                request.directory, request.config, request.overrides, request.choices, request.hydra
            )
        except OSError as error:
            raise RunDirectoryError(run_message(error)) from error
        locks.enter_context(run_directory.locked(request.directory))
        return begin(request, self.datasets)

    def _train(self, trainers: Mapping[int, Trainer]) -> None:
        """Train runs that are alike to their end."""
        order = sorted(
            trainers, key=lambda index: _settings(trainers[index])
        )  # neighbours share an optimizer
        first, threads = trainers[order[0]], torch.get_num_threads()
        steps = first.settings.trainer.epochs * first.batches.count
        compiled = (
            first.compiled if first.resumed else first.settings.trainer.compiles(len(order), steps)
        )
        # On small tensors threads wait for each other, and on a machine that is busy with something else ten times as long as they work.
        size = len(order) * sum(p.numel() for p in first.learner.model.parameters())
        if first.settings.trainer.threads == "auto" and size >= SMALL_MODEL:
            torch.set_num_threads(ALL_THREADS)
        stack = Stack(
            [trainers[index] for index in order],
            compiled,
            on_replica=lambda k: self._listen(order[k]),
        )
        try:
            with Progress(stack, f"{len(order)} runs"), gracefully(stack):
                stack.run()
        except (Interrupted, KeyboardInterrupt):
            for index in order:
                with self._of(index):
                    write_status(self.requests[index], "interrupted", STOPPED)
            raise KeyboardInterrupt from None
        except CannotStackError as error:
            self.alone |= dict.fromkeys(order, f"they cannot be stacked ({error})")
            return
        except Exception as error:
            if out_of_memory(error):
                raise _TooLargeError from error
            for index in order:
                with self._of(index):
                    raise error
            return
        finally:
            torch.set_num_threads(threads)
        for k, index in enumerate(order):
            with self._of(index):
                if k in stack.failed:
                    raise stack.failed[k]
                self.outcomes[index] = end(trainers[index], self.requests[index])
                self._say(
                    index, verdict(run_directory.read_summary(self.requests[index].directory))
                )
        if stack.stop:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _of(self, index: int) -> Iterator[None]:
        """Whatever goes wrong here is one run's alone."""
        self._listen(index)
        try:
            yield
        except RunDirectoryError as error:
            self.refused[index] = error
            print(f"[{self.requests[index].job}] failed: {error}", file=sys.stderr, flush=True)
        except Exception as error:
            if out_of_memory(error):
                raise _TooLargeError from error
            self.outcomes[index] = record_failure(error, self.requests[index])
            self._say(index, f"failed: {self.outcomes[index].error}")
        finally:
            self.files.directory = None

    def _listen(self, index: int) -> None:
        """What is logged now goes into this run's log."""
        self.files.directory = self.requests[index].directory

    def _say(self, index: int, text: str) -> None:
        """One line on the terminal about one run."""
        bad = index in self.outcomes and self.outcomes[index].error
        print(
            f"[{self.requests[index].job}] {text}",
            file=sys.stderr if bad else sys.stdout,
            flush=True,
        )


class _TooLargeError(Exception):
    """The stack does not fit into memory."""


def _settings(trainer: Trainer) -> list[str]:
    learner = trainer.learner
    return [
        settings_of(optimizer)
        for optimizer in (*learner.update.optimizers, *learner.own_optimizers.optimizers)
    ]
