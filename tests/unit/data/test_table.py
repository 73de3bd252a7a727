"""Any table as a multi-task problem: what columns become, what is fitted on what, and every sentence about what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_runner.data import Table
from mtl_runner.data.dataset import Prepared, prepare
from mtl_runner.data.table.columns import Features
from mtl_runner.errors import ConfigError, DataError

ROWS = 100
SPLITS = ("train", "val", "test")


@pytest.fixture
def houses() -> pd.DataFrame:
    """Numbers, categories, gaps, truth values, classes and labels, as people keep them."""
    rng = np.random.default_rng(0)
    area = rng.uniform(50, 250, ROWS)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "area": area,
            "age": np.where(rng.random(ROWS) < 0.2, np.nan, rng.integers(0, 90, ROWS)),
            "city": rng.choice(["Bonn", "Köln", "Aachen"], ROWS),
            "garden": rng.random(ROWS) < 0.5,
            "price": 1000 * area + rng.normal(0, 9000, ROWS),
            "state": rng.choice(["new", "used", "ruin"], ROWS),
            "rooms": rng.integers(1, 5, ROWS),
            "gas": rng.integers(0, 2, ROWS),
            "oil": rng.integers(0, 2, ROWS),
            "sun": rng.integers(0, 2, ROWS),
            "tags": rng.choice(["lift", "lift; view", "view;  quiet ;lift", "quiet"], ROWS),
        }
    )


@pytest.fixture
def table(tmp_path: Path, houses: pd.DataFrame) -> Callable[..., Prepared]:
    """``table(targets, split=...)`` writes the frame (or another one) and reads it as the runner does."""

    def make(targets: Any, frame: pd.DataFrame = houses, **options: Any) -> Prepared:
        frame.to_csv(tmp_path / "houses.csv", index=False)
        return prepare(Table(str(tmp_path / "houses.csv"), targets, **options))

    return make


def everything(prepared: Prepared, task: str | None = None) -> torch.Tensor:
    """Inputs, or the targets of a task, of all splits."""
    parts = [prepared.splits[name] for name in SPLITS]
    return torch.cat([part.targets[task] if task else part.inputs for part in parts])


def features_of(
    frame: pd.DataFrame, names: list[str], scale: bool = True, most: int = 100
) -> Features:
    return Features.fit(frame, names, scale=scale, max_categories=most)


# Features


def test_numeric_features_have_mean_0_and_deviation_1_on_the_training_split(table):
    """Breaks training: features of very different scale."""
    x = table(["price"], features=["area", "rooms"]).splits["train"].inputs
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_unscaled_features_stay_as_they_are(table, houses):
    """Breaks `data.scale_features=false`."""
    x = everything(table(["price"], features=["area"], scale_features=False))
    np.testing.assert_allclose(np.sort(x[:, 0].numpy()), np.sort(houses["area"]), rtol=1e-6)


def test_missing_numbers_become_the_training_mean_and_are_marked(table, houses):
    """Breaks rows with gaps: they must neither be NaN nor pass for measured."""
    houses["age"] = houses["age"].where(houses["id"] % 5 != 0)  # gaps in every split
    prepared = table(["price"], features=["age"])
    for split in prepared.splits.values():
        value, gap = split.inputs.T
        assert set(gap.tolist()) == {0.0, 1.0}
        assert bool((value[gap == 1] == 0).all())
    assert int(everything(prepared)[:, 1].sum()) == int(houses["age"].isna().sum())


def test_a_gap_seen_only_outside_training_needs_no_column(table, houses):
    """Breaks prediction on rows with more gaps than the training rows had."""
    houses["fold"] = np.where(
        houses["id"] < 60, "train", np.where(houses["id"] < 80, "val", "test")
    )
    houses.loc[90, "area"] = np.nan
    prepared = table(["price"], houses, features=["area"], split={"column": "fold"})
    assert everything(prepared).shape == (ROWS, 1)
    assert float(prepared.splits["test"].inputs[10, 0]) == 0.0


def test_constant_and_empty_columns_become_zeros(table, houses):
    """Breaks on columns without information: a division by a deviation of zero, or by nothing."""
    houses["same"], houses["void"] = 7, np.nan
    prepared = table(["price"], houses, features=["same", "void"])
    assert set(everything(prepared)[:, 0].tolist()) == {0.0}
    assert set(everything(prepared)[:, 1].tolist()) == {0.0}


def test_infinite_features_count_as_missing(table, houses):
    """Breaks on columns computed by a division, which hold inf."""
    houses["ratio"] = houses["area"]
    houses.loc[houses["id"] % 4 == 0, "ratio"] = np.inf
    x = everything(table(["price"], houses, features=["ratio"]))
    assert bool(x.isfinite().all())
    assert int(x[:, 1].sum()) == ROWS // 4


def test_categories_become_one_column_each(table, houses):
    """Breaks text features."""
    prepared = table(["price"], features=["city"])
    x = everything(prepared)
    assert x.shape == (ROWS, 3)
    assert set(x.sum(1).tolist()) == {1.0}
    assert x.sum(0).tolist() == [
        float((houses["city"] == city).sum()) for city in ("Aachen", "Bonn", "Köln")
    ]
    assert prepared.preprocessing["columns"][0]["categories"] == ["Aachen", "Bonn", "Köln"]


def test_a_missing_category_is_all_zero(table, houses):
    """Breaks text features with gaps: a gap must not pass for a city called "nan"."""
    houses.loc[houses["id"] % 10 == 0, "city"] = None
    x = everything(table(["price"], houses, features=["city"]))
    assert x.shape == (ROWS, 3)
    assert int((x.sum(1) == 0).sum()) == ROWS // 10


def test_rare_categories_beyond_the_most_frequent_share_no_column():
    """Breaks `data.max_categories`, which keeps a column of names from making thousands of inputs."""
    frame = pd.DataFrame({"city": ["b"] * 5 + ["a"] * 3 + ["c"]})
    x = features_of(frame, ["city"], most=2).transform(frame)
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
    x = everything(table(["price"], features=["garden"], scale_features=False))
    assert x.shape == (ROWS, 1)
    assert set(x[:, 0].tolist()) == {0.0, 1.0}


def test_fitted_columns_survive_as_plain_numbers(houses):
    """Breaks `mtl_runner.load`: the checkpoint holds the fitted columns as numbers and strings."""
    features = features_of(houses, ["area", "age", "city", "garden"])
    again = Features.from_state(features.state())
    np.testing.assert_array_equal(again.transform(houses), features.transform(houses))


def test_a_list_of_features_picks_those_in_their_order(table):
    """Breaks `data.features=[...]`."""
    prepared = table(["price"], features=["rooms", "area"])
    assert [column["name"] for column in prepared.preprocessing["columns"]] == ["rooms", "area"]


def test_dropped_columns_and_targets_are_no_features(table):
    """Breaks `data.features={drop: [...]}`, or lets a target leak into the inputs."""
    prepared = table(
        {"price": "regression", "tags": "classification"}, features={"drop": ["id", "city"]}
    )
    names = [column["name"] for column in prepared.preprocessing["columns"]]
    assert names == ["area", "age", "garden", "state", "rooms", "gas", "oil", "sun"]


def test_the_source_column_of_a_derived_target_is_no_feature(table):
    """Breaks honesty: the answer would stand in the inputs."""
    targets = [{"name": "ruin", "column": "state", "kind": "classification", "positive": "ruin"}]
    names = [column["name"] for column in table(targets).preprocessing["columns"]]
    assert "state" not in names
    assert "area" in names


# Targets


def test_targets_by_name_and_kind(table):
    """Breaks `data.targets='{price: regression, state: classification}'`."""
    prepared = table({"price": "regression", "area": "regression_l1", "state": "classification"})
    assert {t.name: (t.kind, t.size) for t in prepared.tasks} == {
        "price": ("regression", 1),
        "area": ("regression_l1", 1),
        "state": ("classification", 3),
    }


def test_kinds_are_inferred_from_the_columns(table):
    """Breaks `data.targets=[price,state]`: text, truth values and 0/1 are classes, other numbers a regression."""
    prepared = table(
        [
            "price",
            "rooms",
            "state",
            "garden",
            "gas",
            {"name": "old", "column": "age"},
            {"name": "is_bonn", "column": "city", "positive": "Bonn"},
            {"name": "heat", "columns": ["oil", "sun"]},
            {"name": "tags", "separator": ";"},
        ]
    )
    assert {t.name: t.kind for t in prepared.tasks} == {
        "price": "regression",
        "rooms": "regression",
        "state": "classification",
        "garden": "classification",
        "gas": "classification",
        "old": "regression",
        "is_bonn": "classification",
        "heat": "multilabel",
        "tags": "multilabel",
    }


def test_scaled_targets_return_in_their_own_units(table, houses):
    """Breaks metrics and predictions in original units: offset and scale must undo the scaling."""
    prepared = table(["price"])
    task = prepared.tasks[0]
    train = prepared.splits["train"].targets["price"]
    assert float(train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.std(correction=0)) == pytest.approx(1, abs=1e-5)
    back = task.offset + task.scale * everything(prepared, "price")[:, 0].double()
    np.testing.assert_allclose(np.sort(back.numpy()), np.sort(houses["price"]), rtol=1e-5)


def test_metrics_are_the_same_whether_targets_were_scaled_or_not(table):
    """Breaks `data.scale_targets=false`, or metrics in original units."""
    found = []
    for scale in (True, False):
        prepared = table(
            {"price": "regression", "area": "regression_l1"},
            features=["rooms"],
            scale_targets=scale,
        )
        for task in prepared.tasks:
            target = prepared.splits["val"].targets[task.name]
            guess = torch.full_like(
                target, (100.0 - task.offset) / task.scale
            )  # 100 in the target's own units
            found.append(
                {name: float(value) for name, value in task.measure(guess, target).items()}
            )
    assert found[0] == pytest.approx(found[2], rel=1e-5)
    assert found[1] == pytest.approx(found[3], rel=1e-5)


def test_unscaled_targets_are_the_raw_numbers(table, houses):
    """Breaks `data.scale_targets=false`, the natural test of a weighting."""
    prepared = table(["price"], scale_targets=False)
    assert (prepared.tasks[0].offset, prepared.tasks[0].scale) == (0.0, 1.0)
    np.testing.assert_allclose(
        np.sort(everything(prepared, "price")[:, 0]), np.sort(houses["price"]), rtol=1e-6
    )


def test_a_constant_target_is_not_divided_by_zero(table, houses):
    """Breaks on a target that never changes in the training rows."""
    houses["same"] = 5.0
    prepared = table(["price", {"name": "same", "kind": "regression"}], houses)
    assert set(everything(prepared, "same")[:, 0].tolist()) == {0.0}


def test_missing_regression_labels_are_nan_and_leave_the_scaling_alone(table, houses):
    """Breaks missing labels: they must be marked, not imputed."""
    houses.loc[houses["id"] % 3 == 0, "price"] = np.nan
    prepared = table(["price"])
    target = prepared.splits["train"].targets["price"]
    known = target[~target.isnan()]
    assert prepared.tasks[0].missing
    assert int(everything(prepared, "price").isnan().sum()) == int(houses["price"].isna().sum())
    assert float(known.mean()) == pytest.approx(0, abs=1e-5)
    assert float(known.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_missing_text_classes_are_minus_100_and_no_class(table, houses):
    """Breaks missing labels of a classification: a gap must not become a class of its own."""
    houses.loc[houses["id"] % 4 == 0, "state"] = None
    prepared = table(["state"], houses)
    task, target = prepared.tasks[0], everything(prepared, "state")
    assert task.classes == ("new", "ruin", "used")
    assert task.missing
    counts = [int((target == k).sum()) for k in (-100, 0, 1, 2)]
    assert counts == [ROWS // 4, *(int((houses["state"] == name).sum()) for name in task.classes)]


def test_whole_numbers_with_gaps_are_the_same_classes_as_without(table, houses):
    """Breaks integer classes with missing labels: pandas reads them as 1.0, 2.0, and they must stay 1, 2."""
    houses["rooms"] = houses["rooms"].where(houses["id"] % 5 != 0)
    prepared = table({"rooms": "classification"}, houses)
    target = everything(prepared, "rooms")
    assert prepared.tasks[0].classes == ("1", "2", "3", "4")
    assert int((target == -100).sum()) == ROWS // 5
    assert int((target == 2).sum()) == int((houses["rooms"] == 3).sum())


def test_truth_values_with_gaps_are_two_classes(table, houses):
    """Breaks bool targets with missing labels."""
    houses["garden"] = houses["garden"].astype(object).where(houses["id"] % 5 != 0, None)
    prepared = table(["garden"], houses)
    assert prepared.tasks[0].classes == ("False", "True")
    assert int((everything(prepared, "garden") == -100).sum()) == ROWS // 5


def test_a_class_met_only_in_the_test_rows_is_a_class(table, houses):
    """Breaks rare classes: the heads must be wide enough for every row."""
    houses["fold"] = np.where(
        houses["id"] < 60, "train", np.where(houses["id"] < 80, "val", "test")
    )
    houses.loc[99, "state"] = "castle"
    prepared = table(["state"], houses, split={"column": "fold"})
    assert prepared.tasks[0].classes == ("castle", "new", "ruin", "used")
    assert int(prepared.splits["test"].targets["state"][19]) == 0


def test_classes_that_are_numbers_are_in_numeric_order(table, houses):
    """Breaks the order of the outputs: 10 comes after 9, not before 2."""
    houses["grade"] = houses["id"] % 12
    assert table({"grade": "classification"}, houses).tasks[0].classes == tuple(
        str(k) for k in range(12)
    )


def test_a_derived_target_says_whether_the_column_equals_the_value(table, houses):
    """Breaks `{name, column, kind, positive}`; a missing source is a missing label, not "no"."""
    houses.loc[houses["id"] % 6 == 0, "state"] = None
    prepared = table(
        [{"name": "is_ruin", "column": "state", "kind": "classification", "positive": "ruin"}],
        houses,
    )
    task, target = prepared.tasks[0], everything(prepared, "is_ruin")
    assert (task.name, task.classes, task.size) == ("is_ruin", ("not ruin", "ruin"), 2)
    assert int((target == 1).sum()) == int((houses["state"] == "ruin").sum())
    assert int((target == -100).sum()) == int(houses["state"].isna().sum())


@pytest.mark.parametrize(("column", "positive"), [("rooms", 3), ("garden", True)])
def test_a_derived_target_of_numbers_or_truth_values(table, houses, column, positive):
    """Breaks `positive: 3` and `positive: true`, which YAML reads as a number and a truth value."""
    prepared = table([{"name": "it", "column": column, "positive": positive}])
    assert int((everything(prepared, "it") == 1).sum()) == int((houses[column] == positive).sum())


def test_two_targets_may_come_from_one_column(table):
    """Breaks a class and a derived target of the same column."""
    prepared = table(["state", {"name": "is_ruin", "column": "state", "positive": "ruin"}])
    state, ruin = everything(prepared, "state"), everything(prepared, "is_ruin")
    assert torch.equal(state == 1, ruin == 1)  # new, ruin, used


def test_multilabel_from_columns(table, houses):
    """Breaks `{name, columns: [...]}`: one 0/1 output per column, named by it, gaps are missing labels."""
    houses["sun"] = houses["sun"].where(houses["id"] % 10 != 0)
    prepared = table([{"name": "heating", "columns": ["gas", "oil", "sun"]}], houses)
    task, target = prepared.tasks[0], everything(prepared, "heating")
    assert (task.kind, task.size, task.classes, task.missing) == (
        "multilabel",
        3,
        ("gas", "oil", "sun"),
        True,
    )
    assert target.nansum(0).tolist() == [float(houses[name].sum()) for name in task.classes]
    assert target.isnan().sum(0).tolist() == [0, 0, ROWS // 10]


def test_multilabel_from_a_separator(table, houses):
    """Breaks `{name, separator: ";"}`: the labels of a text column, spaces around them left out."""
    houses.loc[houses["id"] % 10 == 0, "tags"] = None
    prepared = table([{"name": "tags", "kind": "multilabel", "separator": ";"}], houses)
    task, target = prepared.tasks[0], everything(prepared, "tags")
    assert (task.size, task.classes) == (3, ("lift", "quiet", "view"))
    assert int(target.isnan().all(1).sum()) == ROWS // 10
    for k, name in enumerate(task.classes):
        assert float(target[:, k].nansum()) == float(houses["tags"].str.contains(name).sum())


def test_class_weights_belong_to_the_task(table):
    """Breaks `{name, kind, class_weights}`."""
    prepared = table([{"name": "state", "kind": "classification", "class_weights": [1, 2, 3]}])
    assert prepared.tasks[0].class_weights == (1.0, 2.0, 3.0)


def test_sentinel_values_outside_the_training_rows_do_not_move_the_training_split(table, houses):
    """Breaks "fitted on the training split only": validation and test rows would leak into the inputs."""
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


# Splits


def ids(prepared: Prepared) -> dict[str, list[int]]:
    """The rows of each split, read off an unscaled feature ``id``."""
    return {name: sorted(prepared.splits[name].inputs[:, 0].int().tolist()) for name in SPLITS}


PLAIN = {"features": ["id"], "scale_features": False}


@pytest.mark.parametrize(
    ("val", "test", "sizes"), [(0.15, 0.15, (70, 15, 15)), (0.1, 0.3, (60, 10, 30))]
)
def test_fractions_cut_the_shuffled_rows(table, val, test, sizes):
    """Breaks `data.split={val, test}`: disjoint, complete, of the asked sizes, shuffled."""
    rows = ids(table(["price"], split={"val": val, "test": test}, **PLAIN))
    assert tuple(len(rows[name]) for name in SPLITS) == sizes
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(ROWS))
    assert rows["val"] != list(range(len(rows["val"])))


def test_split_follows_its_seed_alone(table):
    """Breaks reproducibility, or `data.seed` without effect."""
    np.random.seed(5)
    first = ids(table(["price"], **PLAIN))
    np.random.seed(6)
    assert ids(table(["price"], **PLAIN)) == first
    assert ids(table(["price"], seed=1, **PLAIN)) != first


def test_split_by_column(table, houses):
    """Breaks `data.split={column: fold}`; the column itself is no feature."""
    houses["fold"] = np.where(
        houses["id"] % 4 == 0, "val", np.where(houses["id"] % 4 == 1, "test", "train")
    )
    rows = ids(table(["price"], houses, split={"column": "fold"}, **PLAIN))
    assert rows["val"] == list(range(0, ROWS, 4))
    assert rows["test"] == list(range(1, ROWS, 4))
    assert len(rows["train"]) == ROWS // 2
    names = [
        c["name"]
        for c in table(["price"], houses, split={"column": "fold"}).preprocessing["columns"]
    ]
    assert "fold" not in names


def test_split_by_column_wins_over_the_default_fractions(table, houses):
    """Breaks `+data.split.column=fold` on the command line, where val and test keep their default fractions."""
    houses["fold"] = np.where(
        houses["id"] < 80, "train", np.where(houses["id"] < 90, "val", "test")
    )
    rows = ids(
        table(["price"], houses, split={"val": 0.15, "test": 0.15, "column": "fold"}, **PLAIN)
    )
    assert [len(rows[name]) for name in SPLITS] == [80, 10, 10]


def test_split_by_files(table, tmp_path, houses):
    """Breaks `data.split={val: file, test: file}`."""
    houses[60:75].to_csv(tmp_path / "val.csv", index=False)
    houses[75:].to_csv(tmp_path / "test.csv", index=False)
    split = {"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
    rows = ids(table(["price"], houses[:60], split=split, **PLAIN))
    assert rows == {
        "train": list(range(60)),
        "val": list(range(60, 75)),
        "test": list(range(75, 100)),
    }


def test_whole_numbers_of_one_file_and_with_gaps_of_another_are_the_same_classes(
    table, tmp_path, houses
):
    """Breaks files in which only one has gaps: 3 of the one and 3.0 of the other are one class."""
    houses[60:75].assign(rooms=houses["rooms"].where(houses["id"] % 2 == 0)).to_csv(
        tmp_path / "val.csv", index=False
    )
    houses[75:].to_csv(tmp_path / "test.csv", index=False)
    split = {"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
    prepared = table({"rooms": "classification"}, houses[:60], split=split)
    assert prepared.tasks[0].classes == ("1", "2", "3", "4")
    assert int((prepared.splits["val"].targets["rooms"] == -100).sum()) == 7


@pytest.mark.parametrize("folds", [3, 7, 10])
def test_folds_are_disjoint_and_cover_everything(table, folds):
    """Breaks cross-validation: every row is tested once and validated once, and never trained on in that fold."""
    rows = [ids(table(["price"], split={"folds": folds, "fold": k}, **PLAIN)) for k in range(folds)]
    for fold in rows:
        assert sorted(fold["train"] + fold["val"] + fold["test"]) == list(range(ROWS))
    for name in ("val", "test"):
        assert sorted(i for fold in rows for i in fold[name]) == list(range(ROWS))
    assert {len(fold["test"]) for fold in rows} <= {ROWS // folds, ROWS // folds + 1}


# Files


def test_parquet_equals_csv(table, tmp_path, houses):
    """Breaks Parquet files: the same rows must give the same tensors."""
    houses["rooms"] = houses["rooms"].where(houses["id"] % 5 != 0)
    houses.loc[3, "state"] = None
    targets = [
        "price",
        "state",
        {"name": "rooms", "kind": "classification"},
        {"name": "tags", "separator": ";"},
    ]
    csv = table(targets, houses)
    houses.to_parquet(tmp_path / "houses.parquet")
    parquet = prepare(Table(str(tmp_path / "houses.parquet"), targets))
    assert parquet.tasks == csv.tasks
    for name in SPLITS:
        torch.testing.assert_close(parquet.splits[name].inputs, csv.splits[name].inputs)
        for task in csv.tasks:
            torch.testing.assert_close(
                parquet.splits[name].targets[task.name],
                csv.splits[name].targets[task.name],
                equal_nan=True,
            )


@pytest.mark.parametrize(
    ("column", "dtype", "target", "classes"),
    [
        ("rooms", "Int64", {"name": "rooms", "kind": "classification"}, ("1", "2", "3", "4")),
        ("garden", "boolean", {"name": "garden"}, ("False", "True")),
        (
            "garden",
            "boolean",
            {"name": "it", "column": "garden", "positive": True},
            ("not True", "True"),
        ),
        ("state", "category", {"name": "state"}, ("new", "ruin", "used")),
        ("state", "string", {"name": "state"}, ("new", "ruin", "used")),
        ("tags", "category", {"name": "tags", "separator": ";"}, ("lift", "quiet", "view")),
    ],
)
def test_typed_parquet_columns_with_gaps_are_classes(
    tmp_path, houses, column, dtype, target, classes
):
    """Breaks Parquet's own types (nullable integers and truth values, categories) as targets with missing labels."""
    houses[column] = houses[column].astype(dtype).where(houses["id"] % 5 != 0)
    houses.to_parquet(tmp_path / "houses.parquet")
    prepared = prepare(Table(str(tmp_path / "houses.parquet"), [target], features=["area"]))
    task = prepared.tasks[0]
    values = everything(prepared, task.name)
    assert task.classes == classes
    assert task.missing
    assert (
        int((values.isnan().any(1) if values.is_floating_point() else values == -100).sum())
        == ROWS // 5
    )


