"""Every dataset passes checks with one sentence each, and is brought into one fixed form."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.data import Dataset, Split
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task

SPLITS = ("train", "val", "test")
SIZES = {"train": 8, "val": 5, "test": 6}


class UserData:
    """A user's dataset.

    A regression `a` of two outputs, a classification `b` and a multilabel `c`.
    """

    def __init__(self) -> None:
        self.tasks = [Task("a"), Task("b", "classification"), Task("c", "multilabel")]
        self.splits = {name: self._split(rows) for name, rows in SIZES.items()}

    @staticmethod
    def _split(rows: int) -> Split:
        x = torch.arange(rows * 3.0).reshape(rows, 3)
        labels = torch.stack([x[:, 0] % 2, (x[:, 0] + 1) % 2], 1)
        return Split(x, {"a": x[:, :2] / 7, "b": torch.arange(rows) % 3, "c": labels})


@pytest.fixture
def data() -> UserData:
    """Return a user's dataset with three tasks."""
    return UserData()


def fails(error: type[Exception], sentence: str) -> Any:
    """Return a context in which an error with this sentence must be raised."""
    return pytest.raises(error, match=re.escape(sentence))


def only(kind: str, target: Tensor, mask: Tensor | None = None, **options: Any) -> UserData:
    """Return a dataset of one task `t` with the same target in every split."""
    data = UserData()
    data.tasks = [Task("t", kind, **options)]
    masks = {} if mask is None else {"t": mask}
    data.splits = {
        name: Split(torch.zeros(len(target), 2), {"t": target}, masks) for name in SPLITS
    }
    return data


# The fixed form


def test_sizes_are_read_off_the_data(data):
    """Breaks "size 0 lets the data decide": heads of the wrong width."""
    prepared = prepare(data)
    assert [task.size for task in prepared.tasks] == [2, 3, 2]
    assert isinstance(data, Dataset)


def test_a_vector_target_becomes_a_column():
    """Breaks the loss: outputs [N, 1] against targets [N] would broadcast to [N, N]."""
    prepared = prepare(only("regression", torch.arange(6.0)))
    assert prepared.splits["train"].targets["t"].shape == (6, 1)
    assert prepared.tasks[0].size == 1


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool])
def test_whole_numbers_are_floats_for_a_regression(dtype):
    """Breaks targets that a user keeps as integers or truth values."""
    target = (
        prepare(only("regression", torch.tensor([0, 1, 1, 0]).to(dtype)))
        .splits["train"]
        .targets["t"]
    )
    assert target.dtype == torch.get_default_dtype()
    assert target[:, 0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32, torch.bool])
def test_classes_of_any_dtype_are_class_indices(dtype):
    """Breaks classes that a user keeps as bytes, floats or truth values."""
    target = (
        prepare(only("classification", torch.tensor([0, 1, 1, 0]).to(dtype)))
        .splits["train"]
        .targets["t"]
    )
    assert target.dtype == torch.int64
    assert target.tolist() == [0, 1, 1, 0]


def test_trivial_predictors_are_the_mean_the_prior_and_the_median():
    """Breaks `relative_loss`, and with it the monitor: what a task is measured against."""
    mean = prepare(
        only("regression", torch.tensor([[1.0, 10.0], [3.0, torch.nan], [5.0, 30.0]]))
    ).tasks[0]
    median = prepare(only("regression_l1", torch.tensor([1.0, 2.0, 90.0]))).tasks[0]
    prior = prepare(only("classification", torch.tensor([0, 1, 1, 1, MISSING_CLASS]))).tasks[0]
    labels = prepare(
        only("multilabel", torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, torch.nan]]))
    ).tasks[0]
    assert mean.trivial == pytest.approx((3.0, 20.0))
    assert median.trivial == pytest.approx((2.0,))
    assert torch.tensor(prior.trivial).softmax(0).tolist() == pytest.approx([0.25, 0.75], abs=1e-5)
    assert torch.tensor(labels.trivial).sigmoid().tolist() == pytest.approx([0.75, 1 / 3], abs=1e-5)


def test_a_class_absent_from_training_keeps_the_prior_finite(data):
    """Breaks the trivial loss of a split with a class that training never saw: infinity."""
    data.splits["val"].targets["b"] = torch.tensor([0, 1, 2, 3, 3])
    task = prepare(data).tasks[1]
    assert task.size == 4
    assert all(abs(value) < 100 for value in task.trivial)


