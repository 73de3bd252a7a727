"""Verdicts made by hand."""

from __future__ import annotations

import math

from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.statistics.spread import Spread
from mtl_runner.results.verdict.verdict import Verdict


def versus(mean: float, low: float, high: float, count: int = 10) -> Paired:
    """Return a difference with its interval."""
    return Paired(mean, low, high, count, 0.01, 0.02)


def verdict(strategy: str, kind: str, equal: Paired | None, role: str = "strategy") -> Verdict:
    """Return a verdict with a margin of 2 % and ten seeds."""
    return Verdict(
        data="d",
        strategy=strategy,
        role=role,
        kind=kind,
        sentence="",
        margin=0.02,
        equal="equal",
        fixed="fixed a=2",
        versus_equal=equal,
        versus_fixed=None,
        versus_twin=None,
        seeds=10,
        failed=0,
        unfinished=0,
        delta_m=math.nan,
        delta_m_task=math.nan,
        spread=Spread(math.nan, math.nan),
        seconds=1.0,
        backward_passes=1.0,
        quantity="mean relative loss",
    )