@pytest.mark.parametrize(
    "dtype", ["Int64", "boolean", "category", "string", "datetime64[ns]", "float32"]
)
def test_typed_parquet_columns_with_gaps_are_features(tmp_path, houses, dtype):
    """Breaks Parquet's own types as features."""
    houses["x"] = houses["gas"].astype(dtype).where(houses["id"] % 5 != 0)
    houses.to_parquet(tmp_path / "houses.parquet")
    x = everything(prepare(Table(str(tmp_path / "houses.parquet"), ["price"], features=["x"])))
    assert x.shape == (ROWS, 2)  # value and gap, or two categories
    assert bool(x.isfinite().all())


@pytest.mark.parametrize(
    ("name", "separator"), [("t.csv.gz", ","), ("t.tsv", "\t"), ("t.tsv.gz", "\t")]
)
def test_compressed_and_tab_separated_files_are_read(tmp_path, houses, name, separator):
    """Breaks `.csv.gz`, `.tsv` and both together."""
    houses.to_csv(tmp_path / name, index=False, sep=separator)
    prepared = prepare(Table(str(tmp_path / name), ["price"], features=["area", "city"]))
    assert everything(prepared).shape == (ROWS, 4)


def test_home_is_expanded_in_the_path(tmp_path, monkeypatch, houses):
    """Breaks `data.path=~/houses.csv` where no shell expands it, as in a yaml file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    houses.to_csv(tmp_path / "houses.csv", index=False)
    assert len(Table("~/houses.csv", ["price"]).splits["train"]) == 70


# What is wrong, and what would be right


@contextmanager
def fails(error: type[Exception], *parts: str) -> Iterator[None]:
    """The error, in one line that holds all the parts."""
    with pytest.raises(error) as raised:
        yield
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert all(part in sentence for part in parts), sentence


def test_a_path_is_needed():
    """Breaks the sentence for `mtl-run data=table` without a file."""
    with fails(ConfigError, "data=table needs data.path, the CSV or Parquet file to read."):
        Table(None, ["price"])


@pytest.mark.parametrize("targets", [None, {}, []])
def test_targets_are_needed(tmp_path, targets):
    """Breaks the sentence for a table without targets; it shows how to write them."""
    with fails(
        ConfigError,
        "data=table needs data.targets, e.g. data.targets='{price: regression, sold: classification}'.",
    ):
        Table(str(tmp_path / "houses.csv"), targets)


def test_a_missing_file_is_named_with_the_folder_looked_in(tmp_path):
    """Breaks the sentence for a wrong path: relative paths are wrong more often than names."""
    with fails(DataError, "There is no file", "none.csv", f"looked in {tmp_path}", "set data.path"):
        Table(str(tmp_path / "none.csv"), ["price"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n"),
        ("latin.csv", "a,b\nK\xf6ln,2\n".encode("latin-1")),
        ("not.parquet", b"a,b\n1,2\n"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(tmp_path, name, content):
    """Breaks the sentence for a file that is no table; pandas' own error would be a traceback."""
    (tmp_path / name).write_bytes(content)
    with fails(
        DataError,
        "The table",
        name,
        "cannot be read (",
        "it should be CSV with a header line, or Parquet.",
    ):
        Table(str(tmp_path / name), ["a"])


