"""Heads: from the features of a task to its output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.tasks.task import Task


class MeanOverPixels(nn.Module):
    """The mean of each channel of a feature map: from ``[N, channels, H, W]`` to ``[N, channels]``.

    Example:
        >>> import torch
        >>> from mtl_runner.models.heads import MeanOverPixels
        >>> MeanOverPixels()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
        tensor([[3.]])
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return the means."""
        return features.mean((2, 3))


class Towers(nn.ModuleList):
    """One head for each task with a target, on features of its own but of one shape.

    Args:
        tasks: The tasks.
        feature_shape: Shape of the features of one row, ``(width,)`` or ``(channels, H, W)``.
        hidden: Widths of the layers in each head before its output.

    Raises:
        ConfigError: As :func:`make_head`.

    Example:
        >>> import torch
        >>> from mtl_runner.models.heads import Towers
        >>> towers = Towers([Task("depth", size=1), Task("kind", "classification", size=3)], (8,))
        >>> outputs = towers([torch.zeros(5, 8), torch.ones(5, 8)])
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'depth': (5, 1), 'kind': (5, 3)}
    """

    def __init__(
        self, tasks: Sequence[Task], feature_shape: Sequence[int], hidden: Sequence[int] = ()
    ) -> None:
        supervised = [task for task in tasks if task.has_target]
        super().__init__(make_head(task, feature_shape, hidden) for task in supervised)
        # A list, not a ModuleDict: a task may be called "a.b".
        self.task_names = [task.name for task in supervised]

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the output of each task.

        Args:
            features: The features of each task, in order.
        """
        return {
            name: head(task_features)
            for name, head, task_features in zip(self.task_names, self, features, strict=True)
        }


def make_head(
    task: Task, feature_shape: Sequence[int], hidden: Sequence[int] = (), key: str = "model.tower"
) -> nn.Module:
    """Return the head of a task: fully connected layers, or 1x1 convolutions for every pixel.

    A task with one answer per image gets the mean of a feature map.

    Args:
        task: The task; its head ends in ``task.size`` numbers, or channels.
        feature_shape: Shape of the features of one row, ``(width,)`` or ``(channels, H, W)``.
        hidden: Widths of the layers before the last one, each followed by a ReLU; a head per pixel
            has one as wide as the features if none is given.
        key: The key of these widths in the config, for the error.

    Raises:
        ConfigError: If the features are neither vectors nor maps, or the task has an answer per
            pixel and the features do not have the same pixels.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.models.heads import make_head
        >>> make_head(Task("depth", size=1), (8,))
        Linear(in_features=8, out_features=1, bias=True)
    """
    if not isinstance(hidden, Sequence) or not all(is_whole_number(width, 1) for width in hidden):
        raise ConfigError(f"{key} must be a list of positive widths, e.g. [64]; found {hidden!r}.")
    shape = tuple(feature_shape)
    if len(shape) not in (1, 3):
        raise ConfigError(
            f"A trunk must give features [N, width] or a map [N, channels, height, width]; this one gives {['N', *shape]}."
        )
    if task.places and tuple(task.places) != shape[1:]:
        given = f"a map of {shape[1]}x{shape[2]}" if len(shape) == 3 else "one vector per image"
        raise ConfigError(
            f"Task {task.name!r} has an answer at each of {'x'.join(map(str, task.places))} pixels, but the trunk gives {given}; choose model/trunk=unet."
        )
    widths = [shape[0], *hidden] if hidden or not task.places else [shape[0], shape[0]]
    layers: list[nn.Module] = [] if task.places or len(shape) == 1 else [MeanOverPixels()]
    for before, after in zip(widths, [*widths[1:], task.size], strict=True):
        layers.append(nn.Conv2d(before, after, 1) if task.places else nn.Linear(before, after))
        layers.append(nn.ReLU())
    layers.pop()  # no ReLU behind the output
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
