"""The verdicts at the top of a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mtl_runner.errors import MtlError
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.report import verdicts
from mtl_runner.results.report.verdicts import ORDER, verdict_part
from mtl_runner.results.verdict.conclusions import Conclusions, conclude
from mtl_runner.results.verdict.verdict import Verdict
from tests.unit.results.report.parsed_page import report
from tests.unit.results.run_builders import METRICS, write_run, write_trained_run
from tests.unit.results.verdict.made_verdicts import verdict, versus


@pytest.fixture
def conclusions(tmp_path: Path) -> Conclusions:
    """Return the conclusions on some runs, to be given other verdicts."""
    for i, weighting in enumerate(("fixed", "s & t", *(f"s{i}" for i in range(7)))):
        write_run(tmp_path, str(i), METRICS, weighting=weighting)
    return conclude(Records.read([tmp_path]))


def part_of(conclusions: Conclusions, *judged: Verdict) -> verdicts.VerdictPart:
    """Return the part of a report that shows these verdicts."""
    conclusions = replace(conclusions, verdicts=list(judged))
    return verdict_part(conclusions.records, "final", conclusions)


def test_the_most_important_verdicts_come_first(conclusions: Conclusions) -> None:
    """Breaks if a reader finds what helps below a list of what makes no difference."""
    kinds = list(reversed(ORDER))
    difference = versus(-0.5, -0.6, -0.4)
    part = part_of(conclusions, *(verdict(f"s{i}", k, difference) for i, k in enumerate(kinds)))
    (data,) = part.datasets
    assert [item.kind for item in data.items] == [
        "helps",
        "hurts",
        "static weights suffice",
        "better than equal weights",
        "undecided",
        "no difference",
        "not applicable",
    ]


def test_without_a_pair_there_is_no_bar(conclusions: Conclusions) -> None:
    """Breaks if a strategy of which every run failed crashes the verdicts of the others."""
    nothing = versus(float("nan"), float("nan"), float("nan"), 0)
    lost = replace(verdict("s", "hurts", nothing), failed=3, seeds=0, reason="It diverged.")
    (data,) = part_of(conclusions, lost).datasets
    assert [(row.equal, row.note) for row in data.forest.rows] == [
        (None, "3 of 3 runs failed: It diverged.")
    ]


def test_without_a_verdict_the_leader_is_named(tmp_path: Path) -> None:
    """Breaks if a sweep without equal weights does not even say what is best so far."""
    for i, weighting in enumerate(("famo", "dwa")):
        write_run(tmp_path, str(i), METRICS, weighting=weighting, monitor=1.0 - i / 2)
    part = verdict_part(Records.read([tmp_path]), "final")
    assert part.reason.startswith("Add weighting=fixed to the sweep")
    assert part.leader == "On d, dwa is best so far by the monitor (0.5, 1 run)."


def test_the_name_is_apart_from_the_sentence(conclusions: Conclusions) -> None:
    """Breaks if a name is not bold, or stands twice."""
    judged = replace(verdict("s & t", "hurts", versus(0.5, 0.4, 0.6)), sentence="s & t hurts: x.")
    (data,) = part_of(conclusions, judged).datasets
    assert (data.items[0].name, data.items[0].sentence) == ("s & t", " hurts: x.")


def test_what_a_user_can_mend_is_told_as_it_is(
    conclusions: Conclusions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if an error with a remedy is called a mistake of the statistics."""

    def refuse(*_: object) -> None:
        raise MtlError("Give a margin.")

    monkeypatch.setattr(verdicts, "conclude", refuse)
    assert verdict_part(conclusions.records, "final").reason == "Give a margin."


def test_no_verdict_leaves_the_tables(trained_sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a mistake in the statistics takes the whole report with it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("<b>oh</b>")

    monkeypatch.setattr(verdicts, "conclude", broken)
    page = report(trained_sweep)
    assert "No verdict. It could not be drawn (ZeroDivisionError: <b>oh</b>)." in page.words
    assert page.attributes("table")


@pytest.mark.parametrize("status", ["finished", "killed", "failed", "cut off"])
def test_one_run_is_enough_whatever_became_of_it(tmp_path: Path, status: str) -> None:
    """Breaks if the report of a single run, of whatever end, raises or is empty."""
    write_trained_run(
        tmp_path / "only", status=status, reason="out of memory" if status == "failed" else ""
    )
    page = report(tmp_path)
    assert "No verdict" in page.words
    assert len(page.attributes("a")) >= 1


def test_remarks_stand_beside_the_verdicts_or_without_any(
    conclusions: Conclusions, tmp_path: Path
) -> None:
    """Breaks if the page lacks what the terminal says, or names no data set where it has two."""
    assert part_of(conclusions).remarks == []
    for data in ("d0", "d1"):
        write_run(tmp_path / "two", data, METRICS, choices={"data": data})
        path = tmp_path / "two" / data / "summary.json"
        measured = {"interference": {"cosine": 0.5}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **measured}))
    records = Records.read([tmp_path / "two"])
    part = verdict_part(records, "final")
    assert part.reason
    assert [line.partition(":")[0] for line in part.remarks] == ["d0", "d1"]
    page = report(tmp_path / "two")
    assert "d1: Gradients of the tasks under equal weights (1 run" in page.words
