"""Jacobian descent: an aggregator makes one direction of the tasks' gradients over the shared parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import Aggregation
from mtl_runner.update.base import Losses, MakeOptimizer, Recompute, Update
from mtl_runner.update.task_gradients import TaskGradients


class Jacobian(Update):
    """Aggregates the gradients of the weighted losses over the shared parameters by a method of TorchJD, then one optimizer step.

    The rows of the Jacobian are the gradients of the *active* tasks by plain autograd, so any model will do; private parameters
    get the gradient of their own weighted loss. One active task needs no aggregator, and without shared parameters there is nothing
    to aggregate: both are the ordinary step.

    Args:
        parameters, make_optimizer, clip, clip_blocks: see :class:`~mtl_runner.update.base.Update`; the aggregated gradient is clipped.
        tasks: the tasks, in order.
        aggregator: a name (``upgrad``, ``mgda``, ``pcgrad``, ``cagrad``, ...; see :mod:`~mtl_runner.update.aggregators`), or any callable from the
            Jacobian ``[k, P]`` to a direction ``[P]``.
        options: of the aggregator, over its defaults; numbers per task as ``{task: number}``.
        seed: of the generator of the aggregators that draw at random.

    Measures ``aggregator_weight`` ``[T]`` (NaN where the aggregator has none) and ``norm_ratio``: the norm of the direction over that
    of the plain sum, since aggregators differ in scale by a factor of ten and more. Raises ``ConfigError`` for an unknown
    aggregator or option, a missing solver, or too few tasks.
    """

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
        self.passes = len(tasks) if self.task_gradients.shared else 1
        self.fields = {"aggregator_weight": len(tasks), "norm_ratio": 1}
        if self.task_gradients.shared:
            self.aggregation.check(self.task_gradients.shared[0])

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        return [make_optimizer(self.parameters.tensors)]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        del recompute
        self.clear_gradients()
        if len(active.tasks) == 1 or not self.task_gradients.shared:
            torch.autograd.backward(
                [losses[t] for t in active.tasks], [weights[t] for t in active.tasks]
            )
            used, ratio = weights.new_ones(len(active.tasks)), weights.new_ones(1)
        else:
            jacobian = torch.stack(self.task_gradients.of(losses, weights, active))
            with torch.no_grad():
                direction, used = self.aggregation(jacobian, active.tasks)
                ratio = (direction.norm() / jacobian.sum(0).norm()).reshape(1)
                self.task_gradients.assign(direction)
        if not active.everyone:
            self.clear_idle(active.tasks)
            used = torch.zeros_like(weights).index_copy(0, active.index(weights.device), used)
        if not self.aggregation.weighs:
            used = torch.full_like(weights, torch.nan)
        self.measured = {"aggregator_weight": used, "norm_ratio": ratio}
        self.clip_gradients()
        self.steppers[0]()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "aggregation": self.aggregation.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.aggregation.load_state_dict(state["aggregation"])
