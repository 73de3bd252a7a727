"""The verdict on one strategy in plain English."""

from __future__ import annotations

import math

from mtl_runner.errors.words import counted
from mtl_runner.results.statistics.failures import Failures
from mtl_runner.results.text import number
from mtl_runner.results.verdict.verdict import (
    BETTER,
    FEWEST,
    HELPS,
    HURTS,
    METRICS,
    NO_DIFFERENCE,
    STATIC,
    UNDECIDED,
    Verdict,
)
from mtl_runner.results.verdict.wording import (
    BEST,
    against,
    interval_words,
    percent,
    same_words,
)


def describe(verdict: Verdict) -> str:
    """Return one line: the verdict, then its numbers, then what is missing."""
    v = verdict
    equal = v.versus_equal
    replicates = counted(equal.count if equal else v.seeds, v.replicate)
    plural = v.role == "fixed"
    parts = [f"{v.strategy}{f' ({BEST})' if plural else ''} {_claim(v, replicates)}"]
    unit = "error" if v.quantity == METRICS else "loss"
    by_failures = _hurts_by_failures(v)
    if by_failures:
        # The losses of the runs that survive say nothing beside them.
        parts += _failures(v)
    if equal is None:
        parts.append("there are no equal weights to compare with")
    elif equal.count == 0:
        parts.append(f"no run has a finished pair with equal weights on {same_words(v.replicate)}")
    else:
        if v.kind == NO_DIFFERENCE:
            words = f"{interval_words(equal, unit, narrow=True)}, within ±{percent(v.margin)}"
        else:
            words = interval_words(equal, unit) + ("" if by_failures else _p_value(v))
        parts.append(f"{against(equal, unit)} equal weights ({words})")
        if equal.known and equal.count < FEWEST:
            parts.append(f"fewer than {FEWEST} {v.replicate}s settle nothing")
        elif v.kind == UNDECIDED and _is_beyond(v) and not _is_held_back_by_failures(v):
            parts.append(f"not sure enough among {counted(v.family, 'strategy')}")
    if v.fixed and v.fixed == v.equal:
        parts.append("no fixed weights did better than equal ones on validation")
    elif v.versus_fixed is not None and v.versus_fixed.count:
        parts.append(
            f"{against(v.versus_fixed, unit)} {BEST} ({interval_words(v.versus_fixed, unit)})"
        )
    if v.criteria_disagree and v.geometric is not None:
        parts.append(
            f"by the geometric mean over tasks {against(v.geometric, unit)} equal weights ({interval_words(v.geometric, unit)}), and better in {v.tasks_better} of {v.tasks} tasks"
        )
    if v.versus_twin is not None and v.versus_twin.count:
        parts.append(
            f"{against(v.versus_twin, unit)} its frozen twin ({interval_words(v.versus_twin, unit)})"
        )
    if v.kind == BETTER and not v.fixed:
        parts.append("without a fixed-weight sweep nobody knows whether static weights suffice")
    if v.is_optimizer and v.kind not in (NO_DIFFERENCE, UNDECIDED):
        parts.append("it is an optimizer for every task, and no weighting")
    if not by_failures:
        parts += _failures(v)
    if v.refused:
        parts.append(f"{v.refused} not run ({v.reason.rstrip('.')})")
    if v.unfinished:
        parts.append(f"{v.unfinished} not finished")
    if equal is not None and equal.count and v.kind != UNDECIDED:
        parts.append(replicates)
    return f"{parts[0]}: {'; '.join(parts[1:])}."


def _is_beyond(v: Verdict) -> bool:
    """Return whether the interval itself lies beyond the margin."""
    equal = v.versus_equal
    return equal is not None and (equal.low > v.margin or equal.high < -v.margin)


def _hurts_by_failures(v: Verdict) -> bool:
    """Return whether a strategy hurts since it fails, and not by its losses."""
    if v.kind != HURTS or v.equal_failures.lost <= v.equal_failures.won:
        return False
    return v.versus_equal is None or not v.versus_equal.low > v.margin


def _is_held_back_by_failures(v: Verdict) -> bool:
    """Return whether failed runs, and not chance, are why a verdict is not given."""
    failed = v.equal_failures
    is_ahead = v.versus_equal is not None and v.versus_equal.high < -v.margin
    return not failed.reliable or (is_ahead and failed.lost > failed.won)


def _p_value(v: Verdict) -> str:
    """Return the p-value that decides; empty where none does."""
    p = {HELPS: v.p_helps, STATIC: v.p_static, BETTER: v.p_better, HURTS: v.p_hurts}.get(v.kind)
    if v.kind == UNDECIDED and v.versus_equal is not None and _is_beyond(v):
        p = v.p_hurts if v.versus_equal.low > 0 else v.p_better
    if p is None or not math.isfinite(p):
        return ""
    corrected = f" after correction for {v.family} strategies" if v.family > 1 else ""
    return f"; p {number(p, 2)}{corrected}"


def _claim(v: Verdict, replicates: str) -> str:
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
        UNDECIDED: f"{'are' if plural else 'is'} undecided with {replicates}",
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
            f"with {counted(equal.lost, v.replicate)} it alone failed, with {equal.won} equal weights alone (sign test: p {number(equal.p, 2)})"
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


def describe_refused(verdict: Verdict) -> str:
    """Return the line of a strategy that cannot run on the problem."""
    return f"{verdict.strategy} is not applicable here: {verdict.reason.rstrip('.')}."


def effects(verdict: Verdict) -> str:
    """Return the strategy's effect on every task's main metric; empty where it is unknown."""
    known = [e for e in verdict.effects if math.isfinite(e.equal) and math.isfinite(e.strategy)]
    if not known:
        return ""
    changes = [
        f"{e.task} {e.metric} {number(e.equal, 3)} to {number(e.strategy, 3)}" for e in known
    ]
    return f"From equal weights: {', '.join(changes)}."
