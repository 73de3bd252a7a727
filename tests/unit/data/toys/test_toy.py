"""The synthetic problems come from the generators they name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtl_runner.data import ToyMixed, ToyRegression
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError


@pytest.mark.usefixtures("float64")
def test_training_split_is_the_published_toy_number_for_number():
    """Breaks the reproduction of the published log variances: other data have other optima."""
    np.random.seed(0)
    x = np.random.randn(100, 1)
    y1 = 2.0 * x + 8.0 + 10.0 * np.random.randn(100, 1)
    y2 = 3.0 * x + 3.0 + 1.0 * np.random.randn(100, 1)
    train = ToyRegression().splits["train"]
    assert isinstance(train.inputs, torch.Tensor)
    np.testing.assert_array_equal(train.inputs.numpy(), x)
    np.testing.assert_array_equal(train.targets["y1"].numpy(), y1)
    np.testing.assert_array_equal(train.targets["y2"].numpy(), y2)


def test_making_the_toy_leaves_the_global_random_state_alone():
    """Breaks "same seed, same initial weights" if the data consume the run's random numbers."""
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.get_state()[1].copy(), torch.get_rng_state()
    ToyRegression()
    ToyMixed()
    np.testing.assert_array_equal(np.random.get_state()[1], expected[0])
    assert torch.equal(torch.get_rng_state(), expected[1])


def test_toy_tells_the_true_sigmas():
    """Breaks the column "true sigma" of the table and the dashed lines of sigmas.png."""
    assert {t.name: t.true_sigma for t in ToyRegression().tasks} == {"y1": 10.0, "y2": 1.0}
    assert {t.name: t.true_sigma for t in ToyMixed(sigma=3.0, temperature=4.0).tasks} == {
        "value": 3.0,
        "label": 2.0,
    }


@pytest.mark.usefixtures("float64")
def test_sizes_slopes_intercepts_and_noise_are_configurable():
    """Breaks `data.n=...`, `data.slopes.y1=...` and the rest.

    A fit of many points must give back what was asked for.
    """
    data = ToyRegression(
        n=20_000,
        n_val=7,
        n_test=9,
        slopes={"a": -1.0, "b": 5.0, "c": 0.5},
        intercepts={"a": 1.0, "b": -4.0, "c": 0.0},
        noise={"a": 0.5, "b": 2.0, "c": 0.1},
    )
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 20_000,
        "val": 7,
        "test": 9,
    }
    assert [task.name for task in data.tasks] == ["a", "b", "c"]
    train = data.splits["train"]
    design = np.column_stack([train.inputs.numpy(), np.ones(20_000)])
    for name, slope, intercept, noise in (
        ("a", -1.0, 1.0, 0.5),
        ("b", 5.0, -4.0, 2.0),
        ("c", 0.5, 0.0, 0.1),
    ):
        y = train.targets[name].numpy()[:, 0]
        fit, *_ = np.linalg.lstsq(design, y)
        assert fit == pytest.approx([slope, intercept], abs=0.05)
        assert (y - design @ fit).std() == pytest.approx(noise, rel=0.03)


@pytest.mark.parametrize("make", [ToyRegression, ToyMixed])
def test_validation_and_test_are_fresh_points(make):
    """Breaks honest validation.

    Points of the training split among the others would hide overfitting.
    """
    splits = make(n=300, n_val=300, n_test=300).splits
    first = {name: {tuple(row) for row in split.inputs.tolist()} for name, split in splits.items()}
    assert all(len(rows) == 300 for rows in first.values())
    assert not first["train"] & first["val"]
    assert not first["train"] & first["test"]
    assert not first["val"] & first["test"]


@pytest.mark.parametrize("make", [ToyRegression, ToyMixed])
def test_same_seed_gives_the_same_data_and_another_seed_other_data(make):
    """Breaks reproducibility of runs, or makes `data.seed` an option without effect."""
    data, again, other_seed = make(seed=1), make(seed=1), make(seed=2)
    for name in ("train", "val", "test"):
        assert torch.equal(data.splits[name].inputs, again.splits[name].inputs)
        assert not torch.equal(data.splits[name].inputs, other_seed.splits[name].inputs)
        for task in data.tasks:
            assert torch.equal(
                data.splits[name].targets[task.name], again.splits[name].targets[task.name]
            )


