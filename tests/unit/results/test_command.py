"""``mtl-compare`` on written run directories: formats, margin, verdicts and their files."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mtl_runner.results.command import main
from tests.unit.results.evidences import NOISE, write_run


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Equal weights, a fixed sweep, a good and a poor strategy, six seeds each; one run failed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sweep"
    for name, options, change in (
        ("e", {}, 0.0),
        ("f", {"overrides": {"weighting.weights.a": 2}, "monitor": 0.4}, -1.0),
        ("g", {"weighting": "famo"}, -9.0),
        ("d", {"weighting": "dwa"}, 8.0),
        ("s", {"weighting": "single_task"}, -2.0),
    ):
        for seed in range(6):
            value = 1 + (change + (NOISE[seed] if name != "e" else 0)) / 100
            metrics = {
                t: {"rmse": value, "mae": value, "loss": value, "relative_loss": value / 2}
                for t in "ab"
            }
            status = "failed" if (name, seed) == ("d", 5) else "finished"
            write_run(folder, f"{name}{seed}", metrics, seed=seed, status=status, **options)
    return folder


def test_the_verdicts_stand_under_the_table(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the terminal shows numbers without what follows from them, or writes no file to work with."""
    main(["sweep"])
    text = capsys.readouterr().out
    assert (
        "Verdict (validation, final epoch, margin 2 %, by mean relative loss): Weighting matters on d: famo, a=default beats equal"
        in text
    )
    assert "\n  famo, a=default helps: 9 % better than equal weights (95 % interval" in text
    assert "\n  dwa, a=default hurts: " in text
    assert "1 of 6 runs failed" in text
    assert text.rstrip().splitlines()[-1].startswith("sweep/: ")
    assert text.rstrip().endswith(", differences.csv, verdicts.csv")
    verdicts = pd.read_csv(sweep / "verdicts.csv").set_index("strategy")
    assert verdicts.loc["famo, a=default", "verdict"] == "helps"
    assert verdicts.loc["famo, a=default", "delta_m"] == pytest.approx(-7.1, abs=0.1)
    assert verdicts.loc["famo, a=default", "versus_equal.p"] == 2 / 2**6
    differences = pd.read_csv(sweep / "differences.csv").set_index(["strategy", "task", "metric"])
    assert differences.loc[("famo, a=default", "a", "rmse"), "mean"] == pytest.approx(-0.09)
    assert set(differences["against"]) == {"fixed, a=default"}


