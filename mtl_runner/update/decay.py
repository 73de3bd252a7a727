"""Weight decay that acts once per step on a parameter, though several optimizers share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.update.base import MakeOptimizer

Stepping = dict[int, tuple[int, ...]]  # the groups that take part in a step, and their active tasks
L2Term = tuple[
    nn.Parameter, Tensor, float
]  # a parameter, where it stood, and the factor of its L2 term
DECOUPLED = (torch.optim.AdamW, torch.optim.Adafactor)  # their decay is not a gradient


def is_decoupled(optimizer: Optimizer, group: Mapping[str, Any]) -> bool:
    """Whether the weight decay of a parameter group is no L2 term of the loss."""
    return isinstance(optimizer, DECOUPLED) or bool(group.get("decoupled_weight_decay"))


class GroupOptimizers:
    """Makes one optimizer per group of tasks and shares their weight decay out.

    Decoupled decay acts through the first group that reaches a parameter in a step, before any step has moved it. An L2 term is
    added to the gradients in equal shares by all groups that reach it, at the point where the gradients are taken and, as in an
    optimizer, after clipping.

    Args:
        parameters: of the model. owned: those of each group. make_optimizer: makes an optimizer over some of them.

    Raises ``ConfigError`` if the weight decay of one part is decoupled and that of another is not.
    """

    def __init__(
        self,
        parameters: Parameters,
        owned: Sequence[Sequence[nn.Parameter]],
        make_optimizer: MakeOptimizer,
    ) -> None:
        self.optimizers: list[Optimizer] = [make_optimizer(list(group)) for group in owned]
        kinds = {
            is_decoupled(optimizer, group)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            if group.get("weight_decay")
        }
        if len(kinds) > 1:
            raise ConfigError(
                "optimizer.parts: decoupled_weight_decay must be the same for all parts that have a weight_decay."
            )
        self.decoupled = True in kinds
        owners = dict(zip(parameters.tensors, parameters.owners, strict=True))
        self.blocks: list[
            dict[frozenset[int], list[nn.Parameter]]
        ] = []  # each group's parameters by the tasks that own them
        for group in owned:
            block: dict[frozenset[int], list[nn.Parameter]] = {}
            for parameter in group:
                block.setdefault(owners[parameter], []).append(parameter)
            self.blocks.append(block)
        param_groups = [each for optimizer in self.optimizers for each in optimizer.param_groups]
        self.decays = {
            p: float(each.get("weight_decay", 0.0)) for each in param_groups for p in each["params"]
        }
        self.decay = max(self.decays.values(), default=0.0)  # the largest: whether there is any
        if self.decay and self.decoupled:
            self.optimizers = [
                make_optimizer([{"params": ps} for ps in block.values()]) for block in self.blocks
            ]
        elif self.decay:
            for param_group in param_groups:
                param_group["weight_decay"] = 0.0

    def begin(self, stepping: Stepping) -> None:
        """Before a step: decoupled decay for the first group that reaches each parameter."""
        if self.decay and self.decoupled:
            for k in stepping:
                for param_group, owners in zip(
                    self.optimizers[k].param_groups, self.blocks[k], strict=True
                ):
                    first = k in _reaching(owners, stepping)[:1]
                    param_group["weight_decay"] = (
                        self.decays[param_group["params"][0]] if first else 0.0
                    )

    @torch.no_grad()
    def l2_terms(self, k: int, stepping: Stepping) -> list[L2Term]:
        """The L2 terms of group k at the present point; none for decoupled decay."""
        if not self.decay or self.decoupled:
            return []
        terms: list[L2Term] = []
        for owners, parameters in self.blocks[k].items():
            groups = max(1, len(_reaching(owners, stepping)))
            terms += [(p, p.clone(), self.decays[p] / groups) for p in parameters if self.decays[p]]
        return terms


def _reaching(owners: frozenset[int], stepping: Stepping) -> list[int]:
    """The groups whose gradient reaches parameters of these owners."""
    return [k for k, tasks in stepping.items() if not owners.isdisjoint(tasks)]
