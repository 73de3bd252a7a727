"""Feature columns become numbers, fitted on the training rows alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_runner.data.table.columns import Features
from mtl_runner.errors import DataError
from tests.unit.data.table.houses import ROWS, fails, features_of, of_all_splits


def test_numeric_features_have_mean_0_and_deviation_1_on_the_training_split(table):
    """Breaks training: features of very different scale."""
    x = table(["price"], features=["area", "rooms"]).splits["train"].inputs
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_unscaled_features_stay_as_they_are(table, houses):
    """Breaks `data.scale_features=false`."""
    x = of_all_splits(table(["price"], features=["area"], scale_features=False))
    np.testing.assert_allclose(np.sort(x[:, 0].numpy()), np.sort(houses["area"]), rtol=1e-6)


def test_missing_numbers_become_the_training_mean_and_are_marked(table, houses):
    """Breaks rows with gaps: they must neither be NaN nor pass for measured."""
    houses["age"] = houses["age"].where(houses["id"] % 5 != 0)  # gaps in every split
    prepared = table(["price"], features=["age"])
    for split in prepared.splits.values():
        value, gap = split.inputs.T
        assert set(gap.tolist()) == {0.0, 1.0}
        assert bool((value[gap == 1] == 0).all())
    assert int(of_all_splits(prepared)[:, 1].sum()) == int(houses["age"].isna().sum())


def test_a_gap_seen_only_outside_training_needs_no_column(table, houses):
    """Breaks prediction on rows with more gaps than the training rows had."""
    houses["fold"] = np.where(
        houses["id"] < 60, "train", np.where(houses["id"] < 80, "val", "test")
    )
    houses.loc[90, "area"] = np.nan
    prepared = table(["price"], houses, features=["area"], split={"column": "fold"})
    assert of_all_splits(prepared).shape == (ROWS, 1)
    assert float(prepared.splits["test"].inputs[10, 0]) == 0.0


def test_constant_and_empty_columns_become_zeros(table, houses):
    """Breaks on columns without information: a division by a deviation of zero, or by nothing."""
    houses["same"], houses["void"] = 7, np.nan
    prepared = table(["price"], houses, features=["same", "void"])
    assert set(of_all_splits(prepared)[:, 0].tolist()) == {0.0}
    assert set(of_all_splits(prepared)[:, 1].tolist()) == {0.0}


@pytest.mark.parametrize(("value", "shown"), [(np.inf, "inf"), (-1e300, "-1e+300")])
@pytest.mark.parametrize("row", range(0, ROWS, 20))
def test_a_feature_beyond_the_range_of_numbers_is_named(table, houses, value, shown, row):
    """Breaks if a division by zero counts as missing, or 1e300 makes a column of zeros."""
    houses["ratio"] = houses["area"]
    houses.loc[row, "ratio"] = value
    with fails(
        DataError,
        f"Column 'ratio' holds {shown} in row {row + 1}; a number must lie within ±3.4e+38, and a missing one is an empty cell.",
    ):
        table(["price"], houses)


@pytest.mark.parametrize("row", range(0, ROWS, 20))
def test_a_typing_mistake_in_a_feature_is_told(table, houses, warnings_logged, row):
    """Breaks if one cell of text turns a column of numbers into categories without a word."""
    houses["ratio"] = houses["area"].astype(object)
    houses.loc[row, "ratio"] = "n.a.?"
    table(["price"], houses)
    (warning,) = warnings_logged.messages
    assert warning == (
        f"Column 'ratio' is a number in 99 of 100 rows, but row {row + 1} holds 'n.a.?', so that every value became a category; clean it, or leave it out."
    )


@pytest.mark.parametrize("most", [4, 100])
def test_a_column_that_hardly_repeats_is_told(table, houses, warnings_logged, most):
    """Breaks if numbers with thousands separators become inputs, or are dropped, without a word."""
    houses["paid"] = [f"{1000 + n:,}" for n in range(ROWS)]
    table(["price"], houses, features=["area", "paid"], max_categories=most)
    table(["price"], houses, max_categories=most)
    first = table(["price"], houses, features=["id"], scale_features=False).splits["train"].inputs
    assert warnings_logged.messages == [
        f"Column 'paid' holds no numbers but 100 different values in 100 rows, of which the most frequent (at most {most}) became an input each; leave it out (data.features='{{drop: [paid]}}'), embed it (model.embeddings=auto), or make numbers of dates and of numbers with units or separators.",
        f"Column 'paid' is left out: it holds no numbers but 70 different values in 70 rows; if they are numbers with units or separators (the first is '{1000 + int(first[0]):,}'), make numbers of them.",
    ]


def test_more_categories_than_inputs_are_told(table, houses, warnings_logged):
    """Breaks if `data.max_categories` drops most of a column without a word."""
    houses["group"] = [f"g{n % 5}" for n in range(ROWS)]
    table(["price"], houses, features=["group"], max_categories=5)
    assert warnings_logged.messages == []
    table(["price"], houses, features=["group"], max_categories=4)
    (warning,) = warnings_logged.messages
    assert warning.startswith("Column 'group' holds no numbers but 5 different values in 100 rows")


def test_categories_become_one_column_each(table, houses):
    """Breaks text features."""
    prepared = table(["price"], features=["city"])
    x = of_all_splits(prepared)
    assert x.shape == (ROWS, 3)
    assert set(x.sum(1).tolist()) == {1.0}
    assert x.sum(0).tolist() == [
        float((houses["city"] == city).sum()) for city in ("Aachen", "Bonn", "Köln")
    ]
    assert prepared.preprocessing["columns"][0]["categories"] == ["Aachen", "Bonn", "Köln"]


def test_a_missing_category_is_all_zero(table, houses):
    """Breaks text features with gaps: a gap must not pass for a city called "nan"."""
    houses.loc[houses["id"] % 10 == 0, "city"] = None
    x = of_all_splits(table(["price"], houses, features=["city"]))
    assert x.shape == (ROWS, 3)
    assert int((x.sum(1) == 0).sum()) == ROWS // 10


def test_rare_categories_beyond_the_most_frequent_share_no_column():
    """Breaks `data.max_categories`: a column of names would make thousands of inputs."""
    frame = pd.DataFrame({"city": ["b"] * 5 + ["a"] * 3 + ["c"]})
    x = features_of(frame, ["city"], max_categories=2).transform(frame)
    assert x.shape == (9, 2)
    assert x.sum(0).tolist() == [3.0, 5.0]
    assert x[-1].tolist() == [0.0, 0.0]


def test_a_category_unknown_in_training_is_all_zero():
    """Breaks prediction on new rows, which hold names that training never saw."""
    features = features_of(pd.DataFrame({"city": ["a", "b"]}), ["city"])
    assert features.transform(pd.DataFrame({"city": ["b", "elsewhere", None]})).tolist() == [
        [0, 1],
        [0, 0],
        [0, 0],
    ]


def test_truth_values_are_numbers(table):
    """Breaks bool columns as features."""
    x = of_all_splits(table(["price"], features=["garden"], scale_features=False))
    assert x.shape == (ROWS, 1)
    assert set(x[:, 0].tolist()) == {0.0, 1.0}


def test_fitted_columns_survive_as_plain_numbers(houses):
    """Breaks `mtl_runner.load`: the checkpoint holds the fitted columns as numbers and strings."""
    features = features_of(houses, ["area", "age", "city", "garden"])
    again = Features.from_state(features.state())
    np.testing.assert_array_equal(again.transform(houses), features.transform(houses))


def test_sentinel_values_outside_the_training_rows_do_not_move_the_training_split(table, houses):
    """Breaks "fitted on the training split only".

    Validation and test rows would leak into the inputs.
    """
    houses["fold"] = np.where(
        houses["id"] < 60, "train", np.where(houses["id"] < 80, "val", "test")
    )
    options = {"features": ["area", "age", "city", "garden"], "split": {"column": "fold"}}
    before = table({"price": "regression", "rooms": "regression_l1"}, houses, **options)
    changed = houses.copy()
    outside = changed["fold"] != "train"
    changed.loc[outside, ["area", "price"]] = 1e9
    changed.loc[outside, "rooms"] = 77
    changed.loc[outside, "city"] = "Elsewhere"
    changed.loc[outside, "age"] = np.nan
    after = table({"price": "regression", "rooms": "regression_l1"}, changed, **options)
    assert torch.equal(before.splits["train"].inputs, after.splits["train"].inputs)
    assert before.preprocessing == after.preprocessing
    assert before.tasks == after.tasks
    for name in ("price", "rooms"):
        assert torch.equal(
            before.splits["train"].targets[name], after.splits["train"].targets[name]
        )


def test_a_feature_missing_in_a_split_file_is_named(table, tmp_path, houses):
    """Breaks the sentence about a feature that the validation file lacks."""
    houses.drop(columns="area").to_csv(tmp_path / "val.csv", index=False)
    houses.to_csv(tmp_path / "test.csv", index=False)
    with fails(DataError, "The table has no column 'area', which the training table had."):
        table(
            ["price"], split={"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
        )


def test_text_in_a_numeric_feature_of_another_file_is_shown(table, tmp_path, houses):
    """Breaks the sentence about a feature that is numeric in training and text elsewhere."""
    houses.assign(area="large").to_csv(tmp_path / "val.csv", index=False)
    houses.to_csv(tmp_path / "test.csv", index=False)
    with fails(DataError, "Column 'area' is numeric in the training rows but holds 'large'"):
        table(
            ["price"], split={"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
        )
