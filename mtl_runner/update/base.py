"""The protocol of an update: weighted losses in, changed parameters out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import step_function
from mtl_runner.errors import ConfigError
from mtl_runner.gradients.door import Losses
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.shards import cut_like_optimizer
from mtl_runner.tasks.activity import Active

#: Makes an optimizer over parameters or parameter groups; keywords change its settings.
MakeOptimizer = Callable[..., Optimizer]

#: Recomputes the losses of the batch, with the parameters as they are then.
Recompute = Callable[[], Losses]

#: Computes the losses of each extra batch of a step, with the parameters as they are then.
ExtraLosses = Sequence[Callable[[], Losses]]


class Update(ABC):
    """Base of all updates: it owns the optimizers and changes the parameters once per step.

    A subclass makes its optimizers in :meth:`build` and takes a step in :meth:`change`.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        make_optimizer: Makes an optimizer over some of them.
        clip: Largest norm of the gradient of each of the ``clip_blocks``; None leaves it alone.
        clip_blocks: Parameters whose norm is taken together; None: all of them.

    Attributes:
        passes: Number of backward passes of a step with all tasks, on average.
        batches: Number of independent batches that a step takes. The first one is that of the
            losses; those of the others are in ``extra_losses`` during the step.
        extra_losses: Computes the losses of each extra batch of the step.
        every: Number of steps for which weights that were found from gradients of single tasks are
            used: those of the update, and of a weighting that looks at norms of gradients.
        clock: Number of completed steps.
        needs_recompute: Whether a step calls ``recompute``.
        works_on_shards: Whether it works where every process has a part of each parameter and of
            its gradient (``trainer.parallel=fsdp``): what it does to one entry needs no other.
        fields: Names and widths of what it measures at every step.
        measured: The measured values of the most recent step, by name.
        optimizer_tasks: For each optimizer the tasks whose weighted losses it follows (None: all),
            if that is all there is to the update. None: runs with it do not train as a stack.

    Example:
        An update of your own, which follows the sign of the gradient of the sum:

        >>> from mtl_runner.gradients import door
        >>> class SignDescent(Update):
        ...     def build(self, make_optimizer):
        ...         return [make_optimizer(self.parameters.tensors)]
        ...
        ...     def change(self, losses, weights, active, recompute):
        ...         self.clear_gradients()
        ...         door.into(losses, weights, active.tasks, self.parameters.tensors)
        ...         for parameter in self.parameters.tensors:
        ...             parameter.grad.sign_()
        ...         self.step_functions[0]()
        >>> point = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> parameters = Parameters([point], [frozenset({0, 1})])
        >>> update = SignDescent(parameters, lambda block: torch.optim.SGD(block, lr=0.1))
        >>> update([point[0], -7 * point[1]])
        >>> point.data
        tensor([0.9000, 1.1000])
    """

    needs_recompute = False
    works_on_shards: bool = False
    passes: float = 1
    batches: int = 1
    extra_losses: ExtraLosses = ()
    every: int = 1
    clock: int = 0
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
        self.step_functions = self.make_step_functions()
        self._idle_parameters: dict[tuple[int, ...], list[nn.Parameter]] = {}

    def make_step_functions(self) -> list[Callable[[], Any]]:
        """Return a function for each optimizer that takes one step with the gradients as they are.

        Raises:
            ConfigError: If an optimizer evaluates the losses several times per step.
        """
        return [step_function(optimizer) for optimizer in self.optimizers]

    @abstractmethod
    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make the optimizers of this update."""

    def __call__(
        self,
        losses: Losses,
        weights: Tensor | None = None,
        active: Active | None = None,
        recompute: Recompute | None = None,
        extra_losses: ExtraLosses = (),
    ) -> None:
        """Change the parameters once, given the differentiable losses of all T tasks.

        Args:
            losses: One scalar per task.
            weights: One factor per task, shape ``[T]``; None: 1 each.
            active: The tasks that take part; None: all.
            recompute: Recomputes the losses of the same batch, where ``needs_recompute``.
            extra_losses: Computes the losses of each of the other ``batches`` of the step.

        Raises:
            ConfigError: If the step has another number of batches than it takes.
        """
        if len(extra_losses) != self.batches - 1:
            raise ConfigError(
                f"A step of this update takes {self.batches} independent batches; found {1 + len(extra_losses)}: give a function that computes the losses of each of the others as extra_losses=[...]."
            )
        if weights is None:
            weights = torch.ones(len(losses), dtype=losses[0].dtype, device=losses[0].device)
        self.extra_losses = extra_losses
        self.change(losses, weights, active or Active.all(len(losses)), recompute)
        self.extra_losses = ()
        self.clock += 1

    @property
    def is_due(self) -> bool:
        """Whether gradients of single tasks are looked at in the step that comes (``every``)."""
        return not self.clock % self.every

    def skip(self) -> None:
        """Count a step whose batch has no label at all, without changing a parameter."""
        self.clock += 1

    @abstractmethod
    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Change the parameters once; as :meth:`__call__`, with every argument given."""

    def at_step(self, step: int) -> None:
        """Set the number of completed steps, where something else (a stack) took them."""
        self.clock = step

    def clear_gradients(self) -> None:
        """Set every gradient to None, so that an optimizer leaves alone what gets no new one."""
        for parameter in self.parameters.tensors:
            parameter.grad = None

    def clear_idle(self, tasks: tuple[int, ...]) -> None:
        """Drop the zero gradients that stacked losses leave where none of the tasks reaches."""
        if tasks not in self._idle_parameters:
            self._idle_parameters[tasks] = self.parameters.idle(frozenset(tasks))
        for parameter in self._idle_parameters[tasks]:
            parameter.grad = None

    def clip_gradients(self) -> None:
        """Clip the norm of each block; parameters without a gradient do not count."""
        if self.clip is not None:
            for block in self.clip_blocks:
                torch.nn.utils.clip_grad_norm_(block, self.clip)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizers and the number of steps, for a checkpoint."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "clock": self.clock,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(cut_like_optimizer(saved, optimizer))
        self.clock = state.get("clock", 0)  # earlier versions kept it where they used it
