"""mtl-run -m +study=transfer, the study of transfer as a user starts it."""

from __future__ import annotations

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import Command, send
from tests.support.run_files import assert_one_sentence, read_summary, run_folders

DATA = ("data=toy_mixed", "data.n=60", "data.n_val=40", "data.n_test=40", "model.hidden=[16]")
STUDY = (
    *("-m", "+study=transfer", *DATA, "trainer.epochs=3", "trainer.threads=1", "optimizer.lr=0.1"),
    *("study.seeds=3", "study.tuning_seeds=1", "study.fixed_points=3", "study.splits=1"),
    *("study.per_decade=1", "study.extensions=0", "hydra.sweep.dir=sweep"),
)
ONE_BY_ONE = (*STUDY, "hydra/launcher=basic")
RUNS = (
    4 * 3 + 2 * 3 + 2 * 3
)  # the narrow grid, the wide one, the final runs; 3 more if a rate moves


@pytest.mark.long
def test_the_study_says_what_transferred(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the command does not end in its three answers, or finals are of the narrow model."""
    result = mtl("mtl-run", *STUDY)
    assert result.code == 0, result.err
    assert "on the narrow model (model.hidden=[4]), 3 learning rates of each; " in result.out
    assert "of 6 steps each; 12 of them are narrow." in result.out
    for beginning in ("The learning rate ", "Tuning took 12 narrow runs and 6 wide runs"):
        assert any(line.startswith(beginning) for line in result.out.splitlines())
    assert "the best of the narrow model, " in result.out
    jobs = json.loads((tmp_path / "sweep" / "study.json").read_text())["jobs"]
    assert len(jobs) in (RUNS, RUNS + 3)
    widths = {
        row["phase"]: (tmp_path / "sweep" / name / ".hydra" / "config.yaml").read_text()
        for name, row in jobs.items()
    }
    assert {phase: "- 4" in text for phase, text in widths.items()} == {
        20: True,
        22: False,
        4: False,
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("study.rate=3",), "There is no config key 'study.rate'; did you mean study.rates?"),
        (("data=digits,related",), "A study is about one dataset; start one study for each."),
        (
            ("weighting=famo",),
            "+study=transfer tunes the weights of weighting=fixed; leave weighting=famo out, or compare it by +study=fair.",
        ),
    ],
)
def test_a_study_that_cannot_be_made_is_refused_in_one_sentence(
    mtl: Command, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a study of transfer begins with what it cannot keep."""
    result = mtl("mtl-run", *STUDY, *options)
    assert_one_sentence(result)
    assert sentence in result.err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.long
def test_a_killed_study_goes_on_as_if_it_had_not_been(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study that was killed trains finished runs again, or chooses otherwise."""
    whole = mtl("mtl-run", *ONE_BY_ONE)
    assert whole.code == 0, whole.err
    shutil.move(tmp_path / "sweep", tmp_path / "whole")
    fifteenth = partial(have_finished, tmp_path / "sweep", 14)
    killed = mtl("mtl-run", *ONE_BY_ONE, meanwhile=send(signal.SIGKILL, fifteenth))
    assert killed.code == -signal.SIGKILL
    there = {
        run.name: (run / "metrics.csv").stat().st_mtime_ns
        for run in run_folders(tmp_path / "sweep")
        if (run / "summary.json").exists() and read_summary(run)["status"] == "finished"
    }
    assert 14 <= len(there) < RUNS
    resumed = mtl("mtl-run", *ONE_BY_ONE, "resume=true")
    assert resumed.code == 0, resumed.err
    for name, time in there.items():
        assert (tmp_path / "sweep" / name / "metrics.csv").stat().st_mtime_ns == time
    runs = run_folders(tmp_path / "sweep")
    assert [run.name for run in runs] == [run.name for run in run_folders(tmp_path / "whole")]
    for run in runs:
        other = tmp_path / "whole" / run.name
        assert (run / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    notes = [
        json.loads((tmp_path / folder / "study.json").read_text())["notes"][:2]
        for folder in ("sweep", "whole")
    ]
    assert notes[0] == notes[1]


def have_finished(folder: Path, count: int) -> bool:
    """Return whether so many runs in a folder have finished."""
    summaries = [run / "summary.json" for run in folder.glob("[0-9]*")]
    return (
        sum(json.loads(s.read_text())["status"] == "finished" for s in summaries if s.exists())
        >= count
    )
