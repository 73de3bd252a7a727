"""``mtl-run --prune``: what goes, what stays, and what is asked."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from mtl_runner.cli import _obey
from mtl_runner.errors import ConfigError, RunDirectoryError
from mtl_runner.results.disk import disk_text
from mtl_runner.results.records.run import read_run
from mtl_runner.runs.lock import locked
from mtl_runner.runs.predictor import load
from mtl_runner.runs.prune_command import main, removal_of
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "0"
    assert run(tiny_request(folder)).error == ""
    return folder


@pytest.fixture
def sweep(finished: Path, tmp_path: Path) -> Path:
    """A finished run, one that was stopped, and one whose checkpoint is a link out of the sweep."""
    sweep = tmp_path / "sweep"
    for name in ("done", "stopped", "linked"):
        shutil.copytree(finished, sweep / name)
    summary = json.loads((sweep / "stopped/summary.json").read_text())
    (sweep / "stopped/summary.json").write_text(json.dumps({**summary, "status": "interrupted"}))
    (sweep / "linked/checkpoint.pt").rename(tmp_path / "elsewhere.pt")
    (sweep / "linked/checkpoint.pt").symlink_to(tmp_path / "elsewhere.pt")
    (sweep / "folder").symlink_to(finished)
    return sweep


def files(folder: Path) -> set[str]:
    """Return the paths of all checkpoints below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.pt")}


def test_checkpoints_of_finished_runs_go_and_nothing_else(
    finished: Path, sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a run cannot go on any more, or a file outside of the sweep is removed."""
    assert main(["--prune", str(sweep), "--yes"]) == 0
    assert files(sweep) == {
        "done/best.pt", "linked/best.pt", "linked/checkpoint.pt", "stopped/best.pt", "stopped/checkpoint.pt",
    }  # fmt: skip
    assert (tmp_path / "elsewhere.pt").exists()
    assert files(finished) == {"best.pt", "checkpoint.pt"}
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "1 run has not finished and stays as it is: stopped."
    assert out[1].startswith("checkpoint.pt of 1 finished run, ")
    assert out[2].startswith("Removed ")
    assert load(sweep / "done").tasks
    assert read_run(sweep / "done").finished
    assert main(["--prune", str(sweep / "done"), "--yes"]) == 0
    assert capsys.readouterr().out == "There is nothing to remove.\n"


def test_sharded_tensors_go_with_their_checkpoint(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the bulk of a checkpoint stays without its head, or goes without it."""
    for name in ("done", "stopped", "linked"):
        (sweep / name / "shards/8").mkdir(parents=True)
        (sweep / name / "shards/8/__0_0.distcp").write_bytes(b"x" * 9_000_000)
    (sweep / "done/shards/7").symlink_to(sweep / "stopped/shards/8")
    assert "9 MB of it are checkpoints of finished runs" in disk_text([sweep / "done"])
    main(["--prune", str(sweep), "--keep", "last", "--yes"])
    assert (sweep / "done/shards/8/__0_0.distcp").exists()
    assert main(["--prune", str(sweep), "--yes"]) == 0
    assert "checkpoint.pt and shards of 1 finished run, 9 MB: after" in capsys.readouterr().out
    assert not (sweep / "done/shards").exists()
    assert (sweep / "stopped/shards/8/__0_0.distcp").exists()
    assert (sweep / "linked/shards/8/__0_0.distcp").exists(), "its checkpoint.pt is a link"
    (sweep / "done/shards/8").mkdir(parents=True)
    assert main(["--prune", str(sweep / "done"), "--yes"]) == 0
    assert not (sweep / "done/shards").exists(), "what an earlier version left"


def test_a_file_that_is_gone_is_explained(sweep: Path) -> None:
    """Breaks if a pruned run looks like a damaged one."""
    assert main(["--prune", str(sweep / "done"), "--keep", "none", "--yes"]) == 0
    assert files(sweep / "done") == set()
    with pytest.raises(RunDirectoryError, match=r"kept no best.pt \(record.checkpoints=none\)"):
        load(sweep / "done")


@pytest.mark.parametrize(
    ("answer", "gone"), [("y", True), ("yes", True), ("n", False), ("", False)]
)
def test_nothing_goes_unless_it_is_confirmed(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, answer: str, gone: bool
) -> None:
    """Breaks if Enter removes files, or the answer is not read."""
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert _obey(["--prune", str(sweep / "done"), "--keep", "last"]) == 0
    assert files(sweep / "done") == ({"checkpoint.pt"} if gone else {"checkpoint.pt", "best.pt"})


def test_a_script_that_cannot_be_asked_learns_of_yes(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a job without a terminal removes files, or waits for ever."""
    monkeypatch.setattr(sys, "stdin", (sweep / "done/metrics.csv").open())
    sys.stdin.read()
    with pytest.raises(ConfigError) as error:
        main(["--prune", str(sweep)])
    sys.stdin.close()
    assert str(error.value) == (
        "Nothing was removed, since nobody answered; add --yes to remove without asking."
    )
    assert "done/checkpoint.pt" in files(sweep)


def test_a_run_at_which_a_process_works_stays(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the checkpoint of a run that was taken up again is removed under it."""
    with locked(sweep / "done"):
        assert main(["--prune", str(sweep / "done"), "--yes"]) == 1
    assert files(sweep / "done") == {"checkpoint.pt", "best.pt"}
    assert "is being written by another process" in capsys.readouterr().err


def test_a_foreign_folder_with_a_summary_is_no_run(finished: Path, tmp_path: Path) -> None:
    """Breaks if files of somebody else are removed because of a summary.json beside them."""
    shutil.copytree(finished, tmp_path / "a", ignore=shutil.ignore_patterns(".hydra"))
    assert removal_of(read_run(tmp_path / "a"), ["best.pt"]) is None
    (tmp_path / "link").symlink_to(finished)
    assert removal_of(read_run(tmp_path / "link"), ["best.pt"]) is None
