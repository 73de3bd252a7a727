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

#: The groups that take part in a step, by index, and their active tasks.
ActiveGroups = dict[int, tuple[int, ...]]

#: A parameter, its value where the gradients are taken, and the factor of its L2 term.
L2Term = tuple[nn.Parameter, Tensor, float]

# Optimizers whose weight decay is not part of the gradient.
DECOUPLED = (torch.optim.AdamW, torch.optim.Adafactor)


def is_decoupled(optimizer: Optimizer, group: Mapping[str, Any]) -> bool:
    """Return whether the weight decay of a parameter group is no L2 term of the loss.

    Args:
        optimizer: The optimizer of the group.
        group: One of its ``param_groups``.

    Returns:
        True for AdamW, Adafactor and ``decoupled_weight_decay=True``.

    Example:
        >>> optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))])
        >>> is_decoupled(optimizer, optimizer.param_groups[0])
        True
    """
    return isinstance(optimizer, DECOUPLED) or bool(group.get("decoupled_weight_decay"))


class GroupOptimizers:
    """One optimizer per group of tasks, with the weight decay shared out among them.

    Decoupled decay acts through the first group that reaches a parameter in a step, before any step
    has moved it. An L2 term is added to the gradients in equal shares by all groups that reach the
    parameter, at the point where the gradients are taken and, as in an optimizer, after clipping.

    Args:
        parameters: The parameters of the model, with the tasks that own each.
        group_parameters: The parameters that each group reaches.
        make_optimizer: Makes an optimizer over some of them.

    Attributes:
        optimizers: One optimizer per group.
        decoupled: Whether the weight decay is decoupled.
        largest_decay: The largest weight decay of any parameter; 0: there is none.

    Raises:
        ConfigError: If the weight decay of one part is decoupled and that of another is not.

    Example:
        >>> point = nn.Parameter(torch.ones(1))
        >>> parameters = Parameters([point], [frozenset({0, 1})])
        >>> adamw = lambda block: torch.optim.AdamW(block, weight_decay=0.1)
        >>> groups = GroupOptimizers(parameters, [[point], [point]], adamw)
        >>> groups.begin_step({0: (0,), 1: (1,)})
        >>> [optimizer.param_groups[0]["weight_decay"] for optimizer in groups.optimizers]
        [0.1, 0.0]
    """

    def __init__(
        self,
        parameters: Parameters,
        group_parameters: Sequence[Sequence[nn.Parameter]],
        make_optimizer: MakeOptimizer,
    ) -> None:
        self.optimizers: list[Optimizer] = [
            make_optimizer(list(block)) for block in group_parameters
        ]
        kinds = {
            is_decoupled(optimizer, param_group)
            for optimizer in self.optimizers
            for param_group in optimizer.param_groups
            if param_group.get("weight_decay")
        }
        if len(kinds) > 1:
            raise ConfigError(
                "optimizer.parts: decoupled_weight_decay must be the same for all parts that have a weight_decay."
            )
        self.decoupled = True in kinds
        owners = dict(zip(parameters.tensors, parameters.owners, strict=True))
        # The parameters of each group by the tasks that own them.
        self.by_owners: list[dict[frozenset[int], list[nn.Parameter]]] = []
        for block in group_parameters:
            by_owners: dict[frozenset[int], list[nn.Parameter]] = {}
            for parameter in block:
                by_owners.setdefault(owners[parameter], []).append(parameter)
            self.by_owners.append(by_owners)
        param_groups = [
            param_group for optimizer in self.optimizers for param_group in optimizer.param_groups
        ]
        self.decays = {
            p: float(param_group.get("weight_decay", 0.0))
            for param_group in param_groups
            for p in param_group["params"]
        }
        self.largest_decay = max(self.decays.values(), default=0.0)
        if self.largest_decay and self.decoupled:
            self.optimizers = [
                make_optimizer([{"params": ps} for ps in by_owners.values()])
                for by_owners in self.by_owners
            ]
        elif self.largest_decay:
            for param_group in param_groups:
                param_group["weight_decay"] = 0.0

    def begin_step(self, active_groups: ActiveGroups) -> None:
        """Give the decoupled decay of each parameter to the first group that reaches it.

        Args:
            active_groups: The groups that take part in the step, and their active tasks.
        """
        if self.largest_decay and self.decoupled:
            for k in active_groups:
                for param_group, owners in zip(
                    self.optimizers[k].param_groups, self.by_owners[k], strict=True
                ):
                    is_first = k in _groups_reaching(owners, active_groups)[:1]
                    param_group["weight_decay"] = (
                        self.decays[param_group["params"][0]] if is_first else 0.0
                    )

    @torch.no_grad()
    def l2_terms(self, k: int, active_groups: ActiveGroups) -> list[L2Term]:
        """Return the L2 terms of a group at the present point; none for decoupled decay.

        Args:
            k: The index of the group.
            active_groups: The groups that take part in the step, and their active tasks.
        """
        if not self.largest_decay or self.decoupled:
            return []
        terms: list[L2Term] = []
        for owners, parameters in self.by_owners[k].items():
            sharing = max(1, len(_groups_reaching(owners, active_groups)))
            terms += [
                (p, p.clone(), self.decays[p] / sharing) for p in parameters if self.decays[p]
            ]
        return terms


def _groups_reaching(owners: frozenset[int], active_groups: ActiveGroups) -> list[int]:
    """Return the groups whose gradient reaches parameters of these owners."""
    return [k for k, tasks in active_groups.items() if not owners.isdisjoint(tasks)]
