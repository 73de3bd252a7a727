"""The option ``study.regularisation``: options that every candidate tries to be regularised by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number
from mtl_runner.errors.words import counted
from mtl_runner.study.plan import Candidate, Plan
from mtl_runner.study.tuning import Tuning

Axis = tuple[tuple[str, tuple[str, ...]], ...]
EXAMPLE = "{optimizer.weight_decay: [0.0001, 0.01]}"
# Groups whose options are the same for all candidates, and no part of a strategy.
GROUPS = ("optimizer", "model")
# How the note names a role, in the order in which it names them.
NAMES = {
    "equal": "equal weights",
    "strategy": "the strategies",
    "fixed": "the fixed weightings",
    "single_task": "single-task training",
}


def regularisation_of(asked: Any) -> Axis:
    """Return the option as the plan of a study has it.

    Args:
        asked: The option: values to try for each of some options, or an empty mapping.

    Raises:
        ConfigError: If it is none.

    Example:
        >>> regularisation_of({"optimizer.weight_decay": [0.0001, 0.01]})
        (('optimizer.weight_decay', ('0.0001', '0.01')),)
    """
    if not isinstance(asked, Mapping):
        raise ConfigError(
            f"study.regularisation must give values for options, e.g. {EXAMPLE}; found {asked!r}."
        )
    for key, values in asked.items():
        group, _, option = str(key).partition(".")
        if group not in GROUPS or not option or key == "optimizer.lr":
            raise ConfigError(
                f"study.regularisation.{key} must be an option of the optimizer or of the model, e.g. {EXAMPLE}."
            )
        if not (isinstance(values, list) and values and all(map(is_number, values))):
            raise ConfigError(
                f"study.regularisation must give a list of numbers for {key}, e.g. {EXAMPLE}; found {values!r}."
            )
    return tuple((str(key), tuple(map(str, values))) for key, values in asked.items())


def regularisation_note(
    plan: Plan,
    candidates: Sequence[Candidate],
    tuning: Mapping[str, Tuning],
    before: Mapping[str, float],
) -> str:
    """Return by how much regularisation lowered the monitors of the tuning, in a sentence.

    Args:
        plan: The numbers of the study.
        candidates: All that were tuned.
        tuning: Their trials.
        before: The best monitor of each without regularisation.

    Example:
        >>> from mtl_runner.study.tuning import Trial
        >>> plan = Plan(lr=1e-3, regularisation=(("model.dropout", ("0.1",)),))
        >>> equal = Candidate("equal", "equal", ())
        >>> tuning = {"equal": Tuning(1, [Trial(1e-3, ("model.dropout=0.1",), (0.4,))])}
        >>> regularisation_note(plan, [equal], tuning, {"equal": 0.5})
        'Regularisation (model.dropout) was chosen by 1 of 1 candidate; it lowered the monitor of the tuning by 20.0 % for equal weights.'
    """
    keys = ", ".join(key for key, _ in plan.regularisation)
    chosen = [c for c in candidates if plan.regularising(tuning[c.name].settled.extra_overrides)]
    parts = []
    for role, name in NAMES.items():
        falls = [
            1 - tuning[c.name].best.monitor / before[c.name]
            for c in candidates
            if c.role == role and before[c.name] > 0 and math.isfinite(before[c.name])
        ]
        if falls:
            median = f" (median of {len(falls)})" if len(falls) > 1 else ""
            parts.append(f"{100 * statistics.median(falls):.1f} % for {name}{median}")
    lowered = f"; it lowered the monitor of the tuning by {', '.join(parts)}" if parts else ""
    return f"Regularisation ({keys}) was chosen by {len(chosen)} of {counted(len(candidates), 'candidate')}{lowered}."
