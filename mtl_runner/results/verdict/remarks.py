"""Sentences beside the verdicts of a comparison, where there is something to say.

How far tasks interfere, whether the harm of joint training is in optimisation or in generalisation,
which strategy suits an unknown preference, and what holds over all data sets.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from mtl_runner.errors.words import counted
from mtl_runner.results.records.dataset import DatasetRuns
from mtl_runner.results.records.evidence import DatasetEvidence
from mtl_runner.results.statistics.across import EQUAL, Across, Standing, across_datasets
from mtl_runner.results.statistics.generalisation import Gap, generalisation_gaps
from mtl_runner.results.statistics.intervals import interval
from mtl_runner.results.statistics.paired import LEVEL, Paired
from mtl_runner.results.statistics.preferences import preference_ranks
from mtl_runner.results.text import number
from mtl_runner.results.verdict.verdict import FEWEST
from mtl_runner.results.verdict.wording import interval_words, listed, short, worth

LISTED = 6  # tasks, or strategies, of which a sentence tells
LARGE = 1000  # a ratio from which on it has no decimals
FEWEST_RANKED = 3  # strategies; the better of two needs no rank


def remarks(data: DatasetRuns, evidence: DatasetEvidence, at: str, margin: float) -> list[str]:
    """Return what there is to say about a data set beside its verdicts, a sentence each.

    Args:
        data: Its runs.
        evidence: Its numbers.
        at: The epoch that judges, ``final`` or ``best``.
        margin: The relative difference that is of no interest.
    """
    gaps = generalisation_gaps(data, evidence, at)
    lines = [
        interference_sentence(data, evidence),
        *gap_sentences(gaps, margin),
        preference_sentence(evidence),
    ]
    return [line for line in lines if line]


def interference_sentence(data: DatasetRuns, evidence: DatasetEvidence) -> str:
    """Return how far the tasks interfere under equal weights; empty where that was not recorded.

    Args:
        data: The runs of a data set.
        evidence: Its numbers.
    """
    equal = evidence.of_role("equal")
    if len(equal) != 1:
        return ""
    runs = {strategy.name: strategy.runs for strategy in data.strategies}[equal[0].name].values()
    measured = [run.summary.interference for run in runs if run.finished]
    cosines = [value for values in measured if math.isfinite(value := _of(values, "cosine"))]
    if not cosines:
        return ""
    mean = interval(cosines)
    half = (mean.high - mean.low) / 2
    beside = f" ± {number(half, 2)}" if math.isfinite(half) else ""
    known = [
        value for values in measured if math.isfinite(value := _of(values, "cosine_orthogonal"))
    ]
    orthogonal = f", {number(statistics.fmean(known), 2)} if they were orthogonal" if known else ""
    parts = [
        f"their cosine to their mean is {number(mean.mean, 2)}{beside} (1 where they agree{orthogonal})"
    ]
    for name, words in (
        ("norm_ratio", "the largest is {} times as long as the smallest"),
        ("condition", "the condition number of their directions is {}"),
    ):
        known = [value for values in measured if math.isfinite(value := _of(values, name))]
        if known:
            median = statistics.median(known)
            parts.append(words.format(short(median) if median < LARGE else f"{median:,.0f}"))
    return f"Gradients of the tasks under equal weights ({counted(len(cosines), 'run')}, validation rows): {listed(parts)}."


def gap_sentences(gaps: Sequence[Gap], margin: float) -> list[str]:
    """Return where the harm of joint training is, a sentence per task that it harms.

    Args:
        gaps: Joint beside single-task training, by task.
        margin: The relative difference that is of no interest.
    """
    harmed = [
        gap
        for gap in gaps
        if gap.harm.count >= FEWEST and gap.harm.low > 0 and gap.harm.mean > margin
    ]
    harmed.sort(key=lambda gap: -gap.harm.mean)
    placed = [(gap, place) for gap in harmed if (place := _place_of_harm(gap, margin))]
    return [
        f"At equal training loss, joint training's validation loss of {gap.task} is {_higher(gap.at_equal_loss)}, and {_higher(gap.harm)} where runs are judged: the harm is {place}."
        for gap, place in placed[:LISTED]
    ]


def preference_sentence(evidence: DatasetEvidence) -> str:
    """Return which strategy ranks best under a random preference over the tasks.

    Args:
        evidence: The numbers of a data set.

    Returns:
        A sentence; empty where that is also the best by the mean relative loss.
    """
    ranked = [s for s in evidence.of_role("equal", "strategy") if s.is_reference]
    if not evidence.has_relative_loss or len(evidence.tasks) < 2 or len(ranked) < FEWEST_RANKED:
        return ""
    losses = [
        [s.mean_values.get(task, {}).get("relative_loss", math.nan) for task in evidence.tasks]
        for s in ranked
    ]
    ranks = preference_ranks(losses)
    if any(map(math.isnan, ranks)):
        return ""
    best = min(range(len(ranked)), key=ranks.__getitem__)
    usual = min(range(len(ranked)), key=lambda i: math.fsum(losses[i]))
    if ranks[best] == ranks[usual]:
        return ""
    return f"If it is not known how much each task counts (weights drawn uniformly from the simplex), {ranked[best].name} has the best mean rank of {len(ranked)}, {number(ranks[best], 3)}; {ranked[usual].name}, best by the mean relative loss, has {number(ranks[usual], 3)}."


def across_sentences(datasets: Sequence[DatasetEvidence]) -> list[str]:
    """Return what holds over all data sets; empty unless three at least have the same strategies.

    Args:
        datasets: The numbers of all data sets.
    """
    across = across_datasets(datasets)
    if across is None:
        return []
    count = f"{counted(across.test.datasets, 'data set')}, {len(across.standings)} strategies"
    ranks = listed([f"{s.name} {number(s.rank, 3)}" for s in across.standings[:LISTED]])
    lines = [f"Mean ranks over {count}: {ranks}. {_friedman(across)}"]
    changes = [_change(s) for s in across.standings[:LISTED] if s.name != EQUAL]
    lines.append(
        f"Interquartile mean against equal weights, over data sets and seeds: {'; '.join(changes)}."
    )
    return lines


def _of(values: Mapping[str, float], name: str) -> float:
    return values.get(name, math.nan)


def _place_of_harm(gap: Gap, margin: float) -> str:
    """Return where the harm is; empty where the runs do not tell."""
    equal = gap.at_equal_loss
    if equal.count < FEWEST or not equal.known:
        return ""
    if equal.high <= margin:
        return "in optimisation"
    if equal.low > 0 and equal.high >= gap.harm.low:
        return "in generalisation"
    if math.log1p(equal.high) < math.log1p(gap.harm.low) / 2:
        return "mostly in optimisation"
    if not equal.low > 0:
        return ""
    is_half = math.log1p(equal.low) > math.log1p(gap.harm.high) / 2
    return "mostly in generalisation" if is_half else "in both"


def _higher(change: Paired) -> str:
    """Return a relative change of a loss: ``8 % higher (95 % interval: 5 to 11 % higher)``."""
    text = f"{worth(change.mean, 'loss')} ({interval_words(change, 'loss')})"
    words = {"better": "lower", "worse": "higher", "times the loss": "times as high"}
    for word, of_a_loss in words.items():
        text = text.replace(word, of_a_loss)
    return text


def _friedman(across: Across) -> str:
    test = across.test
    if not test.p < LEVEL:
        return f"Chance alone could give such ranks (Friedman's test: p {number(test.p, 2)})."
    best, equal = across.standings[0], next(s for s in across.standings if s.name == EQUAL)
    apart = equal.rank - best.rank >= test.critical_difference
    shown = (
        f"; {best.name} is better than equal weights"
        if apart
        else f"; {best.name} and equal weights do not"
        if best is not equal
        else ""
    )
    return f"They differ (Friedman's test: p {number(test.p, 2)}), by Nemenyi's test where {number(test.critical_difference, 3)} or more lies between two{shown}."


def _change(standing: Standing) -> str:
    """Return a strategy's interquartile mean in words."""
    if math.isinf(standing.change):
        return f"{standing.name} failed in more than a quarter of its runs"
    versus = Paired(standing.change, standing.low, standing.high, 0, math.nan)
    if math.isinf(standing.high):
        return f"{standing.name} {worth(standing.change, 'loss')}"
    return f"{standing.name} {worth(standing.change, 'loss')} ({interval_words(versus, 'loss')})"
