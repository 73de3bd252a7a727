"""Families of strategies: their colours, and which of them are drawn at first."""

from __future__ import annotations

from pathlib import Path

from tests.unit.results.report.parsed_page import report
from tests.unit.results.report.studies import write_made_study
from tests.unit.results.run_builders import write_trained_run


def test_fixed_weights_are_one_family_and_a_twin_has_its_methods_colour(tmp_path: Path) -> None:
    """Breaks if a fixed-weight sweep takes all colours, so that the methods are not drawn."""
    rows = {row["name"]: row for row in report(write_made_study(tmp_path)).figures[0]["strategies"]}
    assert len({row["colour"] for name, row in rows.items() if name.startswith("fixed")}) == 1
    assert rows["dwa"]["colour"] == rows["dwa frozen"]["colour"] != rows["equal"]["colour"]
    drawn = [name for name, row in rows.items() if row["drawn"]]
    assert drawn[:2] == ["equal", "dwa"]
    assert len(drawn) == 3


def test_equal_weights_are_always_drawn_beside_the_best_fixed_ones(tmp_path: Path) -> None:
    """Breaks if the curves lack the baseline, or the constants that the first line recommends."""
    for i, weight in enumerate((None, 0.5, 2.0)):
        options = {} if weight is None else {"weighting__weights__y1": weight}
        write_trained_run(tmp_path / str(i), "fixed", loss_factor=1 - i / 10, **options)
    for i in range(9):
        write_trained_run(tmp_path / f"m{i}", f"m{i}", loss_factor=0.5)
    rows = {row["name"]: row for row in report(tmp_path).figures[0]["strategies"]}
    assert rows["fixed, y1=default"]["drawn"]
    assert sum(row["drawn"] for row in rows.values()) == 8


def test_one_setting_is_a_family_by_itself_if_nothing_else_varies(tmp_path: Path) -> None:
    """Breaks if a sweep over one number is drawn in one colour."""
    for i in range(3):
        write_trained_run(tmp_path / str(i), "dwa", weighting__temperature=i + 1)
    entries = report(tmp_path).figures[0]["strategies"]
    assert len({entry["colour"] for entry in entries}) == 3
