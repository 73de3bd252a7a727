"""One optimizer per task: every task has its own step size in every parameter, also in the shared ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.parameters import Parameters
from mtl_runner.task import Task
from mtl_runner.update.base import Active, Again, Losses, MakeOptimizer, Update


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

    Weight decay acts once per step on a parameter, not once per group: decoupled decay (AdamW) through the first group that
    steps, an L2 term in equal shares through all that step. Raises ``ConfigError`` unless the groups are a partition.
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
        if gradients not in ("same", "fresh"):
            raise ConfigError(f"update.gradients={gradients!r} is unknown; allowed: same, fresh.")
        self.fresh = self.needs_again = gradients == "fresh"
        self.groups = _groups(groups, [task.name for task in tasks])
        self.owned = [parameters.of(frozenset(group)) for group in self.groups]
        super().__init__(parameters, make_optimizer, clip, clip_blocks)

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        optimizers = [make_optimizer(owned) for owned in self.owned]
        self.decay = float(optimizers[0].param_groups[0].get("weight_decay", 0.0))
        self.decoupled = any(isinstance(o, torch.optim.AdamW) or o.defaults.get("decoupled_weight_decay") for o in optimizers)
        if self.decay and self.decoupled:
            # Only the first group that reaches a parameter decays it: parameters with the same owners share a parameter group.
            optimizers = [
                make_optimizer([{"params": ps} for ps in self._by_owners(k).values()]) for k in range(len(self.owned))
            ]
        elif self.decay:  # the L2 term is added to the gradients here, at the point where they are taken
            for optimizer in optimizers:
                optimizer.param_groups[0]["weight_decay"] = 0.0
        return optimizers

    def _by_owners(self, k: int) -> dict[frozenset[int], list[nn.Parameter]]:
        owners = dict(zip(self.parameters.tensors, self.parameters.owners, strict=True))
        blocks: dict[frozenset[int], list[nn.Parameter]] = {}
        for parameter in self.owned[k]:
            blocks.setdefault(owners[parameter], []).append(parameter)
        return blocks

    def __call__(self, losses: Losses, weights: Tensor, active: Active, again: Again | None = None) -> None:
        stepping = {k: ts for k, group in enumerate(self.groups) if (ts := tuple(t for t in group if t in active.tasks))}
        if self.decay and self.decoupled:
            self._assign_decay(stepping)
        last = max(stepping)
        if not self.fresh:  # all gradients first, since a step changes the parameters in place
            gradients = {k: self._gradients(k, stepping, losses, weights, retain=k != last) for k in stepping}
            for k, ts in stepping.items():
                self._step(k, ts, gradients[k])
            return
        if again is None:
            raise ConfigError("update.gradients=fresh needs `again`, a function that recomputes the losses of the batch.")
        for k, ts in stepping.items():
            self._step(k, ts, self._gradients(k, stepping, losses, weights, retain=False))
            if k != last:
                losses = again()

    def _gradients(
        self, k: int, stepping: dict[int, tuple[int, ...]], losses: Losses, weights: Tensor, retain: bool
    ) -> tuple[Tensor | None, ...]:
        roots, scale = [losses[t] for t in stepping[k]], [weights[t] for t in stepping[k]]
        found = torch.autograd.grad(roots, self.owned[k], scale, retain_graph=retain, allow_unused=True)
        return self._with_l2(k, stepping, found) if self.decay and not self.decoupled else found

    @torch.no_grad()
    def _with_l2(
        self, k: int, stepping: dict[int, tuple[int, ...]], gradients: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        """The gradients plus this group's share of the L2 term: one over the number of groups that reach a parameter."""
        found = dict(zip(self.owned[k], gradients, strict=True))
        for owners, parameters in self._by_owners(k).items():
            share = self.decay / max(1, len(_reaching(owners, stepping)))
            for parameter in parameters:
                gradient = found[parameter]
                found[parameter] = None if gradient is None else gradient.add(parameter, alpha=share)
        return tuple(found.values())

    def _step(self, k: int, tasks: tuple[int, ...], gradients: tuple[Tensor | None, ...]) -> None:
        self.clear_gradients()
        for parameter, gradient in zip(self.owned[k], gradients, strict=True):
            parameter.grad = gradient
        if len(tasks) < len(self.groups[k]):
            self.clear_idle(tasks)
        self.clip_gradients()
        self.steppers[k]()

    def _assign_decay(self, stepping: dict[int, tuple[int, ...]]) -> None:
        """Decoupled decay: the first group that reaches a parameter in this step decays it, before any step has moved it."""
        for k in stepping:
            for group, owners in zip(self.optimizers[k].param_groups, self._by_owners(k), strict=True):
                group["weight_decay"] = self.decay if k in _reaching(owners, stepping)[:1] else 0.0


def _reaching(owners: frozenset[int], stepping: dict[int, tuple[int, ...]]) -> list[int]:
    """The groups whose gradient reaches parameters of these owners in a step in which they step for these tasks."""
    return [k for k, tasks in stepping.items() if not owners.isdisjoint(tasks)]


def _groups(groups: Sequence[Sequence[str]] | None, names: list[str]) -> list[list[int]]:
    if groups is None:
        return [[i] for i in range(len(names))]
    listed = [name for group in groups for name in group]
    for name in listed:
        if name not in names:
            raise ConfigError(f"update.groups names the unknown task {name!r}; {suggest(name, names)}.")
        if listed.count(name) > 1:
            raise ConfigError(f"update.groups names the task {name!r} twice; each task belongs to one group.")
    for name in names:
        if name not in listed:
            raise ConfigError(f"update.groups leaves out the task {name!r}; each task belongs to one group.")
    return [[names.index(name) for name in group] for group in groups if group]
