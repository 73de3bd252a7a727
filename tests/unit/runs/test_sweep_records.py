"""The records of a sweep's runs are read while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.files import write_json
from mtl_runner.runs.logs import NOTICES
from mtl_runner.runs.sweep_records import SweepRecords, summary_of

JOBS = {0: ["a=1"], 1: ["a=2"]}
RESULTS: dict[str, Any] = {
    "epochs": 3,
    "monitor": {"name": "relative_loss", "final": 0.5, "best": 0.25, "best_epoch": 3},
    "tasks": {"depth": {"kind": "regression"}},
    "time": {"seconds": 3.21},
}


def leave(run: Path, status: str, overrides: Sequence[str], **more: Any) -> Path:
    """Leave the record of a run."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    results = RESULTS if status == "finished" else {}
    record = {"status": status, "overrides": list(overrides), **results, **more}
    write_json(run / "summary.json", record)
    return run


def notice(run: Path, text: str) -> None:
    """Leave a notice of a run."""
    with (run / NOTICES).open("a") as file:
        file.write(text)


def test_a_run_has_news_when_it_ends_and_not_before(tmp_path: Path) -> None:
    """Breaks if runs that wait, train or were preempted count as ended, or a run ends twice."""
    records = SweepRecords(tmp_path)
    assert records.begin(JOBS) == set()
    for status in ("queued", "running", "interrupted", "running"):
        leave(tmp_path / "1_run", status, ["a=2"])
        assert list(records.news()) == []
        assert records.begun == (status != "queued" or records.begun)
    leave(tmp_path / "1_run", "finished", ["a=2"])
    (news,) = records.news()
    assert (news.number, news.summary["status"]) == (1, "finished")
    assert list(records.news()) == []


def test_runs_that_ended_before_have_no_news(tmp_path: Path) -> None:
    """Breaks if a resumed sweep reports a failure that is about to be mended, or runs again."""
    leave(tmp_path / "0_run", "finished", ["a=1"])
    failed = leave(tmp_path / "1_run", "failed", ["a=2"])
    records = SweepRecords(tmp_path)
    assert records.begin(JOBS) == {0}
    assert list(records.news()) == []
    leave(failed, "finished", ["a=2"])
    assert [news.number for news in records.news()] == [1]


def test_a_run_of_another_round_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    """Breaks if a resumed study counts what a later phase of it left."""
    leave(tmp_path / "7_run", "finished", ["a=7"])
    records = SweepRecords(tmp_path)
    assert records.begin(JOBS) == set()
    assert records.begin({7: ["a=7"]}) == {7}


def test_equal_options_are_told_apart_by_the_directory(tmp_path: Path) -> None:
    """Breaks if of two runs with the same options one is lost."""
    records = SweepRecords(tmp_path)
    records.begin({0: ["a=1"], 1: ["a=1"]})
    for name in ("1_run", "0_run"):
        leave(tmp_path / name, "finished", ["a=1"])
    assert sorted(news.number for news in records.news()) == [0, 1]


def test_a_repeated_run_is_known_by_its_own_options(tmp_path: Path) -> None:
    """Breaks if the runs of `repeat=RUN -m seed=0,1` have no line."""
    records = SweepRecords(tmp_path)
    records.begin({0: ["seed=1"]})
    leave(tmp_path / "0_run", "finished", ["weighting=famo", "seed=1"])
    assert [news.number for news in records.news()] == [0]


def test_notices_come_at_once_and_whole_and_also_after_the_end(tmp_path: Path) -> None:
    """Breaks if a notice waits for the end of a long run, is cut in two, or is lost at its end."""
    records = SweepRecords(tmp_path)
    records.begin({0: ["a=1"]})
    run = leave(tmp_path / "0_run", "running", ["a=1"])
    notice(run, "first\nsec")
    assert [news.notices for news in records.news()] == [["first"]]
    notice(run, "ond\n")
    assert [news.notices for news in records.news()] == [["second"]]
    leave(run, "finished", ["a=1"])
    (news,) = records.news()
    assert (news.notices, news.summary["status"]) == ([], "finished")
    notice(run, "third\n")
    assert [(news.notices, news.summary) for news in records.news()] == [(["third"], {})]


def test_notices_of_an_earlier_attempt_are_not_repeated(tmp_path: Path) -> None:
    """Breaks if every resumed sweep shows the notices of before."""
    notice(leave(tmp_path / "0_run", "interrupted", ["a=1"]), "old\n")
    records = SweepRecords(tmp_path)
    records.begin({0: ["a=1"]})
    run = leave(tmp_path / "0_run", "running", ["a=1"])
    notice(run, "new\n")
    assert [news.notices for news in records.news()] == [["new"]]


@pytest.mark.parametrize("name", ["0_run", "group/0_run"])
def test_a_run_may_lie_deeper(tmp_path: Path, name: str) -> None:
    """Breaks if hydra.sweep.subdir with a slash hides the ends of runs."""
    records = SweepRecords(tmp_path)
    records.begin({0: ["a=1"]})
    leave(tmp_path / ".slurm" / "0_run", "finished", ["a=1"])
    assert list(records.news()) == []
    leave(tmp_path / name, "finished", ["a=1"])
    assert [news.number for news in records.news()] == [0]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 99}', '{"status": "finished", "overrides": ["a=1"]}'],
)
def test_a_damaged_summary_is_no_end(tmp_path: Path, content: str) -> None:
    """Breaks if a file that is just being written, or is not ours, stops the report."""
    records = SweepRecords(tmp_path)
    records.begin({0: ["a=1"]})
    run = leave(tmp_path / "0_run", "finished", ["a=1"])
    (run / "summary.json").write_text(content)
    assert list(records.news()) == []
    assert summary_of(run) == {}
