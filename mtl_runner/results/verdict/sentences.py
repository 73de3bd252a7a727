"""Verdicts in plain English: per strategy, per data set, and what a better answer would need."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mtl_runner.results.records.evidence import FINISHED, DatasetEvidence
from mtl_runner.results.statistics.failures import Failures
from mtl_runner.results.statistics.paired import LEVEL, Paired, least_p
from mtl_runner.results.text import number
from mtl_runner.results.verdict.verdict import (
    BETTER,
    HELPS,
    HURTS,
    NO_DIFFERENCE,
    STATIC,
    UNDECIDED,
    Verdict,
)

BEST = "the best fixed weights"
METRICS = "main metrics"  # the quantity where there is no mean relative loss
NEGLIGIBLE = 0.0005  # smaller relative differences would print as 0


def describe(verdict: Verdict) -> str:
    """Return one line: the verdict, then its numbers, then what is missing."""
    v = verdict
    equal = v.versus_equal
    seeds = _seeds(equal.count if equal else v.seeds)
    plural = v.role == "fixed"
    parts = [f"{v.strategy}{f' ({BEST})' if plural else ''} {_claim(v, seeds)}"]
    unit = "error" if v.quantity == METRICS else "loss"
    if equal is None:
        parts.append("there are no equal weights to compare with")
    elif equal.count == 0:
        parts.append("no run has a finished pair with equal weights on the same seed")
    else:
        within = f", within ±{_percent(v.margin)}" if v.kind == NO_DIFFERENCE else ""
        parts.append(
            f"{_against(equal, unit)} equal weights ({_interval(equal, unit)}{within}; {_p_values(equal)})"
        )
        if v.kind == UNDECIDED and equal.low > v.margin and v.equal_failures.reliable:
            parts.append("not sure enough after Holm's correction over all judged strategies")
    if v.fixed and v.fixed == v.equal:
        parts.append("no fixed weights did better than equal ones on validation")
    elif v.versus_fixed is not None and v.versus_fixed.count:
        parts.append(f"{_against(v.versus_fixed, unit)} {BEST} ({_interval(v.versus_fixed, unit)})")
    if v.versus_twin is not None and v.versus_twin.count:
        parts.append(
            f"{_against(v.versus_twin, unit)} its frozen twin ({_interval(v.versus_twin, unit)})"
        )
    if v.kind in (HELPS, STATIC, BETTER) and math.isfinite(v.dominated):
        parts.append(f"dominated by fixed weights in {_percent(v.dominated)} of resamples")
    if v.kind == BETTER and not v.fixed:
        parts.append("without a fixed-weight sweep nobody knows whether static weights suffice")
    parts += _failures(v)
    if v.unfinished:
        parts.append(f"{v.unfinished} not finished")
    if equal is not None and equal.count and v.kind != UNDECIDED:
        parts.append(seeds)
    return f"{parts[0]}: {'; '.join(parts[1:])}."


def _claim(v: Verdict, seeds: str) -> str:
    """Return the verb of a verdict, in the plural for the best fixed weights."""
    plural = v.role == "fixed"
    if v.kind == BETTER and plural:
        return "beat equal weights"
    against = "undecided against fixed ones" if v.fixed else "not compared with fixed ones"
    return {
        NO_DIFFERENCE: "make no difference" if plural else "makes no difference",
        HELPS: "helps",
        STATIC: "helps, but static weights suffice",
        BETTER: f"beats equal weights, {against}",
        HURTS: "hurt" if plural else "hurts",
        UNDECIDED: f"{'are' if plural else 'is'} undecided with {seeds}",
    }[v.kind]


def _failures(v: Verdict) -> list[str]:
    """Return the failures of a strategy and of all that it was compared with."""
    parts = [f"{v.failed} of {v.seeds + v.failed} runs failed"] if v.failed else []
    references = {"equal weights": v.equal_failures, "its frozen twin": v.twin_failures}
    if v.fixed != v.equal:
        references[BEST] = v.fixed_failures
    parts += [_failed(name, failures) for name, failures in references.items() if failures.failed]
    equal = v.equal_failures
    if equal.lost or equal.won:
        parts.append(
            f"with {_seeds(equal.lost)} it alone failed, with {equal.won} equal weights alone (sign test: p {number(equal.p, 2)})"
        )
    return parts


def _failed(name: str, failures: Failures) -> str:
    few = "" if failures.reliable else ", too many to compare with the others"
    return f"{name} failed in {failures.failed} of {failures.runs} runs{few}"


def describe_given_up(verdict: Verdict) -> str:
    """Return the line of a strategy that a study gave up: it has no numbers to describe."""
    reason = verdict.reason.rstrip(".")
    if verdict.trials > 1:
        failure = f"none of its {verdict.trials} trials finished"
    else:
        failure = "its only trial did not finish"
    return f"{verdict.strategy} failed: {failure} ({reason})."


def answer(verdicts: Sequence[Verdict], data: str) -> str:
    """Return the answer for one data set: does weighting matter?

    Of fixed weights only the best are judged, and they are no method.
    """
    judged = [v for v in verdicts if v.data == data]
    if not judged or all(v.versus_equal is None for v in judged):
        return f"No verdict on {data}: there are no equal weights, or nothing to compare with them."
    judged = sorted(judged, key=lambda v: v.role == "fixed")
    methods = [v for v in judged if v.role != "fixed"]
    margin = _percent(judged[0].margin)
    if helps := _of_kind(methods, HELPS):
        return f"Weighting matters on {data}: {_who(helps)} beat{_s(helps)} equal and {BEST} by more than {margin}."
    better = _of_kind(judged, BETTER)
    if static := _of_kind(methods, STATIC):
        as_good = [v for v in better if v.role == "fixed"]
        return (
            f"Weights matter on {data}, but static ones suffice: {_who(static + as_good)} beat{_s(static + as_good)} equal weights by more than {margin}."
            " No method was shown to beat constant weights by as much."
        )
    if better:
        return f"Weights matter on {data}: {_who(better)} beat{_s(better)} equal weights by more than {margin}.{_against_constants(methods)}"
    if len(same := _of_kind(judged, NO_DIFFERENCE)) == len(judged):
        return f"Weighting makes no difference on {data}: {_who(same)} lie{_s(same)} within {margin} of equal weights."
    differs = any(v.kind != NO_DIFFERENCE for v in methods)
    return _mixed_answer(methods if differs else judged, data, margin)


def _against_constants(methods: Sequence[Verdict]) -> str:
    """Return what is open where weights matter, but neither methods nor constants were shown to."""
    if not methods:
        return ""
    better = _of_kind(methods, BETTER)
    if better and not any(v.fixed for v in better):
        return " Whether fixed weights do as well was not tried."
    open_question = (
        " Whether constant weights do as well as a method is undecided." if better else ""
    )
    return f" No method was shown to beat constant weights by as much.{open_question}"


def _mixed_answer(judged: Sequence[Verdict], data: str, margin: str) -> str:
    """Return the answer where nothing helps and not everything is the same."""
    hurts, same = _of_kind(judged, HURTS), _of_kind(judged, NO_DIFFERENCE)
    failed = [v for v in hurts if v.lost and not (v.versus_equal and v.versus_equal.count)]
    worse = [v for v in hurts if v not in failed]
    parts = [f"{_who(worse)} hurt{_s(worse)}"] if worse else []
    parts += [f"{_who(failed)} failed"] if failed else []
    parts += [f"{_who(same)} lie{_s(same)} within {margin} of equal weights"] if same else []
    unclear = _of_kind(judged, UNDECIDED)
    if not unclear:
        return f"No strategy helps on {data}: {'; '.join(parts)}."
    counts = sorted({v.versus_equal.count for v in unclear if v.versus_equal is not None})
    seeds = _seeds(counts[-1]) if counts else ""
    seeds = f"{counts[0]} to {seeds}" if len(counts) > 1 else seeds
    sentences = [f"On {data}, {_list(parts)}."] if parts else []
    start = "With" if sentences else f"On {data}, with"
    verb = "is" if _s(unclear) else "are"
    sentences.append(f"{start} {seeds}, {_who(unclear)} {verb} undecided.")
    return " ".join(sentences)


def basis(verdicts: Sequence[Verdict], data: str, split: str, at: str) -> str:
    """Return what the verdicts on a data set rest on: split, epoch, pairs, margin and quantity."""
    judged = [v for v in verdicts if v.data == data and v.versus_equal is not None]
    if not judged:
        return ""
    counts = [v.versus_equal.count for v in judged if v.versus_equal is not None]
    few = min((count for count in counts if count), default=0)
    many = max(counts)
    seeds = f"{many} paired seed{'' if many == 1 else 's'}"
    seeds = seeds if few == many else f"{few} to {seeds}"
    by_metrics = judged[0].quantity == METRICS
    quantity = "the log ratios of the main metrics" if by_metrics else "mean relative loss"
    name = {"test": "Test", "val": "Validation"}.get(split, split)
    epoch = "last epoch" if at == "final" else f"{at} epoch"
    chosen = " Validation chose everything." if split == "test" else ""
    return f"{name} split, {epoch}, {seeds}; a difference below {_percent(judged[0].margin)} counts as none. Judged by {quantity}.{chosen}"


def effects(verdict: Verdict) -> str:
    """Return the strategy's effect on every task's main metric; empty where it is unknown."""
    known = [e for e in verdict.effects if math.isfinite(e.equal) and math.isfinite(e.strategy)]
    if not known:
        return ""
    changes = [
        f"{e.task} {e.metric} {number(e.equal, 3)} to {number(e.strategy, 3)}" for e in known
    ]
    return f"From equal weights: {', '.join(changes)}."


def missing(data: DatasetEvidence) -> list[str]:
    """Return what a fair comparison would have and this one lacks, each with how to get it."""
    lines = []
    equal, fixed = data.of_role("equal"), data.of_role("fixed")
    methods = data.of_role("strategy")
    if not any(s.values for s in equal):
        failed = any(s.failures or s.unfinished for s in equal)
        lines.append(
            "No verdict: no run with equal weights finished."
            if failed
            else "No verdict: add weighting=fixed to the sweep for the equal-weight baseline."
        )
    elif methods and not any(s.values for s in fixed):
        lines.append(
            "No fixed-weight sweep: whether static weights suffice is open; add runs with weighting.weights.<task>=..., or +study=fair."
        )
    if unreliable := [s.name for s in fixed if not s.is_reference and s.failures]:
        lines.append(
            f"Less than {_percent(FINISHED)} of the runs finished, so not compared with: {', '.join(unreliable)}."
        )
    if data.has_several_settings:
        lines.append(
            "Equal weights were trained at several settings: each strategy is compared with those at its own; +study=fair tunes all alike."
        )
        if alone := [s.name for s in methods if s.values and data.equal_for(s) is None]:
            lines.append(
                f"No verdict on {_list(alone)}: no run with equal weights finished at the same settings."
            )
    if data.single_task is None:
        lines.append(
            "No delta-m: add weighting=single_task to the sweep for the single-task baseline."
        )
    counts = [len(s.values) for s in [*equal, *methods] if s.values]
    if any(s.values for s in equal) and methods and min(counts) < 2:
        lines.append("One seed says nothing about chance: add seed=range(0,10).")
    return lines


def _against(versus: Paired, unit: str) -> str:
    if _is_negligible(versus.mean):
        return "the same as"
    return f"{_worth(versus.mean, unit)} {'of' if _is_times(versus.mean) else 'than'}"


def _interval(versus: Paired, unit: str) -> str:
    """Return the interval from better to worse, each end with its word unless both share it."""
    if not versus.known:
        return "one pair, no interval"
    low, high = versus.low, versus.high
    if _is_negligible(low) and _is_negligible(high):
        return "95 % interval: the same"
    if low > 0 and _is_times(low):
        return f"95 % interval: {_times(low)} to {_worth(high, unit)}"
    if low * high > 0 and not any(map(_is_negligible, (low, high))) and not _is_times(high):
        near, far = sorted((abs(low), abs(high)))
        ends = [_short(100 * end) for end in (near, far)]
        ends = ends if ends[0] != ends[1] else [number(100 * end, 3) for end in (near, far)]
        return f"95 % interval: {ends[0]} to {ends[1]} % {'better' if low < 0 else 'worse'}"
    return f"95 % interval: {_worth(low, unit)} to {_worth(high, unit)}"


def _worth(change: float, unit: str) -> str:
    """Return a relative difference in words: 8 % better, 17 % worse, 3.2 times the loss."""
    if _is_negligible(change):
        return "the same"
    if _is_times(change):
        return f"{_times(change)} times the {unit}"
    return f"{_percent(abs(change))} {'better' if change < 0 else 'worse'}"


def _is_negligible(change: float) -> bool:
    return abs(change) < NEGLIGIBLE


def _is_times(change: float) -> bool:
    return change >= 1


def _times(change: float) -> str:
    return _short(1 + change)


def _p_values(versus: Paired) -> str:
    if least_p(versus.count) > LEVEL:
        return f"{_seeds(versus.count)} cannot reach p < .05"
    holm = f", {number(versus.p_holm, 2)} after Holm" if math.isfinite(versus.p_holm) else ""
    return f"p {number(versus.p, 2)}{holm}"


def _percent(fraction: float) -> str:
    return f"{_short(100 * fraction)} %"


def _short(value: float) -> str:
    """Return two significant digits, more where they would round to a hundred: 99.7, 130, 3.2."""
    if value < 99 or value >= 1e4:
        return number(value, 2)
    return number(value, 3 if value < 1e3 else 4)


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _of_kind(verdicts: Sequence[Verdict], kind: str) -> list[Verdict]:
    return [v for v in verdicts if v.kind == kind]


def _who(verdicts: Sequence[Verdict]) -> str:
    return _list([BEST if v.role == "fixed" else v.strategy for v in verdicts])


def _s(verdicts: Sequence[Verdict]) -> str:
    """Return the ending of their verb: one method helps; several, and fixed weights, help."""
    return "s" if len(verdicts) == 1 and verdicts[0].role != "fixed" else ""


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
