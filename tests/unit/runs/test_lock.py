"""One process writes in a run directory at a time, and no link leads it elsewhere."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.lock import locked
from tests.unit.runs.claims import claim_for, config


def hold(directory: Path, ready: object, done: object) -> None:
    """Hold the lock of a directory until told to let go."""
    with locked(directory):
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_two_processes_cannot_write_one_directory(tmp_path: Path) -> None:
    """Breaks if a job that is started twice mixes its rows, or one records the other's config."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(20)
        with pytest.raises(RunDirectoryError, match="is being written by another process"):
            claim_for(tmp_path, config())
        assert not (tmp_path / ".hydra" / "config.yaml").exists()
    finally:
        done.set()
        process.join()
    with locked(tmp_path):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """Breaks if resuming a run of somebody else empties a file of the user's."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    claim_for(tmp_path / "run", config())
    lock = tmp_path / "run" / ".hydra" / "lock"
    lock.unlink()
    lock.symlink_to(precious)
    with pytest.raises(RunDirectoryError, match="lock' is a link; remove it"):
        claim_for(tmp_path / "run", config())
    assert precious.read_text() == "mine"


def test_records_that_lie_elsewhere_are_not_written(tmp_path: Path) -> None:
    """Breaks if a run in a foreign directory overwrites the records of another run."""
    claim_for(tmp_path / "mine", config())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / ".hydra").symlink_to(tmp_path / "mine" / ".hydra")
    for seed in (0, 1):
        with pytest.raises(RunDirectoryError, match=r"\.hydra' is a link; remove it\.$"):
            claim_for(tmp_path / "foreign", config(seed=seed))
    assert {path: path.read_bytes() for path in before} == before


def begin_and_sleep(has_begun: Any) -> None:
    """Say that the process has begun, and wait to be killed."""
    has_begun.set()
    time.sleep(60)


def test_a_data_worker_that_outlives_its_run_holds_no_lock(tmp_path: Path) -> None:
    """Breaks if a killed run cannot be resumed until the last of its workers has noticed."""
    context = multiprocessing.get_context("fork")
    has_begun = context.Event()
    worker = context.Process(target=begin_and_sleep, args=(has_begun,))
    with locked(tmp_path):
        worker.start()
        assert has_begun.wait(30)
    try:
        with locked(tmp_path):  # it would be refused if the worker still held the lock
            pass
    finally:
        worker.kill()
        worker.join()
