"""The arrays of panel.png: a few images with the truth and prediction of each dense task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.data import Split
from mtl_runner.data.prepare import Prepared
from mtl_runner.experiment.build import build
from mtl_runner.runs.panel import ROWS, validation_panel
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
    """Return the trainer of a command line before its first step."""
    config = OmegaConf.create(OmegaConf.to_container(compose(*options, "trainer.threads=1")))
    directory.mkdir()
    return Trainer(build(config), directory)


class Known(nn.Module):
    """A model that returns given outputs."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.answers = outputs

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: output[: len(inputs)] for name, output in self.answers.items()}


@pytest.fixture
def scenes(tmp_path: Path) -> Trainer:
    """A run on small drawn scenes, before its first step."""
    options = (*SCENES, f"data.cache={tmp_path}", "data.tasks=[segmentation,instance,depth,normal]")
    return trainer_of(tmp_path / "run", *options, "model.width=4", "model.depth=1")


def test_the_arrays_are_truth_and_answers_of_the_first_validation_images(scenes: Trainer) -> None:
    """Breaks if a picture shows training images, other rows, raw outputs, or unknown pixels."""
    panel = validation_panel(scenes)
    assert panel is not None
    split = scenes.experiment.data.splits["val"]
    assert len(split) > ROWS == 4
    assert (panel.images == split.inputs[:4].numpy()).all()
    assert list(panel.maps) == ["segmentation", "instance", "depth", "normal"]
    scenes.learner.model.eval()
    outputs = scenes.learner.model(split.inputs[:4])
    labels = panel.maps["segmentation"]
    assert (labels.truth == split.targets["segmentation"][:4].numpy()).all()
    assert (labels.prediction == outputs["segmentation"].argmax(1).numpy()).all()
    assert labels.classes[1] == "road"
    for name in ("instance", "depth", "normal"):
        shown, target = panel.maps[name], split.targets[name][:4]
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
    assert np.isnan(panel.maps["normal"].prediction).any()
    assert np.isnan(panel.maps["instance"].prediction).any()


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
    panel = validation_panel(scenes)
    assert panel is not None
    assert list(panel.maps) == ["c", "r"]
    assert panel.images.shape == (3, 1, HEIGHT, WIDTH)
    assert panel.maps["c"].classes == tuple(map(str, range(12)))
    assert np.isnan(panel.maps["c"].truth[0, 0]).all()
    assert np.isnan(panel.maps["c"].prediction[0, 0]).all()
    assert not np.isnan(panel.maps["c"].prediction[1:]).any()
    np.testing.assert_allclose(panel.maps["r"].truth, 5 + 2 * values.numpy(), rtol=1e-6)
    np.testing.assert_allclose(panel.maps["r"].prediction, 7 + 2 * values.numpy(), rtol=1e-6)


def test_a_table_has_no_panel(tmp_path: Path) -> None:
    """Breaks if a run on a table fails at its very end."""
    assert validation_panel(trainer_of(tmp_path / "run", "data=toy_mixed")) is None


def test_images_with_one_answer_each_have_no_panel(scenes: Trainer) -> None:
    """Breaks if a run that classifies images fails at its very end."""
    scenes.tasks = [Task("label", "classification", size=3)]
    assert validation_panel(scenes) is None
