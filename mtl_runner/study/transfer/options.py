"""The options of a study of transfer, and their checks. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import complete, positive, whole_number
from mtl_runner.study.options import check_sweep
from mtl_runner.study.transfer.proxy import checked_proxy

# Whole numbers among the options, and the least value of each.
LEAST_NUMBERS = {
    "narrow": 2,
    "fixed_points": 3,
    "per_decade": 1,
    "extensions": 0,
    "tuning_seeds": 1,
    "rates": 1,
    "seeds": 2,
}
OPTIONS = ("margin", "proxy", *LEAST_NUMBERS, "decades", "splits")
KIND = "+study=transfer"


@dataclass(frozen=True)
class TransferOptions:
    """The options of a study of transfer, as ``conf/study/transfer.yaml`` explains them.

    Attributes:
        margin: The relative difference that matters to the user.
        proxy: The options that make the model narrow; None: its widths divided by ``narrow``.
        narrow: By what the widths are divided.
        fixed_points: The number of points of fixed weights.
        per_decade: Learning rates per factor of 10.
        decades: The width of the grid of the narrow model, in factors of 10.
        extensions: The most rounds of one more learning rate, at either width.
        tuning_seeds: The number of seeds of every trial.
        rates: The number of learning rates of the wide model, around that of the narrow one.
        seeds: The number of fresh seeds of the final runs.
        splits: The option ``study.splits``, as of :func:`mtl_runner.study.options.splits_of`.

    Example:
        >>> TransferOptions.read({"seed": 3})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: study.seed is not an option of +study=transfer; ...
    """

    margin: float
    proxy: tuple[str, ...] | None
    narrow: int
    fixed_points: int
    per_decade: int
    decades: float
    extensions: int
    tuning_seeds: int
    rates: int
    seeds: int
    splits: Any

    @classmethod
    def read(cls, given: Any) -> TransferOptions:
        """Return the options, if they are complete and valid.

        Args:
            given: The config node ``study``.

        Raises:
            ConfigError: If an option is missing, unknown or has a wrong value.
        """
        options = complete(given, OPTIONS, "study", KIND, "conf/study/transfer.yaml")
        numbers = {
            name: whole_number(options[name], f"study.{name}", least)
            for name, least in LEAST_NUMBERS.items()
        }
        if numbers["rates"] % 2 == 0:
            raise ConfigError(
                f"study.rates must be odd, the narrow model's learning rate and as many on either side; found {numbers['rates']}."
            )
        if options["splits"] != "auto":
            whole_number(options["splits"], "study.splits", 1, word="auto")
        return cls(
            margin=positive(options["margin"], "study.margin"),
            proxy=checked_proxy(options["proxy"]),
            decades=positive(options["decades"], "study.decades"),
            splits=options["splits"],
            **numbers,
        )


def common_options(overrides: Sequence[Override]) -> list[str]:
    """Return the options of the command line that all runs share.

    Args:
        overrides: The options of the command line, as Hydra parsed them.

    Raises:
        ConfigError: If an option has several values, or is one that the study chooses.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> parse = OverridesParser.create().parse_overrides
        >>> common_options(parse(["+study=transfer", "data=digits", "weighting=fixed"]))
        ['data=digits']
    """
    check_sweep(overrides)
    common = []
    for override in overrides:
        key, typed = str(override.key_or_group), str(override.input_line).lstrip("+")
        if re.match(r"study(\.|$)", key):
            continue
        if override.is_sweep_override():
            raise ConfigError(
                f"{KIND} makes its runs itself, and {typed} has several values; give one of them."
            )
        if key == "weighting" and override.value() != "fixed":
            raise ConfigError(
                f"{KIND} tunes the weights of weighting=fixed; leave {typed} out, or compare it by +study=fair."
            )
        if re.match(r"weighting\.weights(\.|$)", key):
            raise ConfigError(f"{KIND} chooses the weights; leave {typed} out.")
        if key != "weighting":
            common.append(str(override.input_line))
    return common
