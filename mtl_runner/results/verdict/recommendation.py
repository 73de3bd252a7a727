"""Which strategy to use on a data set: by how much, how sure, and whether sharing is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.errors.words import counted
from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence
from mtl_runner.results.statistics.differences import percentage, relative_changes
from mtl_runner.results.statistics.paired import Paired, paired
from mtl_runner.results.verdict.verdict import (
    BETTER,
    FEWEST,
    HELPS,
    METRICS,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    STATIC,
    UNDECIDED,
    Verdict,
)
from mtl_runner.results.verdict.wording import (
    BEST,
    against,
    interval_words,
    listed,
    names_of,
    of_kind,
    paired_words,
    percent,
)

ALONE, EQUAL = "single-task training", "equal weights"


@dataclass(frozen=True)
class Recommendation:
    """The strategy to use on one data set, in sentences.

    Attributes:
        strategy: The strategy that the sentences are about; empty where none can be named.
        lead: What to do, in a few words.
        gain: By how much it is better, or what leads.
        certainty: How sure that is.
        sharing: Whether sharing a model is worth it.
    """

    strategy: str
    lead: str
    gain: str
    certainty: str
    sharing: str

    @property
    def sentences(self) -> str:
        """The four sentences in a row."""
        return " ".join(filter(None, (self.lead, self.gain, self.certainty, self.sharing)))


def recommend(data: DatasetEvidence, verdicts: Sequence[Verdict]) -> Recommendation | None:
    """Return which strategy to use on a data set.

    It follows from the verdicts, so that it never says more than they do. A strategy is named if
    it beats equal weights; of several the best by the monitor, which is validation's. Where static
    weights suffice these are named, where nothing was shown it is equal weights. Single-task
    training is named where it beats whatever shares.

    Args:
        data: The numbers of the data set.
        verdicts: The verdicts on its strategies.

    Returns:
        The recommendation; None without equal weights to compare with.
    """
    judged = [v for v in verdicts if v.data == data.name and v.versus_equal is not None]
    judged = [v for v in judged if v.kind != NOT_APPLICABLE]
    equal = min(
        (s for s in data.of_role("equal") if s.values), key=lambda s: s.mean_monitor, default=None
    )
    if equal is None or not judged:
        return None
    chosen = _chosen(data, judged)
    if chosen is not None and data.has_several_settings:
        strategy = data.by_name[chosen.strategy]
        if equal.is_reference and equal.mean_monitor <= strategy.mean_monitor:
            chosen = None
    named = equal if chosen is None else data.by_name[chosen.strategy]
    alone = data.single_task_runs
    versus = None if alone is None else versus_single_task(data, named)
    sharing = _sharing(data, named, versus, judged[0])
    if alone is not None and versus is not None and _is_worse(versus, judged[0].margin):
        return _single_task(data, alone, named, versus, sharing, judged[0])
    if chosen is None:
        return _keep_equal(data, equal, judged, sharing)
    return Recommendation(
        chosen.strategy,
        _lead(chosen),
        _gain(chosen),
        _certainty(chosen),
        sharing,
    )


def versus_single_task(data: DatasetEvidence, strategy: StrategyEvidence) -> Paired | None:
    """Return the relative difference of a strategy to the single-task baseline, in pairs.

    Returns:
        The difference, below 0 if sharing is better; None without a baseline that can be judged.
    """
    alone = data.single_task_runs
    if alone is None or not alone.is_reference or not strategy.is_reference:
        return None
    changes = relative_changes(data, strategy, alone)
    return percentage(paired(changes.values(), tested=False)) if changes else None


def joint_training_hurts(data: DatasetEvidence, verdicts: Sequence[Verdict]) -> str:
    """Return a sentence for the headline where single-task training beats whatever shares a model.

    Args:
        data: The numbers of the data set.
        verdicts: The verdicts on its strategies.

    Returns:
        The sentence; empty where it does not, or where it was not tried.
    """
    advice = recommend(data, verdicts)
    if advice is None or data.single_task_runs is None:
        return ""
    if advice.strategy != data.single_task_runs.name:
        return ""
    return "Joint training is worse than single-task training."


def _chosen(data: DatasetEvidence, judged: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict on the strategy to use; None for equal weights."""

    def best(candidates: list[Verdict]) -> Verdict | None:
        return min(candidates, key=lambda v: data.by_name[v.strategy].mean_monitor, default=None)

    if helps := of_kind(judged, HELPS):
        return best(helps)
    better = of_kind(judged, BETTER)
    fixed = [v for v in better if v.role == "fixed"]
    if static := of_kind(judged, STATIC):
        return best(fixed or static)
    return best([v for v in better if v.role != "fixed"]) or best(fixed)


