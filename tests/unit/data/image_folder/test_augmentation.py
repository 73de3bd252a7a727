"""Random changes of training images: names, strengths, and entries that are refused."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.data.image_folder.augmentation import MISSING, STRENGTHS, make_augmentation
from mtl_runner.errors import ConfigError

pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_name_makes_a_transform_of_image_and_mask(name: str) -> None:
    """Breaks if a transform fails, or changes the image without its mask."""
    from torchvision import tv_tensors

    torch.manual_seed(0)
    crops, (transform,) = make_augmentation([{name: STRENGTHS[name]}], (16, 16))
    image = tv_tensors.Image(torch.randint(0, 255, (3, 16, 16), dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.ones(1, 16, 16, dtype=torch.int64))
    changed, (moved) = transform(image, mask)
    assert crops == (name == "crop")
    assert changed.shape == image.shape
    assert set(moved.unique().tolist()) <= {1, MISSING}


def test_what_a_rotation_uncovers_has_no_label() -> None:
    """Breaks if the corners of a turned mask become class 0."""
    from torchvision import tv_tensors

    torch.manual_seed(1)
    _, (rotate,) = make_augmentation([{"rotate": 45}], (16, 16))
    mask = rotate(tv_tensors.Mask(torch.ones(1, 16, 16, dtype=torch.int64)))
    assert MISSING in mask.unique().tolist()


def test_a_transform_of_ones_own_is_taken() -> None:
    """Breaks if a class of torchvision, made from its config, is refused."""
    assert make_augmentation([torch.nn.Identity()], (8, 8))[1][0](3) == 3
    assert make_augmentation(None, (8, 8)) == (False, [])


@pytest.mark.parametrize(
    ("augment", "sentence"),
    [
        (["flop"], "data.augment holds 'flop'; did you mean 'flip'"),
        ("flip", r"data.augment must be a list, e.g. \[crop, flip"),
        ([{"flip": 2}], "flip must be a number above 0, at most 1; found 2"),
        ([{"rotate": "far"}], "rotate must be a number above 0, at most 180; found 'far'"),
    ],
)
def test_impossible_entries_are_one_sentence(augment: object, sentence: str) -> None:
    """Breaks if a typing mistake leaves the images as they are."""
    with pytest.raises(ConfigError, match=sentence):
        make_augmentation(augment, (8, 8))  # type: ignore[arg-type]
