"""The shared LeNet of the MultiMNIST papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_whole
from mtl_runner.tasks.task import Task

SMALLEST = 4  # pixels that two poolings by 2 leave something of


class LeNet(nn.Module):
    """Two convolutions, each followed by max-pooling by 2 and ReLU, a fully connected layer, and one linear head per task.

    Sizes as in Sener & Koltun (NeurIPS 2018): 10 and 20 channels, kernels of 5x5, 50 features. Lin et al. (NeurIPS 2019) take
    ``kernels=[9, 5]`` for their 36x36 images, and linear heads, as here. Departs from Sener & Koltun: no dropout, and no hidden layer in the heads.

    Padding: none, as in the papers, where the image is large enough for it (16x16 and more with the default kernels: 36x36 ends as
    6x6); a smaller one is padded by half a kernel before each convolution, which then keeps its size (12x12 ends as 3x3).

    Args:
        tasks: the tasks. input_shape: channels, height and width of one image.
        channels: of the two convolutions. kernels: sides of their square kernels, odd. features: width of the shared last layer.

    Shape: inputs ``[N, C, H, W]`` -> ``{task: [N, size]}``. Raises ``ConfigError`` for inputs that are no images of 4x4 pixels or more.
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
        if isinstance(input_shape, Mapping) or len(input_shape) != 3:
            found = (
                "a dict of inputs"
                if isinstance(input_shape, Mapping)
                else f"inputs of shape {tuple(input_shape)}"
            )
            raise ConfigError(
                f"model=lenet needs images, one tensor [rows, channels, height, width]; the data give {found}."
            )
        for name, value in (("channels", channels), ("kernels", kernels)):
            if (
                not isinstance(value, Sequence)
                or len(value) != 2
                or not all(is_whole(number, 1) for number in value)
            ):
                raise ConfigError(
                    f"model.{name} must be two positive whole numbers, e.g. {[10, 20] if name == 'channels' else [5, 5]}; found {value!r}."
                )
        if any(kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(
                f"model.kernels must be odd, so that padding can keep an image's size; found {list(kernels)}."
            )
        if not is_whole(features, 1):
            raise ConfigError(
                f"model.features must be a positive whole number; found {features!r}."
            )
        depth, height, width = input_shape
        if min(height, width) < SMALLEST:
            raise ConfigError(
                f"model=lenet halves an image twice, so it needs {SMALLEST}x{SMALLEST} pixels or more; the data give {height}x{width}."
            )
        unpadded = min(_left(side, kernels, padded=False) for side in (height, width)) > 0
        padding = [0, 0] if unpadded else [kernel // 2 for kernel in kernels]
        area = _left(height, kernels, padded=not unpadded) * _left(
            width, kernels, padded=not unpadded
        )
        # Pooling before ReLU: the same numbers, for a quarter of the work.
        self.trunk = nn.Sequential(
            nn.Conv2d(depth, channels[0], kernels[0], padding=padding[0]),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(channels[0], channels[1], kernels[1], padding=padding[1]),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels[1] * area, features),
            nn.ReLU(),
        )
        self.names = [task.name for task in tasks if task.has_target]
        self.heads = nn.ModuleList(
            nn.Linear(features, task.size) for task in tasks if task.has_target
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs)
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}


def _left(side: int, kernels: Sequence[int], *, padded: bool) -> int:
    """What the two convolutions and poolings leave of a side; 0 or less: nothing."""
    for kernel in kernels:
        side = (side if padded else side - kernel + 1) // 2
    return side
