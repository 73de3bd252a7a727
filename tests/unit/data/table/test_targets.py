"""Target columns become tasks and their targets, in three ways to write them."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch

from mtl_runner.errors import ConfigError, DataError
from tests.unit.data.table.houses import ROWS, fails, of_all_splits


def test_targets_by_name_and_kind(table):
    """Breaks `data.targets='{price: regression, state: classification}'`."""
    prepared = table({"price": "regression", "area": "regression_l1", "state": "classification"})
    assert {t.name: (t.kind, t.size) for t in prepared.tasks} == {
        "price": ("regression", 1),
        "area": ("regression_l1", 1),
        "state": ("classification", 3),
    }


def test_kinds_are_inferred_from_the_columns(table):
    """Breaks `data.targets=[price,state]`.

    Text, truth values and 0/1 are classes, other numbers a regression.
    """
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
    back = task.offset + task.scale * of_all_splits(prepared, "price")[:, 0].double()
    np.testing.assert_allclose(np.sort(back.numpy()), np.sort(houses["price"]), rtol=1e-5)


def test_metrics_are_the_same_whether_targets_were_scaled_or_not(table):
    """Breaks `data.scale_targets=false`, or metrics in original units."""
    measures = []
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
            measures.append(
                {name: float(value) for name, value in task.measure(guess, target).items()}
            )
    assert measures[0] == pytest.approx(measures[2], rel=1e-5)
    assert measures[1] == pytest.approx(measures[3], rel=1e-5)


def test_unscaled_targets_are_the_raw_numbers(table, houses):
    """Breaks `data.scale_targets=false`, the natural test of a weighting."""
    prepared = table(["price"], scale_targets=False)
    assert (prepared.tasks[0].offset, prepared.tasks[0].scale) == (0.0, 1.0)
    np.testing.assert_allclose(
        np.sort(of_all_splits(prepared, "price")[:, 0]), np.sort(houses["price"]), rtol=1e-6
    )


def test_a_constant_target_is_not_divided_by_zero(table, houses):
    """Breaks on a target that never changes in the training rows."""
    houses["same"] = 5.0
    prepared = table(["price", {"name": "same", "kind": "regression"}], houses)
    assert set(of_all_splits(prepared, "same")[:, 0].tolist()) == {0.0}


def test_missing_regression_labels_are_nan_and_leave_the_scaling_alone(table, houses):
    """Breaks missing labels: they must be marked, not imputed."""
    houses.loc[houses["id"] % 3 == 0, "price"] = np.nan
    prepared = table(["price"])
    target = prepared.splits["train"].targets["price"]
    known = target[~target.isnan()]
    assert prepared.tasks[0].missing
    assert int(of_all_splits(prepared, "price").isnan().sum()) == int(houses["price"].isna().sum())
    assert float(known.mean()) == pytest.approx(0, abs=1e-5)
    assert float(known.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_missing_text_classes_are_minus_100_and_no_class(table, houses):
    """Breaks missing labels of a classification: a gap must not become a class of its own."""
    houses.loc[houses["id"] % 4 == 0, "state"] = None
    prepared = table(["state"], houses)
    task, target = prepared.tasks[0], of_all_splits(prepared, "state")
    assert task.classes == ("new", "ruin", "used")
    assert task.missing
    counts = [int((target == k).sum()) for k in (-100, 0, 1, 2)]
    assert counts == [ROWS // 4, *(int((houses["state"] == name).sum()) for name in task.classes)]


def test_whole_numbers_with_gaps_are_the_same_classes_as_without(table, houses):
    """Breaks integer classes with missing labels.

    Pandas reads them as 1.0, 2.0, and they must stay 1, 2.
    """
    houses["rooms"] = houses["rooms"].where(houses["id"] % 5 != 0)
    prepared = table({"rooms": "classification"}, houses)
    target = of_all_splits(prepared, "rooms")
    assert prepared.tasks[0].classes == ("1", "2", "3", "4")
    assert int((target == -100).sum()) == ROWS // 5
    assert int((target == 2).sum()) == int((houses["rooms"] == 3).sum())


def test_truth_values_with_gaps_are_two_classes(table, houses):
    """Breaks bool targets with missing labels."""
    houses["garden"] = houses["garden"].astype(object).where(houses["id"] % 5 != 0, None)
    prepared = table(["garden"], houses)
    assert prepared.tasks[0].classes == ("False", "True")
    assert int((of_all_splits(prepared, "garden") == -100).sum()) == ROWS // 5


def test_a_class_without_a_training_row_is_a_missing_label(table, houses, warnings_logged):
    """Breaks if a class that nobody can learn makes relative losses small, as a free gift."""
    houses["fold"] = np.where(
        houses["id"] < 60, "train", np.where(houses["id"] < 80, "val", "test")
    )
    houses.loc[99, "state"] = "castle"
    prepared = table(["state"], houses, split={"column": "fold"})
    assert prepared.tasks[0].classes == ("new", "ruin", "used")
    target = prepared.splits["test"].targets["state"]
    assert int(target[19]) == -100
    assert int((target == -100).sum()) == 1
    assert warnings_logged.messages == [
        "Target 'state': 1 labels of the test split are of classes without a training row (such as 'castle'); they count as missing."
    ]


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
    task, target = prepared.tasks[0], of_all_splits(prepared, "is_ruin")
    assert (task.name, task.classes, task.size) == ("is_ruin", ("not ruin", "ruin"), 2)
    assert int((target == 1).sum()) == int((houses["state"] == "ruin").sum())
    assert int((target == -100).sum()) == int(houses["state"].isna().sum())


@pytest.mark.parametrize(("column", "positive"), [("rooms", 3), ("garden", True)])
def test_a_derived_target_of_numbers_or_truth_values(table, houses, column, positive):
    """Breaks `positive: 3` and `positive: true`, which YAML reads as a number and a truth value."""
    prepared = table([{"name": "it", "column": column, "positive": positive}])
    assert int((of_all_splits(prepared, "it") == 1).sum()) == int(
        (houses[column] == positive).sum()
    )


def test_a_derived_target_of_two_values_answers_with_the_other_value(table, houses):
    """Breaks if a prediction says "not yes" where the table says "no"."""
    houses["sold"] = np.where(houses["id"] % 3 == 0, "yes", "no")
    task = table([{"name": "sold", "positive": "yes"}], houses).tasks[0]
    assert task.classes == ("no", "yes")


def test_two_targets_may_come_from_one_column(table):
    """Breaks a class and a derived target of the same column."""
    prepared = table(["state", {"name": "is_ruin", "column": "state", "positive": "ruin"}])
    state, ruin = of_all_splits(prepared, "state"), of_all_splits(prepared, "is_ruin")
    assert torch.equal(state == 1, ruin == 1)  # new, ruin, used


def test_multilabel_from_columns(table, houses):
    """Breaks `{name, columns: [...]}`.

    There is one 0/1 output per column, named by it, and gaps are missing labels.
    """
    houses["sun"] = houses["sun"].where(houses["id"] % 10 != 0)
    prepared = table([{"name": "heating", "columns": ["gas", "oil", "sun"]}], houses)
    task, target = prepared.tasks[0], of_all_splits(prepared, "heating")
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
    task, target = prepared.tasks[0], of_all_splits(prepared, "tags")
    assert (task.size, task.classes) == (3, ("lift", "quiet", "view"))
    assert int(target.isnan().all(1).sum()) == ROWS // 10
    for k, name in enumerate(task.classes):
        assert float(target[:, k].nansum()) == float(houses["tags"].str.contains(name).sum())


def test_class_weights_belong_to_the_task(table):
    """Breaks `{name, kind, class_weights}`."""
    prepared = table([{"name": "state", "kind": "classification", "class_weights": [1, 2, 3]}])
    assert prepared.tasks[0].class_weights == (1.0, 2.0, 3.0)


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


# What is wrong, and what would be right


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
    """Breaks the sentence about a non-numeric target.

    It names target, column and cell, and offers the other kind.
    """
    houses["price"] = houses["price"].astype(object)
    houses.loc[5, "price"] = "on request"
    houses["split"] = ["train"] * 70 + ["val"] * 10 + ["test"] * 20
    with fails(
        DataError,
        "Target 'price': column 'price' is a number in 99 of 100 rows, but row 6 (of the train split) holds 'on request', which is not a number; clean it, or use kind: classification.",
    ):
        table({"price": "regression"}, houses, split={"column": "split"})


def test_a_regression_target_that_is_all_text_is_shown(table):
    """Breaks the sentence about a column of classes that is asked for as numbers."""
    with fails(
        DataError,
        "Target 'city': column 'city' holds '",
        "', which is not a number; use kind: classification or clean it.",
    ):
        table({"city": "regression"})


@pytest.mark.parametrize("row", [3, 97])
@pytest.mark.parametrize("name", ["price", "gas"])
def test_a_typing_mistake_in_a_numeric_target_makes_no_classes(table, houses, row, name):
    """Breaks if one cell of text, in the training rows or not, makes a class of every number."""
    houses[name] = houses[name].astype(object)
    houses.loc[row, name] = "n.a.?"
    houses["split"] = ["train"] * 70 + ["val"] * 10 + ["test"] * 20
    with fails(
        DataError,
        f"Target {name!r}: column {name!r} is a number in 99 of 100 rows, but row {row + 1} (of the {'train' if row < 70 else 'test'} split) holds 'n.a.?'",
    ):
        table([name], houses, split={"column": "split"})
    if name == "gas":
        prepared = table({name: "classification"}, houses, split={"column": "split"})
        assert ("n.a.?" in prepared.tasks[0].classes) == (row < 70)


@pytest.mark.parametrize("form", ["{:,.2f}", "{:.2f} EUR", "{:.1f} %", "on {:.0f}"])
def test_text_that_hardly_repeats_is_no_inferred_classification(
    table, houses, warnings_logged, form
):
    """Breaks if numbers with units become hundreds of classes that no model can learn."""
    houses["price"] = houses["price"].map(form.format)
    distinct = houses["price"].nunique()
    with fails(
        DataError,
        f"Target 'price': column 'price' holds no numbers but {distinct} different values in 100 rows, too many for classes; make numbers of dates and of numbers with units or separators, or give it kind: classification.",
    ):
        table(["price"], houses)
    with fails(DataError, "Target 'price': no label of the val split is of a class that a"):
        table({"price": "classification"}, houses, features=["area"])
    assert warnings_logged.messages == [
        "Target 'price' is a classification of 70 classes in 100 rows, too few rows per class to learn from; if column 'price' holds numbers or dates, clean it and use kind: regression."
    ]


@pytest.mark.parametrize(("value", "shown"), [(np.inf, "inf"), (1e300, "1e+300")])
def test_a_regression_target_beyond_the_range_of_numbers_is_named(table, houses, value, shown):
    """Breaks if an infinite mean makes every target NaN, or a huge number all others 0."""
    houses.loc[20, "price"] = value
    with fails(DataError, f"Column 'price' holds {shown} in row 21; a number must lie within"):
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
    """Breaks the sentence about class weights of the wrong number.

    PyTorch's own would come at the first step.
    """
    with fails(ConfigError, "'state'", "class_weights", "2", "3 classes"):
        table([{"name": "state", "class_weights": [1, 2]}])


@pytest.fixture
def messages(caplog, monkeypatch):
    """Return what catches the messages of the package, beside the line about the inputs."""
    logger = logging.getLogger("mtl_runner")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "mtl_runner")
    yield lambda: [text for text in caplog.messages if not text.startswith("Inputs: ")]
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("positive", [None, "yes"])
def test_balanced_classes_weigh_the_same(table, houses, messages, positive):
    """Breaks `class_weights: balanced`: the few positives must weigh as much as all others."""
    houses["sick"] = np.where(houses["id"] % 25 == 0, "yes", "no")
    houses["split"] = ["train"] * 75 + ["val"] * 10 + ["test"] * 15
    entry = {"name": "it", "column": "sick"} | ({"positive": positive} if positive else {})
    options = {"frame": houses, "split": {"column": "split"}}
    plain = table([entry], **options).tasks[0]
    assert messages() == [
        "Target 'it': 'yes' has 4 % of the training rows; class_weights: balanced lets every class weigh the same."
    ]
    balanced = table([{**entry, "class_weights": "balanced"}], **options).tasks[0]
    assert len(messages()) == 1
    assert (plain.classes, plain.class_weights) == (("no", "yes"), ())
    assert balanced.class_weights == pytest.approx((75 / (2 * 72), 75 / (2 * 3)))
    # The trivial predictor of balanced classes is wrong by log 2 on average.
    target = torch.tensor([0] * 72 + [1] * 3)
    assert balanced.loss({"it": torch.zeros(75, 2)}, {"it": target}).item() == pytest.approx(
        math.log(2)
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "price", "class_weights": "balanced"},
        {"name": "state", "class_weights": "equal"},
        {"name": "tags", "separator": ";", "class_weights": "balanced"},
    ],
)
def test_balanced_is_for_classes(table, entry):
    """Breaks if a word for class weights is read letter by letter, or has no effect."""
    with fails(ConfigError, "class_weights are one number per class of a classification, or balan"):
        table([entry])


def test_a_logarithmic_target_is_scaled_and_answered_in_its_units(table, houses):
    """Breaks `kind: regression_log`: logarithms of mean 0 and variance 1, answers in euros."""
    prepared = table({"price": "regression_log"}, houses)
    (task,) = prepared.tasks
    target = prepared.splits["train"].targets["price"]
    assert target.mean().item() == pytest.approx(0, abs=1e-5)
    assert target.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    answers = torch.cat([task.in_units(part.targets["price"]) for part in prepared.splits.values()])
    np.testing.assert_allclose(
        np.sort(answers.squeeze(1).numpy()), np.sort(houses["price"].to_numpy()), rtol=1e-4
    )
    houses.loc[3, "price"] = -5
    with fails(
        DataError,
        "Target 'price': column 'price' holds -5, of which there is no log(1 + y); use kind: regression.",
    ):
        table({"price": "regression_log"}, houses)


def test_a_mapping_of_options_is_a_list_of_them(table):
    """Breaks if the form that images take is refused for a table."""
    options = {"kind": "classification", "class_weights": "balanced"}
    of_mapping = table(targets={"state": options})
    of_list = table(targets=[{"name": "state", **options}])
    assert of_mapping.tasks == of_list.tasks
    assert of_mapping.tasks[0].class_weights
