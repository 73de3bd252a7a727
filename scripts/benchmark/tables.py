"""Tables of measurements: printed as Markdown row by row, and written as CSV if wanted."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path


class Table:
    """A table that grows while it is measured.

    Args:
        columns: The names of the columns.
        file: The CSV file to write; None: only print.
        command: The command that makes the table, for the file's first line.
        alignment: The second line of the Markdown table; None: all columns to the left.

    Example:
        >>> Table(["data", "ms"], None, "").row(["`digits`", "0.5"])
        | data | ms |
        |---|---|
        | `digits` | 0.5 |
    """

    def __init__(
        self,
        columns: Sequence[str],
        file: Path | None,
        command: str,
        alignment: str | None = None,
    ) -> None:
        self.columns, self.file = list(columns), file
        self.heading = f"| {' | '.join(columns)} |\n{alignment or '|' + '---|' * len(columns)}"
        self.is_empty = True
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"# {command}\n")
            self._write([column.strip("`=") for column in columns])

    def row(self, cells: Sequence[str]) -> None:
        """Print a row, and add it to the file."""
        if self.is_empty:
            print(self.heading)
            self.is_empty = False
        print(f"| {' | '.join(cells)} |", flush=True)
        if self.file is not None:
            self._write([_plain(cell) for cell in cells])

    def _write(self, cells: Sequence[str]) -> None:
        assert self.file is not None
        with self.file.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)


def _plain(cell: str) -> str:
    """Return a Markdown cell as CSV has it: a number without unit and separators."""
    text = cell.replace("`", "")
    if re.fullmatch(r"[\d.]+x", text):
        return text[:-1]
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return text.replace(",", "")
    return "" if text == "-" else text
