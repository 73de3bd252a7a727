"""The default command on real tables, and on one as people have them: acceptance line I8."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.commands import Command

pytestmark = pytest.mark.long

ADULT = (
    "[income, {name: never_married, column: marital_status, positive: Never-married},"
    " education_num, hours_per_week]"
)
# Left out of adult: they say what two of the targets are, or are the weights of a survey.
DROPPED = "data.features={drop: [education, relationship, fnlwgt]}"
# How much better than the trivial predictor the mean over tasks is at least.
TABLES = {
    "multi_target/enb.csv": (2, 0.03),
    "multi_target/jura.csv": (3, 0.4),
    "multi_target/wq.csv": (14, 0.9),
    "multi_target/scpf.csv": (3, 0.75),
}


def default_run(mtl: Command, folder: Path, path: Path, targets: str, *options: str) -> Any:
    """Return output and summary of `mtl-run data=table` with its defaults."""
    done = mtl(
        "mtl-run",
        "data=table",
        f"data.path={path}",
        f"data.targets={targets}",
        "record.plots=none",
        "trainer.device=cpu",
        "hydra.run.dir=run",
        *options,
    )
    assert done.code == 0, done.err
    return done.out, json.loads((folder / "run" / "summary.json").read_text())


def relative_losses(summary: dict[str, Any], split: str = "val") -> dict[str, float]:
    """Return the relative loss of each task at the evaluation that judges the run."""
    assert summary["judge"] == "best"
    return {name: task["best"][split]["relative_loss"] for name, task in summary["tasks"].items()}


@pytest.mark.parametrize("name", TABLES)
def test_no_task_of_a_real_table_is_worse_than_the_trivial_predictor(
    shared_data: Path, mtl: Command, tmp_path: Path, name: str
) -> None:
    """Breaks I8: the defaults must not mislead on an ordinary table."""
    count, most = TABLES[name]
    columns = list(pd.read_csv(shared_data / name, nrows=1).columns[-count:])
    targets = ", ".join(
        f"{{name: t{i}, column: '{c}', kind: regression}}" for i, c in enumerate(columns)
    )
    out, summary = default_run(mtl, tmp_path, shared_data / name, f"[{targets}]")
    losses = relative_losses(summary)
    assert len(losses) == count
    assert max(losses.values()) <= 1, losses
    assert sum(losses.values()) / count < most, losses
    assert 800 <= summary["steps"] <= 2100
    assert "Inputs: " in out


def test_no_task_of_the_census_is_worse_than_the_trivial_predictor(
    shared_data: Path, mtl: Command, tmp_path: Path
) -> None:
    """Breaks I8 on a large table of categories."""
    path = shared_data / "adult" / "adult.csv"
    out, summary = default_run(mtl, tmp_path, path, ADULT, DROPPED)
    losses = relative_losses(summary)
    assert max(losses.values()) < 0.85, losses
    assert sum(losses.values()) / 4 < 0.7, losses
    assert (
        "Inputs: 3 numeric (age, capital_gain, capital_loss), 5 categorical (workclass, occupation, race, sex, native_country; "
    ) in out


def test_a_table_as_people_have_them(shared_data: Path, mtl: Command, tmp_path: Path) -> None:
    """Breaks I8 on identifiers, dates, free text, few positives, missing values, long tails."""
    script = shared_data.parent / "made_table.py"
    if not script.is_file():
        pytest.skip("the script of the made table (../shared/made_table.py) is not here")
    before, sys.argv = sys.argv, ["made_table.py", str(tmp_path / "made.csv")]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before
    targets = "{churned: classification, spend: regression, segment: classification}"
    out, summary = default_run(mtl, tmp_path, tmp_path / "made.csv", targets)
    losses = relative_losses(summary)
    assert max(losses.values()) < 1, losses
    assert sum(losses.values()) / 3 < 0.7, losses
    assert "customer_id dropped: 3500 values in 3500 rows" in out
    assert "note dropped: text, " in out
    assert (
        "signup_date became 4 numbers (day, weekday, sine and cosine of the day of the year; read as %Y-%m-%d)"
        in out
    )
    assert (
        "4 numeric (age, visits, newsletter, postcode; 2 with gaps), 2 categorical (plan, city; 9 columns)"
        in out
    )
    assert "Target 'churned': '1' has 5." in out
    assert "class_weights: balanced" in out
