"""Metrics of sets of labels against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK
from tests.unit.tasks.problems import (
    ROWS,
    batch_sizes,
    gaps,
    measured,
    metric_names_of,
    multilabel_problem,
    seeds,
    values_in_batches,
)

pytestmark = pytest.mark.usefixtures("float64")


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(1, 40), size=st.integers(2, 6))
def test_multilabel_metrics_are_scikit_learns_means_over_samples(
    seed: int, gap: float, rows: int, size: int
) -> None:
    """Breaks if unknown labels count, 0/0 is not 0, or micro-F1 averages over samples."""
    logits, target = multilabel_problem(seed, gap, rows, size)
    values = measured(Task("a", "multilabel", size=size), logits, target)
    known = ~target.isnan()
    rows_known = known.any(1)
    true = ((target == 1) & known)[rows_known].numpy()
    predicted = ((logits.sigmoid() > 0.5) & known)[rows_known].numpy()
    scores: dict[str, Callable[..., float]] = {
        "accuracy": sk.jaccard_score,
        "precision": sk.precision_score,
        "recall": sk.recall_score,
        "f1": sk.f1_score,
    }
    for name, score in scores.items():
        assert values[name] == pytest.approx(
            score(true, predicted, average="samples", zero_division=0)
        ), name
    entries = target[known].numpy(), (logits[known] > 0).double().numpy()
    assert values["micro_f1"] == pytest.approx(sk.f1_score(*entries, zero_division=0))
    if gap == 0:
        assert values["micro_f1"] == pytest.approx(
            sk.f1_score(true, predicted, average="micro", zero_division=0)
        )


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(1, 40), size=st.integers(2, 6))
def test_one_error_is_how_often_the_top_label_is_wrong(
    seed: int, gap: float, rows: int, size: int
) -> None:
    """Breaks if the ranking looks at unknown labels, or upside down."""
    logits, target = multilabel_problem(seed, gap, rows, size)
    values = measured(Task("a", "multilabel", size=size), logits, target)["one_error"]
    known = ~target.isnan()
    rows_known = known.any(1)
    relevant = torch.where(known, target, 0.0)[rows_known].numpy()
    scores = torch.where(known, logits, -1e9)[rows_known].numpy()
    assert values == pytest.approx(
        1 - sk.ndcg_score(relevant, scores, k=1)
    )  # the gain of the first place is precision at 1


@QUICK
@given(seed=seeds, batch=batch_sizes, gap=st.sampled_from([0.0, 0.3]))
def test_metrics_of_labels_are_scikit_learns(seed: int, batch: int, gap: float) -> None:
    """Breaks if labels are ranked together, or a missing one counts."""
    random = np.random.default_rng(seed)
    target, logits = (
        (random.random((ROWS, 3)) < 0.4).astype(float),
        random.normal(size=(ROWS, 3)).round(1),
    )
    target[0], target[1] = 0.0, 1.0  # both occur for every label
    unknown = random.random((ROWS, 3)) < gap
    unknown[:2] = False
    task = Task(
        "t",
        "multilabel",
        size=3,
        missing=gap > 0,
        metrics=metric_names_of("multilabel", "auc", "average_precision", "log_loss"),
    )
    values = values_in_batches(
        task, torch.tensor(logits), torch.tensor(np.where(unknown, np.nan, target)), batch
    )
    columns = [(target[~unknown[:, j], j], logits[~unknown[:, j], j]) for j in range(3)]
    assert values["auc"] == pytest.approx(
        np.mean([sk.roc_auc_score(*c) for c in columns]), rel=1e-12
    )
    assert values["average_precision"] == pytest.approx(
        np.mean([sk.average_precision_score(*c) for c in columns]), rel=1e-12
    )
    probabilities = 1 / (1 + np.exp(-logits[~unknown]))
    assert values["log_loss"] == pytest.approx(
        sk.log_loss(target[~unknown], probabilities), rel=1e-12
    )
