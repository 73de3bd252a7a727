"""GradNorm: weights under which every task pulls equally hard at the last shared layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import learning_rate, not_negative
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting

# The floor of a weight before the weights are rescaled, where their mean is 1.
SMALLEST = 1e-3


class GradNorm(Weighting):
    r"""Train the weights towards equal gradient norms at the last shared layer (GradNorm).

    **Source:** Chen et al., *GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks*, ICML 2018, eq. 2 and algorithm 1,
    `arXiv:1711.02257 <https://arxiv.org/abs/1711.02257>`__.

    The objective is :math:`\sum_t w_t L_t`. The weights follow the gradient of

    .. math::

        \sum_t \bigl| w_t n_t - \overline{w n}\, r_t^\alpha \bigr|,
        \qquad r_t = \frac{L_t / L_t(0)}{\mathrm{mean}_u\, L_u / L_u(0)}

    and are then scaled to sum to the number of active tasks, where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight,
    - :math:`n_t = \lVert\nabla_W L_t\rVert` is the norm of the task's gradient at the last shared
      weight tensor :math:`W`; where several lie side by side, such as the last layers of experts,
      at all of them together,
    - :math:`\overline{w n}` is the mean of :math:`w_t n_t` over the tasks. The targets
      :math:`\overline{w n}\, r_t^\alpha` count as constants,
    - :math:`L_t(0)` is the loss of the task at the start,
    - :math:`r_t` is the relative inverse training rate: large for a slow task,
    - :math:`\alpha` is the ``alpha``.

    **Departs from the paper:** weights are kept at or above 0.001 of their mean, since a negative
    weight would train its task upwards. :math:`L_t(0)` is the loss of the task's first batch with
    a gradient, so a task may start late.

    **When it helps:** the gradients that the tasks send into a shared trunk should be equally long.
    The paper says that this frees a starved task; on the paper's own toy (``data=gradnorm_toy``)
    the task with small gradients stays untrained here.

    **When not:** nothing is shared, since it needs a shared layer; or there is no time to tune
    ``alpha``.

    In a loop of your own, call :meth:`observe_norms` before every update; ``mtl-run`` does.
    Without it the weights stay 1.

    Args:
        tasks: The tasks, in the order of the losses.
        alpha: :math:`\alpha` in the formula; 0 equalises the norms, larger values favour slow
            tasks more strongly.
        lr: Learning rate of the weights (Adam); None trains them with the settings of the model's
            optimizer, without weight decay.

    Raises:
        ConfigError: If ``alpha`` is negative or ``lr`` is not positive.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import GradNorm
        >>> weighting = GradNorm([Task("depth"), Task("normals")], alpha=0.0)
        >>> losses, norms = torch.tensor([4.0, 1.0]), torch.tensor([3.0, 1.0])
        >>> weighting.observe_norms(norms, losses)
        >>> [weight.grad.item() for weight in weighting.weights]  # The weight of depth will fall.
        [3.0, -1.0]
    """

    negative_losses = "counts as finished, so that its weight falls"
    replica_options = ("lr",)
    first: Tensor

    def __init__(self, tasks: Sequence[Task], alpha: float = 1.5, lr: float | None = 0.025) -> None:
        super().__init__(tasks)
        self.alpha = not_negative(alpha, "weighting.alpha")
        self.lr = learning_rate(lr, "weighting.lr")
        dtype = torch.get_default_dtype()
        # One tensor per task: a shared one has one clock in Adam, so an idle value would move.
        self.weights = nn.ParameterList(
            nn.Parameter(torch.ones((), dtype=dtype)) for _ in self.tasks
        )
        # The loss of each task's first batch with a gradient, 0 before it.
        self.register_buffer("first", torch.zeros(len(self.tasks), dtype=dtype))

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weighted sum of the active tasks' losses ``[k]``, a scalar."""
        return torch.dot(self._normalized(active), losses)

    @torch.no_grad()
    def observe_norms(self, norms: Tensor, losses: Tensor, active: Active | None = None) -> None:
        """Set the gradients of the active tasks' weights.

        Args:
            norms: The norm of every task's gradient at the last shared weight tensor, shape
                ``[T]``; 0 for idle tasks.
            losses: The losses of the batch, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        values, slopes = self.learn_from_norms(norms, losses, active)
        self.first.copy_(values["first"])
        for parameter in self.weights:
            parameter.grad = None
        for i, slope in zip((active or self.all_active).tasks, slopes.unbind(), strict=True):
            self.weights[i].copy_(values[f"weights.{i}"])
            self.weights[i].grad = slope

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
            The new values of parameters and buffers by name, and the gradients ``[k]`` of the
            active tasks' weights.
        """
        active_now = active or self.all_active
        index = active_now.index(losses.device)
        first = torch.where((self.first == 0) & (norms > 0), losses, self.first)
        norms, start = norms[index], first[index]
        progress = torch.where(start > TINY, losses[index] / start.clamp(min=TINY), 1.0)
        rate = progress.clamp(min=0) / progress.clamp(min=0).mean().clamp(min=TINY)
        weights = self._normalized(active)
        weighted_norms = weights * norms
        target = weighted_norms.mean() * rate.pow(self.alpha)
        names = [f"weights.{i}" for i in active_now.tasks]
        values = {"first": first, **dict(zip(names, weights.unbind(), strict=True))}
        return values, norms * torch.sign(weighted_norms - target)

    @torch.no_grad()
    def _normalized(self, active: Active | None) -> Tensor:
        """Return the active tasks' weights ``[k]``, scaled to sum to k."""
        weights = torch.stack(self._parameters_of(self.weights, active))
        weights = weights.clamp(min=SMALLEST)
        return weights * (len(weights) / weights.sum())
