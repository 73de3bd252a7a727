"""Metrics of classes against scikit-learn; calibration against a loop that follows the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import nn

from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.metrics.classification import CALIBRATION_BINS
from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK
from tests.unit.tasks.pixels import CLASSES, SEGMENTATION, random_pixels
from tests.unit.tasks.problems import (
    ROWS,
    batch_sizes,
    classification_problem,
    gaps,
    measured,
    metric_names_of,
    seeds,
    values_in_batches,
)

pytestmark = pytest.mark.usefixtures("float64")


def calibration_error(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the error of Guo et al. (ICML 2017, eq. 3), bin by bin, with bins ((m-1)/M, m/M]."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    total = 0.0
    for m in range(1, CALIBRATION_BINS + 1):
        members = [
            i
            for i in range(len(target))
            if (m - 1) / CALIBRATION_BINS < probabilities[i].max() <= m / CALIBRATION_BINS
        ]
        if members:
            accuracy = np.mean([probabilities[i].argmax() == target[i] for i in members])
            confidence = np.mean([probabilities[i].max() for i in members])
            total += len(members) / len(target) * abs(accuracy - confidence)
    return total


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(1, 60), size=st.integers(2, 6), data=st.data())
def test_classification_metrics_are_scikit_learns(
    seed: int, gap: float, rows: int, size: int, data: st.DataObject
) -> None:
    """Breaks if unknown labels or absent classes count, or calibration is not the paper's."""
    logits, target = classification_problem(seed, gap, rows, size, data.draw(st.integers(1, size)))
    values = measured(Task("a", "classification", size=size), logits, target)
    known = target != MISSING_CLASS
    true, predicted = target[known].numpy(), logits[known].argmax(1).numpy()
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert values["f1"] == pytest.approx(
        sk.f1_score(true, predicted, average="macro", zero_division=0)
    )
    assert values["ece"] == pytest.approx(calibration_error(logits[known].numpy(), true), abs=1e-12)


@QUICK
@given(seed=seeds, gap=gaps)
def test_a_class_per_pixel_is_measured_pixel_by_pixel(seed: int, gap: float) -> None:
    """Breaks if a map of classes is scored along the wrong axis."""
    logits, target = classification_problem(seed, gap, 4 * 6 * 5, 3, 3)
    task = Task("a", "classification", size=3)
    maps = logits.view(4, 6, 5, 3).permute(0, 3, 1, 2), target.view(4, 6, 5)
    assert measured(task, *maps) == pytest.approx(measured(task, logits, target))


@pytest.mark.parametrize(("logit", "right", "expected"), [(100.0, True, 0.0), (100.0, False, 1.0)])
def test_full_confidence_is_calibrated_if_and_only_if_it_is_right(
    logit: float, right: bool, expected: float
) -> None:
    """Breaks if a confidence of exactly 1 falls out of the last bin."""
    logits = torch.tensor([[logit, 0.0]]).expand(7, 2)
    target = torch.full((7,), 0 if right else 1)
    assert measured(Task("a", "classification", size=2), logits, target)["ece"] == pytest.approx(
        expected
    )


def test_chance_is_calibrated() -> None:
    """Breaks if an honest 50 % is called miscalibrated."""
    target = torch.arange(10) % 2
    assert measured(Task("a", "classification", size=2), torch.zeros(10, 2), target)[
        "ece"
    ] == pytest.approx(0.0)


def test_a_class_that_never_occurs_does_not_lower_f1() -> None:
    """Breaks if absent classes count as an F1 of 0 (scikit-learn leaves them out)."""
    logits = torch.eye(5)[torch.tensor([0, 1, 1, 0])]
    assert (
        measured(Task("a", "classification", size=5), logits, torch.tensor([0, 1, 1, 0]))["f1"]
        == 1.0
    )


@QUICK
@given(
    seed=seeds,
    batch=batch_sizes,
    classes=st.sampled_from([2, 3, 5]),
    gap=st.sampled_from([0.0, 0.3]),
    ties=st.booleans(),
)
def test_metrics_of_classes_are_scikit_learns(
    seed: int, batch: int, classes: int, gap: float, ties: bool
) -> None:
    """Breaks if a metric depends on how a split is cut into batches, or counts a missing label."""
    random = np.random.default_rng(seed)
    target = random.integers(0, classes, ROWS)
    target[: 2 * classes] = np.repeat(np.arange(classes), 2)  # all occur
    known = random.random(ROWS) >= gap
    known[: 2 * classes] = True
    logits = random.normal(size=(ROWS, classes))
    logits = logits.round() if ties else logits
    optional = ("balanced_accuracy", "log_loss", "auc", "average_precision")
    task = Task(
        "t",
        "classification",
        size=classes,
        missing=gap > 0,
        metrics=metric_names_of("classification", *optional),
    )
    values = values_in_batches(
        task, torch.tensor(logits), torch.tensor(np.where(known, target, MISSING_CLASS)), batch
    )
    y, scores = target[known], torch.tensor(logits[known]).softmax(1).numpy()
    predicted = logits[known].argmax(1)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(y, predicted), rel=1e-12)
    assert values["f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro"), rel=1e-12)
    assert values["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(y, predicted), rel=1e-12
    )
    assert values["log_loss"] == pytest.approx(sk.log_loss(y, scores), rel=1e-12)
    if classes == 2:
        difference = logits[known, 1] - logits[known, 0]
        assert values["auc"] == pytest.approx(sk.roc_auc_score(y, difference), rel=1e-12)
        assert values["average_precision"] == pytest.approx(
            sk.average_precision_score(y, difference), rel=1e-12
        )
    else:
        assert values["auc"] == pytest.approx(
            sk.roc_auc_score(y, scores, multi_class="ovr"), rel=1e-12
        )
        precision = sk.average_precision_score(np.eye(classes)[y], scores)
        assert values["average_precision"] == pytest.approx(precision, rel=1e-12)


@QUICK
@given(seed=seeds, gap=gaps, used=st.integers(1, CLASSES))
def test_iou_and_pixel_accuracy_are_scikit_learns_on_the_known_pixels(
    seed: int, gap: float, used: int
) -> None:
    """Breaks if unknown pixels count, or an absent class lowers the mean."""
    output, target = random_pixels(SEGMENTATION, seed, gap=gap)
    output[:, used:] = -100  # never predicted
    target = torch.where(target >= 0, target % used, target)
    values = measured(SEGMENTATION, output, target)
    known = target >= 0
    true, predicted = target[known].numpy(), output.argmax(1)[known].numpy()
    assert values["miou"] == pytest.approx(
        sk.jaccard_score(true, predicted, average="macro"), rel=1e-12
    )
    assert values["pixel_accuracy"] == pytest.approx(sk.accuracy_score(true, predicted), rel=1e-12)


def test_a_class_that_is_predicted_but_never_true_has_an_iou_of_0() -> None:
    """Breaks if false alarms are free: two of four pixels right, IoU (1/2 + 1/2 + 0) / 3."""
    target = torch.tensor([[[0, 0], [1, 1]]])
    predicted = torch.tensor([[[0, 4], [1, 4]]])
    output = nn.functional.one_hot(predicted, CLASSES).permute(0, 3, 1, 2).double()
    assert measured(SEGMENTATION, output, target) == pytest.approx(
        {"miou": 1 / 3, "pixel_accuracy": 0.5}
    )
