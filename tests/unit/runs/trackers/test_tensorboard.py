"""The event files that TensorBoard reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.tracked_runs import EPOCHS, curves, killed_and_resumed, numbers_of_test

pytestmark = pytest.mark.extras


def test_a_killed_and_resumed_run_is_one_record(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a curve has a step twice or lacks one, or config and pictures are missing."""
    pytest.importorskip("tensorboard", reason="TensorBoard reads its event files")
    run = killed_and_resumed(mtl, tmp_path, "tracker=tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    record.Reload()
    points = {
        name: [(event.step, event.value) for event in record.Scalars(name)]
        for name in record.Tags()["scalars"]
    }
    assert points["epoch"] == EPOCHS
    for name, expected in (expected_curves := curves(run)).items():
        assert points[name] == [(step, pytest.approx(value)) for step, value in expected], name
    test = {name: values[0][1] for name, values in points.items() if name.startswith("test/")}
    assert test == pytest.approx(numbers_of_test(run))
    assert set(points) - set(test) - {"epoch"} == set(expected_curves)
    assert {"losses", "weights", "sigmas"} <= set(record.Tags()["images"])
    assert "epochs: 6" in str(record.Tensors("config/text_summary")[0].tensor_proto.string_val)
