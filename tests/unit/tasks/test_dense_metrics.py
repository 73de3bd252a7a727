"""Answers at every pixel: metrics against scikit-learn, NumPy and known geometry; parts of a split; the loss of directions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor, nn

from mtl_runner.data.dataset import Split, prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import trivial_losses
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.meter import TaskMeter
from mtl_runner.tasks.task import Task
from tests.support.builders import QUICK, Data, evaluated, near

pytestmark = pytest.mark.usefixtures("float64")

seeds = st.integers(0, 10_000)
gaps = st.sampled_from([0.0, 0.3, 0.9])
CLASSES, HEIGHT, WIDTH = 5, 4, 3
SEGMENTATION = Task(
    "s", "classification", size=CLASSES, metrics=("miou", "pixel_accuracy"), missing=True
)
DEPTH = Task(
    "d",
    "regression_l1",
    size=1,
    offset=3.0,
    scale=2.5,
    metrics=("abs_err", "rel_err"),
    missing=True,
)
OFFSETS = Task(
    "o", "regression_l1", size=2, offset=1.0, scale=4.0, metrics=("instance_error",), missing=True
)
NORMALS = Task(
    "n",
    "direction",
    size=3,
    metrics=("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
    missing=True,
)
TASKS = [SEGMENTATION, DEPTH, OFFSETS, NORMALS]
HIGHER = {"miou", "pixel_accuracy", "within_11", "within_22", "within_30"}


def measured(task: Task, output: Tensor, target: Tensor) -> dict[str, float]:
    return {name: value.item() for name, value in task.measure(output, target).items()}


def random_units(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Unit vectors, along axis 1 of an image."""
    vectors = random.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(
    task: Task, seed: int, rows: int = 5, gap: float = 0.3, blank: int = 0
) -> tuple[Tensor, Tensor]:
    """Random output and target; pixels are missing at random, and all of the first ``blank`` images."""
    random = np.random.default_rng(seed)
    output = random.normal(size=(rows, task.size, HEIGHT, WIDTH))
    unknown = random.random((rows, HEIGHT, WIDTH)) < gap
    unknown[blank, 0, 0] = False
    unknown[:blank] = True
    if task is SEGMENTATION:
        labels = random.integers(0, CLASSES, unknown.shape)
        return torch.tensor(output), torch.tensor(np.where(unknown, MISSING_CLASS, labels))
    target = (
        random_units(random, *output.shape) if task is NORMALS else random.normal(size=output.shape)
    )
    return torch.tensor(output), torch.tensor(np.where(unknown[:, None], np.nan, target))


# Against scikit-learn and NumPy


@QUICK
@given(seed=seeds, gap=gaps, used=st.integers(1, CLASSES))
def test_iou_and_pixel_accuracy_are_scikit_learns_on_the_known_pixels(
    seed: int, gap: float, used: int
) -> None:
    """Breaks if unknown pixels count, or a class that is neither true nor said lowers the mean."""
    output, target = make(SEGMENTATION, seed, gap=gap)
    output[:, used:] = -100  # never said
    target = torch.where(target >= 0, target % used, target)
    found = measured(SEGMENTATION, output, target)
    known = target >= 0
    true, said = target[known].numpy(), output.argmax(1)[known].numpy()
    assert found["miou"] == pytest.approx(sk.jaccard_score(true, said, average="macro"), rel=1e-12)
    assert found["pixel_accuracy"] == pytest.approx(sk.accuracy_score(true, said), rel=1e-12)


def test_a_class_that_is_said_but_never_true_counts_as_an_iou_of_nothing() -> None:
    """Breaks if false alarms of absent classes are free: two of four pixels right, IoU (1/2 + 1/2 + 0) / 3."""
    target = torch.tensor([[[0, 0], [1, 1]]])
    said = torch.tensor([[[0, 4], [1, 4]]])
    output = nn.functional.one_hot(said, CLASSES).permute(0, 3, 1, 2).double()
    assert measured(SEGMENTATION, output, target) == pytest.approx(
        {"miou": 1 / 3, "pixel_accuracy": 0.5}
    )