def test_names_of_classes_set_the_size():
    """Breaks classes that no row holds but that have a name."""
    assert (
        prepare(only("classification", torch.tensor([0, 1, 0]), classes=("no", "yes", "maybe")))
        .tasks[0]
        .size
        == 3
    )


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("regression", torch.tensor([1.0, torch.nan, 3.0])),
        ("classification", torch.tensor([0, MISSING_CLASS, 1])),
        ("classification", torch.tensor([0.0, torch.nan, 1.0])),
        ("multilabel", torch.tensor([[1.0, 0.0], [torch.nan, torch.nan], [0.0, 1.0]])),
    ],
)
def test_missing_labels_are_noticed(kind, target):
    """Breaks missing labels: the faster path of a fully labelled task would give NaN."""
    prepared = prepare(only(kind, target))
    task = prepared.tasks[0]
    assert task.missing
    assert task.labelled(prepared.splits["train"].targets["t"]).tolist() == [True, False, True]


def test_a_label_missing_only_in_the_test_split_is_noticed(data):
    """Breaks the evaluation at the end: `missing` speaks of all splits."""
    data.splits["test"].targets["a"][2, 1] = torch.nan
    assert [task.missing for task in prepare(data).tasks] == [True, False, False]


@pytest.mark.parametrize("garbage", [0.0, 1e30, torch.nan, torch.inf, -7.0])
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("regression", torch.tensor([1.0, 2.0, 3.0, 5.0])),
        ("classification", torch.tensor([0.0, 1.0, 2.0, 1.0])),
        ("multilabel", torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])),
    ],
)
def test_what_stands_under_a_mask_is_never_looked_at(kind, target, garbage):
    """Breaks `masks`: garbage at the places without a label must change nothing."""
    mask = torch.tensor([True, False, True, True])
    clean, dirty = target.clone(), target.clone()
    clean[1], dirty[1] = target[0], garbage
    prepared_clean, prepared_dirty = (
        prepare(only(kind, clean, mask)),
        prepare(only(kind, dirty, mask)),
    )
    assert prepared_clean.tasks == prepared_dirty.tasks
    assert prepared_clean.tasks[0].missing
    for name in SPLITS:
        torch.testing.assert_close(
            prepared_clean.splits[name].targets["t"],
            prepared_dirty.splits[name].targets["t"],
            equal_nan=True,
        )


def test_a_mask_may_speak_of_single_outputs():
    """Breaks masks of the target's own shape."""
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    target = (
        prepare(only("regression", torch.arange(6.0).reshape(3, 2), mask))
        .splits["val"]
        .targets["t"]
    )
    assert torch.equal(~target.isnan(), mask)


def test_inputs_may_be_a_dict_of_tensors(data):
    """Breaks models of several inputs."""
    data.splits = {
        name: Split({"x": split.inputs, "ids": torch.arange(len(split))}, split.targets)
        for name, split in data.splits.items()
    }
    prepared = prepare(data)
    assert set(prepared.splits["train"].inputs) == {"x", "ids"}
    assert len(prepared.splits["val"]) == SIZES["val"]


def test_debug_keeps_the_first_rows_but_the_sizes_of_the_whole(data):
    """Breaks `+debug=true`: few rows, the same model."""
    prepared = prepare(data, rows=2)
    assert [len(prepared.splits[name]) for name in SPLITS] == [2, 2, 2]
    assert [task.size for task in prepared.tasks] == [2, 3, 2]


def test_preparing_does_not_change_the_dataset():
    """Breaks a dataset object that is used for two runs."""
    target, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    dataset = only("regression", target, mask)
    prepare(dataset)
    assert target.tolist() == [1.0, 2.0, 3.0]
    assert dataset.tasks[0].size == 0
    assert dataset.splits["train"].targets["t"].shape == (3,)


def test_a_subset_of_the_tasks_keeps_the_datasets_order(data):
    """Breaks `data.tasks=[c,a]`."""
    prepared = prepare(data, keep=["c", "a"])
    assert [task.name for task in prepared.tasks] == ["a", "c"]
    assert set(prepared.splits["train"].targets) == {"a", "c"}


def test_errors_of_tasks_that_are_left_out_do_not_matter(data):
    """Breaks training on the good part of a dataset of which one task is broken."""
    data.splits["train"].targets["a"] = torch.zeros(1)
    assert [task.name for task in prepare(data, keep=["b"]).tasks] == ["b"]


# Subsets and loss terms


def test_a_loss_term_of_a_known_name_replaces_that_tasks_loss(data):
    """Breaks `data.losses.a`."""
    task = prepare(data, terms={"a": _smooth}).tasks[0]
    assert task.loss_term is _smooth
    assert (task.kind, task.size) == ("regression", 2)


