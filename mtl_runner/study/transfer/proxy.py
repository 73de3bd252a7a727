"""The narrow model on which a study tunes: the options that make it of the wide one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtl_runner.errors import ConfigError

# Options of models that are widths: numbers, or lists of one number per layer.
WIDTHS = ("hidden", "width", "channels", "features", "tower", "head")
# A published network: what is called width there is that of a part beside it.
WITHOUT_WIDTH = ("mtl_runner.models.Backbone",)
EXAMPLE = "study.proxy={model.hidden: [32,32]}"
# A U-Net needs widths that are multiples of it; others do well with them.
MULTIPLE = 4


def proxy_options(model: Mapping[str, Any], narrow: int, name: str) -> tuple[str, ...]:
    """Return the options that make a model so many times narrower.

    Every width of it, also of its trunk, is divided by the factor and rounded up; one that is a
    multiple of 4 stays one.

    Args:
        model: The config node ``model``.
        narrow: The factor.
        name: The name of the model, for errors.

    Raises:
        ConfigError: If the model has no width, or is as narrow already.

    Example:
        >>> proxy_options({"hidden": [128, 64], "dropout": 0.0}, 4, "mlp")
        ('model.hidden=[32,16]',)
    """
    widths = {} if model.get("_target_") in WITHOUT_WIDTH else dict(_widths(model, "model"))
    if not widths:
        raise ConfigError(
            f"model={name} has no width that study.proxy=auto could divide; give the options that make it narrow, as in {EXAMPLE}."
        )
    narrower = {key: _divided(value, narrow) for key, value in widths.items()}
    if narrower == widths:
        raise ConfigError(
            f"model={name} is as narrow as study.proxy=auto would make it; give a wider model, such as model.hidden=[128,128]."
        )
    return tuple(f"{key}={_typed(value)}" for key, value in narrower.items())


def checked_proxy(value: Any) -> tuple[str, ...] | None:
    """Return the option ``study.proxy`` as options of a command; None for ``auto``.

    Args:
        value: A mapping of keys and values, or a list of options as one types them.

    Raises:
        ConfigError: If it is neither, or has another option than the model's.

    Example:
        >>> checked_proxy({"model.hidden": [32, 32]}), checked_proxy(["model.width=8"])
        (('model.hidden=[32,32]',), ('model.width=8',))
    """
    if value == "auto":
        return None
    if isinstance(value, Mapping):
        options = [f"{key}={_typed(width)}" for key, width in value.items()]
    elif isinstance(value, list) and all(isinstance(option, str) for option in value):
        options = list(value)
    else:
        options = []
    wrong = [option for option in options if not re.match(r"model\.[\w.]+=.", option)]
    if not options or wrong:
        given = repr(wrong[0] if wrong else value)
        raise ConfigError(
            f"study.proxy must be auto or options of the model that make it narrow, as in {EXAMPLE}; found {given}."
        )
    return tuple(options)


def _widths(node: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Yield the widths below a node of the config, with their keys."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _widths(value, f"{key}.{name}")
        elif name in WIDTHS and _is_width(value):
            yield f"{key}.{name}", value


def _is_width(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(type(v) is int and v > 0 for v in values)


def _divided(value: Any, narrow: int) -> Any:
    if isinstance(value, list):
        return [_divided(width, narrow) for width in value]
    step = 1 if value % MULTIPLE else MULTIPLE
    return -(-value // (narrow * step)) * step


def _typed(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(str, value))}]"
    return str(value)
