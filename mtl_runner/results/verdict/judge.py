"""The verdict on each strategy: does it beat equal weights, and do constant weights do as well?

The number judged is that of ``relative_changes``: per seed, the logarithm of the ratio of the mean
relative losses of a strategy and of the run it is paired with, lower is better. (The mean relative
loss is the mean over tasks of the loss over that of the trivial predictor: what the settings were
tuned for.) Mean and t-interval of it are turned back into relative changes. *Better beyond the
margin* means that the whole 95 % interval lies below -margin, *worse beyond the margin* that it
lies above +margin, *within the margin* that it lies between, ends included. An interval that
crosses a border settles nothing, and neither do fewer than three seeds. The rules; the first that
applies decides:

- ``not applicable``: every run was refused, since the options do not fit the problem (a method
  that needs three tasks where there are two). That is no evidence of what it is worth.
- ``hurts``: worse beyond the margin than equal weights, or failed with more seeds that equal
  weights finished than the other way round, by a sign test; or a study gave it up because no trial
  ended with a number. Its p-value is the smaller of both, times two.
- ``no difference``: to equal weights, within the margin by two one-sided tests at 5 %: the 90 %
  interval lies between -margin and +margin, ends included.
- ``helps``: better beyond the margin than equal weights, than the best tuned fixed weights and than
  its frozen twin (if one was run).
- ``static weights suffice``: better beyond the margin than equal weights, and shown to be no better
  beyond the margin than the best fixed weights or than its frozen twin: the whole interval lies
  above -margin.
- ``better than equal weights``: better beyond the margin than these, everything else is open: the
  comparison with fixed weights is undecided, or there was none. The best fixed weights get a
  verdict too, and this is the best they can show: they cannot beat themselves.
- ``undecided``: everything else.

**Many strategies.** With five strategies, one of five 95 % intervals lies beyond the margin by
chance much more often than 5 %. So each of ``hurts``, ``helps``, ``static weights suffice`` and
``better than equal weights`` also needs a p-value of at most .05 after Holm's correction over the
judged strategies of the data set. The p-values are of Student's one-sided t tests at the margin,
those against equal weights with variances that inform each other
(:mod:`mtl_runner.results.statistics.moderated`), since with few seeds the correction alone would
hide too much; that of a claim with several parts is the largest of its parts, that of two ways to
the same claim the smaller one, times two. So chance alone gives each of these verdicts to any
strategy in at most 5 % of studies. Fixed weights that were chosen by the very runs that are judged
have their p-value multiplied by the number they were chosen from; those that a study chose by its
tuning runs do not.

Survivors are not judged. Equal weights, the best fixed weights and a twin are references only if
80 % of their runs finished. A failed run (an error, NaN) is no missing value: a strategy that
fails with more seeds that a reference finished than the other way round is neither as good as it
nor better. A run that was killed or still runs only lowers the number of seeds.

Where equal weights were trained at several settings (learning rates), every strategy is compared
with those at its own settings. To choose the best of them by the runs that are judged would make
every strategy look worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mtl_runner.results.records.evidence import DatasetEvidence, Evidence, StrategyEvidence
from mtl_runner.results.statistics.differences import (
    geometric_changes,
    percentage,
    quantity,
    relative_changes,
    task_effects,
)
from mtl_runner.results.statistics.failures import Failures, failures
from mtl_runner.results.statistics.intervals import exceedance
from mtl_runner.results.statistics.moderated import (
    VariancePrior,
    moderated_exceedance,
    variance_prior,
)
from mtl_runner.results.statistics.paired import LEVEL, Paired, holm, paired
from mtl_runner.results.statistics.ranks import delta_to_single_task
from mtl_runner.results.statistics.spread import spread
from mtl_runner.results.verdict.sentences import describe, describe_given_up, describe_refused
from mtl_runner.results.verdict.verdict import (
    BETTER,
    FEWEST,
    HELPS,
    HURTS,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    STATIC,
    UNDECIDED,
    Verdict,
)

MARGIN = 0.02  # unless a study or the user sets another
# The p-values that decide, each corrected over the judged strategies.
P_VALUES = ("p_hurts", "p_better", "p_helps", "p_static")


def verdicts(evidence: Evidence, margin: float | None = None) -> list[Verdict]:
    """Return a verdict on every strategy of every data set, the best fixed weights included.

    Args:
        evidence: The numbers of all data sets.
        margin: The relative difference that is of no interest, as a fraction; by default that of
            the data set's study, else ``MARGIN``.
    """
    return [
        verdict
        for data in evidence.datasets
        for verdict in _verdicts_on(data, margin_of(data, margin))
    ]


def margin_of(data: DatasetEvidence, margin: float | None = None) -> float:
    """Return the margin for a data set: the given one, else that of its study, else ``MARGIN``."""
    if margin is not None:
        return margin
    return MARGIN if data.margin is None else data.margin


def _verdicts_on(data: DatasetEvidence, margin: float) -> list[Verdict]:
    judged = [
        s
        for s in data.strategies
        if s.role == "strategy" or (s.role == "fixed" and data.best_fixed_for(s) is s)
    ]
    changes = [list(_changes(data, s, data.equal_for(s)).values()) for s in judged]
    prior = variance_prior(changes)
    corrected = _corrected([_compare(data, s, margin, prior) for s in judged])
    decided = [replace(verdict, kind=decide(verdict)) for verdict in corrected]
    return [replace(verdict, sentence=_sentence(verdict)) for verdict in decided]


def _corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return verdicts whose p-values are corrected over all of them."""
    hurts, better, helps, static = (holm([getattr(v, name) for v in verdicts]) for name in P_VALUES)
    family = sum(not math.isnan(p) for p in hurts)
    return [
        replace(
            verdict,
            family=family,
            p_hurts=hurts[i],
            p_better=better[i],
            p_helps=helps[i],
            p_static=static[i],
        )
        for i, verdict in enumerate(verdicts)
    ]


