"""The verdict on each strategy: does it beat equal weights, and do constant weights do as well?

The quantity judged is ``relative_changes``: per seed, the logarithm of the ratio of the mean relative losses (the mean over tasks of the
loss over that of the trivial predictor: what the settings were tuned for) of the strategy and of the paired run of the other one, lower is
better. Its mean and t-interval are turned back into relative changes. *Better beyond the margin* means that the whole 95 % interval lies below
-margin, *worse beyond the margin* that it lies above +margin, *within the margin* that it lies between (ends included); an interval
that crosses a border settles nothing. The rules, the first that applies:

- ``no difference``: to equal weights, within the margin.
- ``helps``: beyond the margin better than equal weights, than the best tuned fixed weights and than its frozen twin (if one was
  run), and in at least 95 % of resampled seeds not dominated by any fixed weights.
- ``static weights suffice``: beyond the margin better than equal weights, but not than the best fixed weights, or not than its
  frozen twin, or dominated. The burden of proof is the method's: an interval that crosses the border counts against it.
- ``hurts``: beyond the margin worse than equal weights, or at least half of its runs failed where equal weights did not, or a study
  gave it up because none of its tuning runs ended with a number.
- ``undecided``: everything else; also better than equal weights but without a fixed-weight sweep and twin to hold it against.

A failed run (an error, NaN) is no missing value but the worst result: where equal weights finished with the same seed, it
excludes the first three verdicts. A run that was killed or still runs only lowers the number of seeds. The best fixed weights
get a verdict too: they cannot beat themselves, so the best they can show is that static weights suffice. p-values are Holm-adjusted over all
judged strategies of a data set and are printed beside the interval; they do not decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mtl_runner.results.differences import percentage, quantity, relative_changes, task_effects
from mtl_runner.results.evidence import DatasetEvidence, Evidence, StrategyEvidence, Values
from mtl_runner.results.paired import Paired, holm, paired
from mtl_runner.results.pareto import dominated_share
from mtl_runner.results.sentences import describe
from mtl_runner.results.spread import spread
from mtl_runner.results.statistics import delta_m
from mtl_runner.results.verdict import HELPS, HURTS, NO_DIFFERENCE, STATIC, UNDECIDED, Verdict

MARGIN = 0.02  # where neither a study nor the user says another
DOMINATED = 0.05  # a strategy stands if fixed weights dominate it in no larger share of resamples


def verdicts(evidence: Evidence, margin: float | None = None) -> list[Verdict]:
    """A verdict on every strategy of every data set, the best fixed weights included.

    Args:
        margin: the relative difference that is of no interest, as a fraction; by default that of the data set's study, else
            ``MARGIN``.
    """
    return [
        verdict for data in evidence.sets for verdict in _of_data(data, margin_of(data, margin))
    ]


def margin_of(data: DatasetEvidence, margin: float | None = None) -> float:
    """The margin that counts for a data set."""
    own = MARGIN if data.margin is None else data.margin
    return own if margin is None else margin


def _of_data(data: DatasetEvidence, margin: float) -> list[Verdict]:
    best = data.best_fixed
    judged = [
        s for s in data.strategies if s.role == "strategy" or (s is best and s.role == "fixed")
    ]
    found = [_numbers(data, s, margin) for s in judged]
    adjusted = holm([v.versus_equal.p if v.versus_equal else math.nan for v in found])
    found = [
        replace(v, versus_equal=replace(v.versus_equal, p_holm=p)) if v.versus_equal else v
        for v, p in zip(found, adjusted, strict=True)
    ]
    return [
        replace(v, kind=(kind := decide(v)), sentence=_sentence(replace(v, kind=kind)))
        for v in found
    ]


def _numbers(data: DatasetEvidence, strategy: StrategyEvidence, margin: float) -> Verdict:
    equal, fixed, twin = data.equal, data.best_fixed, data.twin(strategy.name)
    over_metrics, over_tasks = delta_to_single_task(data, strategy)
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
        seconds=sum(strategy.seconds.values()) / len(strategy.seconds)
        if strategy.seconds
        else math.nan,
        backward_passes=strategy.backward_passes,
        quantity=quantity(data),
        effects=tuple(task_effects(data, strategy)),
        trials=strategy.trials,
        reason=next(iter(strategy.failures.values()), ""),
    )


def decide(verdict: Verdict) -> str:
    """The kind of verdict that the numbers allow, by the rules above."""
    v, margin = verdict, verdict.margin
    if v.versus_equal is None or v.versus_equal.count == 0:
        return HURTS if v.lost else UNDECIDED
    if v.lost:
        failing = 2 * v.lost >= v.lost + v.versus_equal.count
        return HURTS if failing or _worse(v.versus_equal, margin) else UNDECIDED
    if not v.versus_equal.known:
        return UNDECIDED
    if -margin <= v.versus_equal.low and v.versus_equal.high <= margin:
        return NO_DIFFERENCE
    if _worse(v.versus_equal, margin):
        return HURTS
    if not _better(v.versus_equal, margin):
        return UNDECIDED
    if v.role == "fixed":
        return STATIC
    twin_as_good = (
        v.versus_twin is not None and v.versus_twin.known and not _better(v.versus_twin, margin)
    )
    fixed_as_good = (
        v.versus_fixed is not None and v.versus_fixed.known and not _better(v.versus_fixed, margin)
    )
    if twin_as_good or fixed_as_good or v.dominated > DOMINATED:
        return STATIC
    return HELPS if v.versus_fixed is not None and v.versus_fixed.known else UNDECIDED


def delta_to_single_task(data: DatasetEvidence, strategy: StrategyEvidence) -> tuple[float, float]:
    """Delta-m of the seed means against the tuned single-task runs, over metrics and over tasks; NaN without such runs."""
    single = data.single_task
    if single is None or not strategy.values:
        return math.nan, math.nan
    mine = strategy.mean_values()
    names = {
        task: [
            m for m in metrics.in_delta_m if m in mine.get(task, {}) and m in single.get(task, {})
        ]
        for task, metrics in data.tasks.items()
    }
    return delta_m(_pick(mine, names), _pick(single, names), data.tasks)


def _pick(values: Values, names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    return {
        task: {m: values[task][m] for m in metrics} for task, metrics in names.items() if metrics
    }


def _versus(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence | None
) -> Paired | None:
    if reference is None:
        return None
    return percentage(paired(list(relative_changes(data, strategy, reference).values())))


def _lost(strategy: StrategyEvidence, equal: StrategyEvidence | None) -> int:
    if equal is None:
        return 0
    return (
        len(strategy.failures)
        if strategy.trials
        else sum(replicate in equal.values for replicate in strategy.failures)
    )


def _sentence(verdict: Verdict) -> str:
    """A strategy without a final run has no numbers to describe."""
    if not (verdict.trials and verdict.failed):
        return describe(verdict)
    trials = (
        f"none of its {verdict.trials} trials" if verdict.trials > 1 else "its only trial did not"
    )
    because = verdict.reason.rstrip(".")
    return f"{verdict.strategy} failed: {trials} {'finished' if verdict.trials > 1 else 'finish'} ({because})."


def _better(found: Paired, margin: float) -> bool:
    return found.high < -margin


def _worse(found: Paired, margin: float) -> bool:
    return found.low > margin
