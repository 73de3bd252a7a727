"""The protocol of a weighting: a module from losses ``[T]`` to one scalar objective.

It is the protocol of TorchJD's ``Scalarizer``, with one addition: a weighting knows which tasks are
active.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from mtl_runner.compat.torch_modules import parameters_of_list
from mtl_runner.errors import ConfigError
from mtl_runner.gradients.layout import laid_out_like
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

# The objective, its derivatives with respect to the losses, and those of the trained parameters.
Derivatives = tuple[Tensor, Tensor, Sequence[tuple[nn.Parameter, Tensor]]]

# The floor of a loss in a logarithm or a denominator: a solved task keeps a finite weight.
TINY = 1e-12


class Weighting(nn.Module, ABC):
    """Base class of all weightings: a module from the losses of a batch to one objective.

    A subclass implements :meth:`forward`. The weight of a task is then, for every weighting, the
    derivative of that objective with respect to the task's loss, which :meth:`weigh` computes.
    A weighting that learns from more than the losses of a step (norms of gradients, losses after
    the update, whole epochs) has the methods of a class in
    :mod:`mtl_runner.weighting.protocols`.

    A weighting can be trained in a stack (``torch.func.vmap`` over replicas) if it sets
    ``replica_options``. Then :meth:`forward` is pure tensor code in eval mode, without randomness;
    a weighting that remembers losses takes note of them in ``accumulate``; and the values of the
    options that ``replica_options`` names are held in parameters and buffers (or are ``lr``).

    Args:
        tasks: The tasks, in the order of the losses.

    Attributes:
        lr: Learning rate of the weighting's own parameters; None trains them with the settings of
            the model's optimizer.
        negative_losses: How the weights react to a negative loss, as the end of a sentence; empty
            for a weighting that is made for negative losses, too.
        anneal: Whether ``lr`` falls to 0 over the last 30 % of the run.
        smallest_slope: The ``eps`` of that Adam: derivatives far below it hardly move the own
            parameters. It is 0.001 for log scales, whose derivatives are numbers of size 1.
        replica_options: The options in which the replicas of a stack may differ; None if runs with
            this weighting cannot be stacked.
        needs_losses: Whether the weights of a step depend on its losses. A class that sets it to
            False spares ``trainer.accumulate`` a pass over the batch.
        norms_come_first: Whether a weighting that observes norms of gradients gets those of a step
            before it is asked for the weights of that step; else after it.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Weighting
        >>> class SquareRoots(Weighting):
        ...     def forward(self, losses, active=None):
        ...         return losses.sqrt().sum()
        >>> weighting = SquareRoots([Task("depth"), Task("normals")])
        >>> weights, objective = weighting.weigh(torch.tensor([4.0, 1.0]))
        >>> weights, objective
        (tensor([0.2500, 0.5000]), tensor(3.))
    """

    lr: float | None = None
    negative_losses: str = ""
    anneal: bool = False
    smallest_slope: float = 1e-8
    replica_options: tuple[str, ...] | None = None
    needs_losses: bool = True
    norms_come_first: bool = False

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.all_active = Active.all(len(self.tasks))

    @abstractmethod
    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective, a scalar that depends on the losses by PyTorch operations.

        Args:
            losses: The losses of the active tasks, shape ``[k]``.
            active: Which tasks these are; None if all T tasks are active.
        """

    def weigh(self, losses: Tensor, active: Active | None = None) -> tuple[Tensor, Tensor]:
        """Return the weights and the objective for the losses of a batch.

        The weights are d objective / d losses, by autograd on T numbers. The weighting's own
        parameters get their gradients here, too; those of idle tasks get None, so that an optimizer
        leaves both the parameters and their clock alone.

        Args:
            losses: The losses of all tasks, shape ``[T]``.
            active: Which tasks are active; None if all are.

        Returns:
            The weights ``[T]``, 0 for idle tasks, and the objective, a scalar; both without a
            graph.

        Raises:
            ConfigError: If :meth:`forward` does not return a scalar that depends on the losses.
        """
        active = None if active is None else active.none_if_all
        values = losses.detach()
        self.prepare(values, active)
        if active is not None:
            values = values[active.index(losses.device)]
        derivatives = self.derivatives(values, active) if self._formulas_hold else None
        if derivatives is None:
            weights, objective = self._differentiate(values, active)
        else:
            objective, weights, slopes = derivatives
            if active is not None:
                for parameter in self._trained_parameters:
                    parameter.grad = None
            for parameter, slope in slopes:
                parameter.grad = slope
        if active is not None:
            weights = torch.zeros_like(losses).index_copy(0, active.index(losses.device), weights)
        return weights, objective

    @property
    def is_frozen(self) -> bool:
        """Whether the weights do not change any more, so that nothing is measured for them."""
        return False

    @property
    def uses_losses(self) -> bool:
        """Whether the weights of a step depend on its losses, or may: a subclass has to say no."""
        return bool(vars(type(self)).get("needs_losses", True))

    def weights_ahead(self, active: Active) -> Tensor:
        """Return the weights ``[T]`` of a step before its losses are known.

        Args:
            active: Which tasks are active.

        Example:
            >>> from mtl_runner.weighting import Fixed
            >>> Fixed([Task("a"), Task("b")], {"a": 2.0}).weights_ahead(Active.all(2))
            tensor([2., 1.])
        """
        like = next(self.buffers())
        training = self.training
        # In evaluation mode it keeps no losses.
        self.eval()
        try:
            return self.weigh(like.new_ones(len(self.tasks)), active)[0]
        finally:
            self.train(training)

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives | None:
        """Return the objective and its derivatives by formula, or None to have autograd find them.

        A weighting may override this to be faster than autograd.

        Args:
            losses: The losses of the active tasks, shape ``[k]``, without a graph.
            active: Which tasks these are; None if all T tasks are active.

        Returns:
            The objective; its derivatives with respect to the losses, shape ``[k]``; and a pair
            (parameter, derivative) for each of the weighting's own trained parameters that the
            active tasks reach.
        """
        del losses, active
        return None

    def prepare(self, losses: Tensor, active: Active | None = None) -> None:
        """Set what depends on the losses ``[T]``, such as an initial log-variance.

        It is called before every step.
        """

    def _differentiate(self, values: Tensor, active: Active | None) -> tuple[Tensor, Tensor]:
        """Return weights ``[k]`` and objective by autograd, and set the parameters' gradients."""
        values.requires_grad_()
        objective = self(values, active)
        if objective.dim() or not objective.requires_grad:
            raise ConfigError(
                f"The weighting {type(self).__name__} must return a scalar that depends on the losses by PyTorch operations; "
                f"it returned shape {tuple(objective.shape)}{'' if objective.requires_grad else ', detached from them'}."
            )
        parameters = self._trained_parameters
        if parameters:
            weights, *gradients = torch.autograd.grad(
                objective, [values, *parameters], allow_unused=True
            )
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = laid_out_like(gradient, parameter)
        else:
            (weights,) = torch.autograd.grad(objective, [values])
        return weights, objective.detach()

    @cached_property
    def _formulas_hold(self) -> bool:
        """Whether :meth:`derivatives` belongs to this ``forward``, not to one it replaced."""
        depth = {
            name: next(i for i, c in enumerate(type(self).__mro__) if name in vars(c))
            for name in ("derivatives", "forward")
        }
        return depth["derivatives"] <= depth["forward"]

    @cached_property
    def _trained_parameters(self) -> list[nn.Parameter]:
        """The weighting's own parameters that are trained, looked up once."""
        return [p for p in self.parameters() if p.requires_grad]

    @staticmethod
    def _parameters_of(parameters: nn.ParameterList, active: Active | None) -> list[Tensor]:
        """Return the parameters of the active tasks, from a list with one per task."""
        by_task = parameters_of_list(parameters)
        return list(by_task) if active is None else [by_task[i] for i in active.tasks]


