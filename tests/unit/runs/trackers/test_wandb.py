"""The record of a run as Weights & Biases keeps it for a later ``wandb sync``."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.runs.trackers import WandB
from tests.support.commands import Command
from tests.support.tracked_runs import EPOCHS, Points, curves, killed_and_resumed, numbers_of_test

pytestmark = pytest.mark.extras

BLOCK, HEAD = 32768, 7  # bytes of a block, and of the head of a file or a piece
WHOLE, LAST = 1, 4  # kinds of pieces that end a record


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file, which has the format of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, text = path.read_bytes(), HEAD, b""
    while place + HEAD <= len(data):
        if BLOCK - place % BLOCK < HEAD:
            place += BLOCK - place % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + HEAD])
        if not kind:
            return
        text += data[place + HEAD : place + HEAD + size]
        place += HEAD + size
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(text)
            text = b""
            yield record


def test_a_killed_and_resumed_run_is_one_record(mtl: Command, tmp_path: Path) -> None:
    """Breaks if W&B gets two runs, a step twice or not at all, or no config and pictures."""
    pytest.importorskip("wandb", reason="W&B reads its records")
    run = killed_and_resumed(mtl, tmp_path, "tracker=wandb", "tracker.wandb.mode=offline")
    files = sorted(path for path in (run / "wandb").glob("offline-run-*/*.wandb"))
    points: dict[str, Points] = {}
    summary: dict[str, Any] = {}
    identities, configs = set(), []
    for record in (record for file in files for record in records(file)):
        if record.WhichOneof("record_type") == "run":
            identities.add((record.run.project, record.run.run_id))
            configs.append(
                {item.key: json.loads(item.value_json) for item in record.run.config.update}
            )
        if record.WhichOneof("record_type") == "history":
            row = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for name, value in row.items():
                points.setdefault(name, []).append((row["_step"], value))
        if record.WhichOneof("record_type") == "summary":
            summary |= {i.key: json.loads(i.value_json) for i in record.summary.update if i.key}
    assert len(files) == 1
    assert len(identities) == 1
    assert points["epoch"] == EPOCHS
    for name, expected in curves(run).items():
        assert points[name] == [(step, pytest.approx(value)) for step, value in expected], name
    for name, value in numbers_of_test(run).items():
        assert summary[name] == pytest.approx(value), name
    assert configs[0]["trainer"]["epochs"] == 6
    assert "losses/path" in points


def test_a_mode_that_is_unknown_is_refused() -> None:
    """Breaks if a typing error sends a record to a server."""
    with pytest.raises(ConfigError, match=r"tracker.wandb.mode='ofline' is unknown"):
        WandB(mode="ofline")
