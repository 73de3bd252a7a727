"""Road scenes as a dataset: tasks, seeds, options, and the label noise that was asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_runner.data import Scenes
from mtl_runner.data.prepare import prepare
from mtl_runner.data.scenes.renderer import CLASSES
from mtl_runner.errors import ConfigError
from tests.unit.data.splits import same_split

HEIGHT, WIDTH = 32, 48
TASKS = ("segmentation", "instance", "depth", "normal")
Make = Callable[..., Scenes]


def test_shapes_and_values_are_as_documented(scenes: Make) -> None:
    """Breaks the tasks of the paper: names, kinds, sizes, metrics, ranges."""
    data = scenes()
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [40, 3, 3]
    prepared = prepare(data)
    described = [
        (task.name, task.kind, task.size, task.main_metric, task.places) for task in prepared.tasks
    ]
    places = (HEIGHT, WIDTH)
    assert described == [
        ("segmentation", "classification", 8, "miou", places),
        ("instance", "regression_l1", 2, "instance_error", places),
        ("depth", "regression_l1", 1, "abs_err", places),
        ("normal", "direction", 3, "angle_mean", places),
    ]
    assert prepared.tasks[0].classes == CLASSES
    for split in data.splits.values():
        assert split.inputs.shape == (len(split), 3, HEIGHT, WIDTH)
        assert split.inputs.dtype == torch.get_default_dtype()
        assert 0 <= float(split.inputs.min()) < 0.3 < 0.7 < float(split.inputs.max()) <= 1
        assert split.targets["segmentation"].shape == (len(split), *places)
        assert split.targets["segmentation"].dtype == torch.int64


@pytest.mark.usefixtures("float64")
def test_scenes_are_made_in_the_default_precision(scenes_folder: Path) -> None:
    """Breaks if a float64 run gets single precision scenes, or the file of the other precision."""
    options: dict[str, Any] = {
        "n": 2,
        "n_val": 1,
        "n_test": 1,
        "height": 16,
        "width": 16,
        "cache": scenes_folder,
    }
    double = Scenes(**options).splits["train"]
    assert double.inputs.dtype == torch.float64
    torch.set_default_dtype(torch.float32)
    single = Scenes(**options).splits["train"]
    assert single.inputs.dtype == torch.float32
    assert torch.equal(double.inputs.float(), single.inputs)


# Seeds


def test_the_seed_decides_everything(scenes: Make, tmp_path: Path) -> None:
    """Breaks reproducibility: same seed, other scenes, or the same ones whatever the seed."""
    noise = dict.fromkeys(TASKS, 0.2)
    first, again = scenes(n=4, noise=noise), scenes(n=4, noise=noise, cache=tmp_path)
    torch.manual_seed(7)
    np.random.seed(7)
    other_seed = scenes(n=4, noise=noise, seed=1)
    for name in ("train", "val", "test"):
        assert same_split(first.splits[name], again.splits[name])
        assert not same_split(first.splits[name], other_seed.splits[name], ())


def test_the_first_scenes_are_the_same_however_many_there_are(scenes: Make) -> None:
    """Breaks learning curves over n, which would compare other scenes."""
    few, many = scenes(n=3, n_val=1, n_test=2), scenes()
    for name, split in few.splits.items():
        assert same_split(split, many.splits[name].rows(slice(0, len(split))))


def test_no_scene_is_in_two_splits(scenes: Make) -> None:
    """Breaks the test: a scene of the training split in it."""
    pictures = torch.cat([split.inputs for split in scenes().splits.values()]).flatten(1)
    assert torch.cdist(pictures, pictures).fill_diagonal_(torch.inf).min() > 1


# Label noise


AMOUNTS = {"segmentation": 0.3, "instance": 1.5, "depth": 0.02, "normal": 8.0}


def test_labels_are_as_noisy_as_asked_for_and_only_in_training(scenes: Make) -> None:
    """Breaks the experiment.

    Noise of another share, scale, angle or distribution, in the wrong split, or on the image.
    """
    clean, noisy = scenes(), scenes(noise=AMOUNTS)
    for name in ("val", "test"):
        assert same_split(clean.splits[name], noisy.splits[name])
    before, after = clean.splits["train"], noisy.splits["train"]
    assert torch.equal(before.inputs, after.inputs)

    changed = (before.targets["segmentation"] != after.targets["segmentation"]).double().mean()
    count = after.targets["segmentation"].numel()
    assert changed == pytest.approx(
        0.3 * 7 / 8, abs=5 * math.sqrt(0.25 / count)
    )  # one draw in eight is the right class
    drawn = after.targets["segmentation"][
        before.targets["segmentation"] != after.targets["segmentation"]
    ]
    assert (torch.bincount(drawn, minlength=8) > 0).all()

    for name in ("instance", "depth"):
        assert torch.equal(before.targets[name].isnan(), after.targets[name].isnan())
        error = (after.targets[name] - before.targets[name]).double()
        error = error[~error.isnan()] / AMOUNTS[name]
        spread = 5 / math.sqrt(len(error))
        assert error.abs().mean() == pytest.approx(
            1.0, abs=spread
        )  # of Laplace noise of scale 1; its variance is 2
        assert error.square().mean() == pytest.approx(2.0, abs=5 * spread)
        assert error.mean() == pytest.approx(0.0, abs=1.5 * spread)
        assert (error.abs() < math.log(2)).double().mean() == pytest.approx(0.5, abs=spread)

    assert torch.equal(before.targets["normal"].isnan(), after.targets["normal"].isnan())
    known = ~before.targets["normal"].isnan().any(1)
    old, new = (split.targets["normal"].movedim(1, -1)[known].double() for split in (before, after))
    torch.testing.assert_close(new.norm(dim=1), torch.ones(len(new)).double(), rtol=0, atol=1e-6)
    angle = torch.rad2deg(torch.atan2(torch.linalg.cross(old, new).norm(dim=1), (old * new).sum(1)))
    # Two independent normal angles: Rayleigh.
    assert angle.mean() == pytest.approx(8 * math.sqrt(math.pi / 2), rel=0.02)
    assert angle.square().mean().sqrt() == pytest.approx(8 * math.sqrt(2), rel=0.02)


def test_the_true_sigma_is_the_scale_of_the_noise(scenes: Make) -> None:
    """Breaks the line that a learned sigma is compared with."""
    assert [task.true_sigma for task in scenes(noise=AMOUNTS).tasks] == [None, 1.5, 0.02, None]
    assert [task.true_sigma for task in scenes().tasks] == [None] * 4


def test_the_noise_of_a_task_does_not_depend_on_that_of_the_others(scenes: Make) -> None:
    """Breaks a sweep over one task's noise: the other labels would change too."""
    all_noisy, clean = scenes(noise=AMOUNTS).splits["train"], scenes().splits["train"]
    for name in TASKS:
        alone = scenes(noise={name: AMOUNTS[name]}).splits["train"]
        assert same_split(alone, all_noisy, (name,))
        assert same_split(alone, clean, tuple(task for task in TASKS if task != name))
        assert not same_split(alone, clean, (name,))


