"""The verdicts of a comparison as columns, tables and lines, of a study or an ordinary sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.files import write_atomic
from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.records.evidence import DatasetEvidence, Evidence, gather
from mtl_runner.results.statistics.differences import metric_differences
from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.text import csv_bytes
from mtl_runner.results.verdict.answers import (
    answer,
    basis,
    hardly_explained,
    missing,
    tuning_words,
)
from mtl_runner.results.verdict.dependence import Interaction, dependence, interactions
from mtl_runner.results.verdict.judge import margin_of, verdicts
from mtl_runner.results.verdict.recommendation import (
    Recommendation,
    joint_training_hurts,
    recommend,
)
from mtl_runner.results.verdict.remarks import across_sentences, remarks
from mtl_runner.results.verdict.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

ONE_TASK = "There is one task: weights between tasks cannot matter, they only change the step size."


ENDS = ("mean", "low", "high", "low90", "high90")  # of a difference in verdicts.csv


@dataclass(frozen=True)
class Conclusions:
    """The verdicts that follow from some runs.

    Attributes:
        records: The runs by data set and strategy.
        evidence: The numbers that the verdicts rest on.
        verdicts: One per judged strategy.
        margins: ``{data set: the margin of its verdicts}``.
        note: A sentence on the epoch that is compared, where the runs do not agree on it.
    """

    records: Records
    evidence: Evidence
    verdicts: Sequence[Verdict]
    margins: dict[str, float]
    note: str = ""

    def judged(self, data: str) -> list[Verdict]:
        """Return the verdicts on a data set that has equal weights to compare with."""
        return [v for v in self.verdicts if v.data == data and v.versus_equal is not None]

    def sentences(self, data: str) -> list[str]:
        """Return the answer for a data set and a line per strategy; empty without equal weights."""
        judged = self.judged(data)
        if not judged:
            return []
        evidence = next(d for d in self.evidence.datasets if d.name == data)
        headline = " ".join(
            filter(None, (answer(judged, data), joint_training_hurts(evidence, judged)))
        )
        return [headline, *(v.sentence for v in judged)]

    def recommendation(self, data: str) -> Recommendation | None:
        """Return which strategy to use on a data set; None without equal weights."""
        evidence = next((d for d in self.evidence.datasets if d.name == data), None)
        return None if evidence is None else recommend(evidence, self.verdicts)

    def basis(self, data: str) -> str:
        """Return what the verdicts on a data set rest on."""
        splits = next((d.splits for d in self.evidence.datasets if d.name == data), 1)
        return basis(self.verdicts, data, self.evidence.split, self.evidence.at, splits)

    def tuning(self, data: str) -> str:
        """Return how far sparser learning rates would move results, beside seeds; empty without."""
        evidence = next((d for d in self.evidence.datasets if d.name == data), None)
        return "" if evidence is None else tuning_words(evidence)

    def missing(self, data: DatasetRuns) -> list[str]:
        """Return what a fair comparison would have and this one lacks, then the study's notes."""
        lacking = [
            line
            for evidence in self.evidence.datasets
            if evidence.name == data.name
            for line in [
                *_lacking(evidence),
                hardly_explained(evidence, self.margins[evidence.name]),
            ]
        ]
        return list(dict.fromkeys(filter(None, [*lacking, *data.notes, self.note])))

    @cached_property
    def interactions(self) -> list[Interaction]:
        """The changes that methods make at two levels of a factor, of studies with factors."""
        return interactions(self.evidence, self.verdicts)

    @cached_property
    def dependence(self) -> list[str]:
        """Whether the verdicts depend on the factors of a study, a sentence for each factor."""
        return dependence(self.interactions)

    def remarks(self, data: str) -> list[str]:
        """Return what there is to say about a data set beside its verdicts, a sentence each."""
        return self._remarks.get(data, [])

    @cached_property
    def _remarks(self) -> dict[str, list[str]]:
        """The remarks on every data set: the curves of its runs are read once."""
        runs = {data.name: data for data in self.records.datasets}
        return {
            data.name: remarks(runs[data.name], data, self.evidence.at, self.margins[data.name])
            for data in self.evidence.datasets
        }

    @cached_property
    def across(self) -> list[str]:
        """The sentences over all data sets; none unless three at least have the same strategies.

        One problem at several levels of a study's factors is no sample of data sets.
        """
        return across_sentences([data for data in self.evidence.datasets if not data.factors])

    def quantity(self, data: str) -> str:
        """Return in words what the verdicts on a data set judge; empty where there is none."""
        return next((v.quantity for v in self.verdicts if v.data == data), "")

    def columns(self, data: str, strategy: str) -> dict[str, Any]:
        """Return a strategy's columns of ``comparison.csv``; below 0 is better."""
        verdict = next((v for v in self.judged(data) if v.strategy == strategy), None)
        if verdict is None:
            return {}
        return {"verdict": verdict.kind, **_columns("versus_equal", verdict.versus_equal)}

    @cached_property
    def files(self) -> list[str]:
        """The names of the files that :meth:`write` writes."""
        any_judged = any(v.versus_equal is not None for v in self.verdicts)
        factors = ["factors.csv"] if self.interactions else []
        return ["differences.csv", *factors, "verdicts.csv"] if any_judged else []

    @cached_property
    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Verdicts and paired differences; empty without equal weights to compare with."""
        import pandas as pd

        if not self.files:
            return pd.DataFrame(), pd.DataFrame()
        rows = [
            {
                "data": data.name,
                "strategy": row.strategy,
                "against": row.against,
                "task": row.task,
                "split": self.evidence.split,
                "at": self.evidence.at,
                "metric": row.metric,
                **_columns("", row.difference, ("mean", "low", "high", "p", "p_holm")),
                "runs": row.difference.count,
            }
            for data in self.evidence.datasets
            for row in metric_differences(data)
        ]
        return pd.DataFrame([self._row(verdict) for verdict in self.verdicts]), pd.DataFrame(rows)

    def write(self, folder: Path) -> None:
        """Write ``differences.csv`` and ``verdicts.csv`` where there are verdicts.

        A study with factors has ``factors.csv``, too.
        """
        import pandas as pd

        verdict_table, difference_table = self.tables
        if self.files:
            write_atomic(folder / "differences.csv", csv_bytes(difference_table))
            write_atomic(folder / "verdicts.csv", csv_bytes(verdict_table))
        if self.interactions:
            rows = [_interaction_row(pair) for pair in self.interactions]
            write_atomic(folder / "factors.csv", csv_bytes(pd.DataFrame(rows)))

    def _row(self, v: Verdict) -> dict[str, Any]:
        return {
            "data": v.data,
            "strategy": v.strategy,
            "split": self.evidence.split,
            "at": self.evidence.at,
            "margin": v.margin,
            "quantity": v.quantity,
            "verdict": v.kind,
            "sentence": v.sentence,
            "runs": v.seeds,
            "failed": v.failed,
            "unfinished": v.unfinished,
            "lost": v.lost,
            "won": v.equal_failures.won,
            "p_hurts": v.p_hurts,
            "p_better": v.p_better,
            "p_helps": v.p_helps,
            "p_static": v.p_static,
            "equal": v.equal,
            "equal_failed": v.equal_failures.failed,
            **_columns("versus_equal", v.versus_equal, ENDS),
            **_columns("geometric", v.geometric, ENDS),
            "tasks_better": v.tasks_better,
            "fixed": v.fixed,
            **_columns("versus_fixed", v.versus_fixed, ENDS),
            **_columns("versus_twin", v.versus_twin, ENDS),
            "delta_m": v.delta_m,
            "delta_m_task": v.delta_m_task,
            "learning_rate_spread": v.spread.grids,
            "seed_spread": v.spread.seeds,
            "seconds": v.seconds,
            "backward_passes": v.backward_passes,
        }


def conclude(records: Records, at: str | None = None, margin: float | None = None) -> Conclusions:
    """Draw the conclusions from some runs.

    Args:
        records: The runs by data set and strategy.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor); None: the one
            that the runs recorded.
        margin: The relative difference that is of no interest, as a fraction; by default that of
            each data set's study, else 0.02.
    """
    evidence = gather(records, at)
    margins = {data.name: margin_of(data, margin) for data in evidence.datasets}
    note = "" if at or len(records.judges) < 2 else _mixed(records)
    return Conclusions(records, evidence, verdicts(evidence, margin), margins, note)


def _mixed(records: Records) -> str:
    """Return what a comparison does with runs that are judged at different epochs."""
    counts = " and ".join(f"{records.judges[at]} as {at}" for at in sorted(records.judges))
    return f"The runs do not agree on the epoch that judges them ({counts}), so all are compared at the last one; choose by mtl-compare --at."


def _lacking(data: DatasetEvidence) -> list[str]:
    return [*missing(data), ONE_TASK] if len(data.tasks) == 1 else missing(data)


def _interaction_row(pair: Interaction) -> dict[str, Any]:
    return {
        "data": pair.problem,
        "factor": pair.factor,
        "level": pair.levels[0],
        "other_level": pair.levels[1],
        "others": pair.group,
        "strategy": pair.strategy,
        "verdict": pair.kinds[0],
        "other_verdict": pair.kinds[1],
        **_columns("difference", pair.difference),
        "runs": pair.difference.count,
        "p_holm": pair.p,
        "depends": pair.is_shown,
    }


def _columns(
    name: str, versus: Paired | None, columns: Sequence[str] = ("mean", "low", "high")
) -> dict[str, float]:
    return {
        f"{name}.{column}" if name else column: math.nan
        if versus is None
        else getattr(versus, column)
        for column in columns
    }
