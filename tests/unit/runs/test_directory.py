"""A run directory: whom it belongs to, and what may be written into it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.directory import claimed, trained_config
from mtl_runner.runs.lock import locked
from mtl_runner.runs.records import read_config, read_identity, read_summary
from tests.unit.runs.claims import claim_for, config


def train_in(directory: Path) -> None:
    """Leave what a run leaves when it begins to train."""
    (directory / "metrics.csv").write_text("epoch,step\n")


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
    train_in(tmp_path)
    with pytest.raises(RunDirectoryError) as error:
        claim_for(tmp_path, OmegaConf.create({**config(), **options}))
    assert f"holds a run with another config ({difference});" in str(error.value)


def test_an_option_that_is_new_and_unused_makes_no_other_run(tmp_path: Path) -> None:
    """Breaks if runs of an older version cannot be resumed with this one."""
    claim_for(tmp_path, OmegaConf.create({"seed": 0, "data": {"n": 60}}))
    train_in(tmp_path)
    claim_for(tmp_path, config())


def test_a_run_that_never_trained_gives_way_to_the_corrected_command(tmp_path: Path) -> None:
    """Breaks if a mistyped option takes the directory from the command that is right."""
    claim_for(tmp_path, config(record={"conflicts": True}))
    (tmp_path / "summary.json").write_text('{"status": "failed"}')
    right = config(record={"gradients": True})
    claim_for(tmp_path, right)
    assert read_config(tmp_path) == right
    assert read_summary(tmp_path) == {}, "the failure was that of the other command"


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoint.pt", "best.pt", "summary.json"])
def test_a_run_that_trained_does_not_give_way(tmp_path: Path, name: str) -> None:
    """Breaks if another command overwrites results."""
    claim_for(tmp_path, config())
    (tmp_path / name).write_text('{"status": "finished"}')
    with pytest.raises(RunDirectoryError, match="holds a run with another config"):
        claim_for(tmp_path, config(seed=1))


def test_a_run_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    """Breaks if a run that this version does not understand is taken for one that never began."""
    claim_for(tmp_path, config())
    path = tmp_path / "summary.json"
    path.write_text('{"format": 2, "status": "finished"}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    sentence = f"{str(path)!r} cannot be used: it was written by a newer mtl-runner (format 2; this one reads up to 1); update mtl-runner to read it."
    for seed in (0, 1):
        with pytest.raises(RunDirectoryError) as refused:
            claim_for(tmp_path, config(seed=seed))
        assert str(refused.value) == sentence
    assert {path: path.read_bytes() for path in before} == before


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


def race(directory: Path, seed: int, barrier: object, outcomes: object) -> None:
    """Claim a directory at the same moment as others, and say what it then holds."""
    run = config(seed=seed)
    barrier.wait(20)  # type: ignore[attr-defined]
    try:
        with claimed(directory, run, [f"seed={seed}"], {}, None):
            train_in(directory)
            held = read_config(directory) == run
            named = read_identity(directory)["overrides"] == [f"seed={seed}"]
            outcomes.put("ours" if held and named else "another's")  # type: ignore[attr-defined]
    except RunDirectoryError as error:
        outcomes.put(str(error).partition(";")[0].partition(" ")[2])  # type: ignore[attr-defined]


@pytest.mark.parametrize("trials", [5, pytest.param(30, marks=pytest.mark.long)])
def test_of_runs_that_start_together_one_has_the_directory_and_its_own_config(
    tmp_path: Path, trials: int
) -> None:
    """Breaks if a run records the config of another one, and repeat= repeats that."""
    context = multiprocessing.get_context("fork")
    for trial in range(trials):
        barrier, outcomes = context.Barrier(3), context.SimpleQueue()
        directory = tmp_path / str(trial)
        processes = [
            context.Process(target=race, args=(directory, seed, barrier, outcomes))
            for seed in range(3)
        ]
        for process in processes:
            process.start()
        answers = [outcomes.get() for _ in processes]
        for process in processes:
            process.join()
        assert answers.count("ours") == 1, answers
        refusals = ("is being written by another process", "holds a run with another config")
        assert all(text.startswith(refusals) for text in answers if text != "ours"), answers


def test_a_look_at_a_lock_keeps_no_run_out(tmp_path: Path) -> None:
    """Breaks if `mtl-compare` at the wrong moment makes a job of a sweep fail."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    with locked(tmp_path):
        pass
    look = os.open(tmp_path / ".hydra" / "lock", os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
    timer = threading.Timer(0.08, os.close, [look])
    timer.start()
    with locked(tmp_path):
        pass
    timer.join()


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    """Breaks if every kill leaves a file of a checkpoint's size."""
    claim_for(tmp_path, config())
    left = [tmp_path / name / f".x.{'0' * 16}.tmp" for name in ("", ".hydra")]
    for path in left:
        path.write_text("half")
    claim_for(tmp_path, config())
    assert not any(path.exists() for path in left)


def test_an_edit_of_the_recorded_config_is_noticed(tmp_path: Path) -> None:
    """Breaks if a config is edited before resume=, has no effect, and then lies about the run."""
    assert trained_config(tmp_path, None) is None
    claim_for(tmp_path, config(optimizer={"lr": 0.1}))
    recorded = trained_config(tmp_path, None)
    assert recorded == config(optimizer={"lr": 0.1})
    assert trained_config(tmp_path, recorded) == recorded
    path = tmp_path / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(
        RunDirectoryError,
        match=r"is not the one that its checkpoint was trained with \(optimizer\.lr is 0\.1 there and 0\.2 here\); put it back to resume, or train anew with mtl-run repeat=",
    ):
        trained_config(tmp_path, recorded)


def test_a_run_may_go_on_in_another_place(tmp_path: Path) -> None:
    """Breaks if a run whose data or machine has moved cannot be resumed."""
    claim_for(tmp_path, config(name="a", record={"plots": "all"}, trainer={"device": "cuda"}))
    recorded = trained_config(tmp_path, None)
    path = tmp_path / ".hydra" / "config.yaml"
    edited = path.read_text().replace("name: a", "name: b").replace("cuda", "cpu")
    path.write_text(
        edited.replace("plots: all", "plots: none").replace("n: 60", "n: 60\n  path: x")
    )
    assert trained_config(tmp_path, recorded) == read_config(tmp_path)
