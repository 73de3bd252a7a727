"""Families: strategies that differ in numbers only, such as the points of a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.roles import RunRole

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


def family_colours(roles: Sequence[RunRole]) -> dict[str, int]:
    """Return the number of every family's colour, the same in the report and in all pictures."""
    families = families_of_roles(roles)
    names = dict.fromkeys(families[id(role)] for role in roles)
    return {name: i for i, name in enumerate(names)}


def family_of_strategies(data: DatasetRuns, families: Mapping[int, str]) -> dict[str, str]:
    """Return ``{strategy: family}``."""
    names: dict[str, str] = {}
    for role in data.roles:
        name = role.strategy if role.final or data.has_final_runs else role.trial
        names.setdefault(name, families[id(role)])
    return names
