"""The picture of a few images with truth and prediction per task: what stands in it, and that it is drawn whatever the tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.data import Split
from mtl_runner.data.dataset import Prepared
from mtl_runner.experiment.build import build
from mtl_runner.results.panel_plot import Map, Panel, plot_panel
from mtl_runner.runs.panel import ROWS, panel
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import compose

HEIGHT, WIDTH = 5, 6
SCENES = (
    "data=scenes",
    "data.n=4",
    "data.n_val=6",
    "data.n_test=2",
    "data.height=16",
    "data.width=20",
)


def trainer_of(directory: Path, *options: str) -> Trainer:
    """The trainer of a command line before its first step."""
    config = OmegaConf.create(OmegaConf.to_container(compose(*options, "trainer.threads=1")))
    directory.mkdir()
    return Trainer(build(config), directory)


class Known(nn.Module):
    """A model with known answers."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.answers = outputs

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: output[: len(inputs)] for name, output in self.answers.items()}


@pytest.fixture
def scenes(tmp_path: Path) -> Trainer:
    options = (*SCENES, f"data.cache={tmp_path}", "data.tasks=[segmentation,instance,depth,normal]")
    return trainer_of(tmp_path / "run", *options, "model.width=4", "model.depth=1")


def test_the_arrays_are_truth_and_answers_of_the_first_validation_images(scenes: Trainer) -> None:
    """Breaks if a picture shows training images, other rows, outputs instead of answers, or answers where nothing is known."""
    found = panel(scenes)
    assert found is not None
    split = scenes.experiment.data.splits["val"]
    assert len(split) > ROWS == 4
    assert (found.images == split.inputs[:4].numpy()).all()
    assert list(found.maps) == ["segmentation", "instance", "depth", "normal"]
    scenes.learner.model.eval()
    outputs = scenes.learner.model(split.inputs[:4])
    labels = found.maps["segmentation"]
    assert (labels.truth == split.targets["segmentation"][:4].numpy()).all()
    assert (labels.prediction == outputs["segmentation"].argmax(1).numpy()).all()
    assert labels.classes[1] == "road"
    for name in ("instance", "depth", "normal"):
        shown, target = found.maps[name], split.targets[name][:4]
        assert shown.classes == ()
        np.testing.assert_allclose(
            shown.truth, target.numpy(), rtol=0, atol=1e-6
        )  # NaN where it is NaN
        answer = outputs[name].detach().double()
        if name == "normal":
            answer = answer / answer.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(
            shown.prediction,
            torch.where(target.isnan(), torch.nan, answer).numpy(),
            rtol=0,
            atol=1e-6,
        )
    assert np.isnan(found.maps["normal"].prediction).any()
    assert np.isnan(found.maps["instance"].prediction).any()


def test_targets_are_shown_in_their_own_units_and_unknown_classes_are_blank(
    scenes: Trainer,
) -> None:
    """Breaks if training units, or class -100, are drawn."""
    tasks = [
        Task("c", "classification", size=12, places=(HEIGHT, WIDTH), missing=True),
        Task("r", "regression", size=1, offset=5.0, scale=2.0, places=(HEIGHT, WIDTH)),
        Task("v", "regression", size=2),  # an answer per image is not in the picture
    ]
    classes = torch.randint(12, (3, HEIGHT, WIDTH))
    classes[0, 0] = MISSING_CLASS
    values = torch.rand(3, 1, HEIGHT, WIDTH)
    split = Split(
        torch.rand(3, 1, HEIGHT, WIDTH), {"c": classes, "r": values, "v": torch.rand(3, 2)}
    )
    outputs = {"c": torch.rand(3, 12, HEIGHT, WIDTH), "r": values + 1, "v": torch.rand(3, 2)}
    scenes.experiment.data = Prepared(tasks, {"train": split, "val": split, "test": split})
    scenes.learner.model = Known(outputs)
    scenes.learner.likelihood.tasks = tasks
    scenes.tasks = tasks
    found = panel(scenes)
    assert found is not None
    assert list(found.maps) == ["c", "r"]
    assert found.images.shape == (3, 1, HEIGHT, WIDTH)
    assert found.maps["c"].classes == tuple(map(str, range(12)))
    assert np.isnan(found.maps["c"].truth[0, 0]).all()
    assert np.isnan(found.maps["c"].prediction[0, 0]).all()
    assert not np.isnan(found.maps["c"].prediction[1:]).any()
    np.testing.assert_allclose(found.maps["r"].truth, 5 + 2 * values.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.maps["r"].prediction, 7 + 2 * values.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "data", [("data=toy_mixed",), ("data=multi_digits", "data.rows=100")], ids=["table", "images"]
)
def test_there_is_none_without_a_task_with_places(tmp_path: Path, data: tuple[str, ...]) -> None:
    """Breaks runs on tables, and on images with one answer each."""
    assert panel(trainer_of(tmp_path / "run", *data)) is None


