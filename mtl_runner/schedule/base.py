"""The protocol of a schedule: from the clock to how active each task is.

The activation is known on the host before the step, so a step never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtl_runner.config.times import RunLength
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import check_task_names
from mtl_runner.tasks.task import Task


class Schedule:
    """Keep every task active all the time; the base class of all schedules.

    A subclass overrides :meth:`activation`, and the other methods where the answers of this class
    do not hold.

    **When it helps:** always, as the default.

    **When not:** a task disturbs the others early in training; see
    :class:`~mtl_runner.schedule.Staged`, :class:`~mtl_runner.schedule.Ramp` and
    :class:`~mtl_runner.schedule.Plateau`.

    Args:
        tasks: The tasks, in order.
        length: The length of the run.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.schedule import RunLength, Schedule
        >>> tasks, length = [Task("depth"), Task("normals")], RunLength(4, steps_per_epoch=10)
        >>> Schedule(tasks, length).activation(step=0)
        (1.0, 1.0)
        >>> class SecondLater(Schedule):
        ...     def activation(self, step):
        ...         return (1.0, float(step >= 20))
        >>> [SecondLater(tasks, length).activation(step) for step in (19, 20)]
        [(1.0, 0.0), (1.0, 1.0)]
    """

    def __init__(self, tasks: Sequence[Task], length: RunLength) -> None:
        self.tasks = list(tasks)
        self.length = length

    def activation(self, step: int) -> tuple[float, ...]:
        """Return how active each task is at a step, in [0, 1]; 0 means idle: no gradient at all.

        Args:
            step: The step of the run, counted from 0.
        """
        del step
        return (1.0,) * len(self.tasks)

    def observe(self, epoch: int, losses: Mapping[str, float]) -> None:
        """Learn from the validation losses; called after every epoch that ends with an evaluation.

        Args:
            epoch: How many epochs are done.
            losses: Each task's standard loss on the validation split.
        """

    @property
    def observes(self) -> bool:
        """Whether the schedule learns from the validation losses (:meth:`observe`)."""
        return type(self).observe is not Schedule.observe

    @property
    def can_stack(self) -> bool:
        """Whether the runs of a stack share this schedule, whatever their seeds and losses."""
        return type(self) is Schedule

    def epoch_marks(self) -> dict[str, float]:
        """Return the epochs at which a task starts or ends, for the plots.

        The keys are labels: ``{"y2 starts": 50.0}``.
        """
        return {}

    def last_start(self) -> float:
        """Return the epoch at which the last task has started; infinite while one still waits."""
        return 0.0

    def never_active(self) -> list[str]:
        """Return the names of the tasks that never take part."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know, in plain values: a checkpoint holds no objects."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""

    def refuse_idle(self, steps: Iterable[int]) -> None:
        """Check that some task is active at each of the steps.

        Args:
            steps: The steps to check; those after the end of the run do not count.

        Raises:
            ConfigError: If no task is active at one of the steps.
        """
        for step in sorted(step for step in set(steps) if step < self.length.steps):
            if not any(self.activation(step)):
                epoch = step // self.length.steps_per_epoch
                raise ConfigError(
                    f"schedule: no task is active at step {step} (epoch {epoch}); let at least one start there."
                )


def mapping_by_task(value: Any, tasks: Sequence[Task], key: str, form: str) -> dict[str, Any]:
    """Return an option that is given per task as a dict, empty for None.

    Args:
        value: The option's value.
        tasks: The tasks that it may name.
        key: The key of the option, for the error.
        form: How to write the option, for the error.

    Raises:
        ConfigError: If the value is neither None nor a mapping, or names an unknown task.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} must be {form}; found {value!r}.")
    check_task_names(value, tasks, key)
    return dict(value)
