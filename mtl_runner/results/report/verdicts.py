"""The first part of a report: what to use, the forest plot, and every verdict in a sentence.

A report without verdicts is still a report: whatever hinders them is told in one sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_runner.errors import MtlError
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.report.forest import MARKS, Forest, forest_of
from mtl_runner.results.text import number
from mtl_runner.results.verdict.conclusions import Conclusions, conclude
from mtl_runner.results.verdict.recommendation import Recommendation
from mtl_runner.results.verdict.sentences import effects
from mtl_runner.results.verdict.verdict import Verdict

ORDER = tuple(MARKS)
LISTED = 200  # verdicts in sentences; more would make a page too large
NO_VERDICT = "No verdict: "
Colours = Mapping[str, Mapping[str, int]]  # {data set: {strategy: number of its colour}}


@dataclass(frozen=True)
class VerdictItem:
    """One strategy's verdict.

    Attributes:
        kind: The kind of verdict.
        mark: A sign for the kind.
        name: The strategy, if the sentence begins with it.
        sentence: The rest of the sentence.
        effects: The effect on every task.
    """

    kind: str
    mark: str
    name: str
    sentence: str
    effects: str


@dataclass(frozen=True)
class DatasetVerdicts:
    """The answer for one data set, and the verdicts on its strategies.

    Attributes:
        data: The data set; empty where there is only one.
        use: Which strategy to use.
        answer: Whether weighting matters, in a sentence.
        basis: What the verdicts rest on.
        forest: The forest plot.
        items: The verdicts, in the order of their importance.
        unlisted: The number of verdicts that are left out.
        tuning: How far sparser learning rates would move the results; empty without a tuning.
    """

    data: str
    use: Recommendation | None
    answer: str
    basis: str
    forest: Forest
    items: Sequence[VerdictItem]
    unlisted: int = 0
    tuning: str = ""


@dataclass(frozen=True)
class VerdictPart:
    """The first part of a report.

    Attributes:
        reason: Why there is no verdict; empty if there are some.
        leader: Which strategy is best so far, where there is no verdict.
        datasets: The verdicts per data set.
        missing: What a fair comparison would have and this one lacks.
        dependence: Whether the verdicts depend on the factors of a study, in sentences.
        remarks: What there is to say beside the verdicts.
    """

    reason: str = ""
    leader: str = ""
    datasets: Sequence[DatasetVerdicts] = ()
    missing: Sequence[str] = ()
    dependence: Sequence[str] = ()
    remarks: Sequence[str] = ()


def verdict_part(
    records: Records,
    at: str,
    conclusions: Conclusions | None = None,
    colours: Colours | None = None,
) -> VerdictPart:
    """Return the answer and the verdicts per data set, or why there is none.

    Args:
        records: The runs by data set and strategy.
        at: The epoch, ``final`` or ``best``.
        conclusions: The verdicts, if they are already drawn.
        colours: The colours of the strategies in the figures.
    """
    try:
        return _part(conclusions or conclude(records, at), colours or {})
    except MtlError as error:
        return VerdictPart(reason=str(error))
    except Exception as error:  # the tables and curves stand without it
        return VerdictPart(reason=f"It could not be drawn ({type(error).__name__}: {error}).")


def _part(conclusions: Conclusions, colours: Colours) -> VerdictPart:
    datasets = conclusions.records.datasets
    missing = list(dict.fromkeys(line for d in datasets for line in conclusions.missing(d)))
    judged = [v for v in conclusions.verdicts if v.versus_equal is not None]
    if not judged:
        default = f"{NO_VERDICT}there is no strategy beside equal weights."
        reason = next((line for line in missing if line.startswith(NO_VERDICT)), default)
        text = reason.removeprefix(NO_VERDICT)
        return VerdictPart(
            text[:1].upper() + text[1:],
            _leader(conclusions),
            missing=[line for line in missing if line != reason],
            remarks=_remarks(conclusions),
        )
    parts = []
    for data in conclusions.evidence.datasets:
        verdicts = conclusions.judged(data.name)
        if not verdicts:
            continue
        in_order = sorted(verdicts, key=lambda v: ORDER.index(v.kind))
        parts.append(
            DatasetVerdicts(
                data.name if len(conclusions.evidence.datasets) > 1 else "",
                conclusions.recommendation(data.name),
                next(iter(conclusions.sentences(data.name)), ""),
                conclusions.basis(data.name),
                forest_of(data, verdicts, colours.get(data.name, {})),
                [_item(verdict) for verdict in in_order[:LISTED]],
                max(0, len(in_order) - LISTED),
                conclusions.tuning(data.name),
            )
        )
    return VerdictPart(
        datasets=parts,
        missing=missing,
        dependence=conclusions.dependence,
        remarks=_remarks(conclusions),
    )


def _remarks(conclusions: Conclusions) -> list[str]:
    """Return what there is to say beside the verdicts, each with its data set if several."""
    names = [data.name for data in conclusions.records.datasets]
    lines = [
        f"{f'{name}: ' if len(names) > 1 else ''}{line}"
        for name in names
        for line in conclusions.remarks(name)
    ]
    return [*conclusions.across, *lines]


def _leader(conclusions: Conclusions) -> str:
    """Return which strategy has the best monitor; empty where there is nothing to compare."""
    sentences = []
    for data in conclusions.evidence.datasets:
        known = [s for s in data.strategies if math.isfinite(s.mean_monitor)]
        if len(known) < 2:
            continue
        best = min(known, key=lambda s: s.mean_monitor)
        seeds = f"{len(best.values)} run{'s' if len(best.values) != 1 else ''}"
        sentences.append(
            f"On {data.name}, {best.name} is best so far by the monitor ({number(best.mean_monitor)}, {seeds})."
        )
    return " ".join(sentences)


def _item(verdict: Verdict) -> VerdictItem:
    named = verdict.sentence.startswith(verdict.strategy)
    return VerdictItem(
        kind=verdict.kind,
        mark=MARKS[verdict.kind],
        name=verdict.strategy if named else "",
        sentence=verdict.sentence.removeprefix(verdict.strategy),
        effects=effects(verdict),
    )
