"""Times of a run, as the config writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mtl_runner.errors import ConfigError


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def parse_when(when: Any, length: Length, key: str) -> int:
    """A time in steps from ``200`` (epochs), ``"1000 steps"`` or ``"25%"``. Raises ``ConfigError`` naming the key."""
    text = str(when).strip()
    try:
        if isinstance(when, bool):
            raise ValueError
        if text.endswith("%"):
            steps = float(text[:-1]) / 100 * length.steps
        elif text.endswith(("steps", "step")):
            steps = float(text.rsplit("step", 1)[0])
        else:
            steps = (
                float(text.removesuffix("epochs").removesuffix("epoch")) * length.steps_per_epoch
            )
        if not 0 <= steps < float("inf"):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{key}={when!r} is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
        ) from None
    return round(steps)
