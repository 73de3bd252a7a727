"""Areas under curves against scikit-learn, with ties and missing labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mtl_runner.tasks.metrics.ranking import area_under_roc, average_precision
from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK
from tests.unit.tasks.problems import seeds, values_in_batches

pytestmark = pytest.mark.usefixtures("float64")


@QUICK
@given(seed=seeds, rows=st.integers(2, 30), digits=st.integers(0, 3))
def test_areas_are_scikit_learns_also_with_ties(seed: int, rows: int, digits: int) -> None:
    """Breaks if equal scores are ranked by their position."""
    random = np.random.default_rng(seed)
    scores, labels = random.normal(size=rows).round(digits), random.random(rows) < 0.5
    labels[:2] = True, False
    tensors = torch.tensor(scores), torch.tensor(labels).double()
    assert area_under_roc(*tensors).item() == pytest.approx(sk.roc_auc_score(labels, scores))
    precision = sk.average_precision_score(labels, scores)
    assert average_precision(*tensors).item() == pytest.approx(precision)


def test_an_area_without_both_labels_is_undefined() -> None:
    """Breaks if a split with one class gets a score that looks real, or an error."""
    task = Task("t", "classification", size=2, metrics=("auc", "average_precision"))
    values = values_in_batches(task, torch.randn(5, 2), torch.zeros(5, dtype=torch.long), 2)
    assert np.isnan([values["auc"], values["average_precision"]]).all()
