"""The same digits as classes of images and of pixels."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from mtl_runner.data import SpeedMismatch
from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.errors import ConfigError


@pytest.fixture(scope="module")
def digits() -> Prepared:
    """Return the dataset, checked as before training."""
    return prepare(SpeedMismatch())


def test_pixels_of_ink_say_the_digit_and_the_others_background(digits: Prepared) -> None:
    """Breaks the slow task: grey levels of 8 and more of 16 are ink."""
    assert [(t.name, t.size, t.places, t.main_metric) for t in digits.tasks] == [
        ("digit", 10, (), "accuracy"),
        ("pixels", 11, (8, 8), "miou"),
    ]
    for split in digits.splits.values():
        assert isinstance(split.inputs, torch.Tensor)
        assert split.inputs.shape[1:] == (1, 8, 8)
        ink = split.inputs[:, 0] >= 0.5
        digit, pixels = split.targets["digit"], split.targets["pixels"]
        assert torch.equal(pixels[ink], digit.view(-1, 1, 1).expand_as(pixels)[ink])
        assert (pixels[~ink] == 10).all()


def test_ink_or_background_is_a_threshold_of_the_grey_level(digits: Prepared) -> None:
    """Breaks `data.segment=ink` and `data.ink`."""
    split = prepare(SpeedMismatch(segment="ink", ink=12)).splits["train"]
    assert isinstance(split.inputs, torch.Tensor)
    assert torch.equal(split.targets["pixels"], (split.inputs[:, 0] >= 0.75).long())
    assert torch.equal(split.targets["digit"], digits.splits["train"].targets["digit"])


def test_the_split_follows_its_seed_and_its_fractions(digits: Prepared) -> None:
    """Breaks reproducibility, `data.val` or `data.test`."""
    again, other_seed = SpeedMismatch(), SpeedMismatch(seed=1, val=0.1, test=0.4)
    assert torch.equal(
        again.splits["train"].targets["pixels"], digits.splits["train"].targets["pixels"]
    )
    assert [len(other_seed.splits[name]) for name in ("train", "val", "test")] == [898, 180, 719]
    assert not torch.equal(
        other_seed.splits["train"].targets["digit"][:200],
        digits.splits["train"].targets["digit"][:200],
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"segment": "inc"}, "data.segment='inc' is unknown; allowed: digit, ink."),
        ({"ink": 0}, "data.ink must be a grey level, a whole number from 1 to 16; found 0."),
        ({"ink": 17}, "data.ink must be a grey level, a whole number from 1 to 16; found 17."),
        ({"ink": 0.5}, "data.ink must be a grey level, a whole number from 1 to 16; found 0.5."),
        ({"val": 0.9, "test": 0.2}, "data.split fractions must lie between 0 and 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks a sentence that a user reads."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        SpeedMismatch(**options)
