"""``mtl-run --prune``: remove the checkpoints of finished runs, after asking."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_runner.config.kept_files import KEPT_FILES, SHARDS
from mtl_runner.errors import ConfigError, MtlError
from mtl_runner.errors.command_line import CommandParser
from mtl_runner.files import write_json
from mtl_runner.results.disk import files_below, in_units
from mtl_runner.results.records.run import Run, find_runs
from mtl_runner.runs.lock import locked
from mtl_runner.runs.records import CONFIG, kept_files, read_result

PRUNE = "--prune"
NAMED = 5  # so many runs that stay are named
# What is lost with each file, and what still works.
LOSSES = {
    (
        "checkpoint.pt",
        SHARDS,
    ): "afterwards they cannot be trained on (resume=<run> trainer.epochs=...)",
    (
        "best.pt",
    ): "afterwards their models are gone (mtl_runner.load, mtl-predict, mtl-export); mtl-run repeat=<run> trains one again",
}


@dataclass(frozen=True)
class Removal:
    """The files of a finished run that go.

    Attributes:
        directory: The run directory.
        names: Names of the files, and ``shards`` for the folder that goes with ``checkpoint.pt``.
        size: Their size in bytes.
    """

    directory: Path
    names: tuple[str, ...]
    size: int


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, tell what would go, ask, and remove it; return the exit status.

    Raises:
        MtlError: If a path holds no run, or nobody can be asked.
    """
    parser = CommandParser(
        prog="mtl-run",
        description="Remove the checkpoints of finished runs, after asking. Other runs, and whatever a link leads to, stay as they are.",
    )
    parser.add_argument(
        PRUNE,
        nargs="+",
        type=Path,
        required=True,
        metavar="RUN_OR_SWEEP",
        help="run directories, sweeps, or folders that hold some",
    )
    parser.add_argument(
        "--keep",
        choices=("best", "last", "none"),
        default="best",
        help="what stays, in the words of record.checkpoints: best.pt (the default), checkpoint.pt, or neither",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    runs = find_runs(options.prune)
    keep = KEPT_FILES[options.keep]
    removals = [removal for run in runs if (removal := removal_of(run, keep)) is not None]
    unfinished = [run for run in runs if not run.finished]
    if unfinished:
        named = ", ".join(run.name for run in unfinished[:NAMED])
        dots = ", ..." if len(unfinished) > NAMED else ""
        words = (
            "1 run has not finished and stays as it is"
            if len(unfinished) == 1
            else f"{len(unfinished)} runs have not finished and stay as they are"
        )
        print(f"{words}: {named}{dots}.")
    if not removals:
        print("There is nothing to remove.")
        return 0
    print(plan(removals))
    if not options.yes and not _is_confirmed():
        print("Nothing was removed.")
        return 0
    return remove(removals, keep)


def removal_of(run: Run, keep: Sequence[str]) -> Removal | None:
    """Return which files of a run can go; None if none.

    Args:
        run: The run.
        keep: Names of the checkpoints that stay.
    """
    directory = run.directory
    # Without a config of ours a folder is no run, whatever summary.json says.
    if not run.finished or directory.is_symlink() or not (directory / CONFIG).is_file():
        return None
    sizes = {name: _size(directory / name) for name in KEPT_FILES["both"] if name not in keep}
    shards = directory / SHARDS
    # They are of no use without checkpoint.pt, which may have gone before.
    if "checkpoint.pt" in sizes:
        stays = sizes["checkpoint.pt"] is None and os.path.lexists(directory / "checkpoint.pt")
        sizes[SHARDS] = None if stays else _size(shards)
    known = {name: size for name, size in sizes.items() if size is not None}
    return Removal(directory, tuple(known), sum(known.values())) if known else None


def plan(removals: Sequence[Removal]) -> str:
    """Return in words what will be removed, and what that means.

    Args:
        removals: The files of each run.

    Example:
        >>> print(plan([Removal(Path("run"), ("checkpoint.pt",), 2_000_000)]))
        checkpoint.pt of 1 finished run, 2 MB: afterwards they cannot be trained on (resume=<run>
        trainer.epochs=...).
    """
    lines = []
    for names, loss in LOSSES.items():
        holding = [removal for removal in removals if set(names) & set(removal.names)]
        going = [name for name in names if any(name in removal.names for removal in holding)]
        if holding:
            lines.append((" and ".join(going), len(holding), loss))
    size = in_units(sum(removal.size for removal in removals))
    texts = [
        f"{name} of {count} finished run{'s' * (count != 1)}{f', {size}' if len(lines) == 1 else ''}: {loss}."
        for name, count, loss in lines
    ]
    return "\n".join(texts if len(lines) == 1 else [*texts, f"Together {size}."])


def remove(removals: Sequence[Removal], keep: Sequence[str]) -> int:
    """Remove the files, run by run, and print how much space that gave; return the exit status.

    A run that another process has taken up in between stays as it is.

    Args:
        removals: The files of each run.
        keep: Names of the checkpoints that stay.
    """
    freed, failed = 0, 0
    for removal in removals:
        try:
            freed += _remove(removal, keep)
        except (MtlError, OSError) as error:
            failed += 1
            reason = error.strerror if isinstance(error, OSError) else error
            print(f"{removal.directory}: {reason}", file=sys.stderr)
    print(
        f"Removed {in_units(freed)} of {len(removals) - failed} run{'s' * (len(removals) - failed != 1)}."
    )
    return 1 if failed else 0


def _remove(removal: Removal, keep: Sequence[str]) -> int:
    """Remove the files of one run; return their size."""
    with locked(removal.directory):
        summary = read_result(removal.directory)
        if summary is None:
            raise ConfigError("It is not finished any more, and stays as it is.")
        left = tuple(name for name in kept_files(summary) if name in keep)
        words = next(word for word, names in KEPT_FILES.items() if set(names) == set(left))
        # The summary comes first: who looks for the files then learns why they are not there.
        write_json(removal.directory / "summary.json", {**summary, "checkpoints": words})
        freed = 0
        for name in removal.names:
            path = removal.directory / name
            size = _size(path)
            if size is not None:
                # It follows no link inside the folder.
                shutil.rmtree(path) if name == SHARDS else path.unlink()
                freed += size
        return freed


def _size(path: Path) -> int | None:
    """Return the size of a file, or of the folder ``shards``; None of anything else, and of links.

    Args:
        path: A name of ``Removal.names`` in a run directory.
    """
    with contextlib.suppress(OSError):
        status = path.lstat()
        if path.name == SHARDS:
            is_folder = stat.S_ISDIR(status.st_mode)
            return sum(file.size for file in files_below([path])) if is_folder else None
        if stat.S_ISREG(status.st_mode):
            return status.st_size
    return None


def _is_confirmed() -> bool:
    try:
        return input("Remove them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise ConfigError(
            "Nothing was removed, since nobody answered; add --yes to remove without asking."
        ) from None
