"""Parameters of which every process of a run keeps a part (``trainer.parallel=fsdp``).

Such a parameter is a ``DTensor`` of torch, cut along its first dimension. ``backward`` adds its
gradient up over the processes and leaves each its part; ``torch.autograd.grad`` does not see it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.gradients.ranks import Ranks


@dataclass(frozen=True)
class Shards:
    """All sharded parameters of a model, and the processes that have their parts.

    Attributes:
        parameters: The parameters.
        ranks: The processes.
    """

    parameters: Sequence[Tensor]
    ranks: Ranks

    @contextlib.contextmanager
    def without_gradients(self) -> Iterator[None]:
        """Empty every ``.grad`` within a ``with`` block; afterwards all is as it was before."""
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        try:
            yield
        finally:
            for parameter, gradient in zip(self.parameters, before, strict=True):
                parameter.grad = gradient


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is one of which every process has a part.

    Example:
        >>> is_sharded(torch.ones(2))
        False
    """
    return hasattr(tensor, "to_local")


def local_part(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process has; all of it unless it is sharded.

    Example:
        >>> local_part(torch.ones(2))
        tensor([1., 1.])
    """
    return cast("Any", tensor).to_local() if is_sharded(tensor) else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor, put together from the parts if it is sharded.

    All processes make the same call.

    Example:
        >>> full_tensor(torch.ones(2))
        tensor([1., 1.])
    """
    return cast("Any", tensor).full_tensor() if is_sharded(tensor) else tensor


def cut_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor, cut like a parameter if that one is sharded.

    Args:
        tensor: The tensor, the same in all processes.
        parameter: The parameter.

    Example:
        >>> cut_like(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not is_sharded(parameter) or is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    sharded = cast("Any", parameter)
    cut: Tensor = cast("Any", distribute_tensor)(
        tensor, sharded.device_mesh, sharded.placements, src_data_rank=None
    )
    return cut


def cut_like_module(state: Mapping[str, Any], module: nn.Module) -> dict[str, Any]:
    """Return the state of a module, cut as its present state is.

    Args:
        state: The state, whole or cut.
        module: The module that is to take it up.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> list(cut_like_module(layer.state_dict(), layer))
        ['weight']
    """
    present = module.state_dict()
    return {
        key: cut_like(value, present[key]) if key in present else value
        for key, value in state.items()
    }


def cut_like_optimizer(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return the state of an optimizer, cut as its parameters are.

    Args:
        state: The state, whole or cut.
        optimizer: The optimizer that is to take it up.

    Example:
        >>> optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))])
        >>> cut_like_optimizer(optimizer.state_dict(), optimizer)["state"]
        {}
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    owners = dict(zip(numbers, parameters, strict=False))
    cut = {
        number: {
            key: cut_like(value, owners[number])
            if isinstance(value, Tensor)
            and number in owners
            and value.shape == owners[number].shape
            else value
            for key, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    return {**state, "state": cut}


def like_parameter(part: Tensor, parameter: Tensor) -> Tensor:
    """Return a part of a tensor as a tensor that is sharded like a parameter, if that one is.

    Args:
        part: The numbers of this process, in the shape of its part of the parameter.
        parameter: The parameter.

    Example:
        >>> like_parameter(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not is_sharded(parameter):
        return part
    from torch.distributed.tensor import DTensor

    sharded = cast("Any", parameter)
    tensor: Tensor = cast("Any", DTensor).from_local(
        part,
        sharded.device_mesh,
        sharded.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
    return tensor


def empty_like_shards(shards: Shards, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a tensor without numbers that is cut as the parameters of a model are.

    Args:
        shards: The parameters.
        shape: The shape of the whole tensor.
        dtype: Its type.
    """
    from torch.distributed.tensor import empty

    sharded = cast("Any", shards.parameters[0])
    tensor: Tensor = cast("Any", empty)(
        *shape, dtype=dtype, device_mesh=sharded.device_mesh, placements=sharded.placements
    )
    return tensor