def drawn(path: Path) -> np.ndarray:
    """The pixels of a picture ``[H, W, 3]``."""
    return np.asarray(matplotlib.image.imread(path))[..., :3]


def maps(seed: int = 0, rows: int = 2) -> dict[str, Map]:
    random = np.random.default_rng(seed)

    def pair(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        truth, said = random.normal(size=(2, rows, *shape, HEIGHT, WIDTH))
        truth[:, ..., 0] = said[:, ..., 0] = np.nan
        return truth, said

    labels = [
        np.where(np.isnan(values), np.nan, random.integers(0, 3, values.shape)) for values in pair()
    ]
    return {
        "few": Map(*labels, ("a", "b", "c")),
        "many": Map(*labels, tuple(map(str, range(19)))),
        "depth": Map(*pair(1), ()),
        "offsets": Map(*pair(2), ()),
        "normals": Map(*pair(3), ()),
    }


def test_a_panel_is_a_picture_with_something_in_it(tmp_path: Path, scenes: Trainer) -> None:
    """Breaks panel.png."""
    found = panel(scenes)
    assert found is not None
    plot_panel(tmp_path / "panel.png", found)
    pixels = drawn(tmp_path / "panel.png")
    height, width = pixels.shape[:2]
    assert width > 1.5 * height  # 4 images below each other, 9 beside each other
    assert pixels.std() > 0.1
    assert len(np.unique((pixels.reshape(-1, 3) * 255).round(), axis=0)) > 100


@pytest.mark.parametrize("name", ["few", "many", "depth", "offsets", "normals"])
def test_truth_and_prediction_share_a_scale_and_the_unknown_is_white(
    tmp_path: Path, name: str
) -> None:
    """Breaks if the right answer looks different from the truth, a wrong one like it, or unknown pixels have a colour."""
    shown = maps()[name]
    images = np.full((2, 3, HEIGHT, WIDTH), 0.5)

    def columns(said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        plot_panel(
            tmp_path / "panel.png", Panel(images, {name: Map(shown.truth, said, shown.classes)})
        )
        pixels = drawn(tmp_path / "panel.png")
        first = np.abs(pixels - 0.5).max(2) < 0.02  # the grey input
        rows = np.flatnonzero(first.sum(1) > 20)
        found = pixels[rows[0] : rows[-1] + 1]
        grey = np.flatnonzero(first[rows].mean(0) > 0.9)
        step = np.flatnonzero((found[:, grey[-1] + 1 :] < 0.97).any((0, 2))) + grey[-1] + 1
        middle = (step[0] + step[-1]) // 2
        return found[:, step[0] : middle], found[:, middle + 1 :]

    def distinct(pixels: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(colour) for colour in (pixels.reshape(-1, 3) * 25).round().astype(int)}

    truth, same = columns(shown.truth)
    assert len(distinct(truth) - distinct(same)) <= 0.2 * len(distinct(truth))
    assert (25, 25, 25) in distinct(truth)
    other = shown.prediction if shown.classes else 3 * shown.truth
    _, wrong = columns(np.roll(other, 2, axis=-2) if shown.classes else other)
    assert wrong.shape[0] == same.shape[0]
    assert abs(wrong.mean() - same.mean()) > 1e-4


ODD: dict[str, Any] = {
    "grey": np.full((1, 1, HEIGHT, WIDTH), 0.3),
    "two channels": np.random.default_rng(0).random((1, 2, HEIGHT, WIDTH)),
    "standardised": np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)),
    "constant": np.full((1, 3, HEIGHT, WIDTH), -2.0),
}


@pytest.mark.parametrize("odd", ODD)
def test_any_image_can_be_drawn(tmp_path: Path, odd: str) -> None:
    """Breaks a run at its very end: grey, standardised or constant images, and maps of which nothing is known."""
    unknown = {
        name: Map(np.full_like(m.truth, np.nan), np.full_like(m.prediction, np.nan), m.classes)
        for name, m in maps(0, 1).items()
    }
    plot_panel(tmp_path / "panel.png", Panel(ODD[odd], unknown))
    assert drawn(tmp_path / "panel.png").std() > 0.005
    plot_panel(tmp_path / "again.png", Panel(ODD[odd], maps(0, 1)))
    assert drawn(tmp_path / "again.png").std() > 0.01
