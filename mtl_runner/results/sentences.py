"""Verdicts in plain English: one line per strategy, one per data set, and what is missing for a better answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtl_runner.results.evidence import DatasetEvidence
from mtl_runner.results.paired import LEVEL, Paired, least_p
from mtl_runner.results.text import number

if TYPE_CHECKING:
    from mtl_runner.results.verdict import Verdict


BEST = "the best fixed weights"
METRICS = "main metrics"  # the quantity where there is no mean relative loss
NONE = 0.0005  # relative differences below it are none: they would print as 0


def describe(verdict: Verdict) -> str:
    """One line: the verdict, then its numbers, then what is missing."""
    v = verdict
    equal = v.versus_equal
    seeds = _seeds(equal.count if equal else v.seeds)
    plural = v.role == "fixed"
    start = {
        "no difference": "make no difference" if plural else "makes no difference",
        "helps": "helps",
        "static weights suffice": "help" if plural else "helps, but static weights suffice",
        "hurts": "hurt" if plural else "hurts",
        "undecided": f"{'are' if plural else 'is'} undecided with {seeds}",
    }[v.kind]
    parts = [f"{v.strategy}{f' ({BEST})' if plural else ''} {start}"]
    unit = "error" if v.quantity == METRICS else "loss"
    if equal is None:
        parts.append("there are no equal weights to compare with")
    elif equal.count == 0:
        parts.append("no run has a finished pair with equal weights on the same seed")
    else:
        within = f", within ±{_percent(v.margin)}" if v.kind == "no difference" else ""
        parts.append(
            f"{_against(equal, unit)} equal weights ({_interval(equal, unit)}{within}; {_p_values(equal)})"
        )
    if v.fixed and v.fixed == v.equal:
        parts.append("no fixed weights did better than equal ones on validation")
    elif v.versus_fixed is not None and v.versus_fixed.count:
        parts.append(f"{_against(v.versus_fixed, unit)} {BEST} ({_interval(v.versus_fixed, unit)})")
    if v.versus_twin is not None and v.versus_twin.count:
        parts.append(
            f"{_against(v.versus_twin, unit)} its frozen twin ({_interval(v.versus_twin, unit)})"
        )
    if v.kind in ("helps", "static weights suffice") and math.isfinite(v.dominated):
        parts.append(f"dominated by fixed weights in {_percent(v.dominated)} of resamples")
    if _open_lead(v):
        parts.append(
            "better than equal weights, but without a fixed-weight sweep nobody knows whether static weights suffice"
        )
    if v.failed:
        parts.append(f"{v.failed} of {v.seeds + v.failed} runs failed")
    if v.unfinished:
        parts.append(f"{v.unfinished} not finished")
    if equal is not None and equal.count and v.kind != "undecided":
        parts.append(seeds)
    return f"{parts[0]}: {'; '.join(parts[1:])}."


def answer(found: Sequence[Verdict], data: str) -> str:
    """The answer for one data set: does weighting matter? Of fixed weights only the best are judged, and they are no method."""
    mine = [v for v in found if v.data == data]
    if not mine or all(v.versus_equal is None for v in mine):
        return f"No verdict on {data}: there are no equal weights, or nothing to compare with them."
    mine = sorted(mine, key=lambda v: v.role == "fixed")
    methods = [v for v in mine if v.role != "fixed"]
    margin = _percent(mine[0].margin)
    if helps := _of_kind(methods, "helps"):
        return f"Weighting matters on {data}: {_who(helps)} beat{_s(helps)} equal and {BEST} by more than {margin}."
    if static := _of_kind(mine, "static weights suffice"):
        return (
            f"Weights matter on {data}, but static ones suffice: {_who(static)} beat{_s(static)} equal weights by more than {margin}."
            f"{' No method was shown to beat constant weights by as much.' if methods else ''}"
        )
    if len(same := _of_kind(mine, "no difference")) == len(mine):
        return f"Weighting makes no difference on {data}: {_who(same)} lie{_s(same)} within {margin} of equal weights."
    return _mixed(
        methods if any(v.kind != "no difference" for v in methods) else mine, data, margin
    )


def _mixed(judged: Sequence[Verdict], data: str, margin: str) -> str:
    """The answer where nothing helps and not everything is the same."""
    hurts, same = _of_kind(judged, "hurts"), _of_kind(judged, "no difference")
    failed = [v for v in hurts if v.lost and not (v.versus_equal and v.versus_equal.count)]
    worse = [v for v in hurts if v not in failed]
    parts = [f"{_who(worse)} hurt{_s(worse)}"] if worse else []
    parts += [f"{_who(failed)} failed"] if failed else []
    parts += [f"{_who(same)} lie{_s(same)} within {margin} of equal weights"] if same else []
    undecided = _of_kind(judged, "undecided")
    if not undecided:
        return f"No strategy helps on {data}: {'; '.join(parts)}."
    leads = [v for v in undecided if _open_lead(v)]
    rest = [v for v in undecided if v not in leads]
    counts = sorted({v.versus_equal.count for v in rest if v.versus_equal is not None})
    seeds = (
        f"{counts[0]} to {_seeds(counts[-1])}"
        if len(counts) > 1
        else _seeds(counts[0])
        if counts
        else ""
    )
    sentences = [f"On {data}, {_list(parts)}."] if parts else []
    if leads:
        start = "" if parts else f"On {data}, "
        sentences.append(
            f"{start}{_who(leads)} beat{_s(leads)} equal weights; whether fixed weights do as well was not tried."
        )
    if rest:
        start = "With" if sentences else f"On {data}, with"
        sentences.append(f"{start} {seeds}, {_who(rest)} {'is' if _s(rest) else 'are'} undecided.")
    return " ".join(sentences)


def basis(found: Sequence[Verdict], data: str, split: str, at: str) -> str:
    """What the verdicts on one data set rest on: the split, the epoch, the pairs, the margin and the quantity."""
    mine = [v for v in found if v.data == data and v.versus_equal is not None]
    if not mine:
        return ""
    counts = sorted(
        {v.versus_equal.count for v in mine if v.versus_equal is not None and v.versus_equal.count}
    ) or [0]
    few, many = counts[0], counts[-1]
    seeds = (
        f"{few} paired seed{'' if few == 1 else 's'}"
        if few == many
        else f"{few} to {many} paired seeds"
    )
    quantity = (
        "the log ratios of the main metrics"
        if mine[0].quantity == METRICS
        else "mean relative loss"
    )
    where = {"test": "Test", "val": "Validation"}.get(split, split)
    epoch = "last epoch" if at == "final" else f"{at} epoch"
    chosen = " Validation chose everything." if split == "test" else ""
    return f"{where} split, {epoch}, {seeds}; a difference below {_percent(mine[0].margin)} counts as none. Judged by {quantity}.{chosen}"


def effects(verdict: Verdict) -> str:
    """What the strategy does to every task's main metric, from equal weights to it; empty where that is not known."""
    known = [e for e in verdict.effects if math.isfinite(e.equal) and math.isfinite(e.strategy)]
    if not known:
        return ""
    return f"From equal weights: {', '.join(f'{e.task} {e.metric} {number(e.equal, 3)} to {number(e.strategy, 3)}' for e in known)}."