class WrappedScalarizer(Weighting):
    """Use any module from losses ``[k]`` to a scalar as a weighting.

    ``mtl-run`` wraps every weighting that is not a :class:`Weighting` by itself, such as a
    ``torchjd.scalarization.Scalarizer``. A module without state gets the losses of the active
    tasks. A module with state cannot know which tasks are idle, and its state would drift, so an
    idle task is an error there.

    Args:
        tasks: The tasks, in the order of the losses.
        module: The module to wrap.

    Raises:
        ConfigError: If the module wants a call of its ``step()`` or ``update()`` while training, as
            TorchJD's DWA and FAMO do: without these calls they are equal weights.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import WrappedScalarizer
        >>> class Largest(torch.nn.Module):
        ...     def forward(self, losses):
        ...         return losses.max()
        >>> weighting = WrappedScalarizer([Task("depth"), Task("normals")], Largest())
        >>> weighting.weigh(torch.tensor([4.0, 1.0]))
        (tensor([1., 0.]), tensor(4.))
    """

    def __init__(self, tasks: Sequence[Task], module: nn.Module) -> None:
        super().__init__(tasks)
        self.module = module
        for call in ("step", "update"):
            if callable(getattr(module, call, None)):
                raise ConfigError(
                    f"The weighting {type(module).__name__} wants its `{call}()` called while training, which mtl-run does not do; "
                    "without it the weights would never move, so choose a weighting of mtl-run's own."
                )
        stateful_torchjd = any(base.__name__ == "Stateful" for base in type(module).__mro__)
        self.stateful = stateful_torchjd or any(
            True for _ in (*module.parameters(), *module.buffers())
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the scalar that the module makes of the active tasks' losses ``[k]``.

        Raises:
            ConfigError: If a task is idle and the module has a state.
        """
        if active is not None and self.stateful:
            idle = next(task.name for i, task in enumerate(self.tasks) if i not in active.tasks)
            raise ConfigError(
                f"The weighting {type(self.module).__name__} keeps a state per task and cannot leave out the idle task {idle!r}; "
                "use one of mtl-run's own weightings with schedules and missing labels."
            )
        objective: Tensor = self.module(losses)
        return objective
