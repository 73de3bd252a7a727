"""The verdicts of a comparison as columns, files and lines, whether a study or an ordinary sweep made the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mtl_runner.results.differences import metric_differences
from mtl_runner.results.evidence import Evidence, gather
from mtl_runner.results.paired import Paired
from mtl_runner.results.read import Run
from mtl_runner.results.roles import jobs, read_study
from mtl_runner.results.sentences import answer, missing
from mtl_runner.results.strategies import Label
from mtl_runner.results.verdict import Verdict, verdicts

MARGIN = 0.02


@dataclass(frozen=True)
class Conclusions:
    """What follows from the runs."""

    evidence: Evidence
    verdicts: list[Verdict]
    margin: float
    shown: tuple[list[Run], list[Label]]  # the runs that the strategies' table is made of: a study's final ones, else all

    def sentences(self, data: str) -> list[str]:
        """The answer for a data set and a line per strategy; empty if there are no equal weights to compare with."""
        mine = [v for v in self.verdicts if v.data == data and v.versus_equal is not None]
        return [answer(mine, data), *(v.sentence for v in mine)] if mine else []

    def missing(self, data: str) -> list[str]:
        """What a fair comparison would have and this one lacks."""
        return [line for each in self.evidence.sets if each.name == data for line in missing(each)]

    def columns(self, data: str, strategy: str) -> dict[str, Any]:
        """A strategy's columns of ``comparison.csv``; relative differences are fractions, below 0 is better."""
        found = next((v for v in self.verdicts if (v.data, v.strategy) == (data, strategy)), None)
        if found is None or found.versus_equal is None:
            return {}
        return {"verdict": found.kind, **_columns("versus_equal", found.versus_equal)}

    @cached_property
    def files(self) -> list[str]:
        """What ``write`` writes."""
        return ["differences.csv", "verdicts.csv"] if any(v.versus_equal is not None for v in self.verdicts) else []

    def write(self, folder: Path) -> None:
        """``differences.csv`` and ``verdicts.csv``, where there is something to say."""
        if not self.files:
            return
        rows = [
            {"data": data.name, "strategy": row.strategy, "against": data.equal.name if data.equal else "", "task": row.task}
            | {"split": self.evidence.split, "at": self.evidence.at, "metric": row.metric}
            | _columns("", row.difference)
            | {"runs": row.difference.count}
            for data in self.evidence.sets
            for row in metric_differences(data)
        ]
        pd.DataFrame(rows).to_csv(folder / "differences.csv", index=False)
        pd.DataFrame([self._row(verdict) for verdict in self.verdicts]).to_csv(folder / "verdicts.csv", index=False)

    def _row(self, v: Verdict) -> dict[str, Any]:
        return {
            "data": v.data,
            "strategy": v.strategy,
            "split": self.evidence.split,
            "at": self.evidence.at,
            "margin": v.margin,
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


def conclude(runs: Sequence[Run], labels: Sequence[Label], at: str = "final", margin: float | None = None) -> Conclusions:
    """Draw the conclusions; the margin is by default that of the runs' study, else ``MARGIN``."""
    study = read_study(runs)
    if margin is None:
        recorded = (study or {}).get("margin")
        margin = MARGIN if recorded is None else float(recorded)
    evidence = gather(runs, labels, study, at)
    final = [job for job in jobs(runs, labels, study) if job.final]
    if final:
        shown = [job.run for job in final], [Label(job.data, job.strategy, job.replicate) for job in final]
    else:  # a study that still tunes
        shown = list(runs), list(labels)
    return Conclusions(evidence, verdicts(evidence, margin), margin, shown)


def _columns(name: str, found: Paired | None) -> dict[str, float]:
    names = ("mean", "low", "high", "p", "p_holm")
    return {f"{name}.{n}" if name else n: getattr(found, n) if found is not None else math.nan for n in names}
