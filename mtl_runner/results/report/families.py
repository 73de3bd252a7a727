"""Families of strategies, which share a colour, and the strategies that are drawn at first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from mtl_runner.results.records.dataset import DatasetRuns, Strategy
from mtl_runner.results.records.roles import RunRole
from mtl_runner.results.statistics.intervals import interval

DRAWN = 8  # strategies that the curves show at first: as many as there are colours
RATE = "optimizer.lr"


def families_of_roles(roles: Sequence[RunRole]) -> dict[int, str]:
    """Return each run's family, by the role's id: its strategy without settings that are numbers.

    ``dwa, lr=0.001`` and ``dwa, lr=0.003`` are ``dwa``, and so is its frozen twin; ``fixed y1=0.5
    y2=1.5`` is ``fixed``. If then nothing varies any more, only the learning rate is left out, and
    if nothing varies even so, nothing.
    """

    def without(role: RunRole, drop: Callable[[str], bool]) -> str:
        first, *settings = (role.twin_of or role.strategy).split(", ")
        words = [word for word in first.split(" ") if role.role != "fixed" or not drop(word)]
        return ", ".join([" ".join(words) or first, *(s for s in settings if not drop(s))])

    def is_number(setting: str) -> bool:
        return "=" in setting

    def is_rate(setting: str) -> bool:
        return setting.startswith(("lr=", f"{RATE}="))

    def is_nothing(setting: str) -> bool:
        return not setting

    names: dict[int, str] = {}
    for drop in (is_number, is_rate, is_nothing):
        names = {id(role): without(role, drop) for role in roles}
        if len(set(names.values())) > 1:
            break
    return names


def families_of(data: DatasetRuns, families: Mapping[int, str]) -> dict[str, str]:
    """Return ``{strategy: family}``."""
    names: dict[str, str] = {}
    for role in data.roles:
        name = role.strategy if role.final or data.has_final_runs else role.trial
        names.setdefault(name, families[id(role)])
    return names


def drawn_at_first(data: DatasetRuns, family_of: Mapping[str, str], at: str) -> set[str]:
    """Return the best of equal weights, and the best few of each family's best by the monitor."""
    best: dict[str, tuple[bool, float, str]] = {}
    for strategy in data.shown:
        entry = (strategy.role == "twin", mean_monitor(strategy, at), strategy.name)
        family = family_of[strategy.name]
        best[family] = min(best.get(family, entry), entry)
    equal = [(mean_monitor(s, at), s.name) for s in data.shown if s.role == "equal"]
    names = [
        *(name for _, name in sorted(equal)[:1]),
        *(name for *_, name in sorted(best.values())),
    ]
    return set(list(dict.fromkeys(names))[:DRAWN])


def mean_monitor(strategy: Strategy, at: str) -> float:
    """Return the mean monitor, infinite where there is none: what is sorted by it comes last."""
    mean = interval(run.summary.monitor.at(at) for run in strategy.finished).mean
    return mean if math.isfinite(mean) else math.inf