def _compare(
    data: DatasetEvidence, strategy: StrategyEvidence, margin: float, prior: VariancePrior
) -> Verdict:
    """Return the numbers of a verdict that is not decided yet."""
    equal, fixed = data.equal_for(strategy), data.best_fixed_for(strategy)
    other_fixed = fixed if fixed is not strategy else None
    twin = data.twin(strategy.name)
    usable_twin = twin if twin and twin.is_reference else None
    over_metrics, over_tasks = delta_to_single_task(data, strategy)
    seconds = list(strategy.seconds.values())
    p_better, p_helps, p_static = _p_better(
        data, strategy, (equal, other_fixed, usable_twin), margin, prior
    )
    geometric, better = _geometric(data, strategy, equal)
    return Verdict(
        data=data.name,
        strategy=strategy.name,
        role=strategy.role,
        kind=UNDECIDED,
        sentence="",
        margin=margin,
        equal=equal.name if equal else "",
        fixed=fixed.name if fixed else "",
        versus_equal=_versus(data, strategy, equal),
        versus_fixed=_versus(data, strategy, other_fixed),
        versus_twin=_versus(data, strategy, usable_twin),
        seeds=len(strategy.values),
        failed=len(strategy.failures),
        unfinished=len(strategy.unfinished),
        delta_m=over_metrics,
        delta_m_task=over_tasks,
        spread=spread(strategy),
        seconds=sum(seconds) / len(seconds) if seconds else math.nan,
        backward_passes=strategy.backward_passes,
        quantity=quantity(data),
        effects=tuple(task_effects(data, strategy)),
        trials=strategy.trials,
        reason=next(iter({**strategy.failures, **strategy.refused}.values()), ""),
        refused=len(strategy.refused),
        p_hurts=_p_hurts(data, strategy, equal, margin, prior),
        p_better=p_better,
        p_helps=p_helps,
        p_static=p_static,
        equal_failures=failures(strategy, equal),
        fixed_failures=failures(strategy, other_fixed),
        twin_failures=failures(strategy, twin),
        replicate=data.replicate,
        geometric=geometric,
        tasks=len(data.tasks),
        tasks_better=better,
        is_optimizer=strategy.is_optimizer,
    )


def decide(verdict: Verdict) -> str:
    """Return the kind of verdict that the numbers allow, by the rules above."""
    equal, margin = verdict.versus_equal, verdict.margin
    if verdict.refused and not (verdict.seeds or verdict.failed):
        return NOT_APPLICABLE
    if verdict.trials:
        return HURTS if verdict.lost else UNDECIDED
    if equal is None:
        return UNDECIDED
    if verdict.p_hurts <= LEVEL:
        return HURTS
    failed = verdict.equal_failures
    if not (_is_enough(equal) and failed.reliable) or failed.lost > failed.won:
        return UNDECIDED
    if -margin <= equal.low90 and equal.high90 <= margin:
        return NO_DIFFERENCE
    if not (_is_better(equal, margin) and verdict.p_better <= LEVEL):
        return UNDECIDED
    if verdict.role == "fixed":
        return BETTER
    fixed = verdict.versus_fixed, verdict.fixed_failures
    twin = verdict.versus_twin, verdict.twin_failures
    no_better = _is_no_better(*fixed, margin) or _is_no_better(*twin, margin)
    if no_better and verdict.p_static <= LEVEL:
        return STATIC
    beaten = _is_beaten(*fixed, margin) and (twin[0] is None or _is_beaten(*twin, margin))
    return HELPS if beaten and verdict.p_helps <= LEVEL else BETTER


def _versus(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence | None
) -> Paired | None:
    if reference is None:
        return None
    return percentage(paired(relative_changes(data, strategy, reference).values(), tested=False))


