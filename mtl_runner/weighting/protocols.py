"""Optional protocols of weightings that learn from more than the losses of a step.

A weighting that has the methods of a protocol gets its calls; it needs no base class for that.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from mtl_runner.tasks.activity import Active


@runtime_checkable
class ObservesNorms(Protocol):
    """A weighting that learns from the norms of the tasks' gradients, such as GradNorm.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import FAMO, GradNorm
        >>> tasks = [Task("depth"), Task("normals")]
        >>> isinstance(GradNorm(tasks), ObservesNorms), isinstance(FAMO(tasks), ObservesNorms)
        (True, False)
    """

    def observe_norms(self, norms: Tensor, losses: Tensor, active: Active | None = None) -> None:
        """Learn from a batch before the update.

        Args:
            norms: The norm of the gradient of every task's unweighted loss at the last shared
                weight tensor, shape ``[T]``; 0 for idle tasks.
            losses: The losses of the batch, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        ...


@runtime_checkable
class LearnsFromNorms(ObservesNorms, Protocol):
    """A weighting that observes norms, and can do so for all replicas of a stack at once.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import GradNorm
        >>> isinstance(GradNorm([Task("depth"), Task("normals")]), LearnsFromNorms)
        True
    """

    def learn_from_norms(
        self, norms: Tensor, losses: Tensor, active: Active | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return what :meth:`observe_norms` sets, in pure tensor code.

        Args:
            norms: The norm of the gradient of every task's unweighted loss, shape ``[T]``.
            losses: The losses of the batch, shape ``[T]``.
            active: Which tasks are active; None if all are.

        Returns:
            The new values of the weighting's parameters and buffers by name, and the gradients of
            the active tasks' parameters, one scalar per task, shape ``[k]``.
        """
        ...


@runtime_checkable
class ObservesGradients(Protocol):
    """A weighting that learns from the entries of the tasks' gradients, such as LRAnnealing.

    It says at every step whether they are measured, which costs a backward pass per task.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import GradNorm, LRAnnealing
        >>> tasks = [Task("residual"), Task("boundary")]
        >>> isinstance(LRAnnealing(tasks), ObservesGradients)
        True
        >>> isinstance(GradNorm(tasks), ObservesGradients)
        False
    """

    def measures_now(self) -> bool:
        """Return whether this step measures gradients, and count the step."""
        ...

    def observe_gradients(
        self, largest: Tensor, mean: Tensor, active: Active | None = None
    ) -> None:
        """Learn from a batch, before the weights of its step are computed.

        Args:
            largest: The largest entry of the gradient of every task's unweighted loss at the shared
                parameters, without its sign, shape ``[T]``; 0 for idle tasks.
            mean: The mean of the entries without their signs, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        ...


@runtime_checkable
class ObservesTraces(Protocol):
    """A weighting that learns from the tasks' neural tangent kernels, such as NTK.

    It says at every step whether their traces are measured, which costs about a backward pass per
    output of a row.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import NTK, LRAnnealing
        >>> tasks = [Task("depth"), Task("normals")]
        >>> isinstance(NTK(tasks), ObservesTraces), isinstance(LRAnnealing(tasks), ObservesTraces)
        (True, False)
    """

    def measures_now(self) -> bool:
        """Return whether this step measures the traces, and count the step."""
        ...

    def observe_traces(self, traces: Tensor, active: Active | None = None) -> None:
        """Learn from a batch, before the weights of its step are computed.

        Args:
            traces: The mean of the diagonal of every task's kernel, shape ``[T]``; 0 for tasks
                without labels.
            active: Which tasks are active; None if all are.
        """
        ...


@runtime_checkable
class DrawsNumbers(Protocol):
    """A weighting that draws random numbers at every step, such as ``Random``.

    In a stack they are drawn before the step, with the generator of every replica.

    Attributes:
        draws_ahead: Whether the numbers of a step are those of the last :meth:`draw`; else they are
            drawn when the step asks for them.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Fixed, Random
        >>> tasks = [Task("depth"), Task("normals")]
        >>> isinstance(Random(tasks), DrawsNumbers), isinstance(Fixed(tasks), DrawsNumbers)
        (True, False)
    """

    draws_ahead: bool

    def draw(self) -> None:
        """Draw the numbers of the next step into a buffer."""
        ...


@runtime_checkable
class ObservesLosses(Protocol):
    """A weighting that learns from a batch's losses before and after the update, such as FAMO.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import FAMO, GradNorm
        >>> tasks = [Task("depth"), Task("normals")]
        >>> isinstance(FAMO(tasks), ObservesLosses), isinstance(GradNorm(tasks), ObservesLosses)
        (True, False)
    """

    def observe_losses(self, before: Tensor, after: Tensor, active: Active | None = None) -> None:
        """Set the gradients of the weighting's own parameters.

        Args:
            before: The losses of a batch before the update, shape ``[T]``.
            after: The losses of the same batch after the update, shape ``[T]``.
            active: Which tasks took part in the update; None if all T did.
        """
        ...

    def gradients(self, before: Tensor, after: Tensor, active: Active | None = None) -> Tensor:
        """Return the gradients of the active tasks' parameters, one scalar per task, shape ``[k]``.

        Args:
            before: The losses of a batch before the update, shape ``[T]``.
            after: The losses of the same batch after the update, shape ``[T]``.
            active: Which tasks took part in the update; None if all T did.
        """
        ...


@runtime_checkable
class KeepsLosses(Protocol):
    """A weighting that remembers the losses of an epoch, such as DWA.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import DWA, FAMO
        >>> tasks = [Task("depth"), Task("normals")]
        >>> isinstance(DWA(tasks), KeepsLosses), isinstance(FAMO(tasks), KeepsLosses)
        (True, False)
    """

    def accumulate(self, losses: Tensor, active: Active | None = None) -> None:
        """Take note of the active tasks' losses.

        Args:
            losses: The losses of one step, shape ``[k]``, or of n steps, shape ``[n, k]``.
            active: Which tasks these are; None if all T tasks are active.
        """
        ...

    def begin_epoch(self) -> None:
        """Close the last epoch and begin a new one; called at the start of every epoch."""
        ...


@runtime_checkable
class RemembersLosses(Protocol):
    """A weighting that takes note of the losses of every step, such as CoV-Weighting.

    In a stack it is told them after every step, since there it is in evaluation mode.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import DWA, CoV
        >>> tasks = [Task("depth"), Task("normals")]
        >>> isinstance(CoV(tasks), RemembersLosses), isinstance(DWA(tasks), RemembersLosses)
        (True, False)
    """

    def remember(
        self, losses: Tensor, weights: Tensor, active: Active | None = None
    ) -> dict[str, Tensor]:
        """Return the new values of the weighting's buffers by name, in pure tensor code.

        Args:
            losses: The losses of the active tasks in a step, shape ``[k]``.
            weights: Their weights in this step, shape ``[k]``.
            active: Which tasks these are; None if all T tasks are active.
        """
        ...
