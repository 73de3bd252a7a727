"""Pairs of images from IDX files: which they are, and what stands where on the canvas."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_runner.data import MultiMNIST
from mtl_runner.data.images.multi_mnist import FASHION, draw_pairs, overlay
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from tests.support.mnist_files import FILE_NAMES, T10K, TRAIN, WANTED, images_of, write_mnist


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in MNIST's format."""
    return write_mnist(tmp_path / "mnist")


def image_numbers(data: MultiMNIST, split: str, corner: str) -> Tensor:
    """Return which image stands in a corner: the canvas's first or last pixel is its number."""
    at = 0 if corner == "left" else -1
    return (255 * data.splits[split].inputs[:, 0, at, at]).round().long() - 1


def test_canvases_are_36_by_36_in_unit_range_with_two_ten_way_tasks(folder: Path) -> None:
    """Breaks the shape of the published problem, or the names that configs and tables rely on."""
    prepared = prepare(MultiMNIST(str(folder)))
    assert [(task.name, task.kind, task.size) for task in prepared.tasks] == [
        ("left", "classification", 10),
        ("right", "classification", 10),
    ]
    for split in prepared.splits.values():
        assert split.inputs.shape[1:] == (1, 36, 36)
        assert split.inputs.dtype == torch.get_default_dtype()
        assert float(split.inputs.min()) == 0.0
        assert 0.5 < float(split.inputs.max()) <= 1.0


def test_labels_belong_to_the_image_in_their_corner(folder: Path) -> None:
    """Breaks everything: a label of the other corner, or of another image, cannot be learned."""
    data = MultiMNIST(str(folder), rows=300)
    labels = np.concatenate([(7 * np.arange(TRAIN)) % 10, (7 * np.arange(T10K)) % 10])
    clean = (
        torch.as_tensor(
            np.concatenate([images_of(labels[:TRAIN], 0), images_of(labels[TRAIN:], TRAIN)])
        )
        / 255
    )
    for split in data.splits.values():
        for corner, window in (("left", slice(0, 28)), ("right", slice(8, 36))):
            seen = split.inputs[:, 0, window, window]
            # Ink of the other image only adds: the clean image is nowhere brighter than the canvas.
            missing = (clean.unsqueeze(0) - seen.unsqueeze(1)).clamp(min=0).flatten(2).sum(2)
            nearest = missing.argmin(1)
            assert float(missing.gather(1, nearest.unsqueeze(1)).max()) < 1e-6
            assert torch.equal(split.targets[corner], torch.as_tensor(labels)[nearest])


def test_where_only_one_image_lies_the_canvas_is_that_image() -> None:
    """Breaks the overlay.

    A shift of the wrong size or direction, or ink that is added, dimmed or lost.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randint(256, (5, 28, 28), generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    canvas = overlay(left, right, 8)[:, 0]
    assert canvas.shape == (5, 36, 36)
    assert torch.equal(canvas[:, :8, :28], left[:, :8])
    assert torch.equal(canvas[:, :28, :8], left[:, :, :8])
    assert torch.equal(canvas[:, 28:, 8:], right[:, 20:])
    assert torch.equal(canvas[:, 8:, 28:], right[:, :, 20:])
    assert torch.equal(canvas[:, 8:28, 8:28], torch.maximum(left[:, 8:, 8:], right[:, :20, :20]))
    assert not canvas[:, :8, 28:].any()
    assert not canvas[:, 28:, :8].any()


def test_a_black_image_leaves_the_other_as_it_is() -> None:
    """Breaks the maximum: with nothing in the other corner an image comes back pixel by pixel."""
    image, black = (
        torch.full((1, 8, 8), 7, dtype=torch.uint8),
        torch.zeros(1, 8, 8, dtype=torch.uint8),
    )
    assert torch.equal(overlay(image, black, 4)[0, 0, :8, :8], image[0])
    assert torch.equal(overlay(black, image, 4)[0, 0, 4:, 4:], image[0])


def test_no_image_stands_in_two_splits(folder: Path) -> None:
    """Breaks honest validation.

    An image seen in training, beside whatever partner, says its own class.
    """
    data = MultiMNIST(str(folder), rows=400, val=0.25)
    seen = {
        name: {
            *image_numbers(data, name, "left").tolist(),
            *image_numbers(data, name, "right").tolist(),
        }
        for name in data.splits
    }
    assert seen["train"] | seen["val"] == set(range(TRAIN))
    assert not seen["train"] & seen["val"]
    assert len(seen["val"]) == 15
    assert seen["test"] == set(range(TRAIN, TRAIN + T10K))


def test_every_image_is_once_the_left_one_and_never_its_own_partner(folder: Path) -> None:
    """Breaks the papers' rule of pairing, or leaves images out."""
    data = MultiMNIST(str(folder))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [54, 6, 20]
    for name in data.splits:
        left, right = image_numbers(data, name, "left"), image_numbers(data, name, "right")
        assert len(left.unique()) == len(left)
        assert not bool((left == right).any())


