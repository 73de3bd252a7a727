"""AdaTask: an adaptive step size per task in every shared parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.layout import laid_out
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.base import Losses, MakeOptimizer, Recompute, Update
from mtl_runner.update.decay import is_decoupled

FLAVOURS: dict[type[Optimizer], str] = {
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adam",
    torch.optim.RMSprop: "rmsprop",
    torch.optim.Adagrad: "adagrad",
}
UNKNOWN = (
    "amsgrad",
    "maximize",
    "momentum",
    "centered",
    "lr_decay",
    "initial_accumulator_value",
)  # what it has no formula for


class AdaTask(Update):
    r"""Adaptive moments per task for the shared parameters (Yang et al., AAAI 2023, algorithm 1).

    .. math:: \theta \leftarrow \theta - \eta \sum_t \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    so that no task dominates a shared parameter by the size of its gradient; with Adam the sizes of the losses, and fixed weights, have
    no effect. The flavour follows the optimizer: Adam, AdamW, RMSprop or Adagrad. It takes the same steps as
    ``update=per_task gradients=same``, with the moments of all tasks in one matrix. Weight decay acts once per step on a parameter, not
    once per task; an idle task's moments and clock stand still; each task's gradient is clipped by itself.

    Args:
        parameters, make_optimizer, clip, clip_blocks: see :class:`~mtl_runner.update.base.Update`. tasks: the tasks, in order.

    Raises ``ConfigError`` for another optimizer, or an option of it that has no counterpart.
    """

    def __init__(
        self,
        parameters: Parameters,
        make_optimizer: MakeOptimizer,
        tasks: Sequence[Task],
        clip: float | None = None,
        clip_blocks: Sequence[Sequence[nn.Parameter]] | None = None,
    ) -> None:
        self.shared = parameters.shared
        self.owned = [parameters.of(frozenset({t})) for t in range(len(tasks))]
        self.owners = dict(zip(parameters.tensors, parameters.owners, strict=True))
        self.sizes = [p.numel() for p in self.shared]
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        self.passes = len(tasks)
        like = self.shared[0] if self.shared else parameters.tensors[0]
        self.moments = [
            torch.zeros(len(tasks), sum(self.sizes), dtype=like.dtype, device=like.device)
            for _ in range(2)
        ]
        self.clocks = [0] * len(tasks)

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        shared = set(self.shared)
        private = [p for p in self.parameters.tensors if p not in shared]
        optimizers = [make_optimizer(block) for block in (self.shared, private) if block]
        optimizer = optimizers[0]
        if type(optimizer) not in FLAVOURS:
            known = ", ".join(kind.__name__ for kind in FLAVOURS)
            raise ConfigError(
                f"update=adatask has no form of {type(optimizer).__name__}; choose optimizer._target_ among torch.optim's {known}."
            )
        settings = optimizer.param_groups[0]
        for option in UNKNOWN:
            if settings.get(option):
                raise ConfigError(
                    f"update=adatask does not know the optimizer's option {option!r}; leave it at its default."
                )
        self.flavour = FLAVOURS[type(optimizer)]
        self.decoupled = is_decoupled(optimizer, settings)
        # The shared parameters' optimizer never steps: it holds the settings, whose lr a scheduler may change.
        self.private_steps = len(optimizers) > bool(self.shared)
        return optimizers

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the shared parameters' optimizer; read anew at every step, since loading a checkpoint replaces the dict."""
        return self.optimizers[0].param_groups[0]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        del recompute
        tasks = active.tasks
        private: dict[nn.Parameter, Tensor | None] = {}
        rows: list[Tensor] = []
        for t in tasks:
            found = torch.autograd.grad(
                losses[t], self.owned[t], weights[t], retain_graph=t != tasks[-1], allow_unused=True
            )
            gradients = dict(zip(self.owned[t], self._clipped(t, found), strict=True))
            rows.append(self._row(gradients))
            private |= gradients
        self.clear_gradients()
        if self.shared:
            self._move(tasks, rows)
        if self.private_steps:
            for parameter, gradient in private.items():
                if len(self.owners[parameter]) == 1:
                    parameter.grad = laid_out(gradient, parameter)
            self.steppers[-1]()

    def _clipped(self, t: int, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        if self.clip is None:
            return gradients
        self.clear_gradients()
        for parameter, gradient in zip(self.owned[t], gradients, strict=True):
            parameter.grad = gradient
        self.clip_gradients()
        return [parameter.grad for parameter in self.owned[t]]

    def _row(self, gradients: Mapping[nn.Parameter, Tensor | None]) -> Tensor:
        if not self.shared:
            return self.moments[0].new_zeros(0)
        found = [gradients.get(p) for p in self.shared]
        return torch.cat(
            [
                p.new_zeros(p.numel()) if g is None else g.reshape(-1)
                for p, g in zip(self.shared, found, strict=True)
            ]
        )

    @torch.no_grad()
    def _move(self, tasks: Sequence[int], rows: Sequence[Tensor]) -> None:
        """One change of the shared parameters: the sum of the tasks' steps."""
        decay = self._decay(tasks)
        change = torch.zeros_like(rows[0])
        for t, row in zip(tasks, rows, strict=True):
            self.clocks[t] += 1
            gradient = row if decay is None or self.decoupled else row + decay[t]
            self._step(t, gradient, change)
        for parameter, part in zip(self.shared, torch.split(change, self.sizes), strict=True):
            parameter.sub_(part.view_as(parameter))

    def _step(self, t: int, gradient: Tensor, change: Tensor) -> None:
        """Add one task's step to the change."""
        settings = self.settings
        lr, eps = settings["lr"], settings["eps"]
        first, second = self.moments[0][t], self.moments[1][t]
        if self.flavour == "adagrad":
            second.addcmul_(gradient, gradient)
            change.addcdiv_(gradient, _positive(second.sqrt().add_(eps), eps), value=lr)
        elif self.flavour == "rmsprop":
            second.mul_(settings["alpha"]).addcmul_(gradient, gradient, value=1 - settings["alpha"])
            change.addcdiv_(gradient, _positive(second.sqrt().add_(eps), eps), value=lr)
        else:
            beta1, beta2 = settings["betas"]
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scale = (1 - beta2 ** self.clocks[t]) ** 0.5
            change.addcdiv_(
                first,
                _positive(second.sqrt().div_(scale).add_(eps), eps),
                value=lr / (1 - beta1 ** self.clocks[t]),
            )

    def _decay(self, tasks: Sequence[int]) -> dict[int, Tensor] | None:
        """Decoupled decay, done at once; or the L2 term that each task's gradient gets, in equal shares."""
        decay = self.settings.get("weight_decay", 0.0)
        if not decay:
            return None
        reached = {p: [t for t in tasks if t in self.owners[p]] for p in self.shared}
        if self.decoupled:
            for parameter, reaching in reached.items():
                if reaching:
                    parameter.mul_(1 - self.settings["lr"] * decay)
            return {}
        return {
            t: torch.cat(
                [
                    p.reshape(-1) * (decay / len(reaching) if t in reaching else 0.0)
                    for p, reaching in reached.items()
                ]
            )
            for t in tasks
        }

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "moments": self.moments, "clocks": list(self.clocks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.moments = [moment.clone() for moment in state["moments"]]
        self.clocks = list(state["clocks"])


def _positive(denominator: Tensor, eps: float) -> Tensor:
    """Without eps, 0/0 where a task has never reached a parameter: no step."""
    return denominator if eps else denominator.masked_fill_(denominator == 0, 1.0)
