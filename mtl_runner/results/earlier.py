"""An earlier comparison in the output folder: kept, unless the new one holds all its runs."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from mtl_runner.files import read_regular

TABLES = ("runs.csv", "comparison.csv", "differences.csv", "factors.csv", "verdicts.csv")
FILES = (*TABLES, "report.html", "comparison.png", "figures")  # what a comparison leaves
MOST_BYTES = 1 << 28


def keep_earlier(output: Path, runs: Iterable[Path]) -> Path | None:
    """Move an earlier comparison of other runs out of the way, and return where it is now.

    Its files are moved into the folder ``<output>.previous`` (then ``<output>.previous-2``, ...)
    beside the output folder, so that the report's links to the runs still hold. A comparison whose
    runs are all among the new ones is made again in its place: nothing of it is lost.

    Args:
        output: The folder that the new comparison is written into.
        runs: The directories of its runs.

    Returns:
        The folder of the earlier comparison; None if there is nothing to keep.
    """
    earlier = _runs_of(output)
    if earlier is None:
        return None
    new = {run.resolve() for run in runs}
    # A run inside the output folder is recorded relative to it, another one as it was typed.
    if all({(output / run).resolve(), Path(run).resolve()} & new for run in earlier):
        return None
    folder = _free_folder(output.resolve())
    folder.mkdir()
    for name in FILES:
        if (output / name).exists():
            (output / name).rename(folder / name)
    return folder


def _runs_of(output: Path) -> list[str] | None:
    """Return the runs of the comparison in a folder; None if there is none."""
    try:
        text = read_regular(output / "runs.csv", MOST_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return None
    return [row.get("run") or "" for row in csv.DictReader(text.splitlines())]


def _free_folder(output: Path) -> Path:
    names = (f"{output.name}.previous{'' if n == 1 else f'-{n}'}" for n in count(1))
    return next(path for name in names if not (path := output.with_name(name)).exists())
