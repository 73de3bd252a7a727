"""Every method on every small problem: train what is missing until the time is up.

    python scripts/leaderboard --budget 60m          # goes on where it stopped
    python scripts/leaderboard --methods famo,mgda --problems digits
    python scripts/leaderboard --command famo digits # the command of a cell
    python scripts/leaderboard --table               # the tables alone, from runs that are there
    python scripts/leaderboard --from-scratch        # forget what is there, and train it again

A cell is one method on one problem: three learning rates, five seeds, one command, one verdict on
test against equal weights, each at the learning rate that is best on validation. Every cell that
ends is written into docs/tables/leaderboard.csv at once, and the summary into
leaderboard_methods.csv at the end of the command.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from board import Board, cells_of, seconds_of, train
from bundled import write_tables
from entries import OUTPUT, Cell, methods_named, problems_named
from training import is_trained

from mtl_runner.errors import MtlError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--budget", default="60m", help="time to train: 90s, 60m (the default), 2h")
    add("--methods", type=_names, default=(), metavar="A,B", help="all by default")
    add("--problems", type=_names, default=(), metavar="X,Y", help="all by default")
    add("--output", type=Path, default=OUTPUT, help="folder of all cells")
    add("--csv", type=Path, default=Path("docs/tables"), help="folder of the tables")
    add("--table", action="store_true", help="write the tables, train nothing")
    add("--from-scratch", action="store_true", help="forget the chosen cells first")
    add("--command", nargs=2, metavar=("METHOD", "PROBLEM"), help="print it, train nothing")
    return arguments


def main(arguments: Sequence[str]) -> int:
    """Do what a command line asks for, and return the exit status.

    Raises:
        MtlError: If something is wrong with it.
    """
    options = parser().parse_args(arguments)
    if options.command:
        (method,) = methods_named(options.command[:1])
        (problem,) = problems_named(options.command[1:])
        write_tables(options.output / "data")
        print(shlex.join(Cell(problem, method).command(options.output)))
        return 0
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
        return 0
    write_tables(options.output / "data")
    try:
        return 1 if train(board, cells, seconds) else 0
    finally:
        board.write()


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MtlError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on.", file=sys.stderr)
        sys.exit(130)
