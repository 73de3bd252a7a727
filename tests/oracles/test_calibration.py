"""How often a verdict is false by chance, in simulated studies whose truth is known.

``scripts/reproduce/calibration.py`` simulates all cells with 2000 studies each; here a few cells
are simulated with some hundred, so that the bounds leave room for the chance of the simulation.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from mtl_runner.launch.catalog import read_table
from mtl_runner.results.verdict.judge import verdicts
from mtl_runner.results.verdict.verdict import BETTER, HELPS, HURTS, NO_DIFFERENCE, STATIC
from tests.support.paths import ROOT
from tests.unit.scripts.script_modules import load_script

calibration = load_script("reproduce/calibration.py")
false = load_script("reproduce/false_verdicts.py")
simulated = load_script("reproduce/simulated_studies.py")

CELLS = {cell.name: cell for cell in calibration.design()}
TABLES = ROOT / "docs" / "tables"
CHANCE = 1e-4  # that a test of a rate fails although the rate keeps its bound
# Two kinds may be more frequent: what is said of each strategy by itself, and what joins the others.
BOUNDED = set(false.KINDS) - {false.SEVERAL, "headline"}
RATE = 0.05  # of studies with a false verdict of one kind


def assert_calibrated(cell: Any, studies: int) -> None:
    """Assert that no kind of false verdict is in more than 5 % of studies, chance aside."""
    counts = calibration.simulate(cell, studies).counts
    most = binom.ppf(1 - CHANCE, studies, RATE)
    assert {kind: n for kind, n in counts.items() if kind in BOUNDED and n > most} == {}


# Not tuned and tuned, all the same; all at the margin; constants that do nearly as well.
QUICK = {"equal 3": 200, "equal 15": 120, "better 8": 300, "worse 4": 300, "constants 1": 300}


@pytest.mark.parametrize(("name", "studies"), QUICK.items())
def test_false_verdicts_are_rare(name: str, studies: int) -> None:
    """Breaks if chance, or the choice of a learning rate, gives a verdict too often."""
    assert_calibrated(CELLS[name], studies)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if not cell.noisy])
def test_false_verdicts_are_rare_in_every_cell(name: str) -> None:
    """Breaks if there is a truth, of those that the page on calibration has, with more of them."""
    assert_calibrated(CELLS[name], 400)


@pytest.mark.parametrize("name", ["power 4"])
def test_a_better_method_is_found_about_as_often_as_without_a_correction(name: str) -> None:
    """Breaks if rare false verdicts are bought with an indecisive judge."""
    studies = 200
    counts = calibration.simulate(CELLS[name], studies).counts
    least = counts[false.UNCORRECTED] / studies - 0.1
    assert counts[false.FOUND] >= binom.ppf(CHANCE, studies, least)


# The counting


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        (HURTS, 0.02, "hurts"),
        (HURTS, 0.03, ""),
        (BETTER, -0.02, "better"),
        (BETTER, -0.03, ""),
        (HELPS, -0.02, "better"),
        (NO_DIFFERENCE, 0.02, "no difference"),
        (NO_DIFFERENCE, -0.02, "no difference"),
        (NO_DIFFERENCE, 0.01, ""),
        ("undecided", 0.5, ""),
    ],
)
def test_what_lies_at_the_margin_is_neither_beyond_nor_within(
    kind: str, change: float, expected: str
) -> None:
    """Breaks if the cells at the margin, where false verdicts are likeliest, count none."""
    cell = simulated.Cell("c", methods=(change,))
    assert false.false_kind(cell, "m00", "strategy", kind) == expected


def test_a_method_is_compared_with_the_best_constants_and_its_twin() -> None:
    """Breaks if the strongest constants, or the twin, do not count for what is true."""
    good = simulated.Cell("c", methods=(-0.08,), fixed=(0.0, -0.07))
    assert false.false_kind(good, "m00", "strategy", HELPS) == "helps"
    assert false.false_kind(good, "m00", "strategy", STATIC) == ""
    weak = replace(good, fixed=(0.0, -0.01))
    assert false.false_kind(weak, "m00", "strategy", HELPS) == ""
    assert false.false_kind(weak, "m00", "strategy", STATIC) == "static"
    twin = replace(weak, twins=True, twin=-0.08)
    assert false.false_kind(twin, "m00", "strategy", HELPS) == "helps"
    assert false.false_kind(twin, "m00", "strategy", STATIC) == ""


@pytest.mark.parametrize(
    ("kind", "expected"), [(HELPS, "better"), (HURTS, "hurts"), (NO_DIFFERENCE, "")]
)
def test_a_judge_that_always_says_the_same_is_found_out(kind: str, expected: str) -> None:
    """Breaks if a false verdict, or its mention in the headline, is not counted."""
    cell = simulated.Cell("c", fixed=())
    for evidence in simulated.studies(cell, 3):
        judged = [replace(v, kind=kind) for v in verdicts(evidence)]
        assert false.events(cell, judged) == ({expected, "headline"} if expected else set())


# The numbers


@pytest.mark.parametrize("shape", ["normal", "t3", "lognormal"])
def test_losses_have_the_spread_and_the_correlation_of_their_cell(shape: str) -> None:
    """Breaks if the noise is not the one that the tables name."""
    cell = simulated.Cell(
        "c", seeds=20, correlation=0.5, variation=0.1, shape=shape, methods=(-0.05,), fixed=()
    )
    logs = np.concatenate(
        [
            np.log([[s.relative_loss[f"seed={i}"] for i in range(20)] for s in data.strategies])
            for evidence in simulated.studies(cell, 400)
            for data in evidence.datasets
        ],
        axis=1,
    )
    assert (logs[1] - logs[0]).mean() == pytest.approx(math.log(0.95), abs=0.005)
    # Heavy tails make a rough estimate, and the fourth moment of t3 is infinite.
    rough = 1.0 if shape == "normal" else 3.0
    assert logs.std(axis=1) == pytest.approx([0.1, 0.1], rel=0.1 * rough)
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.5, abs=0.07 * rough)


def test_noisy_methods_scatter_as_many_times_as_much() -> None:
    """Breaks if the table of unequal noise has equal noise."""
    cell = simulated.Cell("c", variation=0.1, methods=(0.0, 0.0), fixed=(), noisy=1, noise=3.0)
    logs = [
        [math.log(s.relative_loss["seed=0"]) for s in evidence.datasets[0].strategies]
        for evidence in simulated.studies(cell, 400)
    ]
    assert np.std(logs, axis=0) == pytest.approx([0.1, 0.3, 0.1], rel=0.15)


def test_the_share_of_runs_that_diverge_is_that_of_the_cell() -> None:
    """Breaks if survivors are judged where the tables say that half of the runs diverge."""
    cell = simulated.Cell("c", divergence=0.5)
    failed = [
        len(s.failures) for e in simulated.studies(cell, 50) for s in e.datasets[0].strategies
    ]
    assert np.mean(failed) == pytest.approx(5, abs=0.5)


def test_the_protocol_finds_the_best_learning_rate_where_there_is_no_noise() -> None:
    """Breaks if the simulated runs do not answer the protocol that real studies have."""
    cell = simulated.Cell(
        "c", variation=1e-9, methods=(0.0, -0.05), tuning=simulated.Curve(0.02), twins=True
    )
    (evidence,) = simulated.studies(cell, 1)
    strategies = evidence.datasets[0].by_name
    assert {s.role for s in strategies.values()} == {"equal", "strategy", "fixed", "twin"}
    for name, change in (("equal", 0.0), ("m00", 0.0), ("m01", -0.05), ("m01 frozen", 0.0)):
        loss = strategies[name].relative_loss["seed=0"] / simulated.BASE / (1 + change)
        assert 1 <= loss + 1e-6 <= 1.02  # within a step of the grid
    assert len(strategies["m00"].tuning) >= 7


def test_beyond_a_cliff_runs_diverge_and_the_protocol_stays_before_it() -> None:
    """Breaks if tuning at the edge of divergence is not simulated."""
    curve = simulated.Curve(0.02, cliff=True)
    assert curve.divergence(np.array([-0.1, 0.0, 0.2])) == pytest.approx([0, 0.05, 1], abs=0.03)
    assert curve.excess(np.array([-2.0, 0.0, 1.0])) == pytest.approx([0.04, 0, 0])


# The tables


def test_the_tables_of_the_page_are_those_of_the_command(tmp_path: Path) -> None:
    """Breaks if the page shows tables that its command does not make."""
    cells = ["equal 3", "power 4", "unequal 1"]
    options = argparse.Namespace(studies=3, cells=cells, jobs=1, csv=tmp_path)
    calibration.main(options)
    for path in tmp_path.glob("*.csv"):
        assert read_table(path).columns == read_table(TABLES / path.name).columns
    assert {path.name for path in tmp_path.glob("*.csv")} == {
        path.name for path in TABLES.glob("calibration*.csv")
    }


def test_the_published_rates_keep_their_bound() -> None:
    """Breaks if rules that give more false verdicts are published as calibrated."""
    for row in read_table(TABLES / "calibration_cells.csv").rows:
        for kind in BOUNDED:
            most = binom.ppf(1 - CHANCE, calibration.STUDIES, RATE) / calibration.STUDIES
            assert float(row[f"{kind} %"] or 0) <= 100 * most, row["cell"]
