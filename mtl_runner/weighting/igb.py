"""Improvable gap balancing: more weight for tasks that have improved little since the start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import whole_number
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.epoch_losses import EpochLosses


class IGB(EpochLosses):
    r"""Weigh the logarithm of each loss by how much of it is left (improvable gap balancing).

    **Source:** Dai, Fei & Lu, *Improvable Gap Balancing for Multi-Task Learning*, UAI 2023,
    `arXiv:2307.15429 <https://arxiv.org/abs/2307.15429>`__, IGBv1.

    .. math::

        \sum_t w_t \log L_t, \qquad w = k\,\mathrm{softmax}\bigl(L / B\bigr)

    where

    - :math:`L_t` is the loss of task :math:`t`, so that its weight is :math:`w_t / L_t`; w counts
      as a constant,
    - :math:`B_t` is the base, the mean loss of the task in its epoch number ``base_epoch``; until
      every active task has one, w is 1,
    - :math:`k` is the number of active tasks, to which w sums.

    The improvable gap of a task is its loss relative to the base: that of a perfect answer is 0.

    **Departs from the published code:** every task counts its own epochs, so that it may start
    late; the second algorithm of the paper, IGBv2, which learns the weights by reinforcement, is
    not here.

    **When it helps:** losses in different units of which some hardly move.

    **When not:** a loss that cannot fall, such as that of noise: it keeps a large weight. A loss
    near 0 takes over, as under :class:`LogSum`.

    In a loop of your own, call :meth:`begin_epoch` at the start of every epoch; ``mtl-run`` does.

    Args:
        tasks: The tasks, in the order of the losses.
        base_epoch: The epoch in which the base is measured, at least 1; the second in the authors'
            code.

    Raises:
        ConfigError: If ``base_epoch`` is not a whole number of at least 1.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import IGB
        >>> weighting = IGB([Task("depth"), Task("normals")], base_epoch=1)
        >>> for losses in ([4.0, 4.0], [1.0, 4.0]):
        ...     weighting.begin_epoch()
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights * torch.tensor([1.0, 4.0])  # Depth has improved, and counts less.
        tensor([0.6416, 1.3584])
    """

    negative_losses = "gives the weight 0"
    replica_options = ()
    base: Tensor
    epochs: Tensor

    def __init__(self, tasks: Sequence[Task], base_epoch: int = 2) -> None:
        super().__init__(tasks)
        self.base_epoch = whole_number(base_epoch, "weighting.base_epoch", 1)
        # The bases, 0 before they are known; the epochs in which each task took part.
        self.register_buffer("base", torch.zeros_like(self.total))
        self.register_buffer("epochs", torch.zeros_like(self.total))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``; in train mode, note them."""
        if self.training:
            self.accumulate(losses.detach(), active)
        with torch.no_grad():
            base = self.base[(active or self.all_active).index(losses.device)]
            gaps = losses / torch.where(base > 0, base, 1.0)
            # Chosen on the device, so that no step waits for it.
            shares = torch.softmax(torch.where((base > 0).all(), gaps, 0.0), 0)
        return len(losses) * torch.dot(shares, torch.log(losses.clamp(min=TINY)))

    @torch.no_grad()
    def begin_epoch(self) -> None:
        """Close the last epoch: its means are the bases of the tasks whose epoch it was."""
        mean, seen = self.close_epoch()
        self.epochs.add_(seen)
        measured = (self.base == 0) & seen & (self.epochs == self.base_epoch)
        self.base.copy_(torch.where(measured, mean, self.base))
