"""The image files of a folder as a table: with labels from a file, or from the folders' names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.data.dataset import SPLITS
from mtl_runner.data.image_folder.reader import in_threads
from mtl_runner.data.table.files import read_table
from mtl_runner.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from mtl_runner.data.image_folder.reader import ImageReader

log = logging.getLogger("mtl_runner")

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FILE, LABEL, SPLIT = "file", "label", "split"
NAMED = 3  # files that a sentence names


def list_images(
    path: str | None, labels: str | None, column: str, read: Mapping[str, Any] | None = None
) -> tuple[Path, pd.DataFrame]:
    """Return the folder, and a table with one row per image.

    Args:
        path: ``data.path``, the folder.
        labels: ``data.labels``, a table in the working directory or in the folder; None: the class
            of an image is the name of its folder.
        column: ``data.files``, the column of the table that names the files.
        read: ``data.read``: how a text file is read.

    Returns:
        The table has the column ``file`` (below the folder), and those of the labels. Without a
        table these are ``label``, and ``split`` where the folders of classes lie in ``train``,
        ``val`` and ``test``.

    Raises:
        ConfigError: If an option is missing.
        DataError: If there is no such folder or file, or it has no images.
    """
    if path is None:
        raise ConfigError("data=image_folder needs data.path, the folder of the images.")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"data.path={path!r} is not a folder (looked in {folder.absolute().parent}); set it to the folder of the images."
        )
    return folder, (
        _by_folder(folder) if labels is None else read_labels(labels, folder, column, read)
    )


def read_labels(
    labels: str, folder: Path, column: str, read: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Return the rows of a table of labels, with the name of each image in the column ``file``.

    Args:
        labels: The table, in the working directory or in the folder.
        folder: The folder of the images.
        column: The column that names the files.
        read: How a text file is read.

    Raises:
        ConfigError: If there is no such column.
        DataError: If the table cannot be read, or a row names no file.
    """
    table = Path(labels).expanduser()
    frame = read_table(str(table if table.is_file() else folder / labels), read)
    if column not in frame.columns:
        raise ConfigError(
            f"The table {labels!r} has no column {column!r} that names the image files; {suggest(column, frame.columns)}, and set data.files to it."
        )
    without = frame[column].isna()
    if without.any():
        raise DataError(
            f"The table {labels!r} names no file in row {int(without.to_numpy().argmax()) + 1}, column {column!r}; fill it, or remove the row."
        )
    if column != FILE:
        frame = frame.drop(columns=[FILE], errors="ignore").rename(columns={column: FILE})
    frame[FILE] = frame[FILE].astype(str)
    return frame


def _by_folder(folder: Path) -> pd.DataFrame:
    import pandas as pd

    files = sorted(
        file.relative_to(folder)
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file()
    )
    if not files:
        raise DataError(
            f"data.path={str(folder)!r} holds no images ({', '.join(SUFFIXES[:3])}, ...); set it to their folder."
        )
    tops = {file.parts[0] for file in files}
    if tops == set(SPLITS) and all(len(file.parts) > 2 for file in files):
        return pd.DataFrame(
            {
                FILE: [file.as_posix() for file in files],
                LABEL: [file.parts[1] for file in files],
                SPLIT: [file.parts[0] for file in files],
            }
        )
    # Images that lie in the folder itself have no label, but may have masks.
    return pd.DataFrame(
        {
            FILE: [file.as_posix() for file in files],
            LABEL: [file.parts[0] if len(file.parts) > 1 else None for file in files],
        }
    )


def without_broken(
    frames: Mapping[str, pd.DataFrame], folder: Path, reader: ImageReader
) -> dict[str, pd.DataFrame]:
    """Return the rows whose files can be decoded; tell how many cannot, and name the first.

    Args:
        frames: The images of each split.
        folder: Their folder.
        reader: Decodes them.

    Raises:
        DataError: If a split has none that can be decoded.
    """

    def is_readable(file: str) -> bool:
        try:
            reader.decode(str(folder / file))
        except DataError:
            return False
        return True

    kept, broken = {}, []
    for split, frame in frames.items():
        readable = in_threads(is_readable, frame[FILE].tolist())
        broken += [file for file, good in zip(frame[FILE], readable, strict=True) if not good]
        if len(frame) and not any(readable):
            raise DataError(
                f"None of the {len(frame)} image files of the {split} split can be decoded; the first is {frame[FILE].iloc[0]!r} in {str(folder)!r}."
            )
        kept[split] = frame[readable]
    if broken:
        log.warning(
            "%d of %d image files cannot be decoded and were left out: %s.",
            len(broken),
            sum(map(len, frames.values())),
            ", ".join(broken[:NAMED]) + (", ..." if len(broken) > NAMED else ""),
        )
    return kept


def check_files(frames: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Raise ``DataError`` if a file does not exist; the sentence names the first and the number.

    Args:
        frames: The images of each split.
        folder: Their folder.
    """
    files = [file for frame in frames.values() for file in frame[FILE]]
    missing = sorted(file for file in files if not (folder / file).is_file())
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} image files do not exist, the first of them {missing[0]!r} in {str(folder)!r}; set data.path to the folder that the names start from, or leave such rows out with data.on_error=skip."
        )
