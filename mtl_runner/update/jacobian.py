"""Jacobian descent: an aggregator makes one direction of the tasks' gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, whole_number
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Losses
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.shards import local_part
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import Aggregation
from mtl_runner.update.base import MakeOptimizer, Recompute, Update
from mtl_runner.update.block_aggregation import BlockAggregation
from mtl_runner.update.held_weights import HeldWeights
from mtl_runner.update.representation_gradients import RepresentationGradients
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

    With ``blocks`` the aggregator is applied to each module, layer or tensor of the shared
    parameters by itself, with a Gramian, weights and a state of its own; ``aggregator_weight`` is
    then the mean over the parameters. Where the network is a chain between blocks, the gradients of
    one block are in memory at a time (:class:`~mtl_runner.gradients.stages.Stages`), unless all of
    them have few numbers.

    With ``every`` above 1 the weights of the rows are those of the last step that is a multiple of
    it: a step in between is one backward pass of the sum of the losses with these weights. They are
    found anew whenever other tasks are active. It needs an aggregator whose direction is a weighted
    sum of the rows.

    With ``at="representation"`` the rows are the gradients with respect to the tensors between
    what tasks share and what each has alone, of every row of the batch
    (:class:`~mtl_runner.gradients.representation.Representation`), and the direction goes through
    the trunk once: T backward passes through the heads, one through the trunk.

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
        blocks: What the aggregator is applied to: ``whole``, each ``module``, ``layer`` or
            ``tensor`` (:func:`~mtl_runner.gradients.blocks.blocks_of`).
        every: Number of steps for which the weights of the rows are used; 1: they are found at
            every step.
        at: Where the gradients are taken: at the shared ``parameters``, or at the
            ``representation``, the tensors between trunk and heads.
        seed: Seed of the aggregators that draw at random.

    Attributes:
        measured: ``aggregator_weight`` ``[T]``, the weights of the rows (NaN where the aggregator
            has none), and ``norm_ratio`` ``[1]``, the norm of the direction over that of the plain
            sum.

    Raises:
        ConfigError: If the aggregator or an option is unknown, a solver is missing, there are too
            few tasks, the parameters are sharded and the aggregator needs whole gradients, or
            weights are to be held that there are not.

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
        blocks: str = "whole",
        every: int = 1,
        at: str = "parameters",
        seed: int = 0,
    ) -> None:
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        self.every = whole_number(every, "update.every", 1)
        places = ("parameters", "representation")
        self.at_representation = choice(at, "update.at", places) == "representation"
        # Makes the direction where the rows alone do not say it.
        self.dropped: Callable[[Tensor | None], Tensor] | None = None
        self.task_gradients = TaskGradients(parameters, len(tasks), blocks)
        if self.at_representation:
            signs = aggregator == "graddrop"
            of_representation = RepresentationGradients(parameters, len(tasks), keeps_values=signs)
            self.dropped = of_representation.sign_dropout if signs else None
            self.task_gradients = of_representation
        sizes = [sum(p.numel() for p in block) for block in self.task_gradients.blocks]
        self.aggregation = BlockAggregation(aggregator, options or {}, tasks, seed, sizes or [0])
        self.held: HeldWeights | None = None
        # At the representation every operation is passed once, as in one backward pass.
        self.batches = self.aggregation.first.batches
        is_split = self.task_gradients.shared and not self.at_representation
        passes = len(tasks) * self.batches if is_split else 1
        self.passes = passes if self.every == 1 else 1 + (passes - 1) / self.every
        self.fields = {"aggregator_weight": len(tasks), "norm_ratio": 1}
        first = self.aggregation.first
        if self.task_gradients.shared:
            first.check(local_part(self.task_gradients.shared[0]))
        if parameters.shards is not None:
            first.check_shards()
        if self.every > 1:
            self._check_weights(first, blocks)
        if self.at_representation:
            self._check_representation(first, blocks)

    def _check_weights(self, aggregation: Aggregation, blocks: str) -> None:
        """Check that one weight per task says what the aggregator does.

        Raises:
            ConfigError: If it does not.
        """
        key = f"update.every={self.every}"
        if not aggregation.has_weights:
            raise ConfigError(
                f"{key} holds the weights of the tasks' gradients, and the direction of update.aggregator={aggregation.label} is no weighted sum of them; leave update.every at 1."
            )
        if aggregation.serves_all_sets:
            raise ConfigError(
                f"{key} holds the weights of the tasks' gradients, and update.aggregator={aggregation.label} weighs averages over steps, or looks at several batches; leave update.every at 1."
            )
        if len(self.task_gradients.blocks) > 1:
            raise ConfigError(
                f"{key} holds one weight per task, and with update.blocks={blocks} every block has its own; leave one of them out."
            )

    def _check_representation(self, aggregation: Aggregation, blocks: str) -> None:
        """Check that the aggregator does with rows at the representation.

        Raises:
            ConfigError: If it does not.
        """
        if blocks != "whole":
            raise ConfigError(
                f"update.blocks={blocks} divides the shared parameters, and with update.at=representation the gradients are not theirs; leave one of them out."
            )
        if aggregation.batches > 1:
            raise ConfigError(
                f"update.aggregator={aggregation.label} takes {aggregation.batches} batches per step, and update.at=representation looks at one; use update.at=parameters."
            )
        if aggregation.keeps_entries:
            raise ConfigError(
                f"update.aggregator={aggregation.label} keeps a number for every entry of the gradients, and at the representation the rows of every batch have entries of their own; use update.at=parameters."
            )

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make one optimizer over all parameters."""
        return [make_optimizer(self.parameters.tensors)]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Take one backward pass per active task, aggregate, and step."""
        del recompute
        self.clear_gradients()
        held = None if self.is_due else self.held
        if len(active.tasks) == 1 or not self.task_gradients.columns:
            door.into(losses, weights, active.tasks, self.parameters.tensors)
            row_weights, norm_ratio = weights.new_ones(len(active.tasks)), weights.new_ones(1)
        elif held is not None and held.tasks == active.tasks:
            held = held.on(weights)
            self.task_gradients.take_sum(losses, weights, held)
            row_weights, norm_ratio = held.rows, held.norm_ratio
        else:
            row_weights, norm_ratio = self._aggregate(losses, weights, active)
            if self.every > 1:
                self.held = HeldWeights.of(active.tasks, row_weights, norm_ratio)
        if not active.none_idle:
            self.clear_idle(active.tasks)
            index = active.index(weights.device)
            row_weights = torch.zeros_like(weights).index_copy(0, index, row_weights)
        if not self.aggregation.first.has_weights:
            row_weights = torch.full_like(weights, torch.nan)
        self.measured = {"aggregator_weight": row_weights, "norm_ratio": norm_ratio}
        self.clip_gradients()
        self.step_functions[0]()

    def _aggregate(self, losses: Losses, weights: Tensor, active: Active) -> tuple[Tensor, Tensor]:
        """Give all parameters their gradients, and return what is measured."""
        self.aggregation.begin_step()
        gradients = self.task_gradients
        extra = [
            gradients.jacobians(losses_of(), weights, active, with_private=False)
            for losses_of in self.extra_losses
        ]
        for block, jacobian in gradients.jacobians(losses, weights, active):
            # The blocks of every batch come in the same order.
            extra_jacobians = [next(jacobians)[1] for jacobians in extra]
            with torch.no_grad():
                direction = self.aggregation(
                    block,
                    jacobian,
                    active.tasks,
                    gradients.whole_sums(),
                    self.dropped,
                    extra_jacobians,
                )
                gradients.assign(block, direction)
            del jacobian, extra_jacobians  # before those of the next block are made
        norms = gradients.whole_norms(self.aggregation.norms())
        return self.aggregation.weights(), torch.div(*norms).reshape(1)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the aggregator."""
        held = {} if self.held is None else {"held": self.held.state_dict()}
        return {**super().state_dict(), "aggregation": self.aggregation.state_dict(), **held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.aggregation.load_state_dict(state["aggregation"])
        self.held = HeldWeights.from_state(state["held"]) if "held" in state else None
