"""A table as a dataset: which columns are features, which options are needed."""

from __future__ import annotations

import pytest

from mtl_runner.data import Table
from mtl_runner.data.dataset import ROW_GROUPS
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from tests.unit.data.table.houses import SPLITS, fails


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


def test_a_path_is_needed():
    """Breaks the sentence for `mtl-run data=table` without a file."""
    with fails(ConfigError, "data=table needs data.path, the CSV or Parquet file to read."):
        Table(None, ["price"])


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("max_categories", -1, "must be a whole number of at least 1; found -1."),
        ("max_categories", 0, "must be a whole number of at least 1; found 0."),
        ("scale_targets", float("nan"), "must be true or false; found nan."),
        ("scale_features", "no", "must be true or false; found 'no'."),
        ("seed", -1, "must be a whole number of at least 0; found -1."),
    ],
)
def test_impossible_options_are_refused(table, option, value, sentence):
    """Breaks if -1 drops the last category, or nan counts as true."""
    with fails(ConfigError, f"data.{option} {sentence}"):
        table(["price"], **{option: value})


@pytest.mark.parametrize("by", ["fractions", "files", "stream"])
def test_identifiers_stand_as_in_the_file(tmp_path, monkeypatch, by):
    """Breaks if numbers of customers lose their leading zeros, and cannot be joined any more."""
    if by == "stream":
        pytest.importorskip("pyarrow", reason="tables on the disk need pyarrow")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines = [f"{n:06d},{n},{2 * n}\n" for n in range(60)]
    for name, part in {"all": lines, "val": lines[40:50], "test": lines[50:]}.items():
        (tmp_path / f"{name}.csv").write_text("customer_id,area,price\n" + "".join(part))
    files = {name: str(tmp_path / f"{name}.csv") for name in ("val", "test")}
    split = files if by == "files" else {"val": 0.2, "test": 0.2}
    data = Table(str(tmp_path / "all.csv"), ["price"], split=split, stream=by == "stream")
    assert [column["name"] for column in data.preprocessing["columns"]] == ["area"]
    first = {"train": 0, "val": 40, "test": 50} if by == "files" else dict.fromkeys(SPLITS, 0)
    for name, start in first.items():
        ids = data.row_ids(name)
        assert ids["customer_id"] == [f"{start + row:06d}" for row in ids["row"]]
        assert len(ids["row"]) == len(data.splits[name])


@pytest.mark.parametrize("targets", [None, {}, []])
def test_targets_are_needed(tmp_path, targets):
    """Breaks the sentence for a table without targets; it shows how to write them."""
    with fails(
        ConfigError,
        "data=table needs data.targets, e.g. data.targets='{price: regression, sold: classification}'.",
    ):
        Table(str(tmp_path / "houses.csv"), targets)


def test_a_target_missing_in_a_split_file_is_named(table, tmp_path, houses):
    """Breaks the sentence about files that do not fit each other.

    A KeyError would be a traceback.
    """
    houses.to_csv(tmp_path / "val.csv", index=False)
    houses.drop(columns="price").to_csv(tmp_path / "test.csv", index=False)
    with fails(DataError, "test", "no column 'price'"):
        table(
            ["price"], split={"val": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
        )


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
    """Breaks the sentence about a target among the features.

    The answer would stand in the inputs.
    """
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


def test_equal_values_of_a_column_are_a_group_of_rows(houses, tmp_path):
    """Breaks `data.metric_group`; the column stays a feature."""
    houses.to_csv(tmp_path / "houses.csv", index=False)
    data = Table(str(tmp_path / "houses.csv"), {"state": "classification"}, metric_group="city")
    assert "city" in [column["name"] for column in data.preprocessing["columns"]]
    prepared = prepare(data, metrics={"state": ("gauc",)})
    for name, split in prepared.splits.items():
        cities = houses["city"].to_numpy()[data.row_ids(name)["row"]]
        groups = split.targets[ROW_GROUPS].numpy()
        assert ((groups[:, None] == groups[None]) == (cities[:, None] == cities[None])).all()


@pytest.mark.parametrize("name", ["town", ["city"]])
def test_a_group_that_is_no_column_is_refused(table, name):
    """Breaks the sentence about `data.metric_group`."""
    with fails(ConfigError, f"data.metric_group names {name!r}, a column that the ", "allowed:"):
        table(["price"], metric_group=name)