def test_a_header_without_rows_is_an_empty_split(tmp_path):
    """Breaks the sentence for an empty table."""
    (tmp_path / "header.csv").write_text("a,b\n")
    with fails(DataError, "split of 0 rows would be empty"):
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
        "FeatureColumn 'fold' says which split a row is in, but holds 'valid'; allowed: train, val, test.",
    ):
        table(["price"], houses, split={"column": "fold"})
    houses["fold"] = np.where(houses["id"] < 60, "train", "test")
    with fails(
        DataError, "The val split is empty", "'fold' never holds 'val'", "train, val and test"
    ):
        table(["price"], houses, split={"column": "fold"})


def test_targets_as_one_word(table):
    """Breaks the sentence for `data.targets=price`."""
    with fails(
        ConfigError, "data.targets='price' must be a mapping {name: kind} or a list", "'[price]'"
    ):
        table("price")


def test_targets_that_are_no_collection(table):
    """Breaks the sentence for `data.targets=5`."""
    with fails(ConfigError, "data.targets=5 must be a mapping {name: kind} or a list"):
        table(5)


def test_an_unknown_target_option_gets_the_nearest_name(table):
    """Breaks the sentence about a mistyped option of a target."""
    with fails(
        ConfigError,
        "data.targets has the unknown option 'colum'",
        "did you mean 'column'?",
        "allowed: class_weights",
    ):
        table([{"name": "price", "colum": "price"}])


