"""torch.optim on stacked tensors: one optimizer for neighbours with equal settings."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import stepper
from mtl_runner.experiment.build import Experiment, make_schedulers
from mtl_runner.experiment.own_optimizers import SETTLING

# Those that treat every element by itself, so that a stack of tensors is to them what its slices are.
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
CLOCKS = (
    "step",
    "mu_product",
)  # entries of an optimizer's state that have no element per element of the parameter
NONE: frozenset[str] = frozenset()


class ReplicaOptimizer:
    """Neighbouring replicas with equal settings, which one optimizer serves on views of the stacked tensors.

    Every replica keeps the optimizer that it was built with, its twin: the twins say what ours is, give it the state of their
    checkpoints, and take its state up for the next ones.

    Args:
        part: of the stack (``model``, ``likelihood`` or ``weighting``). stacked: its parameters by name, ``[S, ...]``.
        first: the block's first replica. experiments: of its replicas. twins: their optimizers, over the same parameters in the same
            order. tasks: whose weighted losses they follow; None: all. anneal: the rate that falls to 0 at the end of the run, if any.
    """

    def __init__(
        self,
        part: str,
        stacked: Mapping[str, Tensor],
        first: int,
        experiments: Sequence[Experiment],
        twins: Sequence[Optimizer],
        tasks: tuple[int, ...] | None = None,
        anneal: float | None = None,
    ) -> None:
        self.part, self.first, self.last, self.twins = part, first, first + len(twins), list(twins)
        self.tasks, self.anneal = tasks, anneal
        names = {p: name for name, p in getattr(experiments[0].learner, part).named_parameters()}
        self.views = {
            names[p]: nn.Parameter(stacked[names[p]][first : self.last])
            for p in parameters_of(twins[0])
        }
        self.optimizer = _like(twins[0], {p: self.views[names[p]] for p in parameters_of(twins[0])})
        self.scheduler: Any = None
        self.schedulers = [
            _scheduler_of(e, twin) for e, twin in zip(experiments, twins, strict=True)
        ]
        if self.schedulers[0] is not None:
            (self.scheduler,) = make_schedulers(experiments[0].settings, [self.optimizer])
        self._step = stepper(self.optimizer)

    def begin_epoch(self, done: float) -> None:
        """Set an annealed rate for an epoch that begins when ``done`` (0 to 1) of the run is over."""
        if self.anneal is not None:
            self.optimizer.param_groups[0]["lr"] = self.anneal * min(1.0, (1 - done) / SETTLING)

    def step(self, gradients: Mapping[str, Tensor], idle: frozenset[str] = NONE) -> None:
        """One step with the stack's gradients ``{name: [S, ...]}``; an idle parameter has none."""
        for name, view in self.views.items():
            # Fused optimizers read a gradient as if it were laid out like its parameter, which a part of another tensor is not.
            view.grad = (
                None if name in idle else gradients[name][self.first : self.last].contiguous()
            )
        self._step()

    def step_scheduler(self) -> None:
        """Step the learning-rate scheduler, once per epoch."""
        if self.scheduler is not None:
            with warnings.catch_warnings():
                # The optimizer of a task that has not started yet has not stepped, and that is as it should be.
                warnings.filterwarnings(
                    "ignore", message=r"Detected call of `lr_scheduler.step\(\)` before"
                )
                self.scheduler.step()

    def export_state(self, only: int | None = None) -> None:
        """Copy state, settings and the scheduler's clock into each replica's own optimizer, or into that of one replica."""
        clock = self.scheduler.state_dict() if self.scheduler is not None else None
        for index, twin in enumerate(self.twins):
            if only is not None and self.first + index != only:
                continue
            for view, parameter in zip(self.views.values(), parameters_of(twin), strict=True):
                state = self.optimizer.state.get(view)
                if state:
                    twin.state[parameter] = {
                        key: _part(key, value, index) for key, value in state.items()
                    }
            for group, own in zip(twin.param_groups, self.optimizer.param_groups, strict=True):
                group.update({key: value for key, value in own.items() if key != "params"})
            if clock is not None:
                self.schedulers[index].load_state_dict(clock)

    def import_state(self) -> None:
        """Take up what the replicas' own optimizers were given by their checkpoints."""
        for position, view in enumerate(self.views.values()):
            owned = [parameters_of(twin)[position] for twin in self.twins]
            states = [twin.state.get(p) for twin, p in zip(self.twins, owned, strict=True)]
            if states[0]:
                self.optimizer.state[view] = {
                    key: _together(key, [s[key] for s in states if s]) for key in states[0]
                }
        for own, group in zip(self.optimizer.param_groups, self.twins[0].param_groups, strict=True):
            own.update({key: value for key, value in group.items() if key != "params"})
        if self.scheduler is not None:
            self.scheduler.load_state_dict(self.schedulers[0].state_dict())


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All of an optimizer's parameters, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def settings_of(optimizer: Optimizer) -> str:
    """Its class and settings, as a text to compare."""
    return f"{type(optimizer)} {[{k: v for k, v in group.items() if k != 'params'} for group in optimizer.param_groups]}"


def _like(twin: Optimizer, views: Mapping[Tensor, nn.Parameter]) -> Optimizer:
    """An optimizer of the same class and settings as it was made with (a scheduler may have changed its rates already)."""
    known = inspect.signature(type(twin)).parameters
    groups: list[dict[str, Any]] = []
    for group in twin.param_groups:
        options = {key: group[key] for key in known if key in group and key != "params"}
        options["lr"] = group.get("initial_lr", group["lr"])
        groups.append({"params": [views[p] for p in group["params"]], **options})
    return type(twin)(groups, **{key: value for key, value in groups[0].items() if key != "params"})


def _scheduler_of(experiment: Experiment, optimizer: Optimizer) -> Any:
    return next((s for s in experiment.lr_schedulers if s.optimizer is optimizer), None)


def _part(key: str, value: Any, index: int) -> Any:
    """One replica's part of an entry of the state."""
    if not isinstance(value, Tensor):
        return value
    return (value if key in CLOCKS else value[index]).clone()


def _together(key: str, values: Sequence[Any]) -> Any:
    if not isinstance(values[0], Tensor):
        return values[0]
    return values[0].clone() if key in CLOCKS else torch.stack(list(values))
