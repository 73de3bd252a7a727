"""The values of a task that kinds and metrics read, without a dependency on its class."""

from __future__ import annotations

from typing import Protocol


class TaskFields(Protocol):
    """The plain values of a :class:`~mtl_runner.tasks.task.Task`."""

    @property
    def name(self) -> str:
        """Column, key and label of the task."""
        ...

    @property
    def size(self) -> int:
        """Number of outputs; the number of channels where a target has places."""
        ...

    @property
    def offset(self) -> float:
        """Value of the target, in its own units, that is 0 in training."""
        ...

    @property
    def scale(self) -> float:
        """Size of one training unit in the target's own units."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels, in the order of the outputs."""
        ...

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Weight of each class in the cross entropy; empty: all weigh 1."""
        ...

    @property
    def trivial(self) -> tuple[float, ...]:
        """Output of the trivial predictor; empty if it is not known."""
        ...

    @property
    def missing(self) -> bool:
        """Whether any label is missing in any split."""
        ...

    @property
    def places(self) -> tuple[int, ...]:
        """Sizes of the dimensions behind the channels, such as height and width of an image."""
        ...
