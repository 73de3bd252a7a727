"""The optimizer of what is learned beside the model: log-variances and the like. Never clipped, never decayed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mtl_runner.update.base import MakeOptimizer
from mtl_runner.update.stepping import stepper
from mtl_runner.weighting.base import Weighting

SETTLING = 0.3  # share of the run over which an annealed rate falls to 0


class OwnParameters:
    """Trains a weighting's own parameters.

    With ``weighting.lr`` they have an Adam of their own, whose rate falls to 0 over the last 30 % of the run if
    ``weighting.anneal``, so that they first arrive and then settle instead of following single batches; with ``lr: null`` an optimizer like the model's, without weight decay. A parameter of an idle task has
    no gradient, so neither it nor its Adam clock moves.
    """

    def __init__(self, weighting: Weighting, make_optimizer: MakeOptimizer) -> None:
        parameters = [p for p in weighting.parameters() if p.requires_grad]
        self.lr = weighting.lr
        self.anneal = weighting.anneal and self.lr is not None
        self.optimizers: list[Optimizer] = []
        if parameters:
            self.optimizers = [
                self._adam(parameters, self.lr) if self.lr is not None else make_optimizer(_without_decay(parameters))
            ]

        self.steppers = [stepper(optimizer) for optimizer in self.optimizers]

    @staticmethod
    def _adam(parameters: list[nn.Parameter], lr: float) -> Optimizer:
        return torch.optim.Adam(parameters, lr=lr, fused=True)

    def begin_epoch(self, done: float) -> None:
        """Set the learning rate for an epoch that begins when ``done`` (0 to 1) of the run is over."""
        if self.anneal and self.lr is not None:
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self.lr * min(1.0, (1 - done) / SETTLING)

    def step(self) -> None:
        for step in self.steppers:
            step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _without_decay(parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": parameters, "weight_decay": 0.0}]
