"""The report as a file: small, written in one piece, and whole whatever the runs look like."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.pictures.style import COLOURS
from mtl_runner.results.report.write import embedded_json, render, write_report
from tests.support.builders import QUICK
from tests.support.paths import ROOT
from tests.unit.results.report.parsed_page import Page, report
from tests.unit.results.run_builders import write_trained_run


def test_the_colours_are_those_of_the_other_pictures() -> None:
    """Breaks if the page and comparison.png disagree about a strategy's colour."""
    style = (ROOT / "mtl_runner" / "results" / "report" / "page" / "style.css").read_text()
    assert re.findall(r"--c\d: (#\w{6})", style)[: len(COLOURS)] == list(COLOURS)


@QUICK
@given(st.text())
def test_embedded_json_is_ascii_without_markup_and_says_the_same(text: str) -> None:
    """Breaks if a name ends the script element that holds the data, or is changed on the way."""
    embedded = embedded_json([text])
    assert embedded.isascii()
    assert not set("<>&") & set(embedded)
    assert json.loads(embedded) == [text]


def test_four_hundred_runs_stay_small(tmp_path: Path) -> None:
    """Breaks if a large study makes a page that no browser likes to open."""
    for number in range(400):
        write_trained_run(
            tmp_path / str(number),
            f"method{number % 40}",
            0,
            optimizer__lr=1e-4 * (1 + number // 40),
            epochs=60,
        )
    output = write_report([tmp_path], tmp_path / "report.html")
    assert output.stat().st_size < 2_500_000
    page = Page(output.read_text())
    assert len(page.attributes("a")) == 400
    assert sum(row["drawn"] for row in page.figures[0]["strategies"]) == 8


def test_broken_files_do_not_break_the_report(tmp_path: Path) -> None:
    """Breaks if one half-copied run hides all the others."""
    write_trained_run(tmp_path / "0")
    (write_trained_run(tmp_path / "1", seed=1) / "summary.json").write_text('{"status": "fin')
    (write_trained_run(tmp_path / "2", seed=2) / "metrics.csv").write_bytes(
        b"\xff\x00,epoch\n1,2\n"
    )
    (write_trained_run(tmp_path / "3", seed=3) / "metrics.csv").unlink()
    assert len({link["href"] for link in report(tmp_path).attributes("a")}) == 4


def test_no_run_is_an_error(tmp_path: Path) -> None:
    """Breaks if an empty folder gets a report of nothing."""
    with pytest.raises(RunDirectoryError):
        write_report([tmp_path], tmp_path / "report.html")


def test_the_report_is_written_in_one_piece(tmp_path: Path) -> None:
    """Breaks if a page that cannot be made destroys the one before, or leaves a part behind."""
    write_trained_run(tmp_path / "run")
    output = write_report([tmp_path], tmp_path / "page" / "report.html")
    assert [file.name for file in output.parent.iterdir()] == ["report.html"]
    with pytest.raises(ValueError, match="JSON"):
        render({}, float("nan"), {})


def test_a_template_that_names_what_is_not_there_fails() -> None:
    """Breaks if a misspelt name in a template silently prints nothing."""
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render({}, [], {})
