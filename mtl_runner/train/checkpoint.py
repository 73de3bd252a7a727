"""Checkpoints: one file holds the whole state of a run; the save before is kept until the next.

Files are loaded with ``weights_only=True``, so reading one runs no code, and the checksums in
their archive are compared first, which torch does not do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import torch

from mtl_runner.config.kept_files import SHARDS
from mtl_runner.errors import RunDirectoryError
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.files import atomic_file, make_way, open_regular
from mtl_runner.train import sharded_state
from mtl_runner.train.position import START, Position

log = logging.getLogger("mtl_runner")

# Files of an older format are read; the first one had no number.
FORMAT = 1
# In this order files are loaded; they are written in the other, since the checkpoint comes last.
FILES = ("checkpoint.pt", "best.pt")
PREVIOUS = ".previous"
# A file in PREVIOUS while other runs of a stack may not have saved yet.
STACK_IS_SAVING = "stack_is_saving"


class State(dict[str, Any]):
    """The content of a checkpoint, which names its file where something is missing.

    Args:
        content: The content.
        path: The file.
    """

    def __init__(self, content: dict[str, Any], path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise RunDirectoryError(
            f"{str(self.path)!r} has no {key!r}, which a checkpoint of this version needs; run again with mtl-run repeat={self.path.parent}."
        )


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state to a file, all of it or nothing.

    It goes straight into the file, through no copy of it in memory. A thread that writes a copy
    while the training goes on was measured: it needs more CPU time, and saves hardly any.

    Args:
        path: The file.
        state: Tensors, numbers, texts, and lists and dictionaries of them.

    Raises:
        OSError: If it cannot be written, e.g. since the disk is full; then the old file stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "checkpoint.pt"
        ...     save(path, {"epoch": 3})
        ...     load(path)
        {'epoch': 3}
    """
    with atomic_file(path) as file:
        pieces = _Pieces(file)
        try:
            torch.save({**state, "format": FORMAT}, cast("IO[bytes]", pieces))
        finally:
            pieces.raise_error()


def load(path: Path, device: torch.device | str = "cpu") -> State:
    """Return the state in a file that :func:`save` wrote.

    Args:
        path: The file.
        device: Device for its tensors.

    Raises:
        RunDirectoryError: If there is no such file, it is not a checkpoint, it is damaged, or a
            newer version wrote it.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            if not _is_whole(file):
                raise ValueError("a checksum differs")
            file.seek(0)
            content = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise RunDirectoryError(f"There is no {path.name} in {str(path.parent)!r}.") from None
    except Exception as error:
        if out_of_memory(error):
            raise
        content = error
    if not isinstance(content, dict):
        raise RunDirectoryError(
            f"{str(path)!r} cannot be read as a checkpoint; run again with mtl-run repeat={path.parent}."
        ) from (content if isinstance(content, Exception) else None)
    version = content.pop("format", 0)
    if not (isinstance(version, int) and version <= FORMAT):
        raise RunDirectoryError(
            f"{str(path)!r} cannot be used: it was written by a newer mtl-runner (format {version}; this one reads up to {FORMAT}); update mtl-runner to read it."
        )
    return State(content, path)


def keep_previous(directory: Path, best_changes: bool = True, in_stack: bool = False) -> None:
    """Keep checkpoint and best model of a run in ``.previous`` before new ones are written.

    Args:
        directory: Directory of the run.
        best_changes: Whether ``best.pt`` is written now, too.
        in_stack: Whether other runs save at the same time: until :func:`all_have_saved` this one
            can go back, also to its start.
    """
    folder = directory / PREVIOUS
    checkpoint, best = (directory / name for name in FILES)
    if not (in_stack or checkpoint.exists()):
        return
    if _previous(directory) is None:
        # Something else lies there, as a link that would lead elsewhere.
        folder.unlink(missing_ok=True)
        folder.mkdir()
    if best.is_file():
        # A file that stays is copied: under two names it would be damaged at once.
        _keep(best, folder / best.name, link=best_changes)
    if checkpoint.exists():
        _keep(checkpoint, folder / checkpoint.name, link=True)
    else:
        save(folder / checkpoint.name, {"epoch": 0})
    if in_stack:
        make_way(folder / STACK_IS_SAVING)
        (folder / STACK_IS_SAVING).touch()
    else:
        (folder / STACK_IS_SAVING).unlink(missing_ok=True)


def all_have_saved(directory: Path) -> None:
    """Record that all runs of a stack have saved, so that this one need not go back any more."""
    folder = _previous(directory)
    if folder is not None:
        (folder / STACK_IS_SAVING).unlink(missing_ok=True)


def delete_previous(directory: Path) -> None:
    """Delete what :func:`keep_previous` keeps."""
    # The mark goes first: it says that there is something to go back to.
    all_have_saved(directory)
    shutil.rmtree(directory / PREVIOUS, ignore_errors=True)


def keep_only(directory: Path, names: Sequence[str]) -> None:
    """Delete the files of the last save, except some, of a run that needs them no more.

    Args:
        directory: Directory of a run that has finished.
        names: The files that stay.
    """
    for name in FILES:
        if name not in names:
            # A finished run has its results, whatever a file system makes of this.
            with contextlib.suppress(OSError):
                (directory / name).unlink()
    if FILES[0] not in names:
        sharded_state.keep_folders(directory, set())


def saved_positions(directory: Path) -> list[Position]:
    """Return the positions from which a run can go on.

    Returns:
        That of the checkpoint, the start if there is none; then that of the previous one, if the
        runs of a stack were killed while they saved.

    Raises:
        RunDirectoryError: If a checkpoint cannot be read.
    """
    path, folder = directory / FILES[0], _previous(directory)
    positions = [Position.of_state(load(path)) if path.exists() else START]
    if positions[0] == START or folder is None or not (folder / STACK_IS_SAVING).exists():
        return positions
    previous = folder / FILES[0]
    return [*positions, Position.of_state(load(previous))] if previous.exists() else positions


def restore_previous(directory: Path) -> None:
    """Replace checkpoint and best model by the ones that :func:`keep_previous` kept."""
    folder = directory / PREVIOUS
    if Position.of_state(load(folder / FILES[0])) != START:
        # The checkpoint comes last: it says to which epoch the other file belongs.
        for name in reversed(FILES):
            if (folder / name).exists():
                _keep(folder / name, directory / name, link=True)
    else:
        for name in FILES:
            (directory / name).unlink(missing_ok=True)
    delete_previous(directory)


def is_damaged(directory: Path) -> bool:
    """Return whether a file of a run's last save is not what was written."""
    return bool(_damaged_files(directory))


