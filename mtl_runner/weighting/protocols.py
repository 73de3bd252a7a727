"""What only some weightings want to be told, as protocols: whoever has the methods is told, without a base class."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from mtl_runner.tasks.activity import Active


@runtime_checkable
class ObservesNorms(Protocol):
    """Learns from the norms of the tasks' gradients before every update (GradNorm)."""

    def observe_norms(self, norms: Tensor, losses: Tensor, active: Active | None = None) -> None:
        """Take the gradient norms ``[T]`` of the unweighted losses at the last shared weight tensor (0 for idle tasks)."""
        ...


@runtime_checkable
class ObservesLosses(Protocol):
    """Learns from the losses of the same batch before and after every update (FAMO)."""

    def observe_losses(self, before: Tensor, after: Tensor, active: Active | None = None) -> None:
        """Set the gradients of the weighting's own parameters from losses ``[T]``."""
        ...

    def gradients(self, before: Tensor, after: Tensor, active: Active | None = None) -> Tensor:
        """The gradients ``[k]`` of the active tasks' parameters, of which there is one scalar per task."""
        ...


@runtime_checkable
class KeepsLosses(Protocol):
    """Remembers the losses of an epoch (DWA)."""

    def accumulate(self, losses: Tensor, active: Active | None = None) -> None:
        """Take note of the active tasks' losses of one step ``[k]``, or of many steps ``[n, k]``."""
        ...

    def begin_epoch(self) -> None:
        """Called at the start of every epoch."""
        ...
