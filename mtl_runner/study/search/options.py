"""The options of a search, and their checks. Free of torch and Optuna."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import complete, flag, is_number, whole_number

Range = tuple[float, float]
OPTIONS = ("trials", "batch", "seed", "weights", "lr", "prune")
# Learning rates from a tenth to ten times optimizer.lr.
RATE_FACTOR = 10.0


@dataclass(frozen=True)
class SearchOptions:
    """The options of a search, as ``conf/search/optuna.yaml`` explains them.

    Attributes:
        trials: The number of runs.
        batch: The number of runs that are asked for at a time.
        seed: The seed of Optuna's sampler.
        weights: The least and the largest weight of a task relative to the first one's.
        lr: The least and the largest learning rate.
        prune: Whether trials are given up that are worse than the median of those before.

    Example:
        >>> given = {"trials": 40, "batch": 8, "seed": 0, "weights": [0.01, 100], "lr": None}
        >>> SearchOptions.read({**given, "prune": True}, 0.01).lr
        (0.001, 0.1)
    """

    trials: int
    batch: int
    seed: int
    weights: Range
    lr: Range
    prune: bool

    @classmethod
    def read(cls, given: Any, lr: float) -> SearchOptions:
        """Return the options, if they are complete and valid.

        Args:
            given: The config node ``search``.
            lr: The option ``optimizer.lr``, in the middle of the learning rates.

        Raises:
            ConfigError: If an option is missing, unknown or has a wrong value.
        """
        options = complete(given, OPTIONS, "search", "a search", "conf/search/optuna.yaml")
        rates = options["lr"]
        return cls(
            trials=whole_number(options["trials"], "search.trials", 1),
            batch=whole_number(options["batch"], "search.batch", 1),
            seed=whole_number(options["seed"], "search.seed", 0),
            weights=_range(options["weights"], "search.weights", "[0.01, 100]"),
            lr=(lr / RATE_FACTOR, lr * RATE_FACTOR)
            if rates is None
            else _range(rates, "search.lr", "[0.0001, 0.1], or null"),
            prune=flag(options["prune"], "search.prune"),
        )


def common_options(overrides: Sequence[Override], prune: bool = False) -> list[str]:
    """Return the options of the command line that all trials share.

    Args:
        overrides: The options of the command line, as Hydra parsed them.
        prune: Whether the search chooses when a trial is given up.

    Raises:
        ConfigError: If an option has several values, or is one that the search chooses.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> parse = OverridesParser.create().parse_overrides
        >>> common_options(parse(["+search=optuna", "data=digits", "weighting=fixed"]))
        ['data=digits']
    """
    common = []
    for override in overrides:
        key, typed = str(override.key_or_group), str(override.input_line).lstrip("+")
        if re.match(r"search(\.|$)", key):
            continue
        if override.is_sweep_override():
            raise ConfigError(
                f"A search makes its trials itself, and {typed} has several values; give one of them."
            )
        if key == "weighting" and override.value() != "fixed":
            raise ConfigError(
                f"+search=optuna searches the weights of weighting=fixed; leave {typed} out."
            )
        if re.match(r"weighting\.weights(\.|$)", key):
            raise ConfigError(
                f"+search=optuna chooses the weights; leave {typed} out, or narrow search.weights."
            )
        if prune and re.match(r"trainer\.give_up(\.|$)", key):
            raise ConfigError(
                f"+search=optuna chooses trainer.give_up; leave {typed} out, or set search.prune=false."
            )
        if key not in ("weighting", "optimizer.lr", "seed"):
            common.append(str(override.input_line))
    return common


def _range(value: Any, key: str, example: str) -> Range:
    """Return the least and the largest value of a range."""
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(is_number(end) and end > 0 for end in value)
        or value[0] >= value[1]
    ):
        raise ConfigError(
            f"{key} must be two positive numbers, the smaller one first, as in {example}; found {value!r}."
        )
    return float(value[0]), float(value[1])
