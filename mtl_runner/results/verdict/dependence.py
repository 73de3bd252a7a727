"""Whether the verdicts of a study depend on its factors, such as the optimizer or the width.

A study with factors has a verdict at every combination of their levels. Two verdicts differ where
one level is decided for a strategy as better than equal weights, as no different or as worse, and
the other one otherwise. That alone is no evidence: each verdict has its own chance. So *depends* is
said where, beyond that, the strategy's relative change to equal weights differs between both levels:
per seed, the difference of the logarithms of both ratios, by Student's two-sided t test at 5 %
after Holm's correction over all strategies and pairs of levels. A strategy whose runs fail at one
level has no such difference there: the verdicts themselves then show it, one by its failures.
*Does not depend* is said where all strategies are decided alike at all levels. Everything else is
undecided.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mtl_runner.results.records.evidence import DatasetEvidence, Evidence
from mtl_runner.results.records.roles import group_name
from mtl_runner.results.statistics.differences import percentage, relative_changes
from mtl_runner.results.statistics.intervals import exceedance
from mtl_runner.results.statistics.paired import LEVEL, Paired, holm, paired
from mtl_runner.results.verdict.verdict import (
    BETTER,
    FEWEST,
    HELPS,
    HURTS,
    METRICS,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    STATIC,
    Verdict,
)
from mtl_runner.results.verdict.wording import interval_words, listed, worth

# What a verdict says of a strategy against equal weights; the others leave that open.
DIRECTIONS = {
    **dict.fromkeys((HELPS, STATIC, BETTER), "better than equal weights"),
    NO_DIFFERENCE: "no different from equal weights",
    HURTS: "worse than equal weights",
}


@dataclass(frozen=True)
class Interaction:
    """The change that a strategy makes at one level of a factor, and at another one.

    Attributes:
        problem: The data set.
        factor: The factor.
        levels: Two of its levels.
        group: The levels of the other factors, in words; empty without any.
        strategy: The strategy.
        kinds: Its verdicts at both levels.
        difference: How its change to equal weights at the second level differs from that at the
            first one: relative differences of the loss, below 0 is better.
        p: The p-value of no difference, after Holm's correction; NaN with fewer than three pairs.
        quantity: What is judged, "mean relative loss" or "main metrics".
    """

    problem: str
    factor: str
    levels: tuple[str, str]
    group: str
    strategy: str
    kinds: tuple[str, str]
    difference: Paired
    p: float
    quantity: str = ""

    @property
    def directions(self) -> tuple[str, str]:
        """The claims of both verdicts against equal weights; empty where they leave it open."""
        first, second = (DIRECTIONS.get(kind, "") for kind in self.kinds)
        return first, second

    @property
    def is_shown(self) -> bool:
        """Whether the verdict was shown to depend on the factor."""
        first, second = self.directions
        # Without a p-value one of them was decided by failed runs, which that verdict has tested.
        return bool(first and second) and first != second and not self.p > LEVEL

    @property
    def agrees(self) -> bool:
        """Whether both verdicts are decided, and say the same against equal weights."""
        return bool(self.directions[0]) and len(set(self.directions)) == 1


def interactions(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[Interaction]:
    """Return what every method changes at two levels of a factor, the others being the same.

    Args:
        evidence: The numbers of all data sets, one for every combination of levels.
        verdicts: The verdicts on them.
    """
    judged = {
        (v.data, v.strategy): v
        for v in verdicts
        if v.role == "strategy" and v.kind != NOT_APPLICABLE
    }
    pairs = [
        _interaction(first, second, factor, judged[first.name, name], judged[second.name, name])
        for factor in dict.fromkeys(name for data in evidence.datasets for name, _ in data.factors)
        for first, second in itertools.combinations(evidence.datasets, 2)
        if _differ_only_in(factor, first, second)
        for name in first.by_name
        if (first.name, name) in judged and (second.name, name) in judged
    ]
    corrected = holm([pair.p for pair in pairs])
    return [replace(pair, p=p) for pair, p in zip(pairs, corrected, strict=True)]


def dependence(pairs: Sequence[Interaction]) -> list[str]:
    """Return a sentence for every factor of every problem: does the verdict depend on it?

    Args:
        pairs: What the strategies change at pairs of levels.
    """
    groups: dict[tuple[str, str], list[Interaction]] = {}
    for interaction in pairs:
        groups.setdefault((interaction.problem, interaction.factor), []).append(interaction)
    several = len({problem for problem, _ in groups}) > 1
    return [
        f"{f'{problem}: ' if several else ''}{_sentence(factor, of_factor)}"
        for (problem, factor), of_factor in groups.items()
    ]


def _differ_only_in(factor: str, first: DatasetEvidence, second: DatasetEvidence) -> bool:
    """Return whether two groups of a study differ in one factor alone."""
    first_levels, second_levels = dict(first.factors), dict(second.factors)
    differing = [name for name, level in first_levels.items() if level != second_levels.get(name)]
    return (
        first.problem == second.problem
        and len(first_levels) == len(second_levels)
        and differing == [factor]
    )


def _interaction(
    first: DatasetEvidence,
    second: DatasetEvidence,
    factor: str,
    at_first: Verdict,
    at_second: Verdict,
) -> Interaction:
    changes = _changes(first, at_first.strategy)
    second_changes = _changes(second, at_second.strategy)
    values = [second_changes[r] - c for r, c in changes.items() if r in second_changes]
    enough = len(values) >= FEWEST
    p_value = 2 * min(exceedance(values, 0.0), exceedance([-v for v in values], 0.0))
    return Interaction(
        first.problem,
        factor,
        (dict(first.factors)[factor], dict(second.factors)[factor]),
        group_name([pair for pair in first.factors if pair[0] != factor]),
        at_first.strategy,
        (at_first.kind, at_second.kind),
        percentage(paired(values, tested=False)),
        min(1.0, p_value) if enough else math.nan,
        at_first.quantity,
    )


def _changes(data: DatasetEvidence, name: str) -> Mapping[str, float]:
    """Return the relative changes of a strategy to equal weights; empty without these."""
    strategy = data.by_name[name]
    equal = data.equal_for(strategy)
    return {} if equal is None else relative_changes(data, strategy, equal)


def _sentence(factor: str, pairs: Sequence[Interaction]) -> str:
    levels = list(dict.fromkeys(level for pair in pairs for level in pair.levels))
    all_levels = f"{factor} {listed(levels)}"
    if shown := [pair for pair in pairs if pair.is_shown]:
        return f"The verdict depends on the {factor}: {'; '.join(map(_shown, shown))}."
    if all(pair.agrees for pair in pairs):
        directions = {(pair.strategy, pair.directions[0]) for pair in pairs}
        by_direction: dict[str, dict[str, None]] = {}
        for pair in pairs:
            # Where the other factors matter, a strategy is named with their levels.
            is_mixed = sum(name == pair.strategy for name, _ in directions) > 1
            name = f"{pair.strategy} ({pair.group})" if is_mixed else pair.strategy
            by_direction.setdefault(pair.directions[0], {})[name] = None
        parts = [
            f"{listed(list(names))} {'is' if len(names) == 1 else 'are'} {direction}"
            for direction, names in by_direction.items()
        ]
        return (
            f"The verdict does not depend on the {factor}: with {all_levels}, {'; '.join(parts)}."
        )
    open_pairs = dict.fromkeys(pair.strategy for pair in pairs if not pair.agrees)
    return f"Whether the verdict depends on the {factor} is undecided for {listed(list(open_pairs))}, with {all_levels}.{_largest(pairs)}"


def _shown(pair: Interaction) -> str:
    (first, second), (a, b) = pair.levels, pair.directions
    group = f" ({pair.group})" if pair.group else ""
    size = f", where {_size(pair)}" if pair.difference.known else ""
    return f"{pair.strategy}{group} is {a} with {pair.factor} {first}, and {b} with {second}{size}"


def _largest(pairs: Sequence[Interaction]) -> str:
    """Return a sentence on the largest difference between two levels; empty without a number."""
    known = [pair for pair in pairs if pair.difference.known]
    if not known:
        return ""
    pair = max(known, key=lambda pair: abs(math.log1p(pair.difference.mean)))
    group = f" ({pair.group})" if pair.group else ""
    first, second = pair.levels
    return f" The largest difference: with {pair.factor} {second} instead of {first}{group}, {_size(pair)} for {pair.strategy}."


def _size(pair: Interaction) -> str:
    """Return by how much a strategy's change differs at the second level."""
    unit = "error" if pair.quantity == METRICS else "loss"
    p_value = "" if math.isnan(pair.p) else f"; p {pair.p:.2g}"
    size = worth(pair.difference.mean, unit)
    return f"its {unit} relative to equal weights is {size} ({interval_words(pair.difference, unit)}{p_value})"
