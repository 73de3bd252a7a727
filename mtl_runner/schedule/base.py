"""The protocol of a schedule: from the clock to how active each task is, known on the host before the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtl_runner.config.times import Length
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import check_task_names
from mtl_runner.tasks.task import Task


class Schedule:
    """Base of all schedules; itself ``schedule=all``: every task is always active.

    Args:
        tasks: the tasks, in order. length: of the run.
    """

    def __init__(self, tasks: Sequence[Task], length: Length) -> None:
        self.tasks = list(tasks)
        self.length = length

    def activation(self, step: int) -> tuple[float, ...]:
        """How active each task is at a step (counted from 0), in [0, 1]; 0 means idle: no gradient at all."""
        del step
        return (1.0,) * len(self.tasks)

    def observe(self, epoch: int, losses: Mapping[str, float]) -> None:
        """Told after every evaluated epoch: how many epochs are done, and each task's standard loss on validation."""

    @property
    def can_stack(self) -> bool:
        """Whether it says the same for all runs with its options, whatever their seeds and losses, so that they can stack."""
        return type(self) is Schedule

    def epoch_marks(self) -> dict[str, float]:
        """The epochs at which a task starts or ends, for the plots: ``{"y2 starts": 50.0}``."""
        return {}

    def last_start(self) -> float:
        """The epoch at which the last task has started; infinite while one is still waiting."""
        return 0.0

    def never_active(self) -> list[str]:
        """The tasks that never take part."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know, in plain values: a checkpoint holds no objects."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict``."""

    def refuse_idle(self, steps: Iterable[int]) -> None:
        """Raise ``ConfigError`` if no task is active at one of the steps; those after the run's end do not count."""
        for step in sorted(step for step in set(steps) if step < self.length.steps):
            if not any(self.activation(step)):
                epoch = step // self.length.steps_per_epoch
                raise ConfigError(
                    f"schedule: no task is active at step {step} (epoch {epoch}); let at least one start there."
                )


def by_task(value: Any, tasks: Sequence[Task], key: str, form: str) -> dict[str, Any]:
    """An option given per task as a dict, empty for None. Raises ``ConfigError`` for anything else or an unknown task."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} must be {form}; found {value!r}.")
    check_task_names(value, tasks, key)
    return dict(value)