def go_back_if_damaged(directory: Path) -> None:
    """Go back to the save before if a file of the last one is damaged, and say so.

    Nothing is touched if the save before is damaged, too, or there is none.

    Args:
        directory: Directory of the run.
    """
    folder, damaged = _previous(directory), _damaged_files(directory)
    if not damaged or folder is None or not (folder / FILES[0]).exists() or _damaged_files(folder):
        return
    position = Position.of_state(load(folder / FILES[0]))
    restore_previous(directory)
    log.warning(
        "%s was damaged; going on from the save before, %s.",
        " and ".join(damaged),
        "which is the start" if position == START else f"after {position}",
    )


@contextlib.contextmanager
def must_fit(path: Path) -> Iterator[None]:
    """Name the file when its state does not fit the run that takes it up.

    Args:
        path: The file.

    Raises:
        RunDirectoryError: If something raises an error of Python or of torch in the context.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
        raise RunDirectoryError(
            f"{str(path)!r} does not fit this run ({reason}); run again with mtl-run repeat={path.parent}."
        ) from error


def _previous(directory: Path) -> Path | None:
    """Return the folder of the save before, if there is one; a link to a folder is none."""
    folder = directory / PREVIOUS
    return folder if folder.is_dir() and not folder.is_symlink() else None


def _damaged_files(directory: Path) -> list[str]:
    """Return the names of the files of a save that are there and are not what was written."""
    damaged = []
    for name in FILES:
        if (directory / name).exists():
            try:
                with os.fdopen(open_regular(directory / name), "rb") as file:
                    is_whole = _is_whole(file)
            except OSError:
                is_whole = False
            if not is_whole:
                damaged.append(name)
    run = directory.parent if directory.name == PREVIOUS else directory
    path = directory / FILES[0]
    if not damaged and path.exists() and (run / SHARDS).is_dir():
        damaged = [] if sharded_state.are_whole(load(path), run) else [SHARDS]
    return damaged


class _Pieces:
    """A file that takes the pieces of an archive and keeps the first error for later.

    torch writes them from C++, in which an error would end as one of its own, without the reason.

    Args:
        file: The file to write.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: BaseException | None = None

    def write(self, data: memoryview) -> int:
        """Write a piece, unless an earlier one could not be written."""
        if self.error is None:
            try:
                self.file.write(data)
            except BaseException as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed before it is synced."""

    def raise_error(self) -> None:
        """Raise the error of the first piece that could not be written, if any."""
        if self.error is not None:
            raise self.error


def _is_whole(file: Any) -> bool:
    """Return whether every part of an archive has the checksum that was written with it."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    # A damaged header can look like an archive that is encrypted, compressed or of another version.
    except Exception as error:
        if out_of_memory(error):
            raise
        return False


def _keep(source: Path, target: Path, link: bool) -> None:
    """Give a file a second name, or a copy where that is not possible or not wanted.

    Args:
        source: The file.
        target: The other name; an existing file is replaced.
        link: Whether both names may be the same file on the disk.
    """
    if target.exists() and not target.is_symlink():
        if source.samefile(target):
            if link:
                return
        elif not link and _looks_equal(source, target):
            return
    temporary = target.with_name(f".{target.name}.kept")
    temporary.unlink(missing_ok=True)
    try:
        if not link:
            raise OSError("a copy is wanted")
        os.link(source, temporary)
    except OSError:
        # Not every file system has links. The date tells an equal copy later.
        shutil.copy2(source, temporary)
    temporary.replace(target)


def _looks_equal(source: Path, target: Path) -> bool:
    """Return whether a file is the copy of another, by size and date."""
    a, b = source.stat(), target.stat()
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)
