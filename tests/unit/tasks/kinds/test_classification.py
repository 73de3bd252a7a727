"""Classes: valid targets, class weights, and their loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.kinds import MISSING_CLASS, Classification
from mtl_runner.tasks.task import Task
from tests.unit.tasks.problems import values_in_batches

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_a_batch_of_classes_that_weigh_nothing_counts_nothing(rows: int) -> None:
    """Breaks if the last batch of a split, with a class of weight 0 alone, makes the loss 0/0."""
    task = Task("t", "classification", size=3, class_weights=(1.0, 2.0, 0.0))
    target, output = torch.tensor([0, 1, 0, 1, 2]), torch.randn(5, 3)
    expected = nn.functional.cross_entropy(output, target, torch.tensor([1.0, 2.0, 0.0])).item()
    assert values_in_batches(task, output, target, rows)["loss"] == pytest.approx(
        expected, rel=1e-12
    )


def test_missing_classes_are_marked_in_one_way() -> None:
    """Breaks if NaN, a mask and the mark itself do not mean the same: a class without a label."""
    kind, expected = Classification(), [0, MISSING_CLASS, 2]
    assert kind.clean(torch.tensor([0.0, torch.nan, 2.0]), None, "").tolist() == expected
    assert (
        kind.clean(torch.tensor([0, 1, 2]), torch.tensor([True, False, True]), "").tolist()
        == expected
    )
    assert kind.clean(torch.tensor([0, MISSING_CLASS, 2]), None, "").tolist() == expected


@pytest.mark.parametrize("mark", [MISSING_CLASS, torch.nan])
def test_a_labelled_sample_may_have_pixels_without_a_label(mark: float) -> None:
    """Breaks if a mask of samples makes a class of a pixel that is marked as missing."""
    target = torch.tensor([[0, mark], [1, 2], [mark, 1]])
    mask = torch.tensor([True, False, True])
    expected = [[0, MISSING_CLASS], [MISSING_CLASS, MISSING_CLASS], [MISSING_CLASS, 1]]
    assert Classification().clean(target, mask, "").tolist() == expected
    every_pixel = mask[:, None].expand(3, 2)
    assert Classification().clean(target, every_pixel, "").tolist() == expected


def test_classes_of_bytes_keep_their_numbers() -> None:
    """Breaks if the mark of a missing class becomes class 156 where numbers are bytes."""
    target = torch.tensor([156, 3], dtype=torch.uint8)
    cleaned = Classification().clean(target, torch.tensor([True, False]), "")
    assert cleaned.tolist() == [156, MISSING_CLASS]
    assert Classification().clean(target, None, "").tolist() == [156, 3]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ([0.5, 1.0], "has classes that are not whole numbers in the val split"),
        ([-1, 1], "has a negative class in the val split; classes count from 0"),
    ],
)
def test_what_is_no_class_is_named(target: list[float], sentence: str) -> None:
    """Breaks if half a class or class -1 is trained on."""
    with pytest.raises(DataError, match=f"^{sentence}"):
        Classification().clean(torch.tensor(target), None, "in the val split")
    with pytest.raises(DataError, match=f"^{sentence}"):
        Classification().clean(
            torch.tensor(target), torch.tensor([True, False]), "in the val split"
        )


def test_the_number_of_classes_is_checked_against_every_split() -> None:
    """Breaks if a class that only the test split holds indexes beyond the logits."""
    kind, train = Classification(), torch.tensor([0, 1])
    assert kind.size({"train": train, "val": torch.tensor([2])}, Task("a", kind)) == 3
    assert kind.size({"train": train}, Task("a", kind, classes=("x", "y", "z"))) == 3
    with pytest.raises(DataError, match="has 2 classes, but the val split holds class 2"):
        kind.size({"train": train, "val": torch.tensor([2])}, Task("a", kind, size=2))
    with pytest.raises(DataError, match="has only one class"):
        kind.size({"train": torch.tensor([0])}, Task("a", kind))
    with pytest.raises(ConfigError, match="has 3 class_weights, but 2 classes; give one per class"):
        kind.size({"train": train}, Task("a", kind, class_weights=(1, 2, 3)))


def test_answers_are_written_with_the_names_of_the_classes() -> None:
    """Breaks if predictions.csv holds indices although the classes have names."""
    kind, named = Classification(), Task("a", "classification", classes=("cat", "dog"))
    assert kind.columns(torch.tensor([1, 0]), named) == {"a": ["dog", "cat"]}
    assert kind.columns(torch.tensor([1, 0]), Task("a", "classification", size=2)) == {"a": [1, 0]}
    assert kind.legend(named) == ("cat", "dog")
    assert kind.legend(Task("a", "classification", size=2)) == ("0", "1")


def test_the_prior_is_the_frequencies_where_training_holds_every_class() -> None:
    """Breaks if smoothing moves the relative loss of ordinary tasks."""
    prior = Classification().trivial(torch.tensor([0, 1, 1, 1, MISSING_CLASS]), Task("a", size=2))
    expected = torch.log((torch.tensor([1.0, 3.0]) + 1e-6) / (4 + 2e-6))
    assert torch.allclose(prior, expected, rtol=0, atol=1e-15)


def test_a_class_that_training_lacks_is_not_impossible_to_the_trivial_predictor() -> None:
    """Breaks if any model beats the trivial predictor threefold on classes nobody has seen."""
    task, target = Task("a", "classification", size=4), torch.tensor([0, 0, 0, 2])
    prior = Classification().trivial(target, task).softmax(0)
    assert prior.tolist() == pytest.approx([4 / 8, 1 / 8, 2 / 8, 1 / 8], rel=1e-12)
