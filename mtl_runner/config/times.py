"""Times of a run, as the config writes them: epochs, steps, or a share of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mtl_runner.errors import ConfigError


@dataclass(frozen=True)
class RunLength:
    """How long a run is.

    Args:
        epochs: The number of epochs.
        steps_per_epoch: The number of batches in an epoch.

    Example:
        >>> RunLength(epochs=100, steps_per_epoch=20).steps
        2000
    """

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """The number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def parse_time(time: Any, length: RunLength, key: str) -> int:
    """Return a time of the config in steps.

    Args:
        time: Epochs (``200`` or ``"200 epochs"``), steps (``"1000 steps"``) or a share of the run
            (``"25%"``).
        length: The length of the run.
        key: The key of the option, for the error.

    Raises:
        ConfigError: If it is not a time.

    Example:
        >>> length = RunLength(epochs=100, steps_per_epoch=20)
        >>> [parse_time(time, length, "schedule.start") for time in (3, "50 steps", "25%")]
        [60, 50, 500]
    """
    text = str(time).strip()
    try:
        if isinstance(time, bool):
            raise ValueError
        if text.endswith("%"):
            steps = float(text[:-1]) / 100 * length.steps
        elif text.endswith(("steps", "step")):
            steps = float(text.rsplit("step", 1)[0])
        else:
            epochs = float(text.removesuffix("epochs").removesuffix("epoch"))
            steps = epochs * length.steps_per_epoch
        if not 0 <= steps < float("inf"):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{key}={time!r} is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
        ) from None
    return round(steps)
