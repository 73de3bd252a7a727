"""Files are counted by purpose, each once, and never through a link."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import write_json
from mtl_runner.results.command import main
from mtl_runner.results.disk import disk_text, files_below, in_units, purpose_of


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of a run that failed, and links out of it."""
    run = tmp_path / "sweep" / "0"
    (run / ".hydra").mkdir(parents=True)
    write_json(run / "summary.json", {"format": 1, "status": "failed", "reason": "why"})
    (run / "checkpoint.pt").write_bytes(b"x" * 3_000_000)
    os.link(run / "checkpoint.pt", run / "again.pt")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/large.bin").write_bytes(b"x" * 9_000_000)
    (run / "folder").symlink_to(tmp_path / "outside")
    (run / "large.bin").symlink_to(tmp_path / "outside/large.bin")
    return tmp_path / "sweep"


def test_files_count_once_and_links_not_at_all(sweep: Path) -> None:
    """Breaks if a link makes a sweep look larger than it is, or a second name counts again."""
    sizes = {file.path.name: file.size for file in files_below([sweep, sweep / "0"])}
    assert sum(size for name, size in sizes.items() if name.endswith(".pt")) == 3_000_000
    assert set(sizes) - {"checkpoint.pt", "again.pt"} == {"summary.json"}


def test_the_text_names_purposes_and_the_largest_files(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a user does not see what fills the disk."""
    (sweep / "0/again.pt").unlink()
    main([str(sweep), "--disk"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 run, 2 files, 3 MB"
    assert lines[1].split() == ["what", "files", "size", "share"]
    assert lines[3].split() == ["checkpoints", "(checkpoint.pt)", "1", "3", "MB", "100", "%"]
    assert lines[-2].split() == ["3", "MB", str(sweep / "0/checkpoint.pt")]
    assert "--prune" not in disk_text([sweep]), "of a run that has not finished nothing can go"
    assert not (sweep / "report.html").exists()


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    """Breaks if a wrong path is empty instead of wrong."""
    for path, sentence in ((tmp_path, "holds no run"), (tmp_path / "x", "There is no directory")):
        with pytest.raises(RunDirectoryError, match=sentence):
            disk_text([path])


@pytest.mark.parametrize(
    ("path", "purpose"),
    [
        ("s/0/best.pt", "best models (best.pt)"),
        ("s/0/.previous/checkpoint.pt", "saves of unfinished runs (.previous/)"),
        ("s/0/shards/8/__1_0.distcp", "sharded tensors of checkpoints (shards/)"),
        ("s/0/shards/8/.metadata", "sharded tensors of checkpoints (shards/)"),
        ("shards/0/best.pt", "best models (best.pt)"),
        ("s/0/export/model.onnx", "exported models (export/)"),
        ("s/0/.hydra/process.log", "configs and records"),
        ("s/0/losses.png", "pictures"),
        ("s/0/metrics.csv", "tables (.csv)"),
        ("s/report.html", "reports (.html)"),
        ("s/0/run.log", "logs"),
    ],
)
def test_every_file_has_a_purpose(path: str, purpose: str) -> None:
    """Breaks if a file of a run is one of the others."""
    assert purpose_of(PurePath(path)) == purpose


def test_sizes_are_in_the_unit_that_suits_them() -> None:
    """Breaks if a size reads 1000 kB, or 0 GB."""
    sizes = {
        0: "0 B",
        999: "999 B",
        1000: "1 kB",
        12_345: "12 kB",
        999_600: "1 MB",
        134e6: "134 MB",
    }
    assert {size: in_units(size) for size in sizes} == sizes
