"""A user's torchmetric among the metrics of a task."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics as sk

from mtl_runner.data.dataset import Split
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric, is_torchmetric
from mtl_runner.tasks.task import Task
from tests.support.builders import evaluate_split
from tests.unit.tasks.problems import ROWS, FixedOutputs

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_torchmetric_of_ones_own_is_told_every_batch(batch: int) -> None:
    """Breaks if it sees logits, training units, missing labels, or an earlier evaluation."""
    torchmetrics = pytest.importorskip("torchmetrics")
    random = torch.Generator().manual_seed(0)
    metrics = {
        "a": TorchMetric(torchmetrics.MeanSquaredError()),
        "b": TorchMetric(
            torchmetrics.classification.MulticlassMatthewsCorrCoef(num_classes=3), "mcc"
        ),
        "c": TorchMetric(torchmetrics.classification.MultilabelHammingDistance(num_labels=2)),
    }
    tasks = [
        Task(
            "a",
            "regression",
            size=1,
            offset=5.0,
            scale=2.0,
            missing=True,
            metrics=("rmse", metrics["a"]),
        ),
        Task("b", "classification", size=3, missing=True, metrics=(metrics["b"], "accuracy")),
        Task("c", "multilabel", size=2, metrics=(metrics["c"],)),
    ]
    outputs = {t.name: torch.randn(ROWS, t.size, generator=random) for t in tasks}
    targets = {
        "a": torch.randn(ROWS, 1, generator=random),
        "b": torch.randint(3, (ROWS,), generator=random),
        "c": torch.randint(2, (ROWS, 2), generator=random).double(),
    }
    targets["a"][:5], targets["b"][-5:] = torch.nan, MISSING_CLASS
    split = Split(torch.arange(ROWS).unsqueeze(1), targets)
    for _ in range(2):  # the second evaluation begins anew
        values = evaluate_split(FixedOutputs(outputs), tasks, split, rows=batch).values
        error = 2.0 * (outputs["a"] - targets["a"])[5:]
        assert values["a"]["mean_squared_error"] == pytest.approx(
            error.square().mean().item(), rel=1e-6
        )
        assert list(values["a"])[1:] == ["rmse", "mean_squared_error"]
        mcc = sk.matthews_corrcoef(targets["b"][:-5], outputs["b"][:-5].argmax(1))
        assert values["b"]["mcc"] == pytest.approx(mcc, rel=1e-5)
        hamming = sk.hamming_loss(targets["c"], outputs["c"] > 0)
        assert values["c"]["multilabel_hamming_distance"] == pytest.approx(hamming, rel=1e-5)
    assert tasks[0].directions["mean_squared_error"] is False
    assert tasks[1].directions["mcc"] is True


def test_what_has_the_methods_of_a_torchmetric_is_one() -> None:
    """Breaks if the package has to be installed to tell a torchmetric from other objects."""

    class Counter:
        def update(self) -> None: ...
        def compute(self) -> None: ...
        def reset(self) -> None: ...

    assert not is_torchmetric(Counter())
    Counter.clone = lambda self: self  # type: ignore[attr-defined]
    assert is_torchmetric(Counter())
    metric = TorchMetric(Counter())
    assert (metric.name, metric.higher_is_better) == ("counter", None)
