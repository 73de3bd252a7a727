"""The encoder-decoder: what it answers for images of any size, what it shares, what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_runner.data import Scenes, Split
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.likelihood import Standard
from mtl_runner.models import UNet
from mtl_runner.tasks.task import Task


def dense(name: str, size: int, height: int, width: int, kind: str = "regression") -> Task:
    """Return a task with an answer per pixel."""
    return Task(name, kind, size=size, places=(height, width))


def mixed(height: int, width: int) -> list[Task]:
    """Return two tasks per pixel and two per image."""
    return [
        dense("labels", 5, height, width, "classification"),
        Task("kind", "classification", size=3),
        dense("a.b", 2, height, width),
        Task("number", "regression", size=1),
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "depth"),
    [(16, 16, 3), (17, 23, 3), (8, 9, 3), (5, 7, 2), (3, 2, 1), (33, 64, 4)],
)
def test_every_task_is_answered_at_any_size(
    channels: int, height: int, width: int, depth: int
) -> None:
    """Breaks images whose sides are not a multiple of 2 ** depth.

    There are tasks per image beside tasks per pixel.
    """
    model = UNet(mixed(height, width), (channels, height, width), width=4, depth=depth)
    outputs = model(torch.rand(2, channels, height, width))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "labels": (2, 5, height, width),
        "kind": (2, 3),
        "a.b": (2, 2, height, width),
        "number": (2, 1),
    }


def test_every_parameter_is_reached_and_only_the_heads_are_not_shared() -> None:
    """Breaks strategies that look at gradients of shared parameters.

    One that no loss reaches, or a decoder that counts as a head.
    """
    tasks = mixed(9, 10)[:1] + mixed(9, 10)[2:3]
    model = UNet(tasks, (3, 9, 10), width=4, depth=2)
    inputs = torch.rand(2, 3, 9, 10)
    split = Split(
        inputs, {"labels": torch.zeros(2, 9, 10, dtype=torch.long), "a.b": torch.rand(2, 2, 9, 10)}
    )
    parameters = find_parameters(model, Standard(tasks), split)
    heads = sum(p.numel() for p in model.heads.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in parameters.tensors) == total
    assert sum(p.numel() for p in parameters.shared) == total - heads
    assert heads == (4 * 4 + 4) * 2 + (4 * 5 + 5) + (4 * 2 + 2)


@pytest.mark.parametrize(
    "chosen", [slice(0, 4), slice(1, 2), slice(0, 1)], ids=["mixed", "vector", "dense"]
)
def test_no_parameter_is_idle_whatever_the_tasks(chosen: slice) -> None:
    """Breaks if a decoder is trained that serves nobody, or a level is skipped."""
    tasks = mixed(12, 12)[chosen]
    model = UNet(tasks, (1, 12, 12), width=4, depth=2)
    outputs = model(torch.rand(2, 1, 12, 12))
    torch.stack([output.square().sum() for output in outputs.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_levels_double_in_width() -> None:
    """Breaks the sizes that the documentation tells.

    Parameters counted by hand for width 4 and depth 1.
    """

    def block(channels: int, width: int) -> int:
        return (
            9 * channels * width + 9 * width * width + 2 * 2 * width
        )  # two convolutions without bias, two normalisations

    model = UNet([dense("a", 1, 8, 8)], (3, 8, 8), width=4, depth=1)
    expected = block(3, 4) + block(4, 8) + block(8 + 4, 4) + (4 * 4 + 4) + (4 + 1)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [True, False])
def test_rows_do_not_look_at_each_other(training: bool) -> None:
    """Breaks per-sample gradients and stacks: statistics of a batch would tie its rows together."""
    torch.manual_seed(0)
    model = UNet(mixed(11, 14), (3, 11, 14), width=4, depth=2).train(training)
    inputs = torch.rand(2, 3, 11, 14)
    together = model(inputs)
    for row in range(2):
        for name, alone in model(inputs[row : row + 1]).items():
            torch.testing.assert_close(alone[0], together[name][row], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_an_answer_stands_where_its_pixel_is() -> None:
    """Breaks the way up.

    Mirrored or shifted features. With depth d, an image moved by 2 ** d pixels moves its answer.
    """
    torch.manual_seed(0)
    model = UNet([dense("a", 1, 64, 64)], (1, 64, 64), width=4, depth=1)
    model.apply(
        lambda module: (
            module.register_forward_hook(lambda *_: _[1][0])
            if isinstance(module, nn.GroupNorm)
            else None
        )
    )
    image = torch.zeros(1, 1, 64, 64)
    image[..., 20:28, 30:38] = torch.rand(8, 8)
    answer, moved = model(image)["a"], model(image.roll((2, 4), (2, 3)))["a"]
    inner = (..., slice(16, 48), slice(16, 48))
    torch.testing.assert_close(moved[inner], answer.roll((2, 4), (2, 3))[inner])
    assert answer[inner].std() > 0


def test_kept_tasks_are_the_ones_with_heads(tmp_path: Path) -> None:
    """Breaks data.tasks=[...], and a loss term beside them, which has no output."""
    data = Scenes(n=2, n_val=2, n_test=2, height=16, width=17, cache=tmp_path)
    prepared = prepare(
        data,
        keep=["normal", "depth"],
        terms={"smooth": lambda o, t: o["depth"].diff().abs().mean()},
    )
    model = UNet(prepared.tasks, (3, 16, 17), width=4, depth=1)
    outputs = model(prepared.splits["train"].inputs)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "depth": (2, 1, 16, 17),
        "normal": (2, 3, 16, 17),
    }
    assert all(
        torch.isfinite(task.loss(outputs, prepared.splits["train"].targets))
        for task in prepared.tasks
    )


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        (
            (64,),
            {},
            "model=unet takes images of shape (channels, height, width); the inputs have shape (64,); choose another model.",
        ),
        (
            {"x": (1, 8, 8), "y": (3,), "z": ()},
            {},
            "model=unet takes images of shape (channels, height, width); the inputs have shape {'x': (1, 8, 8), 'y': (3,), 'z': ()}; choose another model.",
        ),
        ((1, 8, 8), {"width": 0}, "model.width must be a whole number of at least 1; found 0."),
        ((1, 8, 8), {"width": 6}, "model.width must be a multiple of 4; found 6."),
        ((1, 8, 8), {"width": 8.0}, "model.width must be a whole number of at least 1; found 8.0."),
        (
            (1, 8, 8),
            {"depth": True},
            "model.depth must be a whole number of at least 1; found True.",
        ),
        ((1, 8, 8), {"depth": "2"}, "model.depth must be a whole number of at least 1; found '2'."),
        (
            (1, 8, 8),
            {"depth": 4},
            "model.depth=4 halves images of 8x8 pixels to nothing; lower it.",
        ),
        ((1, 64, 7), {}, "model.depth=3 halves images of 64x7 pixels to nothing; lower it."),
        (
            (1, 9, 8),
            {"width": 4},
            "model=unet answers at every pixel of its 9x8 images, but task 'a' wants (8, 8); resize its target.",
        ),
    ],
)
def test_wrong_inputs_and_options_have_their_sentence(
    shape: object, options: dict[str, object], sentence: str
) -> None:
    """Breaks if a wrong size is an error of torch's in the middle of the first step."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        UNet([dense("a", 1, 8, 8)], shape, **options)  # type: ignore[arg-type]
