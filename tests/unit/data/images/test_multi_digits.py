"""Two real digits on one canvas: which stands where, and what is cut before what is paired."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from mtl_runner.data import MultiDigits
from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.errors import ConfigError


@pytest.fixture(scope="module")
def digits() -> Prepared:
    """Return the dataset with reconstructions, checked as before training."""
    return prepare(MultiDigits(reconstruct=True))


@pytest.fixture(scope="module")
def clean() -> tuple[Tensor, Tensor]:
    """Return the 1797 digits as images, and which digits they are."""
    bunch = load_digits()
    return torch.as_tensor(bunch.images, dtype=torch.float32) / 16, torch.as_tensor(bunch.target)


def identity(images: Tensor, clean: Tensor) -> Tensor:
    """Return which of the clean digits each image is, bit for bit."""
    number_of = {digit.numpy().tobytes(): number for number, digit in enumerate(clean)}
    return torch.tensor([number_of[image.numpy().tobytes()] for image in images])


def test_two_tasks_and_with_reconstruction_four(digits: Prepared) -> None:
    """Breaks the names and sizes that configs and tables rely on."""
    assert [(task.name, task.kind, task.size) for task in digits.tasks] == [
        ("left", "classification", 10),
        ("right", "classification", 10),
        ("left_image", "regression", 64),
        ("right_image", "regression", 64),
    ]
    assert [task.name for task in MultiDigits().tasks] == ["left", "right"]
    for split in digits.splits.values():
        assert split.inputs.shape[1:] == (1, 12, 12)
        assert float(split.inputs.min()) == 0.0
        assert float(split.inputs.max()) == 1.0


def test_where_only_one_digit_lies_the_canvas_is_that_digit(digits: Prepared) -> None:
    """Breaks the overlay.

    Known answers, since the clean digits are targets; and the brighter pixel stands where both lie.
    """
    split = digits.splits["train"]
    canvas = split.inputs[:, 0]
    left, right = (split.targets[f"{corner}_image"].view(-1, 8, 8) for corner in ("left", "right"))
    assert torch.equal(canvas[:, :4, :8], left[:, :4])
    assert torch.equal(canvas[:, :8, :4], left[:, :, :4])
    assert torch.equal(canvas[:, 8:, 4:], right[:, 4:])
    assert torch.equal(canvas[:, 4:, 8:], right[:, :, 4:])
    assert torch.equal(canvas[:, 4:8, 4:8], torch.maximum(left[:, 4:, 4:], right[:, :4, :4]))
    assert not canvas[:, :4, 8:].any()
    assert not canvas[:, 8:, :4].any()


def test_labels_are_those_of_the_digit_in_their_corner(
    digits: Prepared, clean: tuple[Tensor, Tensor]
) -> None:
    """Breaks everything.

    Each corner's digit, looked up among scikit-learn's, must have the label that the task says.
    """
    images, labels = clean
    for split in digits.splits.values():
        for corner in ("left", "right"):
            assert torch.equal(
                labels[identity(split.targets[f"{corner}_image"], images)], split.targets[corner]
            )


def test_labels_can_be_read_off_the_canvas_itself(
    digits: Prepared, clean: tuple[Tensor, Tensor]
) -> None:
    """Breaks if targets agree with each other, but not with the image.

    The nearest digit to a corner's free part is the right one.
    """
    images, labels = clean
    split = digits.splits["test"]
    free = torch.ones(8, 8, dtype=torch.bool)
    free[4:, 4:] = False  # of the left digit; the right one's, turned by 180 degrees
    for corner, seen, mask in (
        ("left", split.inputs[:, 0, :8, :8], free),
        ("right", split.inputs[:, 0, 4:, 4:], free.flip(0, 1)),
    ):
        nearest = torch.cdist(seen[:, mask], images[:, mask]).argmin(1)
        assert torch.equal(labels[nearest], split.targets[corner])


def test_no_digit_stands_in_two_splits_and_none_is_its_own_partner(
    digits: Prepared, clean: tuple[Tensor, Tensor]
) -> None:
    """Breaks honest validation: pairs must be made after the digits are split."""
    seen = {}
    for name, split in digits.splits.items():
        left, right = (
            identity(split.targets[f"{corner}_image"], clean[0]) for corner in ("left", "right")
        )
        assert not bool((left == right).any())
        seen[name] = {*left.tolist(), *right.tolist()}
    assert [len(seen[name]) for name in ("train", "val", "test")] == [1257, 270, 270]
    assert len(seen["train"] | seen["val"] | seen["test"]) == 1797


def test_rows_are_training_pairs_and_the_other_splits_follow() -> None:
    """Breaks `data.rows`, `data.val` and `data.test`."""
    assert {name: len(split) for name, split in MultiDigits().splits.items()} == {
        "val": 1074,
        "test": 1074,
        "train": 5000,
    }
    few = MultiDigits(rows=539, val=0.1, test=0.6)
    assert {name: len(split) for name, split in few.splits.items()} == {
        "val": 180,
        "test": 1078,
        "train": 539,
    }
    many = MultiDigits(rows=2000, val=0.1, test=0.6)
    assert torch.equal(
        few.splits["val"].inputs[:180],
        MultiDigits(rows=539, val=0.1, test=0.6).splits["val"].inputs,
    )
    assert len(many.splits["train"]) == 2000


def test_same_seed_same_tensors_and_another_seed_others(digits: Prepared) -> None:
    """Breaks reproducibility, or makes `data.seed` an option without effect."""
    state = torch.get_rng_state()
    again, plain, other_seed = MultiDigits(reconstruct=True), MultiDigits(), MultiDigits(seed=1)
    assert torch.equal(torch.get_rng_state(), state), "the run's own random numbers are used up"
    for name, split in digits.splits.items():
        assert torch.equal(split.inputs, again.splits[name].inputs)
        assert torch.equal(split.inputs, plain.splits[name].inputs), (
            "reconstruction changes the images"
        )
        assert not torch.equal(split.inputs, other_seed.splits[name].inputs)
        for task, target in split.targets.items():
            assert torch.equal(target, again.splits[name].targets[task])


@pytest.mark.parametrize("rows", [0, -3, 2.5, True])
def test_rows_must_be_a_positive_number(rows: object) -> None:
    """Breaks if a wrong number of pairs is an error of torch's."""
    with pytest.raises(ConfigError) as error:
        MultiDigits(rows=rows)  # type: ignore[arg-type]
    assert (
        str(error.value)
        == f"data.rows must be a positive number of training pairs; found {rows!r}."
    )


def test_shares_that_leave_nothing_are_refused() -> None:
    """Breaks if a split is empty without a word."""
    with pytest.raises(
        ConfigError, match="fractions must lie between 0 and 1 and leave a training part"
    ):
        MultiDigits(val=0.5, test=0.5)
