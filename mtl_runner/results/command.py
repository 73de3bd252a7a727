"""``mtl-compare``: compare finished runs, from files alone."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mtl_runner.errors import ConfigError
from mtl_runner.errors.command_line import CommandParser
from mtl_runner.results.compare import Comparison, compare_directories
from mtl_runner.results.disk import disk_text
from mtl_runner.results.latex import ERRORS
from mtl_runner.results.records.summary import SPLITS
from mtl_runner.results.selection import Selection
from mtl_runner.results.text import printable

WATCH = 10.0  # seconds between two looks
FORMATS = ("pdf", "svg", "png")  # of figures; the pictures' room would import matplotlib
WIDTH = 3.4  # inches of a figure
INCHES = {"in": 1.0, "cm": 2.54, "mm": 25.4, "pt": 72.27}  # in TeX's points


def main(arguments: Sequence[str]) -> None:
    """Parse the arguments, write the comparison and print its table.

    Raises:
        RunDirectoryError: If there is no run.
        ConfigError: If an option has no effect, or names something that there is not.
    """
    parser = CommandParser(
        prog="mtl-compare",
        description="Tables and pictures of finished runs: report.html, runs.csv, comparison.csv, comparison.png, and a verdict on each strategy: verdicts.csv, differences.csv.",
        epilog="Example: mtl-compare outputs/multirun/2026-01-31/10-00-00-000000",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="DIRECTORY",
        help="a sweep, run directories, or folders that hold some",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="where to write; default: the one directory, or ./comparison for several",
    )
    parser.add_argument(
        "--at",
        choices=("final", "best"),
        help="metrics of the last epoch or of the best one by the monitor; default: what the runs recorded (trainer.judge)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "md", "csv", "latex"),
        default="text",
        help="of the strategies' table on the terminal: aligned text, Markdown, CSV with every column and strategy, or LaTeX (booktabs, siunitx)",
    )
    shown = parser.add_argument_group("what the table shows")
    shown.add_argument(
        "--split",
        choices=SPLITS,
        help="default: the one that the verdict is about (test for a study, val for a sweep)",
    )
    shown.add_argument(
        "--strategies",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="these strategies in this order, by their names or weightings, as uncertainty,'fixed*'; default: all methods, each at its best setting on validation, and the baselines",
    )
    shown.add_argument(
        "--all",
        action="store_true",
        help="also frozen twins, all fixed weights and all points of grids",
    )
    shown.add_argument(
        "--metrics",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="as accuracy, digit.accuracy, relative_loss, rank, delta_m; default: the main metric of every task, and these",
    )
    shown.add_argument(
        "--error",
        choices=tuple(ERRORS),
        default="half",
        help="beside a mean: half or both ends of the 95 %% interval, the standard deviation, or none",
    )
    parser.add_argument(
        "--margin",
        type=_margin,
        help="the relative difference that is of no interest to a verdict; default: the study's, else 0.02",
    )
    parser.add_argument("--open", action="store_true", help="open the report in the browser")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=WATCH,
        metavar="SECONDS",
        help=f"go on until Ctrl-C and keep tables and report fresh while a sweep runs; default: a look every {WATCH:g} s",
    )
    parser.add_argument(
        "--disk",
        action="store_true",
        help="compare nothing, and say how much of the disk the files take, by what they are for",
    )
    figures = parser.add_argument_group("figures for a paper")
    figures.add_argument(
        "--figures",
        choices=FORMATS,
        help="also one file per panel, in the folder figures: forest, metric, curves, weights, front, learning_rates",
    )
    figures.add_argument(
        "--width",
        type=_width,
        metavar="3.4in",
        help=f"of a figure, in in, cm, mm or pt; default: {WIDTH}in",
    )
    options = parser.parse_args(arguments)
    if options.width is not None and not options.figures:
        raise ConfigError(
            f"--width is the width of figures; add --figures {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        )
    if options.disk:
        print(disk_text(options.paths))
        return
    output = options.output or (options.paths[0] if len(options.paths) == 1 else Path("comparison"))
    selection = Selection(options.split, options.strategies, options.metrics, options.all)
    comparison: Comparison | None
    if options.watch is None:
        comparison = compare_directories(options.paths, output, options.at, margin=options.margin)
    else:
        from mtl_runner.results.watch import watch

        first = partial(_open, output) if options.open else None
        comparison = watch(options.paths, output, options.watch, options.at, options.margin, first)
    if comparison is not None:
        text = comparison.text(options.format, output, selection, options.error).rstrip()
        if options.format == "latex":
            print(f"% {printable(shlex.join(['mtl-compare', *arguments]))}")
        print(text)
        if options.figures:
            files = comparison.draw_figures(
                output / "figures", options.figures, options.width or WIDTH, selection
            )
            # A table may be piped into a file.
            print(f"{output / 'figures'}/: {', '.join(f.name for f in files)}", file=sys.stderr)
    if options.open and options.watch is None:
        _open(output)


def _open(output: Path) -> None:
    """Open the report in the browser."""
    import webbrowser

    webbrowser.open((output / "report.html").resolve().as_uri())


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds; write it as --watch=30, or --watch after the directories"
        )
    return value


def _width(text: str) -> float:
    """Return a width in inches."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(in|cm|mm|pt)?", text.strip())
    inches = float(match[1]) / INCHES[match[2] or "in"] if match else 0.0
    if not 1 <= inches <= 30:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no width; write a length between 1 and 30 inches, as 3.4in, 8.6cm, 86mm or 245pt"
        )
    return inches


def _names(text: str) -> tuple[str, ...]:
    """Return the names of a list; a setting such as ``lr=0.1`` belongs to the name before it."""
    names: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        if names and "=" in part:
            names[-1] += f", {part}"
        else:
            names.append(part)
    return tuple(names)


def _margin(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no margin; write a fraction between 0 and 1, as 0.02 for 2 %"
        )
    return value
