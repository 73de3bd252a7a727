"""The ways in which a weighting or aggregator is called, and how one is recognised.

Every way gives the same two things, whatever the class returns: the direction that it makes of the
gradients of the losses, and its objective. The problem is laid so that they can be read off: each
loss is ``value + row · shared`` with a shared parameter of 0, so that its value and its gradient
are any that a check wants.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.conform.subject import (
    PARAMETER,
    PARAMETERS,
    Subject,
    first_line,
    parameters_of,
    task_names,
)
from mtl_runner.errors import ConfigError
from mtl_runner.weighting.base import Weighting
from mtl_runner.weighting.protocols import ObservesGradients, ObservesNorms, ObservesTraces

TRIAL_TASKS = 3


class Interface(ABC):
    """A way to call the object under test at every step.

    Attributes:
        text: What is called with what, for the card.
        averages_ranks: Whether its losses are those of the whole batch, on however many ranks.
    """

    text: str
    averages_ranks = False

    @abstractmethod
    def direction(
        self, target: Any, values: Tensor, rows: Tensor, shared: nn.Parameter
    ) -> tuple[Tensor, float]:
        """Return the direction ``[P]`` over the shared parameter, and the objective.

        Args:
            target: The object under test.
            values: The losses of the step, shape ``[T]``.
            rows: The gradient of every loss over ``shared``, shape ``[T, P]``.
            shared: The shared parameter, 0, shape ``[P]``.

        Returns:
            The direction; and the objective, NaN where the class has none.
        """

    def as_losses(self, losses: Tensor) -> Any:
        """Return losses ``[T]`` as a further method of the object takes them."""
        return losses


class OwnWeighting(Interface):
    """A :class:`~mtl_runner.weighting.Weighting`, called as a run of mtl-runner calls it."""

    text = "weigh(losses [T]), with the norms, losses and epochs that its protocols ask for"
    averages_ranks = True

    def direction(
        self, target: Any, values: Tensor, rows: Tensor, shared: nn.Parameter
    ) -> tuple[Tensor, float]:
        """Return the rows weighed by :meth:`~mtl_runner.weighting.Weighting.weigh`."""
        del shared
        norms, sizes = rows.norm(dim=1), rows.abs()
        norms_first = getattr(target, "norms_come_first", False)
        if isinstance(target, ObservesNorms) and norms_first:
            target.observe_norms(norms, values)
        if isinstance(target, ObservesGradients) and target.measures_now():
            target.observe_gradients(sizes.amax(1), sizes.mean(1))
        if isinstance(target, ObservesTraces) and target.measures_now():
            target.observe_traces(norms.square())
        weights, objective = target.weigh(values)
        if isinstance(target, ObservesNorms) and not norms_first:
            target.observe_norms(norms, values)
        return weights @ rows, objective.item()


@dataclass(frozen=True)
class Form:
    """How losses are handed over.

    Attributes:
        text: The form in words.
        arguments: Makes the positional arguments from losses ``[T]``.
    """

    text: str
    arguments: Callable[[Tensor], tuple[Any, ...]]


def _by_name(losses: Tensor) -> dict[str, Tensor]:
    return dict(zip(task_names(len(losses)), losses.unbind(), strict=True))


FORMS = (
    Form("losses [T]", lambda losses: (losses,)),
    Form("a list of T losses", lambda losses: (list(losses.unbind()),)),
    Form("T losses", lambda losses: losses.unbind()),
    Form("{task: loss}", lambda losses: (_by_name(losses),)),
    Form(
        "{task: loss}, {task: 1.0}",
        lambda losses: (_by_name(losses), dict.fromkeys(task_names(len(losses)), 1.0)),
    ),
)


class OfLosses(Interface):
    """A function of the losses that returns an objective, weighted losses or weights.

    Args:
        method: The name of the method; empty: the object itself.
        form: How the losses are handed over.
    """

    def __init__(self, method: str, form: Form) -> None:
        self.method, self.form = method, form
        self.text = f"{method or 'object'}({form.text})"

    def direction(
        self, target: Any, values: Tensor, rows: Tensor, shared: nn.Parameter
    ) -> tuple[Tensor, float]:
        """Return the gradient of the objective over the shared parameter.

        Raises:
            TypeError: If what the call returns is no objective, no weighted losses and no weights.
        """
        losses = values.detach() + rows @ shared
        result = self._call(target, losses, shared)
        objective = objective_of(result, losses)
        objective.backward()  # type: ignore[no-untyped-call]
        first = result[0] if isinstance(result, tuple) else result
        is_given = isinstance(first, Tensor) and first.numel() == 1
        return _taken(shared), objective.item() if is_given else math.nan

    def as_losses(self, losses: Tensor) -> Any:
        """Return losses in the form in which the object takes them."""
        return self.form.arguments(losses)[0] if self.form is not FORMS[2] else losses

    def _call(self, target: Any, losses: Tensor, shared: nn.Parameter) -> Any:
        function = getattr(target, self.method) if self.method else target
        extra: dict[str, Any] = {}
        for name, parameter in parameters_of(function).items():
            if parameter.default is parameter.empty and name in PARAMETER | PARAMETERS:
                extra[name] = shared if name in PARAMETER else [shared]
        return function(*self.form.arguments(losses), **extra)


class Backward(OfLosses):
    """A method ``backward`` that sets the gradients itself, as GradNorm's often does."""

    def direction(
        self, target: Any, values: Tensor, rows: Tensor, shared: nn.Parameter
    ) -> tuple[Tensor, float]:
        """Return what the method leaves in the gradient of the shared parameter.

        Raises:
            TypeError: If it leaves nothing there.
        """
        self._call(target, values.detach() + rows @ shared, shared)
        return _taken(shared), math.nan


