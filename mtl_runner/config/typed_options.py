"""Options compared with the types that a class or function declares for them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import TOO_LARGE, is_number, is_whole_number

# Packages whose annotations are true; those of a user's class may only be hints.
TYPED_PACKAGES = ("mtl_runner", "torch", "torchjd")
UNIONS = (typing.Union, types.UnionType)
PLAIN = (bool, int, float, str, Sequence, Mapping, type(None))
WORDS = {
    bool: "true or false",
    int: "a whole number (below 2**63)",
    float: "a finite number",
    str: "a text",
    type(None): "null",
}


def check_types(target: Any, options: Mapping[str, Any], key: str) -> None:
    """Check that options have the types that their target declares.

    Python itself takes ``true`` for 1, and finds out late that a text is no number.

    Args:
        target: A class or function.
        options: Its options, as the config holds them.
        key: The key of the node in the config, for the errors.

    Raises:
        ConfigError: If an option has another type, or is NaN or infinite.

    Example:
        >>> from torch.optim import SGD
        >>> check_types(SGD, {"lr": 0.1, "momentum": True}, "optimizer")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: optimizer.momentum must be a finite number; found True.
    """
    if str(getattr(target, "__module__", "")).split(".")[0] not in TYPED_PACKAGES:
        return
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError, NameError, AttributeError):
        # Some functions written in C have no signature, and some names exist for a type checker.
        return
    for name, value in options.items():
        if name not in hints or name not in parameters or value is parameters[name].default:
            continue
        if not _fits(value, hints[name]):
            raise ConfigError(f"{key}.{name} must be {_words(hints[name])}; found {value!r}.")


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a config may have a type; unknown types fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return any(_fits(value, member) for member in arguments)
    if not isinstance(value, PLAIN):
        # What a node among the options has made.
        return True
    if hint is Tensor:
        # A config holds none.
        return False
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and is_whole_number(value) and abs(value) < TOO_LARGE
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False
        return all(_fits(entry, arguments[1]) for entry in value.values())
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        members = [member for member in arguments if member is not ...]
        return all(any(_fits(entry, member) for member in members) for entry in value)
    return True


def _words(hint: Any) -> str:
    """Return what a type wants, for an error."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return " or ".join(_words(member) for member in arguments if member is not Tensor)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"a mapping whose values are each {_words(arguments[1])}"
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list whose entries are each {_words(arguments[0])}"
    return WORDS.get(hint, "of another type")
