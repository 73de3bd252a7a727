"""Checks of option values.

A check returns the value in its type, or raises :class:`~mtl_runner.errors.ConfigError` with a
sentence that names the key, the rule and the value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mtl_runner.errors import ConfigError, suggest

# What the 64 bits of torch's and NumPy's whole numbers do not hold.
TOO_LARGE = 2**63


class Named(Protocol):
    """An object with a name, such as a task."""

    @property
    def name(self) -> str:
        """The name that users write."""
        ...


def is_whole_number(value: object, minimum: int | None = None) -> bool:
    """Return whether a value is an ``int`` of at least ``minimum``; True and False are none.

    Example:
        >>> is_whole_number(3, 1), is_whole_number(0, 1), is_whole_number(True)
        (True, False, False)
    """
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and (minimum is None or value >= minimum)
    )


def is_number(value: object) -> bool:
    """Return whether a value is a finite ``int`` or ``float``; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def complete(given: Any, names: Sequence[str], group: str, kind: str, file: str) -> dict[str, Any]:
    """Return the options of a config node, if they have exactly these names.

    Args:
        given: The node, a mapping; None is an empty one.
        names: The names.
        group: The key of the node, for the error.
        kind: What the options are of, for the error, as "a search".
        file: The file that has their defaults.

    Raises:
        ConfigError: If an option is unknown or missing.

    Example:
        >>> complete({"trials": 3}, ["trials"], "search", "a search", "conf/search/optuna.yaml")
        {'trials': 3}
        >>> complete({}, ["trials"], "search", "a search", "conf/search/optuna.yaml")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: search.trials is missing; conf/search/optuna.yaml has its
        default.
    """
    options = dict(given or {})
    for name in options:
        if name not in names:
            raise ConfigError(
                f"{group}.{name} is not an option of {kind}; {suggest(str(name), names)}."
            )
    for name in names:
        if name not in options:
            raise ConfigError(f"{group}.{name} is missing; {file} has its default.")
    return options


def whole_number(value: Any, key: str, minimum: int | None = None, *, word: str = "") -> int:
    """Return the value if it is a whole number of at least ``minimum``.

    Args:
        value: The value of the option.
        key: The key of the option, for the error.
        minimum: The smallest allowed value; None allows every whole number.
        word: What the option may be instead, as "auto", for the error.

    Raises:
        ConfigError: If it is not such a number.

    Example:
        >>> whole_number(0, "trainer.epochs", 1, word="auto")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: trainer.epochs must be auto or a whole number of at least 1;
        found 0.
    """
    kind = f"{word} or a whole number" if word else "a whole number"
    if is_whole_number(value) and abs(value) >= TOO_LARGE:
        raise ConfigError(f"{key} must be {kind} below 2**63; found {value}.")
    if not is_whole_number(value, minimum):
        limit = "" if minimum is None else f" of at least {minimum}"
        raise ConfigError(f"{key} must be {kind}{limit}; found {value!r}.")
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


def fraction(value: Any, key: str, *, one_allowed: bool) -> float:
    """Return the value as a float if it lies in [0, 1], or in [0, 1) unless ``one_allowed``."""
    if not is_number(value) or not 0 <= value <= 1 or (value == 1 and not one_allowed):
        bracket = "]" if one_allowed else ")"
        raise ConfigError(f"{key} must lie in [0, 1{bracket}; found {value!r}.")
    return float(value)


def flag(value: Any, key: str) -> bool:
    """Return the value if it is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false; found {value!r}.")
    return value


def learning_rate(value: Any, key: str) -> float | None:
    """Return the value as a float if it is positive; None, the optimizer's rate, stays None."""
    if value is not None and (not is_number(value) or value <= 0):
        raise ConfigError(f"{key} must be positive or null; found {value}.")
    return None if value is None else float(value)


def mapping(value: Any, key: str, form: str) -> Mapping[str, Any]:
    """Return the value if it is a mapping; None, an entry without a value, is an empty one.

    Args:
        value: The value of the option.
        key: The key of the option, for the error.
        form: What the mapping looks like, for the error.

    Raises:
        ConfigError: If it is something else.

    Example:
        >>> mapping(3, "data.losses", "{name: loss}")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: data.losses must be a mapping {name: loss}; found 3.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{key} must be a mapping {form}; found {value!r}.")
    return {} if value is None else value


def choice(value: Any, key: str, allowed: Iterable[str]) -> str:
    """Return the value if it is one of the allowed words.

    Example:
        >>> choice("best", "record.plots", ("all", "best", "none"))
        'best'
    """
    words = list(allowed)
    if value not in words:
        raise ConfigError(f"{key}={value!r} is unknown; allowed: {', '.join(words)}.")
    return str(value)


def check_task_names(names: Iterable[Any], tasks: Sequence[Named], key: str) -> None:
    """Raise ``ConfigError`` unless every name is the name of a task."""
    task_names = [task.name for task in tasks]
    for name in names:
        if name not in task_names:
            raise ConfigError(
                f"{key} names the unknown task {name!r}; {suggest(str(name), task_names)}."
            )


def per_task(value: Any, tasks: Sequence[Named], default: float, key: str) -> list[float]:
    """Return one number per task.

    Args:
        value: A number for all tasks, or ``{task: number}``.
        tasks: The tasks, in the order of the result.
        default: The number of a task that ``value`` does not name.
        key: The key of the option, for the error.

    Raises:
        ConfigError: If the value is something else, or names a task that does not exist.

    Example:
        >>> from mtl_runner import Task
        >>> per_task({"price": 2}, [Task("price"), Task("size")], 1.0, "weighting.weights")
        [2.0, 1.0]
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Mapping):
        raise ConfigError(f"{key} must be a number or {{task: number}}; found {value!r}.")
    if not isinstance(value, Mapping):
        return [float(value)] * len(tasks)
    check_task_names(value, tasks, key)
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"{key}.{name} must be a number; found {number!r}.")
    return [float(value.get(task.name, default)) for task in tasks]
