"""Who looks at a training step before and after its update: what only a few methods need."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mtl_runner.experiment.forward import ForwardResult
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.protocols import ObservesLosses, ObservesNorms


class StepHook(Protocol):
    """Looks at a step; the graphs of the losses must survive it."""

    def before_update(
        self, forward: ForwardResult, weights: Tensor, active: Active
    ) -> dict[str, Tensor]:
        """Look at losses and weights ``[T]``; returns what is to be recorded."""
        ...

    def after_update(self, forward: ForwardResult, active: Active) -> None:
        """Look at the step once the parameters have moved."""
        ...


class NormsBefore:
    """Tells a weighting the norm of every task's gradient at the last shared weight (GradNorm)."""

    def __init__(self, weighting: ObservesNorms, parameters: Parameters) -> None:
        self.weighting, self.parameters = weighting, parameters

    def before_update(
        self, forward: ForwardResult, weights: Tensor, active: Active
    ) -> dict[str, Tensor]:
        del weights
        norms = self.parameters.norms(forward.losses, active.tasks)
        self.weighting.observe_norms(norms, forward.values, active.none_if_all)
        return {}

    def after_update(self, forward: ForwardResult, active: Active) -> None:
        """Do nothing."""


class LossesAfter:
    """Tells a weighting the losses of the same batch before and after the update (FAMO)."""

    def __init__(self, weighting: ObservesLosses) -> None:
        self.weighting = weighting

    def before_update(
        self, forward: ForwardResult, weights: Tensor, active: Active
    ) -> dict[str, Tensor]:
        """Do nothing."""
        del forward, weights, active
        return {}

    def after_update(self, forward: ForwardResult, active: Active) -> None:
        assert forward.recompute is not None
        with torch.no_grad():
            self.weighting.observe_losses(
                forward.values, torch.stack(forward.recompute()), active.none_if_all
            )
