"""``mtl-compare``: compare finished runs, from files alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mtl_runner.results.compare import compare_directories
from mtl_runner.results.disk import disk_text


def main(arguments: Sequence[str]) -> None:
    """Parse the arguments, write the comparison and print its table.

    Raises:
        RunDirectoryError: If there is no run.
    """
    parser = argparse.ArgumentParser(
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
        choices=("text", "md", "csv"),
        default="text",
        help="of the strategies' table on the terminal: aligned text, Markdown, or CSV with every column",
    )
    parser.add_argument(
        "--margin",
        type=_margin,
        help="the relative difference that is of no interest to a verdict; default: the study's, else 0.02",
    )
    parser.add_argument("--open", action="store_true", help="open the report in the browser")
    parser.add_argument(
        "--disk",
        action="store_true",
        help="compare nothing, and say how much of the disk the files take, by what they are for",
    )
    options = parser.parse_args(arguments)
    if options.disk:
        print(disk_text(options.paths))
        return
    output = options.output or (options.paths[0] if len(options.paths) == 1 else Path("comparison"))
    comparison = compare_directories(options.paths, output, options.at, margin=options.margin)
    print(comparison.text(options.format, output).rstrip())
    if options.open:
        import webbrowser

        webbrowser.open((output / "report.html").resolve().as_uri())


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
