"""Options that hold a number per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mtl_runner.errors import ConfigError, suggest


class Named(Protocol):
    """What has a name, such as a task."""

    @property
    def name(self) -> str: ...


def per_task(value: Any, tasks: Sequence[Named], default: float, key: str) -> list[float]:
    """A number for all, or ``{task: number}`` with a default, as one number per task. Raises ``ConfigError``."""
    names = [task.name for task in tasks]
    if isinstance(value, bool) or not isinstance(value, int | float | Mapping):
        raise ConfigError(f"{key} must be a number or {{task: number}}; found {value!r}.")
    if not isinstance(value, Mapping):
        return [float(value)] * len(names)
    for name, number in value.items():
        if name not in names:
            raise ConfigError(f"{key} names the unknown task {name!r}; {suggest(name, names)}.")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"{key}.{name} must be a number; found {number!r}.")
    return [float(value.get(name, default)) for name in names]


def positive(value: Any, key: str) -> float:
    """A positive finite number. Raises ``ConfigError``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{key} must be a positive number; found {value!r}.")
    return float(value)


def not_negative(value: Any, key: str) -> float:
    """A finite number of at least 0. Raises ``ConfigError``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{key} must be a number of at least 0; found {value!r}.")
    return float(value)


def flag(value: Any, key: str) -> bool:
    """True or false. Raises ``ConfigError``."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false; found {value!r}.")
    return value


def learning_rate(value: Any, key: str) -> float | None:
    """A positive number, or None for the optimizer's. Raises ``ConfigError``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf")):
        raise ConfigError(f"{key} must be positive or null; found {value}.")
    return None if value is None else float(value)
