"""Weights trained by the objective itself: how not to do it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import choice, learning_rate
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Weighting


class Learned(Weighting):
    r"""Train the weights as free parameters of the total loss: a negative control that fails.

    **Source:** Kendall, Gal & Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics*, CVPR 2018, section 3, names the failure of the exponential form:
    it is what the regulariser of uncertainty weighting is for.

    .. math:: \sum_t \mathrm{softmax}(a)_t L_t \quad\text{or}\quad \sum_t e^{a_t} L_t

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`a_t` is a learned number per task.

    Nothing opposes a smaller weight. The exponential form drives every weight to 0, and the softmax
    form gives all weight to the task with the smallest loss.

    **When it helps:** never; it is here to be seen failing.

    **When not:** always.

    Args:
        tasks: The tasks, in the order of the losses.
        form: ``"softmax"`` (the weights of the active tasks sum to 1) or ``"exp"``.
        lr: Learning rate of the weights (Adam); None trains them with the settings of the model's
            optimizer, without weight decay.

    Raises:
        ConfigError: If ``form`` is unknown or ``lr`` is not positive.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Learned
        >>> weighting = Learned([Task("hard"), Task("easy")])
        >>> weighting.weigh(torch.tensor([4.0, 1.0]))
        (tensor([0.5000, 0.5000]), tensor(2.5000))
        >>> [a.grad.item() for a in weighting.logits]  # The hard task will weigh less and less.
        [0.75, -0.75]
    """

    replica_options = ("lr",)

    def __init__(
        self, tasks: Sequence[Task], form: str = "softmax", lr: float | None = 0.025
    ) -> None:
        super().__init__(tasks)
        choice(form, "weighting.form", ("softmax", "exp"))
        self.form, self.lr = form, learning_rate(lr, "weighting.lr")
        self.logits = nn.ParameterList(
            nn.Parameter(torch.zeros((), dtype=torch.get_default_dtype())) for _ in tasks
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the weighted sum of the active tasks' losses ``[k]``, a scalar."""
        logits = torch.stack(self._parameters_of(self.logits, active))
        weights = torch.softmax(logits, 0) if self.form == "softmax" else torch.exp(logits)
        return torch.dot(weights, losses)
