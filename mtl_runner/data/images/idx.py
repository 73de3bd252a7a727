"""IDX files, the format of MNIST and its successors: a header, then unsigned bytes; plain or packed by gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtl_runner.errors import DataError

GZIP = b"\x1f\x8b"  # how a packed file begins, whatever its name
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
WANTED = f"{', '.join(FILES[:-1])} and {FILES[-1]} (each plain or .gz)"


@dataclass(frozen=True)
class LabelledImages:
    """Grey images ``[N, H, W]`` from 0 to 255 (bytes) and their classes ``[N]``."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: Tensor) -> LabelledImages:
        """Some of them."""
        return LabelledImages(self.images[index], self.labels[index])


def read_idx_folder(path: str, key: str = "data.path") -> dict[str, LabelledImages]:
    """The parts ``train`` and ``t10k`` of a folder with the four files of MNIST or of a set in its format.

    Args:
        path: the folder. key: the option that named it, for the errors.

    Raises ``DataError`` for a folder or file that is missing and for files that do not belong together, beside those of :func:`read_idx`.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(
            f"The folder {path!r} {what} (looked in {folder.absolute().parent}); set {key} to the folder that holds {WANTED}."
        )
    parts = {}
    for part in ("train", "t10k"):
        images = read_idx(_find(folder, f"{part}-images-idx3-ubyte", key), 3)
        labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte", key), 1)
        if len(images) != len(labels):
            raise DataError(
                f"The folder {path!r} has {len(images)} {part} images, but {len(labels)} {part} labels; it needs one label per image."
            )
        parts[part] = LabelledImages(images, labels.long())
    sizes = {
        part: "x".join(str(side) for side in data.images.shape[1:]) for part, data in parts.items()
    }
    if sizes["train"] != sizes["t10k"]:
        raise DataError(
            f"The folder {path!r} has train images of {sizes['train']} pixels and t10k images of {sizes['t10k']}; all must have one size."
        )
    return parts


def read_idx(file: Path, dimensions: int) -> Tensor:
    """The bytes of an IDX file as a tensor of so many dimensions (3: images ``[N, H, W]``, 1: labels ``[N]``).

    The header is 00 00, the type of the numbers (08: unsigned bytes), the number of dimensions, and each dimension as four bytes,
    the highest first (http://yann.lecun.com/exdb/mnist, "The IDX file format").

    Raises ``DataError`` for a file that is none, holds another number of dimensions, is cut off or longer than it says, or is empty.
    """
    content = _unpacked(file)
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        what = "images" if dimensions == 3 else "labels"
        found = content[:4].hex(" ") or "nothing"
        raise DataError(
            f"The file {str(file)!r} is no IDX file of {what}: it begins with {found}, and should with {magic.hex(' ')}."
        )
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    promised = start + math.prod(shape)
    if len(content) < start or len(content) != promised:
        raise DataError(
            f"The file {str(file)!r} is {'cut off' if len(content) < promised else 'too long'}: its header promises {promised} bytes "
            f"({' x '.join(map(str, shape))}), and it has {len(content)}; get it again."
        )
    if not math.prod(shape):
        raise DataError(
            f"The file {str(file)!r} is empty: its header says {' x '.join(map(str, shape))}."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def _unpacked(file: Path) -> bytes:
    content = file.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"The file {str(file)!r} is a damaged or cut off .gz ({error}); get it again."
        ) from error


def _find(folder: Path, name: str, key: str) -> Path:
    """The file, packed or not; some copies of MNIST have a dot where the others have a hyphen."""
    for candidate in (name, name.replace("-idx", ".idx")):
        for file in (folder / candidate, folder / f"{candidate}.gz"):
            if file.is_file():
                return file
    raise DataError(
        f"The folder {str(folder)!r} has no file {name} or {name}.gz; {key} needs a folder that holds {WANTED}."
    )