def test_markdown_is_a_table_that_shows_names_as_they_are(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the table cannot be pasted into an issue, or a name with a bar or a tag breaks it."""
    study = {
        "version": 1,
        "margin": 0.02,
        "jobs": {f"g{i}": {"strategy": "<b>a|b_c</b>", "role": "strategy"} for i in range(6)},
    }
    (sweep / "study.json").write_text(json.dumps(study))
    main(["sweep", "--format", "md"])
    lines = capsys.readouterr().out.splitlines()
    head = next(
        i
        for i, line in enumerate(lines)
        if line.startswith("| strategy | runs | a rmse | b rmse | monitor |")
    )
    assert set(lines[head + 1]) == set("| -")
    bars = [line.replace("\\|", "").count("|") for line in lines[head : head + 7]]
    assert len(set(bars)) == 1
    assert any(line.startswith("| \\<b\\>a\\|b\\_c\\</b\\> | 6 |") for line in lines)
    assert any(line.startswith("- \\<b\\>a\\|b\\_c\\</b\\> helps: ") for line in lines)


def test_csv_is_the_whole_strategies_table_and_nothing_else(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a script that reads the standard output finds anything but CSV."""
    main(["sweep", "--format", "csv"])
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    pd.testing.assert_frame_equal(printed, pd.read_csv(sweep / "comparison.csv"))
    rows = printed.set_index("strategy")
    assert rows.loc["famo, a=default", "verdict"] == "helps"
    assert rows.loc["famo, a=default", "versus_equal.high"] < -0.02


@pytest.mark.parametrize(("margin", "kind"), [("0.05", "helps"), ("0.1", "no difference")])
def test_the_margin_decides_what_is_a_difference(sweep: Path, margin: str, kind: str) -> None:
    """Breaks if --margin is not heard."""
    main(["sweep", "--margin", margin])
    found = pd.read_csv(sweep / "verdicts.csv").set_index("strategy")
    assert found.loc["famo, a=default", "verdict"] == kind
    assert (found["margin"] == float(margin)).all()


def test_a_studys_own_margin_is_the_default(sweep: Path) -> None:
    """Breaks if a study's verdicts change when its report is made again."""
    (sweep / "study.json").write_text(json.dumps({"version": 1, "margin": 0.1, "jobs": {}}))
    main(["sweep"])
    assert (pd.read_csv(sweep / "verdicts.csv")["margin"] == 0.1).all()


@pytest.mark.parametrize("margin", ["2", "0", "-1", "much", "nan"])
def test_a_margin_that_is_none_is_refused(
    sweep: Path, margin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if 2 is silently taken for 200 %."""
    with pytest.raises(SystemExit):
        main(["sweep", f"--margin={margin}"])
    assert (
        f"{margin!r} is no margin; write a fraction between 0 and 1, as 0.02 for 2 %"
        in capsys.readouterr().err
    )
    assert not (sweep / "verdicts.csv").exists()


def test_tuning_runs_stand_in_runs_csv_only(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a study's table lists every trial, or a trial's failure as the strategy's."""
    jobs = {
        f"d{i}": {"strategy": "dwa", "role": "strategy", "final": i in (1, 2)} for i in range(6)
    }
    (sweep / "study.json").write_text(json.dumps({"version": 1, "margin": 0.02, "jobs": jobs}))
    main(["sweep"])
    assert "Verdict (test, final epoch" in capsys.readouterr().out
    comparison = pd.read_csv(sweep / "comparison.csv").set_index("strategy")
    assert comparison.loc["dwa", "runs"] == 2
    assert comparison.loc["dwa", "failed"] == 0
    runs = pd.read_csv(sweep / "runs.csv").set_index("run")
    assert len(runs) == 30
    test = [column for column in runs if ".test." in column]
    assert runs.loc["d0", test].isna().all()
    assert runs.loc["d1", test].notna().all()
    assert runs.loc["d0", [column for column in runs if ".val." in column]].notna().all()


def test_a_study_that_still_tunes_shows_its_trials(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the table of an interrupted study is empty, or it gives verdicts already."""
    jobs = {
        run.name: {"strategy": "x", "role": "strategy", "final": False} for run in sweep.iterdir()
    }
    (sweep / "study.json").write_text(json.dumps({"version": 1, "margin": 0.02, "jobs": jobs}))
    main(["sweep"])
    assert "Verdict" not in capsys.readouterr().out
    assert len(pd.read_csv(sweep / "comparison.csv")) == 5


def test_a_studys_notes_are_printed(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if what the study knows of its own tuning stays in a file that nobody opens."""
    note = "The best learning rate of dwa is the smallest that was tried."
    jobs = {"e0": {"strategy": "equal", "role": "equal", "final": False}}
    for tuning in (jobs, {}):  # also while it still tunes
        (sweep / "study.json").write_text(
            json.dumps({"version": 1, "margin": 0.1, "notes": [note], "jobs": tuning})
        )
        main(["sweep"])
        assert capsys.readouterr().out.count(note) == 1


def test_two_studies_stand_side_by_side(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if studies are merged, or each does not keep its own margin and notes."""
    shutil.copytree(sweep, sweep.parent / "other")
    for name, margin in (("sweep", 0.02), ("other", 0.2)):
        study = {"version": 1, "margin": margin, "notes": [f"A note of {name}."], "jobs": {}}
        (sweep.parent / name / "study.json").write_text(json.dumps(study))
    main(["sweep", "other", "--output", "both"])
    text = capsys.readouterr().out
    for name, margin in (("sweep", 2), ("other", 20)):
        assert f"d ({name}) (validation" in text
        assert f"A note of {name}." in text
        assert f"margin {margin} %" in text
    found = pd.read_csv(sweep.parent / "both" / "verdicts.csv").set_index(["data", "strategy"])
    assert found.loc[("d (sweep)", "famo, a=default"), "verdict"] == "helps"
    assert found.loc[("d (other)", "famo, a=default"), "verdict"] == "no difference"
    assert set(pd.read_csv(sweep.parent / "both" / "runs.csv")["data"]) == {
        "d (sweep)",
        "d (other)",
    }


def test_a_lost_study_json_is_said(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if tuning runs silently count as evidence because a file was not copied."""
    (sweep / "multirun.yaml").write_text(
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.mtl_runner.FairSweeper\n"
    )
    main(["sweep"])
    assert (
        "study.json is missing or not readable: tuning runs cannot be told from final ones."
        in capsys.readouterr().out
    )


def test_one_task_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if weights between tasks are judged where there is one task, and nothing says so."""
    for i, weighting in enumerate(("fixed", "dwa")):
        write_run(
            tmp_path,
            str(i),
            {"a": {"rmse": 1.0, "loss": 1.0, "relative_loss": 0.5}},
            weighting=weighting,
        )
    main([str(tmp_path)])
    assert "There is one task: weights between tasks cannot matter" in capsys.readouterr().out


def test_a_strategy_that_never_trained_has_its_verdict(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a method of which every trial failed is missing from the terminal and the files."""
    jobs = {f"e{i}": {"strategy": "equal", "role": "equal"} for i in range(6)}
    jobs |= {"d5": {"strategy": "gradnorm", "role": "strategy", "final": False}}
    (sweep / "study.json").write_text(json.dumps({"version": 1, "margin": 0.02, "jobs": jobs}))
    main(["sweep"])
    assert (
        "gradnorm failed: its only trial did not finish (The loss of task 'a' became nan"
        in capsys.readouterr().out
    )
    found = pd.read_csv(sweep / "verdicts.csv").set_index("strategy")
    assert found.loc["gradnorm", "verdict"] == "hurts"
