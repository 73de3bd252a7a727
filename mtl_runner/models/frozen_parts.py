"""Parts of a model that are not trained, for the whole run or for its first steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


class FrozenParts:
    """Parts of a model whose weights and normalization do not move while they are frozen.

    A frozen parameter needs no gradient, and all who train look at that: it gets none, so that no
    optimizer counts a step of it and no weight decay acts on it. Whether the parts are frozen
    depends on the number of completed steps alone, so a checkpoint need not hold it.

    Args:
        modules: The parts.
        until: When they begin to train, as the config says it; None: never. With a time, they are
            frozen by the first call of :meth:`at_step`.

    Attributes:
        until_step: The same in steps, which is known when the run's length is; None: never.
        are_frozen: Whether they are frozen now.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> parts = FrozenParts([layer], until="2 steps")
        >>> parts.until_step = 2
        >>> for step in range(3):
        ...     parts.at_step(step)
        ...     print(layer.weight.requires_grad)
        False
        False
        True
    """

    def __init__(self, modules: Iterable[nn.Module], until: Any = None) -> None:
        self.modules = list(modules)
        self.until = until
        self.until_step: int | None = None
        self.are_frozen = False
        # What was trained before it was frozen, and is to be trained again.
        self._parameters: list[nn.Parameter] = []
        if until is None:
            self._freeze()

    def at_step(self, step: int) -> None:
        """Freeze the parts, or let them train, before a training step.

        Args:
            step: Number of completed steps.
        """
        is_frozen = self.until_step is None or step < self.until_step
        if is_frozen and not self.are_frozen:
            self._freeze()
        elif self.are_frozen and not is_frozen:
            self._release()

    def keep_in_evaluation(self) -> None:
        """Put frozen parts in evaluation mode; for the ``train`` method of the model."""
        if self.are_frozen:
            for module in self.modules:
                module.eval()

    def _freeze(self) -> None:
        self._parameters = [p for m in self.modules for p in m.parameters() if p.requires_grad]
        for parameter in self._parameters:
            parameter.requires_grad_(False)
        self.are_frozen = True
        self.keep_in_evaluation()

    def _release(self) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self.are_frozen = False
        for module in self.modules:
            module.train()


def frozen_for_a_time(model: nn.Module) -> list[FrozenParts]:
    """Return the parts of a model that are frozen in the first steps of a run only.

    Args:
        model: The model, or what wraps it; any module in it may keep :class:`FrozenParts` in an
            attribute ``frozen``.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> model.frozen = FrozenParts([model], until="50%")
        >>> len(frozen_for_a_time(nn.Sequential(model)))
        1
    """
    attributes = (getattr(module, "frozen", None) for module in model.modules())
    return [
        parts for parts in attributes if isinstance(parts, FrozenParts) and parts.until is not None
    ]
