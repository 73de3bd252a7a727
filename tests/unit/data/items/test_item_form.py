"""The forms of an item."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mtl_runner import Task
from mtl_runner.data.items.item_form import read_item
from mtl_runner.errors import DataError

TASKS = [Task("age"), Task("sort", "classification", size=3)]
X = torch.ones(2, 3)


@pytest.mark.parametrize(
    "item",
    [
        (X, {"age": 3.0, "sort": 1}),
        [X.numpy(), {"age": np.float64(3.0), "sort": np.int64(1)}],
        {"inputs": X, "targets": {"age": torch.tensor(3.0), "sort": torch.tensor(1)}},
        {"pixels": X, "age": 3.0, "sort": 1},
        (X, {"age": 3.0, "sort": 1, "unused": "text"}),
    ],
    ids=["tuple", "numpy", "two keys", "flat dict", "more targets"],
)
def test_all_forms_give_the_same_item(item: Any) -> None:
    """Breaks if a form that the docs name is read in another way."""
    form = read_item(item, TASKS, "Item 0")
    assert torch.equal(form.inputs[""], X)
    assert form.targets["age"] == 3.0
    assert torch.as_tensor(form.targets["age"]).dtype == torch.get_default_dtype()
    assert form.targets["sort"] == 1


def test_a_single_task_needs_no_dict() -> None:
    """Breaks if the form of torchvision's datasets is not understood."""
    assert read_item((X, 2), TASKS[1:], "Item 0").targets["sort"] == 2


def test_several_inputs_keep_their_names() -> None:
    """Breaks if a model with two inputs gets them under other names."""
    item = {"left": X, "right": 2 * X, "age": 1, "sort": 0}
    form = read_item(item, TASKS, "Item 0")
    assert {name: float(value[0, 0]) for name, value in form.inputs.items()} == {
        "left": 1.0,
        "right": 2.0,
    }


class Image:
    """Stands for a picture of Pillow, which the tests do without."""


Image.__module__ = "PIL.Image"


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (X, "Item 0 is a Tensor; it must be (inputs, {task: target}), or a dict that holds"),
        ((X, 1, 2), "Item 0 is a tuple of 3; it must be (inputs, {task: target})"),
        ((X, 1.0), "Item 0 has a float as its targets; with several tasks they must be a dict"),
        ((X, {"age": 1.0}), "Item 0 has no target for task 'sort'; "),
        (({}, {"age": 1, "sort": 1}), "Item 0 has no inputs; give at least one"),
        (
            (X, {"age": "7", "sort": 1}),
            "Item 0: the target of task 'age' is a str; it must be a tensor, a NumPy array or a number (a class by its index, from 0).",
        ),
        (
            (Image(), {"age": 7, "sort": 1}),
            "Item 0: input is a Image; it must be a tensor, a NumPy array or a number (for a picture: numpy.asarray(image), or a transform that ends in a tensor).",
        ),
        (
            (np.array(["a"]), {"age": 7, "sort": 1}),
            "Item 0: input is an array of <U1; it must hold numbers, such as class indices.",
        ),
        (None, "Item 0 is a NoneType; it must be"),
    ],
)
def test_other_forms_get_a_sentence(item: Any, sentence: str) -> None:
    """Breaks if a wrong item ends in an error that does not say what to return."""
    with pytest.raises(DataError) as error:
        read_item(item, TASKS, "Item 0")
    assert sentence in str(error.value)
