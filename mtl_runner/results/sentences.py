"""Verdicts in plain English: one line per strategy, one per data set, and what is missing for a better answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtl_runner.results.evidence import DataSet
from mtl_runner.results.paired import LEVEL, Paired, least_p
from mtl_runner.results.text import number

if TYPE_CHECKING:
    from mtl_runner.results.verdict import Verdict


def describe(verdict: Verdict) -> str:
    """One line: the verdict, then its numbers, then what is missing."""
    v = verdict
    equal = v.versus_equal
    seeds = f"{equal.count if equal else v.seeds} seed{'' if (equal.count if equal else v.seeds) == 1 else 's'}"
    start = {
        "no difference": "makes no difference",
        "helps": "helps",
        "static weights suffice": "beat equal weights: static weights suffice"
        if v.role == "fixed"
        else "helps, but static weights suffice",
        "hurts": "hurts" if v.role != "fixed" else "hurt",
        "undecided": f"is undecided with {seeds}",
    }[v.kind]
    parts = [f"{v.strategy} {start}"]
    if equal is None:
        parts.append("there are no equal weights to compare with")
    elif equal.count == 0:
        parts.append("no run has a finished pair with equal weights on the same seed")
    else:
        within = f", within ±{_percent(v.margin)}" if v.kind == "no difference" else ""
        parts.append(f"{_against(equal)} equal weights ({_interval(equal)}{within}; {_p_values(equal)})")
    if v.fixed and v.fixed == v.equal:
        parts.append("no fixed weights are better than equal ones")
    elif v.versus_fixed is not None and v.versus_fixed.count:
        parts.append(f"{_against(v.versus_fixed)} the best fixed weights ({v.fixed}; {_interval(v.versus_fixed)})")
    if v.versus_twin is not None and v.versus_twin.count:
        parts.append(f"{_against(v.versus_twin)} its frozen twin ({_interval(v.versus_twin)})")
    if v.kind in ("helps", "static weights suffice") and math.isfinite(v.dominated):
        parts.append(f"dominated by fixed weights in {_percent(v.dominated)} of resamples")
    if v.kind == "undecided" and equal is not None and equal.high < -v.margin and not v.fixed and not v.lost:
        parts.append("better than equal weights, but without a fixed-weight sweep nobody knows whether static weights suffice")
    if v.failed:
        parts.append(f"{v.failed} of {v.seeds + v.failed} runs failed")
    if v.unfinished:
        parts.append(f"{v.unfinished} not finished")
    if equal is not None and equal.count and v.kind != "undecided":
        parts.append(seeds)
    return f"{parts[0]}: {'; '.join(parts[1:])}."


def answer(found: Sequence[Verdict], data: str) -> str:
    """The answer for one data set: does weighting matter?"""
    mine = [v for v in found if v.data == data]
    by_kind = {kind: [v.strategy for v in mine if v.kind == kind] for kind in dict.fromkeys(v.kind for v in mine)}
    if not mine or all(v.versus_equal is None for v in mine):
        return f"No verdict on {data}: there are no equal weights, or nothing to compare with them."
    margin = _percent(mine[0].margin)
    if helps := by_kind.get("helps"):
        return f"Weighting matters on {data}: {_list(helps)} beat{'s' if len(helps) == 1 else ''} equal and the best fixed weights by more than {margin}."
    if static := by_kind.get("static weights suffice"):
        return f"Weights matter on {data}, but static ones suffice: {_list(static)} beat{'s' if len(static) == 1 else ''} equal weights by more than {margin}, and no method beats the best fixed weights."
    if len(by_kind.get("no difference", [])) == len(mine):
        names = [v.strategy for v in mine]
        return f"Weighting makes no difference on {data}: {_list(names)} {'lies' if len(names) == 1 else 'lie'} within {margin} of equal weights."
    hurts, same = by_kind.get("hurts", []), by_kind.get("no difference", [])
    parts = [f"{_list(same)} within {margin} of equal weights"] if same else []
    parts += [f"{_list(hurts)} worse by more than {margin} or failed"] if hurts else []
    if open_ := by_kind.get("undecided", []):
        return f"Undecided on {data}: {'; '.join([f'more seeds or references are needed for {_list(open_)}', *parts])}."
    return f"No strategy helps on {data}: {'; '.join(parts)}."


def missing(data: DataSet) -> list[str]:
    """What a fair comparison would have and this one lacks, each with how to get it."""
    lines = []
    if data.equal is None:
        failed = [s for s in data.of_role("equal") if s.failures or s.unfinished]
        lines.append(
            "No verdict: no run with equal weights finished."
            if failed
            else "No verdict: add weighting=fixed to the sweep for the equal-weight baseline."
        )
    elif data.best_fixed is None and data.of_role("strategy"):
        lines.append(
            "No fixed-weight sweep: whether static weights suffice is open; add runs with weighting.weights.<task>=..., or +study=fair."
        )
    if data.single_task is None:
        lines.append("No delta-m: add weighting=single_task to the sweep for the single-task baseline.")
    counts = [len(s.values) for s in data.of_role("equal", "strategy") if s.values]
    if data.equal is not None and data.of_role("strategy") and min(counts) < 2:
        lines.append("One seed says nothing about chance: add seed=range(0,10).")
    return lines


def _against(found: Paired) -> str:
    if found.mean == 0:
        return "equal to"
    return f"{_percent(abs(found.mean))} {'better' if found.mean < 0 else 'worse'} than"


def _interval(found: Paired) -> str:
    """In percent, counted in the direction of the word before it: better or worse."""
    if not found.known:
        return "one pair, no interval"
    sign = -1 if found.mean < 0 else 1
    low, high = sorted((sign * found.low, sign * found.high))
    return f"95 % interval {number(100 * low + 0.0, 3)} to {number(100 * high + 0.0, 3)} %"


def _p_values(found: Paired) -> str:
    if least_p(found.count) > LEVEL:
        return f"{found.count} seed{'' if found.count == 1 else 's'} cannot reach p < .05"
    holm = f", {number(found.p_holm, 2)} after Holm" if math.isfinite(found.p_holm) else ""
    return f"p {number(found.p, 2)}{holm}"


def _percent(fraction: float) -> str:
    return f"{number(100 * fraction, 3)} %"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