def test_a_loss_term_of_a_new_name_is_one_more_task(data):
    """Breaks `data.losses.smooth`: it has a loss and a weight, but neither target nor output."""
    prepared = prepare(data, terms={"smooth": _smooth})
    term = prepared.tasks[-1]
    assert (term.name, term.kind, term.has_target, term.size) == ("smooth", "term", False, 0)
    assert "smooth" not in prepared.splits["train"].targets
    assert float(term.loss({"a": torch.full((4, 2), 3.0)}, {})) == 9.0


def test_a_dataset_may_bring_a_loss_term_of_its_own(data):
    """Breaks datasets whose tasks are not all supervised."""
    data.tasks.append(Task("smooth", "term", loss_term=_smooth))
    assert [task.name for task in prepare(data).tasks] == ["a", "b", "c", "smooth"]


def test_the_callers_loss_terms_stay_as_they_are(data):
    """Breaks a second use of the same config."""
    terms: dict[str, Callable[..., Tensor]] = {"a": _smooth, "smooth": _smooth}
    prepare(data, terms=terms)
    assert set(terms) == {"a", "smooth"}


def _smooth(outputs: Any, targets: Any) -> Tensor:
    return outputs["a"].square().mean()


# What is wrong, and what would be right


@pytest.mark.parametrize("name", ["tasks", "splits"])
def test_a_dataset_has_tasks_and_splits(data, name):
    """Breaks the sentence about an object that is no dataset."""
    delattr(data, name)
    with fails(
        ConfigError,
        f"The dataset UserData has no attribute '{name}'; a dataset needs `tasks` and `splits`.",
    ):
        prepare(data)


def test_two_tasks_of_one_name(data):
    """Breaks the sentence about duplicate names: one would overwrite the other in every file."""
    data.tasks[1] = Task("a", "classification")
    with fails(DataError, "Two tasks are called 'a'; every task needs a name of its own."):
        prepare(data)


def test_no_task(data):
    """Breaks the sentence about a dataset without tasks."""
    data.tasks = []
    with fails(DataError, "The dataset has no task; it needs at least one."):
        prepare(data)


def test_an_unknown_kind_gets_the_nearest_name():
    """Breaks the sentence about a mistyped kind of task."""
    with fails(
        ConfigError,
        "Task 'a' has the unknown kind 'regresion'; did you mean 'regression'? allowed: classification, ",
    ):
        Task("a", "regresion")


def test_a_term_needs_its_callable():
    """Breaks the sentence about a loss term without a loss."""
    with fails(ConfigError, "Task 'a' is of kind 'term' and needs a `loss_term` callable."):
        Task("a", "term")


def test_an_unknown_task_to_keep_gets_the_nearest_name(data):
    """Breaks the sentence about a mistyped data.tasks."""
    data.tasks[0] = Task("depth")
    with fails(
        ConfigError,
        "data.tasks names the unknown task 'dept'; did you mean 'depth'? allowed: b, c, depth.",
    ):
        prepare(data, keep=["dept"])


def test_keeping_no_task(data):
    """Breaks the sentence about `data.tasks=[]`."""
    with fails(ConfigError, "data.tasks is empty; name at least one of a, b, c."):
        prepare(data, keep=[])


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_must_be_there(data, name):
    """Breaks the sentence about a missing split."""
    del data.splits[name]
    with fails(DataError, f"The dataset has no split '{name}'; it needs train, val, test."):
        prepare(data)


@pytest.mark.parametrize("name", SPLITS)
def test_an_empty_split_is_named(data, name):
    """Breaks the sentence about an empty split: its mean loss would be NaN."""
    data.splits[name] = data.splits[name].rows(slice(0, 0))
    with fails(DataError, f"The {name} split is empty; every split needs at least one row."):
        prepare(data)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_in_the_inputs_is_named_with_split_and_row(data, value):
    """Breaks the sentence about NaN inputs: the loss would be NaN without a reason."""
    data.splits["val"].inputs[3, 1] = value
    with fails(
        DataError,
        "The inputs of the val split hold NaN or infinity (first in row 3); fill or drop such rows.",
    ):
        prepare(data)


def test_numbers_beyond_single_precision_are_named(data):
    """Breaks if 1e300 becomes infinity after it was found finite."""
    inputs = data.splits["val"].inputs
    data.splits["val"].inputs = inputs.double()
    data.splits["val"].inputs[3, 1] = 1e300
    with fails(DataError, "The inputs of the val split hold NaN or infinity (first in row 3)"):
        prepare(data)
    data.splits["val"].inputs = inputs
    data.splits["test"].targets["a"] = data.splits["test"].targets["a"].double()
    data.splits["test"].targets["a"][2, 0] = -1e300
    with fails(
        DataError,
        "Task 'a' holds a number in the test split that is infinite in float32; remove it, mark it missing (NaN), or use smaller units.",
    ):
        prepare(data)