def test_twice_the_noise_is_the_same_noise_twice_as_large(scenes: Make) -> None:
    """Breaks comparisons between amounts of noise, which should differ in nothing else."""
    clean, once, twice = (
        scenes(noise={"depth": b}).splits["train"].targets["depth"].double()
        for b in (0.0, 0.01, 0.02)
    )
    torch.testing.assert_close(twice - clean, 2 * (once - clean), rtol=0, atol=1e-6)


# Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n": 0}, "data.n must be a whole number of at least 1; found 0."),
        ({"n": True}, "data.n must be a whole number of at least 1; found True."),
        ({"n_val": 1.5}, "data.n_val must be a whole number of at least 1; found 1.5."),
        ({"n_test": -3}, "data.n_test must be a whole number of at least 1; found -3."),
        ({"height": 15}, "data.height must be a whole number of at least 16; found 15."),
        ({"width": "64"}, "data.width must be a whole number of at least 16; found '64'."),
        (
            {"noise": {"depht": 1.0}},
            "data.noise names the unknown task 'depht'; did you mean 'depth'? allowed: depth, instance, normal, segmentation.",
        ),
        (
            {"noise": {"segmentation": 1.5}},
            "data.noise.segmentation must be a share from 0 to 1; found 1.5.",
        ),
        (
            {"noise": {"depth": -0.1}},
            "data.noise.depth must be a number of at least 0; found -0.1.",
        ),
        (
            {"noise": {"normal": math.inf}},
            "data.noise.normal must be a number of at least 0; found inf.",
        ),
        (
            {"noise": {"normal": math.nan}},
            "data.noise.normal must be a number of at least 0; found nan.",
        ),
        (
            {"noise": {"instance": "1"}},
            "data.noise.instance must be a number of at least 0; found '1'.",
        ),
        (
            {"noise": {"instance": True}},
            "data.noise.instance must be a number of at least 0; found True.",
        ),
    ],
)
def test_wrong_options_have_their_sentence(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """Breaks if a wrong size or noise is drawn anyway, or fails inside NumPy."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        Scenes(**{"n": 1, "n_val": 1, "n_test": 1, "cache": tmp_path, **options})
    assert list(tmp_path.iterdir()) == []
