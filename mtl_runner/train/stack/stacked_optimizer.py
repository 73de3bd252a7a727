"""``torch.optim`` on stacked tensors: one optimizer for neighbours with equal settings."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import step_function
from mtl_runner.experiment.build import Experiment
from mtl_runner.experiment.own_optimizers import SETTLING
from mtl_runner.experiment.schedulers import make_schedulers

# Optimizers that treat every element by itself: to them a stack of tensors is what its slices are.
ELEMENTWISE = (
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.SGD,
)
# Entries of an optimizer's state that have no element per element of the parameter.
CLOCKS = ("step", "mu_product")

NO_NAMES: frozenset[str] = frozenset()


class StackedOptimizer:
    """Serves neighbouring replicas with equal settings by one optimizer, on stacked tensors.

    Every replica keeps the optimizer that it was built with. These replica optimizers give the
    stacked one its class, its settings and the state of their checkpoints, and take its state up
    before the next ones are written.

    Args:
        part: Part of the stack: ``"model"``, ``"likelihood"`` or ``"weighting"``.
        stacked: Parameters of the part by name, ``[S, ...]``.
        first: Index of the first replica that is served.
        experiments: Experiments of the replicas that are served.
        replica_optimizers: Their optimizers, over the same parameters in the same order.
        tasks: Indices of the tasks whose weighted losses the parameters follow; None for all.
        annealed_lr: The learning rate that falls to 0 at the end of the run; None for a rate that
            is not annealed.
    """

    def __init__(
        self,
        part: str,
        stacked: Mapping[str, Tensor],
        first: int,
        experiments: Sequence[Experiment],
        replica_optimizers: Sequence[Optimizer],
        tasks: tuple[int, ...] | None = None,
        annealed_lr: float | None = None,
    ) -> None:
        self.part, self.replica_optimizers = part, list(replica_optimizers)
        self.first, self.end = first, first + len(replica_optimizers)
        self.tasks, self.annealed_lr = tasks, annealed_lr
        template = replica_optimizers[0]
        names = {p: name for name, p in getattr(experiments[0].learner, part).named_parameters()}
        self.views = {
            names[p]: nn.Parameter(stacked[names[p]][first : self.end])
            for p in parameters_of(template)
        }
        self.optimizer = _like(template, {p: self.views[names[p]] for p in parameters_of(template)})
        self.scheduler: Any = None
        self.replica_schedulers = [
            _scheduler_of(experiment, optimizer)
            for experiment, optimizer in zip(experiments, replica_optimizers, strict=True)
        ]
        if self.replica_schedulers[0] is not None:
            (self.scheduler,) = make_schedulers(experiments[0].settings, [self.optimizer])
        self._step = step_function(self.optimizer)

    def begin_epoch(self, done: float) -> None:
        """Set an annealed learning rate at the beginning of an epoch.

        Args:
            done: Share of the run that is over, 0 to 1.
        """
        if self.annealed_lr is not None:
            rate = self.annealed_lr * min(1.0, (1 - done) / SETTLING)
            self.optimizer.param_groups[0]["lr"] = rate

    def step(
        self, gradients: Mapping[str, Tensor], idle_parameters: frozenset[str] = NO_NAMES
    ) -> None:
        """Take one step of the replicas that are served.

        Args:
            gradients: Gradients of the stack by name, ``[S, ...]``.
            idle_parameters: Names of parameters that have no gradient in this step.
        """
        for name, view in self.views.items():
            # Fused optimizers want a gradient laid out like its parameter; a slice is not.
            view.grad = (
                None
                if name in idle_parameters
                else gradients[name][self.first : self.end].contiguous()
            )
        self._step()

    def step_scheduler(self) -> None:
        """Step the learning-rate scheduler, once per epoch."""
        if self.scheduler is not None:
            with warnings.catch_warnings():
                # The optimizer of a task that starts late has not stepped yet, which is no mistake.
                warnings.filterwarnings(
                    "ignore", message=r"Detected call of `lr_scheduler.step\(\)` before"
                )
                self.scheduler.step()

    def export_state(self, only: int | None = None) -> None:
        """Copy state, settings and the scheduler's state into the optimizers of the replicas.

        Args:
            only: Index of the only replica whose optimizer is updated; None for all.
        """
        clock = self.scheduler.state_dict() if self.scheduler is not None else None
        for index, optimizer in enumerate(self.replica_optimizers):
            if only is not None and self.first + index != only:
                continue
            for view, parameter in zip(self.views.values(), parameters_of(optimizer), strict=True):
                state = self.optimizer.state.get(view)
                if state:
                    optimizer.state[parameter] = {
                        key: _replica_entry(key, value, index) for key, value in state.items()
                    }
            for replica_group, group in zip(
                optimizer.param_groups, self.optimizer.param_groups, strict=True
            ):
                replica_group.update(
                    {key: value for key, value in group.items() if key != "params"}
                )
            if clock is not None:
                self.replica_schedulers[index].load_state_dict(clock)

    def import_state(self) -> None:
        """Take up the state that the optimizers of the replicas have from their checkpoints."""
        for position, view in enumerate(self.views.values()):
            parameters = [parameters_of(o)[position] for o in self.replica_optimizers]
            states = [
                optimizer.state.get(parameter)
                for optimizer, parameter in zip(self.replica_optimizers, parameters, strict=True)
            ]
            if states[0]:
                self.optimizer.state[view] = {
                    key: _stack_entry(key, [state[key] for state in states if state])
                    for key in states[0]
                }
        for group, replica_group in zip(
            self.optimizer.param_groups, self.replica_optimizers[0].param_groups, strict=True
        ):
            group.update({key: value for key, value in replica_group.items() if key != "params"})
        if self.scheduler is not None:
            self.scheduler.load_state_dict(self.replica_schedulers[0].state_dict())


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters of all groups of an optimizer, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def optimizer_key(optimizer: Optimizer) -> str:
    """Return a text that is equal for optimizers of equal class and settings.

    Example:
        >>> slow, fast = (torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr) for lr in (0.1, 1.0))
        >>> optimizer_key(slow) == optimizer_key(fast)
        False
    """
    return f"{type(optimizer)} {[{k: v for k, v in group.items() if k != 'params'} for group in optimizer.param_groups]}"


def _like(template: Optimizer, views: Mapping[Tensor, nn.Parameter]) -> Optimizer:
    """Return an optimizer of the class and settings with which another one was made.

    Its learning rates are the initial ones: a scheduler may have changed those of the template
    already.
    """
    known = inspect.signature(type(template)).parameters
    groups: list[dict[str, Any]] = []
    for group in template.param_groups:
        options = {key: group[key] for key in known if key in group and key != "params"}
        options["lr"] = group.get("initial_lr", group["lr"])
        groups.append({"params": [views[p] for p in group["params"]], **options})
    defaults = {key: value for key, value in groups[0].items() if key != "params"}
    return type(template)(groups, **defaults)


def _scheduler_of(experiment: Experiment, optimizer: Optimizer) -> Any:
    """Return the learning-rate scheduler of an optimizer; None if its rate is constant."""
    return next((s for s in experiment.lr_schedulers if s.optimizer is optimizer), None)


def _replica_entry(key: str, value: Any, index: int) -> Any:
    """Return one replica's part of an entry of the stacked optimizer's state."""
    if not isinstance(value, Tensor):
        return value
    return (value if key in CLOCKS else value[index]).clone()


def _stack_entry(key: str, values: Sequence[Any]) -> Any:
    """Return the stacked optimizer's entry made of those of the replicas."""
    if not isinstance(values[0], Tensor):
        return values[0]
    return values[0].clone() if key in CLOCKS else torch.stack(list(values))
