"""The LeNet of the MultiMNIST papers: its published sizes and its padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_runner.data import Split
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.likelihood import Standard
from mtl_runner.models import LeNet
from mtl_runner.tasks.task import Task

TASKS = [Task("left", "classification", size=10), Task("right", "classification", size=10)]


def count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_those_of_the_papers() -> None:
    """Breaks comparisons with published numbers.

    Parameters are counted by hand from the papers' layers. Sener & Koltun on 28x28: 260 + 5020 +
    (320 -> 50) 16 050 in the shared part. Lin et al. on 36x36, kernels 9 and 5: 820 + 5020 +
    (500 -> 50) 25 050 shared, two heads (50 -> 10) of 510.
    """
    assert count(LeNet(TASKS, (1, 28, 28)).trunk) == 260 + 5020 + 16_050
    assert count(LeNet(TASKS, (1, 36, 36), kernels=[9, 5])) == 820 + 5020 + 25_050 + 2 * 510


@pytest.mark.parametrize(
    ("shape", "left"),
    [
        ((1, 36, 36), 6 * 6),  # unpadded: 36 - 4 = 32, 16, 16 - 4 = 12, 6
        ((1, 16, 16), 1),
        ((1, 15, 36), 3 * 9),  # one side too short: both are padded
        ((1, 12, 12), 3 * 3),
        ((3, 4, 4), 1),
    ],
)
def test_small_images_are_padded_and_large_ones_are_not(
    shape: tuple[int, int, int], left: int
) -> None:
    """Breaks the padding rule that the documentation tells."""
    model = LeNet(TASKS, shape)
    outputs = model(torch.zeros(7, *shape))
    assert (
        next(layer for layer in model.trunk if isinstance(layer, nn.Linear)).in_features
        == 20 * left
    )
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "left": (7, 10),
        "right": (7, 10),
    }


def test_every_task_has_a_head_and_all_share_the_trunk() -> None:
    """Breaks heads of regressions, dots in names, terms without an output, or what is shared."""
    tasks = [
        *TASKS,
        Task("a.b", "regression", size=64),
        Task("term", "term", loss_term=lambda o, t: o["a.b"].square().mean()),
    ]
    model = LeNet(tasks, (1, 12, 12))
    assert {name: output.shape[1] for name, output in model(torch.zeros(2, 1, 12, 12)).items()} == {
        "left": 10,
        "right": 10,
        "a.b": 64,
    }
    labels = torch.zeros(4, dtype=torch.long)
    split = Split(torch.rand(4, 1, 12, 12), {"left": labels, "right": labels})
    parameters = find_parameters(LeNet(TASKS, (1, 12, 12)), Standard(TASKS), split)
    assert [p.numel() for p in parameters.shared] == [250, 10, 5000, 20, 9000, 50]


def test_a_digit_moved_by_four_pixels_moves_the_features_by_one() -> None:
    """Breaks the convolutions.

    Each pooling halves, so that a shift of the image by four pixels is one of one place at the end.
    """
    torch.manual_seed(0)
    convolutions = LeNet(TASKS, (1, 36, 36)).trunk[:6]
    image = torch.zeros(1, 1, 36, 36)
    image[..., 8:18, 8:18] = torch.rand(10, 10)
    features, moved = convolutions(image), convolutions(image.roll((4, 4), (2, 3)))
    torch.testing.assert_close(moved[..., 1:, 1:], features[..., :-1, :-1])
    assert not torch.allclose(moved, features)


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        (
            (64,),
            {},
            "model=lenet needs images, one tensor [rows, channels, height, width]; the data give inputs of shape (64,).",
        ),
        (
            {"x": (1, 12, 12)},
            {},
            "model=lenet needs images, one tensor [rows, channels, height, width]; the data give a dict of inputs.",
        ),
        (
            (1, 3, 12),
            {},
            "model=lenet halves an image twice, so it needs 4x4 pixels or more; the data give 3x12.",
        ),
        (
            (1, 12, 12),
            {"kernels": [4, 5]},
            "model.kernels must be odd, so that padding can keep an image's size; found [4, 5].",
        ),
        (
            (1, 12, 12),
            {"kernels": 5},
            "model.kernels must be two positive whole numbers, e.g. [5, 5]; found 5.",
        ),
        (
            (1, 12, 12),
            {"channels": [10]},
            "model.channels must be two positive whole numbers, e.g. [10, 20]; found [10].",
        ),
        ((1, 12, 12), {"features": 0}, "model.features must be a positive whole number; found 0."),
    ],
)
def test_wrong_inputs_and_options_have_their_sentence(
    shape: object, options: dict[str, object], sentence: str
) -> None:
    """Breaks if a wrong size is an error of torch's in the middle of the first step."""
    with pytest.raises(ConfigError) as error:
        LeNet(TASKS, shape, **options)  # type: ignore[arg-type]
    assert str(error.value) == sentence
