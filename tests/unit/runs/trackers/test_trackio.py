"""The record of a run in Trackio's database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.tracked_runs import EPOCHS, Points, curves, killed_and_resumed, numbers_of_test

pytestmark = pytest.mark.extras


def test_a_killed_and_resumed_run_is_one_record(mtl: Command, tmp_path: Path) -> None:
    """Breaks if Trackio has two runs, a step twice or not at all, or no config and pictures."""
    pytest.importorskip("trackio", reason="Trackio keeps the record")
    folder = tmp_path / "trackio"
    run = killed_and_resumed(mtl, tmp_path, "tracker=trackio", TRACKIO_DIR=str(folder))
    with sqlite3.connect(folder / "mtl-runner.db") as database:
        rows = database.execute(
            "select run_name, step, metrics from metrics order by id"
        ).fetchall()
        (config,) = database.execute("select config from configs").fetchone()
    database.close()
    assert len({name for name, _, _ in rows}) == 1
    assert json.loads(config)["trainer"]["epochs"] == 6
    points: dict[str, Points] = {}
    for _, step, metrics in rows:
        for name, value in json.loads(metrics).items():
            points.setdefault(name, []).append((step, value))
    assert points["epoch"] == EPOCHS
    for name, expected in curves(run).items():
        assert points[name] == expected, name
    for name, value in numbers_of_test(run).items():
        ((_, number),) = points[name]
        assert number == value, name
    assert "losses" in points
