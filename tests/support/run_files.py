"""Helpers that read run directories and compare them, for the tests of commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tests.support.commands import Result


def run_folders(sweep: Path) -> list[Path]:
    """Return the run directories of a sweep, sorted by name."""
    return sorted(path for path in sweep.iterdir() if path.is_dir())


def read_summary(run: Path) -> dict[str, Any]:
    """Return the summary.json of a run."""
    return dict(json.loads((run / "summary.json").read_text()))


def statuses(sweep: Path) -> list[str]:
    """Return the status of every run of a sweep, in order."""
    return [read_summary(run)["status"] for run in run_folders(sweep)]


def file_names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def reproducible_files(run: Path) -> tuple[bytes, dict[str, Any]]:
    """Return what must not depend on interruptions: metrics.csv, and summary.json without times."""
    summary = read_summary(run)
    summary.pop("time")
    return (run / "metrics.csv").read_bytes(), summary


def assert_same_numbers(table: Path, expected: Path, tolerance: float, small: float = 0.1) -> None:
    """Assert that two CSV files have the same rows, up to rounding.

    Args:
        table: A CSV file.
        expected: The file to compare it with.
        tolerance: The relative tolerance.
        small: Numbers below this have the tolerance of this number, since R2 is a difference.
    """
    pd.testing.assert_frame_equal(
        pd.read_csv(table),
        pd.read_csv(expected),
        rtol=tolerance,
        atol=tolerance * small,
        check_exact=False,
    )


def assert_one_sentence(result: Result) -> None:
    """Assert that a command failed without a traceback."""
    assert result.code == 1, result.out + result.err
    assert "Traceback" not in result.out + result.err
