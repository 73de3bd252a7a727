"""Tables of the benchmark: Markdown on the terminal, plain numbers in the CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.scripts.script_modules import load_script


def test_a_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if the site's tables, which are made from the CSV files, hold text for numbers."""
    table = load_script("benchmark/tables.py").Table(
        ["`data`", "rows", "to plain"], tmp_path / "new" / "t.csv", "python scripts/benchmark"
    )
    table.row(["`digits`", "12,345", "0.91x"])
    table.row(["toy", "-", "2.00x"])
    assert capsys.readouterr().out.splitlines() == [
        "| `data` | rows | to plain |",
        "|---|---|---|",
        "| `digits` | 12,345 | 0.91x |",
        "| toy | - | 2.00x |",
    ]
    assert (tmp_path / "new" / "t.csv").read_text().splitlines() == [
        "# python scripts/benchmark",
        "data,rows,to plain",
        "digits,12345,0.91",
        "toy,,2.00",
    ]
