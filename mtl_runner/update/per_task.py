"""One optimizer per task: every task has its own step size in every parameter, also in the shared ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import choice
from mtl_runner.gradients.layout import laid_out
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.base import Losses, MakeOptimizer, Recompute, Update
from mtl_runner.update.decay import GroupOptimizers, L2Term, Stepping


class PerTask(Update):
    """One optimizer per task, or per group of tasks, over the shared parameters and the group's private ones.

    With Adam the size of a task's loss has no effect (except through eps), so neither has a fixed weight; the first step is up
    to T times as long as one Adam's; and the sum of the losses may rise while every optimizer does what it should.

    Args:
        parameters, make_optimizer, clip, clip_blocks: see :class:`~mtl_runner.update.base.Update`; each group's gradient is
            clipped by itself.
        tasks: the tasks, in the order of the losses.
        groups: lists of task names, e.g. ``[[a, b], [c]]``; None: each task by itself.
        gradients: ``same``: all gradients at the same point, the steps add up, order does not matter; ``fresh``: a new forward
            and backward pass after each group's step, order matters.

    Weight decay acts once per step on a parameter, not once per group (:class:`~mtl_runner.update.decay.GroupOptimizers`). Raises ``ConfigError`` unless the groups are a partition.
    """

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
        self.groups = _groups(groups, [task.name for task in tasks])
        self.owned = [parameters.of(frozenset(group)) for group in self.groups]
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        self.passes = len(self.groups)
        if not self.fresh and not self.decay.decay:
            self.optimizer_tasks = [tuple(group) for group in self.groups]

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        self.decay = GroupOptimizers(self.parameters, self.owned, make_optimizer)
        return self.decay.optimizers

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        stepping = {
            k: ts
            for k, group in enumerate(self.groups)
            if (ts := tuple(t for t in group if t in active.tasks))
        }
        last = max(stepping)
        self.decay.begin(stepping)
        if not self.fresh:  # all gradients first, since a step changes the parameters in place
            found = {
                k: self._gradients(k, stepping, losses, weights, retain=k != last) for k in stepping
            }
            for k, (gradients, terms) in found.items():
                self._step(k, stepping[k], gradients, terms)
            return
        if recompute is None:
            raise ConfigError(
                "update.gradients=fresh needs `recompute`, a function that recomputes the losses of the batch."
            )
        for k, ts in stepping.items():
            self._step(k, ts, *self._gradients(k, stepping, losses, weights, retain=False))
            if k != last:
                losses = recompute()

    def _gradients(
        self, k: int, stepping: Stepping, losses: Losses, weights: Tensor, retain: bool
    ) -> tuple[tuple[Tensor | None, ...], list[L2Term]]:
        roots, scale = [losses[t] for t in stepping[k]], [weights[t] for t in stepping[k]]
        found = torch.autograd.grad(
            roots, self.owned[k], scale, retain_graph=retain, allow_unused=True
        )
        return found, self.decay.l2_terms(k, stepping)

    def _step(
        self,
        k: int,
        tasks: tuple[int, ...],
        gradients: tuple[Tensor | None, ...],
        terms: list[L2Term],
    ) -> None:
        self.clear_gradients()
        for parameter, gradient in zip(self.owned[k], gradients, strict=True):
            parameter.grad = laid_out(gradient, parameter)
        if len(tasks) < len(self.groups[k]):
            self.clear_idle(tasks)
        self.clip_gradients()
        for parameter, point, share in terms:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.add(point, alpha=share)
        self.steppers[k]()


def _groups(groups: Sequence[Sequence[str]] | None, names: list[str]) -> list[list[int]]:
    if groups is None:
        return [[i] for i in range(len(names))]
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
