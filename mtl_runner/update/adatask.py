"""AdaTask: an adaptive step size per task in every shared parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Lane, Losses
from mtl_runner.gradients.layout import as_row, laid_out_like
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update.base import MakeOptimizer, Recompute, Update
from mtl_runner.update.decay import is_decoupled

FLAVOURS: dict[type[Optimizer], str] = {
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adam",
    torch.optim.RMSprop: "rmsprop",
    torch.optim.Adagrad: "adagrad",
}

# Options of these optimizers for which there is no formula here.
UNSUPPORTED_OPTIONS = (
    "amsgrad",
    "maximize",
    "momentum",
    "centered",
    "lr_decay",
    "initial_accumulator_value",
)


class Moments:
    """The moments of all tasks in shared parameters that began to train at the same step.

    Args:
        parameters: The parameters.
        tasks: Number of tasks T.

    Attributes:
        moments: The first and second moments, ``[T, P]`` each.
        clocks: Number of steps that each task has taken part in since then.

    Example:
        >>> Moments([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))], tasks=2).clocks
        [0, 0]
    """

    def __init__(self, parameters: Sequence[nn.Parameter], tasks: int) -> None:
        self.parameters = list(parameters)
        self.sizes = [p.numel() for p in self.parameters]
        like = self.parameters[0]
        self.moments = [
            torch.zeros(tasks, sum(self.sizes), dtype=like.dtype, device=like.device)
            for _ in range(2)
        ]
        self.clocks = [0] * tasks

    def row(self, gradients: Mapping[nn.Parameter, Tensor | None]) -> Tensor:
        """Return one task's gradient over the parameters as a vector ``[P]``."""
        return as_row([gradients.get(p) for p in self.parameters], self.parameters)


