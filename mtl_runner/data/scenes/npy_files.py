"""Files ``0.npy``, ``1.npy``, ... of the MTAN papers: their kinds, and how one is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_runner.errors import DataError
from mtl_runner.tasks.kinds import MISSING_CLASS

UNKNOWN_BYTE = 255  # the unknown class in files of bytes


@dataclass(frozen=True)
class ArrayKind:
    """A kind of array that a dataset has one of for every image.

    Attributes:
        folders: Names of the folders that may hold it; the first that exists counts.
        size: Height and width in pixels.
        channels: Number of channels; 0: a class per pixel.
        classes: Number of classes, where there is a class per pixel.
        task: Name of the task whose target it is; empty: the image.
    """

    folders: tuple[str, ...]
    size: tuple[int, int]
    channels: int = 0
    classes: int = 0
    task: str = ""

    @property
    def name(self) -> str:
        """Name of the kind in files and sentences: the task's, or ``image``."""
        return self.task or "image"


def read_array(file: Path, kind: ArrayKind) -> np.ndarray:
    """Return the array of one file, with what is unknown marked.

    Args:
        file: The ``.npy`` file: ``[H, W, channels]``, or ``[H, W]`` or ``[H, W, 1]`` for one
            channel or a class per pixel.
        kind: What it must hold.

    Returns:
        Classes ``[H, W]``, ``MISSING_CLASS`` where unknown (negative, 255 or NaN in the file); an
        image ``[channels, H, W]`` (bytes are scaled to [0, 1]); or numbers ``[channels, H, W]``,
        NaN where unknown (all 0, or any NaN, in the file).

    Raises:
        DataError: If the file is no whole ``.npy`` file of numbers of the kind's shape and classes.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from mtl_runner.data.scenes.npy_files import ArrayKind, read_array
        >>> kind = ArrayKind(("label",), size=(1, 3), classes=7, task="segmentation")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "0.npy"), np.array([[6, -1, 255]]))
        ...     read_array(Path(folder, "0.npy"), kind).tolist()
        [[6, -100, -100]]
    """
    try:
        with file.open("rb") as stream:  # np.load would take archives, too
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(
            f"{str(file)!r} is not a whole .npy file ({error}); get it again."
        ) from None
    wanted = (*kind.size, kind.channels) if kind.channels else kind.size
    one_channel = array.shape == (*kind.size, 1) and kind.channels <= 1
    squeezed = array.reshape(kind.size) if one_channel else array
    if squeezed.shape != wanted and not (kind.channels == 1 and squeezed.shape == kind.size):
        raise DataError(
            f"{str(file)!r} has shape {array.shape}; it must have {wanted} (height, width{', channels' * bool(kind.channels)})."
        )
    if not np.issubdtype(array.dtype, np.number):
        raise DataError(f"{str(file)!r} holds {array.dtype}; it must hold numbers.")
    if not kind.channels:
        return _classes(squeezed, kind.classes, file)
    numbers = squeezed.reshape(*kind.size, kind.channels).transpose(2, 0, 1)
    if not kind.task:
        return np.asarray(numbers / 255 if array.dtype == np.uint8 else numbers)
    unknown = (numbers == 0).all(0) | np.isnan(numbers).any(0)
    return np.where(unknown, np.nan, numbers)


def _classes(array: np.ndarray, classes: int, file: Path) -> np.ndarray:
    labels = array.astype(np.float64)
    unknown = np.isnan(labels) | (labels < 0) | (labels == UNKNOWN_BYTE)
    labels = np.where(unknown, MISSING_CLASS, labels)
    if labels.max() >= classes or (labels != labels.round()).any():
        raise DataError(
            f"{str(file)!r} holds class {labels.max():g}; the classes are 0 to {classes - 1}, and -1 where unknown."
        )
    return np.asarray(labels, dtype=np.int64)
