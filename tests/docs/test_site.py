"""The site is complete: every option has a header and a card, every table its command."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mtl_runner.launch.catalog import AXES, FIELDS, Catalog, Option, read_table
from tests.docs.given import quick, write_tables
from tests.support.commands import Command
from tests.support.image_files import save_dataset, write_photos
from tests.support.paths import CONF, ROOT

TABLES = ROOT / "docs" / "tables"
CATALOG = Catalog([CONF])
OPTIONS = [
    option
    for group in (*AXES, "data", "model", "optimizer", "experiment")
    for option in CATALOG.options(group)
]
METHODS = [option for option in OPTIONS if option.group in AXES]
VERDICTS = {
    "helps",
    "hurts",
    "no difference",
    "undecided",
    "static weights suffice",
    "better than equal weights",
}


def name(option: Option) -> str:
    """Return what names an option on the command line."""
    return f"{option.group}={option.name}"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the site's own Sphinx extensions can be imported from."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))


def module(name: str) -> ModuleType:
    """Return one of the site's own extensions."""
    __import__(name)
    return sys.modules[name]


@pytest.mark.parametrize("option", METHODS, ids=name)
def test_every_method_says_what_it_does_what_it_costs_and_where_it_is_from(option: Option) -> None:
    """Breaks if a method is added without the header that lists and cards are made of."""
    assert {"does", "cost", "source", "when"} <= set(option.fields), option.path
    assert not option.note, f"{option.path}: a line of the header belongs to no field"


@pytest.mark.parametrize("option", OPTIONS, ids=name)
def test_every_config_begins_with_the_command_that_uses_it(option: Option) -> None:
    """Breaks if a config does not say how to run it, or not in a line that fits into a list."""
    assert re.match(rf"mtl-run (-m )?{option.group}=(\w+,)*{option.name}\b", option.command)
    assert 0 < len(option.fields["does"]) <= 80
    assert not option.fields["does"].endswith(".")
    assert set(option.fields) <= set(FIELDS)


@pytest.mark.parametrize("option", METHODS, ids=name)
def test_every_method_has_the_class_that_its_card_describes(option: Option) -> None:
    """Breaks if a preset names no axis, or a class has no docstring."""
    if option.name != "single_task":
        assert option.docstring, option.target


def test_what_is_measured_is_an_option() -> None:
    """Breaks if an option is renamed and its measured cost is lost."""
    weightings = {option.name for option in CATALOG.options("weighting")}
    assert {"fixed", "famo", "cagrad"} <= set(CATALOG.measurements) <= weightings


@pytest.mark.usefixtures("extension")
def test_every_method_has_a_card(tmp_path: Path) -> None:
    """Breaks if an option gets no page, or a page stays when its option has gone."""
    cards = module("cards")
    (tmp_path / "weighting").mkdir()
    (tmp_path / "weighting" / "gone.md").touch()
    cards.write_pages(tmp_path)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert written == {
        "index.md",
        *(f"{axis}/index.md" for axis in AXES),
        *(f"{option.group}/{option.name}.md" for option in METHODS),
    }
    famo = (tmp_path / "weighting" / "famo.md").read_text()
    for part in (
        "one more forward pass per step",
        "<https://arxiv.org/abs/2306.03792>",
        "1.05 times TorchJD",
        "| `weighting.gamma` | `0.01` |",
        ".. autoclass:: mtl_runner.weighting.FAMO",
    ):
        assert part in famo, part
    assert (
        "[update=jacobian](../update/jacobian.md)"
        in (tmp_path / "weighting" / "mgda.md").read_text()
    )


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.csv")), ids=lambda path: path.stem)
def test_every_table_says_the_command_that_makes_it(path: Path) -> None:
    """Breaks if a number of the site has no command, or a row has another number of cells."""
    table = read_table(path)
    assert path.read_text().startswith("# ")
    assert table.command
    assert table.rows
    for row in table.rows:
        assert None not in row, row
        assert None not in row.values(), row


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("extension_name", ["as_markdown", "leaderboard", "verdicts"])
def test_the_examples_of_the_extensions_run(extension_name: str) -> None:
    """Breaks if a docstring of the site's own code shows something else than it returns."""
    result = doctest.testmod(module(extension_name))
    assert result.attempted
    assert not result.failed


