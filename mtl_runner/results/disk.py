"""How much of the disk the files of runs and sweeps take, by what they are for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.run import find_runs
from mtl_runner.results.text import align, printable

LARGEST = 5  # so many files are named
CHECKPOINT, BEST, SHARDS = "checkpoint.pt", "best.pt", "shards"
SHARDED = "sharded tensors of checkpoints (shards/)"
OTHER = "other files"
PICTURES = (".png", ".pdf", ".svg")
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class File:
    """A regular file below a folder.

    Attributes:
        path: Where it lies.
        size: Its size in bytes.
        purpose: What it is for.
    """

    path: Path
    size: int
    purpose: str


def disk_text(paths: Sequence[Path]) -> str:
    """Return what the files at and below some folders take, as text for a terminal.

    Links are not followed, and a file with several names counts once.

    Args:
        paths: Run directories, sweeps, or folders that hold some.

    Raises:
        RunDirectoryError: If a path does not exist or holds no run.
    """
    runs = find_runs(paths)
    files = list(files_below(paths))
    sizes: dict[str, list[int]] = {}
    for file in files:
        sizes.setdefault(file.purpose, []).append(file.size)
    total = sum(file.size for file in files)
    rows = [["what", "files", "size", "share"]]
    for purpose, listed in sorted(sizes.items(), key=lambda item: -sum(item[1])):
        share = 100 * sum(listed) / total if total else 0
        rows.append([purpose, str(len(listed)), in_units(sum(listed)), f"{share:.0f} %"])
    lines = [
        f"{_count(len(runs), 'run')}, {_count(len(files), 'file')}, {in_units(total)}",
        align(rows),
        "largest:",
        *(
            f"  {in_units(file.size):>8}  {printable(str(file.path))}"
            for file in sorted(files, key=lambda file: -file.size)[:LARGEST]
        ),
    ]
    finished = {run.directory.resolve() for run in runs if run.finished}
    spare = [file for file in files if _run_of_checkpoint(file) in finished]
    if spare:
        folders = " ".join(map(str, paths))
        lines.append(
            f"{in_units(sum(f.size for f in spare))} of it are checkpoints of finished runs, which nothing but longer training needs: mtl-run --prune {folders} removes them."
        )
    return "\n".join(lines)


def files_below(paths: Sequence[Path]) -> Iterator[File]:
    """Yield the regular files at and below some folders, each once.

    Args:
        paths: The folders.

    Raises:
        RunDirectoryError: If a folder does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "best.pt").write_bytes(b"1234")
        ...     [(file.size, file.purpose) for file in files_below([Path(folder)])]
        [(4, 'best models (best.pt)')]
    """
    seen = set()
    for top in paths:
        if not top.is_dir():
            raise RunDirectoryError(f"There is no directory {str(top)!r}.")
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except OSError:
                    continue
                identity = (status.st_dev, status.st_ino)
                if stat.S_ISREG(status.st_mode) and identity not in seen:
                    seen.add(identity)
                    yield File(path, status.st_size, purpose_of(path.relative_to(top)))


def _run_of_checkpoint(file: File) -> Path | None:
    """Return the run directory of a file of a checkpoint; None of any other file."""
    if file.purpose == SHARDED:
        return file.path.parents[2].resolve()
    return file.path.parent.resolve() if file.path.name == CHECKPOINT else None


def purpose_of(path: PurePath) -> str:
    """Return what a file of a run or a sweep is for.

    Args:
        path: The file, below the folder.

    Example:
        >>> purpose_of(PurePath("0/checkpoint.pt")), purpose_of(PurePath("0/notes.txt"))
        ('checkpoints (checkpoint.pt)', 'other files')
    """
    if "export" in path.parts[:-1]:
        return "exported models (export/)"
    if ".previous" in path.parts[:-1]:
        return "saves of unfinished runs (.previous/)"
    if ".hydra" in path.parts[:-1]:
        return "configs and records"
    purposes = {CHECKPOINT: "checkpoints (checkpoint.pt)", BEST: "best models (best.pt)"}
    if path.parts[-3:-2] == (SHARDS,) and (path.suffix == ".distcp" or path.name == ".metadata"):
        return SHARDED
    if path.name in purposes:
        return purposes[path.name]
    if path.suffix in PICTURES:
        return "pictures"
    by_suffix = {
        ".safetensors": "weights (.safetensors)",
        ".csv": "tables (.csv)",
        ".html": "reports (.html)",
        ".log": "logs",
        ".json": "configs and records",
        ".yaml": "configs and records",
    }
    return by_suffix.get(path.suffix, OTHER)


def in_units(size: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> in_units(999), in_units(1_500_000)
        ('999 B', '1.5 MB')
    """
    unit = 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 or size >= 99.5 else f"{size:.2g} {UNITS[unit]}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"
