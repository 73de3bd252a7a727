"""Optional abilities of weightings and likelihoods, as protocols.

An object with the methods of a protocol takes part in it; no base class is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class HasSigmas(Protocol):
    """An object that learns a noise scale per task, recorded as ``sigma``.

    Example:
        >>> class TwoSigmas:
        ...     def sigmas(self):
        ...         return [0.5, None]
        >>> isinstance(TwoSigmas(), HasSigmas)
        True
    """

    def sigmas(self) -> list[float | None]:
        """Return each task's noise scale in the target's units; None where there is none yet."""
        ...


@runtime_checkable
class EstimatesNoise(Protocol):
    """An object that knows which of its sigmas estimate the true noise of the target.

    Pictures draw the true noise scale only beside such a sigma.
    """

    def sigma_estimates_noise(self) -> list[bool]:
        """Return, per task, whether its sigma estimates the noise of the target."""
        ...


@runtime_checkable
class HasOptimum(Protocol):
    """An object whose learned values have a known optimum for given losses.

    The advice after a run compares the two: values far from their optimum have not converged.
    """

    def values_and_optima(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        """Return each task's learned value and its optimum for constant losses.

        Args:
            losses: The standard loss of each task, ``[T]``.

        Returns:
            A pair per task; None for a task without such a learned value.
        """
        ...
