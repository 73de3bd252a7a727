"""The scale of half precision: small gradients are multiplied up before they are rounded to 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Those of torch.amp.GradScaler.
INITIAL = 2.0**16
GROWTH, BACKOFF = 2.0, 0.5
GROWTH_STEPS = 2000


class GradientOverflowError(ArithmeticError):
    """Raised where a scaled gradient is not finite: the whole step is left out.

    ``torch.amp.GradScaler`` asks each optimizer by itself, and would step one task's and leave out
    another's.
    """


class LossScale:
    """The factor on all losses of a step in half precision, which adapts as it goes.

    It is halved after an overflow, and doubled after 2000 steps without one. Powers of two change
    no digit of a gradient.

    Attributes:
        value: The factor.
        steps: Number of steps since it was last changed.

    Example:
        >>> scale = LossScale()
        >>> scale.removed([torch.tensor([2.0**17]), None])
        [tensor([2.]), None]
        >>> scale.overflowed()
        >>> scale.value == 2.0**15
        True
    """

    def __init__(self) -> None:
        self.value, self.steps = INITIAL, 0

    @torch.no_grad()
    def removed(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return gradients divided by the factor; None stays None.

        Args:
            gradients: The gradients of a step, those of all parts together.

        Raises:
            GradientOverflowError: If one of them is not finite.
        """
        result = [None if gradient is None else gradient / self.value for gradient in gradients]
        finite = [gradient.isfinite().all() for gradient in result if gradient is not None]
        # This waits for the device, once per call.
        if finite and not bool(torch.stack(finite).all()):
            raise GradientOverflowError("A gradient is too large for half precision.")
        return result

    def overflowed(self) -> None:
        """Take note of a step that was left out."""
        self.value, self.steps = max(1.0, self.value * BACKOFF), 0

    def stepped(self) -> None:
        """Take note of a step that was taken."""
        self.steps += 1
        if self.steps == GROWTH_STEPS:
            self.value, self.steps = self.value * GROWTH, 0

    def state_dict(self) -> dict[str, Any]:
        """Return factor and steps, for a checkpoint."""
        return {"value": self.value, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        self.value, self.steps = state["value"], state["steps"]
