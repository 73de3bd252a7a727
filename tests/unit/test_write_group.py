"""Files of a group get their names together, and only once they are on the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mtl_runner.files import write_atomic
from mtl_runner.tasks.task import Task
from mtl_runner.train.metrics_file import MetricsFile
from mtl_runner.write_group import current_group, once_written, written_together


def test_files_get_their_names_in_order_at_the_end_of_the_group(tmp_path: Path) -> None:
    """Breaks if a file is seen before its content is safe, or an older one replaces a newer one."""
    path, done = tmp_path / "a.txt", []
    write_atomic(path, b"old")
    with written_together():
        write_atomic(path, b"first")
        write_atomic(path, b"second")
        once_written(lambda: done.append(path.read_bytes()))
        assert path.read_bytes() == b"old"
        assert done == []
    assert done == [b"second"]
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]
    assert current_group() is None
    once_written(lambda: done.append(b"at once"))
    assert done[-1] == b"at once"


def test_an_error_in_the_group_leaves_the_old_files(tmp_path: Path) -> None:
    """Breaks if Ctrl-C amid a group leaves some of its files, or temporary ones."""
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def interrupted() -> None:
        with written_together():
            write_atomic(path, b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert current_group() is None


def test_a_disk_that_fails_fails_the_owner_of_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if one full directory takes the runs of a stack with it, or is not noticed."""
    done: list[int] = []
    fsync = os.fsync
    for owner in range(3):
        (tmp_path / str(owner)).mkdir()
    full = tmp_path / "1" / "metrics.csv"

    def full_disk(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == full.stat().st_ino:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    files = [MetricsFile(tmp_path / str(owner) / "metrics.csv", [Task("a")]) for owner in range(3)]
    monkeypatch.setattr(os, "fsync", full_disk)
    with written_together() as group:
        for owner in range(3):
            with group.owned_by(owner):
                files[owner].append([{"epoch": 1, "task": "a"}])
                write_atomic(tmp_path / str(owner) / "a.txt", b"new")
                once_written(lambda owner=owner: done.append(owner))
    assert list(group.failed) == [1]
    assert group.failed[1].errno == errno.ENOSPC
    assert group.failed[1].filename == str(full)
    assert [(tmp_path / str(owner) / "a.txt").exists() for owner in range(3)] == [True, False, True]
    assert done == [0, 2]
    assert not list(tmp_path.rglob("*.tmp"))
