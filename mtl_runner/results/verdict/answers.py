"""The answer for a data set, what it rests on, and what a better one would need."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_runner.errors.words import counted
from mtl_runner.results.records.evidence import FINISHED, DatasetEvidence, StrategyEvidence
from mtl_runner.results.statistics.spread import median_spread
from mtl_runner.results.text import number
from mtl_runner.results.verdict.verdict import (
    BETTER,
    FEWEST,
    HELPS,
    HURTS,
    METRICS,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    STATIC,
    UNDECIDED,
    Verdict,
)
from mtl_runner.results.verdict.wording import (
    BEST,
    listed,
    names_of,
    of_kind,
    paired_words,
    percent,
    verb_ending,
)

HARDLY = 0.8  # a mean relative loss above which a small margin is much of what is explained


def answer(verdicts: Sequence[Verdict], data: str) -> str:
    """Return the answer for one data set: does weighting matter?

    Of fixed weights only the best are judged, and they are no method.
    """
    refused = [v for v in verdicts if v.data == data and v.kind == NOT_APPLICABLE]
    judged = [v for v in verdicts if v not in refused]
    applicable = f"{_answer(judged, data)}{_disagreement([v for v in judged if v.data == data])}"
    if not refused:
        return applicable
    return f"{applicable} {names_of(refused)} {'is' if verb_ending(refused) else 'are'} not applicable."


def _answer(verdicts: Sequence[Verdict], data: str) -> str:
    judged = [v for v in verdicts if v.data == data]
    if not judged or all(v.versus_equal is None for v in judged):
        return f"No verdict on {data}: there are no equal weights, or nothing to compare with them."
    judged = sorted(judged, key=lambda v: v.role == "fixed")
    methods = [v for v in judged if v.role != "fixed"]
    margin = percent(judged[0].margin)
    if helps := of_kind(methods, HELPS):
        return f"Weighting matters on {data}: {names_of(helps)} beat{verb_ending(helps)} equal and {BEST} by more than {margin}."
    better = of_kind(judged, BETTER)
    if static := of_kind(methods, STATIC):
        as_good = [v for v in better if v.role == "fixed"]
        return (
            f"Weights matter on {data}, but static ones suffice: {names_of(static + as_good)} beat{verb_ending(static + as_good)} equal weights by more than {margin}."
            " No method was shown to beat constant weights by as much."
        )
    if better:
        return f"Weights matter on {data}: {names_of(better)} beat{verb_ending(better)} equal weights by more than {margin}.{_against_constants(methods)}"
    if len(same := of_kind(judged, NO_DIFFERENCE)) == len(judged):
        return f"Weighting makes no difference on {data}: {names_of(same)} lie{verb_ending(same)} within {margin} of equal weights."
    differs = any(v.kind != NO_DIFFERENCE for v in methods)
    return _mixed_answer(methods if differs else judged, data, margin)


def _disagreement(judged: Sequence[Verdict]) -> str:
    """Return a sentence on strategies that another mean over tasks judges otherwise."""
    differing = [v for v in judged if v.criteria_disagree]
    if not differing:
        return ""
    return f" The criteria disagree on {names_of(differing)}: the geometric mean over tasks, in which each counts alike, says otherwise."


def _against_constants(methods: Sequence[Verdict]) -> str:
    """Return what is open where weights matter, but neither methods nor constants were shown to."""
    if not methods:
        return ""
    better = of_kind(methods, BETTER)
    if better and not any(v.fixed for v in better):
        return " Whether fixed weights do as well was not tried."
    open_question = (
        " Whether constant weights do as well as a method is undecided." if better else ""
    )
    return f" No method was shown to beat constant weights by as much.{open_question}"


def _mixed_answer(judged: Sequence[Verdict], data: str, margin: str) -> str:
    """Return the answer where nothing helps and not everything is the same."""
    hurts, same = of_kind(judged, HURTS), of_kind(judged, NO_DIFFERENCE)
    failed = [v for v in hurts if v.lost and not (v.versus_equal and v.versus_equal.count)]
    worse = [v for v in hurts if v not in failed]
    parts = [f"{names_of(worse)} hurt{verb_ending(worse)}"] if worse else []
    parts += [f"{names_of(failed)} failed"] if failed else []
    parts += (
        [f"{names_of(same)} lie{verb_ending(same)} within {margin} of equal weights"]
        if same
        else []
    )
    unclear = of_kind(judged, UNDECIDED)
    if not unclear:
        return f"No strategy helps on {data}: {'; '.join(parts)}."
    counts = sorted({v.versus_equal.count for v in unclear if v.versus_equal is not None})
    pairs = counted(counts[-1], unclear[0].replicate) if counts else ""
    pairs = f"{counts[0]} to {pairs}" if len(counts) > 1 else pairs
    sentences = [f"On {data}, {listed(parts)}."] if parts else []
    start = "With" if sentences else f"On {data}, with"
    verb = "is" if verb_ending(unclear) else "are"
    sentences.append(f"{start} {pairs}, {names_of(unclear)} {verb} undecided.")
    return " ".join(sentences)


def basis(verdicts: Sequence[Verdict], data: str, split: str, at: str, splits: int = 1) -> str:
    """Return what the verdicts on a data set rest on: split, epoch, pairs, margin and quantity.

    Args:
        verdicts: The verdicts.
        data: The data set.
        split: The part of the data that judges, ``val`` or ``test``.
        at: The epoch that judges.
        splits: The number of ways in which the data were split.
    """
    judged = [v for v in verdicts if v.data == data and v.versus_equal is not None]
    if not judged:
        return ""
    counts = [v.versus_equal.count for v in judged if v.versus_equal is not None]
    few = min((count for count in counts if count), default=0)
    many = max(counts)
    pairs = paired_words(many, judged[0].replicate)
    pairs = pairs if few == many else f"{few} to {pairs}"
    by_metrics = judged[0].quantity == METRICS
    quantity = "the log ratios of the main metrics" if by_metrics else "mean relative loss"
    name = {"test": "Test", "val": "Validation"}.get(split, split)
    epoch = "last epoch" if at == "final" else f"{at} epoch"
    splits_seen = (
        f" over {counted(splits, 'split')} of the data"
        if splits > 1
        else " on one split of the data"
    )
    chosen = " Validation chose everything." if split == "test" else ""
    return f"{name} split, {epoch}, {pairs}{splits_seen}; a difference below {percent(judged[0].margin)} counts as none. Judged by {quantity}.{chosen}"


def tuning_words(data: DatasetEvidence) -> str:
    """Return how far sparser learning rates would move the results of a study, beside seeds.

    Args:
        data: The numbers of the data set.

    Returns:
        A sentence; empty where the tuning had no grid of several learning rates per decade.
    """
    strategies = [s for s in data.of_role("equal", "strategy") if s.values]
    spread, count = median_spread(strategies)
    if not count:
        return ""
    over = f", medians over {counted(count, 'strategy')}" if count > 1 else ""
    return f"Tuning: which learning rates are tried, one per decade, moves the monitor by {percent(spread.grids)}, seeds by {percent(spread.seeds)} (standard deviations{over})."


def missing(data: DatasetEvidence) -> list[str]:
    """Return what a fair comparison would have and this one lacks, each with how to get it."""
    lines = []
    equal, fixed = data.of_role("equal"), data.of_role("fixed")
    methods = data.of_role("strategy")
    if not [*equal, *methods] and all(s.tuning for s in fixed):
        # The trials of a search are no strategies, and its baselines are another sweep's.
        return [
            "No verdict: a search compares nothing; train its best weights and other strategies with the same fresh seeds, and give mtl-compare both directories."
        ]
    if not any(s.values for s in equal):
        lines.append(_without_equal_weights(equal))
    elif methods and not any(s.values for s in fixed):
        lines.append(
            "No fixed-weight sweep: whether static weights suffice is open; add runs with weighting.weights.<task>=..., or +study=fair."
        )
    if unreliable := [s.name for s in fixed if not s.is_reference and s.failures]:
        lines.append(
            f"Less than {percent(FINISHED)} of the runs finished, so not compared with: {', '.join(unreliable)}."
        )
    if data.has_several_settings:
        lines.append(
            "Equal weights were trained at several settings: each strategy is compared with those at its own; +study=fair tunes all alike."
        )
        if alone := [s.name for s in methods if s.values and data.equal_for(s) is None]:
            lines.append(
                f"No verdict on {listed(alone)}: no run with equal weights finished at the same settings."
            )
    if data.single_task is None:
        lines.append(
            "No delta-m: add weighting=single_task to the sweep for the single-task baseline."
        )
    counts = [len(s.values) for s in [*equal, *methods] if s.values]
    if any(s.values for s in equal) and methods and min(counts) < FEWEST:
        unit = data.replicate
        few = (
            f"One {unit} says nothing"
            if min(counts) < 2
            else f"{min(counts)} {unit}s say too little"
        )
        more = "" if unit == "seed" else "the other folds, or "
        lines.append(f"{few} about chance: add {more}seed=range(0,10).")
    return lines


def hardly_explained(data: DatasetEvidence, margin: float) -> str:
    """Return a sentence where the margin is much of what equal weights explain; empty else.

    Args:
        data: The numbers of the data set.
        margin: The relative difference that is of no interest.
    """
    for equal in data.of_role("equal") if data.has_relative_loss else []:
        losses = list(equal.relative_loss.values())
        mean = sum(losses) / len(losses) if losses else 0.0
        if mean >= 1:
            return "Equal weights are no better than the trivial predictor (mean relative loss of 1 or more): differences say little."
        if mean > HARDLY:
            share = percent(margin * mean / (1 - mean))
            return f"Equal weights have a mean relative loss of {number(mean, 2)}, where 1 is the trivial predictor: a margin of {percent(margin)} is {share} of what is explained."
    return ""


def _without_equal_weights(equal: Sequence[StrategyEvidence]) -> str:
    """Return why there is no verdict: equal weights were not trained, or why no run finished."""
    failed = [reason for s in equal for reason in {**s.refused, **s.failures}.values()]
    if failed:
        first = failed[0].rstrip(".")
        return f"No verdict: no run with equal weights finished; {counted(len(failed), 'run')} failed: {first}."
    if any(s.unfinished for s in equal):
        return "No verdict: no run with equal weights finished."
    return "No verdict: add weighting=fixed to the sweep for the equal-weight baseline."
