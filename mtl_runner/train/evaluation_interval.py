"""When a run evaluates the model on the validation split."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.errors import ConfigError

KEY = "trainer.evaluate_every"
MAX_EVALUATIONS = 200


@dataclass(frozen=True)
class EvaluationInterval:
    """The steps of a run after which the model is evaluated: always after the last one.

    Args:
        steps: Steps between evaluations.
        length: The length of the run.

    Example:
        >>> length = RunLength(epochs=3, steps_per_epoch=10)
        >>> for every in (None, 2, "12 steps"):
        ...     interval = EvaluationInterval.parse(every, length)
        ...     print(every, [step for step in range(1, 31) if interval.is_due(step)])
        None [10, 20, 30]
        2 [10, 20, 30]
        12 steps [12, 24, 30]
    """

    steps: int
    length: RunLength

    @classmethod
    def parse(cls, option: int | float | str | None, length: RunLength) -> EvaluationInterval:
        """Return the interval of the config's ``trainer.evaluate_every``.

        Args:
            option: Epochs, steps or a share of the run; None: epochs, so many that there are at
                most 200 evaluations.
            length: The length of the run.

        Raises:
            ConfigError: If it is no such time, or shorter than a step.
        """
        if option is None:
            return cls(-(-length.epochs // MAX_EVALUATIONS) * length.steps_per_epoch, length)
        try:
            if steps := parse_time(option, length, KEY):
                return cls(steps, length)
        except ConfigError:
            pass
        raise ConfigError(
            f"{KEY}={option!r} is not a time of at least one step; write epochs (2), '500 steps' or a share of the run ('25%')."
        )

    @property
    def is_in_epochs(self) -> bool:
        """Whether every evaluation is at the end of an epoch; then the first epoch has one, too."""
        return self.steps % self.length.steps_per_epoch == 0

    def is_due(self, step: int) -> bool:
        """Return whether the model is evaluated after a step, counted from 1."""
        ends = {self.length.steps, self.length.steps_per_epoch if self.is_in_epochs else None}
        return step in ends or step % self.steps == 0
