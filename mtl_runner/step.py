"""The training step: these few lines and nothing else hides in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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

    def step(self, batch: Split, active: Active) -> tuple[Tensor, Tensor, Tensor]:
        """One training step; returns the losses ``[T]``, the effective weights ``[T]`` and the objective, on the device."""
        again = self._again(batch) if self.update.needs_again else None
        losses = self.likelihood.losses(self.model(batch.inputs), batch.targets)
        values = torch.stack([loss.detach() for loss in losses])
        weights, objective = self.weighting.weigh(values, active.subset)
        if active.partial:
            weights = weights * torch.tensor(active.values, dtype=weights.dtype, device=weights.device)
        self.update(losses, weights, active, again)
        self.own.step()
        return values, weights, objective

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
