"""The parts of a model: what two tasks or more share, and what belongs to one task alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import Named
from mtl_runner.gradients.parameters import Parameters

SHARED = "shared"


def parts_of(parameters: Parameters, tasks: Sequence[Named]) -> dict[str, list[nn.Parameter]]:
    """The shared parameters and each task's private ones, by name, where there are any."""
    parts: dict[str, list[nn.Parameter]] = {SHARED: parameters.shared}
    for index, task in enumerate(tasks):
        private = [
            p
            for p, owner in zip(parameters.tensors, parameters.owners, strict=True)
            if owner == {index}
        ]
        parts[task.name] = parts.get(task.name, []) + private
    return {name: part for name, part in parts.items() if part}


def read_settings(
    value: Any, parts: Mapping[str, Any], tasks: Sequence[Named], key: str
) -> dict[str, dict[str, Any]]:
    """Settings per part, ``{shared: {lr: 0.001}, <task>: {...}}``.

    Raises:
        ConfigError: For anything else, naming the key: a part that is none, or that has no parameters.
    """
    for name, settings in {"": value, **(value if isinstance(value, Mapping) else {})}.items():
        if settings is not None and not isinstance(settings, Mapping):
            wanted = (
                "settings such as {lr: 0.01}"
                if name
                else "{shared: {lr: 0.001}, <task>: {lr: 0.01}}"
            )
            raise ConfigError(
                f"{key}{'.' if name else ''}{name} must be {wanted}; found {settings!r}."
            )
    for name in value or {}:
        known = [SHARED, *(task.name for task in tasks)]
        if name not in known:
            raise ConfigError(
                f"{key} names {name!r}, which is no part of the model; {suggest(name, known)}."
            )
        if name not in parts:
            what = (
                "no parameter is shared by two tasks"
                if name == SHARED
                else f"task {name!r} has no parameter of its own"
            )
            raise ConfigError(f"{key}.{name} is empty: {what}; leave it out.")
    return {name: dict(settings or {}) for name, settings in (value or {}).items()}


class PartSettings:
    """``optimizer.parts``: settings of the optimizer for single parts, whatever the update makes of the parameters.

    Every optimizer over some of the model's parameters gets one parameter group per part among them. An optimizer that works on each
    element by itself (Adam, SGD, ...) then does what one optimizer per part would do.

    Args:
        settings: ``{shared: {lr: 1e-4}, <task>: {weight_decay: 0}}``; parts that are not named keep the optimizer's settings.
        parameters: Of the model, with the tasks that own each.
        tasks: The tasks, in order.

    Raises:
        ConfigError: For a part that is none, or that has no parameters.
    """

    def __init__(self, settings: Any, parameters: Parameters, tasks: Sequence[Named]) -> None:
        parts = parts_of(parameters, tasks)
        self.settings = read_settings(settings, parts, tasks, "optimizer.parts")
        self.part = {parameter: name for name in self.settings for parameter in parts[name]}

    def apply(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """The factory, with parameters dealt out to groups."""
        if not self.settings:
            return make_optimizer

        def make(params: Any, **changes: Any) -> Optimizer:
            return make_optimizer(self.groups(params), **changes)

        return make

    def groups(self, params: Sequence[Any]) -> list[dict[str, Any]]:
        """Parameters, or groups of them, as groups of which each belongs to one part; the order is kept."""
        given = [entry if isinstance(entry, Mapping) else {"params": [entry]} for entry in params]
        whole = all(isinstance(entry, Mapping) for entry in params)
        found: list[dict[str, Any]] = []
        last: Any = None
        for group in given:
            for parameter in group["params"]:
                name = self.part.get(parameter)
                key = (name, id(group) if whole else None)
                if key != last:
                    found.append({**group, "params": [], **self.settings.get(name or "", {})})
                    last = key
                found[-1]["params"].append(parameter)
        return found
