"""How far the training of a run is: every place at which it can stop and go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Position(NamedTuple):
    """A place in the training of a run, at the end of an epoch or between two steps.

    Attributes:
        epoch: Number of epochs that are complete.
        steps: Number of steps of the next epoch that are taken.

    Example:
        >>> print(Position(3), Position(3, steps=5), sep=", ")
        epoch 3, step 5 of epoch 4
        >>> Position(3) < Position(3, steps=5) < Position(4)
        True
    """

    epoch: int
    steps: int = 0

    def __str__(self) -> str:
        if self.steps:
            return f"step {self.steps} of epoch {self.epoch + 1}"
        return f"epoch {self.epoch}"

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Position:
        """Return the position of a checkpoint.

        Args:
            state: Its content; older checkpoints were written at the ends of epochs only.
        """
        return cls(state["epoch"], state.get("steps_in_epoch", 0))


def short_epoch(epoch: float) -> str:
    """Return a number of epochs for a sentence: fractions with two digits.

    Example:
        >>> short_epoch(30), short_epoch(30.769231)
        ('30', '30.77')
    """
    return str(epoch) if isinstance(epoch, int) else f"{epoch:.2f}"


START = Position(0)
