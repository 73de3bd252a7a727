"""Jacobian descent: an aggregator makes one direction of the tasks' gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.gradients import door
from mtl_runner.gradients.door import Losses
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.shards import local_part
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import Aggregation
from mtl_runner.update.base import MakeOptimizer, Recompute, Update
from mtl_runner.update.task_gradients import TaskGradients


class Jacobian(Update):
    r"""Make one direction of the tasks' gradients by an aggregator, then take one optimizer step.

    **Source:** Quinton & Rey, *Jacobian Descent for Multi-Objective Optimization*, 2024,
    `arXiv:2406.16232 <https://arxiv.org/abs/2406.16232>`__; the aggregators and their papers are in
    :mod:`~mtl_runner.update.aggregator_methods`.

    .. math::

        \theta \leftarrow \mathrm{step}\bigl(\mathcal{A}(J)\bigr), \qquad
        J = (\nabla_\theta w_1 L_1, \dots, \nabla_\theta w_T L_T)^\top

    where

    - :math:`\theta` are the shared parameters, J is the Jacobian of the active tasks' weighted
      losses, by plain autograd, so any model will do,
    - :math:`\mathcal{A}` is the aggregator: a method of TorchJD by name, or a callable of your own,
    - step is a step of the run's optimizer.

    Private parameters get the gradient of their own weighted loss. One active task needs no
    aggregator, and without shared parameters there is nothing to aggregate: both are the ordinary
    step.

    An aggregator that takes several independent batches per step gets the Jacobian of each, with
    the weights of the losses on the first batch, from which the private parameters learn, too.

    **Cost per step:** T backward passes, T gradients in memory, and what the aggregator takes; so
    much for each batch.

    **When it helps:** tasks whose gradients conflict.

    **When not:** many tasks or a large model. Aggregators differ in scale by a factor of ten and
    more, so compare them at learning rates of their own.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        make_optimizer: Makes an optimizer over some of them.
        tasks: The tasks, in the order of the losses.
        clip: Largest norm of the gradient of each of the ``clip_blocks``; None leaves it alone.
            The aggregated gradient is clipped.
        clip_blocks: Parameters whose norm is taken together; None: all of them.
        aggregator: A name (``upgrad``, ``mgda``, ``pcgrad``, ``cagrad``, ...), or any callable from
            the Jacobian ``[k, P]`` to a direction ``[P]``.
        options: Options of the aggregator, over its defaults; numbers per task as
            ``{task: number}``.
        seed: Seed of the aggregators that draw at random.

    Attributes:
        measured: ``aggregator_weight`` ``[T]``, the weights of the rows (NaN where the aggregator
            has none), and ``norm_ratio`` ``[1]``, the norm of the direction over that of the plain
            sum.

    Raises:
        ConfigError: If the aggregator or an option is unknown, a solver is missing, there are too
            few tasks, or the parameters are sharded and the aggregator needs whole gradients.

    Example:
        >>> from functools import partial
        >>> point = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> parameters = Parameters([point], [frozenset({0, 1})])
        >>> sgd = partial(torch.optim.SGD, lr=0.1)
        >>> update = Jacobian(parameters, sgd, [Task("a"), Task("b")], aggregator="mgda")
        >>> update([point[0], 10 * point[1]])  # the smaller gradient sets the pace
        >>> point.data
        tensor([0.9010, 0.9901])
    """

    works_on_shards = True

    def __init__(
        self,
        parameters: Parameters,
        make_optimizer: MakeOptimizer,
        tasks: Sequence[Task],
        clip: float | None = None,
        clip_blocks: Sequence[Sequence[nn.Parameter]] | None = None,
        aggregator: str | Callable[[Tensor], Tensor] = "upgrad",
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        self.task_gradients = TaskGradients(parameters, len(tasks))
        self.aggregation = Aggregation(aggregator, options or {}, tasks, seed)
        self.batches = self.aggregation.batches
        self.passes = len(tasks) * self.batches if self.task_gradients.shared else 1
        self.fields = {"aggregator_weight": len(tasks), "norm_ratio": 1}
        if self.task_gradients.shared:
            self.aggregation.check(local_part(self.task_gradients.shared[0]))
        if parameters.shards is not None:
            self.aggregation.check_shards()

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make one optimizer over all parameters."""
        return [make_optimizer(self.parameters.tensors)]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Take one backward pass per active task, aggregate, and step."""
        del recompute
        self.clear_gradients()
        if len(active.tasks) == 1 or not self.task_gradients.columns:
            door.into(losses, weights, active.tasks, self.parameters.tensors)
            row_weights, norm_ratio = weights.new_ones(len(active.tasks)), weights.new_ones(1)
        else:
            jacobian = torch.stack(self.task_gradients.rows(losses, weights, active))
            extra_jacobians = [
                torch.stack(
                    self.task_gradients.rows(losses_of(), weights, active, with_private=False)
                )
                for losses_of in self.extra_losses
            ]
            with torch.no_grad():
                direction, row_weights = self.aggregation(
                    jacobian, active.tasks, self.parameters.whole_sums, extra_jacobians
                )
                norms = torch.stack([direction.norm(), jacobian.sum(0).norm()])
                norm_ratio = torch.div(*self.parameters.whole_norms(norms)).reshape(1)
                self.task_gradients.assign(direction)
        if not active.none_idle:
            self.clear_idle(active.tasks)
            index = active.index(weights.device)
            row_weights = torch.zeros_like(weights).index_copy(0, index, row_weights)
        if not self.aggregation.has_weights:
            row_weights = torch.full_like(weights, torch.nan)
        self.measured = {"aggregator_weight": row_weights, "norm_ratio": norm_ratio}
        self.clip_gradients()
        self.step_functions[0]()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the aggregator."""
        return {**super().state_dict(), "aggregation": self.aggregation.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.aggregation.load_state_dict(state["aggregation"])
