"""The optimizers of what is learned beside the model: log-variances and the like.

These parameters are never clipped and never decayed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import step_function
from mtl_runner.experiment.micro_batches import Forward
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Gradients, Lane, Losses
from mtl_runner.gradients.layout import laid_out_like
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.activity import Active
from mtl_runner.update.base import MakeOptimizer
from mtl_runner.weighting.base import Weighting

# Share of the run over which an annealed learning rate falls to 0.
SETTLING = 0.3

Owner = Weighting | Likelihood


class OwnOptimizers:
    """The optimizers of the own parameters of a weighting and of a likelihood.

    With a learning rate of their own (``weighting.lr``, ``likelihood.lr``) they have an Adam, whose
    ``eps`` is the owner's ``smallest_slope``. Its rate falls to 0 over the last 30 % of the run if
    ``anneal``, so that they first arrive and then settle instead of following single batches. With
    ``lr: null`` they have an optimizer like the model's, without weight decay. A parameter of an
    idle task has no gradient, so neither it nor its Adam clock moves.

    Args:
        weighting: The weighting.
        make_optimizer: Makes an optimizer like the model's.
        likelihood: The likelihood; None: it has no parameters.

    Attributes:
        owners: ``weighting`` or ``likelihood``, for each optimizer.
        annealed: The optimizers whose learning rate falls, with their initial rates.
        scheduled: The optimizers like the model's, which follow its learning-rate schedule.

    Example:
        >>> from mtl_runner.tasks.task import Task
        >>> from mtl_runner.weighting import Uncertainty
        >>> own = OwnOptimizers(Uncertainty([Task("a"), Task("b")], lr=0.1), torch.optim.SGD)
        >>> own.begin_epoch(done=0.85)  # in the middle of the last 30 % of the run
        >>> round(own.optimizers[0].param_groups[0]["lr"], 4)
        0.05
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
        self.owners = list(trained)
        owners = list(trained.values())
        self.optimizers = [_optimizer(owner, make_optimizer) for owner in owners]
        self.annealed = [
            (optimizer, owner.lr)
            for optimizer, owner in zip(self.optimizers, owners, strict=True)
            if owner.anneal and owner.lr
        ]
        self.scheduled = [
            optimizer
            for optimizer, owner in zip(self.optimizers, owners, strict=True)
            if owner.lr is None
        ]
        self.step_functions = [step_function(optimizer) for optimizer in self.optimizers]
        # The likelihood's gradients, from before the update to after it.
        self._gradients: Gradients = ()

    def begin_epoch(self, done: float) -> None:
        """Set the learning rates for an epoch.

        Args:
            done: The share of the run, 0 to 1, that is over when the epoch begins.
        """
        for optimizer, lr in self.annealed:
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (1 - done) / SETTLING)

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Do nothing: the gradients depend on the weights."""

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Take the gradients of the likelihood's parameters, while the graphs are there."""
        self._gradients = self.gradients(forward.losses, weights, active)
        return {}

    def after_update(self, forward: Forward, active: Active) -> None:
        """Step the optimizers."""
        del forward, active
        self.step(self._gradients)

    def gradients(self, losses: Losses, weights: Tensor, active: Active) -> Gradients:
        """Return the gradients of the weighted losses over the likelihood's parameters.

        The graphs are kept for the update.

        Args:
            losses: One differentiable scalar per task.
            weights: One factor per task, shape ``[T]``.
            active: The tasks that take part.
        """
        if not self.likelihood_parameters:
            return ()
        lane = Lane(active.tasks, self.likelihood_parameters, weights)
        (gradients,) = door.of(losses, [lane], keep=True)
        return gradients

    def step(self, gradients: Gradients = ()) -> None:
        """Take one step of every optimizer.

        Args:
            gradients: The gradients of the likelihood's parameters; those of the weighting lie in
                its parameters already.
        """
        for parameter, gradient in zip(self.likelihood_parameters, gradients, strict=True):
            parameter.grad = laid_out_like(gradient, parameter)
        for take_step in self.step_functions:
            take_step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizers, for a checkpoint."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _optimizer(owner: Owner, make_optimizer: MakeOptimizer) -> Optimizer:
    if owner.lr is not None:
        return torch.optim.Adam(_trained(owner), lr=owner.lr, eps=owner.smallest_slope, fused=True)
    return make_optimizer([{"params": _trained(owner), "weight_decay": 0.0}])
