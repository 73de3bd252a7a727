"""Small folders in MNIST's format, written from its description."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

# Images of each part, and pixels of an image's side.
TRAIN, T10K, SIDE = 60, 20, 28
FILE_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
WANTED = f"{', '.join(FILE_NAMES[:-1])} and {FILE_NAMES[-1]} (each plain or .gz)"


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an IDX file: 0, 0, 8 (bytes), the number of dimensions, their sizes, the numbers."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(
        size.to_bytes(4, "big") for size in array.shape
    )
    return header + array.astype(np.uint8).tobytes()


def images_of(labels: np.ndarray, first: int, side: int = SIDE) -> np.ndarray:
    """Return an image per label.

    A bright column says the class; the first and the last pixel hold the image's number, which
    counts from ``first``.
    """
    images = np.zeros((len(labels), side, side), np.uint8)
    images[np.arange(len(labels)), :, 4 + 2 * labels] = 200
    images[:, 0, 0] = 1 + first + np.arange(len(labels))
    images[:, -1, -1] = images[:, 0, 0]
    return images


def write_mnist(
    folder: Path,
    first: int = 0,
    packed: bool = False,
    side: int = SIDE,
    classes: int = 10,
    t10k_side: int | None = None,
) -> Path:
    """Write a folder in MNIST's format, and return it.

    Args:
        folder: Where to write; must not exist.
        first: The number of the first image, see :func:`images_of`.
        packed: Whether to write ``.gz`` files.
        side: Pixels of an image's side.
        classes: The number of classes.
        t10k_side: Pixels of a side of the test images; by default ``side``.
    """
    folder.mkdir(parents=True)
    for part, count, start in (("train", TRAIN, first), ("t10k", T10K, first + TRAIN)):
        labels = (7 * np.arange(count) + first) % classes
        images = images_of(labels, start, side if part == "train" else t10k_side or side)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            name = f"{part}-{kind}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(content) if packed else content
            )
    return folder
