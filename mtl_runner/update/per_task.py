"""One optimizer per task: every task has its own step size, also in the shared parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import choice
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Gradients, Lane, Losses
from mtl_runner.gradients.layout import laid_out_like
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.base import MakeOptimizer, Recompute, Update
from mtl_runner.update.decay import GroupOptimizers, L2Term


class PerTask(Update):
    r"""Give every task an optimizer of its own, over the shared parameters and its private ones.

    **Source:** with Adam it takes the same steps as AdaTask (Yang et al., AAAI 2023, algorithm 1,
    `arXiv:2211.15055 <https://arxiv.org/abs/2211.15055>`__), see
    :class:`~mtl_runner.update.AdaTask`.

    .. math::

        \theta \leftarrow \theta + \sum_k \Delta_k, \qquad
        \Delta_k = \mathrm{step}_k\Bigl(\nabla_\theta \sum_{t \in k} w_t L_t\Bigr)

    where

    - k runs over the groups, by default each task by itself,
    - :math:`\mathrm{step}_k` is a step of the group's own optimizer, with its own moments,
    - :math:`w_t, L_t` are weight and loss of task t.

    Weight decay acts once per step on a parameter, not once per group
    (:class:`~mtl_runner.update.decay.GroupOptimizers`).

    **Cost per step:** T backward passes and T optimizers; with ``gradients=fresh`` also T forward
    passes.

    **When it helps:** tasks whose gradients differ much in size, since every task gets steps of the
    same size.

    **When not:** weights that should count. With Adam the size of a task's loss has no effect
    (except through eps), so neither has a fixed weight; the first step is up to T times as long as
    one Adam's; and the sum of the losses may rise while every optimizer does what it should.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        make_optimizer: Makes an optimizer over some of them.
        tasks: The tasks, in the order of the losses.
        clip: Largest norm of the gradient of each of the ``clip_blocks``; None leaves it alone.
            Each group's gradient is clipped by itself.
        clip_blocks: Parameters whose norm is taken together; None: all of them.
        groups: Lists of task names, e.g. ``[[a, b], [c]]``; None: each task by itself.
        gradients: ``same``: all gradients at the same point, the steps add up, order does not
            matter. ``fresh``: a new forward and backward pass after each group's step, order
            matters.

    Raises:
        ConfigError: If the groups are no partition of the tasks.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> point = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> parameters = Parameters([point], [frozenset({0, 1})])
        >>> adam = partial(torch.optim.Adam, lr=0.1)
        >>> update = PerTask(parameters, adam, [Task("a"), Task("b")])
        >>> update([point[0] + point[1], 100 * point[1]])  # each takes a full step where it can
        >>> point.data
        tensor([0.9000, 0.8000])
    """

    works_on_shards = True

    def __init__(
        self,
        parameters: Parameters,
        make_optimizer: MakeOptimizer,
        tasks: Sequence[Task],
        clip: float | None = None,
        clip_blocks: Sequence[Sequence[nn.Parameter]] | None = None,
        groups: Sequence[Sequence[str]] | None = None,
        gradients: str = "same",
    ) -> None:
        choice(gradients, "update.gradients", ("same", "fresh"))
        self.fresh = self.needs_recompute = gradients == "fresh"
        self.groups = _group_indices(groups, [task.name for task in tasks])
        self.group_parameters = [parameters.reached_by(frozenset(group)) for group in self.groups]
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        self.passes = len(self.groups)
        if not self.fresh and not self.group_optimizers.largest_decay:
            self.optimizer_tasks = [tuple(group) for group in self.groups]

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make one optimizer per group."""
        self.group_optimizers = GroupOptimizers(
            self.parameters, self.group_parameters, make_optimizer
        )
        return self.group_optimizers.optimizers

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Take one step of the optimizer of every group that has an active task.

        Raises:
            ConfigError: If fresh gradients are wanted and ``recompute`` is None.
        """
        active_groups = {
            k: active_tasks
            for k, group in enumerate(self.groups)
            if (active_tasks := tuple(t for t in group if t in active.tasks))
        }
        last_group = max(active_groups)
        self.group_optimizers.begin_step(active_groups)
        lanes = {
            k: Lane(tasks, self.group_parameters[k], weights) for k, tasks in active_groups.items()
        }
        if not self.fresh:
            # All gradients come first, since a step changes the parameters in place.
            gradients = list(door.of(losses, list(lanes.values())))
            l2_terms = [self.group_optimizers.l2_terms(k, active_groups) for k in lanes]
            for k, group_gradients, terms in zip(lanes, gradients, l2_terms, strict=True):
                self._step(k, active_groups[k], group_gradients, terms)
            return
        if recompute is None:
            raise ConfigError(
                "update.gradients=fresh needs `recompute`, a function that recomputes the losses of the batch."
            )
        for k, active_tasks in active_groups.items():
            (group_gradients,) = door.of(losses, [lanes[k]])
            terms = self.group_optimizers.l2_terms(k, active_groups)
            self._step(k, active_tasks, group_gradients, terms)
            if k != last_group:
                losses = recompute()

    def _step(
        self, k: int, tasks: tuple[int, ...], gradients: Gradients, l2_terms: list[L2Term]
    ) -> None:
        """Clip the gradients of a group, add the L2 terms, and take a step of its optimizer."""
        self.clear_gradients()
        for parameter, gradient in zip(self.group_parameters[k], gradients, strict=True):
            parameter.grad = laid_out_like(gradient, parameter)
        if len(tasks) < len(self.groups[k]):
            self.clear_idle(tasks)
        self.clip_gradients()
        for parameter, point, factor in l2_terms:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.add(point, alpha=factor)
        self.step_functions[k]()


def _group_indices(groups: Sequence[Sequence[str]] | None, names: list[str]) -> list[list[int]]:
    """Return the groups as indices of tasks, in the order given; by default one group per task.

    Raises:
        ConfigError: If the groups are no partition of the names.
    """
    if groups is None:
        return [[i] for i in range(len(names))]
    if isinstance(groups, Mapping) or any(isinstance(group, str) for group in groups):
        raise ConfigError(
            "update.groups must be lists of tasks under update=per_task, e.g. [[y1], [y2]]; settings of a group, as in update.groups.y1.lr, belong to update=joint."
        )
    listed = [name for group in groups for name in group]
    for name in listed:
        if name not in names:
            raise ConfigError(
                f"update.groups names the unknown task {name!r}; {suggest(name, names)}."
            )
        if listed.count(name) > 1:
            raise ConfigError(
                f"update.groups names the task {name!r} twice; each task belongs to one group."
            )
    for name in names:
        if name not in listed:
            raise ConfigError(
                f"update.groups leaves out the task {name!r}; each task belongs to one group."
            )
    return [[names.index(name) for name in group] for group in groups if group]
