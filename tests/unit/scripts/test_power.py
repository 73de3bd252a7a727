"""The table of how many seeds a comparison needs: its numbers are those of the tool's rules."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.stats import binom

from mtl_runner.launch.catalog import read_table
from mtl_runner.study.extent import needed_seeds
from tests.support.paths import ROOT
from tests.unit.scripts.script_modules import load_script

power = load_script("reproduce/power.py")
TABLE = read_table(ROOT / "docs" / "tables" / "power.csv")
ROWS = [list(row.values()) for row in TABLE.rows]
STUDIES = 150
CHANCE = 1e-4  # that a recomputed cell differs although it is right


def cell(effect: str, correlation: str, variation: str, margin: str = "2") -> str:
    """Return a cell of the table."""
    (row,) = (row for row in ROWS if row[:3] == [effect, margin, correlation])
    return row[TABLE.columns.index(f"CV {variation} %")]


@pytest.mark.parametrize(
    ("effect", "correlation", "variation"), [("5", "0.5", "2"), ("10", "0", "5")]
)
def test_the_number_of_seeds_is_enough_and_half_of_it_is_not(
    effect: str, correlation: str, variation: str
) -> None:
    """Breaks if the judge, its corrections or the simulation no longer fit the published numbers."""
    seeds = int(cell(effect, correlation, variation))
    question = power.Question(float(effect) / 100, 0.02, float(variation) / 100, float(correlation))
    assert question.found(seeds, STUDIES) >= binom.ppf(CHANCE, STUDIES, 0.76) / STUDIES
    assert question.found(math.ceil(seeds / 2), STUDIES) < power.POWER


def test_the_search_finds_the_first_number_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if bisection stops one off, or beyond the largest number."""
    question = power.Question(0.05, 0.02, 0.02, 0.5)
    for least in (3, 4, 7, 23, 100, 101):
        monkeypatch.setattr(
            power.Question, "found", lambda self, seeds, count, least=least: float(seeds >= least)
        )
        assert question.seeds(1) == (least if least <= power.MOST else None)


def test_the_arithmetic_is_that_of_seeds_auto() -> None:
    """Breaks if the page and ``study.seeds=auto`` count seeds by two rules.

    An effect as far beyond the margin as the margin is from nothing is what auto looks for.
    """
    margin = 0.02
    effect = -math.expm1(math.log1p(-margin) - math.log1p(margin))
    for variation in (0.015, 0.018, 0.02):
        question = power.Question(effect, margin, variation, 0.5)
        assert question.arithmetic() == needed_seeds(variation, margin)


def test_an_effect_within_the_margin_is_never_found() -> None:
    """Breaks if the table promises what the verdict cannot say."""
    assert power.row(0.02, 0.02, 0.0, 1) == ["2", "2", "0", *["never"] * 5]


def test_the_table_has_every_effect_and_more_noise_needs_no_fewer_seeds() -> None:
    """Breaks if the page shows a table of an earlier script, or one with a slip in it."""
    assert [row[:3] for row in ROWS] == [
        [f"{100 * effect:g}", f"{100 * margin:g}", f"{correlation:g}"]
        for (effect, margin), correlation in itertools.product(power.EFFECTS, power.CORRELATIONS)
    ]
    assert power.table([]).strip() == ",".join(TABLE.columns)
    for row in ROWS:
        numbers = [math.inf if word in ("never", "> 100") else int(word) for word in row[3:]]
        assert numbers == sorted(numbers)
