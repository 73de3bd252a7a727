"""``mtl-compare``: compare finished runs, from files alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mtl_runner.results.compare import compare_directories


def main(arguments: Sequence[str]) -> None:
    """Parse the arguments, write the comparison, print its table. Raises ``RunDirectoryError`` if there is no run."""
    parser = argparse.ArgumentParser(
        prog="mtl-compare",
        description="Tables and pictures of finished runs: runs.csv, comparison.csv, comparison.png.",
        epilog="Example: mtl-compare outputs/multirun/2026-01-31/10-00-00-000000",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="DIRECTORY", help="a sweep, run directories, or folders that hold some"
    )
    parser.add_argument("--output", type=Path, help="where to write; default: the one directory, or ./comparison for several")
    parser.add_argument("--at", choices=("final", "best"), default="final", help="metrics of the last epoch or of the best one")
    options = parser.parse_args(arguments)
    output = options.output or (options.paths[0] if len(options.paths) == 1 else Path("comparison"))
    print(compare_directories(options.paths, output, options.at).text)
