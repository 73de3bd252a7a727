"""The verdicts of a comparison as columns, files and lines, whether a study or an ordinary sweep made the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mtl_runner.results.differences import metric_differences
from mtl_runner.results.evidence import DatasetEvidence, Evidence, gather
from mtl_runner.results.judge import margin_of, verdicts
from mtl_runner.results.paired import Paired
from mtl_runner.results.read import Run
from mtl_runner.results.roles import RunRole, jobs, read_study, without_study
from mtl_runner.results.sentences import answer, missing
from mtl_runner.results.strategies import Label
from mtl_runner.results.verdict import Verdict

LOST = "study.json is missing or not readable: tuning runs cannot be told from final ones."
ONE_TASK = "There is one task: weights between tasks cannot matter, they only change the step size."


@dataclass(frozen=True)
class Conclusions:
    """What follows from the runs."""

    evidence: Evidence
    verdicts: list[Verdict]
    jobs: list[RunRole]  # every run's part
    margins: dict[str, float]  # {data set: the margin of its verdicts}
    notes: dict[
        str, list[str]
    ]  # {data set: what its study says about the tuning, and what is lost of it}
    shown: tuple[
        list[Run], list[Label]
    ]  # the runs that the strategies' table is made of: a study's final ones, else all

    def sentences(self, data: str) -> list[str]:
        """The answer for a data set and a line per strategy; empty if there are no equal weights to compare with."""
        mine = [v for v in self.verdicts if v.data == data and v.versus_equal is not None]
        return [answer(mine, data), *(v.sentence for v in mine)] if mine else []

    def missing(self, data: str) -> list[str]:
        """What a fair comparison would have and this one lacks, then what the study itself notes about its tuning."""
        lines = [
            line for each in self.evidence.sets if each.name == data for line in _lacking(each)
        ]
        return list(dict.fromkeys([*lines, *self.notes.get(data, [])]))

    def quantity(self, data: str) -> str:
        """What the verdicts on a data set judge, in words; empty where there is none."""
        return next((v.quantity for v in self.verdicts if v.data == data), "")

    def columns(self, data: str, strategy: str) -> dict[str, Any]:
        """A strategy's columns of ``comparison.csv``; relative differences are fractions, below 0 is better."""
        found = next((v for v in self.verdicts if (v.data, v.strategy) == (data, strategy)), None)
        if found is None or found.versus_equal is None:
            return {}
        return {"verdict": found.kind, **_columns("versus_equal", found.versus_equal)}

    @cached_property
    def files(self) -> list[str]:
        """What ``write`` writes."""
        return (
            ["differences.csv", "verdicts.csv"]
            if any(v.versus_equal is not None for v in self.verdicts)
            else []
        )

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Verdicts and paired differences; empty where there are no equal weights to compare with."""
        if not self.files:
            return pd.DataFrame(), pd.DataFrame()
        rows = [
            {
                "data": data.name,
                "strategy": row.strategy,
                "against": data.equal.name if data.equal else "",
                "task": row.task,
            }
            | {"split": self.evidence.split, "at": self.evidence.at, "metric": row.metric}
            | _columns("", row.difference)
            | {"runs": row.difference.count}
            for data in self.evidence.sets
            for row in metric_differences(data)
        ]
        return pd.DataFrame([self._row(verdict) for verdict in self.verdicts]), pd.DataFrame(rows)

    def write(self, folder: Path) -> None:
        """``differences.csv`` and ``verdicts.csv``, where there is something to say."""
        verdicts, differences = self.tables()
        if self.files:
            differences.to_csv(folder / "differences.csv", index=False)
            verdicts.to_csv(folder / "verdicts.csv", index=False)

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
            "equal": v.equal,
            **_columns("versus_equal", v.versus_equal),
            "fixed": v.fixed,
            **_columns("versus_fixed", v.versus_fixed),
            **_columns("versus_twin", v.versus_twin),
            "dominated": v.dominated,
            "delta_m": v.delta_m,
            "delta_m_task": v.delta_m_task,
            "learning_rate_spread": v.spread.grids,
            "seed_spread": v.spread.seeds,
            "seconds": v.seconds,
            "backward_passes": v.backward_passes,
        }


def conclude(
    runs: Sequence[Run], labels: Sequence[Label], at: str = "final", margin: float | None = None
) -> Conclusions:
    """Draw the conclusions; the margin is by default that of each data set's study, else ``MARGIN``."""
    study = read_study(runs)
    evidence = gather(runs, labels, study, at)
    found = jobs(runs, labels, study)
    margins = {data.name: margin_of(data, margin) for data in evidence.sets}
    return Conclusions(
        evidence,
        verdicts(evidence, margin),
        found,
        margins,
        _notes(runs, found, study),
        _shown(found),
    )


def _shown(found: Sequence[RunRole]) -> tuple[list[Run], list[Label]]:
    runs, names = [], []
    tested = {job.data for job in found if job.final}
    for job in found:
        if job.final or job.data not in tested:  # a study that still tunes shows its trials
            runs.append(job.run)
            names.append(Label(job.data, job.strategy if job.final else job.trial, job.replicate))
    return runs, names


def _notes(
    runs: Sequence[Run], found: Sequence[RunRole], study: Mapping[str, Any] | None
) -> dict[str, list[str]]:
    studies = (study or {}).get("studies", {})
    lost = set(without_study(runs))
    notes: dict[str, list[str]] = {}
    for job in found:
        mine = notes.setdefault(job.data, [])
        said = studies[job.study]["notes"] if job.study else []
        said = [*said, LOST] if job.run.directory.resolve().parent in lost else said
        mine += [line for line in said if line not in mine]
    return notes


def _lacking(data: DatasetEvidence) -> list[str]:
    return [*missing(data), ONE_TASK] if len(data.tasks) == 1 else missing(data)


def _columns(name: str, found: Paired | None) -> dict[str, float]:
    names = ("mean", "low", "high", "p", "p_holm")
    return {
        f"{name}.{n}" if name else n: getattr(found, n) if found is not None else math.nan
        for n in names
    }
