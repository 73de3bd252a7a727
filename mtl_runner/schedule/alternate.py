"""One task at a time: round robin, or drawn in proportions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate

from mtl_runner.config.times import Length
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import per_task, positive
from mtl_runner.schedule.base import Schedule
from mtl_runner.tasks.task import Task


class Alternate(Schedule):
    """Tasks take turns: in a turn exactly one task is active, the others are idle.

    Which task has a turn depends on nothing but the seed and the turn's number: a resumed run goes on as if it had never
    stopped, and no other random stream is touched.

    Args:
        every: length of a turn, ``step`` or ``epoch``.
        proportions: ``{task: number}``: each turn's task is drawn at random, with a probability proportional to its number;
            missing tasks 1. A number for all draws them equally often. None: no chance, the tasks take turns in their order.
        seed: of the draws.

    Raises ``ConfigError`` for an unknown ``every`` or task, or a proportion that is not positive.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        length: Length,
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
        self.borders = None if proportions is None else _borders(proportions, tasks)
        self._alone = [
            tuple(float(t == active) for t in range(len(tasks))) for active in range(len(tasks))
        ]
        self._first_turns: dict[int, int] | None = None

    def task_of(self, turn: int) -> int:
        """The index of the task that has a turn (counted from 0)."""
        if self.borders is None:
            return turn % len(self.tasks)
        # A hash of the turn's number, not a generator: any turn's draw is known without those before it.
        digest = blake2b(
            b"%d %d" % (self.seed, turn), digest_size=8, person=b"mtl alternate"
        ).digest()
        return bisect_right(self.borders, (int.from_bytes(digest, "big") >> 11) * 2.0**-53)

    @property
    def can_stack(self) -> bool:
        return self.borders is None

    def activation(self, step: int) -> tuple[float, ...]:
        return self._alone[self.task_of(step // self.turn_steps)]

    def last_start(self) -> float:
        return max(self._found().values()) * self.turn_steps / self.length.steps_per_epoch

    def never_active(self) -> list[str]:
        return [task.name for i, task in enumerate(self.tasks) if i not in self._found()]

    def _found(self) -> dict[int, int]:
        """The first turn of every task that has one in this run; looked for once, until all are found."""
        if self._first_turns is None:
            self._first_turns = {}
            for turn in range(self.length.steps // self.turn_steps):
                self._first_turns.setdefault(self.task_of(turn), turn)
                if len(self._first_turns) == len(self.tasks):
                    break
        return self._first_turns


def _borders(proportions: float | Mapping[str, float], tasks: Sequence[Task]) -> list[float]:
    """The inner borders of the tasks' shares of [0, 1]."""
    numbers = per_task(proportions, tasks, 1.0, "schedule.proportions")
    numbers = [
        positive(number, f"schedule.proportions.{t.name}")
        for number, t in zip(numbers, tasks, strict=True)
    ]
    *sums, total = accumulate(numbers)
    return [part / total for part in sums]
