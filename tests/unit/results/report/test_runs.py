"""The runs of a report: failures, what differs, and links to the directories."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.report.content import Content
from mtl_runner.results.report.runs import (
    LINKED,
    LISTED,
    VALUES,
    differing_options,
    directory_link,
    failures,
    listed_runs,
    run_options,
)
from mtl_runner.results.report.write import write_report
from tests.unit.results.report.parsed_page import Page, report
from tests.unit.results.run_builders import METRICS, write_run, write_trained_run


def test_failures_are_listed_with_their_reasons(page: Page) -> None:
    """Breaks if a failed, killed or cut run vanishes without a word."""
    assert "5 of 20 runs did not finish" in page.words
    for reason in (
        "the loss of 'y1' is NaN",
        "killed before it began to train",
        "killed, or still running",
    ):
        assert reason in page.words


def test_what_differs_names_options_that_vary_and_no_other(page: Page) -> None:
    """Breaks if a reader cannot see in what the runs differ, or drowns in what is the same."""
    after = page.words.split("What differs")[1].split("Runs")[0]
    assert {"optimizer.lr", "seed", "weighting"} <= set(after.split())
    assert "torch" not in after


def test_every_run_has_a_link_that_works_also_in_a_copy(
    trained_sweep: Path, tmp_path: Path
) -> None:
    """Breaks if a report that is sent around with its sweep points to the machine that made it."""
    report(trained_sweep)
    copy = tmp_path / "somewhere else" / "a copy"
    shutil.copytree(trained_sweep, copy)
    shutil.rmtree(copy / "0_made_fixed")  # the links of the others do not depend on it
    links = {str(link["href"]) for link in Page((copy / "report.html").read_text()).attributes("a")}
    assert len(links) == 20
    assert not any(link.startswith(("/", "file:")) for link in links)
    assert sum((copy / unquote(link)).is_dir() for link in links) == 19


def test_a_run_elsewhere_is_linked_relative_to_the_report(tmp_path: Path) -> None:
    """Breaks if `mtl-compare a b --output c` writes links that lead nowhere."""
    folders = [
        write_trained_run(tmp_path / "a" / "x y#1"),
        write_trained_run(tmp_path / "b" / "z%?", "dwa"),
    ]
    output = write_report(folders, tmp_path / "deep" / "er" / "report.html")
    links = {str(link["href"]) for link in Page(output.read_text()).attributes("a")}
    assert {(output.parent / unquote(urlsplit(link).path)).resolve() for link in links} == {
        f.resolve() for f in folders
    }


def test_runs_that_failed_alike_are_one_failure(tmp_path: Path) -> None:
    """Breaks if a hundred diverged runs fill the page with the same sentence."""
    for seed, status in enumerate(("failed", "finished", "failed", "running")):
        write_run(tmp_path, str(seed), METRICS, seed=seed, status=status)
    lines = failures(Records.read([tmp_path]), tmp_path)
    assert [(f.status, [link.name for link in f.links]) for f in lines] == [
        ("failed", ["0", "2"]),
        ("incomplete", ["3"]),
    ]


def test_of_very_many_failures_some_are_linked(tmp_path: Path) -> None:
    """Breaks if thousands of links to the same failure make a page too large."""
    for seed in range(LINKED + 3):
        write_run(tmp_path, str(seed), METRICS, seed=seed, status="failed")
    (failure,) = failures(Records.read([tmp_path]), tmp_path)
    assert (len(failure.links), failure.more) == (LINKED, 3)
    assert "and 3 more" in report(tmp_path).words


def test_what_differs_counts_values_and_defaults(tmp_path: Path) -> None:
    """Breaks if an option that most runs leave alone seems set in all, or dozens are listed."""
    for i in range(VALUES + 3):
        overrides = {"weighting.temperature": 2} if i == 0 else {}
        write_run(tmp_path, str(i), METRICS, seed=i, overrides=overrides)
    options = differing_options(Content.of(Records.read([tmp_path]), "final"))
    by_name = {option.name: option for option in options}
    assert set(by_name) == {"seed", "weighting.temperature"}
    temperature, seed = by_name["weighting.temperature"], by_name["seed"]
    assert (temperature.values, temperature.default) == ([("2", 1)], VALUES + 2)
    assert (len(seed.values), seed.default, seed.more) == (VALUES, 0, 3)


def test_very_many_runs_are_thinned_to_the_failed_and_the_best(tmp_path: Path) -> None:
    """Breaks if thousands of rows freeze a browser, or thinning hides the best run or a failure."""
    count = LISTED + 20
    for i in range(count):
        status = "failed" if i == count - 1 else "finished"
        write_run(tmp_path, str(i), METRICS, seed=i, monitor=1 / (i + 1), status=status)
    listed = listed_runs(Content.of(Records.read([tmp_path]), "final"))
    assert (len(listed), listed) == (LISTED, sorted(listed))
    assert {count - 1, count - 2} <= set(listed)
    assert 0 not in listed
    page = report(tmp_path)
    assert f"{LISTED} of {count} runs are listed" in page.words
    assert len(page.attributes("a")) == LISTED + 1  # and once more in the list of failures


def test_the_options_of_a_run_are_places_among_the_values(tmp_path: Path) -> None:
    """Breaks if the page shows another run's options beside a run, or a default as a value."""
    for i, lr in enumerate((0.1, 0.2, 0.1, None)):
        overrides = {} if lr is None else {"optimizer.lr": lr}
        write_run(tmp_path, str(i), METRICS, seed=7, overrides=overrides)
    options = run_options(Content.of(Records.read([tmp_path]), "final"), [1, 2, 3])
    assert options == {
        "names": ["optimizer.lr"],
        "values": [["0.2", "0.1"]],
        "rows": [[0], [1], [-1]],
    }


def test_a_link_is_quoted_and_relative(tmp_path: Path) -> None:
    """Breaks if a directory with a space, a hash or a percent sign cannot be opened."""
    link = directory_link(tmp_path / "a b#1 %", tmp_path / "deep")
    assert link == "./../a%20b%231%20%25/"