@QUICK
@given(seed=seeds, gap=gaps)
def test_depth_errors_are_in_the_targets_units_and_relative_to_the_target(
    seed: int, gap: float
) -> None:
    """Breaks if a depth error is in training units, counts unknown pixels, or divides by the prediction."""
    output, target = make(DEPTH, seed, gap=gap)
    found = measured(DEPTH, output, target)
    known = ~target.isnan()
    true, said = (DEPTH.offset + DEPTH.scale * values[known].numpy() for values in (target, output))
    assert found["abs_err"] == pytest.approx(sk.mean_absolute_error(true, said), rel=1e-9)
    assert found["rel_err"] == pytest.approx(np.mean(np.abs(said - true) / np.abs(true)), rel=1e-9)


def test_a_depth_of_nothing_has_an_absolute_error_and_no_relative_one() -> None:
    """Breaks if the sky (inverse depth 0) makes the relative error infinite, or leaves the absolute one."""
    task = Task("d", "regression_l1", size=1, metrics=("abs_err", "rel_err"))
    target = torch.tensor([0.0, 2.0, 4.0]).view(1, 1, 1, 3)
    assert measured(task, target + 1, target) == pytest.approx(
        {"abs_err": 1.0, "rel_err": (1 / 2 + 1 / 4) / 2}
    )


@QUICK
@given(seed=seeds, gap=gaps)
def test_the_instance_error_is_the_distance_of_the_two_centres_in_pixels(
    seed: int, gap: float
) -> None:
    """Breaks if it is the L1 norm, in training units, or averaged over channels or unknown pixels."""
    output, target = make(OFFSETS, seed, gap=gap)
    known = ~target.isnan().any(1)
    apart = OFFSETS.scale * (output - target).permute(0, 2, 3, 1)[known].numpy()
    expected = np.mean([math.hypot(*pair) for pair in apart])
    assert measured(OFFSETS, output, target) == pytest.approx(
        {"instance_error": expected}, rel=1e-9
    )


def rotated(vectors: np.ndarray, degrees: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Unit vectors ``[M, 3]`` turned by known angles about random axes across them (Rodrigues)."""
    axis = np.cross(vectors, random.normal(size=vectors.shape))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.deg2rad(degrees)[:, None]
    return np.cos(angle) * vectors + np.sin(angle) * np.cross(axis, vectors)


@QUICK
@given(seed=seeds, gap=gaps, widest=st.sampled_from([0.5, 20.0, 60.0, 180.0]))
def test_normals_that_are_turned_by_known_angles_have_these_angles(
    seed: int, gap: float, widest: float
) -> None:
    """Breaks if an angle depends on a prediction's length, loses digits near 0 or 180, or the median is off by more than .005."""
    random = np.random.default_rng(seed)
    count = 5 * 7 * 9
    degrees = random.uniform(0, widest, count)
    true = random_units(random, count, 3)
    said = rotated(true, degrees, random) * 10 ** random.uniform(-3, 3, (count, 1))
    known = random.random(count) >= gap
    known[np.flatnonzero(known)[: 1 - known.sum() % 2]] = False  # an odd number has one median
    true[~known] = np.nan
    images = (
        torch.tensor(vectors.reshape(5, 7, 9, 3)).permute(0, 3, 1, 2) for vectors in (said, true)
    )
    found = measured(NORMALS, *images)
    angles = degrees[known]
    assert found["angle_mean"] == pytest.approx(angles.mean(), abs=1e-9)
    assert found["angle_median"] == pytest.approx(np.median(angles), abs=0.005 + 1e-9)
    for name, limit in (("within_11", 11.25), ("within_22", 22.5), ("within_30", 30.0)):
        assert found[name] == pytest.approx((angles <= limit).mean(), abs=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 90.0, 180.0])
def test_extreme_angles_are_exact(degrees: float) -> None:
    """Breaks if the angle is the arc cosine of a rounded cosine, or the opposite direction falls out of the histogram."""
    random = np.random.default_rng(0)
    true = random_units(random, 63, 3)
    said = rotated(true, np.full(63, degrees), random)
    images = (
        torch.tensor(vectors.reshape(1, 7, 9, 3)).permute(0, 3, 1, 2) for vectors in (said, true)
    )
    found = measured(NORMALS, *images)
    assert found["angle_mean"] == pytest.approx(degrees, abs=1e-7)
    assert found["angle_median"] == pytest.approx(degrees, abs=0.005 + 1e-7)


