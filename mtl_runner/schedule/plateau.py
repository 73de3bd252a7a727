"""Tasks one after another: the next starts when the one before has stopped getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_runner.config.times import RunLength
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import not_negative, per_task, whole_number
from mtl_runner.schedule.base import Schedule
from mtl_runner.tasks.task import Task


class Plateau(Schedule):
    """Start the next task when the newest task's validation loss gets no better, or is good enough.

    The first task is active from the start; tasks that have started stay active. Judged is the
    newest task's standard loss on the validation split, in training units, at every evaluated epoch
    (``trainer.evaluate_every``). At most one task starts per evaluated epoch, with the epoch that
    follows it. The count of a task begins anew when it starts, so its first evaluation after that
    is its best so far, however bad.

    **When it helps:** tasks build on each other, and nobody knows how long each takes.

    **When not:** the loss of a task falls slowly to the end of the run: the later tasks then start
    late or never. With set times use :class:`~mtl_runner.schedule.Staged`.

    Args:
        tasks: The tasks, in order.
        length: The length of the run.
        order: The names of all tasks in the order in which they start; None: the tasks' order.
        patience: Epochs without an improvement after which the next task starts.
        threshold: A loss, or ``{task: loss}``, under which the next task starts at once; None, and
            for tasks that are left out: never.
        min_delta: A loss must be lower than the best one by more than this to be an improvement;
            absolute, in the loss's units (a relative one would have no meaning for losses around or
            below 0).

    Raises:
        ConfigError: If ``order`` is not a permutation of the tasks, or if a number is out of its
            range.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.schedule import Plateau, RunLength
        >>> tasks = [Task("depth"), Task("normals")]
        >>> schedule = Plateau(tasks, RunLength(epochs=9, steps_per_epoch=1), patience=2)
        >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.7], start=1):
        ...     schedule.observe(epoch, {"depth": loss, "normals": 1.0})
        >>> schedule.epoch_marks()
        {'normals starts': 4.0}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: RunLength,
        order: Sequence[str] | None = None,
        patience: int = 10,
        threshold: float | Mapping[str, float | None] | None = None,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(tasks, length)
        whole_number(patience, "schedule.patience", 1)
        not_negative(min_delta, "schedule.min_delta")
        self.order = _permutation(order, [task.name for task in tasks])
        self.patience, self.min_delta = patience, float(min_delta)
        self.threshold = dict(
            zip((task.name for task in tasks), _thresholds(threshold, tasks), strict=True)
        )
        # The epoch since which each task is active, in the order in which they started.
        self.started = {self.order[0]: 0}
        # Of the newest task.
        self.best, self.best_epoch = math.inf, 0

    def activation(self, step: int) -> tuple[float, ...]:
        """Return 1 for the tasks that have started, 0 for those that wait."""
        epoch = step // self.length.steps_per_epoch
        return tuple(float(self.started.get(task.name, math.inf) <= epoch) for task in self.tasks)

    def observe(self, epoch: int, losses: Mapping[str, float]) -> None:
        """Judge the newest task and start the next one if it is done.

        Args:
            epoch: How many epochs are done.
            losses: Each task's standard loss on the validation split.
        """
        if len(self.started) == len(self.order):
            return
        newest, waiting = self.order[len(self.started) - 1 : len(self.started) + 1]
        loss = float(losses[newest])
        if loss < self.best - self.min_delta:
            self.best, self.best_epoch = loss, epoch
        done = loss < self.threshold[newest] or epoch - self.best_epoch >= self.patience
        # After the last epoch there is nothing left to start for.
        if done and epoch < self.length.epochs:
            self.started[waiting] = epoch
            self.best, self.best_epoch = math.inf, epoch

    def epoch_marks(self) -> dict[str, float]:
        """Return the epochs at which tasks have started until now."""
        return {f"{name} starts": float(epoch) for name, epoch in self.started.items() if epoch > 0}

    def last_start(self) -> float:
        """Return the epoch at which the last task has started; infinite while one still waits."""
        return max(self.started.values()) if len(self.started) == len(self.order) else math.inf

    def state_dict(self) -> dict[str, Any]:
        """Return the starts until now, and the newest task's best loss and its epoch."""
        return {"started": dict(self.started), "best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.started = dict(state["started"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]


def _permutation(order: Any, names: list[str]) -> list[str]:
    """Return the order as a list, after a check that it holds every task once."""
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
            mistake = (
                f"leaves out the task {name!r}"
                if count == 0
                else f"names the task {name!r} more than once"
            )
            raise ConfigError(
                f"schedule.order {mistake}; write every task once: [{', '.join(names)}] in any order."
            )
    return list(order)


def _thresholds(threshold: Any, tasks: Sequence[Task]) -> list[float]:
    """Return the threshold of every task; minus infinity is never reached."""
    if isinstance(threshold, Mapping):
        threshold = {name: -math.inf if loss is None else loss for name, loss in threshold.items()}
    return per_task(
        -math.inf if threshold is None else threshold, tasks, -math.inf, "schedule.threshold"
    )