class AdaTask(Update):
    r"""Keep adaptive moments per task for the shared parameters.

    **Source:** Yang et al., *AdaTask: A Task-aware Adaptive Learning Rate Approach to Multi-task
    Learning*, AAAI 2023, algorithm 1, `arXiv:2211.15055 <https://arxiv.org/abs/2211.15055>`__.

    .. math:: \theta \leftarrow \theta - \eta \sum_t \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    where

    - :math:`\hat m_t, \hat v_t` are the bias-corrected running means of task t's gradient and of
      its square, in every shared parameter,
    - :math:`\eta, \epsilon` are the learning rate and the ``eps`` of the optimizer.

    The flavour follows the optimizer: Adam, AdamW, RMSprop or Adagrad. It takes the same steps as
    ``update=per_task gradients=same``, with the moments of all tasks in one matrix. An idle task's
    moments and clock stand still; each task's gradient is clipped by itself.

    **Departs from the paper:** weight decay acts once per step on a parameter, not once per task.

    **Cost per step:** T backward passes; two moments ``[T, P]`` of the shared parameters.

    **When it helps:** no task dominates a shared parameter by the size of its gradient.

    **When not:** weights that should count. With Adam the sizes of the losses, and fixed weights,
    have no effect; and steps are up to T times as long as one Adam's.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        make_optimizer: Makes an optimizer over some of them.
        tasks: The tasks, in the order of the losses.
        clip: Largest norm of the gradient of each of the ``clip_blocks``; None leaves it alone.
        clip_blocks: Parameters whose norm is taken together; None: all of them.

    Attributes:
        blocks: The moments of the shared parameters, which all begin to train at once unless some
            are frozen at first.

    Raises:
        ConfigError: For another optimizer, or an option of it that has no counterpart.

    Example:
        >>> from functools import partial
        >>> point = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> parameters = Parameters([point], [frozenset({0, 1})])
        >>> adam = partial(torch.optim.Adam, lr=0.1)
        >>> update = AdaTask(parameters, adam, [Task("a"), Task("b")])
        >>> update([point[0] + point[1], 100 * point[1]])  # each takes a full step where it can
        >>> point.data
        tensor([0.9000, 0.8000])
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
        self.task_parameters = [parameters.reached_by(frozenset({t})) for t in range(len(tasks))]
        self.owners = dict(zip(parameters.tensors, parameters.owners, strict=True))
        super().__init__(parameters, make_optimizer, clip, clip_blocks)
        self.passes = len(tasks)
        self.blocks: list[Moments] = []

    def build(self, make_optimizer: MakeOptimizer) -> list[Optimizer]:
        """Make one optimizer for the shared parameters and one for the private ones.

        The shared parameters' optimizer never steps: it holds the settings, whose learning rate a
        scheduler may change.

        Raises:
            ConfigError: For another optimizer, or an option of it that has no counterpart.
        """
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
        for option in UNSUPPORTED_OPTIONS:
            if settings.get(option):
                raise ConfigError(
                    f"update=adatask does not know the optimizer's option {option!r}; leave it at its default."
                )
        self.flavour = FLAVOURS[type(optimizer)]
        self.decoupled = is_decoupled(optimizer, settings)
        self.has_private_optimizer = len(optimizers) > bool(self.shared)
        return optimizers

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the shared parameters' optimizer.

        They are read anew at every step, since loading a checkpoint replaces the dict.
        """
        return self.optimizers[0].param_groups[0]

    def change(
        self, losses: Losses, weights: Tensor, active: Active, recompute: Recompute | None
    ) -> None:
        """Take one backward pass per active task, and add up their steps."""
        del recompute
        tasks = active.tasks
        private: dict[nn.Parameter, Tensor | None] = {}
        self._begin_blocks()
        # One row per task and block.
        rows: list[list[Tensor]] = []
        lanes = [Lane((t,), self.task_parameters[t], weights) for t in tasks]
        for t, task_gradients in zip(tasks, door.of(losses, lanes), strict=True):
            clipped = self._clipped(t, task_gradients)
            gradients = dict(zip(self.task_parameters[t], clipped, strict=True))
            rows.append([block.row(gradients) for block in self.blocks])
            private |= gradients
        self.clear_gradients()
        for block, block_rows in zip(self.blocks, zip(*rows, strict=True), strict=True):
            self._step_shared(block, tasks, block_rows)
        if self.has_private_optimizer:
            for parameter, gradient in private.items():
                if len(self.owners[parameter]) == 1:
                    parameter.grad = laid_out_like(gradient, parameter)
            self.step_functions[-1]()

    def _clipped(self, t: int, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        if self.clip is None:
            return gradients
        self.clear_gradients()
        for parameter, gradient in zip(self.task_parameters[t], gradients, strict=True):
            parameter.grad = gradient
        self.clip_gradients()
        return [parameter.grad for parameter in self.task_parameters[t]]

    def _begin_blocks(self) -> None:
        """Give moments to the shared parameters that are trained from this step on."""
        if sum(len(block.parameters) for block in self.blocks) < len(self.shared):
            known = {p for block in self.blocks for p in block.parameters}
            begun = [p for p in trained_now(self.shared) if p not in known]
            if begun:
                self.blocks.append(Moments(begun, len(self.task_parameters)))

    @torch.no_grad()
    def _step_shared(self, block: Moments, tasks: Sequence[int], rows: Sequence[Tensor]) -> None:
        """Change shared parameters by the sum of the tasks' steps."""
        l2_terms = self._apply_decay(block.parameters, tasks)
        change = torch.zeros_like(rows[0])
        for t, row in zip(tasks, rows, strict=True):
            block.clocks[t] += 1
            gradient = row if l2_terms is None or self.decoupled else row + l2_terms[t]
            self._add_step(block, t, gradient, change)
        for parameter, part in zip(block.parameters, torch.split(change, block.sizes), strict=True):
            parameter.sub_(part.view_as(parameter))

    def _add_step(self, block: Moments, t: int, gradient: Tensor, change: Tensor) -> None:
        """Update one task's moments, and add its step to the change."""
        settings = self.settings
        lr, eps = settings["lr"], settings["eps"]
        first, second = block.moments[0][t], block.moments[1][t]
        if self.flavour == "adagrad":
            second.addcmul_(gradient, gradient)
            change.addcdiv_(gradient, _without_zeros(second.sqrt().add_(eps), eps), value=lr)
        elif self.flavour == "rmsprop":
            second.mul_(settings["alpha"]).addcmul_(gradient, gradient, value=1 - settings["alpha"])
            change.addcdiv_(gradient, _without_zeros(second.sqrt().add_(eps), eps), value=lr)
        else:
            beta1, beta2 = settings["betas"]
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scale = (1 - beta2 ** block.clocks[t]) ** 0.5
            change.addcdiv_(
                first,
                _without_zeros(second.sqrt().div_(scale).add_(eps), eps),
                value=lr / (1 - beta1 ** block.clocks[t]),
            )

    def _apply_decay(
        self, parameters: Sequence[nn.Parameter], tasks: Sequence[int]
    ) -> dict[int, Tensor] | None:
        """Apply decoupled decay at once, or return the L2 term of each task's gradient.

        The tasks that reach a parameter get equal shares of its L2 term.
        """
        decay = self.settings.get("weight_decay", 0.0)
        if not decay:
            return None
        tasks_reaching = {p: [t for t in tasks if t in self.owners[p]] for p in parameters}
        if self.decoupled:
            for parameter, reaching in tasks_reaching.items():
                if reaching:
                    parameter.mul_(1 - self.settings["lr"] * decay)
            return {}
        return {
            t: torch.cat(
                [
                    p.reshape(-1) * (decay / len(reaching) if t in reaching else 0.0)
                    for p, reaching in tasks_reaching.items()
                ]
            )
            for t in tasks
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizers, and the moments and clocks of the tasks."""
        places = {p: i for i, p in enumerate(self.shared)}
        blocks = [
            {
                "parameters": [places[p] for p in block.parameters],
                "moments": block.moments,
                "clocks": list(block.clocks),
            }
            for block in self.blocks
        ]
        return {**super().state_dict(), "blocks": blocks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        super().load_state_dict(state)
        # Older checkpoints have the moments of all shared parameters at once.
        all_shared = {**state, "parameters": range(len(self.shared))}
        saved_blocks = state.get("blocks", [all_shared] if self.shared else [])
        self.blocks = []
        for saved in saved_blocks:
            block = Moments([self.shared[i] for i in saved["parameters"]], len(saved["clocks"]))
            block.moments = [moment.clone() for moment in saved["moments"]]
            block.clocks = list(saved["clocks"])
            self.blocks.append(block)


def _without_zeros(denominator: Tensor, eps: float) -> Tensor:
    """Replace zeros by 1, in place; without eps there are some where a task reaches no parameter.

    The step is 0/0 there otherwise; with 1 it is 0.
    """
    return denominator if eps else denominator.masked_fill_(denominator == 0, 1.0)
