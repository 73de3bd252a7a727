"""Heads: vectors, feature maps, answers per image and per pixel."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models.heads import MeanOverPixels, Towers, make_head
from mtl_runner.tasks.task import Task
from tests.support.builders import make_terms

VECTOR = Task("kind", "classification", size=3)
DENSE = Task("depth", size=2, places=(4, 5))


def kinds(head: nn.Module) -> list[str]:
    """Return the names of a head's layers."""
    layers = head if isinstance(head, nn.Sequential) else [head]
    return [type(layer).__name__ for layer in layers]


def test_a_head_is_as_wide_as_its_task() -> None:
    """Breaks the sizes of outputs, or the layers that `model.tower` asks for."""
    assert kinds(make_head(VECTOR, (8,))) == ["Linear"]
    head = make_head(VECTOR, (8,), [6, 5])
    assert kinds(head) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert tuple(head(torch.zeros(7, 8)).shape) == (7, 3)


def test_towers_answer_each_task_from_its_own_features() -> None:
    """Breaks if a task is answered from another one's features, or a loss term gets a head."""
    tasks = [VECTOR, Task("a.b", size=1), *make_terms(term=lambda outputs: outputs)]
    towers = Towers(tasks, (8,), [4])
    assert len(towers) == 2
    features = [torch.randn(7, 8), torch.randn(7, 8)]
    outputs = towers(features)
    assert list(outputs) == ["kind", "a.b"]
    assert torch.equal(outputs["a.b"], towers[1](features[1]))
    assert next(iter(towers.state_dict())) == "0.0.weight"
    with pytest.raises(ValueError, match="argument"):
        towers(features[:1])


def test_an_answer_per_image_comes_from_the_mean_of_a_map() -> None:
    """Breaks tasks per image on a U-Net's features."""
    head, features = make_head(VECTOR, (8, 4, 5)), torch.randn(7, 8, 4, 5)
    assert kinds(head) == ["MeanOverPixels", "Linear"]
    expected = F.linear(features.flatten(2).mean(2), head[1].weight, head[1].bias)
    torch.testing.assert_close(head(features), expected)
    assert torch.equal(MeanOverPixels()(torch.ones(2, 3, 4, 5)), torch.ones(2, 3))


def test_an_answer_per_pixel_comes_from_its_pixel_alone() -> None:
    """Breaks dense tasks: a pixel would see its neighbours in the head."""
    head, features = make_head(DENSE, (8, 4, 5)), torch.randn(1, 8, 4, 5)
    assert kinds(head) == ["Conv2d", "ReLU", "Conv2d"]
    before = head(features)
    assert tuple(before.shape) == (1, 2, 4, 5)
    features[0, :, 1, 2] += 1
    changed = (head(features) != before).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 2]]
    assert kinds(make_head(DENSE, (8, 4, 5), [6])) == ["Conv2d", "ReLU", "Conv2d"]


@pytest.mark.parametrize(
    ("task", "shape", "hidden", "sentence"),
    [
        (
            DENSE,
            (8,),
            (),
            "Task 'depth' has an answer at each of 4x5 pixels, but the trunk gives one vector per image; choose model/trunk=unet.",
        ),
        (
            DENSE,
            (8, 2, 3),
            (),
            "Task 'depth' has an answer at each of 4x5 pixels, but the trunk gives a map of 2x3; choose model/trunk=unet.",
        ),
        (
            VECTOR,
            (8, 4),
            (),
            "A trunk must give features [N, width] or a map [N, channels, height, width]; this one gives ['N', 8, 4].",
        ),
        (
            VECTOR,
            (8,),
            [0],
            "model.tower must be a list of positive widths, e.g. [64]; found [0].",
        ),
        (VECTOR, (8,), 64, "model.tower must be a list of positive widths, e.g. [64]; found 64."),
    ],
)
def test_features_that_do_not_fit_have_their_sentence(
    task: Task, shape: tuple[int, ...], hidden: list[int], sentence: str
) -> None:
    """Breaks if a trunk that cannot answer per pixel fails in the middle of the first step."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        make_head(task, shape, hidden)
