"""The verdicts at the top of a report.

A report without verdicts is still a report: whatever hinders them is told in one sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.errors import MtlError
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.verdict.conclusions import Conclusions, conclude
from mtl_runner.results.verdict.sentences import effects
from mtl_runner.results.verdict.verdict import Verdict

# The most important to a reader come first.
MARKS = {
    "helps": "▲",
    "hurts": "▼",
    "static weights suffice": "◆",
    "better than equal weights": "△",
    "undecided": "?",
    "no difference": "=",
}
ORDER = tuple(MARKS)
SHOWN = 8
NO_VERDICT = "No verdict: "


@dataclass(frozen=True)
class VerdictItem:
    """One strategy's verdict.

    Attributes:
        kind: The kind of verdict.
        mark: A sign for the kind.
        name: The strategy, if the sentence begins with it.
        sentence: The rest of the sentence.
        effects: The effect on every task.
        forest: The style of the bar that shows the interval; empty without one.
    """

    kind: str
    mark: str
    name: str
    sentence: str
    effects: str
    forest: str


@dataclass(frozen=True)
class DatasetVerdicts:
    """The answer for one data set, and the verdicts on its strategies."""

    answer: str
    basis: str
    items: Sequence[VerdictItem]

    @property
    def first(self) -> Sequence[VerdictItem]:
        """The verdicts that are shown at once."""
        return self.items[:SHOWN]

    @property
    def more(self) -> Sequence[VerdictItem]:
        """The verdicts that are folded away."""
        return self.items[SHOWN:]


@dataclass(frozen=True)
class VerdictPart:
    """The first part of a report.

    Attributes:
        reason: Why there is no verdict; empty if there are some.
        datasets: The verdicts per data set.
        missing: What a fair comparison would have and this one lacks.
    """

    reason: str = ""
    datasets: Sequence[DatasetVerdicts] = ()
    missing: Sequence[str] = ()


def verdict_part(records: Records, at: str, conclusions: Conclusions | None = None) -> VerdictPart:
    """Return the answer and the verdicts per data set, or why there is none.

    Args:
        records: The runs by data set and strategy.
        at: The epoch, ``final`` or ``best``.
        conclusions: The verdicts, if they are already drawn.
    """
    try:
        return _part(conclusions or conclude(records, at))
    except MtlError as error:
        return VerdictPart(reason=str(error))
    except Exception as error:  # the tables and curves stand without it
        return VerdictPart(reason=f"It could not be drawn ({type(error).__name__}: {error}).")


def _part(conclusions: Conclusions) -> VerdictPart:
    datasets = conclusions.records.datasets
    missing = list(dict.fromkeys(line for d in datasets for line in conclusions.missing(d)))
    judged = [v for v in conclusions.verdicts if v.versus_equal is not None]
    if not judged:
        default = f"{NO_VERDICT}there is no strategy beside equal weights."
        reason = next((line for line in missing if line.startswith(NO_VERDICT)), default)
        text = reason.removeprefix(NO_VERDICT)
        return VerdictPart(
            text[:1].upper() + text[1:], missing=[line for line in missing if line != reason]
        )
    reach = _reach(judged)
    parts = []
    for name in dict.fromkeys(v.data for v in conclusions.verdicts):
        verdicts = sorted(conclusions.judged(name), key=lambda v: ORDER.index(v.kind))
        answer = next(iter(conclusions.sentences(name)), "")
        items = [_item(verdict, reach) for verdict in verdicts]
        parts.append(DatasetVerdicts(answer, conclusions.basis(name), items))
    return VerdictPart(datasets=parts, missing=missing)


def _item(verdict: Verdict, reach: float) -> VerdictItem:
    named = verdict.sentence.startswith(verdict.strategy)
    return VerdictItem(
        kind=verdict.kind,
        mark=MARKS[verdict.kind],
        name=verdict.strategy if named else "",
        sentence=verdict.sentence.removeprefix(verdict.strategy),
        effects=effects(verdict),
        forest=_forest(verdict, reach),
    )


def _forest(verdict: Verdict, reach: float) -> str:
    """Return the style of a bar for the interval of the difference to equal weights.

    On a log scale, so that half the loss lies as far to the left as twice the loss to the right.
    """
    versus = verdict.versus_equal
    if versus is None or not math.isfinite(versus.mean) or not reach:
        return ""
    ends = (versus.low, versus.high) if versus.known else (versus.mean, versus.mean)
    places = {
        name: 50 + 50 * max(-1.0, min(1.0, _log_ratio(value) / reach))
        for name, value in zip("mlh", (versus.mean, *ends), strict=True)
    }
    places["g"] = 100 * min(1.0, _log_ratio(verdict.margin) / reach)
    return ";".join(f"--{name}:{place:.1f}" for name, place in places.items())


def _reach(verdicts: Sequence[Verdict]) -> float:
    """Return the log ratio at the ends of the bars.

    It is that of the widest interval, but at most five times the largest mean difference.
    """
    compared = [v.versus_equal for v in verdicts if v.versus_equal is not None]
    compared = [versus for versus in compared if math.isfinite(versus.mean)]
    if not compared:
        return 0.0
    margin = 2 * _log_ratio(max(v.margin for v in verdicts))
    widest = max(
        abs(_log_ratio(end))
        for versus in compared
        for end in ((versus.low, versus.high) if versus.known else (versus.mean,))
    )
    return max(margin, min(widest, 5 * max(abs(_log_ratio(v.mean)) for v in compared)))


def _log_ratio(change: float) -> float:
    """Return the log ratio of a relative difference."""
    return math.log1p(max(change, -0.9999))
