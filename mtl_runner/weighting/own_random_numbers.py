"""Random numbers of a weighting's own, which leave those of the run alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors.checks import whole_number
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Weighting


class OwnRandomNumbers(Weighting):
    """Base class of weightings that draw random numbers at every step.

    The numbers come from a generator of their own, so that batch order and dropout stay those of
    every other strategy with the same seed. Its state is in the checkpoint.

    Args:
        tasks: The tasks, in the order of the losses.
        seed: Seed of the generator.
        count: How many numbers a step needs.

    Raises:
        ConfigError: If ``seed`` is not a whole number.

    Attributes:
        draws_ahead: Whether the numbers of a step are those of the last :meth:`draw`; else they are
            drawn when the step asks for them.
    """

    drawn: Tensor

    def __init__(self, tasks: Sequence[Task], seed: int, count: int) -> None:
        super().__init__(tasks)
        self.seed = whole_number(seed, "weighting.seed")
        self._generator: torch.Generator | None = None
        self._saved: Tensor | None = None
        self.draws_ahead = False
        drawn = torch.zeros(count, dtype=torch.get_default_dtype())
        # A checkpoint needs the generator alone.
        self.register_buffer("drawn", drawn, persistent=False)

    @abstractmethod
    def fill(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a tensor with random numbers of the weighting's distribution, and return it.

        Args:
            numbers: The tensor.
            generator: The generator, on its device.
        """

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the numbers of the next step, which uses them if :attr:`draws_ahead` is set."""
        self._fill(self.drawn)

    def numbers_of_step(self, like: Tensor) -> Tensor:
        """Return the random numbers of a step.

        Args:
            like: A tensor of the device and the precision that they are to have.
        """
        if self.draws_ahead:
            return self.drawn
        return self._fill(torch.empty_like(self.drawn).to(like))

    def _fill(self, numbers: Tensor) -> Tensor:
        """Fill a tensor with the next random numbers."""
        return self.fill(numbers, self._generator_on(numbers.device))

    def _generator_on(self, device: torch.device) -> torch.Generator:
        """Return the generator on a device, in the state of a checkpoint if one was loaded."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self.seed)
            if self._saved is not None:
                self._generator.set_state(self._saved.cpu())
        return self._generator

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the generator, for a checkpoint."""
        return {
            "generator": self._saved if self._generator is None else self._generator.get_state()
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint's generator."""
        self._saved, self._generator = state["generator"], None
