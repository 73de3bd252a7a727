"""A comparison on the terminal: what stands beside the numbers, as text and as Markdown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mtl_runner.results.compare import compare
from tests.unit.results.run_builders import METRICS, write_run, write_study


def test_markdown_is_a_table_that_shows_names_as_they_are(sweep: Path) -> None:
    """Breaks if the table cannot be pasted into an issue, or a bar or a tag in a name breaks it."""
    write_study(sweep, {f"g{i}": {"strategy": "<b>a|b_c</b>"} for i in range(6)})
    lines = compare(sweep).text("md").splitlines()
    head = next(
        i
        for i, line in enumerate(lines)
        if line.startswith("| strategy | runs | a rmse | b rmse | relative\\_loss |")
    )
    assert set(lines[head + 1]) == set("| -")
    bars = [line.replace("\\|", "").count("|") for line in lines[head : head + 7]]
    assert len(set(bars)) == 1
    assert any(line.startswith("| \\<b\\>a\\|b\\_c\\</b\\> | 6 |") for line in lines)
    assert any(line.startswith("- \\<b\\>a\\|b\\_c\\</b\\> helps: ") for line in lines)


def test_a_studys_notes_are_printed(sweep: Path) -> None:
    """Breaks if remarks of a study on its own tuning stay in a file that nobody opens."""
    note = "The best learning rate of dwa is the smallest that was tried."
    trial = {"e0": {"strategy": "equal", "role": "equal", "final": False}}
    for jobs in (trial, {}):  # also while it still tunes
        write_study(sweep, jobs, notes=[note])
        assert compare(sweep).text().count(note) == 1


def test_two_studies_stand_side_by_side(sweep: Path) -> None:
    """Breaks if studies are merged, or lose their own margins and notes."""
    other_study = sweep.parent / "other"
    shutil.copytree(sweep, other_study)
    for folder, margin in ((sweep, 0.02), (other_study, 0.2)):
        write_study(folder, {}, margin=margin, notes=[f"A note of {folder.name}."])
    comparison = compare([sweep, other_study])
    for name, margin in (("sweep", 2), ("other", 20)):
        assert f"d ({name}) (test" in comparison.text()
        assert f"A note of {name}." in comparison.text()
        assert f"margin {margin} %" in comparison.text()
    verdicts = comparison.verdicts.set_index(["data", "strategy"])
    assert verdicts.loc[("d (sweep)", "famo"), "verdict"] == "helps"
    assert verdicts.loc[("d (other)", "famo"), "verdict"] == "no difference"
    assert set(comparison.runs["data"]) == {"d (sweep)", "d (other)"}


def test_a_lost_study_is_reported(sweep: Path) -> None:
    """Breaks if tuning runs silently count as evidence because a file was not copied."""
    (sweep / "multirun.yaml").write_text(
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.mtl_runner.FairSweeper\n"
    )
    assert (
        "study.json is missing or not readable: tuning runs cannot be told from final ones."
        in compare(sweep).text()
    )


def test_one_task_is_pointed_out(tmp_path: Path) -> None:
    """Breaks if weights between tasks are judged where there is one task, without a remark."""
    for i, weighting in enumerate(("fixed", "dwa")):
        write_run(tmp_path, str(i), {"a": METRICS["a"]}, weighting=weighting)
    text = compare(tmp_path).text()
    assert "There is one task: weights between tasks cannot matter" in text


def test_a_strategy_that_never_trained_has_its_verdict(sweep: Path) -> None:
    """Breaks if a method of which every trial failed is missing from terminal and files."""
    jobs = {f"e{i}": {"strategy": "equal", "role": "equal"} for i in range(6)}
    write_study(sweep, {**jobs, "d5": {"strategy": "gradnorm", "final": False}})
    comparison = compare(sweep)
    assert (
        "gradnorm failed: its only trial did not finish (The loss of task 'a' became nan"
        in comparison.text()
    )
    verdicts = comparison.verdicts.set_index("strategy")
    assert verdicts.loc["gradnorm", "verdict"] == "hurts"


def test_numbers_have_their_interval_and_delta_m_its_columns(sweep: Path, tmp_path: Path) -> None:
    """Breaks if half an interval is printed for one run, or delta-m without single-task runs."""
    table = compare(sweep).text()
    header = re.split(" {2,}", table.splitlines()[1])
    assert header[-4:] == ["relative_loss", "mean rank", "delta-m %", "delta-m % (tasks)"]
    famo = next(line for line in table.splitlines() if line.startswith("famo"))
    assert "  0.91 ± 0.0026  " in famo
    write_run(tmp_path / "one", "0", METRICS)
    lines = compare(tmp_path / "one").text().splitlines()
    assert lines[:4] == [
        "d (validation, final epoch, mean ± 95 % interval over runs)",
        "strategy  runs  a rmse  b rmse  relative_loss  mean rank",
        "--------  ----  ------  ------  -------------  ---------",
        "fixed     1     1       2       0.5            1",
    ]


def test_what_did_not_finish_is_listed(sweep: Path) -> None:
    """Breaks if a reader of the terminal does not learn which run failed and why."""
    text = compare(sweep).text()
    assert text.endswith("Not finished:\n  d5: failed: The loss of task 'a' became nan in epoch 3.")
    assert "dwa               5 (1 failed)" in text


def test_a_method_that_cannot_run_on_the_problem_is_not_applicable(sweep: Path) -> None:
    """Breaks if the table counts a refusal as a failure, as if the method had been tried."""
    for seed in range(2):
        write_run(sweep, f"k{seed}", METRICS, weighting="krum", seed=seed, status="failed")
    comparison = compare(sweep)
    assert "krum              0 (2 failed)" in comparison.text()
    for seed in range(2):
        path = sweep / f"k{seed}" / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "refused": True}))
    comparison = compare(sweep)
    for style, row in (("text", "krum              0 (not applicable)"), ("md", "| krum | 0 (not")):
        assert row in comparison.text(style)
    assert "dwa               5 (1 failed)" in comparison.text()


def test_equal_reasons_are_told_once(sweep: Path) -> None:
    """Breaks if the same sentence fills the terminal, or hides another one."""
    for name in ("d3", "d4", "g0"):
        path = sweep / name / "summary.json"
        summary = json.loads(path.read_text())
        path.write_text(json.dumps({**summary, "status": "failed", "reason": "No memory."}))
    assert (
        compare(sweep)
        .text()
        .endswith(
            "Not finished:\n  3 runs: failed: No memory.\n  d5: failed: The loss of task 'a' became nan in epoch 3."
        )
    )


def test_what_still_waits_is_no_failure(sweep: Path) -> None:
    """Breaks if a comparison of a sweep that goes on counts its rest as failed."""
    for name in ("d3", "d4"):
        path = sweep / name / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": "queued"}))
    comparison = compare(sweep)
    text = comparison.text()
    assert "Under way: 2 queued; compare again when they have finished." in text
    assert text.endswith("Not finished:\n  d5: failed: The loss of task 'a' became nan in epoch 3.")
    assert comparison.failed == 1
    assert "dwa               3 (1 failed)" in text


def test_what_another_program_left_is_skipped_with_a_sentence(sweep: Path) -> None:
    """Breaks if a foreign folder stops a comparison, or is left out without a word."""
    (sweep / "other" / ".hydra").mkdir(parents=True)
    (sweep / "other" / ".hydra" / "config.yaml").write_text("token: ${oc.env:SECRET_TOKEN}\n")
    comparison = compare("sweep")
    assert comparison.total == 30
    assert comparison.text().endswith(
        "Skipped, as another program's and no run of mtl-runner: sweep/other."
    )


def test_a_study_with_factors_has_a_verdict_for_each_and_says_whether_they_agree(
    tmp_path: Path,
) -> None:
    """Breaks if optimizers are pooled, or nobody says whether the verdict depends on them."""
    jobs = {}
    for optimizer, better in (("adam", 0.9), ("sgd", 1.0)):
        for seed in range(4):
            for name, factor in (("equal", 1.0), ("dwa", better + seed / 1000)):
                metrics = {t: {m: factor * v for m, v in row.items()} for t, row in METRICS.items()}
                run = f"{optimizer}_{name}_{seed}"
                weighting = "fixed" if name == "equal" else name
                write_run(tmp_path, run, metrics, weighting=weighting, seed=seed)
                role = "equal" if name == "equal" else "strategy"
                jobs[run] = {"strategy": name, "role": role, "factors": {"optimizer": optimizer}}
    group_notes = {"optimizer=sgd": ["SGD is slow."]}
    write_study(tmp_path, jobs, notes=["All is well."], group_notes=group_notes)
    comparison = compare(tmp_path, output=tmp_path)
    verdicts = comparison.verdicts.set_index("data")["verdict"]
    assert dict(verdicts) == {
        "d, optimizer=adam": "better than equal weights",
        "d, optimizer=sgd": "no difference",
    }
    blocks = comparison.text().split("\n\n")
    assert "SGD is slow." not in blocks[0]
    assert {"SGD is slow.", "All is well."} <= set(blocks[2].splitlines())
    line = (
        "The verdict depends on the optimizer: dwa is better than equal weights with optimizer adam"
    )
    assert blocks[4].startswith(f"Across the factors of the study:\n  {line}")
    assert line in (tmp_path / "report.html").read_text()
    table = pd.read_csv(tmp_path / "factors.csv")
    assert table["difference.mean"].tolist() == pytest.approx([1 / 0.9 - 1], abs=2e-3)
    assert table["depends"].tolist() == [True]


def write_data_sets(folder: Path, count: int) -> Path:
    """Write runs of three strategies on some data sets; equal weights measured interference."""
    for data in range(count):
        for place, weighting in enumerate(("fixed", "dwa", "famo")):
            metrics = {t: {"rmse": 1.0, "relative_loss": 0.5 - place / 10} for t in "ab"}
            name = f"{data}_{weighting}"
            choices = {"data": f"d{data}"}
            write_run(folder, name, metrics, weighting=weighting, choices=choices)
            if weighting == "fixed":
                path = folder / name / "summary.json"
                measured = {"interference": {"cosine": 0.5}}
                path.write_text(json.dumps({**json.loads(path.read_text()), **measured}))
    return folder


def test_what_holds_over_all_data_sets_comes_last(tmp_path: Path) -> None:
    """Breaks if ranks over data sets are lost, or made of fewer than three."""
    two, three = (compare(write_data_sets(tmp_path / str(count), count)).text() for count in (2, 3))
    assert "Over all data sets:" not in two
    block = three.split("\n\n")[-1]
    assert block.startswith(
        "Over all data sets:\n  Mean ranks over 3 data sets, 3 strategies: famo 1"
    )


def test_remarks_stand_under_the_verdict_of_their_data_set(tmp_path: Path) -> None:
    """Breaks if a remark is said of another data set, or an empty heading is printed."""
    comparison = compare(write_data_sets(tmp_path, 2))
    text = comparison.text()
    assert text.count("Beside the verdict:\n  Gradients of the tasks") == 2
    assert "Beside the verdict:\n\n- Gradients of the tasks" in comparison.text("md")
    shutil.rmtree(tmp_path / "0_fixed")
    assert compare(tmp_path).text().count("Beside the verdict:") == 1