class OfRows(Interface):
    """A function of the gradients ``[T, P]`` that returns a direction ``[P]`` or T weights."""

    def __init__(self, method: str = "", gramian: bool = False) -> None:
        self.method, self.gramian = method, gramian
        self.text = f"{method or 'object'}({'Gramian [T, T]' if gramian else 'gradients [T, P]'})"

    def direction(
        self, target: Any, values: Tensor, rows: Tensor, shared: nn.Parameter
    ) -> tuple[Tensor, float]:
        """Return the direction, or the rows with the weights that the call returns.

        Raises:
            TypeError: If the call returns neither.
        """
        del values, shared
        function = getattr(target, self.method) if self.method else target
        result = function(rows @ rows.T if self.gramian else rows)
        if not isinstance(result, Tensor) or result.dim() != 1:
            raise TypeError("the call returned no vector")
        if len(result) == rows.shape[1] and not self.gramian:
            return result.detach(), math.nan
        if len(result) == len(rows):
            return result.detach() @ rows, math.nan
        raise TypeError(f"the call returned a vector of {len(result)} numbers")


def objective_of(result: Any, losses: Tensor) -> Tensor:
    """Return the objective, a scalar, in what a function of losses has returned.

    Args:
        result: An objective, T weighted losses, or T weights; a tuple counts by its first entry if
            that is a tensor which depends on the losses.
        losses: The losses, shape ``[T]``.

    Raises:
        TypeError: If it is none of these.

    Example:
        >>> losses = torch.tensor([2.0, 3.0], requires_grad=True)
        >>> objective_of(torch.tensor([0.5, 1.0]), losses).item()
        4.0
    """
    if isinstance(result, tuple | list) and result and isinstance(result[0], Tensor):
        first = result[0]
        result = torch.stack(list(result)) if len(result) == len(losses) else first
    if not isinstance(result, Tensor):
        result = torch.as_tensor(result, dtype=losses.dtype)
    if result.requires_grad:
        (slope,) = torch.autograd.grad(result.sum(), losses, retain_graph=True, allow_unused=True)
        if slope is not None:
            total: Tensor = result.sum()
            return total
    if result.numel() != len(losses):
        raise TypeError(f"the call returned {result.numel()} numbers that no loss has a part in")
    return torch.dot(result.detach().to(losses).flatten(), losses)


def recognise(subject: Subject, wants_rows: bool) -> Interface:
    """Return how an object is called, by trying it on three tasks.

    Args:
        subject: The class or function.
        wants_rows: Whether its method works on gradients: a call with them is then tried first.

    Raises:
        ConfigError: If it takes nothing that is known.

    Example:
        >>> from mtl_runner.conform.subject import load_subject
        >>> recognise(load_subject("torchjd.aggregation.MGDA", {}), wants_rows=True).text
        'object(gradients [T, P])'
    """
    size = TRIAL_TASKS + 2
    shared = nn.Parameter(torch.zeros(size))
    target = subject.make(TRIAL_TASKS, shared)
    if isinstance(target, Weighting):
        return OwnWeighting()
    reasons: dict[str, str] = {}
    for interface in _candidates(subject, target, wants_rows):
        shared = nn.Parameter(torch.zeros(size))
        target = subject.make(TRIAL_TASKS, shared)
        values = torch.tensor([1.0, 2.0, 0.5])
        try:
            direction, _ = interface.direction(target, values, torch.eye(TRIAL_TASKS, size), shared)
            if direction.shape != (size,):
                raise TypeError(f"the gradient has the shape {tuple(direction.shape)}")
        except Exception as error:  # somebody else's code may raise anything
            reasons.setdefault(interface.text, first_line(error))
            continue
        return interface
    tried = "; ".join(f"{text}: {reason}" for text, reason in list(reasons.items())[:3])
    raise ConfigError(
        f"{subject.path} takes neither losses nor gradients in a way that mtl-conform knows ({tried}); name its method with --call NAME, or wrap it in a function of losses [T] or of gradients [T, P]."
    )


def _candidates(subject: Subject, target: Any, wants_rows: bool) -> Iterable[Interface]:
    name = subject.method
    if not name and callable(getattr(target, "backward", None)):
        yield from (Backward("backward", form) for form in FORMS)
    rows = [OfRows(name), OfRows(name, gramian=True)]
    function = getattr(target, name) if name else getattr(target, "forward", target)
    forms = list(FORMS)
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters_of(function).values()):
        forms.insert(0, forms.pop(2))
    losses = [(Backward if name == "backward" else OfLosses)(name, form) for form in forms]
    yield from (*rows, *losses) if wants_rows else (*losses, *rows)


def _taken(shared: nn.Parameter) -> Tensor:
    """Return the gradient of the shared parameter, and clear it."""
    gradient, shared.grad = shared.grad, None
    if gradient is None:
        raise TypeError("the call left no gradient")
    return gradient.detach().clone()
