"""Labels per pixel from image files: classes, depths, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_runner.data.image_folder.masks import read_mask_target
from mtl_runner.errors import ConfigError, DataError

Image = pytest.importorskip("PIL.Image", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


def save(folder: Path, pixels: Any, name: str = "a.png") -> str:
    """Save numbers as an image; return the file."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(folder / name)
    return str(folder / name)


def test_classes_are_read_and_counted(tmp_path: Path) -> None:
    """Breaks if the border value becomes a class, or a class is not counted."""
    file = save(tmp_path / "masks", np.array([[0, 4], [255, 2]], np.uint8))
    target = read_mask_target("road", {"kind": "segmentation", "folder": "masks"}, tmp_path)
    assert target.values(target.decode(file)).tolist() == [[0, 4], [-100, 2]]
    assert target.with_classes([file]).task.size == 5
    named = read_mask_target("road", {"folder": "masks", "classes": ["no", "yes"]}, tmp_path)
    assert named.with_classes([file]).task.classes == ("no", "yes")
    assert target.file_of(Path("deeper/a.jpg")) == file
    assert target.file_of(Path("b.jpg")) is None


def test_depths_have_a_unit_and_a_mark_for_missing(tmp_path: Path) -> None:
    """Breaks if millimetres are taken for metres, or 0 for a distance."""
    file = save(tmp_path / "depths", np.array([[1500, 0]], np.uint16))
    options = {"kind": "depth", "folder": "depths", "scale": 0.001, "missing": 0}
    target = read_mask_target("depth", options, tmp_path)
    values = target.values(target.decode(file))
    torch.testing.assert_close(values, torch.tensor([[[1.5, torch.nan]]]), equal_nan=True)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """Breaks if a mask of another size is cut at another place than its image."""
    file = save(tmp_path / "masks", np.zeros((4, 4, 3), np.uint8))
    target = read_mask_target("road", {"folder": "masks"}, tmp_path)
    with pytest.raises(DataError, match="has 3 channels; it must hold one number per pixel"):
        target.decode(file)
    file = save(tmp_path / "masks", np.zeros((4, 4), np.uint8), "b.png")
    with pytest.raises(DataError, match="has 4x4 pixels, its image 8x8; both must have the same"):
        target.decode(file, (8, 8))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"folder": "masks", "clases": 3}, "unknown option 'clases'; did you mean 'classes'"),
        ({"folder": "masks", "kind": "multilabel"}, "has the unknown kind 'multilabel'"),
        ({"folder": "masks", "classes": 1}, "classes must be a list of names or their number"),
        ({"folder": "masks", "ignore": "sky"}, "ignore must be a stored number or a list"),
        ({"folder": "masks", "kind": "depth", "scale": 0}, "scale must be a positive number"),
    ],
)
def test_impossible_options_are_one_sentence(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """Breaks if an option with a typing mistake has no effect."""
    (tmp_path / "masks").mkdir()
    with pytest.raises(ConfigError, match=sentence):
        read_mask_target("road", options, tmp_path)
    with pytest.raises(DataError, match="Target 'road': there is no folder 'none'"):
        read_mask_target("road", {"folder": "none"}, tmp_path)
