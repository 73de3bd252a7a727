"""Areas under curves against scikit-learn, with ties and missing labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mtl_runner.tasks.meter import TaskMeter
from mtl_runner.tasks.metrics.ranking import (
    area_under_roc,
    area_within_groups,
    average_precision,
)
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


@QUICK
@given(seed=seeds, rows=st.integers(2, 60), digits=st.integers(0, 3), count=st.integers(1, 8))
def test_the_area_within_groups_is_scikit_learns_of_each_group_weighted_by_rows(
    seed: int, rows: int, digits: int, count: int
) -> None:
    """Breaks `gauc`: ties, groups with one label, or the weights."""
    random = np.random.default_rng(seed)
    scores, labels = random.normal(size=rows).round(digits), random.random(rows) < 0.5
    groups = random.integers(0, count, rows)
    areas, weights = [], []
    for group in range(count):
        here = groups == group
        if 0 < labels[here].sum() < here.sum():
            areas.append(sk.roc_auc_score(labels[here], scores[here]))
            weights.append(here.sum())
    expected = np.average(areas, weights=weights) if areas else np.nan
    area = area_within_groups(
        torch.tensor(scores), torch.tensor(labels).double(), torch.tensor(groups)
    )
    assert area.item() == pytest.approx(expected, nan_ok=True)


def test_one_group_is_the_plain_area_also_in_batches() -> None:
    """Breaks `gauc` where nobody tells groups, or where a split is measured in batches."""
    for kind, target in (
        ("classification", torch.tensor([0, 1, 1, -100, 0, 1])),
        ("multilabel", torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 2)),
    ):
        task = Task("t", kind, size=2, metrics=("auc", "gauc"))
        output = torch.tensor([[0.1, 0.5], [0.3, 0.1], [0.2, 0.9], [0.7, 0.2], [0.6, 0.8], [0, 1]])
        values = values_in_batches(task, output, target, 4)
        assert values["gauc"] == pytest.approx(values["auc"])


def test_rows_without_a_group_do_not_count() -> None:
    """Breaks the group -1 of rows that have no value in the column of groups."""
    task = Task("t", "classification", size=2, metrics=("gauc",))
    output = torch.tensor([[0.0, 0.1], [0.0, 0.9], [0.0, 0.5], [0.0, 0.0]])
    target, groups = torch.tensor([0, 1, 0, 1]), torch.tensor([4, 4, -1, -1])
    meter = TaskMeter(task)
    _, rows = meter.measure_batch(output, target, groups)
    assert meter.compute({}, rows, {})["gauc"].item() == 1