def test_nan_in_one_of_several_inputs_is_named_with_its_key(data):
    """Breaks the sentence about NaN in a dict of inputs; vectors have rows too."""
    for name, split in data.splits.items():
        data.splits[name] = Split({"x": split.inputs, "w": torch.ones(len(split))}, split.targets)
    data.splits["test"].inputs["w"][4] = torch.nan
    with fails(DataError, "The input 'w' of the test split holds NaN or infinity (first in row 4)"):
        prepare(data)


def test_inputs_of_different_lengths_are_named_with_both(data):
    """Breaks the sentence about a dict of inputs whose rows do not match."""
    data.splits["val"] = Split(
        {"x": torch.zeros(5, 3), "w": torch.zeros(4)}, data.splits["val"].targets
    )
    with fails(DataError, "The input 'w' of the val split has 4 rows, but the split has 5."):
        prepare(data)


def test_a_missing_target_gets_the_nearest_name(data):
    """Breaks the sentence about a target that a split lacks."""
    data.splits["val"].targets["aa"] = data.splits["val"].targets.pop("a")
    with fails(
        DataError, "The val split has no target for task 'a'; did you mean 'aa'? allowed: aa, b, c."
    ):
        prepare(data)


def test_a_target_of_another_length_is_named_with_both(data):
    """Breaks the sentence about lengths that do not fit."""
    data.splits["val"].targets["b"] = torch.zeros(4, dtype=torch.long)
    with fails(DataError, "Task 'b' has 4 targets in the val split, but its inputs have 5 rows."):
        prepare(data)


def test_a_mask_of_another_length_is_named_with_both():
    """Breaks the sentence about masks that do not fit."""
    dataset = only("regression", torch.arange(5.0), torch.ones(4, dtype=torch.bool))
    with pytest.raises(DataError, match=r"'t'.*4.*5|'t'.*5.*4"):
        prepare(dataset)


def test_inputs_of_another_shape_are_named_with_both_shapes(data):
    """Breaks the sentence about splits whose inputs do not fit the same model."""
    data.splits["val"] = Split(torch.zeros(5, 4), data.splits["val"].targets)
    with pytest.raises(DataError, match=r"val.*(4.*3|3.*4)"):
        prepare(data)


def test_double_precision_inputs_fit_the_model(data):
    """Breaks `torch.from_numpy(...)`, whose float64 no float32 model takes.

    PyTorch's error would come at the first step.
    """
    for name, split in data.splits.items():
        data.splits[name] = Split(
            split.inputs.double(), {k: v.double() for k, v in split.targets.items()}
        )
    prepared = prepare(data)
    assert prepared.splits["train"].inputs.dtype == torch.get_default_dtype()
    assert prepared.splits["train"].targets["a"].dtype == torch.get_default_dtype()


def test_numpy_arrays_are_named_as_such(data):
    """Breaks the sentence for a dataset of NumPy arrays: an AttributeError would be a traceback."""
    split = data.splits["train"]
    data.splits["train"] = Split(
        split.inputs.numpy(), {name: target.numpy() for name, target in split.targets.items()}
    )
    with pytest.raises(DataError, match=r"train.*ndarray.*(torch|[Tt]ensor)"):
        prepare(data)


def test_a_size_that_the_target_has_not_is_named_with_both(data):
    """Breaks the sentence about a task of another size than its target."""
    data.tasks[0] = Task("a", size=4)
    with fails(
        DataError, "Task 'a' has size 4, but its target in the train split has shape (8, 2)."
    ):
        prepare(data)


def test_a_target_of_another_width_in_one_split_is_named(data):
    """Breaks the sentence about a target that is wider in validation than in training."""
    data.splits["val"].targets["a"] = torch.zeros(5, 3)
    with fails(DataError, "Task 'a' has size 2, but its target in the val split has shape (5, 3)."):
        prepare(data)


def test_a_negative_class_is_named(data):
    """Breaks the sentence about -1 for "unknown": PyTorch would stop with an index error."""
    data.splits["test"].targets["b"][0] = -1
    with fails(
        DataError,
        "Task 'b' has a negative class in the test split; classes count from 0, and -100 is a missing label.",
    ):
        prepare(data)


def test_a_class_beyond_the_size_is_named(data):
    """Breaks the sentence about classes that count from 1."""
    data.tasks[1] = Task("b", "classification", size=2)
    with fails(
        DataError, "Task 'b' has 2 classes, but the train split holds class 2 (they count from 0)."
    ):
        prepare(data)


