"""Run directories as records: found in order, and read whatever is broken in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.run import find_runs, is_foreign, read_run, search
from mtl_runner.runs.lock import locked
from tests.unit.results.run_builders import METRICS, write_run, write_trained_run


def test_runs_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Breaks if run 10 stands before run 2, in every table."""
    for name in ("10_a", "2_a", "alone", "1_b"):
        write_run(tmp_path, name, METRICS)
    assert [run.name for run in find_runs([tmp_path])] == ["1_b", "2_a", "10_a", "alone"]


def test_a_run_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    """Breaks if `mtl-compare sweep sweep/0` counts a run twice."""
    write_run(tmp_path, "0", METRICS)
    assert len(find_runs([tmp_path, tmp_path / "0", tmp_path / "0" / ".." / "0"])) == 1


def test_what_holds_no_run_is_an_error(tmp_path: Path) -> None:
    """Breaks if a misspelt path gives an empty comparison."""
    with pytest.raises(RunDirectoryError, match="There is no directory"):
        find_runs([tmp_path / "missing"])
    with pytest.raises(RunDirectoryError, match="holds no run"):
        find_runs([tmp_path])


def write_foreign(directory: Path, config: str = "data: {n: 3}\ntrainer: {lr: 1}\n") -> Path:
    """Write the output folder of another program that uses Hydra."""
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text(config)
    return directory


def test_another_programs_folder_is_no_run(tmp_path: Path) -> None:
    """Breaks if another Hydra program's output is listed as a killed run, or stops everything."""
    write_run(tmp_path, "0", METRICS)
    write_trained_run(tmp_path / "killed", status="killed")
    foreign = write_foreign(tmp_path / "x" / "other")
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "summary.json").write_text('{"accuracy": 0.9}')
    runs, strange = search([tmp_path])
    assert [run.name for run in runs] == ["0", "killed"]
    assert strange == [foreign, tmp_path / "y"]


def test_where_all_is_another_programs_the_error_names_it(tmp_path: Path) -> None:
    """Breaks if a user learns that there is no run, but not that there is another program's."""
    foreign = write_foreign(tmp_path / "other")
    with pytest.raises(RunDirectoryError) as error:
        find_runs([tmp_path])
    assert (
        str(error.value)
        == f"{str(tmp_path)!r} holds no run of mtl-runner ({str(foreign)!r} is of another program); give run directories or the directory of a sweep."
    )


@pytest.mark.parametrize("config", ["weighting: [", "weighting: {a: ${oc.env:NAME}}\n"])
def test_a_config_that_may_be_ours_makes_a_run(tmp_path: Path, config: str) -> None:
    """Breaks if a damaged run, or one that refers to the environment, is silently left out."""
    assert not is_foreign(write_foreign(tmp_path / "x", config))


@pytest.mark.parametrize(
    ("status", "recorded", "reason"),
    [
        ("finished", "finished", ""),
        ("failed", "failed", "out of memory"),
        ("running", "incomplete", "killed, or still running"),
        ("killed", "incomplete", "killed before it began to train"),
        ("queued", "queued", "it waits for its turn, unless the sweep was stopped"),
    ],
)
def test_a_run_that_did_not_finish_has_a_reason(
    tmp_path: Path, status: str, recorded: str, reason: str
) -> None:
    """Breaks if a killed run passes for a finished one, or nothing tells what became of it."""
    given = "out of memory" if status == "failed" else ""
    run = read_run(write_trained_run(tmp_path / "0", status=status, reason=given))
    assert (run.status, run.reason) == (recorded, reason)
    assert run.finished == (status == "finished")


def test_a_run_in_which_a_process_is_at_work_is_no_killed_one(tmp_path: Path) -> None:
    """Breaks if a comparison takes runs that still train for failures."""
    directory = write_trained_run(tmp_path / "0", status="running")
    with locked(directory):
        run = read_run(directory)
    assert (run.status, run.reason) == ("running", "a process is at work in it")
    assert run.under_way
    assert not read_run(directory).under_way


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ('{"status": "fin', "it is no valid JSON (line 1)"),
        ("[]", "it holds no JSON object"),
        ("3", "it holds no JSON object"),
        ("null", "it holds no JSON object"),
    ],
)
def test_a_summary_that_is_not_readable_makes_a_broken_run(
    tmp_path: Path, text: str, why: str
) -> None:
    """Breaks if one half-copied file stops the comparison of the others."""
    directory = write_trained_run(tmp_path / "0", "dwa", optimizer__lr=0.1)
    (directory / "summary.json").write_text(text)
    run = read_run(directory)
    assert (run.status, run.reason) == ("broken", f"summary.json: {why}")
    assert run.overrides["optimizer.lr"] == "0.1"
    assert run.summary.tasks == {}


def test_a_run_that_failed_for_its_seed_says_so(tmp_path: Path) -> None:
    """Breaks if a seed that was refused makes the record of the failure look damaged."""
    reason = "seed must be a whole number of at least 0; found '0..3'."
    write_run(tmp_path, "0", METRICS, status="failed", seed="0..3")
    path = tmp_path / "0" / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "reason": reason}))
    run = read_run(path.parent)
    assert (run.status, run.reason, run.summary.seed) == ("failed", reason, None)


def test_options_are_those_of_the_summary_else_of_hydra(tmp_path: Path) -> None:
    """Breaks if a `+` of Hydra's is a part of a key, or a value with `=` is cut."""
    directory = write_trained_run(tmp_path / "0", status="killed")
    typed = ["+study=fair", "~data.path", "data.query=a=b", "++x.y=1"]
    (directory / ".hydra" / "overrides.yaml").write_text(json.dumps(typed))
    assert read_run(directory).overrides == {"study": "fair", "data.query": "a=b", "x.y": "1"}
    (directory / "summary.json").write_text(json.dumps({"overrides": ["seed=4"]}))
    assert read_run(directory).overrides == {"seed": "4"}
