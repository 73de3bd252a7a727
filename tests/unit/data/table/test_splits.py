"""The rows of a table are split by fractions, a column, files or folds."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_runner.data import Table
from mtl_runner.errors import ConfigError, DataError
from tests.unit.data.table.houses import IDS_ONLY, ROWS, SPLITS, fails, row_ids


@pytest.mark.parametrize(
    ("val", "test", "sizes"), [(0.15, 0.15, (70, 15, 15)), (0.1, 0.3, (60, 10, 30))]
)
def test_fractions_cut_the_shuffled_rows(table, val, test, sizes):
    """Breaks `data.split={val, test}`: disjoint, complete, of the asked sizes, shuffled."""
    rows = row_ids(table(["price"], split={"val": val, "test": test}, **IDS_ONLY))
    assert tuple(len(rows[name]) for name in SPLITS) == sizes
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(ROWS))
    assert rows["val"] != list(range(len(rows["val"])))


def test_split_follows_its_seed_alone(table):
    """Breaks reproducibility, or `data.seed` without effect."""
    np.random.seed(5)
    first = row_ids(table(["price"], **IDS_ONLY))
    np.random.seed(6)
    assert row_ids(table(["price"], **IDS_ONLY)) == first
    assert row_ids(table(["price"], seed=1, **IDS_ONLY)) != first


def test_split_by_column(table, houses):
    """Breaks `data.split={column: fold}`; the column itself is no feature."""
    houses["fold"] = np.where(
        houses["id"] % 4 == 0, "val", np.where(houses["id"] % 4 == 1, "test", "train")
    )
    rows = row_ids(table(["price"], houses, split={"column": "fold"}, **IDS_ONLY))
    assert rows["val"] == list(range(0, ROWS, 4))
    assert rows["test"] == list(range(1, ROWS, 4))
    assert len(rows["train"]) == ROWS // 2
    names = [
        c["name"]
        for c in table(["price"], houses, split={"column": "fold"}).preprocessing["columns"]
    ]
    assert "fold" not in names


def test_split_by_column_wins_over_the_default_fractions(table, houses):
    """Breaks `+data.split.column=fold` on the command line.

    There, val and test keep their default fractions.
    """
    houses["fold"] = np.where(
        houses["id"] < 80, "train", np.where(houses["id"] < 90, "val", "test")
    )
    rows = row_ids(
        table(["price"], houses, split={"val": 0.15, "test": 0.15, "column": "fold"}, **IDS_ONLY)
    )
    assert [len(rows[name]) for name in SPLITS] == [80, 10, 10]


def test_split_by_files(table, tmp_path, houses):
    """Breaks `data.split={val: file, test: file}`."""
    houses[60:75].to_csv(tmp_path / "val.csv", index=False)
    houses[75:].to_csv(tmp_path / "test.csv", index=False)
    split = {"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
    rows = row_ids(table(["price"], houses[:60], split=split, **IDS_ONLY))
    assert rows == {
        "train": list(range(60)),
        "val": list(range(60, 75)),
        "test": list(range(75, 100)),
    }


@pytest.mark.parametrize("name", ["val", "test"])
def test_the_table_of_the_training_rows_is_no_other_split(table, tmp_path, houses, name):
    """Breaks if a model is judged by the rows that it has learned, by a slip of the hand."""
    houses[60:].to_csv(tmp_path / "other.csv", index=False)
    houses.to_csv(tmp_path / "all.csv", index=False)
    split_file, table_file = str(tmp_path / "other.csv"), str(tmp_path / "all.csv")
    split = {"val": split_file, "test": split_file, name: f"{tmp_path}/./all.csv"}
    with fails(ConfigError, f"data.split: {name}=", "is the table of the training rows"):
        Table(table_file, ["price"], split=split)


@pytest.mark.parametrize("folds", [3, 7, 10])
def test_folds_are_disjoint_and_cover_everything(table, folds):
    """Breaks cross-validation.

    Every row is tested once and validated once, and never trained on in that fold.
    """
    rows = [
        row_ids(table(["price"], split={"folds": folds, "fold": k}, **IDS_ONLY))
        for k in range(folds)
    ]
    for fold in rows:
        assert sorted(fold["train"] + fold["val"] + fold["test"]) == list(range(ROWS))
    for name in ("val", "test"):
        assert sorted(i for fold in rows for i in fold[name]) == list(range(ROWS))
    assert {len(fold["test"]) for fold in rows} <= {ROWS // folds, ROWS // folds + 1}


def test_the_fold_after_the_test_fold_is_the_validation_split(table):
    """Breaks if a fold validates on other rows than the documented ones."""
    rows = [row_ids(table(["price"], split={"folds": 4, "fold": k}, **IDS_ONLY)) for k in range(4)]
    for k in range(4):
        assert rows[k]["val"] == rows[(k + 1) % 4]["test"]


# What is wrong, and what would be right


def test_a_header_without_rows_is_no_table(tmp_path):
    """Breaks the sentence for an empty table."""
    (tmp_path / "header.csv").write_text("a,b\n")
    with fails(DataError, "The table", "header.csv' has no rows under its header line."):
        Table(str(tmp_path / "header.csv"), ["a"])


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0, 0.2), (0.2, 1.0), (-0.1, 0.1)])
def test_fractions_must_leave_a_training_part(table, val, test):
    """Breaks the sentence about impossible fractions; it gives both."""
    with fails(
        ConfigError,
        "data.split fractions must lie between 0 and 1",
        "leave a training part",
        f"val={val}",
        f"test={test}",
    ):
        table(["price"], split={"val": val, "test": test})


def test_a_fraction_too_small_for_the_rows_is_an_empty_split(table):
    """Breaks the sentence about an empty split; it names split, rows and fractions."""
    with fails(
        DataError,
        "The val split of 100 rows would be empty",
        "val=0.001",
        "test=0.1",
        "larger fraction",
    ):
        table(["price"], split={"val": 0.001, "test": 0.1})


@pytest.mark.parametrize(
    "split",
    [
        {"val": 0.1},
        {"train": 0.8, "val": 0.1, "test": 0.1},
        {"folds": 5},
        {"val": 0.1, "test": "t"},
    ],
)
def test_a_split_that_is_not_understood_shows_the_four_ways(table, split):
    """Breaks the sentence about a mistyped data.split."""
    with fails(
        ConfigError,
        f"data.split={split} is not understood",
        "{val: 0.15, test: 0.15}",
        "{column: name}",
        "{val: file, test: file}",
        "{folds: 10, fold: 3}",
    ):
        table(["price"], split=split)


@pytest.mark.parametrize(("folds", "fold"), [(2, 0), (5, 5), (5, -1)])
def test_folds_out_of_range(table, folds, fold):
    """Breaks the sentence about folds: with two there is no training part."""
    with fails(
        ConfigError,
        "data.split needs folds >= 3 and 0 <= fold < folds",
        f"found folds={folds}, fold={fold}",
    ):
        table(["price"], split={"folds": folds, "fold": fold})


def test_folds_that_are_no_numbers(table):
    """Breaks the sentence about `folds: ten`, which must not be Python's own."""
    with fails(ConfigError, "data.split", "folds", "ten"):
        table(["price"], split={"folds": "ten", "fold": 0})