def test_a_target_needs_a_name(table):
    """Breaks the sentence about a target without a name; it shows the target."""
    with fails(ConfigError, "{'column': 'price'}", "has no name", "{name: ..., kind: ...}"):
        table([{"column": "price"}])


@pytest.mark.parametrize(
    "targets", [{"prise": "regression"}, ["prise"], [{"name": "p", "column": "prise"}]]
)
def test_an_unknown_target_column_gets_the_nearest_name(table, targets):
    """Breaks the sentence about a mistyped target."""
    with fails(
        ConfigError,
        "the table has no column 'prise'",
        "did you mean 'price'?",
        "allowed: age, area, city",
    ):
        table(targets)


def test_columns_that_are_one_word_are_not_read_letter_by_letter(table):
    """Breaks `columns: gas`: the sentence must not speak of a column 'g'."""
    with fails(ConfigError, "columns", "list", "gas"):
        table([{"name": "heat", "columns": "gas"}])


def test_an_unknown_kind_gets_the_nearest_name(table):
    """Breaks the sentence about a mistyped kind; `term` is not offered, it has no column."""
    with pytest.raises(ConfigError) as raised:
        table({"price": "regresion"})
    assert "Target 'price' has the unknown kind 'regresion'; did you mean 'regression'?" in str(
        raised.value
    )
    assert "allowed: classification, multilabel, regression, regression_l1" in str(raised.value)


