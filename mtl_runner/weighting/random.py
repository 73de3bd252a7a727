"""Random weights: the baseline that a clever weighting has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors.checks import choice, whole
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Weighting


class Random(Weighting):
    """Random loss weighting (RLW): new weights at every step (Lin et al., TMLR 2022).

    TorchJD has it too; ours draws from a generator of its own, so that batch order and dropout stay those of every other
    strategy with the same seed, and a resumed run goes on with the same draws.

    Args:
        tasks: the tasks, in the order of the losses.
        distribution: ``normal`` (softmax of N(0, 1)) or ``dirichlet`` (uniform on the simplex).
        total: what the weights of the active tasks sum to: ``one``, or ``tasks`` (their number).
        seed: of the generator; by default the run's.

    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for an unknown option.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        distribution: str = "normal",
        total: str = "tasks",
        seed: int = 0,
    ) -> None:
        super().__init__(tasks)
        choice(distribution, "weighting.distribution", ("normal", "dirichlet"))
        choice(total, "weighting.total", ("one", "tasks"))
        whole(seed, "weighting.seed")
        self.distribution, self.total, self.seed = distribution, total, seed
        self._generator: torch.Generator | None = None
        self._saved: Tensor | None = None

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        del active
        count = len(losses)
        generator = self._on(losses.device)
        # Drawn for all tasks, so that an idle task does not shift the draws of the later steps.
        draws = torch.empty(len(self.tasks), dtype=losses.dtype, device=losses.device)
        if self.distribution == "normal":
            weights = torch.softmax(draws.normal_(generator=generator)[:count], 0)
        else:  # exponential draws over their sum are uniform on the simplex
            exponential = draws.exponential_(generator=generator)[:count]
            weights = exponential / exponential.sum()
        return torch.dot(weights * (count if self.total == "tasks" else 1), losses)

    def _on(self, device: torch.device) -> torch.Generator:
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self.seed)
            if self._saved is not None:
                self._generator.set_state(self._saved.cpu())
        return self._generator

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the generator."""
        return {
            "generator": self._saved if self._generator is None else self._generator.get_state()
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._saved, self._generator = state["generator"], None
