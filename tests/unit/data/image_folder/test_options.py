"""Size, channels and normalization of images."""

from __future__ import annotations

from typing import Any

import pytest

from mtl_runner.data.image_folder.options import augmentation, check_on_error, image_reader
from mtl_runner.data.image_folder.reader import IMAGENET_MEAN
from mtl_runner.errors import ConfigError


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ([(64, 48)] * 3, (64, 48)),
        ([(64, 48), (48, 64)], (224, 224)),
        ([(500, 400)], (224, 224)),
        ([], (224, 224)),
    ],
)
def test_auto_is_the_size_that_all_have(sizes: Any, size: tuple[int, int]) -> None:
    """Breaks if small images are enlarged, or images of many sizes are not brought to one."""
    assert image_reader("auto", 3, "imagenet", lambda: sizes).size == size


def test_sizes_and_normalizations_are_read() -> None:
    """Breaks if an option means something else than its text."""
    assert image_reader(32, 3, "imagenet", list).mean == IMAGENET_MEAN
    assert image_reader([32, 48], 1, None, list).state() == {
        "size": [32, 48], "channels": 1, "mean": [0.0], "std": [1.0],
    }  # fmt: skip
    assert image_reader(8, 3, {"mean": 0.5, "std": [1, 2, 3]}, list).std == (1.0, 2.0, 3.0)
    assert augmentation(None, (8, 8)) == (False, [])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((0, 3, None), "data.size must be auto, a number of pixels, or"),
        (([1, 2, 3], 3, None), "data.size must be auto"),
        ((8, 4, None), r"data.channels must be 3 \(colour\) or 1"),
        ((8, 3, "mean"), "data.normalize must be imagenet, null, or"),
        ((8, 3, {"mean": 0, "std": 0}), "std above 0"),
    ],
)
def test_impossible_options_are_one_sentence(options: Any, sentence: str) -> None:
    """Breaks if an impossible option ends in an error of torch."""
    with pytest.raises(ConfigError, match=sentence):
        image_reader(*options, list)


def test_on_error_has_two_values() -> None:
    """Breaks if a typing mistake means raise."""
    assert check_on_error("skip") == "skip"
    with pytest.raises(ConfigError, match=r"data\.on_error"):
        check_on_error("ignore")
