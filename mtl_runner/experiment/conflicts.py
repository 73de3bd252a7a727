"""How the tasks' gradients lie to each other: norms and pairwise cosines."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.experiment.micro_batches import Forward
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Lane, Losses
from mtl_runner.gradients.layout import as_row
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.gradients.shards import local_part
from mtl_runner.tasks.activity import Active


class Conflicts:
    """Measures the gradients of the unweighted losses at every step (``record.gradients=true``).

    This takes one more backward pass per task, over the shared parameters.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        tasks: Number of tasks T.

    Attributes:
        fields: Names and widths of what it measures: ``gradient_norm`` ``[T]`` and ``cosine``
            ``[T * T]``.

    Example:
        >>> point = torch.nn.Parameter(torch.ones(2))
        >>> conflicts = Conflicts(Parameters([point], [frozenset({0, 1})]), tasks=2)
        >>> norms, cosines = conflicts.measure([point[0], -2 * point[0]], Active.all(2))
        >>> norms, cosines
        (tensor([1., 2.]), tensor([ 1., -1., -1.,  1.]))
    """

    def __init__(self, parameters: Parameters, tasks: int) -> None:
        self.parameters, self.shared = parameters, parameters.shared
        self.fields = {"gradient_norm": tasks, "cosine": tasks * tasks}
        self._measured: dict[str, Tensor] = {}

    def before_weights(self, forward: Forward, active: Active) -> None:
        """Measure the norms and cosines of this step."""
        norms, cosines = self.measure(forward.losses, active)
        self._measured = {"gradient_norm": norms, "cosine": cosines}

    def before_update(self, forward: Forward, weights: Tensor, active: Active) -> dict[str, Tensor]:
        """Return what was measured, to be recorded."""
        del forward, weights, active
        return self._measured

    def after_update(self, forward: Forward, active: Active) -> None:
        """Do nothing."""

    def measure(self, losses: Losses, active: Active) -> tuple[Tensor, Tensor]:
        """Return the norms of the gradients and their pairwise cosines; the graphs are kept.

        Args:
            losses: One differentiable scalar per task.
            active: The tasks that take part.

        Returns:
            Norms ``[T]`` and cosines ``[T * T]``; NaN for idle tasks, while all shared parameters
            are frozen, and cosines also for gradients of norm 0.
        """
        shared = trained_now(self.shared)
        if not shared:
            nothing = local_part(self.shared[0]).new_full((len(losses),), torch.nan)
            return nothing, nothing.repeat(len(losses))
        lanes = [Lane((t,), shared) for t in active.tasks]
        rows = [as_row(gradients, shared) for gradients in door.of(losses, lanes, keep=True)]
        jacobian = torch.stack(rows)
        gramian = self.parameters.whole_sums(jacobian @ jacobian.T)
        norms = gramian.diagonal().sqrt()
        # A gradient of norm 0 has no direction: 0/0 is NaN.
        cosines = (gramian / (norms.unsqueeze(0) * norms.unsqueeze(1))).clamp(-1, 1)
        if active.none_idle:
            return norms, cosines.flatten()
        count = len(losses)
        index = active.index(norms.device)
        all_norms = norms.new_full((count,), torch.nan).index_copy(0, index, norms)
        wide = norms.new_full((len(index), count), torch.nan).index_copy(1, index, cosines)
        all_cosines = norms.new_full((count, count), torch.nan).index_copy(0, index, wide)
        return all_norms, all_cosines.flatten()
