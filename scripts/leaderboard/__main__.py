"""Every method on every small problem: train what is missing until the time is up.

    python scripts/leaderboard --budget 60m          # goes on where it stopped
    python scripts/leaderboard --methods famo,mgda --problems digits
    python scripts/leaderboard --command famo digits # the command of a cell
    python scripts/leaderboard --table               # the tables alone, from the runs that are there
    python scripts/leaderboard --from-scratch        # forget what is there, and train it again

A cell is one method on one problem: three learning rates, five seeds, one command, one verdict on
test against equal weights, each at the learning rate that is best on validation. Every cell that
ends is written into docs/tables/leaderboard.csv at once, and the summary into
leaderboard_methods.csv at the end of the command.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bundled import write_tables
from entries import REFERENCE, Cell, methods, methods_named, problems_named
from judging import Row, judge
from sheet import read_rows, write_rows, write_standings
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
        known = [
            Cell(problem, method)
            for problem in problems_named(())
            for method in methods()
            if (problem.name, method.name) in self.rows
        ]
        return [self.rows[c.problem.name, c.method.name] for c in known if self.is_done(c)]

    def write(self) -> None:
        """Write both tables."""
        rows = self.current_rows()
        write_rows(self.tables, rows, methods())
        write_standings(self.tables, standings(rows))


def cells_of(problems: Sequence[str], names: Sequence[str]) -> list[Cell]:
    """Return the cells in the order of their training: method by method, cheap ones first.

    Equal weights come first on every problem: all others are judged against them.
    """
    chosen = methods_named(names)
    first = [method for method in methods() if method.name == REFERENCE]
    ordered = [*first, *(method for method in chosen if method.name != REFERENCE)]
    return [Cell(problem, method) for method in ordered for problem in problems_named(problems)]


def train(board: Board, cells: Sequence[Cell], seconds: float) -> None:
    """Train the cells that have no row, until the time is up.

    Args:
        board: The rows.
        cells: The cells, equal weights first.
        seconds: The time.
    """
    deadline = time.monotonic() + seconds
    trainer = Trainer(board.output)
    missing = [cell for cell in cells if not board.is_done(cell)]
    # The runs of equal weights are needed, too, where only their row is there.
    needed = {cell.problem.name for cell in missing}
    todo = [
        cell
        for cell in cells
        if cell in missing
        or (
            cell.method.name == REFERENCE
            and cell.problem.name in needed
            and not is_trained(cell, board.output)
        )
    ]
    print(f"{counted(len(cells), 'cell')}, {len(cells) - len(missing)} done, {len(todo)} to train")
    for number, cell in enumerate(todo, 1):
        begun = time.monotonic()
        name = f"[{number} of {len(todo)}] {cell.method.name} on {cell.problem.name}"
        if not is_trained(cell, board.output) and (
            begun >= deadline or not trainer.train(cell, deadline - begun)
        ):
            if time.monotonic() < deadline:
                print(f"{name}: was stopped; the same command goes on with it", flush=True)
                continue
            print(f"The time is up; {counted(len(todo) - number + 1, 'cell')} to train.")
            return
        row = board.enter(cell)
        took = time.monotonic() - begun
        change = "" if row.change != row.change else f", {100 * row.change:+.1f} %"
        print(f"{name}: {row.verdict}{change}, {took:.1f} s", flush=True)


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


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = lambda text: tuple(filter(None, text.split(",")))  # noqa: E731
    arguments.add_argument(
        "--budget", default="60m", help="time to train: 90s, 60m (the default), 2h"
    )
    arguments.add_argument(
        "--methods", type=names, default=(), metavar="A,B", help="all by default"
    )
    arguments.add_argument(
        "--problems", type=names, default=(), metavar="X,Y", help="all by default"
    )
    arguments.add_argument(
        "--output", type=Path, default=Path("outputs/leaderboard"), help="of all cells"
    )
    arguments.add_argument(
        "--csv", type=Path, default=Path("docs/tables"), help="folder of the tables"
    )
    arguments.add_argument("--table", action="store_true", help="write the tables, train nothing")
    arguments.add_argument(
        "--from-scratch", action="store_true", help="forget the chosen cells first"
    )
    arguments.add_argument("--command", nargs=2, metavar=("METHOD", "PROBLEM"), help="print it")
    return arguments


def main(arguments: Sequence[str]) -> None:
    """Do what a command line asks for.

    Raises:
        MtlError: If something is wrong with it.
    """
    options = parser().parse_args(arguments)
    if options.command:
        (method,), (problem,) = (
            methods_named(options.command[:1]),
            problems_named(options.command[1:]),
        )
        write_tables(options.output / "data")
        print(shlex.join(Cell(problem, method).command(options.output)))
        return
    seconds = seconds_of(options.budget)
    cells = cells_of(options.problems, options.methods)
    board = Board(options.output, options.csv)
    if options.from_scratch:
        for cell in cells:
            board.forget(cell)
    if options.table:
        for cell in cells:
            if is_trained(cell, board.output) and is_trained(cell.reference, board.output):
                board.enter(cell)
        board.write()
        return
    write_tables(options.output / "data")
    try:
        train(board, cells, seconds)
    finally:
        board.write()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MtlError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on.", file=sys.stderr)
        sys.exit(130)
