"""Weights and gradients by autograd, for weightings that give them by formulas."""

from __future__ import annotations

from typing import Any

import torch

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import Weighting


def by_autograd(weighting: Weighting, values: torch.Tensor, active: Active | None) -> list[Any]:
    """Return weights, objective and the trained parameters' gradients, all by autograd."""
    active_losses = (
        (values if active is None else values[list(active.tasks)]).clone().requires_grad_()
    )
    objective = weighting(active_losses, active)
    parameters = [p for p in weighting.parameters() if p.requires_grad]
    of_losses, *of_parameters = torch.autograd.grad(
        objective, [active_losses, *parameters], allow_unused=True
    )
    weights = torch.zeros(len(values))
    weights[list(active.tasks) if active is not None else slice(None)] = of_losses
    return [weights, objective.detach(), of_parameters]
