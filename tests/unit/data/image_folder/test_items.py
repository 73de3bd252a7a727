"""Images with their targets, item by item: one geometry for image and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_runner.data.image_folder.augmentation import make_augmentation
from mtl_runner.data.image_folder.items import ImageItems
from mtl_runner.data.image_folder.masks import read_mask_target
from mtl_runner.data.image_folder.reader import ImageReader
from tests.support.image_files import write_photos

pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


@pytest.mark.parametrize("augment", [None, ["flip"], ["crop", "flip"], ["rotate", "vertical_flip"]])
def test_a_mask_moves_with_its_image(tmp_path: Path, augment: list[str] | None) -> None:
    """Breaks if image and mask are cropped, flipped or turned in different ways."""
    photos = write_photos(tmp_path, count=4)
    road = read_mask_target("road", {"folder": "masks", "classes": 2}, photos)
    files = sorted(map(str, photos.glob("*.jpg")))
    masks = [road.file_of(Path(file).relative_to(photos)) for file in files]
    reader = ImageReader((24, 24), mean=(0.0,) * 3, std=(1.0,) * 3)
    changes = make_augmentation(augment, reader.size) if augment else None
    items = ImageItems(files, reader, {}, [(road, masks)], changes)
    torch.manual_seed(0)
    for index in range(4):
        image, targets = items[index]
        mask = targets["road"]
        assert mask is not None
        assert image.shape == (3, 24, 24)
        assert mask.shape == (24, 24)
        labelled = mask != -100
        agree = (image.max(0).values > 0.65).long() == mask
        assert agree[labelled].float().mean() > 0.93  # all but the square's border


def test_a_missing_mask_and_a_missing_label_are_missing_labels(tmp_path: Path) -> None:
    """Breaks if an image without a mask ends the run."""
    photos = write_photos(tmp_path, count=2)
    road = read_mask_target("road", {"folder": "masks", "classes": 2}, photos)
    files = sorted(map(str, photos.glob("*.jpg")))
    items = ImageItems(
        files, ImageReader((8, 8)), {"age": np.array([1.0, np.nan])}, [(road, [None, None])]
    )
    assert len(items) == 2
    _, targets = items[1]
    assert targets["road"] is None
    assert bool(torch.as_tensor(targets["age"]).isnan())
    assert items.targets()["age"][0] == 1