def _lead(chosen: Verdict) -> str:
    if chosen.role == "fixed":
        return f"Use constant weights: {chosen.strategy}."
    return f"Use {chosen.strategy}."


def _gain(chosen: Verdict) -> str:
    unit = _unit(chosen)
    assert chosen.versus_equal is not None
    parts = [
        f"{against(chosen.versus_equal, unit)} equal weights ({interval_words(chosen.versus_equal, unit)})"
    ]
    fixed = chosen.versus_fixed
    if fixed is not None and fixed.count and chosen.fixed != chosen.equal:
        parts.append(f"{against(fixed, unit)} {BEST} ({interval_words(fixed, unit)})")
    return f"It is {listed(parts)}."


def _certainty(chosen: Verdict) -> str:
    assert chosen.versus_equal is not None
    pairs = paired_words(chosen.versus_equal.count, chosen.replicate)
    margin = percent(chosen.margin)
    if chosen.kind == HELPS:
        return f"Shown by {pairs}: more than {margin} better than equal weights and than {BEST}."
    shown = f"Shown by {pairs} against equal weights: more than {margin} better."
    if chosen.role == "fixed":
        return f"{shown} No method was shown to do better."
    if chosen.kind == STATIC:
        return f"{shown} Constant weights do as well."
    if chosen.fixed and chosen.fixed != chosen.equal:
        return f"{shown} Whether constant weights do as well is undecided."
    if chosen.fixed:
        return f"{shown} None of the constant weights that were tried beat equal ones."
    return f"{shown} Whether constant weights do as well was not tried."


def _keep_equal(
    data: DatasetEvidence, equal: StrategyEvidence, judged: Sequence[Verdict], sharing: str
) -> Recommendation:
    """Return the recommendation where nothing was shown to be better than equal weights."""
    margin = percent(judged[0].margin)
    if not equal.is_reference:
        failed = f"equal weights failed in {len(equal.failures)} of {len(equal.failures) + len(equal.values)} runs, too many to compare with"
        return Recommendation(
            "", "No strategy can be named.", "", f"Not decided: {failed}.", sharing
        )
    lead = f"Keep equal weights{f': {equal.name}' if data.has_several_settings else ''}."
    known = [v for v in of_kind(judged, UNDECIDED) if v.versus_equal and v.versus_equal.count]
    ahead = [
        v
        for v in [*known, *(v for v in judged if v.kind in (HELPS, STATIC, BETTER))]
        if v.versus_equal is not None and v.versus_equal.mean < -v.margin
    ]
    if ahead:
        first = min(ahead, key=lambda v: data.by_name[v.strategy].mean_monitor)
        gain, certainty = _gain_of_leader(first), _certainty_of_leader(first)
    elif len(of_kind(judged, NO_DIFFERENCE)) == len(judged):
        gain, certainty = f"All others lie within {margin} of them.", _by(judged)
    else:
        gain, certainty = f"Nothing is more than {margin} better on average.", _undecided(known)
    return Recommendation(equal.name, lead, gain, certainty, sharing)


def _gain_of_leader(first: Verdict) -> str:
    assert first.versus_equal is not None
    unit = _unit(first)
    words = f"{against(first.versus_equal, unit)} equal weights ({interval_words(first.versus_equal, unit)})"
    return f"{first.strategy} leads: {words}."


