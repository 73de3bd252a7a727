"""When a run writes a checkpoint inside an epoch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.errors import ConfigError

KEY = "trainer.checkpoint_every"


@dataclass
class CheckpointInterval:
    """A number of steps, or of minutes, after which a run writes a checkpoint.

    Args:
        steps: Steps between checkpoints; None: not by steps.
        minutes: Minutes between checkpoints; None: not by minutes.
        since: When the minutes began, in seconds of ``time.monotonic``.

    Example:
        >>> interval = CheckpointInterval.parse("50 steps", RunLength(2, steps_per_epoch=100))
        >>> [step for step in range(1, 201) if interval.is_due(step)]
        [50, 100, 150, 200]
        >>> CheckpointInterval.parse("2 minutes", RunLength(2, 100)).minutes
        2.0
    """

    steps: int | None = None
    minutes: float | None = None
    since: float = field(default_factory=time.monotonic, repr=False)

    @classmethod
    def parse(cls, option: int | float | str | None, length: RunLength) -> CheckpointInterval:
        """Return the interval of the config's ``trainer.checkpoint_every``.

        Args:
            option: Epochs, steps, a share of the run, or ``"10 minutes"``; None: never.
            length: The length of the run.

        Raises:
            ConfigError: If it is no such time, or shorter than a step.
        """
        if option is None:
            return cls()
        words = str(option).split()
        try:
            if words[1:] in (["minutes"], ["minute"]):
                minutes = float(words[0])
                if 0 < minutes < math.inf:
                    return cls(minutes=minutes)
            elif steps := parse_time(option, length, KEY):
                return cls(steps=steps)
        except (ConfigError, ValueError):
            pass
        raise ConfigError(
            f"{KEY}={option!r} is not a time of at least one step; write '500 steps', epochs (2), '10 minutes' or a share of the run ('25%')."
        )

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is to be written after a step, counted from 1.

        The minutes begin anew when they are over.
        """
        if self.steps is not None:
            return step % self.steps == 0
        if self.minutes is None or time.monotonic() - self.since < 60 * self.minutes:
            return False
        self.since = time.monotonic()
        return True