def test_a_positive_value_that_never_occurs(table):
    """Breaks the sentence about a mistyped value: the target would be constant without a word."""
    with fails(ConfigError, "Target 'it'", "column 'state' never holds 'Ruin'"):
        table([{"name": "it", "column": "state", "positive": "Ruin"}])


def test_text_in_a_regression_target_is_shown(table, houses):
    """Breaks the sentence about a non-numeric target; it names target, column and value, and offers the other kind."""
    houses["price"] = houses["price"].astype(object)
    houses.loc[5, "price"] = "on request"
    with fails(
        DataError,
        "Target 'price'",
        "column 'price'",
        "'on request'",
        "not a number",
        "kind: classification",
    ):
        table({"price": "regression"}, houses)


def test_infinity_in_a_regression_target_is_named(table, houses):
    """Breaks the sentence about an infinite target: its mean would make every target NaN."""
    houses.loc[houses["id"] % 5 == 0, "price"] = np.inf  # in every split
    with fails(DataError, "'price'", "infinite"):
        table({"price": "regression"}, houses)


def test_a_target_without_any_label_is_named(table, houses):
    """Breaks the sentence about an empty target column."""
    houses["void"] = np.nan
    with fails(DataError, "Task 'void' has no label in the train split"):
        table(["price", {"name": "void", "kind": "regression"}], houses)


