"""The ordinary update: one backward pass of the weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import needs_closure
from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import positive, whole_number
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Losses
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.parts import parts_of, read_settings
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.base import MakeOptimizer, Recompute, Update


class Joint(Update):
    r"""Take one backward pass of the weighted sum of the losses, and one step of one optimizer.

    .. math:: \theta \leftarrow \mathrm{step}\Bigl(\nabla_\theta \sum_t w_t L_t\Bigr)

    where

    - :math:`w_t` is the weight of task t, times how active it is,
    - :math:`L_t` is its loss, and step is a step of the run's optimizer.

    With ``groups`` the shared parameters and each task's private ones have an optimizer of their
    own ("3 Adams"). With equal settings this is one Adam, bit for bit: an optimizer that works on
    each element by itself does not care how the parameters are dealt out.

    An optimizer that evaluates the losses several times per step (L-BFGS) gets the losses of the
    same batch again and again, with the weights of its first evaluation.

    **Cost per step:** one backward pass, whatever the number of tasks.

    **When it helps:** it is the cheapest update, and the reference of all others.

    **When not:** tasks whose gradients differ much in size or conflict; the largest gradient leads.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        make_optimizer: Makes an optimizer over some of them.
        clip: Largest norm of the gradient of each of the ``clip_blocks``; None leaves it alone.
        clip_blocks: Parameters whose norm is taken together; None: all of them.
        groups: ``{shared: settings, <task>: settings}``: settings of the optimizer (``lr``,
            ``weight_decay``, a class, ...) for the shared parameters or one task's private ones,
            and ``start``, when the part begins to move (epochs, ``"1000 steps"``, ``"25%"``), and
            ``gain``, a factor on its initial weights. Parts that are not named keep the
            optimizer's settings.
        every: Number of steps between two looks at the norms of the tasks' gradients, for a
            weighting that takes them (GradNorm, NormBalance); in between its weights stand still.
        tasks: The tasks, in order; for ``groups``.
        length: The length of the run; for ``start``.

    Raises:
        ConfigError: If a group is neither ``shared`` nor a task, or has no parameters, or if
            ``groups`` or ``clip`` meet L-BFGS.

    Example:
        >>> from functools import partial
        >>> point = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> parameters = Parameters([point], [frozenset({0, 1})])
        >>> update = Joint(parameters, partial(torch.optim.SGD, lr=0.1))
        >>> update([point[0], 4 * point[1]], weights=torch.tensor([2.0, 0.5]))
        >>> point.data
        tensor([0.8000, 0.8000])
    """

    works_on_shards = True

    def __init__(
        self,
        parameters: Parameters,
        make_optimizer: MakeOptimizer,
        clip: float | None = None,
        clip_blocks: Sequence[Sequence[nn.Parameter]] | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        every: int = 1,
        tasks: Sequence[Task] = (),
        length: RunLength | None = None,
    ) -> None:
        self.every = whole_number(every, "update.every", 1)
        parts = parts_of(parameters, tasks)
        self.settings = read_settings(groups, parts, tasks, "update.groups")
        self.blocks = parts if groups else {"": parameters.tensors}
        # Whether a part differs in more than the settings of its optimizer.
        self.differs = any({"start", "gain"} & set(part) for part in self.settings.values())
        # The step at which a part begins to move.
        self.starts: dict[str, int] = {}
        for name, settings in self.settings.items():
            if "start" in settings:
                self.starts[name] = parse_time(
                    settings.pop("start"), length or RunLength(1, 1), f"update.groups.{name}.start"
                )
            if "gain" in settings:
                gain = positive(settings.pop("gain"), f"update.groups.{name}.gain")
                _scale_weights(self.blocks[name], gain)
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        if not self.starts and self.every == 1:
            self.optimizer_tasks = [None] * len(self.optimizers)

    def make_step_functions(self) -> list[Callable[[], Any]]:
        """Return the steps of the optimizers; L-BFGS has none without its losses."""
        if not any(map(needs_closure, self.optimizers)):
            return super().make_step_functions()
        for option, given in (("update.groups", len(self.blocks) > 1), ("trainer.clip", self.clip)):
            if given:
                raise ConfigError(
                    f"{option} does not work with L-BFGS, which takes one long step of all parameters; leave it out, or use optimizer=adam."
                )
        self.needs_recompute = True
        return []

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make one optimizer, or one per part."""
        return [
            make_optimizer(block, **self.settings.get(name, {}))
            for name, block in self.blocks.items()
        ]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Take one backward pass, and one step of every optimizer whose part has started."""
        if self.needs_recompute:
            assert recompute is not None
            self._minimise(losses, weights, active, recompute)
            return
        self._take_gradients(losses, weights, active)
        for name, start in self.starts.items():
            if self.clock < start:
                for parameter in self.blocks[name]:
                    parameter.grad = None
        self.clip_gradients()
        for take_step in self.step_functions:
            take_step()

    def _take_gradients(self, losses: Losses, weights: Tensor, active: Active) -> None:
        """Fill the gradients of the weighted sum in."""
        self.clear_gradients()
        door.into(losses, weights, active.tasks, self.parameters.tensors)
        if not active.none_idle:
            self.clear_idle(active.tasks)

    def _minimise(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute
    ) -> None:
        """Take one step of L-BFGS, which asks for objective and gradient several times."""
        # The losses that are there already serve the first time.
        ready = [losses]
        tasks = list(active.tasks)

        def objective() -> Tensor:
            current = ready.pop() if ready else recompute()
            total = (door.values_of(current) * weights)[tasks].sum()
            self._take_gradients(current, weights, active)
            return total

        (optimizer,) = self.optimizers
        optimizer.step(objective)  # type: ignore[arg-type]


@torch.no_grad()
def _scale_weights(block: Sequence[nn.Parameter], gain: float) -> None:
    """Multiply the initial weights (not the biases) by the gain."""
    for parameter in block:
        if parameter.dim() > 1:
            parameter.mul_(gain)
