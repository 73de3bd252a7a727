"""The shared LeNet of the MultiMNIST papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.models.trunk import Trunk
from mtl_runner.tasks.task import Task

SMALLEST_SIDE = 4  # pixels: two poolings by 2 leave one


class LeNetTrunk(Trunk):
    """The shared part of a :class:`LeNet`, from images to features: three stages.

    Args:
        input_shape: Channels, height and width of one image.
        channels: Channels of the two convolutions.
        kernels: Sides of their square kernels, odd.
        features: Width of the fully connected layer.

    Shape:
        Inputs ``[N, C, H, W]``, features ``[N, features]``.

    Raises:
        ConfigError: If the inputs are no images of at least 4x4 pixels, or an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner.models import LeNetTrunk
        >>> tuple(LeNetTrunk((1, 36, 36))(torch.zeros(5, 1, 36, 36)).shape)
        (5, 50)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        channels: Sequence[int] = (10, 20),
        kernels: Sequence[int] = (5, 5),
        features: int = 50,
    ) -> None:
        if isinstance(input_shape, Mapping) or len(input_shape) != 3:
            inputs = (
                "a dict of inputs"
                if isinstance(input_shape, Mapping)
                else f"inputs of shape {tuple(input_shape)}"
            )
            raise ConfigError(
                f"model=lenet needs images, one tensor [rows, channels, height, width]; the data give {inputs}."
            )
        _check_pair("channels", channels, example=[10, 20])
        _check_pair("kernels", kernels, example=[5, 5])
        if any(kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(
                f"model.kernels must be odd, so that padding can keep an image's size; found {list(kernels)}."
            )
        if not is_whole_number(features, 1):
            raise ConfigError(
                f"model.features must be a positive whole number; found {features!r}."
            )
        depth, height, width = input_shape
        if min(height, width) < SMALLEST_SIDE:
            raise ConfigError(
                f"model=lenet halves an image twice, so it needs {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels or more; the data give {height}x{width}."
            )
        padded = min(_side_after(side, kernels, padded=False) for side in (height, width)) <= 0
        padding = [kernel // 2 if padded else 0 for kernel in kernels]
        area = _side_after(height, kernels, padded) * _side_after(width, kernels, padded)
        # Pooling before ReLU: the same numbers, for a quarter of the work.
        super().__init__(
            [
                [
                    nn.Conv2d(depth, channels[0], kernels[0], padding=padding[0]),
                    nn.MaxPool2d(2),
                    nn.ReLU(),
                ],
                [
                    nn.Conv2d(channels[0], channels[1], kernels[1], padding=padding[1]),
                    nn.MaxPool2d(2),
                    nn.ReLU(),
                ],
                [nn.Flatten(), nn.Linear(channels[1] * area, features), nn.ReLU()],
            ]
        )


class LeNet(nn.Module):
    """A LeNet shared by all tasks, with one linear head per task, for images.

    The shared part is two convolutions, each followed by max-pooling by 2 and ReLU, and one fully
    connected layer. Its sizes are those of Sener & Koltun (NeurIPS 2018): 10 and 20 channels,
    kernels of 5x5, 50 features. Lin et al. (NeurIPS 2019) take ``kernels=[9, 5]`` for their 36x36
    images, and linear heads, as here. Departs from Sener & Koltun: no dropout, and no hidden layer
    in the heads.

    Large images are not padded, as in the papers (16x16 and more with the default kernels: 36x36
    ends as 6x6). Smaller ones are padded by half a kernel before each convolution, which then keeps
    their size (12x12 ends as 3x3).

    Args:
        tasks: The tasks.
        input_shape: Channels, height and width of one image.
        channels: Channels of the two convolutions.
        kernels: Sides of their square kernels, odd.
        features: Width of the shared fully connected layer.

    Shape:
        Inputs ``[N, C, H, W]``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If the inputs are no images of at least 4x4 pixels, or an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import LeNet
        >>> tasks = [Task("left", "classification", size=10), Task("ink", size=1)]
        >>> outputs = LeNet(tasks, (1, 36, 36))(torch.zeros(5, 1, 36, 36))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'left': (5, 10), 'ink': (5, 1)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        channels: Sequence[int] = (10, 20),
        kernels: Sequence[int] = (5, 5),
        features: int = 50,
    ) -> None:
        super().__init__()
        self.trunk = LeNetTrunk(input_shape, channels, kernels, features)
        self.task_names = [task.name for task in tasks if task.has_target]
        self.heads = nn.ModuleList(
            nn.Linear(features, task.size) for task in tasks if task.has_target
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        features = self.trunk(inputs)
        return {
            name: head(features) for name, head in zip(self.task_names, self.heads, strict=True)
        }


def _check_pair(key: str, value: object, example: list[int]) -> None:
    if (
        not isinstance(value, Sequence)
        or len(value) != 2
        or not all(is_whole_number(number, 1) for number in value)
    ):
        raise ConfigError(
            f"model.{key} must be two positive whole numbers, e.g. {example}; found {value!r}."
        )


def _side_after(side: int, kernels: Sequence[int], padded: bool) -> int:
    """Return what convolutions and poolings leave of a side in pixels; 0 or less means nothing."""
    for kernel in kernels:
        side = (side if padded else side - kernel + 1) // 2
    return side
