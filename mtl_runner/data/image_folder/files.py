"""The image files of a folder as a table: with labels from a file, or from the folders' names."""

from __future__ import annotations

import difflib
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
    labels: str,
    folder: Path,
    column: str,
    read: Mapping[str, Any] | None,
    key: str = "data.labels",
) -> pd.DataFrame:
    """Return the rows of a table of labels, with the name of each image in the column ``file``.

    Args:
        labels: The table, in the working directory or in the folder.
        folder: The folder of the images.
        column: The column that names the files.
        read: How a text file is read.
        key: The option that names the table.

    Raises:
        ConfigError: If there is no such column.
        DataError: If there is no such table, it cannot be read, or a row names no file.
    """
    places = [Path(labels).expanduser().absolute(), folder.absolute() / Path(labels).expanduser()]
    table = next((place for place in places if place.is_file()), None)
    if table is None:
        looked_in = list(dict.fromkeys(place.parent for place in places))
        files = {f.name for place in looked_in for f in _files_in(place)}
        near = difflib.get_close_matches(places[0].name, sorted(files), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"set {key} to a table of labels."
        raise DataError(
            f"There is no file {labels!r}, which {key} names (looked in {' and '.join(map(str, looked_in))}); {hint}"
        )
    frame = read_table(str(table), read)
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


def _files_in(folder: Path) -> list[Path]:
    try:
        return [file for file in folder.iterdir() if file.is_file()]
    except OSError:
        return []


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
        DataError: If most files do not exist, or a split has none that can be decoded.
    """
    count = sum(map(len, frames.values()))
    missing = _missing_files(frames, folder)
    if 2 * len(missing) > count:
        raise DataError(
            f"{len(missing)} of {count} image files do not exist, the first of them {missing[0]!r} in {str(folder)!r}, which are too many for data.on_error=skip; most likely data.path is not the folder that the names start from, or the names in the labels are wrong."
        )

    def is_readable(file: str) -> bool:
        try:
            reader.decode(str(folder / file))
        except DataError:
            return False
        return True

    kept, broken = {}, []
    for split, frame in frames.items():
        existing = frame[~frame[FILE].isin(missing)]
        readable = in_threads(is_readable, existing[FILE].tolist())
        broken += [file for file, good in zip(existing[FILE], readable, strict=True) if not good]
        if len(frame) and not any(readable):
            raise DataError(
                f"None of the {len(frame)} image files of the {split} split exists and can be decoded; the first is {frame[FILE].iloc[0]!r} in {str(folder)!r}."
            )
        kept[split] = existing[readable]
    for files, reason in ((missing, "do not exist"), (broken, "cannot be decoded")):
        if files:
            named = ", ".join(files[:NAMED]) + (", ..." if len(files) > NAMED else "")
            log.warning(
                "%d of %d image files %s and were left out: %s.", len(files), count, reason, named
            )
    return kept


def check_files(frames: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Raise ``DataError`` if a file does not exist; the sentence names the first and the number.

    Args:
        frames: The images of each split.
        folder: Their folder.
    """
    missing = _missing_files(frames, folder)
    if missing:
        count = sum(map(len, frames.values()))
        raise DataError(
            f"{len(missing)} of {count} image files do not exist, the first of them {missing[0]!r} in {str(folder)!r}; set data.path to the folder that the names start from, or leave such rows out with data.on_error=skip."
        )


def _missing_files(frames: Mapping[str, pd.DataFrame], folder: Path) -> list[str]:
    """Return the names that belong to no file, in the order of the alphabet."""
    files = (str(file) for frame in frames.values() for file in frame[FILE])
    return sorted(file for file in files if not (folder / file).is_file())
