"""The options of a study: their checks, and the candidates they ask for. Free of torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import complete, positive, whole_number
from mtl_runner.study import Candidate
from mtl_runner.study.factors import check_factors
from mtl_runner.study.plan import LAST_TRIALS
from mtl_runner.study.regularisation import regularisation_of

# Keys whose values a study chooses itself.
CHOSEN_KEYS = ("seed", "optimizer.lr")
OPTIONS = (
    "margin",
    "seeds",
    "fixed_points",
    "per_decade",
    "decades",
    "extensions",
    "budget",
    "knobs",
)
# Options that a study of a user's own conf/study may lack.
DEFAULTS: dict[str, Any] = {
    "search": None,
    "tuning_seeds": 3,
    "splits": "auto",
    "regularisation": {},
    "optimizers": None,
    "widths": None,
}
# Data of fewer training rows get a split of their own for every seed, unless study.splits is given.
SMALL = 10_000


def checked_options(options: Any) -> dict[str, Any]:
    """Return the options of a study, if they are complete and valid.

    Args:
        options: The config node ``study``.

    Raises:
        ConfigError: If an option is missing, unknown or has a wrong value.

    Example:
        >>> checked_options({"seed": 3})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: study.seed is not an option of a study; did you mean ...
    """
    given = DEFAULTS | dict(options or {})
    given = complete(given, (*OPTIONS, *DEFAULTS), "study", "a study", "conf/study/fair.yaml")
    least_numbers = {
        "seeds": 2,
        "tuning_seeds": 1,
        "fixed_points": 3,
        "per_decade": 1,
        "extensions": 0,
    }
    if given["seeds"] == "auto":
        del least_numbers["seeds"]
    for name, least in least_numbers.items():
        word = "auto" if name == "seeds" else ""
        whole_number(given[name], f"study.{name}", least, word=word)
    if given["splits"] != "auto":
        if not isinstance(given["splits"], int):
            raise ConfigError(
                f"study.splits must be auto or a number of splits, 1 for one; found {given['splits']!r}."
            )
        whole_number(given["splits"], "study.splits", 1, word="auto")
    for name in ("margin", "decades"):
        positive(given[name], f"study.{name}")
    _check_knobs(given["knobs"])
    regularisation_of(given["regularisation"])
    check_factors(given["optimizers"], given["widths"])
    if not isinstance(given["search"], str | None):
        raise ConfigError(
            f"study.search must be the directory of a search, or null; found {given['search']!r}."
        )
    return given


def _check_knobs(knobs: Any) -> None:
    """Raise ``ConfigError`` unless every weighting exists and has two values for each option."""
    example = "{dwa: {weighting.temperature: [1, 5]}}"
    if not isinstance(knobs, Mapping):
        raise ConfigError(
            f"study.knobs must name options and two values each, e.g. {example}; found {knobs!r}."
        )
    known = sorted(path.stem for path in (conf_directory() / "weighting").glob("*.yaml"))
    for name, options in knobs.items():
        users_file = Path.cwd() / "conf" / "weighting" / f"{name}.yaml"
        if name not in known and not users_file.exists():
            raise ConfigError(
                f"study.knobs names the unknown weighting {name!r}; {suggest(str(name), known)}."
            )
        if not isinstance(options, Mapping) or not all(
            isinstance(values, list) and len(values) == LAST_TRIALS for values in options.values()
        ):
            raise ConfigError(
                f"study.knobs.{name} must give two values for an option, e.g. {example}; found {options!r}."
            )


def check_sweep(overrides: Sequence[Override]) -> None:
    """Check that the command line does not sweep over what a study chooses itself.

    Args:
        overrides: The options of the command line, as Hydra parsed them.

    Raises:
        ConfigError: If it sweeps over seeds, learning rates or datasets.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> sweep = OverridesParser.create().parse_overrides(["data=digits", "seed=0,1"])
        >>> check_sweep(sweep)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: A study chooses seed itself; give one number, ...
    """
    for override in overrides:
        if override.key_or_group in CHOSEN_KEYS and override.is_sweep_override():
            raise ConfigError(
                f"A study chooses {override.key_or_group} itself; give one number, the middle of the learning rates or the seed of the tuning, "
                "and study.seeds."
            )
        if override.key_or_group == "data.seed" and override.is_sweep_override():
            raise ConfigError(
                "A study chooses data.seed itself; give study.splits, a number of them."
            )
        if re.match(r"data(\.|$)", override.key_or_group) and override.is_sweep_override():
            raise ConfigError("A study is about one dataset; start one study for each.")


def check_chosen(overrides: Sequence[Override], chosen: Mapping[str, str]) -> None:
    """Check that the command line does not sweep over what options of this study try.

    Args:
        overrides: The options of the command line, as Hydra parsed them.
        chosen: The keys that this study chooses, each with the option that says so.

    Raises:
        ConfigError: If it sweeps over one of them.
    """
    for override in overrides:
        key = override.key_or_group
        if override.is_sweep_override() and key in chosen:
            by = chosen[key]
            raise ConfigError(
                f"{by} tries values of {key} itself; give one value, or leave out {by}."
            )


def splits_of(asked: Any, seeds: int, rows: int, has_seed: bool) -> int:
    """Return how many splits of the data the final runs take.

    Args:
        asked: The option study.splits; ``auto``: one for every seed where the data are small.
        seeds: The number of final runs of each candidate.
        rows: The number of training rows.
        has_seed: Whether the data has a seed, ``data.seed``, by which it is split or drawn.

    Raises:
        ConfigError: If several are asked for of data without a seed.

    Example:
        >>> splits_of("auto", 10, 1257, True), splits_of("auto", 10, 10**6, True)
        (10, 1)
    """
    if asked == "auto":
        return seeds if has_seed and rows < SMALL else 1
    if asked > 1 and not has_seed:
        raise ConfigError(
            "study.splits needs data that are split by a seed (data.seed), which these are not; give study.splits=1."
        )
    return min(int(asked), seeds)


def options_of_strategies(overrides: Sequence[Override]) -> dict[str, str]:
    """Return the options of the command line that belong to the strategies, not to the baselines.

    These are the weighting and its options, where they have one value.

    Args:
        overrides: The options of the command line, as Hydra parsed them.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> parse = OverridesParser.create().parse_overrides
        >>> options_of_strategies(parse(["weighting=dwa", "weighting.temperature=3", "seed=1"]))
        {'weighting': 'dwa', 'weighting.temperature': '3'}
    """
    return {
        str(o.key_or_group): o.get_value_element_as_str()
        for o in overrides
        if re.match(r"weighting(\.|$)", o.key_or_group) and not o.is_sweep_override()
    }


def candidates_of(
    overrides: Sequence[Override], knobs: Mapping[str, Mapping[str, Sequence[Any]]], default: str
) -> list[Candidate]:
    """Return the baselines and the strategies that the command line names.

    These are equal weights, the single-task baseline, and every combination of the values that the
    command line sweeps over, once each; where it sweeps over nothing, the weighting that it names.

    Args:
        overrides: The options of the command line, as Hydra parsed them.
        knobs: The option study.knobs: per weighting its main option and two more values of it.
        default: The weighting of the strategies where none is named.

    Raises:
        ConfigError: If the command line names no strategy.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> overrides = OverridesParser.create().parse_overrides(["weighting=fixed,dwa,famo"])
        >>> [candidate.name for candidate in candidates_of(overrides, {}, "uncertainty")]
        ['equal', 'single_task', 'dwa', 'famo']
    """
    candidates = [
        Candidate("equal", "equal", ("weighting=fixed",)),
        Candidate("single_task", "single_task", ("weighting=single_task",)),
    ]
    common = options_of_strategies(overrides)
    swept = [
        list(dict.fromkeys(f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()))
        for o in overrides
        if o.is_sweep_override()
    ]
    has_weights = any("weighting.weights" in override.key_or_group for override in overrides)
    for combination in itertools.product(*swept):
        varying = dict(override.lstrip("+").split("=", 1) for override in combination)
        chosen = common | varying
        weighting = chosen.get("weighting", default)
        # Equal weights and single tasks are among the baselines.
        options = {key for key in varying if key != "weighting"}
        if weighting == "single_task" and not options:
            continue
        if weighting == "fixed" and not options and not has_weights:
            continue
        if not varying and "weighting" not in common:
            continue
        labels = [
            f"{key.rsplit('.', 1)[-1]}={varying[key]}" for key in varying if key != "weighting"
        ]
        named = [varying["weighting"]] if "weighting" in varying else []
        knob = next(
            (
                (key, tuple(map(str, values)))
                for key, values in knobs.get(weighting, {}).items()
                if key not in chosen
            ),
            None,
        )
        role = "fixed" if weighting == "fixed" and has_weights else "strategy"
        name = ", ".join([*named, *labels]) or weighting
        constant = tuple(f"{key}={value}" for key, value in common.items() if key not in varying)
        candidates.append(Candidate(name, role, (*constant, *combination), knob))
    if len(candidates) == 2:
        raise ConfigError(
            "A study compares strategies; name some: weighting=fixed,uncertainty,dwa."
        )
    return candidates
