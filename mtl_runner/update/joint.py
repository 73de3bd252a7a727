"""The ordinary update: one backward pass of the weighted sum, one optimizer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from mtl_runner.update.base import Active, Again, Losses, MakeOptimizer, Update


class Joint(Update):
    r"""One backward pass of :math:`\sum_t w_t L_t`, whatever the number of tasks, and one step of one optimizer."""

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        return [make_optimizer(self.parameters.tensors)]

    def __call__(self, losses: Losses, weights: Tensor, active: Active, again: Again | None = None) -> None:
        del again
        self.clear_gradients()
        if active.everyone:
            torch.autograd.backward(list(losses), list(weights.unbind()))
        else:
            torch.autograd.backward([losses[t] for t in active.tasks], [weights[t] for t in active.tasks])
            self.clear_idle(active.tasks)
        self.clip_gradients()
        self.steppers[0]()
