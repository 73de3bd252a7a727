"""Every metric against scikit-learn on random data; calibration against a loop that follows the paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor

from mtl_runner.tasks.kinds import KINDS, MISSING_CLASS
from mtl_runner.tasks.metrics.classification import CALIBRATION_BINS
from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK

pytestmark = pytest.mark.usefixtures("float64")

seeds = st.integers(0, 10_000)
gaps = st.sampled_from([0.0, 0.3, 0.9])
DENSE = (
    "miou",
    "pixel",
    "abs_err",
    "rel_err",
    "instance",
    "angle",
    "within",
)  # of answers at every pixel
MEASURED_KINDS = [kind for kind in KINDS if kind != "term"]


def measured(task: Task, output: Tensor, target: Tensor) -> dict[str, float]:
    """All metrics of a task as numbers."""
    return {name: value.item() for name, value in task.measure(output, target).items()}


# Regression


def regression(
    seed: int, gap: float, rows: int, size: int
) -> tuple[Task, np.ndarray, np.ndarray, np.ndarray]:
    """A task with units, and output, target (with gaps, but none of a whole output) and trivial prediction in training units."""
    random = np.random.default_rng(seed)
    target, output = random.normal(size=(2, rows, size)) * 10.0 ** random.uniform(-2, 2)
    missing = random.random((rows, size)) < gap
    missing[:3] = False
    target[missing] = np.nan
    trivial = np.nanmean(target, axis=0)
    task = Task(
        "a",
        "regression",
        size=size,
        offset=-7.5,
        scale=float(random.uniform(0.1, 50)),
        trivial=tuple(trivial),
    )
    return task, output, target, trivial


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(4, 40), size=st.integers(1, 4))
def test_regression_metrics_are_scikit_learns_in_the_targets_own_units(
    seed: int, gap: float, rows: int, size: int
) -> None:
    """Breaks if a reported error is in training units, counts unknown labels, or is another quantity."""
    task, output, target, trivial = regression(seed, gap, rows, size)
    found = measured(task, torch.tensor(output), torch.tensor(target))
    known = ~np.isnan(target)
    y, f, base = (
        task.offset + task.scale * values
        for values in (target, output, np.broadcast_to(trivial, target.shape))
    )
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y[known], f[known]), rel=1e-9)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y[known], f[known]), rel=1e-9)
    columns = [(y[known[:, j], j], f[known[:, j], j]) for j in range(size)]
    spread = [len(true) * true.var() for true, _ in columns]
    expected = np.average(
        [sk.r2_score(true, predicted) for true, predicted in columns], weights=spread
    )
    assert found["r2"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    relative = sk.root_mean_squared_error(y[known], f[known]) / sk.root_mean_squared_error(
        y[known], base[known]
    )
    assert found["rrmse"] == pytest.approx(relative, rel=1e-9)


@QUICK
@given(seed=seeds, size=st.integers(1, 4))
def test_r2_of_several_outputs_is_the_variance_weighted_one(seed: int, size: int) -> None:
    """Breaks if R2 averages over outputs in another way than the documented one."""
    task, output, target, _ = regression(seed, 0.0, 20, size)
    expected = sk.r2_score(target, output, multioutput="variance_weighted")
    assert measured(task, torch.tensor(output), torch.tensor(target))["r2"] == pytest.approx(
        expected, rel=1e-9, abs=1e-9
    )


def test_the_trivial_predictor_has_an_rrmse_of_one_and_an_r2_of_zero() -> None:
    """Breaks if "as good as the mean" is not at 1 (rrmse) and 0 (r2)."""
    task, _, target, trivial = regression(0, 0.3, 30, 3)
    found = measured(task, torch.tensor(trivial).expand(30, 3), torch.tensor(target))
    assert found["rrmse"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("miss", [0.0, 1.0])
def test_r2_of_a_constant_target_is_not_finite(miss: float) -> None:
    """Breaks if a target without variance gets a number that means nothing."""
    target = torch.full((5, 1), 2.0)
    found = measured(Task("a", size=1, trivial=(0.0,)), target + miss, target)["r2"]
    with np.errstate(all="ignore"):
        expected = sk.r2_score(target, target + miss, force_finite=False)
    assert found == pytest.approx(expected, nan_ok=True)


def test_an_image_is_measured_as_the_vector_of_its_pixels() -> None:
    """Breaks if a regression target of more than one dimension cannot be evaluated, or differently from a flat one."""
    task, output, target, _ = regression(3, 0.3, 6, 60)
    flat = torch.tensor(output), torch.tensor(target)
    images = tuple(tensor.view(6, 3, 4, 5) for tensor in flat)
    assert measured(task, *images) == pytest.approx(measured(task, *flat))


def test_a_large_offset_does_not_cost_precision_in_single_precision() -> None:
    """Breaks if metrics are computed after the offset is added and lose their digits."""
    random = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 50, 1, generator=random, dtype=torch.float32)
    task = Task("a", size=1, offset=1e9, scale=3.0, trivial=(0.0,))
    exact = 3 * sk.root_mean_squared_error(target.double(), output.double())
    assert measured(task, output, target)["rmse"] == pytest.approx(exact, rel=1e-6)


# Classification


def classification(seed: int, gap: float, rows: int, size: int, used: int) -> tuple[Tensor, Tensor]:
    """Logits and classes with gaps; only the first ``used`` classes occur."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, size, generator=random)
    target = torch.randint(used, (rows,), generator=random)
    target[torch.rand(rows, generator=random) < gap] = MISSING_CLASS
    target[0] = 0
    return logits, target


