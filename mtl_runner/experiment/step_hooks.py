"""Hooks before and after the update of a training step: what only a few methods need."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.kernel_traces import kernel_traces
from mtl_runner.experiment.micro_batches import Forward
from mtl_runner.gradients.door import values_of
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.tasks.activity import Active
from mtl_runner.update import Update
from mtl_runner.weighting import Weighting
from mtl_runner.weighting.protocols import (
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
)


class StepHook(Protocol):
    """An observer of a training step; the graphs of the losses must survive it."""

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Look at gradients that do not depend on the weights.

        A batch in parts has not gone through the model then, so that this first pass over the parts
        measures the losses, too.

        Args:
            forward: Outputs and losses of the batch.
            active: The tasks that take part.
        """
        ...

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Look at the losses and weights before the parameters move.

        Args:
            forward: Outputs and losses of the batch.
            weights: One factor per task, shape ``[T]``.
            active: The tasks that take part.

        Returns:
            What is to be recorded, by name.
        """
        ...

    def after_update(self, forward: Forward, active: Active) -> None:
        """Look at the step once the parameters have moved.

        Args:
            forward: Outputs and losses of the batch, from before the update.
            active: The tasks that take part.
        """
        ...


class GradientNormHook:
    """Tells a weighting the norm of every task's gradient at the last shared weight (GradNorm).

    Args:
        weighting: The weighting that observes norms.
        update: The update, which has the parameters and says at which steps (``update.every``).
        norms_come_first: Whether it is told before the weights of the step are computed.
    """

    def __init__(
        self, weighting: ObservesNorms, update: Update, norms_come_first: bool = False
    ) -> None:
        self.weighting, self.update = weighting, update
        self.norms_come_first = norms_come_first
        self.norms: Tensor | None = None

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Measure the norms, if it is time; while their layer is frozen, there are none."""
        parameters = self.update.parameters
        is_measured = (
            self.update.is_due
            and not is_frozen(self.weighting)
            and bool(trained_now(parameters.last_shared))
        )
        self.norms = parameters.norms(forward.losses, active.tasks) if is_measured else None
        if self.norms_come_first:
            self._pass_on(forward, active)

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Pass the norms on unless it is done; nothing is recorded."""
        del weights
        if not self.norms_come_first:
            self._pass_on(forward, active)
        return {}

    def _pass_on(self, forward: Forward, active: Active) -> None:
        if self.norms is not None:
            self.weighting.observe_norms(self.norms, forward.values, active.none_if_all)
        elif isinstance(self.weighting, nn.Module):
            for parameter in self.weighting.parameters():
                parameter.grad = None  # what the last norms have left

    def after_update(self, forward: Forward, active: Active) -> None:
        """Do nothing."""


class GradientSizeHook:
    """Tells a weighting how large the entries of the tasks' gradients are (LRAnnealing).

    Args:
        weighting: The weighting that observes gradients.
        parameters: The parameters of the model, with the tasks that own each.
    """

    def __init__(self, weighting: ObservesGradients, parameters: Parameters) -> None:
        self.weighting, self.parameters = weighting, parameters

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Measure them in the steps in which the weighting asks for it.

        While all shared parameters are frozen, there is nothing to measure.
        """
        if is_frozen(self.weighting):
            return
        if self.weighting.measures_now() and trained_now(self.parameters.shared):
            largest, mean = self.parameters.sizes(forward.losses, active.tasks)
            self.weighting.observe_gradients(largest, mean, active.none_if_all)

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Do nothing."""
        del forward, weights, active
        return {}

    def after_update(self, forward: Forward, active: Active) -> None:
        """Do nothing."""


class KernelTraceHook:
    """Tells a weighting the traces of the tasks' neural tangent kernels (NTK).

    Args:
        weighting: The weighting that observes traces.
        forward_pass: The forward pass.
        ranks: The processes that share a batch; None: this one has all of it.
    """

    def __init__(
        self, weighting: ObservesTraces, forward_pass: ForwardPass, ranks: Ranks | None
    ) -> None:
        self.weighting, self.forward_pass, self.ranks = weighting, forward_pass, ranks

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Measure them in the steps in which the weighting asks for it."""
        if not is_frozen(self.weighting) and self.weighting.measures_now():
            assert forward.batch is not None
            tasks = self.forward_pass.likelihood.tasks
            traces = kernel_traces(self.forward_pass, forward.batch, tasks, self.ranks)
            self.weighting.observe_traces(traces, active.none_if_all)

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Do nothing."""
        del forward, weights, active
        return {}

    def after_update(self, forward: Forward, active: Active) -> None:
        """Do nothing."""


class LossChangeHook:
    """Tells a weighting the losses of the same batch before and after the update (FAMO).

    Args:
        weighting: The weighting that observes losses.
    """

    def __init__(self, weighting: ObservesLosses) -> None:
        self.weighting = weighting

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Do nothing."""

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Do nothing."""
        del forward, weights, active
        return {}

    def after_update(self, forward: Forward, active: Active) -> None:
        """Recompute the losses of the batch and pass them on."""
        if is_frozen(self.weighting):
            return
        assert forward.recompute is not None
        with torch.no_grad():
            self.weighting.observe_losses(
                forward.values, values_of(forward.recompute()), active.none_if_all
            )


def is_frozen(weighting: object) -> bool:
    """Return whether the weights of a weighting do not change any more.

    Args:
        weighting: An object that has the methods of a protocol of weightings.
    """
    return isinstance(weighting, Weighting) and weighting.is_frozen