def test_more_folds_than_rows_is_an_empty_split(table, houses):
    """Breaks the sentence about a fold without rows."""
    with fails(DataError, "The test split is empty"):
        table(["price"], houses[:5], split={"folds": 8, "fold": 7})


def test_an_unknown_split_column_gets_the_nearest_name(table, houses):
    """Breaks the sentence about a mistyped split column."""
    with fails(
        ConfigError,
        "data.split.column='fould' is not a column of the table",
        "did you mean 'fold'?",
        "allowed: age",
    ):
        table(["price"], houses.assign(fold="train"), split={"column": "fould"})


def test_a_split_column_must_hold_all_three_words(table, houses):
    """Breaks the sentence about a split column that says "valid" where it should say "val"."""
    houses["fold"] = np.where(
        houses["id"] < 60, "train", np.where(houses["id"] < 80, "valid", "test")
    )
    with fails(
        DataError,
        "Column 'fold' says which split a row is in, but holds 'valid'; allowed: train, val, test.",
    ):
        table(["price"], houses, split={"column": "fold"})
    houses["fold"] = np.where(houses["id"] < 60, "train", "test")
    with fails(
        DataError, "The val split is empty", "'fold' never holds 'val'", "train, val and test"
    ):
        table(["price"], houses, split={"column": "fold"})
