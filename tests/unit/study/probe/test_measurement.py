"""What a probe reads of its short runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mtl_runner.files import write_json
from mtl_runner.study.probe.measurement import ShortRuns, has_gradients, measure
from tests.unit.study.probe.measurements import measurement

HEADER = "epoch,split,task,loss,gradient_norm,cosine_a,cosine_b"


def write_run(folder: Path, factor: float, rows: list[str] | None = None) -> Path:
    """Leave what a short run of equal weights records, with gradients in two epochs."""
    folder.mkdir()
    default = [
        f"1,train,a,4,{2 * factor},,0.5",
        f"1,train,b,9,{factor},0.5,",
        "2,train,a,1,1,,-0.5",
        "2,train,b,5,3,-0.5,",
    ]
    (folder / "metrics.csv").write_text("\n".join([HEADER, *(rows or default), ""]))
    tasks = {
        name: {"best": {"val": {"relative_loss": loss}}} for name, loss in (("a", 0.5), ("b", None))
    }
    summary = {"judge": "best", "tasks": tasks, "parameters": {"trained": 70}}
    write_json(folder / "summary.json", summary)
    return folder


def test_numbers_are_averaged_over_seeds(tmp_path: Path) -> None:
    """Breaks if a feature is that of the last seed alone, or first and last epoch are mixed."""
    equal = [write_run(tmp_path / "0", 1.0), write_run(tmp_path / "1", 3.0)]
    m = measure(["a", "b"], 50, {"a": 7.0, "b": None}, equal, {"equal": [[0.5, 0.7]]})
    assert m.norms == ((4.0, 2.0), (1.0, 3.0))
    assert m.cosines == (((1.0, 0.5), (0.5, 1.0)), ((1.0, -0.5), (-0.5, 1.0)))
    # A task without a trivial predictor is measured by its loss in the first epoch.
    assert m.scales == (7.0, 9.0)
    assert m.relative_losses[0] == 0.5
    assert math.isnan(m.relative_losses[1])
    assert (m.rows, m.parameters, m.monitors) == (50, 70, {"equal": ((0.5, 0.7),)})


@pytest.mark.parametrize("norm", ["", "0", "nan"])
def test_a_task_without_a_gradient_is_seen(tmp_path: Path, norm: str) -> None:
    """Breaks if a model that shares no parameter is probed."""
    rows = ["1,train,a,4,2,,0.5", f"1,train,b,9,{norm},0.5,"]
    assert not has_gradients(write_run(tmp_path / "run", 1.0, rows), ["a", "b"])
    assert has_gradients(write_run(tmp_path / "other", 1.0), ["a", "b"])


def test_a_measurement_survives_the_file(tmp_path: Path) -> None:
    """Breaks if a failed run or an unknown loss is another number after it was read again."""
    monitors = {"equal": ((0.5, 0.5),), "famo": ((math.inf, 0.4),)}
    m = measurement(monitors=monitors, relative_losses=(0.5, math.nan))
    write_json(tmp_path / "probe.json", m.as_json())
    again = ShortRuns.of(json.loads((tmp_path / "probe.json").read_text()))
    assert again.monitors == m.monitors
    assert math.isnan(again.relative_losses[1])
    assert (again.norms, again.cosines, again.tasks) == (m.norms, m.cosines, m.tasks)
