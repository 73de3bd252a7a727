"""What only some weightings and likelihoods can do, as protocols: whoever has the methods takes part, without a base class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class HasSigmas(Protocol):
    """Learns a noise scale per task, which is recorded as ``sigma``."""

    def sigmas(self) -> list[float | None]:
        """The noise scale of each task in the target's units; None where there is none, or not yet."""
        ...


@runtime_checkable
class EstimatesNoise(Protocol):
    """Says of which tasks the sigma estimates the true noise scale, so that the two may be drawn together."""

    def sigma_estimates_noise(self) -> list[bool]:
        """One answer per task."""
        ...


@runtime_checkable
class HasOptimum(Protocol):
    """Learns log-variances, or the like, whose optimum for given losses is known: whether they arrived can be told."""

    def off_optimum(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        """Each task's learned value and its optimum for constant losses ``[T]``; None where nothing like it is trained."""
        ...
