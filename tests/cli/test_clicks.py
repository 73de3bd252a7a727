"""Clicks and conversions as typed: the product loss, and the area within groups."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import mtl_runner
from tests.docs.given import write_tables
from tests.support.commands import Command

TASKS = "data.targets={click: classification, conversion: classification}"
TABLE = ("data=table", "data.path=clicks.csv", TASKS, "trainer.epochs=1", "record.plots=none")
GAUC = "data.metrics={click: [auc, gauc], conversion: [auc, gauc]}"
ESMM = "data.losses.conversion._target_=mtl_runner.tasks.esmm.ESMM"


@pytest.fixture
def clicks(tmp_path: Path) -> pd.DataFrame:
    """Write the table of the page, and return it."""
    write_tables(tmp_path)
    table = pd.read_csv(tmp_path / "clicks.csv").head(3000)
    table.to_csv(tmp_path / "clicks.csv", index=False)
    return table


def measured(run: Path, task: str) -> pd.Series:
    """Return the last row of a task on validation."""
    rows = pd.read_csv(run / "metrics.csv")
    return rows[(rows["split"] == "val") & (rows["task"] == task)].iloc[-1]


@pytest.mark.long
def test_the_product_loss_trains_and_users_are_ranked_each_by_themselves(
    mtl: Command, tmp_path: Path, clicks: pd.DataFrame
) -> None:
    """Breaks the command of the page: its loss, its metrics, single and stacked."""
    options = (*TABLE, GAUC, ESMM, "data.metric_group=user", "weighting=fixed")
    result = mtl("mtl-run", *options, "record.predictions=true", "hydra.run.dir=run")
    assert result.code == 0, result.err
    click, conversion = (measured(tmp_path / "run", t) for t in ("click", "conversion"))
    assert 0.5 < conversion["ctcvr_auc"] <= 1
    # The same area by hand, from the probabilities of the model that was saved.
    predictions = pd.read_csv(tmp_path / "run/predictions.csv")
    rows = clicks.iloc[predictions.loc[predictions["split"] == "val", "row"].unique()]
    logits = mtl_runner.load(tmp_path / "run").outputs(rows)["click"]
    scores = (logits[:, 1] - logits[:, 0]).numpy()
    areas = pd.DataFrame({"user": rows["user"], "click": rows["click"], "score": scores})
    areas = areas.groupby("user").filter(lambda group: group["click"].nunique() == 2)
    by_user = areas.groupby("user")[["click", "score"]].apply(
        lambda group: roc_auc_score(group["click"], group["score"])
    )
    weights = areas.groupby("user").size()
    assert click["gauc"] == pytest.approx((by_user * weights).sum() / weights.sum(), abs=1e-6)
    stack = mtl("mtl-run", "-m", *options, "seed=0,1", "hydra/launcher=stacked")
    assert stack.code == 0, stack.err
    (sweep,) = (tmp_path / "outputs/multirun").glob("*/*")
    first = next(iter(sorted(sweep.glob("0_*"))))
    for task, row in (("click", click), ("conversion", conversion)):
        stacked = measured(first, task)
        assert stacked[["auc", "gauc"]].to_list() == pytest.approx(
            row[["auc", "gauc"]].to_list(), abs=0.02
        )


def test_without_a_group_the_metric_is_refused(mtl: Command, clicks: pd.DataFrame) -> None:
    """Breaks if users get an area that is not within groups."""
    assert len(clicks)
    result = mtl("mtl-run", *TABLE, GAUC)
    assert result.code == 1
    assert "gauc of task 'click' is measured within groups of rows" in result.last_line
