"""Small folders of ``.npy`` files in the layout of the MTAN papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mtl_runner.data import NYUv2
from mtl_runner.data.scenes.npy_folders import NpyFolders

Read = Callable[..., NpyFolders]  # the dataset of a folder, with options

HEIGHT, WIDTH = 6, 8  # pixels, where the papers have more
IMAGES = {"train": 10, "val": 4}


def arrays_of_image(
    dataset: type[NpyFolders], split: str, row: int, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> dict[str, np.ndarray]:
    """Return the arrays of one image by folder; no two images have the same numbers."""
    random = np.random.default_rng([split == "val", row])
    classes = 13 if dataset is NYUv2 else 7
    image = random.random((*size, 3)) * 0.9
    # The first pixel says which file the image comes from.
    image[0, 0] = (row / 100, (split == "val") / 2, 1.0)
    labels = random.integers(0, classes, size)
    labels[0, 0] = row % classes
    labels[1, :2] = (-1, 255)
    depth = random.uniform(0.5, 9.0, (*size, 1))
    depth[2, :3] = 0
    arrays = {"image": image, "label" if dataset is NYUv2 else "label_7": labels, "depth": depth}
    if dataset is NYUv2:
        normal = random.normal(size=(*size, 3))
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        normal[3, :4] = 0
        # One zero among its three numbers does not make a normal unknown.
        normal[4, 0] = (0.0, 1.0, 0.0)
        arrays["normal"] = normal
    return arrays


def save_array(path: Path, array: np.ndarray) -> None:
    """Save an array, and make its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write_npy_folders(
    folder: Path,
    dataset: type[NpyFolders] = NYUv2,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    images: Mapping[str, int] = IMAGES,
) -> Path:
    """Write images in the layout of the papers' files, and return the folder.

    Args:
        folder: Where to write.
        dataset: The dataset, which decides the names of the files.
        size: Height and width of the images, in pixels.
        images: The number of images of each split.
    """
    for split, count in images.items():
        for row in range(count):
            for name, array in arrays_of_image(dataset, split, row, size).items():
                save_array(folder / split / name / f"{row}.npy", array)
    return folder


def origins(data: NpyFolders, split: str) -> list[tuple[bool, int]]:
    """Return which files a split's images come from: (whether from the folder val, number)."""
    corner = data.splits[split].inputs[:, :, 0, 0]
    return [(bool(val > 0.25), round(100 * float(row))) for row, val, _ in corner]