def test_a_prediction_without_a_direction_is_not_the_right_one() -> None:
    """Breaks if a model that answers 0 everywhere has perfect normals: its loss is that of 90 degrees."""
    target = torch.tensor(random_units(np.random.default_rng(0), 2, 3, 4, 5))
    task = Task(
        "n",
        "direction",
        size=3,
        metrics=("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
    )
    output = torch.zeros_like(target)
    assert task.loss({"n": output}, {"n": target}).item() == pytest.approx(1.0)
    found = measured(task, output, target)
    assert found["angle_mean"] == pytest.approx(90.0)
    assert found["within_30"] == 0.0


# All measures


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.main_metric)
def test_the_best_value_of_every_column_is_where_its_direction_says(task: Task) -> None:
    """Breaks if a best run is chosen by the wrong end of a new column."""
    noise, target = make(task, 1, gap=0.0)
    perfect = (
        nn.functional.one_hot(target, CLASSES).movedim(-1, 1).double()
        if task is SEGMENTATION
        else target
    )
    best, worse = measured(task, perfect, target), measured(task, noise, target)
    assert list(best) == [metric.name for metric in task.all_metrics] == task.metric_names
    for name, value in best.items():
        assert task.directions[name] == (name in HIGHER), name
        assert value == pytest.approx(1.0 if name in HIGHER else 0.0, abs=0.005 + 1e-9), name
        assert (worse[name] < value) if name in HIGHER else (worse[name] > value), name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.main_metric)
def test_without_any_label_every_metric_is_undefined(task: Task) -> None:
    """Breaks if a split without labels gets a score that looks real, or an error."""
    output, target = make(task, 1)
    nothing = torch.full_like(target, MISSING_CLASS if task is SEGMENTATION else torch.nan)
    found = measured(task, output, nothing)
    assert {name for name, value in found.items() if not math.isnan(value)} == set()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.main_metric)
def test_what_a_model_says_where_no_label_is_known_changes_nothing(task: Task) -> None:
    """Breaks if a number at an unknown pixel leaks into a metric or the loss."""
    output, target = make(task, 2)
    unknown = (
        (target < 0).unsqueeze(1) if task is SEGMENTATION else target.isnan().any(1, keepdim=True)
    )
    other = torch.where(unknown, 1e6 * torch.ones_like(output), output)
    assert measured(task, other, target) == measured(task, output, target)
    near(
        task.loss({task.name: other}, {task.name: target}),
        task.loss({task.name: output}, {task.name: target}),
        1e-12,
    )


@QUICK
@given(
    seed=seeds,
    gap=gaps,
    task=st.sampled_from(TASKS),
    cuts=st.sets(st.integers(1, 6)),
    blank=st.integers(0, 3),
)
def test_sums_of_parts_are_those_of_the_whole(
    seed: int, gap: float, task: Task, cuts: set[int], blank: int
) -> None:
    """Breaks if a split that is looked at in parts, some of them without any label, is measured as another one."""
    output, target = make(task, seed, rows=7, gap=gap, blank=blank)
    meter = TaskMeter(task)
    edges = [0, *sorted(cuts), 7]
    parts = [
        meter.of_batch(output[low:high], target[low:high])[0]
        for low, high in itertools.pairwise(edges)
    ]
    added = {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}
    whole, rows = meter.of_batch(output, target)
    assert rows == {}
    assert all(sums.dtype == torch.float64 for sums in whole.values())
    near(added, whole, 1e-9)
    near(meter.numbers(added, {}, {}), task.measure(output, target), 1e-9)


def test_sums_of_single_precision_are_taken_in_double() -> None:
    """Breaks if a split of millions of pixels is added up in float32: 2**24 + 1 would stay 2**24."""
    for task in TASKS:
        output, target = make(task, 0)
        single = target.float() if target.is_floating_point() else target
        assert all(
            sums.dtype == torch.float64
            for sums in TaskMeter(task).of_batch(output.float(), single)[0].values()
        )
        found = measured(task, output.float(), single)
        assert found == pytest.approx(measured(task, output, target), rel=1e-5, abs=0.0101)


