"""The protocol of a weighting: a module from losses ``[T]`` to one scalar objective (as TorchJD's ``Scalarizer``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from mtl_runner.compat.torch_modules import parameters_in
from mtl_runner.errors import ConfigError
from mtl_runner.gradients.layout import laid_out
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task

Derivatives = tuple[Tensor, Tensor, Sequence[tuple[nn.Parameter, Tensor]]]
TINY = 1e-12  # floor of a loss inside a logarithm or under a fraction: a task solved exactly keeps a finite weight


class Weighting(nn.Module, ABC):
    """Base of all weightings.

    A subclass implements ``forward(losses, active)``: the losses of the *active* tasks ``[k]`` and their indices (None: all)
    to a scalar. What a task's loss is worth is then, for every weighting, the derivative of that objective. What only a few want to be
    told (norms of gradients, losses after the update, epochs) are methods of :mod:`~mtl_runner.weighting.protocols`.

    Args:
        tasks: the tasks, in the order of the losses.
        lr: learning rate of the weighting's own parameters; None trains them with the model's optimizer settings.

    Runs with a weighting stack (``torch.func.vmap`` over replicas) if it says so by ``replica_options``. Then ``forward`` is pure tensor code in
    eval mode, without randomness, whatever it keeps of the losses is told to ``accumulate``, and the values of the options
    that ``replica_options`` names lie in parameters and buffers (or are ``lr``).
    """

    lr: float | None = None
    negative_losses: str = ""  # what becomes of the weights if a loss is negative, for a weighting that is not made for it
    anneal: bool = False  # whether `lr` falls to 0 over the last 30 % of the run
    replica_options: tuple[str, ...] | None = (
        None  # the options in which replicas of a stack may differ; None: runs with it do not stack
    )

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self._trained: list[nn.Parameter] | None = None
        self.all_active = Active.all(len(self.tasks))

    @abstractmethod
    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """The objective of the active tasks' losses ``[k]``, a scalar."""

    def weigh(self, losses: Tensor, active: Active | None = None) -> tuple[Tensor, Tensor]:
        """Weights ``[T]`` = d objective / d losses (0 for idle tasks) and the objective, by autograd on T numbers.

        The weighting's own parameters get their gradient here too; those of idle tasks get None, so that an optimizer leaves
        them and their clock alone.
        """
        active = None if active is None else active.none_if_all
        values = losses.detach()
        self.prepare(values, active)
        if active is not None:
            values = values[active.index(losses.device)]
        known = self.derivatives(values, active) if self._formulas_hold else None
        if known is not None:
            objective, weights, slopes = known
            if active is not None:
                for parameter in self._own():
                    parameter.grad = None
                weights = torch.zeros_like(losses).index_copy(
                    0, active.index(losses.device), weights
                )
            for parameter, slope in slopes:
                parameter.grad = slope
            return weights, objective
        values.requires_grad_()
        objective = self(values, active)
        if objective.dim() or not objective.requires_grad:
            raise ConfigError(
                f"The weighting {type(self).__name__} must return a scalar that depends on the losses by PyTorch operations; "
                f"it returned shape {tuple(objective.shape)}{'' if objective.requires_grad else ', detached from them'}."
            )
        own = self._own()
        if own:
            weights, *gradients = torch.autograd.grad(objective, [values, *own], allow_unused=True)
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = laid_out(gradient, parameter)
        else:
            (weights,) = torch.autograd.grad(objective, [values])
        if active is not None:
            weights = torch.zeros_like(losses).index_copy(0, active.index(losses.device), weights)
        return weights, objective.detach()

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives | None:
        """The objective and its derivatives from formulas, for a weighting that has some; None: autograd finds them.

        Args:
            losses: Of the active tasks, ``[k]``, without a graph.
            active: Their indices; None: all.

        Returns:
            The objective, its derivatives with respect to the losses ``[k]``, and (parameter, derivative) for each of the weighting's
            own trained parameters that the active tasks reach.
        """
        del losses, active
        return None

    @cached_property
    def _formulas_hold(self) -> bool:
        """Whether :meth:`derivatives` are those of this class's ``forward``, not of one that a subclass has replaced."""
        first = {
            name: next(i for i, c in enumerate(type(self).__mro__) if name in vars(c))
            for name in ("derivatives", "forward")
        }
        return first["derivatives"] <= first["forward"]

    def prepare(self, losses: Tensor, active: Active | None = None) -> None:
        """Set what depends on the losses ``[T]``, such as an initial log-variance; called before every step."""

    @staticmethod
    def _active(parameters: nn.ParameterList, active: Active | None) -> list[Tensor]:
        """The parameters of the active tasks, from a list with one per task."""
        everyone = parameters_in(parameters)
        return list(everyone) if active is None else [everyone[i] for i in active.tasks]

    def _own(self) -> list[nn.Parameter]:
        """The trained parameters, looked up once."""
        if self._trained is None:
            self._trained = [p for p in self.parameters() if p.requires_grad]
        return self._trained


class Foreign(Weighting):
    """Wraps any other module from ``[k]`` losses to a scalar, such as a ``torchjd.scalarization.Scalarizer``.

    A module without state gets the losses of the active tasks; one with state cannot know which tasks are idle, so an idle
    task is a ``ConfigError`` (its state would drift).
    """

    def __init__(self, tasks: Sequence[Task], module: nn.Module) -> None:
        super().__init__(tasks)
        self.module = module
        for call in ("step", "update"):
            if callable(
                getattr(module, call, None)
            ):  # TorchJD's DWA and FAMO: without these calls they are equal weights
                raise ConfigError(
                    f"The weighting {type(module).__name__} wants its `{call}()` called while training, which mtl-run does not do; "
                    "without it the weights would never move, so choose a weighting of mtl-run's own."
                )
        stateful_torchjd = any(base.__name__ == "Stateful" for base in type(module).__mro__)
        self.stateful = stateful_torchjd or any(
            True for _ in (*module.parameters(), *module.buffers())
        )

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        if active is not None and self.stateful:
            idle = next(task.name for i, task in enumerate(self.tasks) if i not in active.tasks)
            raise ConfigError(
                f"The weighting {type(self.module).__name__} keeps a state per task and cannot leave out the idle task {idle!r}; "
                "use one of mtl-run's own weightings with schedules and missing labels."
            )
        objective: Tensor = self.module(losses)
        return objective
