"""The forest plot of a report: every strategy that was asked for, on one scale."""

from __future__ import annotations

import itertools
import re

import pytest

from mtl_runner.results.records.evidence import StrategyEvidence
from mtl_runner.results.report.forest import ROWS, Bar, Forest, forest_of
from mtl_runner.results.verdict.judge import verdicts
from tests.unit.results.evidence_builders import data_of, evidence_of, strategy

EQUAL = strategy("fixed", "equal")


def plot(*strategies: StrategyEvidence) -> Forest:
    """Return the forest plot of these strategies."""
    judged = [v for v in verdicts(evidence_of(*strategies), 0.02) if v.versus_equal is not None]
    return forest_of(data_of(*strategies), judged, {"s": 3})


def places(bar: Bar | None) -> dict[str, float]:
    """Return the places of a bar."""
    assert bar is not None
    return {name: float(at) for name, at in re.findall(r"--(\w):([\d.]+)", bar.style)}


def test_every_strategy_has_a_row_and_the_best_is_first() -> None:
    """Breaks if a strategy that failed, or cannot run, is hidden; or single-task training is."""
    why = {f"seed={i}": "It needs 3 tasks." for i in range(8)}
    forest = plot(
        EQUAL,
        strategy("fixed, a=2", "fixed", -1),
        strategy("worse", "strategy", 20),
        strategy("s", "strategy", -9),
        strategy("lost", "strategy", failed=range(8)),
        strategy("refused", "strategy", failed=range(8), failures={}, refused=why),
        strategy("single_task", "single_task", -4),
    )
    assert [(row.name, row.kind, row.note) for row in forest.rows] == [
        ("s", "helps", ""),
        ("single_task", "baseline", ""),
        ("fixed, a=2", "no difference", ""),
        ("worse", "hurts", ""),
        ("lost", "hurts", "8 of 8 runs failed: diverged"),
        ("refused", "not applicable", "It needs 3 tasks."),
    ]
    assert forest.has_fixed
    assert [row.colour for row in forest.rows][:2] == [3, 7]
    first = forest.rows[0]
    assert first.equal is not None
    assert (first.equal.mean, first.equal.settled) == ("\N{MINUS SIGN}9 %", True)
    assert first.equal.words.startswith("9 % better than equal weights (95 % interval: ")
    assert forest.rows[2].fixed is None  # the best fixed weights are the reference


def test_long_names_of_fixed_weights_are_short_beside_their_row() -> None:
    """Breaks if a row cuts off which weights it is about, or nothing tells all of them."""
    fixed = "fixed digit=0.304 parity=1.2 ink=0.9 image=1.6"
    rows = plot(EQUAL, strategy(fixed, "fixed", -1), strategy("s", "strategy", -9)).rows
    assert [(row.short, row.name) for row in rows] == [("s", "s"), ("best fixed weights", fixed)]


def test_failed_runs_stand_beside_the_interval() -> None:
    """Breaks if a strategy that lost seeds looks as good as one that finished them."""
    (row,) = plot(EQUAL, strategy("s", "strategy", -9, failed=[1, 2])).rows
    assert (row.failed, row.note, row.kind) == (2, "", "undecided")


@pytest.mark.parametrize("changes", [(-50, 100), (-9, 20), (-90, 0.1), (0.1, 0.2)])
def test_the_axis_is_logarithmic_and_holds_all_means(changes: tuple[float, float]) -> None:
    """Breaks if half the loss and twice the loss are not equally far from no difference."""
    forest = plot(EQUAL, *(strategy(f"m{c}", "strategy", c) for c in changes))
    zero = float(re.search(r"--z:([\d.]+)", forest.style)[1])  # type: ignore[index]
    bars = [places(row.equal) for row in forest.rows]
    assert all(0 < bar["l"] <= bar["m"] <= bar["h"] < 100 for bar in bars)
    if changes == (-50, 100):
        half, twice = (bar["m"] - zero for bar in bars)
        assert half == pytest.approx(-twice, abs=0.5)
    ticks = [float(tick.place) for tick in forest.ticks]
    assert ticks == sorted(ticks)
    assert all(b - a > 10 for a, b in itertools.pairwise(ticks))
    assert "0" in [tick.text for tick in forest.ticks]


def test_a_wide_interval_of_few_seeds_squeezes_nothing() -> None:
    """Breaks if one interval of two seeds makes all others invisible."""
    wild = strategy("wild", "strategy", -5, seeds=2, noise=60)
    forest = plot(EQUAL, wild, strategy("s", "strategy", -20))
    s = next(row for row in forest.rows if row.name == "s")
    zero = float(re.search(r"--z:([\d.]+)", forest.style)[1])  # type: ignore[index]
    assert zero - places(s.equal)["m"] > 10


def test_large_losses_are_told_as_a_factor() -> None:
    """Breaks if a loss of four times that of equal weights is printed as +300 %."""
    (row,) = plot(EQUAL, strategy("s", "strategy", 300)).rows
    assert row.equal is not None
    assert row.equal.mean == "\N{MULTIPLICATION SIGN}4"


def test_of_many_settings_the_best_of_every_strategy_stays() -> None:
    """Breaks if a search over learning rates fills the screen, or hides the worst strategy."""
    settings = [strategy(f"s, lr={i}", "strategy", i / 10, seeds=3) for i in range(ROWS + 20)]
    worst = strategy("worst", "strategy", 80, seeds=3)
    equal = strategy("fixed", "equal", seeds=3)
    judged = verdicts(evidence_of(equal, *settings, worst), 0.02)
    colours = {**dict.fromkeys((s.name for s in settings), 1), "worst": 2}
    forest = forest_of(data_of(equal, *settings, worst), judged, colours)
    assert (len(forest.rows), forest.unlisted) == (ROWS, 21)
    assert [forest.rows[0].name, forest.rows[-1].name] == ["s, lr=0", "worst"]
