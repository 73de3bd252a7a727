"""Arrays of any type and form are read the same, and others are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_runner.errors import DataError
from tests.support.npy_folders import HEIGHT, WIDTH, Read

pytestmark = pytest.mark.usefixtures("small")
Array = np.ndarray


def change_files(folder: Path, name: str, change: Callable[[Array], Array]) -> Path:
    """Change every file of a field."""
    for path in folder.glob(f"*/{name}/*.npy"):
        np.save(path, change(np.load(path)))
    return folder


def test_images_of_bytes_are_scaled_to_one(nyuv2: Path, read: Read) -> None:
    """Breaks if bytes are trained on as 0 to 255, or other numbers are divided."""
    before = read(nyuv2).splits["train"].inputs
    after = (
        read(change_files(nyuv2, "image", lambda image: (255 * image).round().astype(np.uint8)))
        .splits["train"]
        .inputs
    )
    torch.testing.assert_close(after, before, rtol=0, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        "int64",
        "int16",
        "int8",
        "uint8",
        "float32",
        "float64",
    ],
)
def test_labels_may_be_of_any_type(nyuv2: Path, read: Read, kind: str) -> None:
    """Breaks files of bytes, where 255 is unknown, or of floats, where NaN may be."""

    def change(labels: Array) -> Array:
        unknown = {"u": 255, "f": np.nan}.get(kind[0], -1)
        return np.where((labels < 0) | (labels == 255), unknown, labels).astype(kind)

    before = read(nyuv2).splits["test"].targets["segmentation"].clone()
    after = read(change_files(nyuv2, "label", change)).splits["test"].targets["segmentation"]
    assert torch.equal(before, after)


def test_a_last_axis_of_one_may_be_there_or_not(nyuv2: Path, read: Read) -> None:
    """Breaks files whose depth is [H, W], or whose labels are [H, W, 1]."""
    before = read(nyuv2).splits["test"].apply(torch.clone)
    change_files(nyuv2, "depth", lambda depth: depth[..., 0])
    after = read(change_files(nyuv2, "label", lambda label: label[..., None])).splits["test"]
    assert torch.equal(after.targets["segmentation"], before.targets["segmentation"])
    assert torch.equal(after.targets["depth"].nan_to_num(), before.targets["depth"].nan_to_num())


def test_an_unknown_depth_or_normal_may_be_nan_too(nyuv2: Path, read: Read) -> None:
    """Breaks if NaN in one channel leaves the others known."""

    def change(normal: Array) -> Array:
        normal[5, 5, 1] = np.nan
        return normal

    change_files(nyuv2, "depth", lambda depth: np.where(depth == 0, np.nan, depth))
    targets = read(change_files(nyuv2, "normal", change)).splits["test"].targets
    assert int(targets["depth"].isnan().sum()) == 4 * 3
    assert targets["normal"][:, :, 5, 5].isnan().all()


def test_an_archive_of_arrays_is_not_an_array(nyuv2: Path, read: Read) -> None:
    """Breaks if an .npz that was renamed is an AttributeError."""
    with (nyuv2 / "val" / "image" / "0.npy").open("wb") as file:
        np.savez(file, image=np.zeros((HEIGHT, WIDTH, 3)))
    with pytest.raises(DataError, match=r"image/0\.npy' is not a whole \.npy file"):
        read(nyuv2)
