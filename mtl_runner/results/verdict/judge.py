"""The verdict on each strategy: does it beat equal weights, and do constant weights do as well?

The number judged is that of ``relative_changes``: per seed, the logarithm of the ratio of the mean
relative losses of a strategy and of the run it is paired with, lower is better. (The mean relative
loss is the mean over tasks of the loss over that of the trivial predictor: what the settings were
tuned for.) Mean and t-interval of it are turned back into relative changes. *Better beyond the
margin* means that the whole 95 % interval lies below -margin, *worse beyond the margin* that it
lies above +margin, *within the margin* that it lies between, ends included. An interval that
crosses a border settles nothing. The rules; the first that applies decides:

- ``no difference``: to equal weights, within the margin.
- ``helps``: better beyond the margin than equal weights, than the best tuned fixed weights and than
  its frozen twin (if one was run), and in at least 95 % of resampled seeds not dominated by any
  fixed weights.
- ``static weights suffice``: better beyond the margin than equal weights, but not than the best
  fixed weights, or not than its frozen twin, or dominated. The burden of proof is on the method: an
  interval that crosses the border counts against it.
- ``hurts``: worse beyond the margin than equal weights, or at least half of its runs failed where
  equal weights did not, or a study gave it up because no trial ended with a number.
- ``undecided``: everything else; also a strategy that is better than equal weights but has neither
  a fixed-weight sweep nor a twin to be compared with.

A failed run (an error, NaN) is no missing value but the worst result: where equal weights finished
with the same seed, it excludes the first three verdicts. A run that was killed or still runs only
lowers the number of seeds. The best fixed weights get a verdict too: they cannot beat themselves,
so the best they can show is that static weights suffice. p-values are Holm-adjusted over all judged
strategies of a data set and are printed beside the interval; they do not decide.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mtl_runner.results.records.evidence import DatasetEvidence, Evidence, StrategyEvidence
from mtl_runner.results.statistics.differences import (
    percentage,
    quantity,
    relative_changes,
    task_effects,
)
from mtl_runner.results.statistics.paired import Paired, holm, paired
from mtl_runner.results.statistics.pareto import dominated_share
from mtl_runner.results.statistics.ranks import delta_to_single_task
from mtl_runner.results.statistics.spread import spread
from mtl_runner.results.verdict.sentences import describe, describe_given_up
from mtl_runner.results.verdict.verdict import (
    HELPS,
    HURTS,
    NO_DIFFERENCE,
    STATIC,
    UNDECIDED,
    Verdict,
)

MARGIN = 0.02  # unless a study or the user sets another
DOMINATED = 0.05  # fixed weights may dominate a strategy in this share of resamples


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
    best = data.best_fixed
    judged = [
        s for s in data.strategies if s.role == "strategy" or (s is best and s.role == "fixed")
    ]
    open_verdicts = [_compare(data, s, margin) for s in judged]
    p_values = [v.versus_equal.p if v.versus_equal else math.nan for v in open_verdicts]
    decided = []
    for verdict, p in zip(open_verdicts, holm(p_values), strict=True):
        if verdict.versus_equal:
            verdict = replace(verdict, versus_equal=replace(verdict.versus_equal, p_holm=p))
        verdict = replace(verdict, kind=decide(verdict))
        decided.append(replace(verdict, sentence=_sentence(verdict)))
    return decided


def _compare(data: DatasetEvidence, strategy: StrategyEvidence, margin: float) -> Verdict:
    """Return the numbers of a verdict that is not decided yet."""
    equal, fixed, twin = data.equal, data.best_fixed, data.twin(strategy.name)
    over_metrics, over_tasks = delta_to_single_task(data, strategy)
    seconds = list(strategy.seconds.values())
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
        versus_fixed=_versus(data, strategy, fixed if fixed is not strategy else None),
        versus_twin=_versus(data, strategy, twin),
        dominated=dominated_share(data, strategy) if strategy is not fixed else math.nan,
        seeds=len(strategy.values),
        failed=len(strategy.failures),
        lost=_lost(strategy, equal),
        unfinished=len(strategy.unfinished),
        delta_m=over_metrics,
        delta_m_task=over_tasks,
        spread=spread(strategy),
        seconds=sum(seconds) / len(seconds) if seconds else math.nan,
        backward_passes=strategy.backward_passes,
        quantity=quantity(data),
        effects=tuple(task_effects(data, strategy)),
        trials=strategy.trials,
        reason=next(iter(strategy.failures.values()), ""),
    )


def decide(verdict: Verdict) -> str:
    """Return the kind of verdict that the numbers allow, by the rules above."""
    equal, margin = verdict.versus_equal, verdict.margin
    if equal is None or equal.count == 0:
        return HURTS if verdict.lost else UNDECIDED
    if verdict.lost:
        half_failed = 2 * verdict.lost >= verdict.lost + equal.count
        return HURTS if half_failed or _worse(equal, margin) else UNDECIDED
    if not equal.known:
        return UNDECIDED
    if -margin <= equal.low and equal.high <= margin:
        return NO_DIFFERENCE
    if _worse(equal, margin):
        return HURTS
    if not _better(equal, margin):
        return UNDECIDED
    if verdict.role == "fixed":
        return STATIC
    if (
        _not_beaten(verdict.versus_twin, margin)
        or _not_beaten(verdict.versus_fixed, margin)
        or verdict.dominated > DOMINATED
    ):
        return STATIC
    return HELPS if verdict.versus_fixed is not None and verdict.versus_fixed.known else UNDECIDED


def _versus(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence | None
) -> Paired | None:
    if reference is None:
        return None
    return percentage(paired(relative_changes(data, strategy, reference).values()))


def _lost(strategy: StrategyEvidence, equal: StrategyEvidence | None) -> int:
    """Return how many runs failed although equal weights finished with the same seed."""
    if equal is None:
        return 0
    if strategy.trials:
        return len(strategy.failures)
    return sum(replicate in equal.values for replicate in strategy.failures)


def _sentence(verdict: Verdict) -> str:
    return describe_given_up(verdict) if verdict.trials and verdict.failed else describe(verdict)


def _not_beaten(versus: Paired | None, margin: float) -> bool:
    """Return whether constant weights that were tried are not beaten beyond the margin."""
    return versus is not None and versus.known and not _better(versus, margin)


def _better(versus: Paired, margin: float) -> bool:
    return versus.high < -margin


def _worse(versus: Paired, margin: float) -> bool:
    return versus.low > margin
