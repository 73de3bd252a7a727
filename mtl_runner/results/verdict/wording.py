"""Differences, numbers of pairs and names of strategies in words, shared by all sentences."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_runner.errors.words import counted
from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.text import number
from mtl_runner.results.verdict.verdict import Verdict

BEST = "the best fixed weights"
NEGLIGIBLE = 0.0005  # smaller relative differences would print as 0


def against(versus: Paired, unit: str) -> str:
    """Return a mean difference in words: ``8 % better than``, ``3.2 times the loss of``."""
    if _is_negligible(versus.mean):
        return "the same as"
    return f"{worth(versus.mean, unit)} {'of' if _is_times(versus.mean) else 'than'}"


def interval_words(versus: Paired, unit: str, narrow: bool = False) -> str:
    """Return the interval from better to worse, each end with its word unless both share it.

    Args:
        versus: The differences.
        unit: What they are differences of, loss or error.
        narrow: Whether to return the 90 % interval instead of that of 95 %.
    """
    if not versus.known:
        return "one pair, no interval"
    low, high = (versus.low90, versus.high90) if narrow else (versus.low, versus.high)
    level = "90 %" if narrow else "95 %"
    if _is_negligible(low) and _is_negligible(high):
        return f"{level} interval: the same"
    if low > 0 and _is_times(low):
        return f"{level} interval: {_times(low)} to {worth(high, unit)}"
    if low * high > 0 and not any(map(_is_negligible, (low, high))) and not _is_times(high):
        near, far = sorted((abs(low), abs(high)))
        ends = [short(100 * end) for end in (near, far)]
        ends = ends if ends[0] != ends[1] else [number(100 * end, 3) for end in (near, far)]
        return f"{level} interval: {ends[0]} to {ends[1]} % {'better' if low < 0 else 'worse'}"
    return f"{level} interval: {worth(low, unit)} to {worth(high, unit)}"


def worth(change: float, unit: str) -> str:
    """Return a relative difference in words: 8 % better, 17 % worse, 3.2 times the loss."""
    if _is_negligible(change):
        return "the same"
    if _is_times(change):
        return f"{_times(change)} times the {unit}"
    return f"{percent(abs(change))} {'better' if change < 0 else 'worse'}"


def _is_negligible(change: float) -> bool:
    return abs(change) < NEGLIGIBLE


def _is_times(change: float) -> bool:
    return change >= 1


def _times(change: float) -> str:
    return short(1 + change)


def percent(fraction: float) -> str:
    """Return a fraction in percent with two significant digits."""
    return f"{short(100 * fraction)} %"


def short(value: float) -> str:
    """Return a positive number with two significant digits, or more from a hundred on.

    Example:
        >>> short(3.21), short(99.72), short(128.4)
        ('3.2', '99.7', '128')
    """
    if value < 99 or value >= 1e4:
        return number(value, 2)
    return number(value, 3 if value < 1e3 else 4)


def paired_words(count: int, replicate: str) -> str:
    """Return a number of pairs in words: ``5 paired seeds``."""
    return counted(count, f"paired {replicate}")


def same_words(replicate: str) -> str:
    """Return what two runs of a pair have in common: ``the same fold``."""
    return f"the same {'seed and fold' if replicate == 'run' else replicate}"


def of_kind(verdicts: Sequence[Verdict], kind: str) -> list[Verdict]:
    """Return the verdicts of one kind."""
    return [v for v in verdicts if v.kind == kind]


def names_of(verdicts: Sequence[Verdict]) -> str:
    """Return the names of strategies in a list."""
    return listed([BEST if v.role == "fixed" else v.strategy for v in verdicts])


def verb_ending(verdicts: Sequence[Verdict]) -> str:
    """Return the ending of their verb: one method helps; several, and fixed weights, help."""
    return "s" if len(verdicts) == 1 and verdicts[0].role != "fixed" else ""


def listed(names: Sequence[str]) -> str:
    """Return names with commas and an "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
