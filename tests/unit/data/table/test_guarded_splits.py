"""Splits that keep groups together and the shares of classes equal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_runner.data.table.splits import read_splits
from mtl_runner.errors import ConfigError
from tests.unit.data.table.houses import fails

ROWS = 300


@pytest.fixture
def path(tmp_path):
    """Return a table of patients with several rows each, rare events and long tails."""
    random = np.random.default_rng(0)
    patient = random.integers(0, 60, ROWS)
    frame = pd.DataFrame(
        {
            "row": np.arange(ROWS),
            "patient": [f"P{n}" for n in patient],
            "event": np.where(np.arange(ROWS) % 20 == 0, "yes", "no"),
            "cost": random.lognormal(0, 2, ROWS),
        }
    )
    frame.loc[:3, "patient"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


FORMS = ({"val": 0.15, "test": 0.15}, {"folds": 7, "fold": 2})


@pytest.mark.parametrize("form", FORMS, ids=["fractions", "folds"])
@pytest.mark.parametrize("stratify", [None, "event"])
def test_a_group_lies_in_one_split(path, form, stratify):
    """Breaks if the rows of a patient are trained on and tested on."""
    frames = read_splits(path, {**form, "group": "patient", "stratify": stratify}, seed=0)
    groups = {name: set(frame["patient"].dropna()) for name, frame in frames.items()}
    assert not groups["train"] & groups["val"] | groups["train"] & groups["test"]
    assert not groups["val"] & groups["test"]
    rows = sorted(row for frame in frames.values() for row in frame["row"])
    assert rows == list(range(ROWS))
    for name in ("val", "test"):
        assert 0.08 * ROWS < len(frames[name]) < 0.25 * ROWS


@pytest.mark.parametrize("form", FORMS, ids=["fractions", "folds"])
def test_every_split_has_its_share_of_a_rare_class(path, form):
    """Breaks if the few events all lie in one split."""
    frames = read_splits(path, {**form, "stratify": "event"}, seed=0)
    for frame in frames.values():
        assert (frame["event"] == "yes").mean() == pytest.approx(0.05, abs=0.02)
    assert {len(frames["val"]), len(frames["test"])} <= {42, 43, 45}


def test_numbers_are_stratified_by_their_quantiles(path):
    """Breaks if all the expensive rows of a long tail lie in one split."""
    frames = read_splits(path, {**FORMS[0], "stratify": "cost"}, seed=0)
    limit = pd.read_csv(path)["cost"].quantile(0.9)
    for frame in frames.values():
        assert (frame["cost"] > limit).mean() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("guard", [{"group": "patient"}, {"stratify": "event"}])
def test_the_seed_alone_decides(path, guard):
    """Breaks reproducibility, or `data.seed` without effect."""
    split = {**FORMS[0], **guard}
    first, again, changed = (read_splits(path, split, seed) for seed in (0, 0, 1))
    assert first["test"]["row"].tolist() == again["test"]["row"].tolist()
    assert set(first["test"]["row"]) != set(changed["test"]["row"])


def test_classes_of_a_single_row_share_a_stratum(path):
    """Breaks if one rare class makes a stratified split impossible."""
    frame = pd.read_csv(path)
    frame.loc[7, "event"] = "once"
    frame.to_csv(path, index=False)
    for form in FORMS:
        frames = read_splits(path, {**form, "stratify": "event"}, seed=0)
        assert sum(map(len, frames.values())) == ROWS


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({"group": "pateint"}, "data.split.group='pateint' is not a column of the table; did you mean 'patient'?"),
        ({"stratify": "evnt"}, "data.split.stratify='evnt' is not a column of the table; did you mean 'event'?"),
        ({"folds": 7, "fold": 2, "group": "event"}, "data.split.group: the rows cannot be split like that (2 groups for 7 folds)"),
        ({"column": "event", "group": "patient"}, "data.split.group and data.split.stratify go with fractions or folds; a column or files say"),
        ({"folds": 2, "fold": 0, "group": "patient"}, "data.split needs folds >= 3"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_made_is_one_sentence(path, split, sentence):
    """Breaks if a mistyped column is a KeyError, or a group is spread over folds in silence."""
    with fails(ConfigError, sentence):
        read_splits(path, {**FORMS[0], **split}, seed=0)


def test_the_column_of_the_groups_is_no_feature(table, houses):
    """Breaks if the number of a patient, which no new patient has, becomes an input."""
    houses["patient"] = houses["id"] % 30
    split = {"val": 0.15, "test": 0.15, "group": "patient"}
    names = [c["name"] for c in table(["price"], houses, split=split).preprocessing["columns"]]
    assert "patient" not in names
    assert "area" in names
    named = table(["price"], houses, split=split, features=["area", "patient"])
    assert [c["name"] for c in named.preprocessing["columns"]] == ["area", "patient"]
