"""Gradient-norm balancing: every task gets its share of the gradient at the last shared layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import fraction, per_task, positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Derivatives, Weighting


class NormBalance(Weighting):
    r"""Divide each loss by a moving mean of its gradient's norm (gradient-norm balancing).

    **Source:** Défossez et al., *High Fidelity Neural Audio Compression* (EnCodec's loss balancer),
    TMLR 2023, section 3.4, `arXiv:2210.13438 <https://arxiv.org/abs/2210.13438>`__; Guo et al.,
    2025, `arXiv:2509.23915 <https://arxiv.org/abs/2509.23915>`__.

    .. math:: \sum_t w_t L_t, \qquad w_t = R\, \frac{r_t}{\sum_u r_u} \Big/ \bar n_t

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight,
    - :math:`\bar n_t` is the moving mean of :math:`n_t = \lVert\nabla_W L_t\rVert`, the norm of the
      task's gradient at the last shared weight tensor :math:`W` (as
      :class:`~mtl_runner.weighting.GradNorm` takes it), this step's included, corrected for its
      start at 0,
    - :math:`r_t` is the share of the task (``shares``),
    - :math:`R` is the sum of the lengths :math:`w_t \bar n_t` of all contributions: by default that
      of the plain sum, :math:`\sum_u \bar n_u`, so that the step keeps its size; or ``length``.

    **Not GradNorm:** GradNorm trains its weights towards equal norms, times a power of each task's
    training rate, and gets there in hundreds of steps; here the weights follow from the norms at
    once, nothing is trained, and the training rates play no part.

    **Departs from EnCodec:** there the norms are those at the output of the decoder and each loss's
    gradient is scaled there; here at the last shared weight, and the loss is scaled, with its
    private parameters. There the contributions sum to the length 1 (``length: 1``).

    **When it helps:** the losses have different units, and every task should pull the shared trunk
    equally hard, or by shares of its own.

    **When not:** nothing is shared, since it needs a shared layer. A task that is solved keeps its
    share: its small gradients are blown up, noise and all.

    In a loop of your own, call :meth:`observe_norms` before every :meth:`weigh`; ``mtl-run`` does.
    Without it the weights are the shares, times the number of tasks.

    Args:
        tasks: The tasks, in the order of the losses.
        shares: :math:`r_t` in the formula: a number for all, or ``{task: number}`` (1 for tasks
            that are left out).
        decay: The decay of the moving mean, in [0, 1): what an old norm is multiplied by with every
            newer one; 0: the newest alone.
        length: :math:`R` in the formula, a positive number; None keeps the length of the plain sum.

    Raises:
        ConfigError: If a share is not positive or of an unknown task, or another option is out of
            its range.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import NormBalance
        >>> weighting = NormBalance([Task("depth"), Task("normals")], shares={"depth": 3.0})
        >>> losses = torch.tensor([4.0, 1.0])
        >>> weighting.observe_norms(torch.tensor([6.0, 2.0]), losses)
        >>> weights, objective = weighting.weigh(losses)
        >>> weights  # 3/4 of a length of 8 for depth, 1/4 for normals.
        tensor([1., 1.])
    """

    replica_options = ("shares", "decay", "length")
    needs_losses = False
    norms_come_first = True
    shares: Tensor
    decay: Tensor
    length: Tensor
    norm_sum: Tensor
    norm_mass: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        shares: Any = 1.0,
        decay: float = 0.999,
        length: float | None = None,
    ) -> None:
        super().__init__(tasks)
        values = per_task(shares, tasks, 1.0, "weighting.shares")
        if any(not 0 < value < float("inf") for value in values):
            raise ConfigError(f"weighting.shares must be positive and finite; found {values}.")
        fraction(decay, "weighting.decay", one_allowed=False)
        self.keeps_length = length is None
        dtype = torch.get_default_dtype()
        options = {
            "shares": values,
            "decay": decay,
            "length": 0.0 if length is None else positive(length, "weighting.length"),
        }
        for name, value in options.items():
            self.register_buffer(name, torch.tensor(value, dtype=dtype), persistent=False)
        # The moving mean of the norms is `norm_sum / norm_mass`.
        for name in ("norm_sum", "norm_mass"):
            self.register_buffer(name, torch.zeros(len(self.tasks), dtype=dtype))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weighted sum of the active tasks' losses ``[k]``, a scalar."""
        return torch.dot(self._weights(active), losses)

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return objective and weights, which are constants to autograd."""
        weights = self._weights(active)
        return torch.dot(weights, losses), weights, ()

    @torch.no_grad()
    def observe_norms(self, norms: Tensor, losses: Tensor, active: Active | None = None) -> None:
        """Take note of the norms of a batch, before its weights are asked for.

        Args:
            norms: The norm of every task's gradient at the last shared weight tensor, shape
                ``[T]``; 0 for idle tasks.
            losses: The losses of the batch, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        for name, value in self.learn_from_norms(norms, losses, active)[0].items():
            self.get_buffer(name).copy_(value)

    @torch.no_grad()
    def learn_from_norms(
        self, norms: Tensor, losses: Tensor, active: Active | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return what :meth:`observe_norms` sets, in pure tensor code.

        Args:
            norms: The norm of every task's gradient, shape ``[T]``.
            losses: The losses of the batch, shape ``[T]``.
            active: Which tasks are active; None if all are.

        Returns:
            The new values of the buffers by name, and the gradients of no parameters, ``[0]``.
        """
        del active
        # A norm of 0 is no measurement: idle tasks, and heads that begin at 0.
        share = torch.where(norms > 0, 1 - self.decay, 0.0)
        values = {
            "norm_sum": self.norm_sum + share * (norms - self.norm_sum),
            "norm_mass": self.norm_mass + share * (1 - self.norm_mass),
        }
        return values, losses[:0]

    @torch.no_grad()
    def _weights(self, active: Active | None) -> Tensor:
        """Return the weights of the active tasks ``[k]``."""
        shares, mass, total = self.shares, self.norm_mass, self.norm_sum
        if active is not None and not active.none_idle:
            index = active.index(shares.device)
            shares, mass, total = shares[index], mass[index], total[index]
        shares = shares / shares.sum()
        known = (mass > 0).all()
        norms = torch.where(known, total / mass.clamp(min=TINY), 1.0)
        length = norms.sum() if self.keeps_length else torch.where(known, self.length, norms.sum())
        return length * shares / norms.clamp(min=TINY)
