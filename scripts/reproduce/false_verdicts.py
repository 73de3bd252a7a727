"""Which verdicts on a simulated study are false, by its truth, and how often that happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from simulated_studies import Cell, studies

from mtl_runner.results.verdict.answers import answer
from mtl_runner.results.verdict.judge import MARGIN, verdicts
from mtl_runner.results.verdict.verdict import (
    BETTER,
    FEWEST,
    HELPS,
    HURTS,
    NO_DIFFERENCE,
    STATIC,
    Verdict,
)
from mtl_runner.results.verdict.wording import BEST

ROUNDING = 1e-9  # of a change that lies exactly at the margin
FAVOURABLE = (HELPS, STATIC, BETTER)  # each says: better than equal weights beyond the margin

# The kinds of false verdicts, and what is said of a strategy although it is not so.
KINDS = {
    "hurts": "a strategy is worse than equal weights beyond the margin",
    "better": "a method is better than equal weights beyond the margin",
    "fixed better": "the best fixed weights are better than equal ones beyond the margin",
    "helps": "a method that is better than equal weights is better than constants, too",
    "static": "a method that is better than equal weights is no better than constants",
    "no difference": "the one strategy at the margin lies within it",
    "any no difference": "some strategy lies within the margin, where several lie at it",
    "headline": "the answer for the data set has a false one of these, or that nothing differs",
}
SEVERAL = "any no difference"  # the only kind that is not corrected for the number of strategies
FOUND = "found"  # a method that is better beyond the margin is said to be better
UNCORRECTED = "one interval"  # the same by its 95 % interval alone, as if it were the only one


def false_kind(cell: Cell, strategy: str, role: str, kind: str) -> str:
    """Return in which way a verdict is false; empty if it is true or says nothing.

    A change that lies exactly at the margin is not beyond it and not within it, so that the
    probability of a false verdict is largest there.

    Args:
        cell: The truth of the study.
        strategy: The name of the strategy.
        role: Its role, ``"strategy"`` or ``"fixed"``.
        kind: The verdict on it.
    """
    change = cell.changes[strategy]
    if kind == HURTS:
        return "" if change > MARGIN + ROUNDING else "hurts"
    if kind == NO_DIFFERENCE:
        return "" if abs(change) < MARGIN - ROUNDING else "no difference"
    if kind not in FAVOURABLE:
        return ""
    if not is_better(cell, strategy):
        return "fixed better" if role == "fixed" else "better"
    constants = [*cell.fixed, 0.0, *([cell.twin_change(strategy)] if cell.twins else [])]
    least_gain = max((1 + change) / (1 + constant) - 1 for constant in constants)
    if kind == HELPS and not least_gain < -MARGIN - ROUNDING:
        return "helps"
    if kind == STATIC and not least_gain > -MARGIN + ROUNDING:
        return "static"
    return ""


def is_better(cell: Cell, strategy: str) -> bool:
    """Return whether a strategy is better than equal weights beyond the margin."""
    return cell.changes[strategy] < -MARGIN - ROUNDING


def possible_kinds(cell: Cell) -> set[str]:
    """Return the kinds of false verdicts that there can be, and what can be found."""
    judged = [c for c in cell.candidates if c.role != "equal"]
    kinds = _renamed(
        cell,
        {
            false_kind(cell, c.name, c.role, kind)
            for c in judged
            for kind in (HURTS, NO_DIFFERENCE, STATIC, *((HELPS,) if c.role != "fixed" else ()))
        },
    )
    if any(is_better(cell, c.name) for c in judged if c.role == "strategy"):
        kinds |= {FOUND, UNCORRECTED}
    return kinds | {"headline"}


def events(cell: Cell, judged: Iterable[Verdict]) -> set[str]:
    """Return the kinds of false verdicts on one study, and what was found.

    Args:
        cell: The truth of the study.
        judged: The verdicts on its strategies.
    """
    judged = list(judged)
    kinds = {v.strategy: false_kind(cell, v.strategy, v.role, v.kind) for v in judged}
    happened = _renamed(cell, set(kinds.values()))
    # That single strategies lie within the margin is said, and counted, of each by itself.
    claims = {name: kind for name, kind in kinds.items() if kind != "no difference"}
    if all(v.kind == NO_DIFFERENCE for v in judged):
        claims = kinds
    headline = answer(judged, "d").replace(f"equal and {BEST}", "them")
    named = [v for v in judged if (BEST if v.role == "fixed" else v.strategy) in headline]
    if any(claims.get(v.strategy) for v in named):
        happened.add("headline")
    for verdict in judged:
        if verdict.role == "strategy" and is_better(cell, verdict.strategy):
            if verdict.kind in FAVOURABLE:
                happened.add(FOUND)
            equal = verdict.versus_equal
            if equal is not None and equal.count >= FEWEST and equal.high < -MARGIN:
                happened.add(UNCORRECTED)
    return happened


def _renamed(cell: Cell, kinds: set[str]) -> set[str]:
    """Return kinds without the empty one, and with the name for several strategies at the margin."""
    several = sum(abs(change) >= MARGIN - ROUNDING for change in cell.methods) > 1
    names = {"no difference": SEVERAL} if several else {}
    return {names.get(kind, kind) for kind in kinds if kind}


def count_events(cell: Cell, count: int, seed: int = 0) -> Counter[str]:
    """Return in how many simulated studies there is a false verdict of each kind.

    Args:
        cell: The truth of the studies.
        count: Their number.
        seed: The seed of their random numbers.
    """
    counts: Counter[str] = Counter()
    for evidence in studies(cell, count, seed):
        counts.update(events(cell, verdicts(evidence)))
    return counts
