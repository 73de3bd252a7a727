"""The protocol of an update: weighted losses in, changed parameters out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import stepper
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active

MakeOptimizer = Callable[
    ..., Optimizer
]  # takes parameters or parameter groups, and changes of its settings
Losses = (
    Sequence[Tensor] | Tensor
)  # one scalar per task; separate graphs (a list) spare idle tasks the backward pass
Recompute = Callable[[], Losses]


class Update(ABC):
    """Base of all updates.

    Args:
        parameters: of the model, with the tasks that own each.
        make_optimizer: makes an optimizer over some of them.
        clip: largest norm of the gradient of each of the ``clip_blocks``; None leaves it alone.
        clip_blocks: parameters whose norm is taken together; by default all of them.

    Attributes:
        passes: backward passes of a step with all tasks.
        needs_recompute: whether ``recompute`` (recompute the losses of the same batch) is called.
        fields: names and widths of what it measures at every step. measured: their values in the last one, by name.
        optimizer_tasks: for each optimizer the tasks whose weighted losses it follows (None: all), if that is all there is to the update; None: runs
            with it do not stack.
    """

    needs_recompute = False
    passes: int = 1
    fields: Mapping[str, int] = {}
    measured: Mapping[str, Tensor] = {}
    optimizer_tasks: Sequence[tuple[int, ...] | None] | None = None

    def __init__(
        self,
        parameters: Parameters,
        make_optimizer: MakeOptimizer,
        clip: float | None = None,
        clip_blocks: Sequence[Sequence[nn.Parameter]] | None = None,
    ) -> None:
        self.parameters = parameters
        self.clip = clip
        self.clip_blocks = clip_blocks or [parameters.tensors]
        self.optimizers: list[Optimizer] = self.build(make_optimizer)
        self.steppers = [stepper(optimizer) for optimizer in self.optimizers]
        self._idle: dict[tuple[int, ...], list[nn.Parameter]] = {}

    @abstractmethod
    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make the optimizers of this update."""

    def __call__(
        self,
        losses: Losses,
        weights: Tensor | None = None,
        active: Active | None = None,
        recompute: Recompute | None = None,
    ) -> None:
        """Change the parameters once, given the differentiable losses of all T tasks.

        Args:
            losses: one scalar per task. weights: ``[T]``; None: 1 each. active: who takes part; None: all.
            recompute: recomputes the losses of the same batch, where ``needs_recompute``.
        """
        if weights is None:
            weights = torch.ones(len(losses), dtype=losses[0].dtype, device=losses[0].device)
        self.change(losses, weights, active or Active.all(len(losses)), recompute)

    def skip(self) -> None:  # noqa: B027  # most updates have nothing to do
        """Count a step whose batch has no label at all, without changing a parameter."""

    @abstractmethod
    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Apply one update to the parameters, with every argument given."""

    def at_step(self, step: int) -> None:  # noqa: B027
        """Set the number of completed steps, where something else (a stack) took them; most updates do not count."""

    def clear_gradients(self) -> None:
        """No gradient (None, not zero): a parameter that gets none is left alone by every optimizer."""
        for parameter in self.parameters.tensors:
            parameter.grad = None

    def clear_idle(self, tasks: tuple[int, ...]) -> None:
        """Drop the zero gradients that stacked losses leave on parameters which none of the tasks reaches."""
        if tasks not in self._idle:
            self._idle[tasks] = self.parameters.idle(frozenset(tasks))
        for parameter in self._idle[tasks]:
            parameter.grad = None

    def clip_gradients(self) -> None:
        """Clip the norm of each block, on the device; parameters without a gradient take no part."""
        if self.clip is not None:
            for block in self.clip_blocks:
                torch.nn.utils.clip_grad_norm_(block, self.clip)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
