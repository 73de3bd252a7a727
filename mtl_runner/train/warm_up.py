"""Warm-up: learning rates that grow from 0 over the first steps of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from torch.optim import Optimizer

# One for all steps after the warm-up: nothing is made anew.
FULL_RATES = contextlib.nullcontext()


class WarmUp:
    """Multiplies every learning rate by a factor that grows linearly to 1.

    Between two steps the optimizers have their own rates: a scheduler, which computes the next
    rate from the present one, never meets the factor, and a checkpoint needs no state of it.

    Args:
        optimizers: All optimizers of the run.
        steps: Number of steps until the factor is 1; 0: it always is.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4)
        >>> warm_up = WarmUp([optimizer], steps=4)
        >>> for step in (1, 2, 4, 5):
        ...     with warm_up.during(step):
        ...         print(optimizer.param_groups[0]["lr"])
        0.1
        0.2
        0.4
        0.4
        >>> optimizer.param_groups[0]["lr"]
        0.4
    """

    def __init__(self, optimizers: Sequence[Optimizer], steps: int) -> None:
        self.optimizers = optimizers
        self.steps = steps

    def factor(self, step: int) -> float:
        """Return the factor of a step, counted from 1.

        Example:
            >>> [WarmUp([], steps=10).factor(step) for step in (1, 5, 10, 11)]
            [0.1, 0.5, 1.0, 1.0]
        """
        return step / self.steps if step < self.steps else 1.0

    def during(self, step: int) -> contextlib.AbstractContextManager[None]:
        """Give the optimizers, while the context lasts, the rates of a step, counted from 1."""
        return self._reduced_rates(step) if step < self.steps else FULL_RATES

    @contextlib.contextmanager
    def _reduced_rates(self, step: int) -> Iterator[None]:
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * self.factor(step)
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
