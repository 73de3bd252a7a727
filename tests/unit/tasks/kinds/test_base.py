"""All kinds: their noise, valid targets, trivial predictors, and sums over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.errors import DataError
from mtl_runner.experiment.dataset import trivial_losses
from mtl_runner.tasks.kinds import KINDS, Noise, Regression
from mtl_runner.tasks.kinds.base import GAUSSIAN, LAPLACE, TEMPERATURE, channel_means, spread
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near
from tests.unit.tasks.pixels import (
    HEIGHT,
    PIXEL_KINDS,
    PIXEL_TASKS,
    WEIGHTED,
    WIDTH,
    LinearPixels,
    pixel_split,
    pixel_target,
    prepared_task,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("noise", [GAUSSIAN, LAPLACE, TEMPERATURE], ids=lambda noise: noise.form)
def test_a_sigma_and_its_log_variance_are_inverse(noise: Noise) -> None:
    """Breaks if a frozen sigma is trained with as another one."""
    for sigma in (0.01, 1.0, 30.0):
        s = noise.log_variance(sigma)
        assert noise.sigma_of(s) == pytest.approx(sigma)
        assert_near(noise.sigma(torch.tensor(s)), torch.tensor(sigma), 1e-12)


def test_the_negative_log_likelihoods_are_those_of_torch() -> None:
    """Breaks if a normaliser or a factor of a likelihood is wrong."""
    error, sigma = torch.tensor(1.5), torch.tensor(0.7)
    s, log_b = 2 * sigma.log(), sigma.log()
    normal = -torch.distributions.Normal(0.0, sigma).log_prob(error)
    assert_near(GAUSSIAN.negative_log_likelihood(error.square(), s), normal, 1e-12)
    laplace = -torch.distributions.Laplace(0.0, sigma).log_prob(error)
    assert_near(LAPLACE.negative_log_likelihood(error.abs(), log_b), laplace, 1e-12)


def test_targets_become_columns_with_nan_for_missing_labels() -> None:
    """Breaks if a target [N] meets outputs [N, 1] and broadcasts to [N, N]."""
    kind = Regression()
    target = kind.clean(torch.tensor([1, 2, 3]), torch.tensor([True, False, True]), "")
    assert target.shape == (3, 1)
    assert target.isnan().flatten().tolist() == [False, True, False]
    assert kind.known(target).flatten().tolist() == [True, False, True]
    with pytest.raises(DataError, match=r"^has an infinite target in the val split; remove it or"):
        kind.clean(torch.tensor([1.0, math.inf]), None, "in the val split")


def test_a_target_of_another_width_is_named_with_its_split() -> None:
    """Breaks if a validation target of another width is an error deep in the evaluation."""
    targets = {"train": torch.zeros(3, 2), "val": torch.zeros(3, 1)}
    sentence = r"^has size 2, but its target in the val split has shape \(3, 1\)$"
    with pytest.raises(DataError, match=sentence):
        Regression().size(targets, Task("a"))
    assert Regression().size({"train": torch.zeros(2, 3, 4, 5)}, Task("a")) == 3
    assert Regression().places(torch.zeros(2, 3, 4, 5)) == (4, 5)


def test_a_mask_of_rows_is_one_of_all_entries() -> None:
    """Breaks if a row without labels keeps some of them."""
    mask = spread(torch.tensor([True, False]), torch.zeros(2, 3, 2))
    assert mask[0].all()
    assert not mask[1].any()
    full = torch.ones(2, 3, dtype=torch.bool)
    assert spread(full, torch.zeros(2, 3)) is full


def test_means_are_per_output_and_leave_missing_labels_out() -> None:
    """Breaks if the trivial predictor mixes outputs, or counts a missing label as 0."""
    columns = torch.tensor([[1.0, 10.0], [3.0, torch.nan]])
    assert_near(channel_means(columns, Task("a", size=2)), torch.tensor([2.0, 10.0]), 1e-12)
    image = columns.view(2, 2, 1)
    assert_near(channel_means(image, Task("a", size=2)), torch.tensor([2.0, 10.0]), 1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "term"])
def test_a_model_predicts_noise_only_where_there_is_a_likelihood(kind: str) -> None:
    """Breaks if a heteroscedastic model has outputs too many, or one per class."""
    expected = {"classification": 1, "multilabel": 1}
    expected |= dict.fromkeys(("regression", "regression_l1", "regression_log"), 3)
    assert KINDS[kind].noise_outputs(3) == expected.get(kind, 0)


@pytest.mark.parametrize("kind", PIXEL_KINDS)
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_no_constant_is_better_than_the_trivial_predictor_of_an_image(
    kind: str, gap: float
) -> None:
    """Breaks if losses are reported relative to another constant per channel than the best."""
    target = pixel_target(kind, gap)
    task = prepared_task(Task("t", kind), target)
    assert task.size == 3
    assert task.places == (HEIGHT, WIDTH)
    assert task.missing == (gap > 0)
    output = task.trivial_output(target)
    assert output.shape == (5, 3, HEIGHT, WIDTH)
    best = task.loss({"t": output}, {"t": target})
    assert_near(
        torch.tensor(trivial_losses([task], Split(torch.zeros(5, 1), {"t": target}))[0]),
        best,
        1e-12,
    )
    generator = torch.Generator().manual_seed(0)
    for step in (1e-3, 0.1, 1.0):
        for _ in range(20):
            shifted = output + step * torch.randn(1, 3, 1, 1, generator=generator)
            assert task.loss({"t": shifted}, {"t": target}) >= best - 1e-9


def test_trivial_predictors_of_images_are_per_channel() -> None:
    """Breaks if the mean or the median of an image mixes its channels or counts what is missing."""
    target = pixel_target("regression")
    values = target.permute(1, 0, 2, 3).flatten(1).numpy()
    assert prepared_task(Task("t", "regression"), target).trivial == pytest.approx(
        np.nanmean(values, 1)
    )
    medians = [np.nanquantile(channel, 0.5, method="lower") for channel in values]
    assert prepared_task(Task("t", "regression_l1"), target).trivial == pytest.approx(medians)


@pytest.mark.parametrize("task", [*PIXEL_TASKS, WEIGHTED], ids=lambda task: task.name)
def test_the_denominator_is_what_the_mean_divides_by(task: Task) -> None:
    """Breaks if losses of batches cannot be put together to that of the split."""
    split, model = pixel_split([task]), LinearPixels([task])
    outputs = model.eval()(split.inputs)
    losses, denominators = [], []
    for row in range(7):
        part = split.rows(slice(row, row + 1))
        losses.append(task.loss({task.name: outputs[task.name][row : row + 1]}, part.targets))
        denominators.append(task.loss_denominator(part.targets[task.name]))
    assert denominators[0] == 0  # without any label
    total = (torch.stack(losses) * torch.stack(denominators)).sum() / torch.stack(
        denominators
    ).sum()
    assert_near(total, task.loss(outputs, split.targets), 1e-12)
