"""Checks of option values: each returns the value in its type where there is one to return, or raises ``ConfigError`` with the one sentence for its mistake."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mtl_runner.errors import ConfigError, suggest


class Named(Protocol):
    """What has a name, such as a task."""

    @property
    def name(self) -> str: ...


def is_whole(value: object, least: int | None = None) -> bool:
    """Whether a value is a whole number (True and False are none), of at least ``least``."""
    return (
        isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number (True and False are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(value: Any, key: str, least: int | None = None) -> int:
    """Return the value if it is a whole number, of at least ``least``."""
    if not is_whole(value, least):
        limit = "" if least is None else f" of at least {least}"
        raise ConfigError(f"{key} must be a whole number{limit}; found {value!r}.")
    return int(value)


def positive(value: Any, key: str) -> float:
    """Return the value as a float if it is positive and finite."""
    if not is_number(value) or value <= 0:
        raise ConfigError(f"{key} must be a positive number; found {value!r}.")
    return float(value)


def not_negative(value: Any, key: str) -> float:
    """Return the value as a float if it is finite and at least 0."""
    if not is_number(value) or value < 0:
        raise ConfigError(f"{key} must be a number of at least 0; found {value!r}.")
    return float(value)


def fraction(value: Any, key: str, *, one: bool) -> float:
    """Return the value as a float if it lies between 0 and 1; ``one``: whether 1 itself is allowed."""
    if not is_number(value) or not 0 <= value <= 1 or (value == 1 and not one):
        raise ConfigError(f"{key} must lie in [0, 1{']' if one else ')'}; found {value!r}.")
    return float(value)


def flag(value: Any, key: str) -> bool:
    """Return the value if it is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false; found {value!r}.")
    return value


def learning_rate(value: Any, key: str) -> float | None:
    """Return the value as a float if it is a positive number; None (the optimizer's rate) stays None."""
    if value is not None and (not is_number(value) or value <= 0):
        raise ConfigError(f"{key} must be positive or null; found {value}.")
    return None if value is None else float(value)


def choice(value: Any, key: str, allowed: Iterable[str]) -> str:
    """Return the value if it is one of the allowed words."""
    words = list(allowed)
    if value not in words:
        raise ConfigError(f"{key}={value!r} is unknown; allowed: {', '.join(words)}.")
    return str(value)


def check_task_names(found: Iterable[Any], tasks: Sequence[Named], key: str) -> None:
    """Check that every name is that of a task."""
    names = [task.name for task in tasks]
    for name in found:
        if name not in names:
            raise ConfigError(
                f"{key} names the unknown task {name!r}; {suggest(str(name), names)}."
            )


def per_task(value: Any, tasks: Sequence[Named], default: float, key: str) -> list[float]:
    """A number for all, or ``{task: number}`` with a default, as one number per task."""
    if isinstance(value, bool) or not isinstance(value, int | float | Mapping):
        raise ConfigError(f"{key} must be a number or {{task: number}}; found {value!r}.")
    if not isinstance(value, Mapping):
        return [float(value)] * len(tasks)
    check_task_names(value, tasks, key)
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"{key}.{name} must be a number; found {number!r}.")
    return [float(value.get(task.name, default)) for task in tasks]
