"""IDX files, the format of MNIST and its successors: a header, then bytes; plain or .gz."""

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
    """Grey images and their classes.

    Attributes:
        images: Grey levels ``[N, H, W]`` from 0 to 255, bytes.
        labels: Class indices ``[N]``.

    Example:
        >>> import torch
        >>> from mtl_runner.data.images.idx import LabelledImages
        >>> images = LabelledImages(torch.zeros(3, 28, 20), torch.tensor([4, 5, 6]))
        >>> len(images), images.size, images.rows(torch.tensor([2, 0])).labels
        (3, '28x20', tensor([6, 4]))
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> str:
        """Height and width of an image as ``"28x28"``."""
        return "x".join(str(side) for side in self.images.shape[1:])

    def rows(self, index: Tensor) -> LabelledImages:
        """Return some of the images, in the order of the index."""
        return LabelledImages(self.images[index], self.labels[index])


def read_idx_folder(path: str, key: str = "data.path") -> dict[str, LabelledImages]:
    """Return the parts ``train`` and ``t10k`` of a folder with the four files of MNIST's format.

    Args:
        path: The folder.
        key: The option that named it, for the errors.

    Raises:
        DataError: If the folder or a file is missing, the files do not belong together, or one is
            wrong (see :func:`read_idx`).
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise DataError(
            f"The folder {path!r} {state} (looked in {folder.absolute().parent}); set {key} to the folder that holds {WANTED}."
        )
    parts = {}
    for part in ("train", "t10k"):
        images = read_idx(_existing_file(folder, f"{part}-images-idx3-ubyte", key), 3)
        labels = read_idx(_existing_file(folder, f"{part}-labels-idx1-ubyte", key), 1)
        if len(images) != len(labels):
            raise DataError(
                f"The folder {path!r} has {len(images)} {part} images, but {len(labels)} {part} labels; it needs one label per image."
            )
        parts[part] = LabelledImages(images, labels.long())
    train_size, t10k_size = parts["train"].size, parts["t10k"].size
    if train_size != t10k_size:
        raise DataError(
            f"The folder {path!r} has train images of {train_size} pixels and t10k images of {t10k_size}; all must have one size."
        )
    return parts


def read_idx(file: Path, dimensions: int) -> Tensor:
    """Return the bytes of an IDX file as a tensor.

    The header is 00 00, the type of the numbers (08: unsigned bytes), the number of dimensions, and
    each dimension as four bytes, the highest first (http://yann.lecun.com/exdb/mnist, "The IDX file
    format").

    Args:
        file: The file, plain or packed by gzip.
        dimensions: How many dimensions it must have, 3 for images ``[N, H, W]``, 1 for labels.

    Raises:
        DataError: If the file is no IDX file of unsigned bytes, has another number of dimensions,
            is cut off or longer than it says, or is empty.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data.images.idx import read_idx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "labels")
        ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 9]))
        ...     read_idx(file, dimensions=1)
        tensor([7, 2, 9], dtype=torch.uint8)
    """
    content = _unpacked(file)
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        kind = "images" if dimensions == 3 else "labels"
        beginning = content[:4].hex(" ") or "nothing"
        raise DataError(
            f"The file {str(file)!r} is no IDX file of {kind}: it begins with {beginning}, and should with {magic.hex(' ')}."
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


def _existing_file(folder: Path, name: str, key: str) -> Path:
    """Return the file, packed or not; some copies of MNIST have a dot for a hyphen in its name."""
    for candidate in (name, name.replace("-idx", ".idx")):
        for file in (folder / candidate, folder / f"{candidate}.gz"):
            if file.is_file():
                return file
    raise DataError(
        f"The folder {str(folder)!r} has no file {name} or {name}.gz; {key} needs a folder that holds {WANTED}."
    )