def _certainty_of_leader(first: Verdict) -> str:
    """Return why a strategy that is ahead of equal weights is not named all the same."""
    assert first.versus_equal is not None
    if first.kind != UNDECIDED:
        return "At another setting equal weights do better still."
    count = first.versus_equal.count
    if first.equal_failures.lost > first.equal_failures.won:
        return f"Not decided: it is ahead, but failed in {first.failed} of {first.failed + first.seeds} runs."
    why = "may be chance" if count < FEWEST else "leave it open"
    pairs, more = (counted(number, first.replicate) for number in (count, max(10, 2 * count)))
    return f"Not decided: {pairs} {why if count > 1 else 'says nothing about chance'}; try {more}."


def _undecided(unclear: Sequence[Verdict]) -> str:
    """Return what is open where nothing is ahead; empty if all is decided."""
    if not unclear:
        return ""
    count = min(v.versus_equal.count for v in unclear if v.versus_equal is not None)
    names = names_of(unclear) if len(unclear) < 4 else f"{len(unclear)} strategies"
    verb = "is" if len(unclear) == 1 and unclear[0].role != "fixed" else "are"
    return f"With {counted(count, unclear[0].replicate)}, {names} {verb} undecided."


def _by(judged: Sequence[Verdict]) -> str:
    counts = [v.versus_equal.count for v in judged if v.versus_equal is not None]
    few = min((count for count in counts if count), default=0)
    return f"Shown by {paired_words(few, judged[0].replicate)}." if few >= FEWEST else ""


def _single_task(
    data: DatasetEvidence,
    alone: StrategyEvidence,
    shared: StrategyEvidence,
    versus: Paired,
    sharing: str,
    first: Verdict,
) -> Recommendation:
    margin = percent(first.margin)
    return Recommendation(
        alone.name,
        f"Train each task by itself ({alone.name}).",
        sharing,
        f"Shown by {paired_words(versus.count, data.replicate)}: beyond the margin of {margin}.",
        f"Of what shares a model, use {_name(data, shared)}.",
    )


def _sharing(
    data: DatasetEvidence, strategy: StrategyEvidence, versus: Paired | None, first: Verdict
) -> str:
    """Return whether sharing is worth it, in one sentence."""
    if len(data.tasks) < 2:
        return ""
    if data.single_task_runs is None:
        return "Whether sharing a model is worth it was not tried: add weighting=single_task."
    if versus is None or not versus.count:
        return f"Whether sharing a model is worth it is open: too few runs of {ALONE} finished."
    unit, name = _unit(first), _name(data, strategy)
    verb = "are" if name == EQUAL else "is"
    same = _is_same(versus, first.margin)
    words = f"{name} {verb} {against(versus, unit)} {ALONE} ({interval_words(versus, unit, narrow=same)})"
    if versus.count < FEWEST or not versus.known:
        return f"Whether sharing a model is worth it is undecided with {counted(versus.count, data.replicate)}: {words}."
    if versus.high < -first.margin:
        return f"Sharing a model is worth it: {words}."
    if _is_worse(versus, first.margin):
        return f"Sharing a model hurts here: {words}."
    if same:
        return f"Sharing a model costs nothing: {words}."
    return f"Whether sharing a model is worth it is undecided: {words}."


def _is_same(versus: Paired, margin: float) -> bool:
    """Return whether two one-sided tests show no difference beyond the margin, and nothing else."""
    beyond = versus.high < -margin or versus.low > margin
    within = -margin <= versus.low90 and versus.high90 <= margin
    return versus.count >= FEWEST and within and not beyond


def _is_worse(versus: Paired, margin: float) -> bool:
    return versus.known and versus.count >= FEWEST and versus.low > margin


def _name(data: DatasetEvidence, strategy: StrategyEvidence) -> str:
    if strategy.role == "equal" and not data.has_several_settings:
        return EQUAL
    return strategy.name


def _unit(verdict: Verdict) -> str:
    return "error" if verdict.quantity == METRICS else "loss"