def test_a_classification_without_any_label_is_named(table, houses):
    """Breaks the sentence about an empty class column."""
    houses["void"] = np.nan
    with fails(DataError, "Task 'void' has no label in the train split"):
        table(["price", {"name": "void", "kind": "classification"}], houses)


def test_a_target_missing_in_a_split_file_is_named(table, tmp_path, houses):
    """Breaks the sentence about files that do not fit each other; a KeyError would be a traceback."""
    houses.to_csv(tmp_path / "val.csv", index=False)
    houses.drop(columns="price").to_csv(tmp_path / "test.csv", index=False)
    with fails(DataError, "test", "no column 'price'"):
        table(
            ["price"], split={"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
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
    with fails(DataError, "FeatureColumn 'area' is numeric in the training rows but holds 'large'"):
        table(
            ["price"], split={"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
        )


def test_a_target_named_twice(table):
    """Breaks the sentence about two targets of one name."""
    with fails(DataError, "Two tasks are called 'price'", "a name of its own"):
        table([{"name": "price"}, {"name": "price", "column": "area"}])


def test_one_class_is_no_classification(table, houses):
    """Breaks the sentence about a class column that never changes."""
    with fails(DataError, "Task 'same' has only one class", "at least two"):
        table({"same": "classification"}, houses.assign(same="x"))


def test_multilabel_columns_hold_zeros_and_ones(table):
    """Breaks the sentence about counts where labels should be."""
    with fails(DataError, "Task 'm' is multilabel", "other than 0 and 1", "train split"):
        table([{"name": "m", "columns": ["gas", "rooms"]}])


def test_class_weights_must_be_one_per_class(table):
    """Breaks the sentence about class weights of the wrong number; PyTorch's own would come at the first step."""
    with fails(ConfigError, "'state'", "class_weights", "2", "3 classes"):
        table([{"name": "state", "class_weights": [1, 2]}])


@pytest.mark.parametrize(
    "features", ["area", {"keep": ["area"]}, {"drop": ["area"], "keep": ["age"]}]
)
def test_features_of_another_form(table, features):
    """Breaks the sentence about data.features that is neither a list nor {drop: [...]}."""
    with fails(ConfigError, "data.features must be a list of columns or {drop: [columns]}."):
        table(["price"], features=features)


def test_a_dropped_feature_that_is_one_word_is_not_read_letter_by_letter(table):
    """Breaks `data.features={drop: city}`: the sentence must not speak of a column 'c'."""
    with fails(ConfigError, "data.features must be a list of columns or {drop: [columns]}."):
        table(["price"], features={"drop": "city"})


@pytest.mark.parametrize("features", [["area", "citty"], {"drop": ["citty"]}])
def test_an_unknown_feature_gets_the_nearest_name(table, features):
    """Breaks the sentence about a mistyped feature."""
    with fails(
        ConfigError,
        "data.features names the unknown column 'citty'",
        "did you mean 'city'?",
        "allowed: age, area",
    ):
        table(["price"], features=features)


def test_a_target_cannot_be_a_feature(table):
    """Breaks the sentence about a target among the features: the answer would stand in the inputs."""
    with fails(ConfigError, "data.features names 'price', which is a target"):
        table(["price"], features=["area", "price"])


def test_some_feature_must_be_left(table, houses):
    """Breaks the sentence about a table of targets only."""
    with fails(ConfigError, "No feature column is left; name some in data.features."):
        table(["price", "area"], houses[["price", "area"]])


def test_data_tasks_keeps_a_subset_of_the_targets(tmp_path, houses):
    """Breaks `data.tasks=[price]` on a table."""
    houses.to_csv(tmp_path / "houses.csv", index=False)
    prepared = prepare(Table(str(tmp_path / "houses.csv"), ["price", "state"]), keep=["price"])
    assert [task.name for task in prepared.tasks] == ["price"]
    assert set(prepared.splits["train"].targets) == {"price"}