def calibration_error(logits: np.ndarray, target: np.ndarray) -> float:
    """Guo et al., ICML 2017, eq. 3, word for word: bins ((m-1)/M, m/M], gap of mean confidence and accuracy, by size."""
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
    """Breaks if accuracy or F1 counts unknown labels or absent classes, or calibration is not the paper's."""
    logits, target = classification(seed, gap, rows, size, data.draw(st.integers(1, size)))
    found = measured(Task("a", "classification", size=size), logits, target)
    known = target != MISSING_CLASS
    true, predicted = target[known].numpy(), logits[known].argmax(1).numpy()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert found["f1"] == pytest.approx(
        sk.f1_score(true, predicted, average="macro", zero_division=0)
    )
    assert found["ece"] == pytest.approx(calibration_error(logits[known].numpy(), true), abs=1e-12)


@QUICK
@given(seed=seeds, gap=gaps)
def test_a_class_per_pixel_is_measured_pixel_by_pixel(seed: int, gap: float) -> None:
    """Breaks if a map of classes is scored along the wrong axis."""
    logits, target = classification(seed, gap, 4 * 6 * 5, 3, 3)
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


# Multilabel


def multilabel(seed: int, gap: float, rows: int, size: int) -> tuple[Tensor, Tensor]:
    """Logits and labels with gaps; some rows have no true label, some none predicted, some nothing known."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, size, generator=random) + torch.randn(rows, 1, generator=random)
    target = (
        torch.rand(rows, size, generator=random) < torch.rand(rows, 1, generator=random)
    ).double()
    target[torch.rand(rows, size, generator=random) < gap] = torch.nan
    target[0, 0] = 1.0
    return logits, target


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(1, 40), size=st.integers(2, 6))
def test_multilabel_metrics_are_scikit_learns_means_over_samples(
    seed: int, gap: float, rows: int, size: int
) -> None:
    """Breaks if a metric counts unknown labels, samples without labels get another value than 0, or micro-F1 averages over samples."""
    logits, target = multilabel(seed, gap, rows, size)
    found = measured(Task("a", "multilabel", size=size), logits, target)
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
        assert found[name] == pytest.approx(
            score(true, predicted, average="samples", zero_division=0)
        ), name
    entries = target[known].numpy(), (logits[known] > 0).double().numpy()
    assert found["micro_f1"] == pytest.approx(sk.f1_score(*entries, zero_division=0))
    if gap == 0:
        assert found["micro_f1"] == pytest.approx(
            sk.f1_score(true, predicted, average="micro", zero_division=0)
        )


@QUICK
@given(seed=seeds, gap=gaps, rows=st.integers(1, 40), size=st.integers(2, 6))
def test_one_error_is_how_often_the_top_label_is_wrong(
    seed: int, gap: float, rows: int, size: int
) -> None:
    """Breaks if the ranking looks at unknown labels, or upside down."""
    logits, target = multilabel(seed, gap, rows, size)
    found = measured(Task("a", "multilabel", size=size), logits, target)["one_error"]
    known = ~target.isnan()
    rows_known = known.any(1)
    relevant = torch.where(known, target, 0.0)[rows_known].numpy()
    scores = torch.where(known, logits, -1e9)[rows_known].numpy()
    assert found == pytest.approx(
        1 - sk.ndcg_score(relevant, scores, k=1)
    )  # the gain of the first place is precision at 1


# All kinds


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_the_perfect_prediction_is_perfect_in_every_metric(kind: str) -> None:
    """Breaks if a metric's best value is not where its direction says."""
    target = {
        "classification": torch.tensor([0, 1, 2, 1]),
        "multilabel": torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
    }.get(kind, torch.tensor([[1.0], [2.0], [4.0]]))
    output = {
        "classification": 100 * torch.eye(3)[target.clamp(max=2).long().flatten()[:4]],
        "multilabel": 100 * (target - 0.5),
    }.get(kind, target)
    size = 3 if kind == "classification" else target.shape[1]
    kinds_own = KINDS[kind]
    metrics = (
        *kinds_own.metrics,
        *(m for m in kinds_own.more_metrics if target.dim() > 2 or not m.name.startswith(DENSE)),
    )
    task = Task("a", kind, size=size, trivial=(0.0,) * size, metrics=metrics)
    for name, value in measured(task, output, target).items():
        assert value == pytest.approx(1.0 if task.directions[name] else 0.0, abs=1e-12), name


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_unlabelled_rows_change_no_metric(kind: str) -> None:
    """Breaks if a split with gaps is measured differently from its labelled part."""
    if kind == "classification":
        output, target = classification(1, 0.0, 20, 3, 3)
    elif kind == "multilabel":
        output, target = multilabel(1, 0.0, 20, 3)
    else:
        _, outputs, targets, _ = regression(1, 0.0, 20, 3)
        output, target = torch.tensor(outputs), torch.tensor(targets)
    task = Task("a", kind, size=3, scale=2.0, trivial=(0.1, 0.2, 0.3))
    nothing = torch.full_like(target, torch.nan if target.is_floating_point() else MISSING_CLASS)
    padded = torch.cat([output, 50 * torch.ones_like(output)]), torch.cat([target, nothing])
    assert measured(task, *padded) == pytest.approx(measured(task, output, target))


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_without_any_label_every_metric_is_undefined(kind: str) -> None:
    """Breaks if a split without labels gets a score (0 or 1) that looks real."""
    target = (
        torch.full((4,), MISSING_CLASS)
        if kind == "classification"
        else torch.full((4, 3), torch.nan)
    )
    found = measured(Task("a", kind, size=3, trivial=(0.0,) * 3), torch.zeros(4, 3), target)
    assert {name for name, value in found.items() if not math.isnan(value)} == set()


@pytest.mark.parametrize("kind", MEASURED_KINDS)
def test_single_precision_agrees_with_double(kind: str) -> None:
    """Breaks if a metric accumulates in the precision of the outputs."""
    if kind == "classification":
        output, target = classification(2, 0.2, 500, 3, 3)
    elif kind == "multilabel":
        output, target = multilabel(2, 0.2, 500, 3)
    else:
        _, outputs, targets, _ = regression(2, 0.2, 500, 3)
        output, target = torch.tensor(outputs), torch.tensor(targets)
    task = Task("a", kind, size=3, scale=2.0, trivial=(0.1, 0.2, 0.3))
    single = measured(
        task, output.float(), target.float() if target.is_floating_point() else target
    )
    assert single == pytest.approx(measured(task, output, target), rel=1e-5)