def _geometric(
    data: DatasetEvidence, strategy: StrategyEvidence, equal: StrategyEvidence | None
) -> tuple[Paired | None, int]:
    """Return the differences by the geometric mean over tasks, and how many tasks are better."""
    changes = geometric_changes(data, strategy, equal) if equal and data.has_relative_loss else {}
    if not changes:
        return None, 0
    by_task = list(zip(*(of_tasks.values() for of_tasks in changes.values()), strict=True))
    better = sum(math.fsum(of_seeds) < 0 for of_seeds in by_task)
    means = [math.fsum(of_tasks.values()) / len(of_tasks) for of_tasks in changes.values()]
    return percentage(paired(means, tested=False)), better


def _changes(
    data: DatasetEvidence, strategy: StrategyEvidence, equal: StrategyEvidence | None
) -> dict[str, float]:
    """Return the relative changes to equal weights; nothing without these."""
    return {} if equal is None else relative_changes(data, strategy, equal)


def _p_hurts(
    data: DatasetEvidence,
    strategy: StrategyEvidence,
    equal: StrategyEvidence | None,
    margin: float,
    prior: VariancePrior,
) -> float:
    """Return how probable so much worse losses, or so many more failures, are by chance."""
    if equal is None or strategy.trials or not strategy.is_applicable:
        return math.nan
    p_values = [failures(strategy, equal).p]
    changes = list(relative_changes(data, strategy, equal).values())
    if equal.is_reference and len(changes) >= FEWEST:
        p_values.append(moderated_exceedance(changes, math.log1p(margin), prior))
    return min(1.0, 2 * min(p_values))


def _p_better(
    data: DatasetEvidence,
    strategy: StrategyEvidence,
    references: tuple[StrategyEvidence | None, StrategyEvidence | None, StrategyEvidence | None],
    margin: float,
    prior: VariancePrior,
) -> tuple[float, float, float]:
    """Return how probable such good losses are by chance; NaN where that cannot be said.

    Args:
        data: The data set.
        strategy: The strategy.
        references: Equal weights, the best fixed weights and the frozen twin, where there are any.
        margin: The relative difference that is of no interest.
        prior: What the variances of all judged strategies' differences to equal weights say.

    Returns:
        The p-value of being better than equal weights beyond the margin, that of being better than
        all three, and that of being better than equal weights but not than constant ones.
    """
    equal, *constants = references
    if strategy.trials or equal is None or not equal.is_reference:
        return math.nan, math.nan, math.nan
    border = math.log1p(-margin)

    def p_value(reference: StrategyEvidence, test: Callable[[list[float], float], float]) -> float:
        changes = list(relative_changes(data, strategy, reference).values())
        return test(changes, border) if len(changes) >= FEWEST else math.nan

    p_better = p_value(equal, partial(_moderated_shortfall, prior=prior))
    if strategy.role == "fixed":
        return min(1.0, data.fixed_choices(strategy) * p_better), math.nan, math.nan
    known = [s for s in constants if s is not None and s is not equal]
    beats = [p_value(s, _shortfall) for s in known]
    # The best of several fixed weights is flattered by the runs that chose it.
    no_better = [
        p_value(s, exceedance) * (data.fixed_choices(strategy) if s is constants[0] else 1)
        for s in known
    ]
    is_testable = references[1] is not None and all(map(math.isfinite, beats))
    p_helps = max([p_better, *beats]) if is_testable else math.nan
    tested = [p for p in no_better if math.isfinite(p)]
    p_static = max(p_better, min(1.0, len(tested) * min(tested))) if tested else math.nan
    return p_better, p_helps, p_static


def _shortfall(values: list[float], border: float) -> float:
    """Return the one-sided p-value of Student's t test that a mean lies below a border."""
    return exceedance((-value for value in values), -border)


def _moderated_shortfall(values: list[float], border: float, prior: VariancePrior) -> float:
    """Return the same with a variance that those of other strategies inform."""
    return moderated_exceedance([-value for value in values], -border, prior)


def _sentence(verdict: Verdict) -> str:
    if verdict.kind == NOT_APPLICABLE:
        return describe_refused(verdict)
    return describe_given_up(verdict) if verdict.trials and verdict.failed else describe(verdict)


def _is_no_better(versus: Paired | None, failed: Failures, margin: float) -> bool:
    """Return whether the method was shown to be no better than constant weights."""
    return (
        versus is not None
        and _is_enough(versus)
        and versus.low > -margin
        and failed.won <= failed.lost
    )


def _is_beaten(versus: Paired | None, failed: Failures, margin: float) -> bool:
    """Return whether constant weights were shown to be worse than the method."""
    return _is_better(versus, margin) and failed.lost <= failed.won


def _is_better(versus: Paired | None, margin: float) -> bool:
    return versus is not None and _is_enough(versus) and versus.high < -margin


def _is_enough(versus: Paired) -> bool:
    """Return whether there are enough pairs to settle anything."""
    return versus.known and versus.count >= FEWEST