def missing(data: DatasetEvidence) -> list[str]:
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
        lines.append(
            "No delta-m: add weighting=single_task to the sweep for the single-task baseline."
        )
    counts = [len(s.values) for s in data.of_role("equal", "strategy") if s.values]
    if data.equal is not None and data.of_role("strategy") and min(counts) < 2:
        lines.append("One seed says nothing about chance: add seed=range(0,10).")
    return lines


def _against(found: Paired, unit: str) -> str:
    return (
        "the same as"
        if _is_none(found.mean)
        else f"{_worth(found.mean, unit)} {'of' if _is_times(found.mean) else 'than'}"
    )


def _interval(found: Paired, unit: str) -> str:
    """From better to worse, each end with its word unless both have the same."""
    if not found.known:
        return "one pair, no interval"
    low, high = found.low, found.high
    if _is_none(low) and _is_none(high):
        return "95 % interval: the same"
    if low > 0 and _is_times(low):
        return f"95 % interval: {_times(low)} to {_worth(high, unit)}"
    if low * high > 0 and not any(map(_is_none, (low, high))) and not _is_times(high):
        near, far = sorted((abs(low), abs(high)))
        ends = [_short(100 * end) for end in (near, far)]
        ends = ends if ends[0] != ends[1] else [number(100 * end, 3) for end in (near, far)]
        return f"95 % interval: {ends[0]} to {ends[1]} % {'better' if low < 0 else 'worse'}"
    return f"95 % interval: {_worth(low, unit)} to {_worth(high, unit)}"


def _worth(change: float, unit: str) -> str:
    """A relative difference in words: 8 % better, 17 % worse, 3.2 times the loss."""
    if _is_none(change):
        return "the same"
    if _is_times(change):
        return f"{_times(change)} times the {unit}"
    return f"{_percent(abs(change))} {'better' if change < 0 else 'worse'}"


def _is_none(change: float) -> bool:
    return abs(change) < NONE


def _is_times(change: float) -> bool:
    return change >= 1


def _times(change: float) -> str:
    return _short(1 + change)


def _p_values(found: Paired) -> str:
    if least_p(found.count) > LEVEL:
        return f"{_seeds(found.count)} cannot reach p < .05"
    holm = f", {number(found.p_holm, 2)} after Holm" if math.isfinite(found.p_holm) else ""
    return f"p {number(found.p, 2)}{holm}"


def _percent(fraction: float) -> str:
    return f"{_short(100 * fraction)} %"


def _short(value: float) -> str:
    """Two significant digits, more where rounding would say a round hundred: 99.7, 130, 3.2."""
    if value < 99 or value >= 1e4:
        return number(value, 2)
    return number(value, 3 if value < 1e3 else 4)


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _open_lead(v: Verdict) -> bool:
    """Better than equal weights beyond the margin, with no fixed weights to hold it against."""
    equal = v.versus_equal
    return (
        v.kind == "undecided"
        and equal is not None
        and equal.high < -v.margin
        and not v.fixed
        and not v.lost
    )


def _of_kind(found: Sequence[Verdict], kind: str) -> list[Verdict]:
    return [v for v in found if v.kind == kind]


def _who(found: Sequence[Verdict]) -> str:
    return _list([BEST if v.role == "fixed" else v.strategy for v in found])


def _s(found: Sequence[Verdict]) -> str:
    """The ending of their verb: one method helps, several and fixed weights help."""
    return "s" if len(found) == 1 and found[0].role != "fixed" else ""


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
