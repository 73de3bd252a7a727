"""How the tasks' gradients lie to each other: their norms and pairwise cosines over the shared parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.experiment.forward import ForwardResult
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active


class Conflicts:
    """Measures the gradients of the unweighted losses at every step (``record.gradients=true``): one more backward pass per task.

    Args:
        parameters: of the model; the shared ones count. tasks: their number.
    """

    def __init__(self, parameters: Parameters, tasks: int) -> None:
        self.shared = parameters.shared
        self.fields = {"gradient_norm": tasks, "cosine": tasks * tasks}

    def before_update(
        self, forward: ForwardResult, weights: Tensor, active: Active
    ) -> dict[str, Tensor]:
        """Norms and cosines of this step, to be recorded."""
        del weights
        norms, cosines = self.measure(forward.losses, active)
        return {"gradient_norm": norms, "cosine": cosines}

    def after_update(self, forward: ForwardResult, active: Active) -> None:
        """Do nothing."""

    def measure(self, losses: Sequence[Tensor], active: Active) -> tuple[Tensor, Tensor]:
        """Norms ``[T]`` and cosines ``[T * T]``; NaN for idle tasks and for gradients of norm 0. The graph is kept."""
        rows = []
        for t, loss in enumerate(losses):
            if t in active.tasks:
                found = torch.autograd.grad(
                    loss, self.shared, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                rows.append(torch.cat([g.flatten() for g in found]))
        jacobian = torch.stack(rows)
        gramian = jacobian @ jacobian.T
        norms = gramian.diagonal().sqrt()
        cosines = (gramian / (norms.unsqueeze(0) * norms.unsqueeze(1))).clamp(
            -1, 1
        )  # 0/0 is NaN: no direction
        if active.everyone:
            return norms, cosines.flatten()
        index = active.index(norms.device)
        all_norms = norms.new_full((len(losses),), torch.nan).index_copy(0, index, norms)
        wide = norms.new_full((len(index), len(losses)), torch.nan).index_copy(1, index, cosines)
        return all_norms, norms.new_full((len(losses), len(losses)), torch.nan).index_copy(
            0, index, wide
        ).flatten()
