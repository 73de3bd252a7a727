"""The table of cards: its commands are of methods with laws, and its rows are up to date."""

from __future__ import annotations

import shlex
from importlib import metadata

import pytest

from mtl_runner.conform.laws import METHODS
from mtl_runner.launch.catalog import read_table
from tests.support.paths import ROOT
from tests.unit.scripts.script_modules import load_script

SCRIPT = load_script("conform/__main__.py")
TABLE = read_table(ROOT / "docs" / "tables" / "conformance.csv")


@pytest.mark.parametrize("run", SCRIPT.RUNS, ids=lambda run: run[1])
def test_every_command_names_a_method_and_its_laws(run: tuple[str, str, str]) -> None:
    """Breaks if a method or a law is renamed and the script would end half way."""
    name, *options = shlex.split(run[2])
    assert name in METHODS
    flags = dict(zip(options[::2], options[1::2], strict=True))
    assert flags.get("--without", "order") in {*METHODS[name].laws, "order"}


def test_the_table_holds_every_command() -> None:
    """Breaks if the script was changed and the table was not made again."""
    commands = [f"mtl-conform {path} --as {rest}" for _, path, rest in SCRIPT.RUNS]
    assert [row["command"] for row in TABLE.rows] == commands


@pytest.mark.parametrize(
    ("path", "rest"),
    [("torchjd.aggregation.MGDA", "mgda"), ("torchjd.scalarization.DWA", "dwa")],
)
def test_a_row_says_what_its_card_says(path: str, rest: str) -> None:
    """Breaks if laws have changed and the table was not made again."""
    pytest.importorskip("torchjd")
    release = f"torchjd {metadata.version('torchjd')}"
    row = SCRIPT.row_of(release, path, rest, SCRIPT.card_of(path, rest))
    (committed,) = [line for line in TABLE.rows if line["command"] == row[1]]
    if committed["package"] != release:
        pytest.skip(f"the table is of {committed['package']}")
    assert tuple(committed[column] for column in SCRIPT.COLUMNS) == row