# Evaluation in parts


class Pixels(nn.Module):
    """A linear map at every pixel, and how many rows it was shown at once."""

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.maps = {task.name: torch.randn(task.size, 2, generator=generator) for task in tasks}
        self.most = 0

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        assert not self.training
        self.most = max(self.most, len(inputs))
        return {
            name: torch.einsum("tc,nchw->nthw", matrix, inputs)
            for name, matrix in self.maps.items()
        }


WEIGHTED = Task(
    "w",
    "classification",
    size=CLASSES,
    metrics=("miou", "pixel_accuracy"),
    missing=True,
    class_weights=(1, 0, 5, 0.2, 2),
)


def images(
    tasks: list[Task], rows: int = 7, seed: int = 3, gap: float = 0.4, blank: int = 2
) -> Split:
    inputs = torch.randn(rows, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    targets = {}
    for i, task in enumerate(tasks):
        like = next(known for known in TASKS if known.main_metric == task.main_metric)
        targets[task.name] = make(like, seed + i, rows, gap, blank)[1]
    return Split(inputs, targets)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_the_evaluation_in_parts_is_that_of_the_whole(rows: int) -> None:
    """Breaks if losses of parts are averaged without their number of labels or class weights, or a part without labels counts."""
    tasks = [*TASKS, WEIGHTED]
    split, model = images(tasks), Pixels(tasks)
    whole = evaluated(model, tasks, split).values
    model.train()
    model.most = 0
    found = evaluated(model, tasks, split, [2.0] * len(tasks), rows)
    assert model.training
    assert model.most == min(rows, 7)
    for task in tasks:
        expected = {**whole[task.name], "relative_loss": whole[task.name]["loss"] / 2}
        outputs = model.eval()(split.inputs)
        for name, value in task.measure(outputs[task.name], split.targets[task.name]).items():
            assert expected[name] == pytest.approx(value.item(), rel=1e-9)
        assert expected["loss"] == pytest.approx(task.loss(outputs, split.targets).item(), rel=1e-9)
        assert found.values[task.name] == pytest.approx(expected, rel=1e-9), task.name


def test_a_split_without_missing_labels_is_the_same_in_parts() -> None:
    """As above, on the faster path of fully labelled tasks."""
    tasks = [
        Task(t.name, t.kind, size=t.size, offset=t.offset, scale=t.scale, metrics=t.metrics)
        for t in TASKS
    ]
    split, model = images(tasks, gap=0.0, blank=0), Pixels(tasks)
    whole, found = evaluated(model, tasks, split), evaluated(model, tasks, split, rows=3)
    for name, row in whole.values.items():
        assert found.values[name] == pytest.approx(row, rel=1e-9)


def test_a_normal_that_is_known_in_part_is_unknown_in_parts_too() -> None:
    """Breaks if a pixel with one missing channel weighs in the mean over parts although it has no loss."""
    split, model = images([NORMALS], gap=0.0, blank=0), Pixels([NORMALS])
    split.targets["n"][0, 0] = torch.nan  # a whole image knows two of three channels
    outputs = model.eval()(split.inputs)
    found = evaluated(model, [NORMALS], split, rows=1).values["n"]
    assert found["loss"] == pytest.approx(NORMALS.loss(outputs, split.targets).item(), rel=1e-9)
    assert found["angle_mean"] == pytest.approx(
        measured(NORMALS, outputs["n"], split.targets["n"])["angle_mean"], rel=1e-9
    )


def test_a_loss_of_ones_own_is_that_of_the_whole() -> None:
    """Breaks if a replaced loss that is no mean over labelled pixels is averaged as if it were one."""

    def soft_dice(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        true = nn.functional.one_hot(targets["s"].clamp(min=0), CLASSES).movedim(-1, 1)
        said = outputs["s"].softmax(1)
        return 1 - 2 * (true * said).sum() / (true + said).sum()

    task = Task(
        "s",
        "classification",
        size=CLASSES,
        metrics=("miou", "pixel_accuracy"),
        missing=True,
        loss_term=soft_dice,
    )
    split, model = images([task]), Pixels([task])
    whole = soft_dice(model.eval()(split.inputs), split.targets).item()
    assert evaluated(model, [task], split, rows=2).values["s"]["loss"] == pytest.approx(
        whole, rel=1e-9
    )


def test_a_split_without_any_label_has_no_loss_rather_than_a_broken_one() -> None:
    """Breaks if ``+debug=true``, which keeps the first rows only, says that a task diverged whose labels all come later."""
    split, model = images([OFFSETS], blank=6), Pixels([OFFSETS])
    found = evaluated(model, [OFFSETS], split.rows(slice(0, 6)), rows=2).values["o"]
    assert found["loss"] == 0.0
    assert math.isnan(found["instance_error"])


# Trivial predictors


def dense(task: Task, target: Tensor) -> Task:
    """The task as the data complete it."""
    split = Split(torch.zeros(len(target), 1, *target.shape[-2:]), {task.name: target})
    return prepare(Data.of([task], train=split)).tasks[0]


KINDS = ("regression", "regression_l1", "multilabel", "direction", "classification")


def target_of(kind: str, gap: float = 0.3) -> Tensor:
    random = np.random.default_rng(4)
    unknown = random.random((5, HEIGHT, WIDTH)) < gap
    if kind == "classification":
        return torch.tensor(
            np.where(unknown, MISSING_CLASS, random.choice(3, unknown.shape, p=[0.6, 0.3, 0.1]))
        )
    shape = (5, 3, HEIGHT, WIDTH)
    values = {
        "multilabel": (random.random(shape) < np.array([0.1, 0.5, 0.8])[:, None, None]).astype(
            float
        ),
        "direction": random_units(random, *shape) / 2 + np.array([0.3, 0.4, -0.2])[:, None, None],
    }.get(kind, random.gamma(1.0, size=shape) * np.array([1.0, 10.0, 0.1])[:, None, None])
    if kind == "direction":
        values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return torch.tensor(np.where(unknown[:, None], np.nan, values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_no_constant_is_better_than_the_trivial_predictor_of_an_image(
    kind: str, gap: float
) -> None:
    """Breaks if "relative to the trivial predictor" compares with another constant per channel than the best one."""
    target = target_of(kind, gap)
    task = dense(Task("t", kind), target)
    assert task.size == 3
    assert task.places == (HEIGHT, WIDTH)
    assert task.missing == (gap > 0)
    output = task.trivial_output(target)
    assert output.shape == (5, 3, HEIGHT, WIDTH)
    best = task.loss({"t": output}, {"t": target})
    near(
        torch.tensor(trivial_losses([task], Split(torch.zeros(5, 1), {"t": target}))[0]),
        best,
        1e-12,
    )
    generator = torch.Generator().manual_seed(0)
    for step in (1e-3, 0.1, 1.0):
        for _ in range(20):
            other = output + step * torch.randn(1, 3, 1, 1, generator=generator)
            assert task.loss({"t": other}, {"t": target}) >= best - 1e-9


def test_trivial_predictors_of_images_are_per_channel() -> None:
    """Breaks if the mean or the median of an image mixes its channels or counts what is missing."""
    target = target_of("regression")
    values = target.permute(1, 0, 2, 3).flatten(1).numpy()
    assert dense(Task("t", "regression"), target).trivial == pytest.approx(np.nanmean(values, 1))
    medians = [np.nanquantile(channel, 0.5, method="lower") for channel in values]
    assert dense(Task("t", "regression_l1"), target).trivial == pytest.approx(medians)


def test_an_image_task_without_measures_keeps_the_metrics_of_its_kind() -> None:
    """Breaks if the relative error of an image is not 1 for the trivial predictor, per channel."""
    target = target_of("regression")
    task = dense(Task("t", "regression", offset=2.0, scale=7.0), target)
    found = measured(task, task.trivial_output(target), target)
    assert found["rrmse"] == pytest.approx(1.0)
    assert found["mae"] == pytest.approx(
        7 * (task.trivial_output(target) - target).abs().nanmean().item()
    )
    assert task.metric_names == ["rmse", "mae", "r2", "rrmse"]


@pytest.mark.parametrize("task", [*TASKS, WEIGHTED], ids=lambda task: task.name)
def test_the_mass_is_what_the_mean_divides_by(task: Task) -> None:
    """Breaks if losses of batches cannot be put together to that of the split."""
    split, model = images([task]), Pixels([task])
    outputs = model.eval()(split.inputs)
    losses, masses = [], []
    for row in range(7):
        part = split.rows(slice(row, row + 1))
        losses.append(task.loss({task.name: outputs[task.name][row : row + 1]}, part.targets))
        masses.append(task.mass(part.targets[task.name]))
    assert masses[0] == 0  # without any label
    total = (torch.stack(losses) * torch.stack(masses)).sum() / torch.stack(masses).sum()
    near(total, task.loss(outputs, split.targets), 1e-12)


def test_unknown_metrics_are_named() -> None:
    """Breaks if a typing mistake in a dataset is an error deep in an evaluation."""
    with pytest.raises(
        ConfigError,
        match=r"^Task 'a' of kind 'direction' has no metric 'angle'; did you mean 'angle_mean'\? allowed: angle_mean, angle_median, rmse, within_11, within_22, within_30\.$",
    ):
        Task("a", "direction", metrics=("angle",))


# The loss of directions


def direction_loss(output: Tensor, target: Tensor, missing: bool = False) -> Tensor:
    return Task("n", "direction", size=3, missing=missing).loss({"n": output}, {"n": target})


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
def test_the_loss_of_a_direction_is_one_less_the_cosine(
    shape: tuple[int, ...], missing: bool
) -> None:
    """Breaks the loss of the MTAN paper: 0 along, 1 across, 2 against, whatever the output's length, averaged over places."""
    random = np.random.default_rng(0)
    unit = random_units(random, *shape)
    target = torch.tensor(unit)
    for length in (1e-3, 1.0, 1e3):
        near(direction_loss(length * target, target, missing), torch.tensor(0.0), 1e-12)
        near(direction_loss(-length * target, target, missing), torch.tensor(2.0), 1e-12)
        across = torch.tensor(length * np.cross(unit, random.normal(size=shape), axis=1))
        near(direction_loss(across, target, missing), torch.tensor(1.0), 1e-9)
    output = random.normal(size=shape)
    cosines = [
        a @ b / math.sqrt(a @ a)
        for a, b in zip(
            np.moveaxis(output, 1, -1).reshape(-1, 3),
            np.moveaxis(unit, 1, -1).reshape(-1, 3),
            strict=True,
        )
    ]
    near(
        direction_loss(torch.tensor(output), target, missing),
        torch.tensor(1 - np.mean(cosines)),
        1e-12,
    )


@pytest.mark.parametrize("missing", [False, True])
def test_the_gradient_turns_an_output_and_does_not_stretch_it(missing: bool) -> None:
    """Breaks if the loss depends on the length of an output."""
    output = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.tensor(random_units(np.random.default_rng(1), 4, 3, 2, 2))
    (gradient,) = torch.autograd.grad(direction_loss(output, target, missing), output)
    near((gradient * output).sum(1), torch.zeros(4, 2, 2), 1e-12)
    assert gradient.abs().max() > 0


def test_the_gradient_is_finite_at_a_zero_output_and_nothing_at_missing_pixels() -> None:
    """Breaks training: one NaN in a gradient is the end of a run."""
    target = torch.tensor(random_units(np.random.default_rng(1), 2, 3, 2, 2))
    target[0, :, 0] = torch.nan
    target[1, 1, 1, 1] = torch.nan  # known in part is unknown
    output = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    output[:, :, :, 0] = 0.0
    output.requires_grad_()
    loss = direction_loss(output, target, missing=True)
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    unknown = target.isnan().any(1, keepdim=True).expand_as(gradient)
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown] != 0).any()


def test_a_batch_without_any_direction_has_a_loss_of_exactly_nothing() -> None:
    """Breaks if a batch of sky only is 0/0."""
    output = torch.randn(2, 3, 2, 2).requires_grad_()
    loss = direction_loss(output, torch.full((2, 3, 2, 2), torch.nan), missing=True)
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss.item() == 0.0
    assert (gradient == 0).all()
