"""What a study is asked for: its options, what it refuses, and who takes part. Free of torch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import positive, whole
from mtl_runner.study import Candidate
from mtl_runner.study.protocol import EXTRA

OWN = ("seed", "optimizer.lr")  # what a study chooses itself
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


def checked(options: Any) -> dict[str, Any]:
    """The options of a study. Raises ``ConfigError`` for what is missing, unknown or cannot be."""
    given = dict(options or {})
    for name in given:
        if name not in OPTIONS:
            raise ConfigError(
                f"study.{name} is not an option of a study; {suggest(str(name), OPTIONS)}."
            )
    for name in OPTIONS:
        if name not in given:
            raise ConfigError(f"study.{name} is missing; conf/study/fair.yaml has its default.")
    for name, least in (("seeds", 2), ("fixed_points", 3), ("per_decade", 1), ("extensions", 0)):
        whole(given[name], f"study.{name}", least)
    for name in ("margin", "decades"):
        positive(given[name], f"study.{name}")
    _check_knobs(given["knobs"])
    return given


def _check_knobs(knobs: Any) -> None:
    """Raise ``ConfigError`` unless every strategy that is named exists and has its options with two further values each."""
    example = "{dwa: {weighting.temperature: [1, 5]}}"
    if not isinstance(knobs, Mapping):
        raise ConfigError(
            f"study.knobs must name options and two values each, e.g. {example}; found {knobs!r}."
        )
    known = sorted(path.stem for path in (conf_directory() / "weighting").glob("*.yaml"))
    for name, options in knobs.items():
        own = Path.cwd() / "conf" / "weighting" / f"{name}.yaml"
        if name not in known and not own.exists():
            raise ConfigError(
                f"study.knobs names the unknown weighting {name!r}; {suggest(str(name), known)}."
            )
        if not isinstance(options, Mapping) or not all(
            isinstance(v, list) and len(v) == EXTRA for v in options.values()
        ):
            raise ConfigError(
                f"study.knobs.{name} must give two values for an option, e.g. {example}; found {options!r}."
            )


def refuse_own(parsed: Sequence[Override]) -> None:
    """Raise ``ConfigError`` where the command line sweeps over what a study chooses itself."""
    for override in parsed:
        if override.key_or_group in OWN and override.is_sweep_override():
            raise ConfigError(
                f"A study chooses {override.key_or_group} itself; give one number, the middle of the learning rates or the seed of the tuning, "
                "and study.seeds."
            )
        if re.match(r"data(\.|$)", override.key_or_group) and override.is_sweep_override():
            raise ConfigError("A study is about one dataset; start one study for each.")


def candidates_of(
    parsed: Sequence[Override], knobs: Mapping[str, Mapping[str, Sequence[Any]]], default: str
) -> list[Candidate]:
    """Equal weights, the single-task baseline, and every combination of what the command line sweeps over, each once.

    ``default``: the weighting where none is swept.
    """
    found = [
        Candidate("equal", "equal", ("weighting=fixed",)),
        Candidate("single_task", "single_task", ("weighting=single_task",)),
    ]
    swept = [
        list(dict.fromkeys(f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()))
        for o in parsed
        if o.is_sweep_override()
    ]
    if not swept:
        raise ConfigError(
            "A study compares strategies; name some: weighting=fixed,uncertainty,dwa."
        )
    for combination in itertools.product(*swept):
        chosen = dict(part.split("=", 1) for part in combination)
        if combination in (("weighting=fixed",), ("weighting=single_task",)):
            continue  # there already
        rest = [
            f"{key.rsplit('.', 1)[-1]}={value}"
            for key, value in chosen.items()
            if key != "weighting"
        ]
        weighting = chosen.get("weighting", default)
        options = knobs.get(weighting, {})
        knob = next(
            (
                (key, tuple(map(str, values)))
                for key, values in options.items()
                if key not in chosen
            ),
            None,
        )
        given = any("weighting.weights" in override.key_or_group for override in parsed)
        role = "fixed" if weighting == "fixed" and given else "strategy"
        name = ", ".join([*([chosen["weighting"]] if "weighting" in chosen else []), *rest])
        found.append(Candidate(name, role, tuple(combination), knob))
    return found


def limit_of(budget: Any, steps: int) -> float:
    """The most runs that ``study.budget`` allows."""
    if budget is None:
        return math.inf
    match = re.fullmatch(r"(\d+)(?:\s*(runs|steps))?", str(budget).strip())
    if match is None or int(match.group(1)) < 1:
        raise ConfigError(
            f"study.budget={budget!r} is unknown; give a number of runs (400) or of steps ('200000 steps')."
        )
    number = int(match.group(1))
    return number // steps if match.group(2) == "steps" else number
