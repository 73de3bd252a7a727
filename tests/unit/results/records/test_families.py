"""Families: strategies that differ in numbers only."""

from __future__ import annotations

from pathlib import Path

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.families import families_of_roles, family_of_strategies
from tests.unit.results.run_builders import METRICS, write_run, write_study


def families(folder: Path) -> dict[str, str]:
    """Return the family of every strategy of a folder with one data set."""
    records = Records.read([folder])
    return family_of_strategies(records.datasets[0], families_of_roles(records.roles))


def test_points_of_a_grid_are_one_family(tmp_path: Path) -> None:
    """Breaks if every learning rate of a strategy has a colour of its own."""
    for weighting in ("fixed", "dwa"):
        for rate in (1, 2):
            overrides = {"optimizer.lr": rate}
            name = f"{weighting}{rate}"
            write_run(tmp_path, name, METRICS, weighting=weighting, overrides=overrides)
    assert families(tmp_path) == {
        "dwa, lr=1": "dwa",
        "dwa, lr=2": "dwa",
        "fixed, lr=1": "fixed",
        "fixed, lr=2": "fixed",
    }


def test_a_twin_belongs_to_its_strategy_and_fixed_weights_together(sweep: Path) -> None:
    """Breaks if a frozen twin has another colour than its strategy."""
    entries = {
        "g": {"strategy": "famo"},
        "d": {"strategy": "famo frozen", "role": "twin", "of": "famo"},
        "f": {"strategy": "fixed a=1 b=2", "role": "fixed"},
        "e": {"strategy": "equal", "role": "equal"},
        "s": {"strategy": "single_task", "role": "single_task"},
    }
    write_study(sweep, {f"{k}{i}": entry for k, entry in entries.items() for i in range(6)})
    family = families(sweep)
    assert (family["famo frozen"], family["fixed a=1 b=2"]) == ("famo", "fixed")


def test_where_numbers_are_all_that_varies_they_count(tmp_path: Path) -> None:
    """Breaks if a sweep over one learning rate is drawn in one colour."""
    for rate in (1, 2):
        write_run(tmp_path, str(rate), METRICS, overrides={"optimizer.lr": rate})
    assert families(tmp_path) == {"fixed, lr=1": "fixed, lr=1", "fixed, lr=2": "fixed, lr=2"}