def test_training_points_do_not_depend_on_the_size_of_the_other_splits():
    """Breaks comparisons between runs that validate on more points than others."""
    small, large = ToyRegression(n_val=5, n_test=5), ToyRegression(n_val=500, n_test=500)
    assert torch.equal(small.splits["train"].inputs, large.splits["train"].inputs)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_mixed_regression_residual_is_the_known_sigma(sigma):
    """Breaks the claim that a learned sigma may be held against `true_sigma`."""
    train = ToyMixed(n=20_000, sigma=sigma).splits["train"]
    x, y = train.inputs.numpy(), train.targets["value"].numpy()
    slope, *_ = np.linalg.lstsq(x, y)
    assert (y - x @ slope).std() == pytest.approx(sigma, rel=0.02)
    assert np.linalg.norm(slope) == pytest.approx(
        2 * sigma, rel=0.05
    )  # four fifths of the variance can be explained


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_mixed_labels_have_the_known_temperature(temperature):
    """Breaks the claim that a learned temperature may be compared with the true one."""
    data = ToyMixed(n=40_000, temperature=temperature, seed=5)
    train = data.splits["train"]
    true_logits = train.inputs @ _logit_slopes(seed=5, dim=4, classes=3)
    candidates = np.exp(np.linspace(math.log(temperature / 3), math.log(temperature * 3), 201))
    likelihood = [
        -float(F.cross_entropy(true_logits / t, train.targets["label"])) for t in candidates
    ]
    assert candidates[int(np.argmax(likelihood))] == pytest.approx(temperature, rel=0.06)


@pytest.mark.usefixtures("float64")
def test_mixed_labels_become_random_when_hot_and_certain_when_cold():
    """Breaks the direction of the temperature: hot must mean noisy, as a large sigma does."""
    chance = []
    for temperature in (0.01, 1000.0):
        train = ToyMixed(n=5000, temperature=temperature).splits["train"]
        best = (train.inputs @ _logit_slopes(seed=0, dim=4, classes=3)).argmax(1)
        chance.append(float((best == train.targets["label"]).double().mean()))
    assert chance[0] > 0.99
    assert chance[1] == pytest.approx(1 / 3, abs=0.03)


def test_mixed_sizes_inputs_and_classes_are_configurable():
    """Breaks `data.dim`, `data.classes` and the sizes of the splits."""
    prepared = prepare(ToyMixed(n=300, n_val=40, n_test=50, dim=7, classes=5))
    assert [len(prepared.splits[name]) for name in ("train", "val", "test")] == [300, 40, 50]
    assert prepared.splits["train"].inputs.shape == (300, 7)
    assert {task.name: (task.kind, task.size) for task in prepared.tasks} == {
        "value": ("regression", 1),
        "label": ("classification", 5),
    }
    assert set(prepared.splits["train"].targets["label"].tolist()) == set(range(5))


def _logit_slopes(seed: int, dim: int, classes: int) -> torch.Tensor:
    """Return the generator's true logits per input, drawn as the generator does.

    First the regression's slope, then these.
    """
    random = np.random.default_rng(seed)
    random.standard_normal(dim)
    return torch.as_tensor(3.0 * random.standard_normal((dim, classes)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"noise": {"y1": 1, "y2": 1, "y9": 3}}, "data.noise names the unknown task 'y9'; "),
        ({"intercepts": {"y1": 1, "y2": 1, "z": 3}}, "data.intercepts names the unknown task 'z'"),
        ({"slopes": {}}, "data.slopes is empty; give one per task, {task: slope}."),
        ({"noise": {"y1": 1}}, "data.slopes has the task 'y2', but data.noise has not;"),
        ({"noise": {"y1": -1, "y2": 1}}, "data.noise.y1 must be a number of at least 0; found -1."),
        ({"n": 0}, "data.n must be a whole number of at least 1; found 0."),
        ({"seed": -1}, "data.seed must be a whole number of at least 0; found -1."),
    ],
)
def test_impossible_lines_are_refused(options, sentence):
    """Breaks if noise that no task has, or of negative scale, is drawn without a word."""
    with pytest.raises(ConfigError) as error:
        ToyRegression(**options)
    assert str(error.value).startswith(sentence)


def test_lines_without_noise_have_no_true_sigma():
    """Breaks the sigma that a likelihood is compared with: no scale can be 0."""
    tasks = ToyRegression(noise={"y1": 0, "y2": 2}).tasks
    assert [task.true_sigma for task in tasks] == [None, 2.0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sigma": -1}, "data.sigma must be a positive number; found -1."),
        ({"temperature": 0}, "data.temperature must be a positive number; found 0."),
        ({"classes": 1}, "data.classes must be a whole number of at least 2; found 1."),
        ({"dim": 0}, "data.dim must be a whole number of at least 1; found 0."),
    ],
)
def test_impossible_mixtures_are_refused(options, sentence):
    """Breaks if labels are drawn at temperature 0, or a scale is negative."""
    with pytest.raises(ConfigError) as error:
        ToyMixed(**options)
    assert str(error.value) == sentence
