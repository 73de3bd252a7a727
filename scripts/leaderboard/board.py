"""The board: rows that are there already, and the cells that are still to train."""

from __future__ import annotations

import math
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from entries import REFERENCE, Cell, methods, methods_named, problems_named
from judging import Row, judge
from sheet import read_rows, write_problems, write_rows, write_standings
from summary import standings
from training import Trainer, is_trained

from mtl_runner.errors import ConfigError, MtlError
from mtl_runner.errors.words import counted

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Board:
    """The rows of the committed tables, and the cells behind them.

    Args:
        output: The folder of all cells.
        tables: The folder of the tables.
    """

    def __init__(self, output: Path, tables: Path) -> None:
        self.output, self.tables = output, tables
        self.rows = {(row.problem, row.method): row for row in read_rows(tables)}

    def is_done(self, cell: Cell) -> bool:
        """Return whether there is a row of the cell as it is defined now."""
        row = self.rows.get((cell.problem.name, cell.method.name))
        return row is not None and row.definition == cell.definition

    def enter(self, cell: Cell) -> Row:
        """Judge a cell that is trained, and write the table of the cells."""
        row = judge(cell, self.output)
        self.rows[row.problem, row.method] = row
        write_rows(self.tables, self.current_rows(), methods())
        return row

    def forget(self, cell: Cell) -> None:
        """Remove the row and the runs of a cell."""
        self.rows.pop((cell.problem.name, cell.method.name), None)
        folder = cell.folder(self.output)
        if folder.exists():
            shutil.rmtree(folder)

    def current_rows(self) -> list[Row]:
        """Return the rows, without those of cells that are defined otherwise by now."""
        known = [Cell(problem, method) for problem in problems_named(()) for method in methods()]
        return [self.rows[c.problem.name, c.method.name] for c in known if self.is_done(c)]

    def write(self) -> None:
        """Write all tables."""
        rows = self.current_rows()
        write_rows(self.tables, rows, methods())
        write_standings(self.tables, standings(rows))
        write_problems(self.tables)

    def to_train(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells without a row, and equal weights' where their runs are needed again."""
        missing = [cell for cell in cells if not self.is_done(cell)]
        needed = {cell.problem.name for cell in missing}
        return [
            cell
            for cell in cells
            if cell in missing
            or (
                cell.method.name == REFERENCE
                and cell.problem.name in needed
                and not is_trained(cell, self.output)
            )
        ]


def cells_of(problems: Sequence[str], names: Sequence[str]) -> list[Cell]:
    """Return the cells in the order of their training: method by method, cheap ones first.

    Equal weights come first on every problem: all others are judged against them.

    Args:
        problems: The names of the problems; none: all.
        names: The names of the methods; none: all.

    Raises:
        ConfigError: If there is no such problem or method.
    """
    chosen = methods_named(names)
    first = [method for method in methods() if method.name == REFERENCE]
    ordered = [*first, *(method for method in chosen if method.name != REFERENCE)]
    return [Cell(problem, method) for method in ordered for problem in problems_named(problems)]


def train(board: Board, cells: Sequence[Cell], seconds: float) -> int:
    """Train the cells that have no row, until the time is up.

    Args:
        board: The rows.
        cells: The cells, equal weights first.
        seconds: The time.

    Returns:
        The number of cells that could not be trained; each is named on the error output.
    """
    deadline = time.monotonic() + seconds
    trainer = Trainer(board.output)
    todo = board.to_train(cells)
    done = sum(map(board.is_done, cells))
    print(f"{counted(len(cells), 'cell')}: {done} done, {len(todo)} to train", flush=True)
    errors = 0
    for number, cell in enumerate(todo, 1):
        begun = time.monotonic()
        name = f"[{number} of {len(todo)}] {cell.method.name} on {cell.problem.name}"
        if begun >= deadline:
            print(f"The time is up; {counted(len(todo) - number + 1, 'cell')} to train.")
            break
        try:
            if not (is_trained(cell, board.output) or trainer.train(cell, deadline - begun)):
                print(f"{name}: was stopped; the same command goes on with it", flush=True)
                continue
            row = board.enter(cell)
        except MtlError as error:
            errors += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        change = "" if math.isnan(row.change) else f", {100 * row.change:+.1f} %"
        print(f"{name}: {row.verdict}{change}, {time.monotonic() - begun:.1f} s", flush=True)
    return errors


def seconds_of(budget: str) -> float:
    """Return a time such as ``90s``, ``60m`` or ``1.5h`` in seconds.

    Raises:
        ConfigError: If it is no time.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if match is None or not float(match[1]):
        raise ConfigError(
            f"--budget={budget!r} is no time; give seconds, minutes or hours (90s, 60m, 2h)."
        )
    return float(match[1]) * UNITS[match[2]]
