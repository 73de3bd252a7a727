"""The ordinary update: one backward pass of the weighted sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.config.times import Length, parse_when
from mtl_runner.errors.checks import positive
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.parts import parts_of, read_settings
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.base import Losses, MakeOptimizer, Recompute, Update


class Joint(Update):
    r"""One backward pass of :math:`\sum_t w_t L_t`, whatever the number of tasks, and one step of one optimizer.

    Args:
        parameters, make_optimizer, clip, clip_blocks: see :class:`~mtl_runner.update.base.Update`.
        groups: ``{shared: settings, <task>: settings}`` gives the shared parameters and each task's private ones an optimizer of their
            own ("3 Adams"): the optimizer's settings (``lr``, ``weight_decay``, a class, ...) and ``start``, when the group begins to move
            (epochs, ``"1000 steps"``, ``"25%"``), and ``gain``, a factor on its initial weights. Parts that are not named keep the
            optimizer's settings. With equal settings it is one Adam, bit for bit: an optimizer that works on each element by
            itself does not care how the parameters are dealt out.
        tasks: the tasks, for ``groups``. length: of the run, for ``start``.

    Raises ``ConfigError`` for a group that is neither ``shared`` nor a task, or has no parameters.
    """

    def __init__(
        self,
        parameters: Parameters,
        make_optimizer: MakeOptimizer,
        clip: float | None = None,
        clip_blocks: Sequence[Sequence[nn.Parameter]] | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        tasks: Sequence[Task] = (),
        length: Length | None = None,
    ) -> None:
        parts = parts_of(parameters, tasks)
        self.settings = read_settings(groups, parts, tasks, "update.groups")
        self.blocks = parts if groups else {"": parameters.tensors}
        self.differs = any(
            {"start", "gain"} & set(settings) for settings in self.settings.values()
        )  # not only in the optimizer
        self.starts: dict[str, int] = {}  # the step at which a part begins to move
        self.clock = 0
        for name, settings in self.settings.items():
            if "start" in settings:
                self.starts[name] = parse_when(
                    settings.pop("start"), length or Length(1, 1), f"update.groups.{name}.start"
                )
            if "gain" in settings:
                _scale(
                    self.blocks[name], positive(settings.pop("gain"), f"update.groups.{name}.gain")
                )
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        if not self.starts:
            self.optimizer_tasks = [None] * len(self.optimizers)

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        return [
            make_optimizer(block, **self.settings.get(name, {}))
            for name, block in self.blocks.items()
        ]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        del recompute
        self.clear_gradients()
        if active.everyone:
            torch.autograd.backward(list(losses), list(weights.unbind()))
        else:
            torch.autograd.backward(
                [losses[t] for t in active.tasks], [weights[t] for t in active.tasks]
            )
            self.clear_idle(active.tasks)
        for name, start in self.starts.items():
            if self.clock < start:
                for parameter in self.blocks[name]:
                    parameter.grad = None
        self.clock += 1
        self.clip_gradients()
        for step in self.steppers:
            step()

    def skip(self) -> None:
        self.clock += 1

    def at_step(self, step: int) -> None:
        self.clock = step

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "clock": self.clock}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.clock = state["clock"]


@torch.no_grad()
def _scale(block: Sequence[nn.Parameter], gain: float) -> None:
    """The initial weights (not the biases) times the gain."""
    for parameter in block:
        if parameter.dim() > 1:
            parameter.mul_(gain)
