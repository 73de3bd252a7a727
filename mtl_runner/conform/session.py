"""A training run in miniature: one object under test, inputs losses and gradients step by step."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.conform.interfaces import Interface
from mtl_runner.conform.subject import Subject, parameters_of
from mtl_runner.weighting.protocols import KeepsLosses, ObservesLosses

LR = 0.025  # of the Adam that trains the object's own parameters
EXTRA_COLUMNS = 2  # so that there is more room than the gradients of the tasks span


@dataclass(frozen=True)
class Step:
    """The answer of an object to one step.

    Attributes:
        direction: The direction over the shared parameter, shape ``[P]``.
        weights: The weights of the gradients whose sum it is, shape ``[T]``; 0 for a gradient of 0.
        objective: The objective; NaN if the object has none.
    """

    direction: Tensor
    weights: Tensor
    objective: float


@dataclass(frozen=True)
class Script:
    """The losses and gradients of the steps of a session.

    Attributes:
        losses: The losses of each step, shape ``[steps, T]``.
        rows: The gradients of each step, shape ``[steps, T, P]``.
        after: The losses of the same batches after the update, shape ``[steps, T]``.
    """

    losses: Tensor
    rows: Tensor
    after: Tensor

    def __len__(self) -> int:
        return len(self.losses)

    def part(self, start: int, stop: int | None = None) -> Script:
        """Return the steps from ``start`` to before ``stop``."""
        return Script(self.losses[start:stop], self.rows[start:stop], self.after[start:stop])

    def permuted(self, order: Sequence[int]) -> Script:
        """Return the script with its tasks in another order."""
        places = list(order)
        return Script(self.losses[:, places], self.rows[:, places], self.after[:, places])

    def scaled(self, factors: Tensor) -> Script:
        """Return the script with every task's loss, and so its gradient, times a factor ``[T]``."""
        return Script(self.losses * factors, self.rows * factors[:, None], self.after * factors)


def script(
    losses: Tensor, norms: Tensor | None = None, after: Tensor | None = None, tasks: int = 0
) -> Script:
    """Return a script whose gradients are orthogonal.

    Args:
        losses: The losses, shape ``[steps, T]``.
        norms: The norms of the gradients, shape ``[T]`` or ``[steps, T]``; None: the losses.
        after: The losses after the updates; None: 0.9 times the losses.
        tasks: Unused columns are added up to ``tasks + 2``; 0: T.

    Example:
        >>> script(torch.ones(2, 3)).rows.shape
        torch.Size([2, 3, 5])
    """
    count = losses.shape[1]
    norms = losses if norms is None else norms.expand_as(losses)
    rows = norms[:, :, None] * torch.eye(count, (tasks or count) + EXTRA_COLUMNS)
    return Script(losses, rows, 0.9 * losses if after is None else after)


def random_script(steps: int, tasks: int, seed: int = 0) -> Script:
    """Return a script of random losses and orthogonal gradients of random length.

    Args:
        steps: Number of steps.
        tasks: Number of tasks.
        seed: Seed of the numbers.
    """
    numbers = torch.Generator().manual_seed(seed)
    size = (steps, tasks)
    losses = torch.exp(torch.randn(size, generator=numbers))
    norms = torch.exp(0.5 * torch.randn(size, generator=numbers))
    after = losses * (1.05 - 0.5 * torch.rand(size, generator=numbers))
    return script(losses, norms, after)


def random_rows(steps: int, tasks: int, seed: int = 0) -> Script:
    """Return a script of random gradients, some of which conflict."""
    numbers = torch.Generator().manual_seed(seed)
    size = (steps, tasks, tasks + EXTRA_COLUMNS)
    lengths = torch.exp(torch.randn(steps, tasks, 1, generator=numbers))
    rows = lengths * torch.randn(size, generator=numbers)
    # The first two tasks conflict in every other step.
    if tasks > 1:
        rows[::2, 1] -= 0.8 * rows[::2, 0]
    losses = torch.ones(steps, tasks)
    return Script(losses, rows, losses)


