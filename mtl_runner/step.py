"""The training step: these few lines and nothing else hides in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mtl_runner.conflicts import Conflicts
from mtl_runner.data.base import Split
from mtl_runner.likelihood import Likelihood
from mtl_runner.update import Active, OwnParameters, Update
from mtl_runner.weighting import Weighting


@dataclass
class Learner:
    """What a step changes: the model and the four axes (the schedule has already said who is active)."""

    model: nn.Module
    likelihood: Likelihood
    weighting: Weighting
    update: Update
    own: OwnParameters
    conflicts: Conflicts | None = None

    def step(self, batch: Split, active: Active) -> tuple[Tensor, ...]:
        """One training step; returns the standard losses ``[T]``, the effective weights ``[T]``, the objective, and :attr:`fields`."""
        again = self._again(batch) if self.update.needs_again or self.weighting.needs_again else None
        outputs = self.model(batch.inputs)
        losses = self.likelihood.losses(outputs, batch.targets)
        values = torch.stack([loss.detach() for loss in losses])
        weights, objective = self.weighting.weigh(values, active.subset)
        if active.partial:
            weights = weights * active.tensor(weights)
        own = self.own.gradients(losses, weights, active)
        if self.weighting.needs_norms:
            self.weighting.observe_norms(self.update.parameters.norms(losses, active.tasks), values, active.subset)
        standard = self.likelihood.standard_losses(outputs, batch.targets) if self.likelihood.has_noise else values
        nll = self._nll(values, outputs, batch)
        measured = self.conflicts.measure(losses, active) if self.conflicts is not None else ()
        self.update(losses, weights, active, again)
        if self.weighting.needs_again and again is not None:
            with torch.no_grad():
                self.weighting.observe_losses(values, torch.stack(again()), active.subset)
        self.own.step(own)
        return standard, weights, objective, *self.update.measured, *measured, *nll

    def _nll(self, values: Tensor, outputs: dict[str, Tensor], batch: Split) -> tuple[Tensor, ...]:
        """The exact negative log-likelihoods ``[T]`` where there is a noise scale: what is trained, unless ``beta`` changes it."""
        if not self.likelihood.has_noise:
            return ()
        return (values if self.likelihood.trains_nll else self.likelihood.negative_log_likelihoods(outputs, batch.targets),)

    @cached_property
    def fields(self) -> dict[str, int]:
        """Names and widths of what a step returns beside losses, weights and objective."""
        fields = dict(self.update.fields)
        if self.conflicts is not None:
            fields |= self.conflicts.fields
        return fields | ({"nll": len(self.likelihood.tasks)} if self.likelihood.has_noise else {})

    def _again(self, batch: Split) -> Callable[[], list[Tensor]]:
        """A function that recomputes the batch's losses with the same random state, on copies of the buffers (BatchNorm)."""
        device = next(self.model.parameters()).device
        cuda = [device] if device.type == "cuda" else []
        random = torch.get_rng_state()
        cuda_random = [torch.cuda.get_rng_state(d) for d in cuda]

        def recompute() -> list[Tensor]:
            with torch.random.fork_rng(devices=cuda):
                torch.set_rng_state(random)
                for d, state in zip(cuda, cuda_random, strict=True):
                    torch.cuda.set_rng_state(state, d)
                buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
                outputs = torch.func.functional_call(self.model, buffers, (batch.inputs,))
                return self.likelihood.losses(outputs, batch.targets)

        return recompute
