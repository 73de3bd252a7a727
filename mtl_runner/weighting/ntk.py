"""NTK weighting: equal traces of the tasks' neural tangent kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import fraction
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY
from mtl_runner.weighting.measured_gradients import MeasuredGradients


class NTK(MeasuredGradients):
    r"""Weigh by the traces of the tasks' neural tangent kernels (NTK weighting).

    **Source:** Wang, Yu & Perdikaris, *When and Why PINNs Fail to Train: A Neural Tangent Kernel
    Perspective*, Journal of Computational Physics 2022, algorithm 1,
    `arXiv:2007.14527 <https://arxiv.org/abs/2007.14527>`__.

    .. math::

        \sum_t w_t L_t, \qquad w_t = \frac{\sum_u \kappa_u}{\kappa_t},
        \qquad \kappa_t = \frac{\mathrm{tr}\, J_t J_t^\top}{n_t}

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight, 1 before the first
      measurement,
    - :math:`J_t` is the Jacobian of the task's outputs for the labelled rows of the batch, in the
      model's evaluation mode, with respect to all trained parameters of the model, heads included;
      of a loss term with ``residuals``, that of its residuals at its points;
      :math:`J_t J_t^\top` is the neural tangent kernel,
    - :math:`n_t` is the number of these outputs, so that :math:`\kappa_t` is the mean of the
      kernel's diagonal: for a mean squared error the mean rate at which gradient descent closes
      the residuals.

    The trace is exact, row by row, not estimated. It costs about as many backward passes of the
    batch as a row has outputs, of all tasks together: 4 for four numbers, 4096 for a map of
    64 x 64.

    **What is exact:** for squared errors the kernel of the residuals is that of the outputs. For
    all other kinds of loss the trace is that of the outputs, too (of classes the logits), which
    leaves out the curvature of the loss; their weights are a comparison of sensitivities, not of
    rates. A loss term that is the mean square of residuals, such as an equation, says so by an
    attribute ``residuals``; any other one is refused.

    **Departs from the paper:** there the traces are not divided by the numbers of points; it is the
    same where all tasks have as many.

    **When it helps:** squared errors that train at very different rates, and a batch that is a fair
    sample of all rows.

    **When not:** rows have many outputs, or the model does not treat rows one by one; a model that
    ``torch.func`` cannot take row by row, such as a recurrent one, is refused. With Adam a rate of
    gradient descent says little.

    In a loop of your own, call :meth:`observe_traces` every few steps before :meth:`weigh`;
    ``mtl-run`` does.

    Args:
        tasks: The tasks, in the order of the losses.
        rate: How much of the new weights counts at every measurement, in (0, 1]; 1 in the paper.
        every: The number of steps from one measurement to the next.

    Raises:
        ConfigError: If a task is a loss term without residuals, or an option is out of its range.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import NTK
        >>> weighting = NTK([Task("depth"), Task("normals")])
        >>> weighting.observe_traces(torch.tensor([6.0, 2.0]))
        >>> weighting.weigh(torch.tensor([1.0, 1.0]))[0]
        tensor([1.3333, 4.0000])
    """

    def __init__(self, tasks: Sequence[Task], rate: float = 1.0, every: int = 100) -> None:
        super().__init__(tasks, every)
        for task in self.tasks:
            if task.loss_term is not None and task.residuals is None:
                raise ConfigError(
                    f"The weighting NTK needs the outputs of every task, or residuals, and {task.name!r} is a loss term that has neither; give its function an attribute `residuals` of (model, batch) whose mean square is the loss, or use weighting=lra, which looks at gradients alone."
                )
        self.rate = fraction(rate, "weighting.rate", one_allowed=True)
        if self.rate == 0:
            raise ConfigError(
                "weighting.rate=0 would leave all weights at 1; give a number in (0, 1], such as 1."
            )

    @torch.no_grad()
    def observe_traces(self, traces: Tensor, active: Active | None = None) -> None:
        """Change the weights of the active tasks.

        Args:
            traces: The mean of the diagonal of every task's kernel, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        index = (active or self.all_active).index(traces.device)
        traces, weights = traces[index], self.task_weights[index]
        target = traces.sum() / traces.clamp(min=TINY)
        changed = weights + self.rate * (target - weights)
        self.task_weights[index] = torch.where(traces > 0, changed, weights)