def test_partners_are_drawn_evenly() -> None:
    """Breaks the draw.

    With 4 images each of the 3 others is the partner a third of the time, and in 4001 pairs each
    comes 1000 times.
    """
    left, right = draw_pairs(4, 4, 4001, torch.Generator().manual_seed(0), same=True)
    assert torch.bincount(left).sort().values.tolist() == [1000, 1000, 1000, 1001]
    counts = torch.zeros(4, 4).index_put_((left, right), torch.ones(4001), accumulate=True)
    assert counts.diagonal().sum() == 0
    off_diagonal = counts[~torch.eye(4, dtype=torch.bool)]
    assert bool(((off_diagonal - 1000 / 3).abs() < 80).all())
    right_of_others = draw_pairs(4, 7, 7000, torch.Generator().manual_seed(0), same=False)[1]
    assert bool(((torch.bincount(right_of_others, minlength=7) - 1000).abs() < 150).all())


def test_a_second_folder_fills_the_lower_right_corner(folder: Path, tmp_path: Path) -> None:
    """Breaks `data.second_path`: Fashion-MNIST on the left, MNIST on the right."""
    second = write_mnist(tmp_path / "second", first=100, classes=4)
    data = MultiMNIST(str(folder), str(second), rows=200)
    assert max(image_numbers(data, "train", "left")) < 100
    assert min(image_numbers(data, "train", "right")) >= 100
    assert [task.size for task in prepare(data).tasks] == [10, 4]
    assert [len(split) for split in data.splits.values()] == [6, 20, 200]


def test_classes_have_names_where_the_folder_says_fashion(folder: Path, tmp_path: Path) -> None:
    """Breaks the legend of what the classes are; the files themselves hold numbers only."""
    fashion = write_mnist(tmp_path / "Fashion_MNIST" / "raw")
    assert [task.classes for task in MultiMNIST(str(fashion), str(folder)).tasks] == [
        FASHION,
        tuple("0123456789"),
    ]


def test_same_seed_same_tensors_and_another_seed_others(folder: Path) -> None:
    """Breaks reproducibility, or makes `data.seed` an option without effect."""
    torch.manual_seed(5)
    data = MultiMNIST(str(folder), seed=1)
    state = torch.get_rng_state()
    again, other_seed = MultiMNIST(str(folder), seed=1), MultiMNIST(str(folder), seed=2)
    assert torch.equal(torch.get_rng_state(), state), "the run's own random numbers are used up"
    for name, split in data.splits.items():
        assert torch.equal(split.inputs, again.splits[name].inputs)
        assert torch.equal(split.targets["left"], again.splits[name].targets["left"])
        assert not torch.equal(split.inputs, other_seed.splits[name].inputs)


def test_validation_and_test_do_not_depend_on_the_number_of_training_pairs(folder: Path) -> None:
    """Breaks comparisons between runs with more and fewer pairs."""
    few, many = MultiMNIST(str(folder), rows=10), MultiMNIST(str(folder), rows=500)
    for name in ("val", "test"):
        assert torch.equal(few.splits[name].inputs, many.splits[name].inputs)


def test_twenty_thousand_pairs_take_about_a_second() -> None:
    """Breaks the start of every run: a loop over images takes minutes."""
    images = torch.zeros(20_000, 28, 28, dtype=torch.uint8)
    start = time.process_time()
    first, second = draw_pairs(20_000, 20_000, 20_000, torch.Generator(), same=True)
    overlay(images[first], images[second], 8).to(torch.get_default_dtype()).div_(255)
    assert time.process_time() - start < 2


def test_missing_folders_say_which_files_are_wanted(folder: Path, tmp_path: Path) -> None:
    """Breaks if someone who has no data does not learn what to put where."""
    lost = tmp_path / "lost"
    for arguments, key in (
        ((str(lost),), "data.path"),
        ((str(folder), str(lost)), "data.second_path"),
    ):
        with pytest.raises(DataError) as error:
            MultiMNIST(*arguments)
        assert str(error.value) == (
            f"The folder {str(lost)!r} does not exist (looked in {tmp_path}); set {key} to the folder that holds {WANTED}."
        )
    with pytest.raises(DataError, match=r"ubyte' is a file \(looked in"):
        MultiMNIST(str(folder / FILE_NAMES[0]))
    with pytest.raises(ConfigError) as missing:
        MultiMNIST()
    assert (
        str(missing.value) == f"data=multi_mnist needs data.path, the folder that holds {WANTED}."
    )


def test_two_folders_of_other_sizes_are_refused(folder: Path, tmp_path: Path) -> None:
    """Breaks if a canvas is made of images that do not fit it."""
    second = write_mnist(tmp_path / "second", side=26)
    with pytest.raises(DataError) as error:
        MultiMNIST(str(folder), str(second))
    assert (
        str(error.value)
        == "The images of data.path have 28x28 pixels, those of data.second_path 26x26; both must have one size."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"val": 1.0},
            "data.val must lie between 0 and 1, a share of the training images; found 1.0.",
        ),
        ({"rows": 0}, "data.rows must be a positive number of training pairs; found 0."),
        ({"rows": 1.5}, "data.rows must be a positive number of training pairs; found 1.5."),
    ],
)
def test_wrong_options_have_their_sentence(
    folder: Path, options: dict[str, Any], sentence: str
) -> None:
    """Breaks if a wrong option is an error of torch's, far from its cause."""
    with pytest.raises(ConfigError) as error:
        MultiMNIST(str(folder), **options)
    assert str(error.value) == sentence


def test_a_split_without_two_images_is_refused(folder: Path) -> None:
    """Breaks if a share is so small that nothing can be paired."""
    with pytest.raises(DataError) as error:
        MultiMNIST(str(folder), val=0.01)
    assert str(error.value) == (
        "The val split has 1 of the images to make pairs of; with data.val=0.01 there must be two or more in each."
    )