@pytest.mark.usefixtures("extension")
def test_verdicts_become_sentences() -> None:
    """Breaks if a correction of verdicts.csv does not reach the page."""
    verdicts = module("verdicts")
    rows = read_table(TABLES / "verdicts.csv").rows
    studies = {row["problem"] for row in read_table(TABLES / "studies.csv").rows}
    assert {row["problem"] for row in rows} <= studies
    weightings = [row for row in rows if row["strategy"] != verdicts.FIXED]
    assert {row["verdict"] for row in weightings} <= VERDICTS
    row = dict.fromkeys(rows[0], "") | {
        "problem": "houses",
        "strategy": "famo",
        "verdict": "hurts",
        "to equal weights %": "22",
        "low": "12",
        "high": "34",
    }
    assert verdicts.sentence(row) == (
        "`famo`: **hurts**; 22 % more mean relative loss than equal weights (95 % interval 12 to 34)"
    )
    assert verdicts.summary([row]) == (
        "On 0 of 1 problems a weighting beat the best fixed weights. On 0 the weighting made no difference. "
        "On 1 a weighting hurt (houses: `famo`)."
    )
    assert verdicts.evidence([row], "famo")[0].startswith("on houses, `famo`: **hurts**")


@pytest.mark.usefixtures("extension")
def test_the_leaderboard_becomes_a_page_and_a_line_on_every_card() -> None:
    """Breaks if a row of the board does not reach the page, or is told of another method."""
    leaderboard = module("leaderboard")
    rows = read_table(TABLES / "leaderboard.csv").rows
    standings = read_table(TABLES / "leaderboard_methods.csv").rows
    assert {row["method"] for row in rows} == {row["method"] for row in standings}
    order = [row["method"] for row in standings]
    lines = leaderboard.board(rows, order).splitlines()
    assert len(lines) == len(order) + 2
    cell = {
        "method": "famo",
        "problem": "digits",
        "verdict": "hurts",
        "change %": "12.34",
        "CPU s": "2.5",
    }
    equal = cell | {"method": "fixed", "verdict": "reference", "change %": "0", "CPU s": "1.5"}
    better = cell | {"problem": "wine", "verdict": "better than equal weights", "change %": "-5"}
    texts = leaderboard.board([equal, cell, better], ["famo", "fixed"]).splitlines()
    assert texts[2:] == [
        "| [famo](methods/weighting/famo.md) | *+12.3* | **-5.0** |",
        "| [fixed](methods/weighting/fixed.md) | 0 |  |",
    ]
    assert leaderboard.summary([equal, cell, better]) == (
        "2 cells beside those of equal weights: 1 method on 2 problems. The verdict is *hurts* in 1 (50 %), *better than equal weights* in 1 (50 %). "
        "The 15 runs of a cell take 2.5 s of one core in the median, 2.5 s at most.\n"
    )
    counts = dict.fromkeys(standings[0], "0")
    row = counts | {"method": "fixed_auto", "problems": "2", "better": "2", "IQM of change %": ""}
    assert leaderboard.entry([row | {"CPU": "1"}], "famo") == ""
    assert leaderboard.entry([row | {"CPU": "1"}], "fixed") == (
        "`weighting.weights=auto`: On 2 small problems: better on 2; 1 times the processor time"
    )
    catalog = CATALOG
    for name in order:
        if name not in ("fixed", "fixed_auto"):
            page = module("cards").card(catalog, catalog.option("weighting", name))
            assert "[all methods](../../leaderboard.md)" in page, name


IMAGES = ("data=image_folder", "data=hf")  # they need packages that fit no CPU build of torch


def of_images(option: Option) -> bool:
    """Return whether the command of an option reads image files."""
    return any(word in option.command.split() for word in IMAGES)


@pytest.mark.long
@pytest.mark.parametrize("option", [o for o in OPTIONS if not of_images(o)], ids=name)
def test_the_command_of_every_option_runs(mtl: Command, tmp_path: Path, option: Option) -> None:
    """Breaks if the first line of a config, which is on its card, cannot be typed."""
    write_tables(tmp_path)
    result = mtl(*quick(shlex.split(option.command), tmp_path))
    assert result.code == 0, result.err


@pytest.mark.images
@pytest.mark.parametrize("option", [o for o in OPTIONS if of_images(o)], ids=name)
def test_the_command_of_every_option_of_images_runs(
    mtl: Command, tmp_path: Path, option: Option
) -> None:
    """Breaks if the first line of a config of images, which is on its card, cannot be typed."""
    for package in ("torchvision", "timm", "datasets"):
        pytest.importorskip(package, reason="pip install 'mtl-runner[images,timm,hf]'")
    write_photos(tmp_path)
    save_dataset(tmp_path / "saved")
    short = ("model.name=test_resnet", "data.batch_size=8", "trainer.epochs=1", "record.plots=none")
    result = mtl(*shlex.split(option.command), *short)
    assert result.code == 0, result.err
