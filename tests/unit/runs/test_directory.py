"""A run directory: whom it belongs to, and what may be written into it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.directory import claim, locked, read_config, read_identity, read_summary


def config(**options: object) -> DictConfig:
    """Return a config as Hydra composes it, but small."""
    return OmegaConf.create({"seed": 0, "data": {"n": 60, "metrics": {}}, **options})


def claim_for(directory: Path, run: DictConfig) -> None:
    """Claim a directory for a run with fixed overrides and choices."""
    claim(directory, run, ["data=toy", "seed=0"], {"data": "toy"}, None)


def test_a_claimed_directory_says_what_it_is_for(tmp_path: Path) -> None:
    """Breaks if a run cannot be resumed or repeated from its directory alone."""
    claim_for(tmp_path / "new" / "run", config())
    assert read_config(tmp_path / "new" / "run") == config()
    assert read_identity(tmp_path / "new" / "run") == {
        "overrides": ["data=toy", "seed=0"],
        "choices": {"data": "toy"},
    }


def test_the_same_run_may_claim_its_directory_again(tmp_path: Path) -> None:
    """Breaks if a run cannot be resumed, or its record changes when it is."""
    claim_for(tmp_path, config())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    claim_for(tmp_path, config())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"data": {"n": 70, "metrics": {}}}, "data.n is 60 there and 70 here"),
        ({"data": {"metrics": {}}}, "data.n is missing here"),
        ({"update": {"mode": "fresh"}}, "update is new here"),
    ],
)
def test_another_run_is_refused_with_the_first_difference(
    tmp_path: Path, options: dict[str, object], difference: str
) -> None:
    """Breaks if two runs are mixed in one directory, or a user cannot see why they are two."""
    claim_for(tmp_path, config())
    with pytest.raises(RunDirectoryError) as error:
        claim_for(tmp_path, OmegaConf.create({**config(), **options}))
    assert f"holds a run with another config ({difference});" in str(error.value)


def test_an_option_that_is_new_and_unused_makes_no_other_run(tmp_path: Path) -> None:
    """Breaks if runs of an older version cannot be resumed with this one."""
    claim_for(tmp_path, OmegaConf.create({"seed": 0, "data": {"n": 60}}))
    claim_for(tmp_path, config())


@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "checkpoint.pt", "best.pt"])
def test_results_of_unknown_origin_are_not_touched(tmp_path: Path, name: str) -> None:
    """Breaks if the results of another tool, or of a run that lost its config, are overwritten."""
    (tmp_path / name).write_text("precious")
    with pytest.raises(RunDirectoryError, match=f"already holds a {name} of unknown origin"):
        claim_for(tmp_path, config())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_files_do_not_stand_in_the_way(tmp_path: Path) -> None:
    """Breaks if a folder with a user's notes, or a log of Slurm's, cannot be a run directory."""
    (tmp_path / "notes.txt").write_text("mine")
    claim_for(tmp_path, config())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    """Breaks if a wrong path after resume= ends in a traceback."""
    with pytest.raises(RunDirectoryError, match="does not exist; give the path"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="holds no run"):
        read_config(tmp_path)
    (tmp_path / "multirun.yaml").write_text("")
    with pytest.raises(RunDirectoryError, match="is a sweep; start the same command again"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_summary_that_cannot_be_read_is_empty(tmp_path: Path, text: str) -> None:
    """Breaks if a run that was killed while it began cannot be started again."""
    (tmp_path / "summary.json").write_text(text)
    assert read_summary(tmp_path) == {}


def test_a_run_without_an_identity_takes_it_from_its_summary(tmp_path: Path) -> None:
    """Breaks if runs recorded before run.json cannot be repeated."""
    (tmp_path / "summary.json").write_text('{"overrides": ["seed=1"], "choices": {"data": "toy"}}')
    assert read_identity(tmp_path) == {"overrides": ["seed=1"], "choices": {"data": "toy"}}


def hold(directory: Path, ready: object, done: object) -> None:
    """Hold the lock of a directory until told to let go."""
    with locked(directory):
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_two_processes_cannot_write_one_directory(tmp_path: Path) -> None:
    """Breaks if a job that is started twice mixes its rows."""
    claim_for(tmp_path, config())
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(20)
        with (
            pytest.raises(RunDirectoryError, match="is being written by another process"),
            locked(tmp_path),
        ):
            pass
    finally:
        done.set()
        process.join()
    with locked(tmp_path):
        pass
