"""The options of a probe, and their checks. Free of torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import complete, is_number, whole_number

OPTIONS = ("share", "steps", "seeds", "rates")
# Keys whose values the probe chooses itself, and what it does with them.
CHOSEN = {
    "weighting": "tries weightings itself",
    "update": "tries updates itself",
    "record.gradients": "measures gradients itself",
}


@dataclass(frozen=True)
class ProbeOptions:
    """The options of a probe, as ``conf/probe/weighting.yaml`` explains them.

    Attributes:
        share: The share of the epochs that a short run trains.
        steps: The most steps of a short run, unless one epoch has more.
        seeds: The number of seeds of every strategy and learning rate.
        rates: The learning rates over ``optimizer.lr``.

    Example:
        >>> options = ProbeOptions.read({"share": 0.25, "steps": 400, "seeds": 2, "rates": [1, 3]})
        >>> options.epochs(60, 20), options.epochs(200, 20), options.epochs(10, 1000)
        (15, 20, 1)
    """

    share: float
    steps: int
    seeds: int
    rates: tuple[float, ...]

    @classmethod
    def read(cls, given: Any) -> ProbeOptions:
        """Return the options, if they are complete and valid.

        Args:
            given: The config node ``probe``.

        Raises:
            ConfigError: If an option is missing, unknown or has a wrong value.
        """
        options = complete(given, OPTIONS, "probe", "a probe", "conf/probe/weighting.yaml")
        share = options["share"]
        if not is_number(share) or not 0 < share <= 1:
            raise ConfigError(
                f"probe.share must be a share of the epochs above 0 and at most 1; found {share!r}."
            )
        rates = options["rates"]
        if (
            not isinstance(rates, list)
            or not rates
            or not all(is_number(rate) and rate > 0 for rate in rates)
            or len(set(rates)) < len(rates)
        ):
            raise ConfigError(
                f"probe.rates must be different positive numbers, multiples of optimizer.lr, as in [1, 3]; found {rates!r}."
            )
        return cls(
            share=float(share),
            steps=whole_number(options["steps"], "probe.steps", 1),
            seeds=whole_number(options["seeds"], "probe.seeds", 2),
            rates=tuple(map(float, rates)),
        )

    def epochs(self, epochs: int, steps_per_epoch: int) -> int:
        """Return the number of epochs of a short run.

        Args:
            epochs: The epochs of a whole run.
            steps_per_epoch: The steps of an epoch.
        """
        most = max(self.steps // steps_per_epoch, 1)
        return max(min(math.ceil(self.share * epochs), most), 1)


def is_own(override: Override) -> bool:
    """Return whether an option is the probe's own, and no run's.

    Args:
        override: The option, as Hydra parsed it.
    """
    return re.match(r"probe(\.|$)", str(override.key_or_group)) is not None


def common_options(overrides: Sequence[Override]) -> list[str]:
    """Return the options of the command line that all short runs share.

    Args:
        overrides: The options of the command line, as Hydra parsed them.

    Raises:
        ConfigError: If an option has several values, or is one that the probe chooses.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> parse = OverridesParser.create().parse_overrides
        >>> common_options(parse(["+probe=weighting", "data=digits", "seed=3"]))
        ['data=digits']
    """
    common = []
    for override in overrides:
        key, typed = str(override.key_or_group), str(override.input_line).lstrip("+")
        if is_own(override):
            continue
        if override.is_sweep_override():
            raise ConfigError(
                f"A probe makes its runs itself, and {typed} has several values; give one of them."
            )
        for chosen, words in CHOSEN.items():
            if re.match(rf"{re.escape(chosen)}(\.|$)", key):
                raise ConfigError(f"+probe=weighting {words}; leave {typed} out.")
        # The short runs have epochs, learning rates and seeds of their own.
        if key not in ("optimizer.lr", "seed", "trainer.epochs"):
            common.append(str(override.input_line))
    return common
