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
    """Return the shared parameters and each task's private ones, by name; empty parts are left out.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        tasks: The tasks, in order.

    Returns:
        ``{"shared": [...], <task>: [...]}``. The private parameters of a task that is called
        ``shared`` belong to the part ``shared``, too.
    """
    parts: dict[str, list[nn.Parameter]] = {SHARED: parameters.shared}
    for index, task in enumerate(tasks):
        private = [
            p
            for p, owners in zip(parameters.tensors, parameters.owners, strict=True)
            if owners == {index}
        ]
        parts[task.name] = parts.get(task.name, []) + private
    return {name: part for name, part in parts.items() if part}


def read_settings(
    value: Any, parts: Mapping[str, Any], tasks: Sequence[Named], key: str
) -> dict[str, dict[str, Any]]:
    """Return the settings per part, ``{shared: {lr: 0.001}, <task>: {...}}``, checked and copied.

    Args:
        value: What the config says; None: no settings.
        parts: The parts that have parameters, by name.
        tasks: The tasks, in order.
        key: The config key, for messages.

    Raises:
        ConfigError: For anything else, naming the key: a part that is none, or that has no
            parameters.
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
            reason = (
                "no parameter is shared by two tasks"
                if name == SHARED
                else f"task {name!r} has no parameter of its own"
            )
            raise ConfigError(f"{key}.{name} is empty: {reason}; leave it out.")
    return {name: dict(settings or {}) for name, settings in (value or {}).items()}


class PartSettings:
    """The settings of the optimizer for single parts of the model (``optimizer.parts``).

    They hold whatever the update makes of the parameters: every optimizer over some of them gets
    one parameter group per part among them. An optimizer that works on each element by itself
    (Adam, SGD, ...) then does what one optimizer per part would do.

    Args:
        settings: ``{shared: {lr: 1e-4}, <task>: {weight_decay: 0}}``; parts that are not named keep
            the optimizer's settings.
        parameters: The parameters of the model, with the tasks that own each.
        tasks: The tasks, in order.

    Raises:
        ConfigError: For a part that is none, or that has no parameters.

    Example:
        >>> import torch
        >>> from mtl_runner.tasks.task import Task
        >>> trunk, head = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        >>> parameters = Parameters([trunk, head], [frozenset({0, 1}), frozenset({1})])
        >>> settings = {"shared": {"lr": 0.001}}
        >>> parts = PartSettings(settings, parameters, [Task("a"), Task("b")])
        >>> optimizer = parts.apply(torch.optim.Adam)([trunk, head], lr=0.01)
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.001, 0.01]
    """

    def __init__(self, settings: Any, parameters: Parameters, tasks: Sequence[Named]) -> None:
        parts = parts_of(parameters, tasks)
        self.settings = read_settings(settings, parts, tasks, "optimizer.parts")
        self.part_names = {p: name for name in self.settings for p in parts[name]}

    def apply(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """Return a factory of optimizers that deals the parameters out to groups.

        Args:
            make_optimizer: Makes an optimizer over parameters or groups of them.
        """
        if not self.settings:
            return make_optimizer

        def make(params: Any, **changes: Any) -> Optimizer:
            return make_optimizer(self.groups(params), **changes)

        return make

    def groups(self, params: Sequence[Any]) -> list[dict[str, Any]]:
        """Return parameter groups of which each belongs to one part; the order is kept.

        Args:
            params: Parameters, or parameter groups.
        """
        are_groups = all(isinstance(entry, Mapping) for entry in params)
        given = [entry if isinstance(entry, Mapping) else {"params": [entry]} for entry in params]
        groups: list[dict[str, Any]] = []
        previous: Any = None
        for group in given:
            for parameter in group["params"]:
                part_name = self.part_names.get(parameter)
                current = (part_name, id(group) if are_groups else None)
                if current != previous:
                    groups.append({**group, "params": [], **self.settings.get(part_name or "", {})})
                    previous = current
                groups[-1]["params"].append(parameter)
        return groups
