"""Tasks one after another: the next one starts when the one before it has stopped getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_runner.config.times import Length
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import not_negative, per_task, whole
from mtl_runner.schedule.base import Schedule
from mtl_runner.tasks.task import Task


class Plateau(Schedule):
    """The next task starts when the validation loss of the task that started last is good enough or gets no better.

    The first task is active from the start; tasks that have started stay active. What is judged is the task's standard loss on
    the validation split, in training units, at every evaluated epoch (``trainer.evaluate_every``): at most one task starts per
    evaluated epoch, with the epoch that follows it. The count of a task begins anew when it starts, so its first evaluation after
    that is its best so far, however bad.

    Args:
        order: names of all tasks in the order in which they start; None: the tasks' order.
        patience: epochs without an improvement after which the next task starts.
        threshold: a loss, or ``{task: loss}``, under which the next task starts at once; None, and tasks left out: never.
        min_delta: a loss must be lower than the best one by more than this to be an improvement; absolute, in the loss's units
            (a relative one would have no meaning for losses around or below 0).

    Raises ``ConfigError`` if ``order`` is not a permutation of the tasks or a number is out of its range.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: Length,
        order: Sequence[str] | None = None,
        patience: int = 10,
        threshold: float | Mapping[str, float | None] | None = None,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(tasks, length)
        whole(patience, "schedule.patience", 1)
        not_negative(min_delta, "schedule.min_delta")
        self.order = _permutation(order, [task.name for task in tasks])
        self.patience, self.min_delta = patience, float(min_delta)
        self.threshold = dict(
            zip((task.name for task in tasks), _thresholds(threshold, tasks), strict=True)
        )
        self.started = {
            self.order[0]: 0
        }  # the epoch since which each task is active, in the order in which they started
        self.best, self.best_epoch = math.inf, 0  # of the task that started last

    def activation(self, step: int) -> tuple[float, ...]:
        epoch = step // self.length.steps_per_epoch
        return tuple(float(self.started.get(task.name, math.inf) <= epoch) for task in self.tasks)

    def observe(self, epoch: int, losses: Mapping[str, float]) -> None:
        if len(self.started) == len(self.order):
            return
        newest, waiting = self.order[len(self.started) - 1 : len(self.started) + 1]
        loss = float(losses[newest])
        if loss < self.best - self.min_delta:
            self.best, self.best_epoch = loss, epoch
        done = loss < self.threshold[newest] or epoch - self.best_epoch >= self.patience
        if (
            done and epoch < self.length.epochs
        ):  # after the last epoch there is nothing left to start for
            self.started[waiting] = epoch
            self.best, self.best_epoch = math.inf, epoch

    def epoch_marks(self) -> dict[str, float]:
        """Those that have been so far."""
        return {f"{name} starts": float(epoch) for name, epoch in self.started.items() if epoch > 0}

    def last_start(self) -> float:
        return max(self.started.values()) if len(self.started) == len(self.order) else math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"started": dict(self.started), "best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.started = dict(state["started"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]


def _permutation(order: Any, names: list[str]) -> list[str]:
    if order is None:
        return names
    if isinstance(order, str) or not isinstance(order, Sequence):
        raise ConfigError(
            f"schedule.order must be a list of all tasks, [{', '.join(names)}] in any order; found {order!r}."
        )
    for name in order:
        if name not in names:
            raise ConfigError(
                f"schedule.order names the unknown task {name!r}; {suggest(name, names)}."
            )
    for name in names:
        if (count := list(order).count(name)) != 1:
            what = (
                f"leaves out the task {name!r}"
                if count == 0
                else f"names the task {name!r} more than once"
            )
            raise ConfigError(
                f"schedule.order {what}; write every task once: [{', '.join(names)}] in any order."
            )
    return list(order)


def _thresholds(threshold: Any, tasks: Sequence[Task]) -> list[float]:
    """One per task; minus infinity is never reached."""
    if isinstance(threshold, Mapping):
        threshold = {name: -math.inf if loss is None else loss for name, loss in threshold.items()}
    return per_task(
        -math.inf if threshold is None else threshold, tasks, -math.inf, "schedule.threshold"
    )