def test_classes_that_are_no_whole_numbers_are_named():
    """Breaks the sentence about a regression target called a classification.

    2.7 must not become class 2.
    """
    with pytest.raises(DataError, match=r"'t'.*(whole|integer)"):
        prepare(only("classification", torch.tensor([0.0, 1.5, 2.7])))


def test_one_class_is_no_classification():
    """Breaks the sentence about a class that never changes."""
    with fails(DataError, "Task 't' has only one class; a classification needs at least two."):
        prepare(only("classification", torch.zeros(4, dtype=torch.long)))


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (["a", "a"], "data.tasks names 'a' twice; name every task once."),
        ("a", "data.tasks must be a list of names, e.g. '[a]'; found 'a'."),
        (3, "data.tasks must be a list of names, e.g. '[a]'; found 3."),
    ],
)
def test_tasks_to_keep_are_a_list_without_repetition(data, keep, sentence):
    """Breaks if a word is read letter by letter, or a task that is named twice counts once."""
    with fails(ConfigError, sentence):
        prepare(data, keep=keep)


def test_an_infinite_target_is_named(data):
    """Breaks the sentence about infinite targets."""
    data.splits["train"].targets["a"][1, 0] = torch.inf
    with fails(
        DataError,
        "Task 'a' has an infinite target in the train split; remove it or mark it missing (NaN).",
    ):
        prepare(data)


def test_multilabel_targets_are_zeros_and_ones(data):
    """Breaks the sentence about other values in a multilabel target."""
    data.splits["val"].targets["c"][1, 1] = 2.0
    with fails(
        DataError, "Task 'c' is multilabel and has values other than 0 and 1 in the val split."
    ):
        prepare(data)


@pytest.mark.parametrize(
    ("task", "missing"), [("a", torch.nan), ("b", MISSING_CLASS), ("c", torch.nan)]
)
@pytest.mark.parametrize("split", SPLITS)
def test_a_split_without_any_label_of_a_task_is_named(data, task, missing, split):
    """Breaks the sentence about a task that a split says nothing about."""
    data.splits[split].targets[task][:] = missing
    with fails(
        DataError, f"Task '{task}' has no label in the {split} split; every split needs some."
    ):
        prepare(data)


# Objects of another form


@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        (lambda d: setattr(d, "tasks", 3), "The dataset's `tasks` must be a list of Task objects; found one of type int."),
        (lambda d: setattr(d, "splits", []), "The dataset's `splits` are of type list; they must be {'train': Split(...), 'val': ..., 'test': ...}."),
        (lambda d: setattr(d, "preprocessing", 3), "The dataset's `preprocessing` is of type int; it must be a dict of plain values, or None."),
        (lambda d: d.splits.update(val=0), "The val split is a int; it must be a Split of whole tensors, or a dataset with __len__ and __getitem__, such as a torch.utils.data.Dataset."),
        (lambda d: setattr(d.splits["val"], "inputs", 0), "The inputs of the val split are of type int; it must be a tensor, e.g. torch.as_tensor(x)."),
        (lambda d: setattr(d.splits["val"], "inputs", {}), "The inputs of the val split are an empty dict; give at least one."),
        (lambda d: setattr(d.splits["val"], "targets", []), "The targets of the val split are of type list; they must be {task: tensor}."),
        (
            lambda d: setattr(d.splits["val"], "inputs", torch.zeros(())),
            "The inputs of the val split are a tensor without rows; it must be an ordinary tensor of real numbers, one row per sample.",
        ),
        (
            lambda d: setattr(d.splits["val"], "masks", {"y": torch.ones(4)}),
            "The mask of 'y' in the val split holds float32; it must hold True where a label is known, e.g. mask.bool().",
        ),
        (
            lambda d: setattr(d.splits["val"], "inputs", {"x": torch.zeros(4, 2)}),
            "The inputs of the val split are a dict of 'x', those of the train split a tensor; they must be alike.",
        ),
    ],
)  # fmt: skip
def test_an_object_of_another_form_is_named(flaw: Callable[[Any], Any], sentence: str) -> None:
    """Breaks if a dataset class that returns something else ends in an AttributeError."""

    class Data:
        def __init__(self) -> None:
            self.tasks = [Task("y")]
            self.splits = {
                name: Split(torch.zeros(4, 2), {"y": torch.arange(4.0)})
                for name in ("train", "val", "test")
            }

    data: Any = Data()
    flaw(data)
    with pytest.raises(DataError) as error:
        prepare(data)
    assert str(error.value) == sentence
