"""The models of all replicas are evaluated at once, and as each would be by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.train.stack import stacked_evaluation
from mtl_runner.train.stack.stacked_evaluation import StackedEvaluation
from mtl_runner.train.stack.stacked_step import StackedStep
from tests.unit.train.small_trainers import make_trainer

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("own_data", [False, True])
@pytest.mark.parametrize("at_once", [2, 8])
def test_every_replica_is_measured_as_by_itself(
    own_data: bool, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if replicas that go through the model in parts get the numbers of others."""
    monkeypatch.setattr(stacked_evaluation, "MIN_REPLICAS", at_once)
    monkeypatch.setattr(stacked_evaluation, "CPU_ROWS", 1)
    trainers = [make_trainer(tmp_path / str(k), f"seed={k}") for k in range(5)]
    for k, trainer in enumerate(trainers):
        trainer.experiment.data.splits["val"].inputs.add_(0.1 * k * own_data)
    single = [trainer.measure("val") for trainer in trainers]
    step = StackedStep(trainers, compiled=False)
    evaluation = StackedEvaluation(trainers, "val")
    assert evaluation.split.shared != own_data
    assert evaluation.replicas_at_once == min(at_once, 5)
    measured = evaluation(step.parameters, step.constants)
    assert len({e.relative_loss for e in measured}) == 5
    for replica, expected in zip(measured, single, strict=True):
        for task, values in expected.values.items():
            assert replica.values[task] == pytest.approx(values, rel=1e-12)