class Session:
    """An instance of the object under test, with an optimizer for its own parameters.

    Args:
        subject: The class or function.
        interface: How it is called.
        tasks: Number of tasks.
        keeps_epochs: Whether a ``step()`` of the object ends an epoch, and not a step.

    Attributes:
        target: The instance.
        optimizer: The Adam of its own parameters; None if it has none.

    Example:
        >>> from mtl_runner.conform.interfaces import recognise
        >>> from mtl_runner.conform.subject import load_subject
        >>> subject = load_subject("torchjd.scalarization.UW", {})
        >>> session = Session(subject, recognise(subject, wants_rows=False), tasks=2)
        >>> session.run(script(torch.ones(1, 2)))[0].weights.tolist()
        [0.5, 0.5]
    """

    def __init__(
        self, subject: Subject, interface: Interface, tasks: int, keeps_epochs: bool = False
    ) -> None:
        self.interface, self.keeps_epochs = interface, keeps_epochs
        self.shared = nn.Parameter(torch.zeros(tasks + EXTRA_COLUMNS))
        self.target = subject.make(tasks, self.shared)
        self.parameters = _own_parameters(self.target, self.shared)
        self.optimizer = torch.optim.Adam(self.parameters, lr=LR) if self.parameters else None
        self.epochs = 0

    def run(self, inputs: Script, epoch: int = 0) -> list[Step]:
        """Return what the object makes of every step of a script.

        Args:
            inputs: The script.
            epoch: Number of steps of an epoch; 0: all are one epoch.
        """
        steps = []
        for index in range(len(inputs)):
            if index % (epoch or len(inputs)) == 0:
                self.begin_epoch()
            steps.append(self.compute(inputs.losses[index], inputs.rows[index]))
            self.advance(inputs.losses[index], inputs.after[index])
        return steps

    def begin_epoch(self) -> None:
        """Tell the object that an epoch begins, or that one has ended."""
        if isinstance(self.target, KeepsLosses):
            self.target.begin_epoch()
        elif self.epochs and self.keeps_epochs and _takes(self.target, "step", 0):
            self.target.step()
        self.epochs += 1

    def compute(self, losses: Tensor, rows: Tensor) -> Step:
        """Return what the object makes of a step; its own parameters get their gradients."""
        for parameter in self.parameters:
            parameter.grad = None
        direction, objective = self.interface.direction(self.target, losses, rows, self.shared)
        direction = direction.to(rows)
        weights = torch.linalg.pinv(rows.T) @ direction if direction.isfinite().all() else None
        return Step(
            direction,
            torch.full_like(losses, torch.nan) if weights is None else weights,
            objective,
        )

    def advance(self, losses: Tensor, after: Tensor) -> None:
        """Update the object's own parameters, and call what it wants called after a step.

        Args:
            losses: The losses of the step, shape ``[T]``.
            after: The losses of the same batch after the update of the model, shape ``[T]``.
        """
        if isinstance(self.target, ObservesLosses):
            self.target.observe_losses(losses, after)
        if self.optimizer is not None:
            self.optimizer.step()
        if _takes(self.target, "update", 1) and not isinstance(self.target, ObservesLosses):
            self.target.update(self.interface.as_losses(after))
        if _takes(self.target, "post_step", 1):
            self.target.post_step(self.interface.as_losses(losses))
        if not self.keeps_epochs and _takes(self.target, "step", 0):
            self.target.step()

    @property
    def hooks(self) -> list[str]:
        """The further calls, in words."""
        measured = [
            text
            for name, count, text in (
                ("update", 1, "update(losses of the same batch after the step)"),
                ("post_step", 1, "post_step(losses of the step)"),
                ("step", 0, f"step() after every {'epoch' if self.keeps_epochs else 'step'}"),
            )
            if _takes(self.target, name, count)
        ]
        trained = sum(parameter.numel() for parameter in self.parameters)
        return (
            [*measured, f"Adam of rate {LR} on its {trained} own parameters"]
            if trained
            else measured
        )

    def state(self) -> Any:
        """Return what a checkpoint would hold: the object's state and its optimizer's.

        An object without ``state_dict`` is pickled as a whole.
        """
        if callable(getattr(self.target, "state_dict", None)):
            saved: Any = _copied(self.target.state_dict())
        else:
            saved = pickle.dumps(self.target)
        optimizer = copy.deepcopy(self.optimizer.state_dict()) if self.optimizer else None
        return saved, optimizer, self.epochs

    def restore(self, state: Any) -> None:
        """Continue from a :meth:`state`."""
        saved, optimizer, self.epochs = state
        if isinstance(saved, bytes):
            self.target = pickle.loads(saved)
        else:
            self.target.load_state_dict(saved)
        if self.optimizer is not None and optimizer is not None:
            self.optimizer.load_state_dict(optimizer)


def _own_parameters(target: Any, shared: nn.Parameter) -> list[nn.Parameter]:
    """Return the trained parameters of a module, without the shared one."""
    if not isinstance(target, nn.Module):
        return []
    return [p for p in target.parameters() if p.requires_grad and p is not shared]


def _copied(state: Any) -> Any:
    """Return a copy of a state, as a checkpoint holds it: tensors without their graphs."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return copy.deepcopy(state)


def _takes(target: Any, name: str, count: int) -> bool:
    """Return whether an object has a method that needs just so many arguments."""
    method = getattr(target, name, None)
    if not inspect.isroutine(method):
        return False
    parameters = parameters_of(method).values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    return len(required) <= count <= len(positional) and len(positional) == count
