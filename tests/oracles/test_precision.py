"""Precision, micro-batches and the moving average: as runs, stopped, resumed and loaded."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

import mtl_runner
from mtl_runner.train import checkpoint
from tests.oracles.methods.runs import PROBLEMS, SMALL, finish, prepare, start
from tests.oracles.methods.test_resumed import LENGTH, assert_stops_change_nothing
from tests.support.builders import assert_same_bits
from tests.support.whole_runs import compose_config, finish_run

OPTIONS: dict[str, tuple[str, ...]] = {
    "bf16": ("trainer.precision=bf16",),
    "bf16_fresh": ("trainer.precision=bf16", "update=per_task", "update.gradients=fresh"),
    "bf16_famo": ("trainer.precision=bf16", "weighting=famo"),
    "float64": ("trainer.precision=float64",),
    "accumulate": ("trainer.accumulate='9 rows'", "weighting=uncertainty"),
    "average": ("trainer.ema=0.9",),
    "all": ("trainer.ema=0.9", "trainer.accumulate=3", "trainer.precision=bf16"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stopped_run_ends_in_the_same_bytes(tmp_path: Path, name: str) -> None:
    """Breaks if a resumed run rounds, draws or averages in another way."""
    options = OPTIONS[name]
    weighting = () if any(o.startswith("weighting=") for o in options) else ("weighting=fixed",)
    assert_stops_change_nothing(
        tmp_path, random.Random(name), *weighting, *PROBLEMS["toy_mixed"], *SMALL, *LENGTH, *options
    )


def test_load_takes_the_average_that_was_judged(tmp_path: Path) -> None:
    """Breaks if the model in use is not the one whose numbers are in summary.json."""
    config = compose_config(
        "data=digits", "trainer.epochs=2", "trainer.ema=0.5", "record.plots=none"
    )
    directory = finish_run(tmp_path / "run", config)
    saved = checkpoint.load(directory / "best.pt")
    model = mtl_runner.load(directory).model
    assert_same_bits(dict(model.state_dict()), saved["weights"][""])
    trained = saved["trained_weights"][""]
    assert trained.keys() == saved["weights"][""].keys()
    assert any(not torch.equal(trained[key], saved["weights"][""][key]) for key in trained)


@pytest.mark.long
@pytest.mark.parametrize("method", ["fixed", "uncertainty", "pcgrad"])
@pytest.mark.parametrize("problem", ["data=digits", "data=multi_digits"])
def test_bf16_ends_where_float32_does(tmp_path: Path, problem: str, method: str) -> None:
    """Breaks if losses or weights are rounded, or the model computes in float32 after all.

    A hundredth of the trivial predictor's loss is the unit of the monitor.
    """
    values = []
    for precision in ("float32", "bf16"):
        directory = prepare(
            tmp_path / precision,
            problem,
            f"weighting={method}",
            f"trainer.precision={precision}",
            "trainer.epochs=10",
            "trainer.device=cpu",
            "record.plots=none",
        )
        finish(directory)
        values.append(start(directory).best.value)
    assert values[1] == pytest.approx(values[0], rel=0.03, abs=0.01)
    assert values[1] != values[0]
