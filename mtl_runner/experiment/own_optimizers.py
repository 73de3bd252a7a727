"""The optimizers of what is learned beside the model: log-variances and the like. Never clipped, never decayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import stepper
from mtl_runner.experiment.forward import ForwardResult
from mtl_runner.gradients.layout import laid_out
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.activity import Active
from mtl_runner.update.base import MakeOptimizer
from mtl_runner.weighting.base import Weighting

SETTLING = 0.3  # share of the run over which an annealed rate falls to 0

Owner = Weighting | Likelihood


class OwnOptimizers:
    """The optimizers of the own parameters of a weighting and of a likelihood.

    With a learning rate of their own (``weighting.lr``, ``likelihood.lr``) they have an Adam, whose rate falls to 0 over the last 30 % of the
    run if ``anneal``, so that they first arrive and then settle instead of following single batches; with ``lr: null`` an
    optimizer like the model's, without weight decay. A parameter of an idle task has no gradient, so neither it nor its Adam
    clock moves.
    """

    def __init__(
        self,
        weighting: Weighting,
        make_optimizer: MakeOptimizer,
        likelihood: Likelihood | None = None,
    ) -> None:
        self.likelihood_parameters = _trained(likelihood) if likelihood is not None else []
        parts: dict[str, Owner | None] = {"weighting": weighting, "likelihood": likelihood}
        trained = {
            name: owner for name, owner in parts.items() if owner is not None and _trained(owner)
        }
        self.owners = list(trained)  # whose parameters each optimizer has
        owners = list(trained.values())
        self.optimizers = [_optimizer(owner, make_optimizer) for owner in owners]
        self.annealed = [
            (o, owner.lr)
            for o, owner in zip(self.optimizers, owners, strict=True)
            if owner.anneal and owner.lr
        ]
        self.scheduled = [
            o for o, owner in zip(self.optimizers, owners, strict=True) if owner.lr is None
        ]
        self.steppers = [stepper(optimizer) for optimizer in self.optimizers]
        self._taken: Sequence[Tensor | None] = ()  # between the two halves of a step

    def begin_epoch(self, done: float) -> None:
        """Set the learning rates for an epoch that begins when ``done`` (0 to 1) of the run is over."""
        for optimizer, lr in self.annealed:
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (1 - done) / SETTLING)

    def before_update(
        self, forward: ForwardResult, weights: Tensor, active: Active
    ) -> dict[str, Tensor]:
        """Take the gradients of the likelihood's parameters, while the graph of the losses is there."""
        self._taken = self.gradients(forward.losses, weights, active)
        return {}

    def after_update(self, forward: ForwardResult, active: Active) -> None:
        """Step the optimizers."""
        del forward, active
        self.step(self._taken)

    def gradients(
        self, losses: Sequence[Tensor], weights: Tensor, active: Active
    ) -> Sequence[Tensor | None]:
        """Return the gradients of the weighted losses with respect to the likelihood's parameters; the graph is kept for the update."""
        if not self.likelihood_parameters:
            return ()
        roots = [losses[t] for t in active.tasks if losses[t].requires_grad]
        scale = [weights[t] for t in active.tasks if losses[t].requires_grad]
        return torch.autograd.grad(
            roots, self.likelihood_parameters, scale, retain_graph=True, allow_unused=True
        )

    def step(self, gradients: Sequence[Tensor | None] = ()) -> None:
        """One step; the weighting's gradients lie in its parameters already, the likelihood's are given."""
        for parameter, gradient in zip(self.likelihood_parameters, gradients, strict=True):
            parameter.grad = laid_out(gradient, parameter)
        for step in self.steppers:
            step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _optimizer(owner: Owner, make_optimizer: MakeOptimizer) -> Optimizer:
    if owner.lr is not None:
        return torch.optim.Adam(_trained(owner), lr=owner.lr, fused=True)
    return make_optimizer([{"params": _trained(owner), "weight_decay": 0.0}])
