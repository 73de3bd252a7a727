"""The factors of a study: ``study.optimizers`` and ``study.widths``, and the groups they make.

Every combination of their levels is a group: all candidates are tuned and run in it, by a protocol
of its own, and it has a verdict of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.study.plan import Candidate, Levels

OPTIMIZER, WIDTH = "optimizer", "width"  # the names of the factors
WIDTH_EXAMPLE = "[16, 64, 256] or {model.width: [16, 64, 256]}"


@dataclass(frozen=True)
class Group:
    """One level of every factor.

    Attributes:
        levels: The factors and their levels; empty in a study without factors.
        overrides: The options that choose these.

    Example:
        >>> group = Group((("optimizer", "sgd"),), ("optimizer=sgd",))
        >>> group.candidates([Candidate("equal", "equal", ("weighting=fixed",))])[0].overrides
        ('weighting=fixed', 'optimizer=sgd')
    """

    levels: Levels = ()
    overrides: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """The options below a config group that it sets."""
        keys = [option.partition("=")[0] for option in self.overrides]
        return [key for key in keys if "." in key]

    def level(self, factor: str) -> str | None:
        """Return the level of a factor; None of one that the study does not have."""
        return dict(self.levels).get(factor)

    def candidates(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates as they take part in this group."""
        return [
            replace(c, overrides=(*c.overrides, *self.overrides), group=self.levels)
            for c in candidates
        ]


def check_factors(optimizers: Any, widths: Any) -> None:
    """Check the form of both options.

    Args:
        optimizers: The option ``study.optimizers``.
        widths: The option ``study.widths``.

    Raises:
        ConfigError: If one of them names no levels.
    """
    optimizers = [] if optimizers is None else optimizers
    if not (isinstance(optimizers, list) and _are_levels(optimizers, str)):
        raise ConfigError(
            f"study.optimizers must be a list of two or more optimizers, e.g. [adam, sgd], or null; found {optimizers!r}."
        )
    widths = [] if widths is None else widths
    is_mapping = isinstance(widths, Mapping)
    values = next(iter(widths.values()), []) if is_mapping else widths
    is_one_option = not is_mapping or (
        len(widths) <= 1 and all(str(key).startswith("model.") for key in widths)
    )
    numbers = (
        [v for value in values for v in (value if isinstance(value, list) else [value])]
        if (isinstance(values, list))
        else []
    )
    is_listed = isinstance(values, list) and _are_levels(values, int | list)
    if not (is_one_option and is_listed and all(is_whole_number(n, 1) for n in numbers)):
        raise ConfigError(
            f"study.widths must be a list of two or more widths, e.g. {WIDTH_EXAMPLE}, or null; found {widths!r}."
        )


def _are_levels(values: Sequence[Any], kind: Any) -> bool:
    """Return whether values are none, or two or more that differ."""
    distinct = {str(value) for value in values}
    return (
        len(values) != 1
        and len(distinct) == len(values)
        and all(isinstance(value, kind) for value in values)
    )


def check_given(overrides: Sequence[Override], optimizers: Sequence[str]) -> None:
    """Check that the command line leaves to a study what its factors choose.

    Args:
        overrides: The options of the command line, as Hydra parsed them.
        optimizers: The option ``study.optimizers``.

    Raises:
        ConfigError: If it names an optimizer or its learning rate beside ``study.optimizers``.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> parse = OverridesParser.create().parse_overrides
        >>> check_given(parse(["optimizer.lr=0.1"]), ["adam", "sgd"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: study.optimizers gives every optimizer the learning rate ...
    """
    keys = {override.key_or_group for override in overrides} if optimizers else set()
    if "optimizer" in keys:
        raise ConfigError("study.optimizers names the optimizers; leave out optimizer=.")
    if "optimizer.lr" in keys:
        raise ConfigError(
            "study.optimizers gives every optimizer the learning rate of its own file as the middle; leave out optimizer.lr."
        )


def groups_of(
    optimizers: Sequence[str], widths: Any, config: DictConfig, known: Sequence[str]
) -> list[Group]:
    """Return every combination of the levels of the factors.

    Args:
        optimizers: The option ``study.optimizers``.
        widths: The option ``study.widths``.
        config: The config that all runs share.
        known: The optimizers that there are.

    Returns:
        The groups; one without levels where the study has no factor.

    Raises:
        ConfigError: If there is no such optimizer, or the model has no such width.

    Example:
        >>> model = {"_target_": "mtl_runner.models.MLP", "hidden": [128, 128]}
        >>> config = OmegaConf.create({"model": model})
        >>> groups = groups_of(["adam", "sgd"], [16, 64], config, ["adam", "sgd"])
        >>> groups[-1].overrides
        ('optimizer=sgd', 'model.hidden=[64,64]')
    """
    for name in optimizers:
        if name not in known:
            raise ConfigError(
                f"study.optimizers names the unknown optimizer {name!r}; {suggest(name, known)}."
            )
    factors = [[((OPTIMIZER, name), f"optimizer={name}") for name in optimizers]]
    factors.append(_widths(widths, config))
    return [
        Group(tuple(level for level, _ in levels), tuple(option for _, option in levels))
        for levels in itertools.product(*filter(None, factors))
    ]


def _widths(widths: Any, config: DictConfig) -> list[tuple[tuple[str, str], str]]:
    """Return the levels of the width, each with its option."""
    if isinstance(widths, Mapping):
        return [
            ((WIDTH, _plain(value)), f"{key}={_plain(value)}")
            for key, values in widths.items()
            for value in values
        ]
    if not widths:
        return []
    for parent in ("model", "model.trunk"):
        node: Any = OmegaConf.select(config, parent)
        if isinstance(node, DictConfig) and "width" in node:
            return [((WIDTH, _plain(value)), f"{parent}.width={_plain(value)}") for value in widths]
        if isinstance(node, DictConfig) and "hidden" in node:
            layers = len(node.hidden)
            full = [value if isinstance(value, list) else [value] * layers for value in widths]
            return [
                ((WIDTH, _plain(value)), f"{parent}.hidden={_plain(hidden)}")
                for value, hidden in zip(widths, full, strict=True)
            ]
    raise ConfigError(
        "study.widths does not know which option of this model is its width; name it, e.g. {model.width: [16, 64, 256]}."
    )


def _plain(value: Any) -> str:
    """Return a width as an option is typed: ``64``, ``[64,64]``."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
