"""One task at a time: round robin, or drawn in proportions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate

from mtl_runner.config.times import RunLength
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import per_task, positive
from mtl_runner.schedule.base import Schedule
from mtl_runner.tasks.task import Task


class Alternate(Schedule):
    """Let the tasks take turns: in a turn exactly one task is active, the others are idle.

    Which task has a turn depends on nothing but the seed and the turn's number. So a resumed run
    goes on as if it had never stopped, and no other random stream is touched.

    **When it helps:** the batches of the tasks do not fit together, or one task should be trained
    more often than another.

    **When not:** a task gets too few turns. It is trained in its own turns only, so with T tasks
    each one has about 1/T of the steps.

    Args:
        tasks: The tasks, in order.
        length: The length of the run.
        every: The length of a turn, ``"step"`` or ``"epoch"``.
        proportions: ``{task: number}`` draws each turn's task at random, with a probability
            proportional to its number (1 for tasks that are left out); a number for all draws them
            equally often. With None the tasks take turns in their order, without chance.
        seed: Seed of the draws; in a run, by default the run's seed.

    Raises:
        ConfigError: If ``every`` is unknown, or ``proportions`` names an unknown task or holds a
            number that is not positive.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.schedule import Alternate, RunLength
        >>> tasks = [Task("depth"), Task("normals")]
        >>> schedule = Alternate(tasks, RunLength(epochs=4, steps_per_epoch=10))
        >>> [schedule.activation(step) for step in range(3)]
        [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)]
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: RunLength,
        every: str = "step",
        proportions: float | Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, length)
        lengths = {"step": 1, "epoch": length.steps_per_epoch}
        if every not in lengths:
            raise ConfigError(f"schedule.every={every!r} is unknown; {suggest(every, lengths)}.")
        self.turn_steps = lengths[every]
        self.seed = seed
        self.boundaries = None if proportions is None else _boundaries(proportions, tasks)
        # For each task the activation in which it alone is active.
        self._activations = [
            tuple(float(t == active) for t in range(len(tasks))) for active in range(len(tasks))
        ]
        self._first_turns: dict[int, int] | None = None

    def task_of(self, turn: int) -> int:
        """Return the index of the task that has a turn.

        Args:
            turn: The number of the turn, counted from 0.
        """
        if self.boundaries is None:
            return turn % len(self.tasks)
        # A hash of the turn's number, not a generator: any draw is known without those before it.
        digest = blake2b(
            b"%d %d" % (self.seed, turn), digest_size=8, person=b"mtl alternate"
        ).digest()
        return bisect_right(self.boundaries, (int.from_bytes(digest, "big") >> 11) * 2.0**-53)

    @property
    def can_stack(self) -> bool:
        """Whether the runs of a stack share this schedule: only if no turn is drawn by a seed."""
        return self.boundaries is None

    def activation(self, step: int) -> tuple[float, ...]:
        """Return 1 for the task that has this step's turn, 0 for the others."""
        return self._activations[self.task_of(step // self.turn_steps)]

    def last_start(self) -> float:
        """Return the epoch of the last of the tasks' first turns."""
        latest_turn = max(self._first_turn_by_task().values())
        return latest_turn * self.turn_steps / self.length.steps_per_epoch

    def never_active(self) -> list[str]:
        """Return the names of the tasks that have no turn in this run."""
        first_turns = self._first_turn_by_task()
        return [task.name for i, task in enumerate(self.tasks) if i not in first_turns]

    def _first_turn_by_task(self) -> dict[int, int]:
        """Return the first turn of every task that has one in this run, searched for once."""
        if self._first_turns is None:
            self._first_turns = {}
            for turn in range(self.length.steps // self.turn_steps):
                self._first_turns.setdefault(self.task_of(turn), turn)
                if len(self._first_turns) == len(self.tasks):
                    break
        return self._first_turns


def _boundaries(proportions: float | Mapping[str, float], tasks: Sequence[Task]) -> list[float]:
    """Return the inner boundaries of the tasks' shares of [0, 1]."""
    numbers = per_task(proportions, tasks, 1.0, "schedule.proportions")
    numbers = [
        positive(number, f"schedule.proportions.{task.name}")
        for number, task in zip(numbers, tasks, strict=True)
    ]
    *sums, total = accumulate(numbers)
    return [part / total for part in sums]
