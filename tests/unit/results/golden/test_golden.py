"""The comparison of a recorded sweep and study is what it was: numbers to 1e-9, texts exactly."""

from __future__ import annotations

import csv
import io

import pytest

from tests.unit.results.golden.make import COMMAND, FOLDER, RECORDED, tables_of

HINT = f"If the change is meant, run `{COMMAND}` and commit the files."


def cells(text: str) -> list[list[float | str]]:
    """Return the cells of a CSV table, numbers as numbers."""
    return [[_cell(cell) for cell in row] for row in csv.reader(io.StringIO(text))]


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("name", RECORDED)
def test_the_comparison_is_what_it_was(name: str) -> None:
    """Breaks if a number, a column, a sentence or the order of a comparison changes."""
    for file, content in tables_of(name).items():
        stored = (FOLDER / name / file).read_text(encoding="utf-8")
        if file.endswith(".txt"):
            assert content == stored, HINT
            continue
        now, before = cells(content), cells(stored)
        assert now[0] == before[0], HINT
        assert len(now) == len(before), HINT
        for row, stored_row in zip(now[1:], before[1:], strict=True):
            assert row == [
                pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
                for value in stored_row
            ], HINT
